"""Explorers: small anywidget views that run in the page itself, with no kernel and no network, and in Jupyter alike.

Python only packs arrays into the widget's state; everything a reader moves is computed by the scripts in `js/`. Arrays
travel as base64 text of little-endian float32: text survives a notebook's metadata and a static page as it is.
"""

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import pairwise
from typing import Any

import anywidget
import numpy as np
import traitlets
from scipy.optimize import linear_sum_assignment

from emt_core.book.figures import Values, as_numpy, multiplicities

_JS = files("emt_core.book") / "js"
_CSS = (_JS / "explorers.css").read_text(encoding="utf-8")


def _module(*names: str) -> str:
    return "\n".join((_JS / file).read_text(encoding="utf-8") for file in ("common.js", *names))


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode("ascii")


def _synced(count: int, kind: type[traitlets.TraitType], *default: Any) -> Any:
    """So many traits of one kind that Python and the page share."""
    return [kind(*default).tag(sync=True) for _ in range(count)]


class EigenvalueFilm(anywidget.AnyWidget):
    """State of `eigenvalue_film`; `frame` follows the reader in Jupyter and can be set."""

    _esm = _module("complex_plane.js", "eigenvalue_film.js")
    _css = _CSS
    frames, caption = _synced(2, traitlets.Unicode)
    theory, steps, losses = _synced(3, traitlets.List)
    threshold = traitlets.Float().tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)


class MemoryTravel(anywidget.AnyWidget):
    """State of `memory_travel`; `inputs`, S·D numbers ±1, follows the reader in Jupyter and can be set."""

    _esm = _module("memory_travel.js")
    _css = _CSS
    weights, presets = _synced(2, traitlets.Dict)
    history, dim, steps = _synced(3, traitlets.Int)
    inputs = traitlets.List().tag(sync=True)
    editable = traitlets.Bool().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)


class SequenceWalk(anywidget.AnyWidget):
    """State of `sequence_walk`; `frame` follows the reader in Jupyter and can be set."""

    _esm = _module("panel.js", "sequence_walk.js")
    _css = _CSS
    times, labels = _synced(2, traitlets.List)
    overlaps, surface, path, position, caption = _synced(5, traitlets.Unicode)
    frame = traitlets.Int(0).tag(sync=True)


class PhaseMap(anywidget.AnyWidget):
    """State of `phase_map`; `cell`, [row, column], and `seed` follow the reader in Jupyter and can be set."""

    _esm = _module("complex_plane.js", "phase_map.js")
    _css = _CSS
    rows, columns, theory = _synced(3, traitlets.List)
    row_name, column_name, spectra, caption = _synced(4, traitlets.Unicode)
    seeds = traitlets.Int().tag(sync=True)
    layers = traitlets.Dict().tag(sync=True)
    threshold = traitlets.Float().tag(sync=True)
    cell = traitlets.List([0, 0]).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)


def _follow(frames: np.ndarray) -> np.ndarray:
    """(F, N) with each frame's values reordered to move least from the frame before, so that dots glide, not jump."""
    ordered = frames.copy()
    for before, after in pairwise(ordered):
        _, order = linear_sum_assignment(np.abs(before[:, None] - after[None, :]))
        after[:] = after[order]
    return ordered


def _rings(theory: np.ndarray) -> list[list[float | int]]:
    return [[value.real, value.imag, count] for value, count in multiplicities(theory)]


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
        theory=_rings(theory),
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
    patterns: dict[str, Any] = _presets(history, dim) if presets is None else dict(presets)
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


def _finite(values: Values, name: str, *shape: int | None) -> np.ndarray:
    array = as_numpy(values, name, *shape)
    if np.iscomplexobj(array) or not np.isfinite(array).all():
        raise ValueError(f"{name}: got complex or non-finite entries, expected finite real numbers")
    return array


def sequence_walk(
    times: Values,
    overlaps: Values,
    surface: Values,
    path: Values,
    position: Values,
    *,
    labels: Sequence[str] | None = None,
    caption: str = "",
) -> SequenceWalk:
    """A network that recalls K memories in turn, over the energy that tilts towards the next one.

    times: (F,), increasing; overlaps: (F, K), of the state with each memory; surface: (F, P), the energy at each time
    along the closed way memory 1 → 2 → … → K → 1; path: (P,), increasing from 1 to K + 1, where on that way the points
    are (a whole number: at a memory); position: (F,), where on it the state is, NaN where it is near no part of it.
    labels: K short names, by default the numbers from 1. The page shows each time's energy minus its mean over the
    path, since only differences tell.
    """
    overlaps = _finite(overlaps, "overlaps", None, None)
    frames, count = overlaps.shape
    if frames < 2 or count < 2:
        raise ValueError(f"overlaps: got shape {overlaps.shape}, expected two frames and two memories or more")
    times, path = _finite(times, "times", frames), _finite(path, "path", None)
    surface = _finite(surface, "surface", frames, len(path))
    if not (np.diff(times) > 0).all():
        raise ValueError("times: got numbers that do not increase, expected increasing ones")
    if len(path) < 2 or not (np.diff(path) > 0).all() or not np.allclose(path[[0, -1]], [1, count + 1]):
        raise ValueError(f"path: got {path}, expected numbers increasing from 1 to {count + 1} (memories + 1)")
    position = as_numpy(position, "position", frames)
    if not (np.isnan(position) | ((position >= 1) & (position <= count + 1))).all():
        raise ValueError(f"position: got places off the path, expected NaN or numbers from 1 to {count + 1}")
    labels = [str(k + 1) for k in range(count)] if labels is None else [str(label) for label in labels]
    if len(labels) != count:
        raise ValueError(f"labels: got {len(labels)}, expected {count}, one for each memory")
    mean = np.trapezoid(surface, path, axis=1) / (path[-1] - path[0])
    return SequenceWalk(
        times=[float(time) for time in times],
        overlaps=_pack(overlaps),
        surface=_pack(surface - mean[:, None]),  # in float64, before float32 could lose small differences
        path=_pack(path),
        position=_pack(position),
        labels=labels,
        caption=caption,
    )


def phase_map(
    rows: Values,
    columns: Values,
    layers: Mapping[str, Values],
    spectra: Values,
    theory: Values,
    *,
    row_name: str,
    column_name: str,
    threshold: float = 0.9,
    caption: str = "",
) -> PhaseMap:
    """What became of networks trained with R × C settings, several seeds each, and the eigenvalues of every network.

    rows, columns: the R and C settings, numbers or texts; layers: for each name what was measured, (R, C, seeds) in
    [0, 1] or NaN where it was not; spectra: (R, C, seeds, N) complex, NaN where a network has fewer than N eigenvalues;
    theory: (K,) complex. It opens at the first layer, row, column and seed (counted from 0); set `cell` and `seed` to
    open it elsewhere.
    """
    theory = as_numpy(theory, "theory", None)
    spectra = as_numpy(spectra, "spectra", len(rows), len(columns), None, None)
    if not spectra.size:
        raise ValueError(f"spectra: got shape {spectra.shape}, expected at least one network with one eigenvalue")
    if np.isinf(spectra).any():
        raise ValueError("spectra: got infinity, expected finite numbers, or NaN where there is none")
    if not np.isfinite(theory).all():
        raise ValueError("theory: got NaN or infinity, expected finite numbers")
    if not layers:
        raise ValueError("layers: got none, expected at least one")
    measured = {}
    for name, values in layers.items():
        array = as_numpy(values, f"layers[{name!r}]", *spectra.shape[:3])
        if not (np.isnan(array) | ((array >= 0) & (array <= 1))).all():
            raise ValueError(f"layers[{name!r}]: got values outside [0, 1], expected them inside, or NaN")
        measured[name] = _pack(array)
    spectra = np.where(np.isnan(spectra), complex(np.nan, np.nan), spectra)  # else nan + 0j keeps a finite part
    texts = [[v if isinstance(v, str) else f"{v:g}".replace("e-0", "e-") for v in some] for some in (rows, columns)]
    return PhaseMap(
        rows=texts[0],
        columns=texts[1],
        row_name=row_name,
        column_name=column_name,
        seeds=spectra.shape[2],
        layers=measured,
        spectra=_pack(np.stack([spectra.real, spectra.imag], axis=-1)),
        theory=_rings(theory),
        threshold=float(threshold),
        caption=caption,
    )
