"""Names that networks copy, in pictures."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from emt_core.book.figures.style import DASHES, LINES, MARKERS, Values, as_numpy


def over(shares: Mapping[str, Values], x: Values, *, xlabel: str, ylabel: str) -> Axes:
    """Shares in percent over x (X,), lengths of names or places in them: for each kind of networks or of names (M, X) a
    thin line for each network, and marks at the means."""
    x = as_numpy(x, "x", None, real=True)
    ax = plt.subplots(figsize=(6.4, 3.8))[1]
    for (name, values), color, marker, dash in zip(
        shares.items(), cycle(LINES), cycle(MARKERS), cycle(DASHES), strict=False
    ):
        lines = 100 * as_numpy(values, name, None, len(x), real=True)
        ax.plot(x, lines.T, color=color, linewidth=0.7, alpha=0.5)
        ax.plot(
            x,
            lines.mean(0),
            dash,
            color=color,
            marker=marker,
            markersize=6,
            label=f"{name} ({len(lines)})" if len(lines) > 1 else name,
        )
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(-3, 103), xticks=x)
    ax.legend(fontsize=10)
    return ax
