"""Memories that last or do not, in pictures: accuracies and kicks over time, gains of cycles, what training makes."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emt_core.book.figures.style import (
    BLACK,
    DASHES,
    GRAY,
    LINES,
    MARKERS,
    Values,
    as_numpy,
    bundle,
    jitter,
    shared_panels,
)

FLOOR = 1e-8  # distances below are rounding: drawn there


def decay(steps: Values, accuracy: Mapping[str, Values], later: Values, kept: Mapping[str, Values]) -> Figure:
    """Left, right signs in percent, (M, T) a name, over output steps (T,); right, what is left of a kick, (M, U) a
    name, over the steps since (U,), logarithmic. A thin line a network, a bold one for the median."""
    steps, later = as_numpy(steps, "steps", None, real=True), as_numpy(later, "later", None, real=True)
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.9))
    for ax, x, curves, factor in ((axes[0], steps, accuracy, 100), (axes[1], later, kept, 1)):
        for (name, values), color, dash in zip(curves.items(), cycle(LINES), cycle(DASHES), strict=False):
            lines = factor * as_numpy(values, name, None, len(x), real=True)
            bundle(ax, x, np.maximum(lines, FLOOR), color=color, linestyle=dash, label=name)
    axes[0].axhline(50, color=GRAY, linestyle=":", linewidth=1)
    axes[0].set(xscale="log", xlabel="output step", ylabel="signs right (%)", ylim=(45, 102))
    axes[0].legend(loc="lower left", fontsize=10)
    axes[1].set(yscale="log", xlabel="steps after the kick", ylabel="distance / size of the state")
    return figure


def along_cycles(elasticity: Mapping[str, Sequence[Values]]) -> Figure:
    """Elasticities along cycles, each entry followed by the one that it takes its content from: a panel a name, a line
    for each cycle, (length,). 1: an error of the amplitude is kept; 0: it is gone."""
    figure, axes = shared_panels(len(elasticity), (3.3, 2.3), (0.7, 0.5))
    for ax, (name, cycles) in zip(axes.flat, elasticity.items(), strict=False):
        ax.axhline(1, color=GRAY, linestyle=":", linewidth=1)
        for values, color, marker in zip(cycles, cycle(LINES), cycle(MARKERS), strict=False):
            y = as_numpy(values, name, None, real=True)
            ax.plot(np.arange(1, len(y) + 1), y, color=color, marker=marker, markersize=5, linewidth=1.4)
        ax.set(ylim=(-0.04, 1.1))
        ax.set_title(name, fontsize=12)
    figure.supxlabel("place on the cycle", fontsize=12)
    figure.supylabel("elasticity", fontsize=12)
    return figure


def gains(groups: Mapping[str, tuple[Values, Values]], bound: float) -> Axes:
    """Right signs in percent late (M,) over the gain (M,) of the cycle that restores least, a group of networks a name;
    a line at ``bound``."""
    ax = plt.subplots(figsize=(6.6, 4.3))[1]
    for (name, (gain, late)), color, marker in zip(groups.items(), cycle(LINES), cycle(MARKERS), strict=False):
        x = as_numpy(gain, f"gain of {name}", None, real=True)
        y = as_numpy(late, name, len(x), real=True)
        ax.scatter(x, 100 * y, color=color, marker=marker, s=46, alpha=0.75, label=f"{name} ({len(x)})", linewidths=0)
    ax.axvline(bound, color=BLACK, linestyle="--", linewidth=1)
    ax.axhline(50, color=GRAY, linestyle=":", linewidth=1)
    ax.set(
        xlabel="gain of the cycle that restores least",
        ylabel="signs right late (%)",
        ylim=(45, 102),
        xlim=(-0.03, 1.05),
    )
    ax.legend(loc="center left", fontsize=10)
    return ax


def fates(gain: Values, accuracy: Mapping[str, Values]) -> Axes:
    """Right signs in percent (M, G) of hand-built circuits over the modulus of their eigenvalues (G,), a basis a
    name."""
    gain = as_numpy(gain, "gain", None, real=True)
    ax = plt.subplots(figsize=(6.2, 3.9))[1]
    for (name, values), color, marker in zip(accuracy.items(), cycle(LINES), cycle(MARKERS), strict=False):
        lines = 100 * as_numpy(values, name, None, len(gain), real=True)
        bundle(ax, gain, lines, color=color, marker=marker, label=name)
    ax.axhline(50, color=GRAY, linestyle=":", linewidth=1)
    ax.set(xlabel="modulus of all eigenvalues at the origin", ylabel="signs right late (%)", ylim=(45, 102))
    ax.legend(loc="lower right", fontsize=10)
    return ax


def conditions(late: Mapping[str, Values], gain: Mapping[str, Values]) -> Figure:
    """One row a condition, a mark a network: right signs in percent late, left, and the gain of the cycle that restores
    least, right."""
    names = list(late)
    if gain.keys() != late.keys():
        raise ValueError(f"gain must name the conditions of late, {names}, got {list(gain)}")
    figure, axes = plt.subplots(1, 2, figsize=(8.2, 1.2 + 0.3 * len(names)), sharey=True, width_ratios=(3, 2))
    for ax, values, factor, color in ((axes[0], late, 100, LINES[0]), (axes[1], gain, 1, LINES[1])):
        for row, name in enumerate(names):
            x = factor * as_numpy(values[name], name, None, real=True)
            ax.scatter(x, row + jitter(len(x), 0.22), s=34, color=color, alpha=0.8, linewidths=0, zorder=3)
        ax.set_yticks(range(len(names)), names, fontsize=11)
    axes[0].set(xlabel="signs right late (%)", xlim=(45, 103))
    axes[1].set(xlabel="gain", xlim=(-0.04, 1.06))
    axes[0].invert_yaxis()
    return figure


def cells(panels: Mapping[str, Mapping[str, Values]]) -> Figure:
    """A panel for each task, in it a row for each cell, the same in all, and a mark for each network: right signs in
    percent late."""
    names = list(next(iter(panels.values())))
    width = 1.6 + 1.9 * len(panels)
    figure, axes = plt.subplots(1, len(panels), figsize=(width, 1.3 + 0.45 * len(names)), sharey=True, squeeze=False)
    for ax, (task, late) in zip(axes[0], panels.items(), strict=True):
        if list(late) != names:
            raise ValueError(f"panels[{task!r}] must have the cells {names}, got {list(late)}")
        for row, (name, color, marker) in enumerate(zip(names, cycle(LINES), cycle(MARKERS), strict=False)):
            x = 100 * as_numpy(late[name], f"panels[{task!r}][{name!r}]", None, real=True)
            look = dict(color=color, marker=marker, s=38, alpha=0.75, linewidths=0, zorder=3)
            ax.scatter(x, row + jitter(len(x), 0.28), **look)
        ax.axvline(50, color=GRAY, linestyle=":", linewidth=1)
        ax.set(xlim=(45, 103), xlabel="signs right late (%)")
        ax.set_title(task, fontsize=12)
        ax.set_yticks(range(len(names)), names, fontsize=11)
    axes[0, 0].invert_yaxis()
    return figure


def exponents(values: Mapping[str, Values], memories: int) -> Axes:
    """Lyapunov exponents (M, C), largest first, over their rank: a thin line for each network, a bold one for the
    median; a line after as many as there are ``memories``."""
    ax = plt.subplots(figsize=(6.6, 4.0))[1]
    styles = zip(values.items(), cycle(LINES), cycle(MARKERS), cycle(DASHES), strict=False)
    for (name, lines), color, marker, dash in styles:
        y = as_numpy(lines, name, None, None, real=True)
        look = dict(color=color, marker=marker, linestyle=dash, markersize=4, label=name)
        bundle(ax, np.arange(1, y.shape[1] + 1), y, **look)
    ax.axhline(0, color=GRAY, linestyle=":", linewidth=1)
    ax.axvline(memories + 0.5, color=BLACK, linestyle="--", linewidth=1)
    ax.set(xlabel="exponent, largest first", ylabel="Lyapunov exponent per step")
    ax.legend(loc="lower left", fontsize=10)
    return ax
