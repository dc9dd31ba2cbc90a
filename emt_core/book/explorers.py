"""Explorers: small anywidget views that run in the page itself, with no kernel and no network, and in Jupyter alike.

Python only packs arrays into the widget's state; everything a reader moves is computed by the scripts in `js/`. Arrays
travel as base64 text of little-endian float32: text survives a notebook's metadata and a static page as it is.

An explorer with a `name` can be set from the prose around it. In a chapter, below
`explorers.memory_travel(..., name="travel")`::

    Go to <button class="emt-set" name="travel" value="step=12">step 12</button>, or
    <button class="emt-set" name="travel" value="preset=checkerboard&step=20">another input</button>.

The button's `value` says, as in an address, what "follows the reader" in the function's description: numbers, lists
(`edits=[[9,2,1]]`) or texts. Where scripts do not run, and in a printed book, the words are left.
"""

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import pairwise
from operator import index
from typing import Any, SupportsFloat, SupportsIndex

import anywidget
import numpy as np
from scipy.optimize import linear_sum_assignment
from traitlets import Bool, Dict, Float, Int, List, TraitType, Unicode

from emt_core.book.figures import Values, as_numpy, multiplicities
from emt_core.support.checks import integer

_JS = files("emt_core.book") / "js"
_KINDS: dict[type, type[TraitType]] = {bool: Bool, int: Int, float: Float, list: List, dict: Dict}  # the rest is text


class Explorer(anywidget.AnyWidget):
    """A view, drawn by `scripts` of `js/`, and its state: traits that Python and the page share.
    What a reader moves follows them in Jupyter and can be set, to a value of the same kind as it has at first."""

    _css = (_JS / "explorers.css").read_text(encoding="utf-8")

    def __init__(self, scripts: str, **state: Any) -> None:
        self._esm = "\n".join((_JS / f"{name}.js").read_text(encoding="utf-8") for name in ["common", *scripts.split()])
        self.add_traits(**{name: _KINDS.get(type(value), Unicode)().tag(sync=True) for name, value in state.items()})
        super().__init__(**state)


def _pack(array: np.ndarray) -> str:
    """Complex numbers as pairs, the real part first."""
    kind = "<c8" if np.iscomplexobj(array) else "<f4"
    return base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode("ascii")


def _finite(values: Values, name: str, *shape: int | None, real: bool = True, missing: bool = False) -> np.ndarray:
    """As `as_numpy`, all of them finite, or NaN where there may be `missing` ones."""
    array = as_numpy(values, name, *shape, real=real)
    if not (np.isfinite(array) | (missing & np.isnan(array))).all():
        raise ValueError(f"{name}: got {'' if missing else 'NaN or '}infinity, expected finite numbers")
    return array


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int | np.integer) else f"{value:g}".replace("e-0", "e-")


def _rings(theory: np.ndarray) -> list[list[float | int]]:
    return [[value.real, value.imag, count] for value, count in multiplicities(theory)]


def eigenvalue_film(
    frames: Values, theory: Values, steps: Values, losses: Values, threshold: float = 0.9, caption: str = "",
    *, start: SupportsFloat | None = None, name: str = "",
) -> Explorer:  # fmt: skip
    """Eigenvalues moving through training, over the theory's, with a slider over the frames; beside them the number
    outside radius `threshold` and the loss against the step, each with a cursor at the frame: a press there moves it.
    frames: (F, N) complex, the eigenvalues at F training steps, in any order; theory: (K,) complex; steps: (F,),
    increasing; losses: (F,). It opens at the frame nearest to training step `start`, by default at the last one;
    `frame` follows the reader, and the prose may also set a `step`."""
    frames = _finite(frames, "frames", None, None, real=False).astype(complex)  # a copy
    if not frames.size:
        raise ValueError(f"frames: got shape {frames.shape}, expected at least one frame with one eigenvalue")
    for before, after in pairwise(frames):  # reordered to move least, so that dots glide, not jump
        after[:] = after[linear_sum_assignment(np.abs(before[:, None] - after))[1]]
    steps = _finite(steps, "steps", len(frames)).astype(int)
    if not (np.diff(steps) > 0).all():
        raise ValueError(f"steps: got {steps}, expected increasing numbers")
    return Explorer(
        "complex_plane panel controls eigenvalue_film",
        frames=_pack(frames),
        frame=len(steps) - 1 if start is None else int(np.abs(steps - float(start)).argmin()),
        theory=_rings(_finite(theory, "theory", None, real=False)),
        steps=steps.tolist(),
        losses=_finite(losses, "losses", len(frames)).astype(float).tolist(),
        threshold=float(threshold),
        name=name,
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
    editable: bool = False,
    caption: str = "",
    start: int | None = None,
    edits: Sequence[Sequence[int]] = (),
    name: str = "",
) -> Explorer:
    """A network run live in the page: inputs to click, contents of the memories, output beside the right one.

    W_uh: (N, D); W_hh: (N, N); W_r: (D, N); basis: (N, K) and dual: (K, N) with K >= S·D, memory columns first, oldest
    block first (further ones are left out); operator: (D, S·D), the task's F, from which the page computes the right
    output. initial: (S, D) of ±1, by default an arrow. `steps` counts the output phase. It opens at step `start`, 0 to
    S + steps, by default 2S: as far into the output phase as the input phase is long. With `editable` the reader can
    flip the sign of a content, h ← h − 2 c_k Ψ_k, and sees the run without the edit beside it; the right output is then
    the one that the theory predicts. edits: those that it opens with, (step, variable, dimension) each, the last two
    counted from 1. `inputs` (S·D numbers ±1), `step` and `edits` follow the reader.
    """
    history, dim, steps = integer("history", history, 1), integer("dim", dim, 1), integer("steps", steps, 1)
    hidden, memory = len(as_numpy(W_hh, "W_hh", None, None)), history * dim
    arrays = {
        "W_uh": _finite(W_uh, "W_uh", hidden, dim),
        "W_hh": _finite(W_hh, "W_hh", hidden, hidden),
        "W_r": _finite(W_r, "W_r", dim, hidden),
        "basis": _finite(as_numpy(basis, "basis", hidden, None)[:, :memory], "basis", hidden, memory),
        "dual": _finite(as_numpy(dual, "dual", None, hidden)[:memory], "dual", memory, hidden),
        "operator": _finite(operator, "operator", dim, memory),
    }
    if not editable:
        del arrays["basis"]  # only flips need it
    presets = _presets(history, dim)
    inputs = as_numpy(presets["picture"] if initial is None else initial, "initial", history, dim)
    if not np.isin(inputs, (-1, 1)).all():
        raise ValueError("initial: got entries other than -1 and 1, expected only these")
    last = history + steps
    start = min(2 * history, last) if start is None else integer("start", start, 0)
    if start > last:
        raise ValueError(f"start: got {start}, expected a step from 0 to {last} (history + steps)")
    edits = [[integer("edits", number, 1) for number in edit] for edit in edits]
    if edits and not editable:
        raise ValueError("edits: got some, expected none where the explorer is not editable")
    for edit in edits:
        if len(edit) != 3 or any(got > most for got, most in zip(edit, (last, history, dim), strict=True)):
            raise ValueError(f"edits: got {edit}, expected (step, variable, dimension) up to {(last, history, dim)}")
    return Explorer(
        "controls memory_travel",
        weights={name: _pack(array) for name, array in arrays.items()},
        history=history,
        dim=dim,
        steps=steps,
        inputs=inputs.astype(int).ravel().tolist(),
        presets={name: pattern.ravel().tolist() for name, pattern in presets.items()},
        editable=editable,
        step=start,
        edits=edits,
        name=name,
        caption=caption,
    )


def sequence_walk(
    times: Values,
    overlaps: Values,
    surface: Values,
    path: Values,
    position: Values,
    *,
    caption: str = "",
    name: str = "",
) -> Explorer:
    """A network that recalls K memories in turn, over the energy that tilts towards the next one.

    times: (F,), increasing; overlaps: (F, K), of the state with each memory; surface: (F, P), the energy at each time
    along the closed way memory 1 → 2 → … → K → 1; path: (P,), increasing from 1 to K + 1, where on that way the points
    are (a whole number: at a memory); position: (F,), where on it the state is, NaN where it is near no part of it.
    The page shows each energy minus its mean over the path, since only differences tell. `frame` follows the reader.
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
    mean = np.trapezoid(surface, path, axis=1) / (path[-1] - path[0])
    return Explorer(
        "panel sequence_walk",
        times=times.astype(float).tolist(),
        overlaps=_pack(overlaps),
        surface=_pack(surface - mean[:, None]),  # in float64, before float32 could lose small differences
        path=_pack(path),
        position=_pack(position),
        labels=[str(k) for k in range(1, count + 1)],
        frame=0,
        name=name,
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
    row_unit: str = "",
    column_unit: str = "",
    explain: Mapping[str, str] | None = None,
    name: str = "",
) -> Explorer:
    """What became of networks trained with R × C settings, several seeds each, and the eigenvalues of every network.

    rows, columns: the R and C settings, numbers or texts; layers: for each name what was measured, (R, C, seeds) in
    [0, 1] or NaN where it was not; spectra: (R, C, seeds, N) complex, NaN where a network has fewer than N eigenvalues;
    theory: (K,) complex. row_unit, column_unit: what the settings are counted in; explain: for a layer, what its number
    says ("signs that are right"). It opens at the first layer, row, column and seed; `cell`, [row, column] from 0, and
    `seed` follow the reader.
    """
    spectra = _finite(spectra, "spectra", len(rows), len(columns), None, None, real=False, missing=True)
    if not spectra.size:
        raise ValueError(f"spectra: got shape {spectra.shape}, expected at least one network with one eigenvalue")
    if not layers:
        raise ValueError("layers: got none, expected at least one")
    measured = {name: as_numpy(values, f"layers[{name!r}]", *spectra.shape[:3]) for name, values in layers.items()}
    for layer, array in measured.items():
        if not (np.isnan(array) | ((array >= 0) & (array <= 1))).all():
            raise ValueError(f"layers[{layer!r}]: got values outside [0, 1], expected them inside, or NaN")
    explain = dict(explain or {})
    if not explain.keys() <= measured.keys():
        raise ValueError(f"explain: got {sorted(explain)}, expected names of layers, {sorted(measured)}")
    return Explorer(
        "complex_plane controls phase_map",
        rows=[_text(value) for value in rows],
        columns=[_text(value) for value in columns],
        row_name=row_name,
        column_name=column_name,
        row_unit=row_unit,
        column_unit=column_unit,
        explain=explain,
        name=name,
        seeds=spectra.shape[2],
        layers={name: _pack(array) for name, array in measured.items()},
        spectra=_pack(np.where(np.isnan(spectra), complex(np.nan, np.nan), spectra)),  # nan + 0j has a finite part
        theory=_rings(_finite(theory, "theory", None, real=False)),
        threshold=float(threshold),
        cell=[0, 0],
        seed=0,
        caption=caption,
    )


def predict(
    question: str, choices: Sequence[str], answer: SupportsIndex | str, because: str = "", *, name: str = ""
) -> Explorer:
    """A question that the reader answers before the page does: a button for each choice, then "Reveal".

    choices: two or more texts; answer: the right one, its number from 0 or its text, as this run found it; because:
    what is told with it. All texts may hold *emphasis*, **strong emphasis** and `code`. `guess` (-1: none yet) and
    `revealed` follow the reader.
    """
    choices = [str(choice) for choice in choices]
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise ValueError(f"choices: got {choices}, expected two or more different texts")
    right = choices.index(answer) if answer in choices else -1 if isinstance(answer, str) else index(answer)
    if not 0 <= right < len(choices):
        raise ValueError(f"answer: got {answer!r}, expected one of {choices} or its number from 0")
    state = {"choices": choices, "answer": right, "guess": -1, "because": because, "name": name}
    return Explorer("controls predict", question=question, revealed=False, **state)


def guess(
    question: str,
    low: SupportsFloat,
    high: SupportsFloat,
    answer: SupportsFloat,
    unit: str = "",
    because: str = "",
    *,
    step: SupportsFloat | None = None,
    name: str = "",
) -> Explorer:
    """As `predict`, for a number: a slider from `low` to `high`, then the run's own number beside the guess.

    It opens in the middle and moves by `step`, by default a hundredth of the way. unit: written after numbers; with "%"
    low, high and answer are fractions (0.95) and shown in percent (95 %). `guess` and `revealed` follow the reader.
    """
    low, high, answer = float(low), float(high), float(answer)
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"high: got {low} to {high}, expected finite numbers, low below high")
    if not low <= answer <= high:
        raise ValueError(f"answer: got {answer}, expected a number from {low} to {high} (low, high)")
    step = (high - low) / 100 if step is None else float(step)
    if not 0 < step <= high - low:
        raise ValueError(f"step: got {step}, expected a number above 0, at most {high - low} (high − low)")
    scale = {"low": low, "high": high, "step": step, "unit": unit, "answer": answer}
    middle = low + step * round((high - low) / step / 2)
    texts = {"question": question, "because": because, "name": name}
    return Explorer("controls predict", choices=[], guess=middle, revealed=False, **scale, **texts)
