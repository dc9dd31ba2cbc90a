"""The book's still pictures: arrays in, matplotlib Axes or Figure out. No training and no theory here.

Arrays may be NumPy arrays, tensors on any device, or nested sequences. Colours are Okabe and Ito's, told apart by the
colour-blind; sign and kind are never shown by colour alone where a reader must decide by them. The background is white,
so that the site can invert a picture for dark mode.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

Values = np.ndarray | torch.Tensor | Sequence

STYLE = mpl.rc_params_from_file(Path(__file__).with_name("emt.mplstyle"), use_default_template=False)
LINES = BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK = STYLE["axes.prop_cycle"].by_key()["color"]
DIVERGING = LinearSegmentedColormap.from_list("emt", ["#00456e", BLUE, "#ffffff", VERMILLION, "#7a3600"])


def style() -> AbstractContextManager:
    """The book's settings within a block: `with style(): ...`."""
    return plt.rc_context(STYLE)


def use_style() -> None:
    """The book's settings from here on; in a notebook, pictures become SVG without a date (equal runs, equal bytes)."""
    mpl.rcParams.update(STYLE)
    from IPython import get_ipython

    if get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


def as_numpy(values: Values, name: str, *shape: int | None, real: bool = False) -> np.ndarray:
    """`values` as an array of this shape (None: any length), real on request, or a ValueError naming `name`."""
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.ndim != len(shape) or any(want not in (None, got) for got, want in zip(array.shape, shape, strict=True)):
        expected = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name}: got shape {array.shape}, expected ({expected})")
    if real and np.iscomplexobj(array):
        raise ValueError(f"{name}: got {array.dtype}, expected real numbers")
    return array


def multiplicities(values: np.ndarray, tolerance: float = 1e-3) -> list[tuple[complex, int]]:
    """The distinct values among (K,) complex ones, each with how often it occurs."""
    left, found = np.asarray(values), []
    while left.size:
        same = np.abs(left - left[0]) < tolerance
        found.append((complex(left[same].mean()), int(same.sum())))
        left = left[~same]
    return found


def eigenvalues(
    learned: Values, theory: Values, *, threshold: float = 0.9, ax: Axes | None = None, title: str = "",
    label: str = "learned",
) -> Axes:  # fmt: skip
    """Learned eigenvalues (N,) as dots over the theory's (K,) as rings, in the complex plane.
    The full circle has radius 1, the dashed one `threshold`. A theoretical value beyond the threshold that occurs more
    than once carries its multiplicity; learned dots are translucent, so that dots on top of each other look darker."""
    learned, theory = as_numpy(learned, "learned", None), as_numpy(theory, "theory", None)
    ax = ax or plt.subplots(figsize=(5.2, 5.6))[1]
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 361))
    for radius, dash, name in ((1.0, "-", None), (threshold, "--", f"radius {threshold:g}")):
        ax.plot(radius * circle.real, radius * circle.imag, dash, color="#777777", linewidth=1, zorder=1, label=name)
    distinct = multiplicities(theory)
    centres = np.array([value for value, _ in distinct], dtype=complex)
    ax.scatter(centres.real, centres.imag, s=110, facecolors="none", edgecolors=BLACK, linewidths=1.3, zorder=2,
               label="theory (×: multiplicity)" if any(n > 1 for _, n in distinct) else "theory")  # fmt: skip
    ax.scatter(learned.real, learned.imag, s=26, color=VERMILLION, alpha=0.6, linewidths=0, zorder=3, label=label)
    for value, count in distinct:
        if count > 1 and abs(value) > threshold:
            at = value * (1 + 0.17 / abs(value))
            ax.text(at.real, at.imag, f"×{count}", ha="center", va="center", fontsize=11)
    reach = max(1.3, 1.08 * float(np.abs(np.concatenate([learned, theory])).max(initial=0.0)))
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="real part", ylabel="imaginary part")
    ax.set_title(title)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, columnspacing=1.2, handletextpad=0.4)
    return ax


def _blocks(matrix: Values, name: str, history: int, dim: int) -> np.ndarray:
    matrix = as_numpy(matrix, name, None, None, real=True)
    side = history * dim
    if matrix.shape[0] != matrix.shape[1] or len(matrix) < side:
        raise ValueError(f"{name}: got shape {matrix.shape}, expected a square of side {side} (history × dim) or more")
    return matrix


def _framed(ax: Axes, matrix: np.ndarray, vmax: float, title: str, **font: Any) -> None:
    """A matrix on the diverging scale from -vmax to vmax, in a frame without ticks."""
    ax.imshow(matrix, cmap=DIVERGING, vmin=-vmax, vmax=vmax)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(True)
    ax.set_title(title, **font)


def _panels(count: int, columns: int, panel: tuple, margin: tuple) -> tuple[Figure, np.ndarray]:
    """A figure and its Axes, (rows, columns); those beyond `count` are blank. Sizes are (width, height) in inches."""
    columns = min(columns, count)
    rows = -(-count // columns)
    size = margin[0] + panel[0] * columns, margin[1] + panel[1] * rows
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return figure, axes


def block_grid(
    matrix: Values, history: int, dim: int, *, ax: Axes | None = None, title: str = "", vmax: float | None = None
) -> Axes:
    """A (K, K) matrix in the basis of variable memories, K >= S·D: thin lines part the blocks of side `dim`.
    Rows and columns beyond S·D (residual components) lie behind a heavy line, under the label "rest". Colours run from
    -vmax to vmax, by default the largest modulus of an entry."""
    matrix = _blocks(matrix, "matrix", history, dim)
    ax = ax or plt.subplots(figsize=(5.6, 5.2))[1]
    side, memory = len(matrix), history * dim
    _framed(ax, matrix, float(np.abs(matrix).max()) if vmax is None else vmax, title)
    lines = [(k * dim, "#999999", 0.7) for k in range(1, history)]
    ticks = [k * dim + (dim - 1) / 2 for k in range(history)]
    labels = [rf"$\Psi_{{{k}}}$" for k in range(1, history + 1)]
    if side > memory:
        lines += [(memory, "black", 2)]
        ticks, labels = [*ticks, (memory + side - 1) / 2], [*labels, "rest"]
    for place, color, width in lines:
        ax.axhline(place - 0.5, color=color, linewidth=width)
        ax.axvline(place - 0.5, color=color, linewidth=width)
    ax.set_xticks(ticks, labels)
    ax.set_yticks(ticks, labels)
    return ax


def block_grids(matrices: Sequence[Values], titles: Sequence[str], history: int, dim: int) -> Figure:
    """A `block_grid` for each of several (K, K) matrices, two in a row, on one colour scale with one colour bar."""
    if len(matrices) != len(titles) or not len(matrices):
        raise ValueError(f"titles: got {len(titles)} for {len(matrices)} matrices, expected one each and at least one")
    matrices = [_blocks(matrix, f"matrices[{i}]", history, dim) for i, matrix in enumerate(matrices)]
    figure, axes = _panels(len(matrices), 2, panel=(3.1, 3.2), margin=(0.7, 0.0))
    vmax = max(float(np.abs(matrix).max()) for matrix in matrices)
    for ax, matrix, title in zip(axes.flat, matrices, titles, strict=False):
        block_grid(matrix, history, dim, ax=ax, title=title, vmax=vmax)
    figure.colorbar(axes.flat[0].images[0], ax=axes, shrink=0.8, aspect=25)
    return figure


def memory_strip(contents: Values, history: int, dim: int, times: Sequence[int], *, first: int = 0) -> Figure:
    """What each variable memory holds at some times: one S × D panel a time (row = variable, oldest on top).
    contents: (T, K) with K >= S·D, oldest block first, further columns ignored; its row 0 is time `first`. Five panels
    in a row. Colours are symmetric about 0 and common to all panels."""
    contents = as_numpy(contents, "contents", None, None, real=True)
    if contents.shape[1] < history * dim:
        raise ValueError(f"contents: got {contents.shape[1]} columns, expected {history * dim} (history × dim) or more")
    times = [int(time) for time in times]
    if not times or not all(first <= time < first + len(contents) for time in times):
        raise ValueError(f"times: got {times}, expected at least one, all from {first} to {first + len(contents) - 1}")
    panels = contents[np.array(times) - first, : history * dim].reshape(-1, history, dim)
    height = 0.35 + 1.15 * min(max(history / dim, 0.5), 2.0)
    figure, axes = _panels(len(times), 5, panel=(1.2, height), margin=(0.8, 0.4))
    vmax = float(np.abs(panels).max()) or 1.0
    for ax, panel, time in zip(axes.flat, panels, times, strict=False):
        _framed(ax, panel, vmax, f"t = {time}", fontsize=12)
        ax.set(xticks=[], yticks=[])
    for ax in axes[:, 0]:
        ax.set_yticks([0, history - 1], [r"$\Psi_1$", rf"$\Psi_{{{history}}}$"])
    figure.colorbar(axes.flat[0].images[0], ax=axes, shrink=0.9, aspect=25)
    return figure


def _ensemble(values: Values, name: str, length: int) -> np.ndarray:
    """(length,) or (M, length) as (M, length)."""
    values = values.detach().cpu() if isinstance(values, torch.Tensor) else values
    return as_numpy(np.atleast_2d(values), name, None, length)


def curves(x: Values, ys: Values, *, ylabel: str, xlabel: str = "training step", log: bool = False) -> Axes:
    """Lines over x (X,): one model, (X,), or an ensemble, (M, X), each a thin line and their median a bold one.
    Where a model is NaN the median is too: a gap, not a silent omission."""
    x = as_numpy(x, "x", None)
    ys = _ensemble(ys, "ys", len(x))
    ax = plt.subplots()[1]
    if len(ys) > 1:
        ax.plot(x, ys.T, color=BLUE, linewidth=0.8, alpha=0.4)
    ax.plot(x, np.median(ys, axis=0), color=BLUE, linewidth=2.4)
    ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    return ax


def staircase(steps: Values, counts: Values, loss: Values, *, expected: int | None = None) -> Figure:
    """Eigenvalues found above, loss (log) below, over shared training steps (X,): both (X,) or (M, X).
    `expected`, the theory's count, is drawn dashed."""
    steps = as_numpy(steps, "steps", None)
    counts, loss = _ensemble(counts, "counts", len(steps)), _ensemble(loss, "loss", len(steps))
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(6.0, 5.0))
    faint = 1.0 if len(counts) == 1 else 0.5
    above.step(steps, counts.T, where="post", color=BLUE, alpha=faint)
    if expected is not None:
        above.axhline(expected, color="#777777", linestyle="--", linewidth=1, label=f"theory: {expected}")
        above.legend(loc="lower right")
    above.set_ylabel("eigenvalues found")
    below.plot(steps, loss.T, color=VERMILLION, alpha=faint)
    below.set(xlabel="training step", ylabel="loss", yscale="log")
    return figure
