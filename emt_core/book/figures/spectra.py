"""Learned spectra beside the theory's: the paper's table cell by cell, counts on other tasks, what a threshold does."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from emt_core.book.figures.circuits import eigenvalues
from emt_core.book.figures.style import BLACK, BLUE, GRAY, VERMILLION, Values, as_numpy, ensemble, jitter, panels
from emt_core.book.figures.training import curves


def side_by_side(
    learned: Sequence[Values], theory: Sequence[Values], titles: Sequence[str], threshold: float = 0.9
) -> Figure:
    """Eigenvalues of several networks, (N,) each, over the theory's (K,), two in a row and with one legend. How often a
    value of the theory occurs stands inside the circle: learned values may lie outside."""
    if not len(learned) == len(theory) == len(titles):
        raise ValueError(f"titles: got {len(titles)} for {len(learned)} networks and {len(theory)} theories")
    figure, axes = panels(len(titles), 2, panel=(3.5, 3.4), margin=(0.2, 0.4))
    for ax, found, wanted, title in zip(axes.flat, learned, theory, titles, strict=False):
        eigenvalues(found, wanted, threshold=threshold, ax=ax, title=title)
        handles, names = ax.get_legend_handles_labels()
        ax.get_legend().remove()
        ax.set(xlabel="", ylabel="", xlim=(-1.45, 1.45), ylim=(-1.45, 1.45))
        dots = as_numpy(found, "learned", None)
        for text in ax.texts:
            inside = 0.7 * np.exp(1j * (np.angle(complex(*text.get_position())) + np.array([0, 0.35, -0.35])))
            room = np.abs(dots[:, None] - inside).min(0, initial=9.0)
            best = inside[np.argmax(room > 0.15) if (room > 0.15).any() else np.argmax(room)]  # the first with room
            text.set_position((best.real, best.imag))
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def cells(
    names: Sequence[str], printed: Values, errors: Sequence[Values], notes: Sequence[str], *, head: str = ""
) -> Figure:
    """Cells of a table of errors, a row each: the printed number (R,) as a bar within the band of a factor of two
    around it, the errors of our seeds that matched (dots, none or more a row), their mean (diamond), and a note at the
    right. The axis is logarithmic; the first row is on top, with ``head`` above the names."""
    printed = as_numpy(printed, "printed", len(names), real=True)
    figure, ax = plt.subplots(figsize=(6.0, 1.3 + 0.36 * len(names)))
    for row, (bar, values, note) in enumerate(zip(printed, errors, notes, strict=True)):
        values = as_numpy(values, f"errors[{row}]", None, real=True)
        ax.barh(row, 1.5 * bar, left=bar / 2, height=0.8, color="#d9d9d9", zorder=1)
        ax.vlines(bar, row - 0.4, row + 0.4, color=VERMILLION, linewidth=3, zorder=2)
        aside = jitter(len(values), 0.22)
        ax.scatter(values, row + aside, s=14, color=BLUE, alpha=0.7, linewidths=0, zorder=3)
        if len(values):
            ax.scatter([values.mean()], [row], marker="D", s=60, color=BLUE, edgecolors="white", zorder=4)
        ax.text(1.01, row, note, transform=ax.get_yaxis_transform(), va="center")
    ax.annotate(head, (0, 1), (-4, 2), xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom")
    for marker, label in (("|", "paper"), ("D", "here: mean"), (".", "here: a seed")):
        color = VERMILLION if marker == "|" else BLUE
        ax.scatter([], [], marker=marker, s=60, color=color, linewidths=2 if marker == "|" else 0, label=label)
    ax.barh([0], [0], color="#d9d9d9", label="within a factor of two")
    ax.set(xscale="log", xlabel="spectral error (rad), greedy matching", ylim=(len(names) - 0.5, -0.5))
    ax.set_yticks(range(len(names)), names)
    ax.grid(visible=False, axis="y")
    figure.legend(loc="outside upper center", ncols=2, handletextpad=0.3, columnspacing=1.2)
    return figure


def _free_side(dot: tuple, radius: float, others: list[tuple], unit: float) -> tuple[float, float]:
    """Where a number stands beside a dot, in points from its centre: right of it, or above, left or below, whichever
    comes first without another dot there. ``others`` are (x, y, radius); ``unit`` is the length of 1 in points."""
    sides = [np.array(side) * (radius + 7) for side in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    spare = [min((np.hypot(*(unit * (np.array(o[:2]) - dot) - s)) - o[2] for o in others), default=9.0) for s in sides]
    best = next((k for k, room in enumerate(spare) if room > 6), int(np.argmax(spare)))
    return float(sides[best][0]), float(sides[best][1])


def found_and_wanted(wanted: Values, found: Sequence[Values]) -> Axes:
    """Eigenvalues found in the networks of each task (R,) over the theory's number (T,): a dot whose area is the number
    of networks there, written beside it if above 1, and the diagonal, on which a network matches."""
    wanted = as_numpy(wanted, "wanted", len(found))
    ax = plt.subplots(figsize=(5.4, 4.8))[1]
    of_rank: dict[int, list] = {}
    for rank, counts in zip(wanted.tolist(), found, strict=True):
        of_rank.setdefault(rank, []).extend(as_numpy(counts, "found", None).tolist())
    reach = max(*of_rank, *(max(c) for c in of_rank.values())) + 1
    dots = {(rank, level): counts.count(level) for rank, counts in of_rank.items() for level in sorted(set(counts))}
    for dot, here in dots.items():
        ax.scatter(*dot, s=34 * here, color=BLUE, alpha=0.75, linewidths=0, zorder=3)
        if here > 1:
            others = [(*other, 3.3 * n**0.5) for other, n in dots.items() if other != dot]
            aside = _free_side(dot, 3.3 * here**0.5, others, 300 / reach)  # the axes are about 300 points wide
            ax.annotate(f"{here}", dot, aside, textcoords="offset points", ha="center", va="center")
    ax.plot([0, reach], [0, reach], color=GRAY, linewidth=1)
    ax.text(0.04, 0.95, "more than the theory asks for", transform=ax.transAxes, va="top")
    ax.text(0.96, 0.05, "not all found yet", transform=ax.transAxes, ha="right")
    ax.set(xlabel="eigenvalues the theory asks for", ylabel="found in W_hh", aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return ax


def excess(levels: Values, counts: Values, threshold: float) -> Axes:
    """Eigenvalues found minus the theory's number over the threshold that counts them (X,): networks (M, X) as thin
    lines, their median bold, cut off above 10; the threshold in use is marked."""
    levels = as_numpy(levels, "levels", None)
    ax = curves(levels, ensemble(counts, "counts", len(levels)), xlabel="threshold", ylabel="found − theory")
    ax.axhline(0, color=GRAY, linewidth=1)
    ax.axvline(threshold, color=BLACK, linestyle="--", linewidth=1.2)
    ax.set_ylim(-6, 10)
    ax.text(threshold - 0.006, 9.2, f"in use: {threshold:g}", va="top", ha="right")
    return ax
