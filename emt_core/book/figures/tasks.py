"""Tasks in pictures: sequences of signs, the graph of what an entry copies, and how much random tasks remember."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from emt_core.book.figures.style import BLACK, BLUE, DIVERGING, LINES, Values, as_numpy

HEAD = "-|>,head_length=5,head_width=3"


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


def cycle_graph(
    sources: Sequence[tuple[int, int]], cycles: Sequence[Sequence[int]], history: int, dim: int, *, title: str = ""
) -> Axes:
    """Where the entries of the history go: a node for each, blocks to the right (newest last), dimensions down.

    sources: for each of the D outputs, the entry it copies and a sign, dashed where −1; cycles: the entries of each, as
    in :func:`emt_core.theory.circuit.cycles`. Nodes on cycle k are filled and carry the k-th letter; others are hollow.
    Straight arrows: an entry grows older by one step. Bent arrows: an output copies an entry and becomes the newest.
    """
    letter = {i: k for k, entries in enumerate(cycles) for i in entries}
    ax = plt.subplots(figsize=(1.6 + 0.95 * history, 1.3 + 0.72 * dim))[1]

    def place(i: int) -> tuple[float, float]:
        return float(i // dim), float(i % dim)

    def color(i: int) -> str:
        return LINES[letter[i] % (len(LINES) - 1)] if i in letter else "#999999"

    def arrow(start: int, end: int, colored: str, bend: float = 0.0, dash: str = "-") -> None:
        ax.add_patch(FancyArrowPatch(place(start), place(end), connectionstyle=f"arc3,rad={bend}", linestyle=dash,
                                     arrowstyle=HEAD, shrinkA=11, shrinkB=11,
                                     color=colored, linewidth=1.5))  # fmt: skip

    along = {(entries[k], entries[k - 1]) for entries in cycles for k in range(len(entries))}  # from old to new
    for i in range(dim, history * dim):
        arrow(i, i - dim, color(i) if (i, i - dim) in along else "#999999")
    for k, (p, sign) in enumerate(sources):
        newest = (history - 1) * dim + k
        if p == newest:  # copies itself
            x, y = place(p)
            ax.add_patch(FancyArrowPatch((x + 0.16, y - 0.12), (x + 0.16, y + 0.12), arrowstyle=HEAD, color=color(p),
                                         connectionstyle="arc3,rad=-2.2", linestyle="-" if sign > 0 else "--",
                                         linewidth=1.5))  # fmt: skip
        else:
            arrow(p, newest, color(p) if (p, newest) in along else "#999999", -0.22, "-" if sign > 0 else "--")
    for i in range(history * dim):
        on = i in letter
        x, y = place(i)
        ax.scatter(x, y, s=330, color=color(i) if on else "white", edgecolors=BLACK if on else "#999999", zorder=3)
        if on:
            ax.text(x, y, chr(ord("A") + letter[i] % 26), ha="center", va="center", color="white", zorder=4,
                    fontweight="bold", fontsize=11)  # fmt: skip
    blocks = [f"{history - b}" for b in range(history)]
    ax.set(xlim=(-0.6, history - 0.4), ylim=(dim - 0.3, -0.7), title=title, xlabel="steps back", ylabel="entry")
    ax.set_xticks(range(history), blocks)
    ax.set_yticks(range(dim), [str(d + 1) for d in range(dim)])
    ax.grid(False)
    return ax


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
