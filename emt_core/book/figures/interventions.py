"""Edits of states: how often they work by size, place and length, and what the learned onion is made of."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from emt_core.book.figures.labels import beside
from emt_core.book.figures.style import BLACK, GRAY, LINES, MARKERS, Values, as_numpy, jitter


def by_size(tables: Mapping[str, Mapping[str, Mapping[int, Values]]], sizes: Sequence[int]) -> Figure:
    """A panel for each table, a curve for each kind: the exact match of every network, ``tables[title][kind][size]``
    (seeds,), and its mean. The first kind is drawn as the yardstick. Dots are moved sideways so that all are seen."""
    figure, axes = plt.subplots(1, len(tables), figsize=(8, 3.6), sharey=True, squeeze=False)
    for ax, (title, kinds) in zip(axes[0], tables.items(), strict=True):
        ends = {}
        for j, (kind, of) in enumerate(kinds.items()):
            color = LINES[j - 1] if j else GRAY
            values = {sizes.index(size): as_numpy(of[size], kind, None) for size in sizes if len(of.get(size, ()))}
            if not values:
                continue
            aside = 0.11 * (j - (len(kinds) - 1) / 2)
            means = [v.mean() for v in values.values()]
            ax.plot(np.array(list(values)) + aside, means, "-" if j else "--", color=color, linewidth=1.4)
            for k, v in values.items():
                spread = jitter(len(v), 0.04)
                ax.plot(k + aside + spread, v, MARKERS[j], color=color, markersize=5, alpha=0.7, clip_on=False)
            ends[kind] = (means[-1], color)
        ax.set(title=title, xlabel="units N", xlim=(-0.4, len(sizes) - 0.5), ylim=(-0.04, 1.04))
        ax.set_xticks(range(len(sizes)), sizes)
        beside(ax, len(sizes) - 0.42, ends)
    axes[0, 0].set_ylabel("exact match")
    return figure


def where(
    places: Mapping[int, Mapping[int, Values]], lengths: Sequence[int], by_length: Mapping[int, Values], own: Values
) -> Figure:
    """Left: exact match by the position replaced, ``places[units][length]`` (length,). Right: by the length of the
    sequence, ``by_length[units]`` (seeds, lengths), beside the networks' ``own`` mean (lengths,)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3), sharey=True)
    left.set(xlabel="position replaced, from 0", ylabel="exact match", ylim=(0, 1.03))
    for j, curves in enumerate(places.values()):
        for length, shares in curves.items():
            shares = as_numpy(shares, "places", length)
            left.plot(shares, f"{MARKERS[j]}-", color=LINES[j], markersize=5)
    for length in dict.fromkeys(n for curves in places.values() for n in curves):
        end = np.mean([curves[length][-1] for curves in places.values() if length in curves])
        left.text(length - 0.6, end, f"{length} tokens", va="center", fontsize=10.5)
    for j, values in enumerate(by_length.values()):
        for row in as_numpy(values, "by_length", None, len(lengths)):
            right.plot(lengths, row, "-", color=LINES[j], linewidth=1, alpha=0.6)
        right.plot(lengths, np.mean(values, 0), MARKERS[j], color=LINES[j], markersize=6)
    own = as_numpy(own, "own", len(lengths))
    right.plot(lengths, own, "--", color=GRAY)
    ends = {f"{units} units": (float(np.mean(v, 0)[-1]), LINES[j]) for j, (units, v) in enumerate(by_length.items())}
    right.set(xlabel="length", xticks=list(lengths))
    beside(right, lengths[-1] + 0.25, {"no edit,\nnot corrupted": (own[-1], GRAY)} | ends, gap=0.1)
    return figure


def lengths_seen(lengths: Sequence[int], fresh: Mapping[int, Values], fixed: Mapping[int, Values]) -> Figure:
    """Exact match by length, one panel for each size: edits trained on fresh sequences and on one fixed million, both
    (seeds, lengths) by units; means with standard deviations."""
    figure, axes = plt.subplots(1, len(fresh), figsize=(8, 3.1), sharey=True, squeeze=False)
    for ax, units in zip(axes[0], fresh, strict=True):
        for j, (name, table) in enumerate({"fresh": fresh, "a million": fixed}.items()):
            values = as_numpy(table[units], name, None, len(lengths))
            ax.errorbar(np.array(lengths) + 0.06 * (2 * j - 1), values.mean(0), values.std(0, ddof=1), capsize=2,
                        fmt=("o-", "^--")[j], markersize=5, color=LINES[j])  # fmt: skip
        ax.text(lengths[0], 1.06, "fresh", color=LINES[0], fontsize=10.5)
        low = np.mean(fixed[units], axis=0)[0] - 0.12
        ax.text(lengths[0], low, "a million,\nall different", color=LINES[1], fontsize=10.5, va="top")
        ax.set(title=f"{units} units", xlabel="length", xticks=list(lengths), ylim=(0, 1.15))
    axes[0, 0].set_ylabel("exact match")
    return figure


def magnitudes(gammas: Mapping[int, Values], sizes: Mapping[str, Values], every: Values, straight: float) -> Figure:
    """Left: the learned γ of all units (N,), sorted, by N. Right: how large the scale of a position is, (L,) for each
    group of units, for ``every`` unit, and for a code with the single γ ``straight``."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4))
    for j, (units, values) in enumerate(gammas.items()):
        gamma = np.sort(as_numpy(values, "gammas", None))
        left.plot((np.arange(units) + 0.5) / units, gamma, MARKERS[j], color=LINES[j], markersize=4)
        left.text(0.62, 0.2 - 0.1 * j, f"{'●■'[j % 2]} {units} units", color=LINES[j], fontsize=10)
    left.set(xlabel="units, sorted (fraction)", ylabel="γ", ylim=(0, 1))
    every = as_numpy(every, "every", None)
    ends = {}
    for j, (name, values) in enumerate(sizes.items()):
        values = as_numpy(values, name, len(every))
        color = LINES[(j + 2) % len(LINES)]
        right.semilogy(values, f"{MARKERS[j % len(MARKERS)]}-", color=color, markersize=4)
        ends[name] = (values[-1], color)
    right.semilogy(every, "-", color=BLACK, linewidth=2.5)
    right.semilogy(every[0] * straight ** np.arange(len(every)), ":", color=GRAY)
    ends |= {"all units": (every[-1], BLACK)}
    right.set(xlabel="position", ylabel="size of g γ^p + β p + b")
    beside(right, len(every) - 0.8, ends)
    right.text(3.2, every[0] * straight**3.2, f" γ = {straight:g} alone", color=GRAY, fontsize=10.5)
    return figure


def against_numbers(
    panels: Mapping[str, Mapping[str, Mapping[str, Values]]], numbers: Mapping[str, Mapping[str, int]]
) -> Figure:
    """A panel for each ``panels[title]``: the exact match of edits, ``[condition][kind]`` (seeds,), kinds from left to
    right by how many ``numbers[title][kind]`` they have. Conditions differ in marker and colour; those after the first
    are hollow. Dots are moved sideways so that all are seen."""
    figure, axes = plt.subplots(len(panels), 1, figsize=(8, 0.7 + 2.7 * len(panels)), squeeze=False)
    marks = {}
    for ax, (title, conditions) in zip(axes[:, 0], panels.items(), strict=True):
        kinds = sorted(numbers[title], key=lambda kind: numbers[title][kind])
        for j, (condition, of) in enumerate(conditions.items()):
            look = dict(marker=MARKERS[j], color=LINES[j], markerfacecolor="white" if j else LINES[j], markersize=6)
            marks[condition] = Line2D([], [], linestyle="", **look)
            aside = 0.2 * (j - (len(conditions) - 1) / 2)
            for kind, values in of.items():
                if len(values):  # an empty line would take part in the layout
                    at = kinds.index(kind) + aside + jitter(len(values), 0.06)
                    ax.plot(at, as_numpy(values, kind, None), linestyle="", clip_on=False, **look)
        ax.set(title=title, ylabel="exact match", ylim=(-0.04, 1.04), xlim=(-0.5, len(kinds) - 0.5))
        ax.set_xticks(range(len(kinds)), [f"{kind}\n{numbers[title][kind]:,}" for kind in kinds], fontsize=10.5)
    figure.legend(marks.values(), marks, loc="outside upper center", ncols=2, frameon=False, fontsize=10.5)
    return figure
