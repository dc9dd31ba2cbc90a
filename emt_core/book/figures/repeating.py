"""Networks that repeat tokens, in pictures: how they learn, what positions leave in the state, a token's life."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from emt_core.book.figures.style import (
    BLACK,
    BLUE,
    DIVERGING,
    GRAY,
    LINES,
    MARKERS,
    VERMILLION,
    Values,
    as_numpy,
    ensemble,
)

# For lines in an order: neither end is lost on white, nor on black where a page turns the picture dark.
ORDERED = LinearSegmentedColormap.from_list("ordered", ["#1f5fb0", "#77777f", "#b07800"])


def learning(steps: Values, right: Values, loss: Values) -> Figure:
    """Tokens right on held-out sequences (dots, left axis) and the loss (dashed, right axis, log) over steps, (X,)."""
    steps, right, loss = (as_numpy(v, n, None) for v, n in ((steps, "steps"), (right, "right"), (loss, "loss")))
    figure, left = plt.subplots(figsize=(6.0, 3.4))
    other = left.twinx()
    left.plot(steps, right, "o-", markersize=4, color=BLUE)
    other.plot(steps, loss, "--", color=VERMILLION)
    left.set(xlabel="training step", ylabel="tokens right (dots)", ylim=(None, 1.01))
    other.set(ylabel="loss (dashed)", yscale="log")
    other.grid(False)
    other.spines["right"].set_visible(True)
    return figure


def by_place(
    curves: Mapping[str, Mapping[int, Values]], x: Values, *, xlabel: str, ylabel: str, log: bool = False,
    guide: float | int | None = None,
) -> Figure:  # fmt: skip
    """A measure of every position or length x (X,): a panel a variant, a marker for each number of units N.

    curves: variant to N to (X,) or (seeds, X), a line for each seed. guide: a factor by which a dotted line falls from
    the first place to the second, for comparison.
    """
    x = as_numpy(x, "x", None)
    figure, axes = plt.subplots(1, len(curves), figsize=(7.4, 3.9), sharey=True, squeeze=False)
    names = sorted({units for rows in curves.values() for units in rows})
    known: dict[str, Line2D] = {}
    for ax, (variant, rows) in zip(axes[0], curves.items(), strict=True):
        for units, values in rows.items():
            k = names.index(units)
            style = dict(marker=MARKERS[k % len(MARKERS)], color=LINES[k % len(LINES)], linewidth=1.3, markersize=5)
            lines = ax.plot(x, ensemble(values, f"N = {units}", len(x)).T, **style)
            known[f"N = {units}"] = lines[0]
        if guide is not None:
            ax.plot(x[:2], [1, 1 / guide], ":", color=BLACK)
            ax.text(x[1] + 0.1, 1.05 / guide, f"a factor of {guide:g}", va="bottom", fontsize=10)
        ax.set(title=variant, xlabel=xlabel, xticks=x, yscale="log" if log else "linear")
    axes[0, 0].set_ylabel(ylabel)
    figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=len(known))
    return figure


def lives(effects: Mapping[str, Values]) -> Figure:
    """The size of each token's effect on the state over time, a panel a network.
    effects: title to (L, 2L), positive from the step on at which the token is read: first L steps of reading, then L of
    writing. A line a position, blue to ochre; the dot is the step that writes the token."""
    figure, axes = plt.subplots(1, len(effects), figsize=(7.4, 3.7), sharey=True, squeeze=False)
    for ax, (title, values) in zip(axes[0], effects.items(), strict=True):
        sizes = as_numpy(values, title, None, None)
        length = len(sizes)
        for p, size in enumerate(sizes):
            color = ORDERED(p / max(length - 1, 1))
            ax.plot(range(p + 1, 2 * length + 1), size[p:], color=color, linewidth=1.5)
            ax.plot(length + 1 + p, size[length + p], "o", color=color, markersize=6)
        ax.axvline(length + 0.5, color=BLACK, linewidth=1)
        for side, word in (("right", "reads "), ("left", " writes")):
            ax.text(length + 0.5, 1.0, word, ha=side, va="top", transform=ax.get_xaxis_transform(), fontsize=11)
        ax.set(title=title, xlabel="step", yscale="log", xticks=[1, length, 2 * length])
    axes[0, 0].set_ylabel("effect of the token")
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(low, high * (high / low) ** 0.12)  # room for the words
    return figure


def pairs_of_positions(maps: Mapping[str, Mapping[str, Values]]) -> Figure:
    """Maps of all pairs of positions: a row a measure, a column a network. maps: network to measure to (L, L), from -1
    to 1."""
    measures = list(next(iter(maps.values())))
    size = (0.8 + 2.7 * len(maps), 0.4 + 2.7 * len(measures))
    figure, axes = plt.subplots(len(measures), len(maps), figsize=size, sharex=True, sharey=True, squeeze=False)
    for column, (network, found) in zip(axes.T, maps.items(), strict=True):
        for ax, measure in zip(column, measures, strict=True):
            values = as_numpy(found[measure], f"{network}, {measure}", None, None)
            image = ax.imshow(values, cmap=DIVERGING, vmin=-1, vmax=1)
            ax.set(xticks=range(len(values)), yticks=range(len(values)))
            ax.grid(False)
        column[0].set_title(network)
        column[-1].set_xlabel("position")
    for ax, measure in zip(axes[:, 0], measures, strict=True):
        ax.set_ylabel(f"{measure}\nposition")
    figure.colorbar(image, ax=axes, shrink=0.7)
    return figure


def units(shares: Mapping[str, Values]) -> Figure:
    """In which units each position is held: a panel a network, rows units, sorted by the position that each holds most.
    shares: title to (L, N), the size of each position's layers in each unit; drawn relative to a unit's largest."""
    figure, axes = plt.subplots(1, len(shares), figsize=(7.4, 4.2), sharey=True, squeeze=False)
    for ax, (title, values) in zip(axes[0], shares.items(), strict=True):
        held = as_numpy(values, title, None, None).T.astype(float)
        held = held / np.maximum(held.max(1, keepdims=True), 1e-300)
        centre = (held * np.arange(held.shape[1])).sum(1) / held.sum(1)
        image = ax.imshow(held[np.lexsort((centre, held.argmax(1)))], aspect="auto", cmap="cividis", vmin=0, vmax=1)
        ax.set(title=title, xlabel="position", xticks=range(held.shape[1]))
        ax.grid(False)
    axes[0, 0].set_ylabel("unit, sorted")
    figure.colorbar(image, ax=axes, shrink=0.8, label="relative to the unit's largest")
    return figure


def misled(truth: Values, lies: Mapping[int, Values], chance: float) -> Axes:
    """Tokens right at each position (L,) if the truth is fed back throughout, and if a wrong token is, once, after the
    position that each of `lies` (L,) is named by."""
    truth = as_numpy(truth, "truth", None)
    positions = np.arange(len(truth))
    ax = plt.subplots(figsize=(6.2, 3.6))[1]
    ax.plot(positions, truth, color=BLACK, label="true tokens only")
    for k, (after, right) in enumerate(lies.items()):
        style = dict(color=LINES[k % len(LINES)], marker=MARKERS[k % len(MARKERS)], linestyle=("-", "--", "-.")[k % 3])
        ax.plot(positions, as_numpy(right, f"lies[{after}]", len(truth)), **style, label=f"a wrong one after {after}")
    ax.axhline(chance, color=GRAY, linestyle=":", linewidth=1)
    ax.set(xlabel="position", ylabel="tokens right", ylim=(0, 1.03), xticks=positions)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=10)
    return ax
