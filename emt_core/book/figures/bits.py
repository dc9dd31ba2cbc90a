"""What coarse numbers leave of a memory, in pictures: measured beside the rule, codes by hand, memories that last."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emt_core.book.figures.style import (
    BLACK,
    BLUE,
    DASHES,
    GRAY,
    LINES,
    MARKERS,
    VERMILLION,
    Values,
    as_numpy,
    bundle,
    jitter,
    panels,
)


def foretold(
    bits: Values, networks: Mapping[str, tuple[Values, Mapping[str, Values]]], names: Mapping[int, str]
) -> Figure:
    """A panel for each network, over mantissa bits (X,): ``networks[title] = measured, rules`` (X,) each, the first as
    marks, what a rule predicts as a line. ``names`` stand at the bits of formats."""
    x = as_numpy(bits, "bits", None, real=True)
    figure, axes = panels(len(networks), 2, (3.7, 2.6), (0.8, 1.0))
    for ax, (title, (measured, rules)) in zip(axes.flat, networks.items(), strict=False):
        for (name, values), color, dash in zip(rules.items(), (BLUE, VERMILLION, *LINES), cycle(DASHES), strict=False):
            ax.plot(x, as_numpy(values, f"{name}, {title}", len(x), real=True), dash, color=color, label=name)
        marks = as_numpy(measured, title, len(x), real=True)
        ax.plot(x, marks, "o", color=BLACK, markersize=6, zorder=3, label="measured")
        ax.set_title(title, fontsize=12)
        ax.set(ylim=(-0.03, 1.05))
        for b in sorted(set(names) & set(x.tolist())):
            ax.text(b, 0.01, names[b], rotation=90, ha="right", va="bottom", fontsize=10, color=GRAY)
        ax.set_xticks(x, [f"{b:g}" for b in x])
    for ax in axes[:, 0]:
        ax.set_ylabel("exact match")
    figure.supxlabel("mantissa bits of the state", fontsize=12)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=1 + len(rules))
    return figure


def by_hand(
    gammas: Values,
    kept: Mapping[str, tuple[Values, Values]],
    lengths: Values,
    needed: Mapping[str, Values],
    exact: float | int,
) -> Figure:
    """Left: positions that survive in a format, measured (a mark) and promised (thin, dashed), (G,) each a name, over
    γ (G,); a line at ``exact``, up to which an onion is read in exact numbers. Right: significant bits (P,) that a code
    needs to keep so many positions (P,); NaN where none will do."""
    x, at = as_numpy(gammas, "gammas", None, real=True), as_numpy(lengths, "lengths", None, real=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 4.9))
    for (name, pair), color, marker in zip(kept.items(), cycle(LINES), cycle(MARKERS), strict=False):
        measured, promised = (as_numpy(v, name, len(x), real=True).astype(float) for v in pair)
        promised[promised < 1] = np.nan
        left.plot(x, measured, marker=marker, markersize=5, linewidth=1.4, color=color, label=name)
        left.plot(x, promised, "--", linewidth=1, color=color)
    left.axvline(exact, color=GRAY, linestyle=":", linewidth=1.2)
    left.set_yscale("log", base=2)
    _plain(left, "y", 2 ** np.arange(6))
    left.set(xlabel="γ of the onion", ylabel="positions that survive")
    for (name, values), color, marker, dash in zip(
        needed.items(), cycle(LINES), cycle(MARKERS), cycle(DASHES), strict=False
    ):
        y = as_numpy(values, name, len(at), real=True)
        right.plot(at, y, dash, marker=marker, markersize=6, color=color, label=name)
    right.set_xscale("log", base=2)
    _plain(right, "x", at)
    right.set(xlabel="positions to keep", ylabel="significant bits needed", ylim=(0, None))
    for ax in (left, right):  # below: lines go everywhere
        ax.legend(fontsize=10, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    return figure


def coarse(bits: Values, memories: Mapping[str, tuple[Values, Mapping[str, Values]]], step: int) -> Figure:
    """Right signs in percent at output ``step`` over mantissa bits (X,), a panel for each kind of memory:
    ``memories[title] = unrounded (M,), roundings``, each (X, M). Thin lines are networks, bold ones medians; the
    unrounded median is a dotted line."""
    x = as_numpy(bits, "bits", None, real=True)
    size = 0.9 + 2.9 * len(memories), 3.9
    figure, axes = plt.subplots(1, len(memories), figsize=size, sharey=True, squeeze=False)
    for ax, (title, (unrounded, roundings)) in zip(axes[0], memories.items(), strict=True):
        usual = 100 * float(np.median(as_numpy(unrounded, f"unrounded, {title}", None, real=True)))
        ax.axhline(usual, color=BLACK, linestyle=":", linewidth=1.4, label="not rounded")
        styles = zip(roundings.items(), (BLUE, VERMILLION, *LINES), cycle(MARKERS), cycle(DASHES), strict=False)
        for (name, values), color, marker, dash in styles:
            lines = 100 * as_numpy(values, f"{name}, {title}", len(x), None, real=True).T
            bundle(ax, x, lines, color=color, marker=marker, linestyle=dash, markersize=5, label=name)
        ax.set_title(title, fontsize=12)
        ax.set_xticks(x, [f"{b:g}" for b in x])
        ax.set(ylim=(45, 103))
    axes[0, 0].set_ylabel(f"signs right at step {step:,} (%)")
    figure.supxlabel("mantissa bits of the state", fontsize=12)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=1 + len(roundings))
    return figure


def agreement(rules: Mapping[str, Mapping[str, tuple[Values, Values]]], within: float | int) -> Figure:
    """Measured over predicted shares, a panel a rule; in it a group of networks a name, (K,) predicted and measured.
    On the line they agree; the thin lines are ``within`` of it."""
    figure, axes = plt.subplots(1, len(rules), figsize=(0.9 + 3.4 * len(rules), 4.3), sharey=True, squeeze=False)
    ends = np.array([0.0, 1.0])
    for ax, (title, groups) in zip(axes[0], rules.items(), strict=True):
        ax.plot(ends, ends, color=BLACK, linewidth=1)
        for off in (-within, within):
            ax.plot(ends, ends + off, color=GRAY, linestyle=":", linewidth=1)
        for k, ((name, pair), color, marker) in enumerate(
            zip(groups.items(), cycle(LINES), cycle(MARKERS), strict=False)
        ):
            predicted = as_numpy(pair[0], f"predicted, {name}", None, real=True)
            measured = as_numpy(pair[1], f"measured, {name}", len(predicted), real=True)
            hollow = {"facecolors": "white", "edgecolors": color} if k >= len(LINES) else {"color": color}
            ax.scatter(predicted, measured, marker=marker, s=34, label=name, zorder=3, **hollow)
        ax.set_title(title, fontsize=12)
        ax.set(xlabel="predicted", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes[0, 0].set_ylabel("measured exact match")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize=10.5)
    return figure


def from_the_start(sizes: Mapping[str, Values], overlap: Mapping[str, Values]) -> Figure:
    """Networks trained with a state in some format, a name each. Left: sizes of layers over positions (S, L), relative
    to the first; right: a dot for the overlap of each network (S,)."""
    if list(sizes) != list(overlap):
        raise ValueError(f"overlap: got {list(overlap)}, expected the formats {list(sizes)}")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.8), width_ratios=(1.5, 1))
    styles = zip(sizes.items(), cycle(LINES), cycle(MARKERS), cycle(DASHES), strict=False)
    for row, ((name, values), color, marker, dash) in enumerate(styles):
        lines = as_numpy(values, name, None, None, real=True)
        look = dict(color=color, marker=marker, linestyle=dash, markersize=5, label=name)
        bundle(left, np.arange(1, lines.shape[1] + 1), lines / lines[:, :1], **look)
        dots = as_numpy(overlap[name], f"overlap, {name}", len(lines), real=True)
        right.plot(dots, row + jitter(len(dots), 0.15), marker, color=color, markersize=8)
    left.set(xlabel="position", ylabel="size of the layer / first", ylim=(0, None))
    left.legend(fontsize=10.5)
    right.set_yticks(range(len(sizes)), list(sizes))
    right.set(xlabel="overlap of positions", ylim=(len(sizes) - 0.5, -0.5), xlim=(0, 1))
    return figure


def _plain(ax: Axes, which: str, ticks: Sequence | np.ndarray) -> None:
    """Ticks written as they are, none between them."""
    axis = ax.yaxis if which == "y" else ax.xaxis
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)
