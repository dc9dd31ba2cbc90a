"""Causal tests in pictures: one edit, whole futures that came out as predicted, and sums of two sequences."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from emt_core.book.figures.labels import beside
from emt_core.book.figures.style import BLACK, BLUE, DIVERGING, GRAY, LINES, Values, as_numpy, jitter
from emt_core.book.text import SPACE, percent

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
    size = 1.6 + 0.5 * len(columns) + 0.15 * len(groups), 1.6 + 0.4 * len(rows)
    widths = [len(group) for group in groups.values()]
    figure, axes = plt.subplots(1, len(groups), figsize=size, width_ratios=widths, sharey=True, squeeze=False)
    start = 0
    for ax, (title, group) in zip(axes[0], groups.items(), strict=True):
        part = shares[:, start : start + len(group)]
        start += len(group)
        ax.imshow(np.nan_to_num(part), cmap=SHARES, vmin=0, vmax=1, aspect="auto")
        for (r, c), share in np.ndenumerate(part):
            text = "–" if np.isnan(share) else percent(share).split(SPACE)[0]
            ax.text(c, r, text, ha="center", va="center", fontsize=11, color="white" if share > 0.75 else BLACK)
        ax.set_xticks(range(len(group)), group, rotation=60, ha="right", rotation_mode="anchor", fontsize=10)
        ax.set_yticks(range(len(rows)), rows, fontsize=11)
        ax.set_title(title, fontsize=12)
        ax.tick_params(length=0)
        ax.grid(False)
        for edge in range(1, len(group)):
            ax.axvline(edge - 0.5, color="white", linewidth=1.5)
        for edge in range(1, len(rows)):
            ax.axhline(edge - 0.5, color="white", linewidth=1.5)
    return figure


def dots(measures: Mapping[str, Mapping[str, Values]], xlabel: str) -> Figure:
    """Shares in percent, one row a task: ``measures[name][task]`` holds one for each network or pair, drawn as marks of
    that measure's shape, the measures of a task one below the other, with a bar at the median. Four or more shares in
    the same percent are one mark with their number. Tasks that a measure lacks stay empty there."""
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
            alone = shares[np.isin(shares.round(), values[numbers < 4])]
            ax.scatter(alone, middle + jitter(len(alone), 0.3 * height), s=20, **look)
            crowded = values[numbers > 3]
            for value, number in zip(crowded, numbers[numbers > 3], strict=True):
                ax.scatter(value, middle, s=34, **look)
                left = bool(((crowded > value) & (crowded < value + 6)).any())  # the next one's number is in the way
                ax.annotate(f"×{number}", (value, middle), xytext=(-6 if left else 6, 0), textcoords="offset points",
                            ha="right" if left else "left", va="center", fontsize=9.5, color=color,
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
