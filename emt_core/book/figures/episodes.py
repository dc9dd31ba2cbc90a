"""Episodic memory in pictures: the walk and its energy, dwell times, recall, and how far a network is from its flow."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from emt_core.book.figures.style import BLUE, GRAY, VERMILLION, Values, as_numpy, ensemble

MARKS = ("o-", "s--", "^-.", "D:")


def walk(times: Values, overlaps: Values, energy: Values, switches: Sequence[int]) -> Figure:
    """Overlaps (L, K) of the state with K memories, above its energy (L,), over times (L,).

    ``switches``: indices of the times at which the next memory is reached, dotted in both panels. Each curve of overlap
    carries its memory's number, from 1, where it is highest."""
    times = as_numpy(times, "times", None)
    overlaps, energy = as_numpy(overlaps, "overlaps", len(times), None), as_numpy(energy, "energy", len(times))
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(6.4, 4.8), height_ratios=(2, 3))
    for k, curve in enumerate(overlaps.T):
        (line,) = above.plot(times, curve, linewidth=1.6)
        held = np.flatnonzero((overlaps.argmax(1) == k) & (curve > 0.8))
        for run in np.split(held, np.flatnonzero(np.diff(held) > 1) + 1):
            if len(run):
                above.text(times[run].mean(), 1.08, str(k + 1), ha="center", va="bottom", color=line.get_color())
    below.plot(times, energy, color=BLUE)
    for ax in (above, below):
        for at in switches:
            ax.axvline(times[at], color=GRAY, linestyle=":", linewidth=1.2)
    above.set(ylabel="overlap", ylim=(min(-0.3, float(overlaps.min())), 1.35), yticks=[0, 1])
    below.set(xlabel="time in units of T_f", ylabel="energy E")
    return figure


def dwell(delays: Values, times: Values, formula: float) -> Axes:
    """First dwell times over T_d (X,) against T_d (X,), with what a formula says of all of them, dashed."""
    delays = as_numpy(delays, "delays", None)
    times = as_numpy(times, "times", len(delays))
    ax = plt.subplots(figsize=(6, 3.2))[1]
    ax.semilogx(delays, times, "o-")
    ax.axhline(formula, color=GRAY, linestyle="--")
    ax.annotate("measured", (delays[0], times[0]), xytext=(10, 2), textcoords="offset points")
    ax.annotate("formula", (delays[-1], formula), xytext=(0, -6), textcoords="offset points", ha="right", va="top")
    ax.set(xlabel="T_d in units of T_f", ylabel="first dwell time / T_d", ylim=(0, None))
    return ax


def recall(
    x: Values, panels: Mapping[str, Mapping[str, Values]], *, xlabel: str, log: bool = False, percent: bool = False
) -> Figure:
    """Sequences recalled whole over x (X,): for each panel's title a curve (X, 3), share, lower and upper end, for each
    name. Curves are set off sideways from each other by a little, so that points of equal height stay apart.
    ``percent``: x is a share as well."""
    x = as_numpy(x, "x", None)
    width = 1.4 + (4.2 if len(panels) == 1 else 3.1) * len(panels)
    figure, axes = plt.subplots(1, len(panels), figsize=(width, 3.6), sharey=True, squeeze=False)
    step = 0.12 * (np.diff(np.log(x)).min() if log else np.diff(x).min()) if len(x) > 1 else 0.01
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for k, (name, points) in enumerate(curves.items()):
            share, low, high = as_numpy(points, f"panels[{title!r}][{name!r}]", len(x), 3).T
            aside = (k - (len(curves) - 1) / 2) * step
            at = x * np.exp(aside) if log else x + aside
            bars = [(share - low).clip(0), (high - share).clip(0)]
            ax.errorbar(at, share, bars, fmt=MARKS[k % len(MARKS)], capsize=2.5, markersize=5, label=name)
        ax.set(xscale="log" if log else "linear", xlabel=xlabel, title=title, ylim=(-0.05, 1.05))
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        if percent:
            ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        if log:
            ax.set_xticks(x, [f"{value:g}" for value in x], minor=False)
            ax.set_xticks([], minor=True)
    axes[0, 0].set_ylabel("recalled whole")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def departure(substeps: Values, distances: Values) -> Axes:
    """Distances to the flow (M, X), a thin line each and their median bold, against substeps (X,), both logarithmic.
    What takes a single step is named below all lines, where none runs through the words."""
    substeps = as_numpy(substeps, "substeps", None)
    distances = ensemble(distances, "distances", len(substeps))
    ax = plt.subplots(figsize=(6, 3.4))[1]
    ax.loglog(substeps, distances.T, color=BLUE, linewidth=0.8, alpha=0.35)
    median = np.median(distances, axis=0)
    ax.loglog(substeps, median, "o-", color=BLUE, linewidth=2.4)
    arrow = {"arrowstyle": "-", "color": VERMILLION, "linewidth": 1.2, "shrinkB": 6}
    ax.annotate("the recurrent network", (substeps[0], median[0]), xytext=(0.02, 0.06), textcoords="axes fraction",
                color=VERMILLION, fontweight="bold", arrowprops=arrow | {"relpos": (0.13, 1)})  # fmt: skip
    ax.plot(substeps[0], median[0], "o", color=VERMILLION, markersize=9, zorder=4)
    ax.set_xticks(substeps, [f"{n:g}" for n in substeps], minor=False)
    ax.set_xticks([], minor=True)
    ax.set(xlabel="Euler steps per $T_f$", ylabel="distance to the flow / state")
    return ax
