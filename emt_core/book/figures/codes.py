"""Codes in pictures: a sequence as a sum of layers, peeled in two orders, and the plane in which codes are placed."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from emt_core.book.figures.style import BLACK, BLUE, GRAY, LINES, MARKERS, VERMILLION, Values, as_numpy


def stored(
    layers: Mapping[str, Values], tokens: Sequence[str], windows: Mapping[str, Sequence[tuple[int, int]]]
) -> Figure:
    """One sequence in several codes, a panel each: a row of bars for the layer of each position, and their sum below.

    layers: title to (L, N), the layers of this sequence's tokens; tokens: L names; windows: title to the first and the
    last coordinate that each position may use, drawn as a frame. All bars have one scale.
    """
    drawn = {title: as_numpy(values, title, len(tokens), None).astype(float) for title, values in layers.items()}
    if not drawn or drawn.keys() != windows.keys():
        raise ValueError(f"windows: got {sorted(windows)}, expected one for each of {sorted(drawn)}, at least one")
    sums = {title: values.sum(0) for title, values in drawn.items()}
    top = 1.15 * max(float(np.abs(values).max()) for values in sums.values())
    widths = [values.shape[1] + 4 for values in drawn.values()]  # a bar is as wide in every panel
    figure, axes = plt.subplots(1, len(drawn), figsize=(7.2, 3.9), width_ratios=widths, sharey=True, squeeze=False)
    rows = [*range(len(tokens)), len(tokens) + 0.6]  # a gap before the sum
    for ax, (title, values) in zip(axes[0], drawn.items(), strict=True):
        for row, bars in zip(rows, [*values, sums[title]], strict=True):
            whole = row == rows[-1]
            ax.axhline(-row, color=GRAY, linewidth=0.6, zorder=1)
            ax.bar(np.arange(len(bars)), 0.5 * bars / top, 0.7, bottom=-row, color=BLACK if whole else BLUE, zorder=2)
        for row, (first, last) in zip(rows, windows[title], strict=False):
            corner, size = (first - 0.5, -row - 0.42), (last - first + 1, 0.84)
            ax.add_patch(Rectangle(corner, *size, facecolor="#f2f2f2", edgecolor="#bbbbbb", zorder=0))
        ax.set(title=f"{title}\n{values.shape[1]} numbers", xlim=(-1.5, values.shape[1] + 0.5), xticks=[])
        ax.set_ylim(-rows[-1] - 0.6, 0.6)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.grid(False)
    axes[0, 0].set_yticks([-row for row in rows], [*(f"{t} at {p}" for p, t in enumerate(tokens)), "sum h"])
    return figure


def both_ways(right: Mapping[str, Values], chance: float | None = None) -> Figure:
    """Tokens read right by position, a panel a code: peeled forwards (triangles) and backwards (squares, dashed).
    right: title to (2, L), forwards first, as `analysis.layers.peeled_both_ways` gives for one network; chance: drawn
    dotted."""
    drawn = {title: as_numpy(values, title, 2, None) for title, values in right.items()}
    size = (1 + 2.7 * len(drawn), 3.5)
    figure, axes = plt.subplots(1, len(drawn), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, (title, (forwards, backwards)) in zip(axes[0], drawn.items(), strict=True):
        positions = np.arange(len(forwards))
        ax.plot(positions, forwards, "^-", color=VERMILLION, label="forwards")
        ax.plot(positions, backwards, "s--", color=BLUE, label="backwards")
        if chance is not None:
            ax.axhline(chance, color=GRAY, linestyle=":", linewidth=1)
        ax.set(title=title, xlabel="position", xticks=positions, ylim=(-0.03, 1.06))
    axes[0, 0].set_ylabel("tokens read right")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def plane(points: Mapping[str, Values], path: Values | None = None, *, ax: Axes | None = None) -> Axes:
    """Codes placed by their overlap and by how much peeling forwards is ahead of peeling backwards.

    points: name to (2,) or (K, 2), overlap and difference of accuracies, of one code or of K networks; each name stands
    beside its points. path: (P, 2), a family of codes, drawn as a line through its members.
    """
    ax = ax or plt.subplots(figsize=(6.2, 4.6))[1]
    ax.set(xlim=(-0.06, 1.08), ylim=(-0.12, 1.0), xlabel="overlap of two positions, mean over pairs")
    ax.set_ylabel("accuracy, forwards minus backwards")
    ax.axhline(0, color=GRAY, linewidth=0.8, zorder=0)
    if path is not None:
        ax.plot(*as_numpy(path, "path", None, 2).T, ".-", color="#aaaaaa", linewidth=1.2, zorder=1)
    taken: list[tuple[float, float]] = []
    for k, (name, values) in enumerate(points.items()):
        together = values.detach().cpu() if isinstance(values, torch.Tensor) else values
        spots, color = as_numpy(np.atleast_2d(together), name, None, 2), LINES[k % len(LINES)]
        ax.scatter(spots[:, 0], spots[:, 1], s=52, marker=MARKERS[k % len(MARKERS)], color=color, zorder=3)
        x, y = spots.mean(0)
        side, step = ("right", 0.055) if x > 0.6 else ("left", -0.055)  # beside the diagonal, where codes tend to lie
        at = spots[:, 0].min() - 0.03 if side == "right" else spots[:, 0].max() + 0.03, y + 0.7 * step
        while any(abs(at[0] - a) < 0.35 and abs(at[1] - b) < 0.05 for a, b in taken):  # labels on top of each other
            at = at[0], at[1] + step
        taken.append(at)
        ax.text(*at, name, ha=side, va="center", fontsize=10.5, color="#333333", zorder=4)
    return ax
