"""Onions in pictures: written and peeled in the plane, broken by γ and by rounding, learned, probed, found in a GRU."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emt_core.book.figures.style import BLACK, BLUE, DASHES, GRAY, LINES, MARKERS, VERMILLION, Values, as_numpy, panels


def peeled(embedding: Values, gamma: float, sequence: Sequence[int], names: Sequence[str], left: Values) -> Figure:
    """An onion in the plane. First panel: the state while it is written, an arrow a layer. Then a panel for each of the
    first three peels: the tokens, the borders between those nearest, what is left, and what the next peel will enlarge.

    embedding: (V, 2); sequence: L tokens; names: V short ones; left: (R, 2), R ≥ min(L, 3), what is left before each
    peel, rescaled.
    """
    e, left = as_numpy(embedding, "embedding", len(names), 2), as_numpy(left, "left", None, 2)
    shown = min(len(sequence), 3)
    figure, axes = panels(1 + shown, 2, (3.1, 3.3), (0, 0))
    axes = axes.ravel()[: 1 + shown]
    ends = np.vstack([[0, 0], np.cumsum([gamma**p * e[token] for p, token in enumerate(sequence)], axis=0)])
    middle, span = (ends.max(0) + ends.min(0)) / 2, 0.75 * float(np.ptp(ends, axis=0).max())
    for p, (start, end) in enumerate(itertools.pairwise(ends)):
        _arrow(axes[0], start, end, LINES[p % len(LINES)], head=max(18 * gamma**p, 1.0))
        if p < shown:
            across = np.array([start[1] - end[1], end[0] - start[0]]) / max(float(np.linalg.norm(end - start)), 1e-9)
            where = (start + end) / 2 + 0.16 * span * across
            axes[0].text(where[0], where[1], names[sequence[p]], ha="center", va="center", fontsize=12)
    axes[0].plot(*ends[-1], "o", color=BLACK, markersize=6, zorder=5)
    axes[0].plot(0, 0, "+", color=GRAY, markersize=10, zorder=5)
    axes[0].set_title("written")
    _square(axes[0], span, middle)
    reach = 1.2 * float(max(np.abs(e).max(), np.abs(left[:shown]).max()))
    for p, ax in enumerate(axes[1:]):
        _borders(ax, e, reach)
        lettered(ax, e, names, chosen=sequence[p])
        ax.plot(*np.stack([e[sequence[p]], left[p]]).T, color=LINES[(p + 1) % len(LINES)], linewidth=2.2, zorder=2)
        ax.plot(*left[p], "o", color=BLACK, markersize=6, zorder=5)
        ax.set_title(f"peel {p}: {names[sequence[p]]}")
        _square(ax, reach)
    return figure


def lettered(ax: Axes, embedding: Values, names: Sequence[str], chosen: int | None = None) -> None:
    """Tokens as rings with their names, at (V, 2); the ring of one may be thick."""
    for v, (x, y) in enumerate(as_numpy(embedding, "embedding", len(names), 2).tolist()):
        width = 2.4 if v == chosen else 0.8
        ax.scatter(x, y, s=190, facecolors="white", edgecolors=BLACK, linewidths=width, zorder=3)
        ax.text(x, y, names[v], ha="center", va="center", fontsize=11, zorder=4)


def against_gamma(gammas: Values, read: Mapping[str, Values], bounds: Mapping[str, float]) -> Axes:
    """Fraction of sequences read right over γ (G,), a line for each embedding, and a thin line where its bound is."""
    gammas = as_numpy(gammas, "gammas", None)
    ax = plt.subplots(figsize=(6.2, 3.7))[1]
    for k, (name, values) in enumerate(read.items()):
        style: dict[str, Any] = dict(color=LINES[k % len(LINES)], linestyle=DASHES[k % len(DASHES)])
        ax.plot(gammas, as_numpy(values, name, len(gammas)), label=name, **style)
        if bounds[name] <= 1:
            ax.axvline(bounds[name], linewidth=1, **style)
    ax.set(xlabel="γ", ylabel="sequences read right", ylim=(-0.02, 1.04))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return ax


def clouds(states: Mapping[str, Values], first: Values, names: Sequence[str]) -> Figure:
    """All states (K, 2) of codes, a panel each, those with the same ``first`` token (K,) in one colour, and its name at
    the mean of its cloud."""
    first = as_numpy(first, "first", None)
    figure, axes = plt.subplots(1, len(states), figsize=(3.8 * len(states), 3.9), squeeze=False)
    for ax, (title, values) in zip(axes[0], states.items(), strict=True):
        h = as_numpy(values, title, len(first), 2)
        mixed = np.random.default_rng(0).permutation(len(h))  # else a cloud would cover those drawn before it
        colors = [LINES[v % len(LINES)] for v in first[mixed]]
        ax.scatter(*h[mixed].T, s=5, c=colors, linewidths=0, rasterized=True)
        lettered(ax, np.array([h[first == v].mean(0) for v in range(len(names))]), names)
        ax.set_title(title)
        _square(ax, 1.08 * float(np.abs(h).max()))
    return figure


def formats(bits: Values, whole: Mapping[str, Values], sure: Mapping[str, Values], gammas: Mapping[str, float]) -> Axes:
    """Layers that survive storage over the significant bits (F,) of number formats. For each code ``whole`` (F,), a
    marker, a bar down to ``sure`` (F,), and the line of the rule, t / log2(1/γ)."""
    bits = as_numpy(bits, "bits", None)
    ax = plt.subplots(figsize=(6.4, 4.0))[1]
    for k, (name, values) in enumerate(whole.items()):
        measured, least = as_numpy(values, name, len(bits)), as_numpy(sure[name], f"sure, {name}", len(bits))
        bars, color = [np.maximum(measured - least, 0), 0 * measured], LINES[k % len(LINES)]
        at = bits + 0.5 * (k - 1)
        ax.errorbar(at, measured, yerr=bars, fmt=MARKERS[k % len(MARKERS)], color=color, label=name)
        rule = [0, 54 / np.log2(1 / gammas[name])]
        ax.plot([0, 54], rule, color=color, linewidth=1, linestyle=DASHES[k % len(DASHES)])
    ax.set(xlabel="significant bits t of the format", ylabel="layers L")
    ax.legend()
    return ax


def toys(accuracy: Mapping[int, Values], bound: Mapping[int, Values], least: float, gamma: float) -> Axes:
    """Learned onions over the numbers N in a state: exact match (dots) and the bound of the learned embedding
    (triangles), one each for a seed; ``least`` dimensions and the ``gamma`` of training as lines."""
    ax = plt.subplots(figsize=(6.2, 3.7))[1]
    for k, n in enumerate(accuracy):
        there = [n] * len(accuracy[n])
        labels = ("exact match", "γ* of the embedding") if k == 0 else (None, None)
        ax.plot(there, as_numpy(accuracy[n], "accuracy", None), "o", color=BLUE, alpha=0.7, label=labels[0])
        ax.plot(there, as_numpy(bound[n], "bound", len(there)), "^", color=VERMILLION, alpha=0.7, label=labels[1])
    ax.axvline(least, color=GRAY, linestyle="--", linewidth=1)
    ax.axhline(gamma, color=GRAY, linestyle=":", linewidth=1)
    ax.set(xlabel="numbers in the state, N", xscale="log", ylim=(-0.03, 1.05))
    ax.set_xticks(list(accuracy), [f"{n}" for n in accuracy])
    ax.minorticks_off()
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return ax


def probed(right: Mapping[str, Values], chance: float) -> Axes:
    """Tokens read right at each position (L,), a line for each code and reader; rings grow so that equal ones show."""
    ax = plt.subplots(figsize=(6.2, 4.2))[1]
    for k, (name, values) in enumerate(right.items()):
        drawn = as_numpy(values, name, None)
        style: dict[str, Any] = dict(marker=MARKERS[k % len(MARKERS)], markersize=13 - 2.5 * k, markerfacecolor="none")
        ax.plot(drawn, color=LINES[k % len(LINES)], linestyle=DASHES[k % len(DASHES)], label=name, **style)
    ax.axhline(chance, color=BLACK, linestyle=":", linewidth=1)
    ax.set(xlabel="position p", ylabel="tokens read right", ylim=(0, 1.07), xticks=range(len(drawn)))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return ax


def turning(layers: Values, axes: Values, marked: Sequence[int], positions: Sequence[int]) -> Figure:
    """The layers (L, V, n) of all tokens at some positions in the plane of ``axes`` (2, n), on one scale; a line joins
    the ``marked`` tokens."""
    flat = as_numpy(layers, "layers", None, None, None) @ as_numpy(axes, "axes", 2, None).T
    size = (1.5 * len(positions), 1.9)
    figure, row = plt.subplots(1, len(positions), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, p in zip(row[0], positions, strict=True):
        ax.scatter(*flat[p].T, s=9, color=BLUE)
        ax.fill(*flat[p][list(marked)].T, fill=False, edgecolor=VERMILLION, linewidth=1.3)
        ax.set(aspect="equal", xticks=[], yticks=[])
        ax.set_title(f"position {p}", fontsize=12)
        ax.spines[:].set_visible(True)
    return figure


def _arrow(ax: Axes, start: Values, end: Values, color: str, head: float) -> None:
    style = dict(arrowstyle="-|>", color=color, linewidth=1.8, shrinkA=0, shrinkB=0, mutation_scale=head)
    ax.annotate("", xy=tuple(end), xytext=tuple(start), arrowprops=style, zorder=2)


def _borders(ax: Axes, e: np.ndarray, reach: float) -> None:
    """The borders between points nearest to one token and to another."""
    line = np.linspace(-reach, reach, 200)
    points = np.stack(np.meshgrid(line, line), axis=-1)
    nearest = ((points[..., None, :] - e) ** 2).sum(-1).argmin(-1)
    for v in range(len(e)):
        ax.contour(line, line, nearest == v, levels=[0.5], colors="#bbbbbb", linewidths=0.8, zorder=1)


def _square(ax: Axes, reach: float, middle: Sequence[float] | np.ndarray = (0.0, 0.0)) -> None:
    (x, y), frame = middle, dict(aspect="equal", xticks=[], yticks=[])
    ax.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), **frame)
    ax.spines[:].set_visible(True)
    ax.grid(False)
