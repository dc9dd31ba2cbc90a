"""What probes read, position by position or length by length."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from emt_core.book.figures.labels import beside
from emt_core.book.figures.style import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, VERMILLION, Values, as_numpy

#: how each reader is drawn, on all pages, as (marker, line, colour)
READERS = {
    "own writing": ("", "-", GRAY),
    "peeled": ("^", "-", VERMILLION),
    "peeled backwards": ("s", ":", GREEN),
    "linear": ("o", "--", BLUE),
    "onion": ("D", "-", VERMILLION),
    "MLP": ("v", "-.", GREEN),
    "GRU": ("P", "-", PURPLE),
    "GRU, no input": ("X", ":", ORANGE),
    "linear, trained": ("o", "-", BLUE),
    "onion, trained": ("D", "-", VERMILLION),
    "MLP, trained": ("v", "-", GREEN),
    "linear, measured": ("", "--", BLACK),
    "measured": ("o", "--", BLUE),
    "learned": ("^", "-", VERMILLION),
}


def curves(
    panels: Mapping[str, Mapping[str, Values]], x: Sequence[int], ylabel: str = "tokens right",
    xlabel: str = "position", top: float | None = 1.04, chance: float | None = None,
) -> Figure:  # fmt: skip
    """A panel for each title with a curve (len(x),) for each reader, named at its end. ``chance`` is a dotted line."""
    width = 5.6 if len(panels) == 1 else 8.2
    figure, axes = plt.subplots(1, len(panels), figsize=(width, 3.5), sharey=True, squeeze=False)
    most = max(float(np.nanmax(as_numpy(y, name, len(x)))) for of in panels.values() for name, y in of.items())
    for ax, (title, readers) in zip(axes[0], panels.items(), strict=True):
        ends = {}
        for name, values in readers.items():
            marker, line, color = READERS.get(name, ("o", "-", BLACK))
            values = as_numpy(values, name, len(x))
            ax.plot(x, values, line, marker=marker or None, color=color, markersize=5, clip_on=False,
                    linewidth=1.8 if marker else 2.6)  # fmt: skip
            ends[name] = (float(values[-1]), color)
        if chance is not None:
            ax.axhline(chance, color=GRAY, linestyle=":", linewidth=1)
        ax.set(title=title, xlabel=xlabel, xticks=list(x), ylim=(0, 1.05 * most if top is None else top))
        beside(ax, x[-1] + 0.035 * (x[-1] - x[0]), ends)
    axes[0, 0].set_ylabel(ylabel)
    return figure
