"""What recurrences leave behind, in pictures: overlap against phases, what parts positions, how much fits."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emt_core.book.figures.labels import beside
from emt_core.book.figures.style import (
    BLACK,
    BLUE,
    DASHES,
    GRAY,
    GREEN,
    LINES,
    MARKERS,
    ORANGE,
    VERMILLION,
    Values,
    as_numpy,
)

PARTS = {"rotation": BLUE, "place of writing": GREEN, "routing": ORANGE, "left: overlap": VERMILLION}
HATCHES = "", "//", "..", ""


def between(x: Values, panels: Mapping[str, Mapping[str, tuple[Values, Values]]], x_label: str) -> Figure:
    """A panel a name; in it, a name to the closed form (X,), a line, and what was measured (X,), marks, over ``x``."""
    at = as_numpy(x, "x", None, real=True)
    figure, axes = plt.subplots(1, len(panels), figsize=(3.2 * len(panels) + 1.2, 3.6), sharey=True, squeeze=False)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for (name, (exact, found)), color, dash, marker in zip(
            curves.items(), cycle(LINES), cycle(DASHES), cycle(MARKERS), strict=False
        ):
            ax.plot(at, as_numpy(exact, name, len(at), real=True), dash, color=color, label=name)
            ax.plot(at, as_numpy(found, name, len(at), real=True), marker, color=color, markersize=6, fillstyle="none")
        ax.set_title(title, fontsize=12)
        ax.set(xlabel=x_label, ylim=(-0.05, 1.05))
    axes[0, 0].legend(fontsize=11)
    return figure


def parts(rows: Mapping[str, Values], notes: Mapping[str, str] | None = None) -> Axes:
    """A bar a name, the means of (M, 4): the parts of PARTS, which add up to one, side by side. A part below zero is
    left out of the bar. ``notes`` stand at the bars' ends."""
    ax = plt.subplots(figsize=(7.6, 1.4 + 0.42 * len(rows)))[1]
    for row, (name, values) in enumerate(rows.items()):
        mean, left = np.clip(as_numpy(values, name, None, len(PARTS), real=True).mean(0), 0, None), 0.0
        mean = mean / mean.sum()
        for share, (part, color), hatch in zip(mean, PARTS.items(), HATCHES, strict=True):
            label = part if row == 0 else None
            ax.barh(row, share, left=left, color=color, hatch=hatch, edgecolor="white", label=label, height=0.72)
            left += share
        ax.text(1.015, row, (notes or {}).get(name, ""), va="center", fontsize=10, color=BLACK)
    ax.set_yticks(range(len(rows)), list(rows), fontsize=11)
    ax.set(xlim=(0, 1), xlabel="separation of positions by what makes it, and overlap")
    ax.invert_yaxis()
    ax.grid(False)
    ax.figure.legend(loc="outside upper center", ncols=len(PARTS), fontsize=10.5)
    return ax


def room(exact: Mapping[str, Mapping[int, Values]], sizes: Sequence[int]) -> Figure:
    """Exact match over the numbers in the memory, a small panel a name: a mark a network, a line through the means."""
    columns = min(4, len(exact))
    rows = -(-len(exact) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.3 * columns + 0.8, 1.9 * rows + 0.6), sharex=True, sharey=True, squeeze=False
    )
    for ax in axes.flat[len(exact) :]:
        ax.set_axis_off()
    for ax, (name, found) in zip(axes.flat, exact.items(), strict=False):
        ax.axhline(1, color=GRAY, linestyle=":", linewidth=1)
        means = {}
        for size, values in found.items():
            y = as_numpy(values, f"{name}, {size}", None, real=True)
            if len(y):
                means[sizes.index(size)] = y.mean()
                ax.plot(np.full(len(y), sizes.index(size)), y, "o", color=BLUE, markersize=5, alpha=0.7)
        ax.plot(list(means), list(means.values()), color=BLUE, linewidth=1.4)
        ax.set_title(name, fontsize=11)
        ax.set_xticks(range(len(sizes)), sizes)
        ax.set_ylim(-0.05, 1.08)
    for ax in axes[:, 0]:
        ax.set_ylabel("exact match")
    figure.supxlabel("numbers in the memory", fontsize=12)
    return figure


def sizes(curves: Mapping[str, Values]) -> Axes:
    """Sizes of the layers (M, L) over positions, logarithmic, in units of a network's largest: a line a name, the
    median over its networks, named at the right end."""
    ax = plt.subplots(figsize=(6.6, 4.0))[1]
    ends: dict[str, tuple[float, str]] = {}
    for (name, values), color, dash, marker in zip(
        curves.items(), cycle(LINES), cycle(DASHES), cycle(MARKERS), strict=False
    ):
        rows = as_numpy(values, name, None, None, real=True)
        y = np.median(rows / rows.max(1, keepdims=True), axis=0)
        ax.plot(np.arange(1, len(y) + 1), y, dash, color=color, marker=marker, markersize=5)
        ends[name] = (float(y[-1]), color)
    ax.set_yscale("log")
    ax.set(xlabel="position", ylabel="size of the layer / largest", xlim=(0.7, len(y) + 0.3))
    beside(ax, len(y) + 0.4, ends)
    return ax
