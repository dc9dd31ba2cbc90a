"""The explorer of all networks of the book: where each lies between rotating, routing and shrinking, and its layers.

As in `explorers`: Python packs arrays, the script in `js/` computes everything that a reader moves.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from emt_core.book.explorers import Explorer, _finite, _pack
from emt_core.book.figures import as_numpy
from emt_core.book.figures.law import CORNERS, MOST, shares

_LONGEST = 12  # positions that still fit on a phone
_ROUNDING = 1e-5  # of cosines in float32
_KEYS = {"name", "group", "place", "overlaps", "sizes"}


def network_map(
    networks: Sequence[Mapping], *, start: str | None = None, caption: str = "", name: str = ""
) -> Explorer:
    """Networks as dots in the triangle of `figures.law.triangle`; beside it the layers of the chosen one. In a second
    view a dot stands at its mean overlap and the size of its last layer over the first one's, on a logarithmic axis.

    networks: each with its own "name", its "group" (1 to 16 different ones: each has its own shape), and

    - "place" (3,): the shares of rotation, of routing and place, and the overlap, as `figures.law.shares` checks them;
    - "overlaps" (L, L): of the directions that two positions use, from 0 to 1, symmetric; 2 ≤ L ≤ 12;
    - "sizes" (L,): of the layers, above 0; the page shows them over the first one's;
    - optional "numbers": what to write beside its name ("units n", "exact match"), name to number;
    - optional "link": (text, address), of the chapter that has it.

    It opens with the network named `start`, by default the first. `network` (from 0), `shown` (the groups in sight),
    `view` ("triangle" or "size") and `log` (of the sizes) follow the reader; the prose may also name a network:
    `network=GRU, 64 units&shown=["GRU"]`. The chosen network stays in sight whatever is shown.
    """
    if not networks:
        raise ValueError("networks: got none, expected at least one")
    drawn = [_network(network, f"networks[{i}]") for i, network in enumerate(networks)]
    names, groups = [one["name"] for one in drawn], list(dict.fromkeys(one["group"] for one in drawn))
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise ValueError(f"networks: got the name {twice!r} twice, expected a different one for each")
    if len(groups) > MOST:
        raise ValueError(f"networks: got {len(groups)} groups, expected at most {MOST}")
    if start is not None and start not in names:
        raise ValueError(f"start: got {start!r}, expected the name of a network")
    return Explorer(
        "marks panel controls network_map",
        networks=drawn,
        corners=list(CORNERS),
        network=names.index(start) if start is not None else 0,
        shown=groups,
        view="triangle",
        log=False,
        name=name,
        caption=caption,
    )


def _network(network: Mapping, name: str) -> dict:
    """Its texts, its packed arrays, and its numbers as pairs, which keep their order in JSON."""
    if not network.keys() >= _KEYS or not network.keys() <= _KEYS | {"numbers", "link"}:
        raise ValueError(f"{name}: got {sorted(network)}, expected {sorted(_KEYS)} and maybe numbers, link")
    (place,) = shares(as_numpy(network["place"], f"{name}['place']", 3)[None], f"{name}['place']")
    sizes = _finite(network["sizes"], f"{name}['sizes']", None)
    if not 2 <= len(sizes) <= _LONGEST or not (sizes > 0).all():
        raise ValueError(f"{name}['sizes']: got {sizes}, expected 2 to {_LONGEST} numbers above 0")
    overlaps = _finite(network["overlaps"], f"{name}['overlaps']", len(sizes), len(sizes))
    if np.abs(overlaps - overlaps.clip(0, 1)).max() > _ROUNDING or np.abs(overlaps - overlaps.T).max() > _ROUNDING:
        raise ValueError(f"{name}['overlaps']: got {overlaps}, expected a symmetric matrix of numbers from 0 to 1")
    numbers = {str(key): float(value) for key, value in network.get("numbers", {}).items()}
    if not np.isfinite([*numbers.values()]).all():
        raise ValueError(f"{name}['numbers']: got {numbers}, expected finite numbers")
    link = [str(text) for text in network.get("link", ())]
    if len(link) not in (0, 2):
        raise ValueError(f"{name}['link']: got {link}, expected (text, address)")
    return {
        "name": str(network["name"]),
        "group": str(network["group"]),
        "place": place.tolist(),
        "overlaps": _pack(overlaps.clip(0, 1)),
        "sizes": _pack(sizes),
        "numbers": [list(pair) for pair in numbers.items()],
        "link": link,
    }
