"""Circuits in pictures: eigenvalues in the complex plane, matrices by blocks, what the memories hold."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emt_core.book.figures.style import BLACK, GRAY, VERMILLION, Values, as_numpy, framed, panels


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
        ax.plot(radius * circle.real, radius * circle.imag, dash, color=GRAY, linewidth=1, zorder=1, label=name)
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


def block_grid(
    matrix: Values, history: int, dim: int, *, ax: Axes | None = None, title: str = "", vmax: float | None = None
) -> Axes:
    """A (K, K) matrix in the basis of variable memories, K >= S·D: thin lines part the blocks of side `dim`.
    Rows and columns beyond S·D (residual components) lie behind a heavy line, under the label "rest". Colours run from
    -vmax to vmax, by default the largest modulus of an entry."""
    matrix = _blocks(matrix, "matrix", history, dim)
    ax = ax or plt.subplots(figsize=(5.6, 5.2))[1]
    side, memory = len(matrix), history * dim
    framed(ax, matrix, float(np.abs(matrix).max()) if vmax is None else vmax, title)
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
    figure, axes = panels(len(matrices), 2, panel=(3.1, 3.2), margin=(0.7, 0.0))
    vmax = max(float(np.abs(matrix).max()) for matrix in matrices)
    for ax, matrix, title in zip(axes.flat, matrices, titles, strict=False):
        block_grid(matrix, history, dim, ax=ax, title=title, vmax=vmax)
    figure.colorbar(axes.flat[0].images[0], ax=axes, shrink=0.8, aspect=25)
    return figure


def phi_and_spectrum(phi: Values, found: Values, predicted: Values, history: int, dim: int) -> Figure:
    """Φ by blocks on the left; on the right the eigenvalues of a network (N,) over those that theory predicts (K,)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 4.4))
    block_grid(phi, history, dim, ax=left, title="Φ")
    eigenvalues(found, predicted, ax=right, title="eigenvalues of W_hh", label="W_hh")
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
    held = contents[np.array(times) - first, : history * dim].reshape(-1, history, dim)
    height = 0.35 + 1.15 * min(max(history / dim, 0.5), 2.0)
    figure, axes = panels(len(times), 5, panel=(1.2, height), margin=(0.8, 0.4))
    vmax = float(np.abs(held).max()) or 1.0
    for ax, panel, time in zip(axes.flat, held, times, strict=False):
        framed(ax, panel, vmax, f"t = {time}", fontsize=12)
        ax.set(xticks=[], yticks=[])
    for ax in axes[:, 0]:
        ax.set_yticks([0, history - 1], [r"$\Psi_1$", rf"$\Psi_{{{history}}}$"])
    figure.colorbar(axes.flat[0].images[0], ax=axes, shrink=0.9, aspect=25)
    return figure
