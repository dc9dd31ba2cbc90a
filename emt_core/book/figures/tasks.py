"""Tasks in pictures: sequences of signs, and how much random tasks remember."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emt_core.book.figures.style import BLUE, DIVERGING, Values, as_numpy


def sequences(examples: Mapping[str, Values], history: int) -> Figure:
    """One example (T, D) of signs for each title, time to the right, divided after ``history`` steps of input.
    Entries of +1 carry a dot, so that signs can be told apart without colour."""
    figure, axes = plt.subplots(len(examples), 1, figsize=(7, 2.1 * len(examples)), sharex=True, squeeze=False)
    for ax, (title, values) in zip(axes[:, 0], examples.items(), strict=True):
        signs = as_numpy(values, title, None, None).T
        dim, steps = signs.shape
        edges = (0.5, steps + 0.5, dim + 0.5, 0.5)
        ax.imshow(signs, cmap=DIVERGING, vmin=-1.7, vmax=1.7, aspect="auto", extent=edges)
        row, column = np.nonzero(signs > 0)
        ax.scatter(column + 1, row + 1, s=14, color="white")
        ax.axvline(history + 0.5, color="black", linewidth=2.5)
        for at, kind in (((1 + history) / 2, "read"), ((1 + history + steps) / 2, "write")):
            ax.text(at, 0.35, kind, ha="center", va="bottom", fontsize=11)
        ax.set_title(title, loc="right", fontsize=12)
        ax.set(ylabel="entry", yticks=range(1, dim + 1) if dim <= 8 else [1, dim])
        ax.grid(False)
    axes[-1, 0].set(xlabel="time t", xticks=range(1, steps + 1, max(1, steps // 12)))
    return figure


def ranks(values: Values, total: int, marks: Mapping[str, int]) -> Axes:
    """Histogram of effective ranks (K,), each from 1 to ``total``; ``marks``: named ranks, dashed."""
    values = as_numpy(values, "values", None)
    ax = plt.subplots(figsize=(6, 3.2))[1]
    ax.hist(values, bins=[k + 0.5 for k in range(total + 1)], color=BLUE, rwidth=0.9)
    for name, rank in marks.items():
        ax.axvline(rank, color="black", linestyle="--", linewidth=1.4)
        ax.annotate(name, (rank, 0.97), xycoords=("data", "axes fraction"), xytext=(-6, 0), ha="right", va="top",
                    textcoords="offset points")  # fmt: skip
    ax.set(xlabel="effective rank", ylabel="random tasks")
    return ax
