"""An explorer of the privileged basis: what it shows and reads for other settings of its knobs.

As in `explorers`: Python packs arrays. Here they are all that a reader can come to see, one picture a setting, as int8.
"""

import base64
from collections.abc import Mapping, Sequence

import numpy as np

from emt_core.book.explorers import Explorer, _finite, _text
from emt_core.book.figures import Values, as_numpy
from emt_core.support.checks import integer

_MOST = 150_000  # characters of all pictures: what a page may be asked to load
_LEVELS = 127  # of an int8, on each side of zero
_REACH = 2.0  # entries of the interaction beyond this look alike; those of Φ are 1 and −1


def basis_knobs(
    recursions: Sequence[str],
    alphas: Values,
    sigmas: Values,
    cutoffs: Values,
    interactions: Values,
    contents: Values,
    qualities: Mapping[str, Values],
    *,
    phi: Values,
    held: Values,
    times: Values,
    kept: Values,
    dim: int,
    caption: str = "",
    name: str = "",
) -> Explorer:
    """W_hh in the privileged basis, and what its memories hold, for R recursions, A values of α, G of the noise σ in
    the weights and C of the cut-off, a slider each.

    interactions: (R, A, G, C, K, K), Ψ*WΨ between the K entries that the basis keeps, rounded to 2/127 and clipped at
    ±2; contents: (R, A, G, C, T, K), of one sequence at T `times`, shown relative to the largest of their setting;
    qualities: for each name the number (R, A, G, C) that is told; phi: (K, K), entries that should be there are framed;
    held: (T, K) of ±1, a content of the other sign is crossed; kept: (S·D,), where K are True. It opens at the first
    value of all knobs; `recursion`, `alpha`, `sigma` and `cutoff`, counted from 0, follow the reader. The prose names
    values instead, and gets the nearest: `recursion=corrected&alpha=0.5&sigma=0.1&cutoff=0.03`.
    """
    knobs = {"alphas": alphas, "sigmas": sigmas, "cutoffs": cutoffs}
    values = {key: _finite(given, key, None).astype(float) for key, given in knobs.items()}
    settings = (len(recursions), *map(len, values.values()))
    if not all(settings):
        raise ValueError(f"recursions and knobs: got {settings} values, expected at least one of each")
    kept = as_numpy(kept, "kept", None).astype(bool)
    if integer("dim", dim, 1) and len(kept) % dim:
        raise ValueError(f"kept: got {len(kept)} entries, expected a multiple of dim, {dim}")
    count, times = int(kept.sum()), as_numpy(times, "times", None)
    interactions = _finite(interactions, "interactions", *settings, count, count)
    contents = _finite(contents, "contents", *settings, len(times), count)
    held = _finite(held, "held", len(times), count)
    if not np.isin(held, (-1, 1)).all():
        raise ValueError("held: got entries other than -1 and 1, expected only these")
    largest = np.abs(contents).max(axis=(-2, -1), keepdims=True, initial=1e-300)
    packed = {
        "interactions": _bytes(np.clip(interactions / _REACH, -1, 1)),
        "contents": _bytes(contents / largest, signed=True),
    }
    size = sum(map(len, packed.values()))
    if size > _MOST:
        raise ValueError(f"interactions: got {size} characters with contents, expected at most {_MOST}: fewer settings")
    return Explorer(
        "controls basis_knobs",
        recursions=[str(recursion) for recursion in recursions],
        **{key: array.tolist() for key, array in values.items()},
        texts={key: [_text(float(value)) for value in array] for key, array in values.items()},
        **packed,
        reach=_REACH / _LEVELS,
        qualities={
            key: _finite(given, f"qualities[{key!r}]", *settings).astype(float).ravel().round(3).tolist()
            for key, given in qualities.items()
        },
        phi=(_finite(phi, "phi", count, count) != 0).ravel().nonzero()[0].tolist(),
        held=held.astype(int).ravel().tolist(),
        times=[int(time) for time in times],
        places=kept.nonzero()[0].tolist(),
        history=len(kept) // dim,
        dim=dim,
        recursion=0,
        alpha=0,
        sigma=0,
        cutoff=0,
        name=name,
        caption=caption,
    )


def _bytes(array: np.ndarray, signed: bool = False) -> str:
    """Numbers from −1 to 1 as int8; if `signed`, what would be rounded to 0 keeps its sign."""
    levels = np.rint(_LEVELS * array)
    if signed:
        levels = np.where(levels == 0, np.sign(array), levels)
    return base64.b64encode(levels.astype(np.int8).tobytes()).decode("ascii")
