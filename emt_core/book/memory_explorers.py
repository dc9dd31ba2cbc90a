"""An explorer of memories that run on by themselves: a reader kicks them, and sees whether they correct it or keep it.

As in `explorers`: Python packs arrays, the script in `js/` computes everything that a reader moves.
"""

from collections.abc import Mapping, Sequence
from typing import SupportsFloat

import numpy as np

from emt_core.book.explorers import Explorer, _finite, _pack, _presets
from emt_core.book.figures import Values, as_numpy
from emt_core.support.checks import integer, number

_MOST = 4  # networks: their weights are in the page
_KINDS = 3  # of directions


def memory_kicks(
    networks: Sequence[Mapping],
    initial: Values | None = None,
    *,
    steps: int = 10_000,
    start: int = 0,
    kicks: Sequence[Sequence[SupportsFloat]] = (),
    caption: str = "",
    name: str = "",
) -> Explorer:
    """Elman networks (tanh, no biases) that have read a sequence and run on in the page without input, kicked by the
    reader: the outputs beside the right ones, and the distance to a twin that is not kicked, relative to its length.

    networks: 1 to 4, each with its own "name", "W_uh" (N, D), "W_hh" (N, N), "W_r" (D, N), the task's F as "operator"
    (D, S·D), and as "basis" (N, K) columns that span the memories, but not all of the state; S and D are the same for
    all. initial: (S, D) of ±1, the sequence that they have read, oldest first, by default an arrow. They run for at
    most `steps` output steps, in float64, from weights in float32. It opens at output step `start`.

    A kick moves the state by `size`, 0 to 1, times its length, after an output step. kicks: those that it opens with,
    (step, size, kind, key) each; kind is 0 for any direction, 1 for one within the memories, 2 for one outside of (that
    is orthogonal to) them; key, an integer from 1, names a direction: the same key, the same kick. Without the last
    ones kind is 0, and the key is the kick's number in the list, as it is of those that the reader makes.

    `network` (from 0), `kicks`, `step`, and the next kick's `size` and `kind` follow the reader. The run is what these
    say, whatever was before. "Kick the second network by 0.2 after step 40, and run 400 steps on":
    `network=1&kicks=[[40,0.2]]&step=440`.
    """
    if not 1 <= len(networks) <= _MOST:
        raise ValueError(f"networks: got {len(networks)}, expected 1 to {_MOST}")
    dim, _ = as_numpy(networks[0].get("W_r", ()), "networks[0]['W_r']", None, None).shape
    _, memory = as_numpy(networks[0].get("operator", ()), "networks[0]['operator']", dim, None).shape
    if not dim * memory or memory % dim:
        raise ValueError(f"networks[0]['operator']: got shape {(dim, memory)}, expected (D, S·D) with D = {dim}")
    names = [str(network.get("name", "")) for network in networks]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"networks: got the names {names}, expected a different one for each")
    history = memory // dim
    signs = as_numpy(_presets(history, dim)["picture"] if initial is None else initial, "initial", history, dim)
    if not np.isin(signs, (-1, 1)).all():
        raise ValueError("initial: got entries other than -1 and 1, expected only these")
    steps, start = integer("steps", steps, 1), integer("start", start, 0)
    if start > steps:
        raise ValueError(f"start: got {start}, expected a step from 0 to {steps} (steps)")
    return Explorer(
        "panel controls memory_kicks",
        networks=[_network(network, f"networks[{i}]", memory, dim) for i, network in enumerate(networks)],
        inputs=signs.astype(int).ravel().tolist(),
        dim=dim,
        steps=steps,
        network=0,
        step=start,
        kicks=[_kick(kick, i, steps) for i, kick in enumerate(kicks)],
        size=0.2,
        kind=0,
        name=name,
        caption=caption,
    )


def _network(network: Mapping, name: str, memory: int, dim: int) -> dict[str, str]:
    """Its name and its packed arrays, with an orthonormal basis of the memories as "frame" (N, rank)."""
    hidden = len(as_numpy(network.get("W_hh", ()), f"{name}['W_hh']", None, None))
    basis = _finite(network.get("basis", ()), f"{name}['basis']", hidden, None).astype(float)
    frame, values, _ = np.linalg.svd(basis, full_matrices=False)
    # what float32 cannot tell from 0 spans nothing
    rank = int((values > hidden * np.finfo("f4").eps * values.max(initial=0)).sum())
    if not 0 < rank < hidden:
        raise ValueError(f"{name}['basis']: got rank {rank}, expected 1 to {hidden - 1} (N − 1)")
    shapes = {"W_uh": (hidden, dim), "W_hh": (hidden, hidden), "W_r": (dim, hidden), "operator": (dim, memory)}
    packed = {key: _pack(_finite(network.get(key, ()), f"{name}[{key!r}]", *shape)) for key, shape in shapes.items()}
    return {"name": str(network["name"]), **packed, "frame": _pack(frame[:, :rank])}


def _kick(kick: Sequence[SupportsFloat], i: int, steps: int) -> list[int | float]:
    if not 2 <= len(kick) <= 4:
        raise ValueError(f"kicks[{i}]: got {kick}, expected (step, size, kind, key), at least the first two")
    at, size, kind, key = list(kick) + [0, i + 1][len(kick) - 2 :]
    at, kind, key = (integer(f"kicks[{i}]", value, low) for value, low in ((at, 0), (kind, 0), (key, 1)))
    size = number(f"kicks[{i}]", size, False)
    if at > steps or size > 1 or kind >= _KINDS:
        raise ValueError(f"kicks[{i}]: got {kick}, expected step, size and kind up to {(steps, 1, _KINDS - 1)}")
    return [at, size, kind, key]
