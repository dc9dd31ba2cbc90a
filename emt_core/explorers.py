"""Explorers: small anywidget views that run in the page itself, with no kernel and no network, and in Jupyter alike.

Python only packs arrays into the widget's state; everything a reader moves is computed by the scripts in `js/`. Arrays
travel as base64 text of little-endian float32: text survives a notebook's metadata and a static page as it is.
"""

import base64
from collections.abc import Mapping
from importlib.resources import files
from itertools import pairwise

import anywidget
import numpy as np
import traitlets
from scipy.optimize import linear_sum_assignment

from emt_core.figures import Values, as_numpy, multiplicities

_JS = files("emt_core") / "js"
_CSS = (_JS / "explorers.css").read_text(encoding="utf-8")


def _module(name: str) -> str:
    return "\n".join((_JS / file).read_text(encoding="utf-8") for file in ("common.js", name))


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode("ascii")


class EigenvalueFilm(anywidget.AnyWidget):
    """State of `eigenvalue_film`; `frame` follows the reader in Jupyter and can be set."""

    _esm = _module("eigenvalue_film.js")
    _css = _CSS
    frames = traitlets.Unicode().tag(sync=True)
    theory = traitlets.List().tag(sync=True)
    steps = traitlets.List().tag(sync=True)
    losses = traitlets.List().tag(sync=True)
    threshold = traitlets.Float().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)


class MemoryTravel(anywidget.AnyWidget):
    """State of `memory_travel`; `inputs`, S·D numbers ±1, follows the reader in Jupyter and can be set."""

    _esm = _module("memory_travel.js")
    _css = _CSS
    weights = traitlets.Dict().tag(sync=True)
    history = traitlets.Int().tag(sync=True)
    dim = traitlets.Int().tag(sync=True)
    steps = traitlets.Int().tag(sync=True)
    inputs = traitlets.List().tag(sync=True)
    presets = traitlets.Dict().tag(sync=True)
    editable = traitlets.Bool().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)


def _follow(frames: np.ndarray) -> np.ndarray:
    """(F, N) with each frame's values reordered to move least from the frame before, so that dots glide, not jump."""
    ordered = frames.copy()
    for before, after in pairwise(ordered):
        _, order = linear_sum_assignment(np.abs(before[:, None] - after[None, :]))
        after[:] = after[order]
    return ordered


def eigenvalue_film(
    frames: Values,
    theory: Values,
    steps: Values,
    losses: Values | None = None,
    threshold: float = 0.9,
    caption: str = "",
) -> EigenvalueFilm:
    """Eigenvalues moving through training, over the theory's, with a slider over the frames.

    frames: (F, N) complex, the eigenvalues at F training steps, in any order; theory: (K,) complex; steps: (F,);
    losses: (F,) or None. It opens at the first frame.
    """
    frames = as_numpy(frames, "frames", None, None)
    theory, steps = as_numpy(theory, "theory", None), as_numpy(steps, "steps", len(frames))
    losses = np.array([]) if losses is None else as_numpy(losses, "losses", len(frames))
    # State is JSON, which has no NaN.
    for name, array in (("frames", frames), ("theory", theory), ("losses", losses)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: got NaN or infinity, expected finite numbers")
    if not frames.size:
        raise ValueError(f"frames: got shape {frames.shape}, expected at least one frame with one eigenvalue")
    paths = _follow(frames)
    return EigenvalueFilm(
        frames=_pack(np.stack([paths.real, paths.imag], axis=-1)),
        theory=[[value.real, value.imag, count] for value, count in multiplicities(theory)],
        steps=[int(step) for step in steps],
        losses=[float(loss) for loss in losses],
        threshold=float(threshold),
        caption=caption,
    )


def _presets(history: int, dim: int) -> dict[str, np.ndarray]:
    rows, columns = np.indices((history, dim))
    # An arrow: a shape with a top, a bottom and a side, so that a reader sees it travel and turn.
    up, across = np.linspace(0, 1, history)[:, None], np.abs(np.linspace(-1, 1, dim))[None, :]
    arrow = np.where(up < 0.55, across <= up / 0.5 + 0.34, across <= 0.35)
    return {
        "all minus": np.full((history, dim), -1),
        "checkerboard": np.where((rows + columns) % 2, -1, 1),
        "picture": np.where(arrow, 1, -1),
    }


def memory_travel(
    W_uh: Values,
    W_hh: Values,
    W_r: Values,
    basis: Values,
    dual: Values,
    history: int,
    dim: int,
    *,
    operator: Values,
    initial: Values | None = None,
    steps: int = 40,
    presets: Mapping[str, Values] | None = None,
    editable: bool = False,
    caption: str = "",
) -> MemoryTravel:
    """A network run live in the page: inputs to click, contents of the memories, output beside the right one.

    W_uh: (N, D); W_hh: (N, N); W_r: (D, N); basis: (N, K) and dual: (K, N) with K >= S·D, memory columns first, oldest
    block first (further ones are left out); operator: (D, S·D), the task's F, from which the page computes the right
    output. initial and each of presets: (S, D) of ±1. `steps` counts the output phase. With `editable` the reader can
    flip the sign of a content, h ← h − 2 c_k Ψ_k, and the right output is then the one that the theory predicts.
    """
    if history < 1 or dim < 1 or steps < 1:
        raise ValueError(f"history, dim, steps: got {history}, {dim}, {steps}, expected 1 or more each")
    W_hh = as_numpy(W_hh, "W_hh", None, None)
    hidden, memory = len(W_hh), history * dim
    arrays = {
        "W_uh": as_numpy(W_uh, "W_uh", hidden, dim),
        "W_hh": as_numpy(W_hh, "W_hh", hidden, hidden),
        "W_r": as_numpy(W_r, "W_r", dim, hidden),
        "basis": as_numpy(basis, "basis", hidden, None)[:, :memory],
        "dual": as_numpy(dual, "dual", None, hidden)[:memory],
        "operator": as_numpy(operator, "operator", dim, memory),
    }
    for name, got in (("basis", arrays["basis"].shape[1]), ("dual", arrays["dual"].shape[0])):
        if got < memory:
            raise ValueError(f"{name}: got {got} variables, expected {memory} (history × dim) or more")
    for name, array in arrays.items():
        if np.iscomplexobj(array) or not np.isfinite(array).all():
            raise ValueError(f"{name}: got complex or non-finite entries, expected finite real numbers")
    if not editable:
        del arrays["basis"]  # only flips need it
    patterns = _presets(history, dim) if presets is None else dict(presets)
    patterns = {name: _bits(value, f"presets[{name!r}]", history, dim) for name, value in patterns.items()}
    default = next(reversed(patterns.values()), [1] * memory)
    return MemoryTravel(
        weights={name: _pack(array) for name, array in arrays.items()},
        history=history,
        dim=dim,
        steps=steps,
        inputs=default if initial is None else _bits(initial, "initial", history, dim),
        presets=patterns,
        editable=editable,
        caption=caption,
    )


def _bits(values: Values, name: str, history: int, dim: int) -> list[int]:
    array = as_numpy(values, name, history, dim)
    if not np.isin(array, (-1, 1)).all():
        raise ValueError(f"{name}: got entries other than -1 and 1, expected only these")
    return [int(value) for value in array.ravel()]
