"""The report's pictures, in the book's style, as SVG text."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emt_core.book.figures.style import BLACK, BLUE, GRAY, GREEN, SHADES, VERMILLION, style
from emt_core.report.measures import Numbers

Share = Sequence[float]  #: value, lower and upper end, n


def svg(figure: Figure) -> str:
    """The picture as an element of a page; equal pictures, equal text."""
    with style(), io.StringIO() as file:
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
        text = file.getvalue()
    return text[text.index("<svg") :]


def accuracy(numbers: Numbers) -> Figure:
    """Exact match by length, and tokens right by place."""
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2), sharey=True)
        _shares(left, numbers["lengths"], BLUE)
        _shares(right, {int(k) + 1: share for k, share in numbers["places"].items()}, BLUE)
        right.axhline(numbers["chance"], color=GRAY, linestyle=":")
        left.set(xlabel="length of the sequence", ylabel="share", title="without a mistake", ylim=(-0.03, 1.03))
        right.set(xlabel="place in what is written", title="right tokens (dotted: chance)")
    return figure


def code(numbers: Numbers) -> Figure:
    """Sizes of layers, overlap of positions, and peeling in both orders."""
    peeled = numbers["forwards"][0] is not None
    length = numbers["length"]
    places = np.arange(1, length + 1)
    with style():
        figure, axes = plt.subplots(1, 3 if peeled else 2, figsize=(10.0 if peeled else 7.0, 3.3))
        for sizes in numbers["sizes"]:
            axes[0].plot(places, sizes, "o-", color=BLUE, linewidth=1, markersize=3)
        for sizes in numbers["sizes_by_chance"]:
            axes[0].plot(places, sizes, ":", color=GRAY, linewidth=1)
        axes[0].set(xlabel="position", title="size of a layer", yscale="log")
        image = axes[1].imshow(np.mean(numbers["overlap"], axis=0), cmap=SHADES, vmin=0, vmax=1)
        axes[1].set(xlabel="position", ylabel="position", title="overlap")
        ticks = range(0, length, max(1, length // 8))
        axes[1].set_xticks(ticks, [k + 1 for k in ticks])
        axes[1].set_yticks(ticks, [k + 1 for k in ticks])
        axes[1].grid(False)
        figure.colorbar(image, ax=axes[1], shrink=0.8)
        if peeled:
            for way, color, marker in (("forwards", BLUE, "o-"), ("backwards", VERMILLION, "s--")):
                axes[2].plot(places, np.mean(numbers[way], axis=0), marker, color=color, label=way, markersize=4)
            axes[2].set(xlabel="position", title="tokens read by peeling", ylim=(-0.03, 1.03))
            axes[2].legend()
    return figure


def disturbed(kicks: Numbers, rounding: Numbers) -> Figure:
    """Exact match against the size of a kick, and against the bits that a state is kept with."""
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2), sharey=True)
        _shares(left, kicks["sizes"], BLUE)
        left.set(xscale="log", xlabel="kick, relative to the state", ylabel="without a mistake", ylim=(-0.03, 1.03))
        _shares(right, {int(k): share for k, share in rounding["forms"].items() if k.isdigit()}, GREEN)
        right.set(xlabel="mantissa bits of the state")
    return figure


def lasting(numbers: Numbers) -> Figure:
    """What is left of a kick and of the distance between two sequences, over steps."""
    with style():
        figure, ax = plt.subplots(figsize=(6.0, 3.2))
        for key, color, line, label in (
            ("told_apart", BLUE, "o-", "distance of two sequences"),
            ("kept", VERMILLION, "s--", "a kick"),
        ):
            values = [np.nan if v is None else max(v, 1e-8) for v in numbers[key]]
            ax.plot(numbers["steps"], values, line, color=color, label=label, markersize=4)
        ax.set(xlabel="steps without anything new", ylabel="share that is left", yscale="log")
        ax.legend()
    return figure


def multipliers(numbers: Numbers) -> Figure:
    """Eigenvalues of the step's Jacobian at what was found, in the complex plane."""
    values = np.asarray(numbers["multipliers"], dtype=float).reshape(-1, 2)
    with style():
        figure, ax = plt.subplots(figsize=(4.2, 4.0))
        turn = np.linspace(0, 2 * np.pi, 200)
        ax.plot(np.cos(turn), np.sin(turn), color=BLACK, linewidth=1)
        ax.plot(values[:, 0], values[:, 1], "o", color=BLUE, markersize=4, alpha=0.7)
        ax.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
    return figure


def edits(numbers: Numbers) -> Figure:
    """How often an edit succeeds, by position, and its controls."""
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2), sharey=True, width_ratios=[1, 1.4])
        names = list(numbers["success"])
        _shares(left, dict(enumerate(numbers["success"].values())), BLUE, line=False)
        left.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
        left.set(ylabel="success", ylim=(-0.03, 1.03), xlim=(-0.5, len(names) - 0.5))
        _shares(right, {int(p) + 1: share for p, share in numbers["places"].items()}, BLUE)
        right.set(xlabel="position of the edited token")
    return figure


def _shares(ax: Axes, shares: dict, color: str, line: bool = True) -> None:
    x, values = list(shares), np.asarray([share[:3] for share in shares.values()], dtype=float)
    reach = np.abs(values[:, 1:] - values[:, :1]).T
    ax.errorbar(x, values[:, 0], yerr=reach, fmt="o-" if line else "o", color=color, markersize=4, linewidth=1.3)
