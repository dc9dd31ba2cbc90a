"""From onion to linear code in pictures: all networks in one plane, overlap and edits over size, a grid of networks."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emt_core.book.figures import codes
from emt_core.book.figures.labels import beside
from emt_core.book.figures.repeating import ORDERED
from emt_core.book.figures.style import DASHES, GRAY, LINES, MARKERS, Values, as_numpy


def everyone(points: Mapping[str, Values], family: Values, only_overlap: Mapping[str, Values]) -> Axes:
    """The plane of `codes.plane` with networks, the family of codes by hand, and, as ticks at the lower edge, networks
    of which the overlap alone is known: name to (K,)."""
    ax = codes.plane(points, family, ax=plt.subplots(figsize=(7.2, 5.2))[1])
    for name, spots, text in zip(points, ax.collections, list(ax.texts), strict=True):
        spots.set_label(name)
        text.remove()  # among so many points a name would lie on those of others
    ax.legend(loc="upper left")
    ends = as_numpy(family, "family", None, 2)
    (low, flat), (high, steep) = ends[0].tolist(), ends[-1].tolist()
    ax.text(low - 0.02, flat - 0.035, "subspaces, by hand", fontsize=10, color=GRAY, va="center")
    ax.text(high, steep + 0.045, "onion, by hand", fontsize=10, color=GRAY, ha="center")
    for name, values in only_overlap.items():
        overlap = as_numpy(values, name, None)
        ax.plot(overlap, np.full(len(overlap), -0.09), "|", color="#333333", markersize=13, markeredgewidth=1.6)
        ax.text(overlap.mean(), -0.145, name, ha="center", fontsize=10, color="#333333")
    ax.set_ylim(-0.17, 1.0)
    return ax


def over_units(curves: Mapping[str, Mapping[str, Mapping[int, Values]]], units: Sequence[int]) -> Figure:
    """Measures over the number of units, a panel a variant. curves: variant to measure to units to (K,), a value for
    each network; the first measure is dotted. The line goes through the means."""
    figure, axes = plt.subplots(1, len(curves), figsize=(8.4, 3.9), sharey=True, squeeze=False)
    for ax, (variant, measures) in zip(axes[0], curves.items(), strict=True):
        for k, (measure, rows) in enumerate(measures.items()):
            found = {units.index(n): as_numpy(v, f"{measure}, N = {n}", None) for n, v in rows.items() if len(v)}
            color, style = LINES[(k - 1) % len(LINES)] if k else GRAY, "-" if k else ":"
            ax.plot(list(found), [v.mean() for v in found.values()], style, color=color)
            for at, values in found.items():
                spread = at + 0.06 * (np.arange(len(values)) - (len(values) - 1) / 2) + 0.02 * k
                label = measure if at == min(found) else None
                ax.plot(spread, values, MARKERS[k % len(MARKERS)], color=color, markersize=5, alpha=0.8, label=label)
        ax.set_xticks(range(len(units)), units)
        ax.set(title=variant, xlabel="units N", ylim=(-0.04, 1.04))
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(handles[1]), fontsize=11)
    return figure


def room(dimension: Mapping, sizes: Mapping, gates: Mapping, units: Sequence[int]) -> Figure:
    """Dimension of the states over units; size of the layers relative to the first, and update gate, over positions.
    Each maps (units, variant) to (K,) or (L,), variant 0 solid and 1 dashed; from blue to ochre as N grows."""
    figure, axes = plt.subplots(1, 3, figsize=(9.4, 3.6))
    for (n, variant), values in dimension.items():
        color = ORDERED(units.index(n) / max(len(units) - 1, 1))
        values = as_numpy(values, f"dimension, N = {n}", None)
        axes[0].loglog(np.full(len(values), n), values, "ox"[variant], color=color, markersize=6)
        style = dict(color=color, linestyle=("-", "--")[variant])
        size = as_numpy(sizes[n, variant], f"sizes, N = {n}", None)
        axes[1].plot(size / size[0], **style, label=f"{n}" if variant == 0 else None)
        axes[2].plot(as_numpy(gates[n, variant], f"gates, N = {n}", None), **style)
    axes[0].set(xlabel="units N", ylabel="dimension of the states")
    axes[0].set_xticks(units, units)
    axes[0].set_yticks([10, 20, 40, 80], [10, 20, 40, 80])
    axes[0].minorticks_off()
    axes[1].set(xlabel="position", ylabel="layer, relative to the first", ylim=(0, 1.03))
    axes[2].set(xlabel="position", ylabel="update gate z")
    axes[1].legend(title="N", fontsize=10, title_fontsize=10)
    return figure


def grid(cells: Mapping[tuple[int, int], tuple[Values, Values]], solved: float | int = 0.9) -> Axes:
    """Overlap over units, a line for each longest sequence. cells: (longest, units) to exact match and overlap, (K,)
    each; a network that repeats fewer than ``solved`` is hollow."""
    ax = plt.subplots(figsize=(6.2, 3.7))[1]
    lengths, units = (sorted({key[i] for key in cells}) for i in (0, 1))
    ends: dict[str, tuple[float, str]] = {}
    for k, longest in enumerate(lengths):
        color, marker, place = LINES[k % len(LINES)], MARKERS[k % len(MARKERS)], []
        for at, n in enumerate(units):
            exact, overlap = (as_numpy(values, f"cell {longest, n}", None) for values in cells[longest, n])
            place.append(overlap.mean())
            for j, (right, x) in enumerate(zip(exact, overlap, strict=True)):
                fill = color if right >= solved else "none"
                ax.plot(at + 0.05 * j, x, marker, color=color, markerfacecolor=fill, markersize=6)
        ax.plot(range(len(units)), place, color=color, linestyle=DASHES[k % len(DASHES)])
        ends[f"up to {longest} tokens"] = (float(place[-1]), "#333333")
    ax.set_xticks(range(len(units)), [f"{n}" for n in units])
    top = 1.08 * max(float(np.max(line.get_ydata())) for line in ax.lines)
    ax.set(xlabel="units N", ylabel="overlap", ylim=(0, top), xlim=(-0.2, len(units) - 0.2))
    beside(ax, len(units) - 0.85, ends)
    return ax
