"""Causal tests in pictures: one edit, whole futures that came out as predicted, and sums of two sequences."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from emt_core.book.figures.labels import beside
from emt_core.book.figures.style import BLACK, BLUE, DIVERGING, GRAY, LINES, Values, as_numpy, jitter, percent_table

SHARES = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#cfe3f2", BLUE])


def edited_strips(strips: Mapping[str, Values], changed: Values) -> Figure:
    """Outputs over time, one strip a name, each (T, D): steps from left to right, entries from top to bottom. Cells in
    which ``changed`` (T, D) is true carry a frame in every strip."""
    changed = as_numpy(changed, "changed", None, None)
    steps, dim = changed.shape
    figure, axes = plt.subplots(len(strips), 1, figsize=(7.2, 0.5 + 1.9 * len(strips)), sharex=True, squeeze=False)
    for ax, (name, strip) in zip(axes[:, 0], strips.items(), strict=True):
        values = as_numpy(strip, f"strips[{name!r}]", steps, dim, real=True)
        ax.imshow(values.T, cmap=DIVERGING, vmin=-1.5, vmax=1.5, aspect="auto", extent=(0.5, steps + 0.5, dim, 0))
        for t, k in np.argwhere(changed):
            ax.add_patch(Rectangle((t + 0.55, k + 0.05), 0.9, 0.9, fill=False, edgecolor=BLACK, linewidth=1.3))
        ax.set(yticks=[])
        ax.set_title(name, loc="left", fontsize=12)
        ax.grid(False)
    axes[-1, 0].set_xlabel("steps after the edit")
    return figure


def exact_grid(shares: Values, rows: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Figure:
    """Mean shares (R, C) as a heat map in percent, NaN where nothing was measured: one row a name, and columns in
    ``groups``, each under its title."""
    columns = [column for group in groups.values() for column in group]
    shares = as_numpy(shares, "shares", len(rows), len(columns), real=True)
    return percent_table(shares, rows, groups, SHARES, rotation=60, ha="right", rotation_mode="anchor")


def dots(measures: Mapping[str, Mapping[str, Values]], xlabel: str) -> Figure:
    """Shares in percent, one row a task: ``measures[name][task]`` holds one for each network or pair, drawn as marks of
    that measure's shape, the measures of a task one below the other, with a bar at the median. Four or more shares in
    the same percent are one mark with their number, if there is room for it. Tasks that a measure lacks stay empty
    there."""
    tasks = list(dict.fromkeys(task for measure in measures.values() for task in measure))
    if not tasks:
        raise ValueError("measures: got no task, expected at least one")
    figure, ax = plt.subplots(figsize=(7.0, 1.3 + 0.21 * len(measures) * len(tasks)))
    height = 0.84 / len(measures)
    for j, (name, measure) in enumerate(measures.items()):
        color = (BLACK, *LINES)[j % 4]
        look = dict(marker="os^D"[j % 4], facecolors="none" if j == 0 else color, edgecolors=color, zorder=3)
        ax.scatter([], [], label=name, **look)
        for row, task in enumerate(tasks):
            shares = 100 * as_numpy(measure.get(task, []), f"measures[{name!r}][{task!r}]", None, real=True)
            middle = row - 0.42 + (j + 0.5) * height
            values, numbers = np.unique(shares.round(), return_counts=True)
            gaps = values[None] - values[:, None]
            # a number stands beside its mark, where no crowd and at most one dot is in the way; else marks stay single
            right, left = (
                ((side * gaps > 0) & (side * gaps < 6)) @ np.where(numbers > 3, 2, 1) < 2 for side in (1, -1)
            )
            together = (numbers > 3) & (right | left)
            alone = shares[np.isin(shares.round(), values[~together])]
            ax.scatter(alone, middle + jitter(len(alone), 0.3 * height), s=20, **look)
            for value, number, beyond in zip(values[together], numbers[together], right[together], strict=True):
                ax.scatter(value, middle, s=34, **look)
                ax.annotate(f"×{number}", (value, middle), xytext=(6 if beyond else -6, 0), textcoords="offset points",
                            ha="left" if beyond else "right", va="center", fontsize=9.5, color=color,
                            annotation_clip=False)  # fmt: skip
            if len(shares):
                ends = [middle - 0.42 * height, middle + 0.42 * height]
                ax.plot([np.median(shares)] * 2, ends, color=color, linewidth=2.2, zorder=2)
    ax.set_yticks(range(len(tasks)), tasks, fontsize=11)
    for edge in range(1, len(tasks)):
        ax.axhline(edge - 0.5, color="#bbbbbb", linewidth=0.8)
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=xlabel, xlim=(-4, 104), ylim=(len(tasks) - 0.5, -0.5))
    ax.legend(ncols=len(measures), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=11, columnspacing=1.2,
              handletextpad=0.2)  # fmt: skip
    return figure


def superposition(scales: Values, first: Mapping[str, Values], later: Mapping[str, Values]) -> Figure:
    """Ratios (K,) over scales (K,), one line a task: in the ``first`` round solid, ``later`` dashed, named at its end.
    A vertical line marks scale 1."""
    scales = as_numpy(scales, "scales", None)
    figure, ax = plt.subplots(figsize=(6.6, 3.6))
    ends = {}
    for k, task in enumerate(first):
        for name, lines, dash in (("first round", first, "-"), ("later round", later, "--")):
            ratios = as_numpy(lines[task], f"{name}[{task!r}]", len(scales), real=True)
            ax.semilogx(scales, ratios, dash, color=LINES[k % len(LINES)])
            ends[f"{task},\n{name}"] = float(ratios[-1]), LINES[k % len(LINES)]
    ax.axvline(1, color=GRAY, linewidth=1)
    top = 1.08 * max([*(height for height, _ in ends.values()), ax.get_ylim()[1]])
    ax.set(xlabel="scale s of the sum", ylabel="modulus, differ / agree", ylim=(0, top))
    beside(ax, 1.06 * scales[-1], ends, gap=0.13)
    return figure


def thresholds(measures: Mapping[str, Mapping[str, Values]], last: float | int, xlabel: str) -> Figure:
    """Where something happens, one row a task: of the places ``measures[name][task]``, all up to ``last`` or infinite
    (never), a mark at the median, a thick line over the middle half and a thin one over 90 %. Never has a place of its
    own, at the right. A vertical line marks 1."""
    tasks = list(dict.fromkeys(task for measure in measures.values() for task in measure))
    if not tasks:
        raise ValueError("measures: got no task, expected at least one")
    never, height = 1.12 * last, 0.84 / len(measures)
    figure, ax = plt.subplots(figsize=(7.0, 1.4 + 0.17 * len(measures) * len(tasks)))
    for j, (name, measure) in enumerate(measures.items()):
        color = (BLACK, *LINES)[j % 5]
        look = dict(marker="os^Dv"[j % 5], facecolors="none" if j == 0 else color, edgecolors=color)
        ax.scatter([], [], label=name, **look)
        for row, task in enumerate(tasks):
            places = as_numpy(measure.get(task, []), f"measures[{name!r}][{task!r}]", None, real=True)
            if not len(places):
                continue
            places = np.where(np.isinf(places), never, places)
            low, first, middle, third, high = np.quantile(places, [0.05, 0.25, 0.5, 0.75, 0.95], method="inverted_cdf")
            y = row - 0.42 + (j + 0.5) * height
            ax.plot([low, high], [y, y], color=color, linewidth=1)
            ax.plot([first, third], [y, y], color=color, linewidth=3.2, solid_capstyle="butt")
            ax.scatter(middle, y, s=26, zorder=3, **look | {"facecolors": "white" if j == 0 else color})
    ax.axvline(1, color=GRAY, linewidth=1, zorder=0)
    ax.set_yticks(range(len(tasks)), tasks, fontsize=11)
    for edge in range(1, len(tasks)):
        ax.axhline(edge - 0.5, color="#bbbbbb", linewidth=0.8)
    ax.grid(axis="y", visible=False)
    ticks = np.linspace(0, last, 5)
    ax.set_xticks([*ticks, never], [*(f"{tick:g}" for tick in ticks), "never"])
    ax.set(xlabel=xlabel, xlim=(-0.04 * last, 1.06 * never), ylim=(len(tasks) - 0.5, -0.5))
    ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.4, 1.0), fontsize=10.5, columnspacing=1.0,
              handletextpad=0.2)  # fmt: skip
    return figure


def turning_points(panels: Mapping[str, tuple[Values, Values]], step: float | int) -> Figure:
    """Where signs turn (vertical) against where their content is zero (horizontal), as shares of the way: one panel a
    name, each a pair (P,), (P,). Places are known to ± ``step``/2, within which points are spread evenly. Solid:
    where they are equal; dashed: half of the way for every entry."""
    figure, axes = plt.subplots(1, len(panels), figsize=(0.8 + 3.3 * len(panels), 3.7), sharey=True, squeeze=False)
    for ax, (name, (zeros, turned)) in zip(axes[0], panels.items(), strict=True):
        zeros = as_numpy(zeros, f"panels[{name!r}][0]", None, real=True)
        turned = as_numpy(turned, f"panels[{name!r}][1]", len(zeros), real=True)
        spread = (np.arange(len(zeros)) * 0.618) % 1 - 0.5  # multiples of the golden section fill the unit evenly
        ax.scatter(zeros, turned + step * spread, s=5, color=BLUE, alpha=0.5, linewidths=0)
        ax.plot([0, 1], [0, 1], color=BLACK, linewidth=1)
        ax.plot([0, 1], [0.5, 0.5], "--", color=BLACK, linewidth=1)
        ax.set(title=name, xlabel="content is zero at", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes[0, 0].set_ylabel("sign turns at")
    return figure
