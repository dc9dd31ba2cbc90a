"""Training in pictures: curves over steps, the staircase of found eigenvalues, what is acquired, what is linear."""

from collections.abc import Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emt_core.book.figures.style import BLACK, BLUE, DASHES, GRAY, LINES, VERMILLION, Values, as_numpy, ensemble


def curves(x: Values, ys: Values, *, ylabel: str, xlabel: str = "training step", log: bool = False) -> Axes:
    """Lines over x (X,): one model, (X,), or an ensemble, (M, X), each a thin line and their median a bold one.
    Where a model is NaN the median is too: a gap, not a silent omission."""
    x = as_numpy(x, "x", None)
    ys = ensemble(ys, "ys", len(x))
    ax = plt.subplots()[1]
    if len(ys) > 1:
        ax.plot(x, ys.T, color=BLUE, linewidth=0.8, alpha=0.4)
    ax.plot(x, np.median(ys, axis=0), color=BLUE, linewidth=2.4)
    ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    return ax


def staircase(steps: Values, counts: Values, loss: Values, *, expected: int | None = None) -> Figure:
    """Eigenvalues found above, loss (log) below, over shared training steps (X,): both (X,) or (M, X), the first
    network bold. `expected`, the theory's count, is drawn dashed."""
    steps = as_numpy(steps, "steps", None)
    counts, loss = ensemble(counts, "counts", len(steps)), ensemble(loss, "loss", len(steps))
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(6.0, 5.0))
    lines = above.step(steps, counts.T, where="post", color=BLUE), below.plot(steps, loss.T, color=VERMILLION)
    for m, pair in enumerate(zip(*lines, strict=True)):
        plt.setp(pair, linewidth=2.6 if m == 0 else 0.9, alpha=1.0 if m == 0 else 0.4, zorder=3 if m == 0 else 2)
    if expected is not None:
        above.axhline(expected, color=GRAY, linestyle="--", linewidth=1, label=f"theory: {expected}")
        above.legend(loc="lower right")
    above.set_ylabel("eigenvalues found")
    below.set(xlabel="training step", ylabel="loss", yscale="log")
    return figure


def beside_chance(observed: Sequence[float], null: Sequence[Values], names: Sequence[str], xlabel: str) -> Figure:
    """What was observed (R,) as a diamond, each in a row of its own with a name, over what chance gives, (K,) values:
    their histogram and, as a bar below it, the range of the middle 95 %. A row without numbers stays empty."""
    figure, ax = plt.subplots(figsize=(6.4, 0.9 + 1.5 * len(names)))
    for row, (value, draws, name) in enumerate(zip(observed, null, names, strict=True)):
        draws = as_numpy(draws, f"null[{row}]", None, real=True)
        ax.text(0.0, row + 0.5, name, transform=ax.get_yaxis_transform(), fontsize=12, va="bottom")
        if not (np.isfinite(value) and np.isfinite(draws).all()):
            continue
        heights, edges = np.histogram(draws, bins=30)
        ax.stairs(row + 0.45 * heights / heights.max(), edges, baseline=row, fill=True, color="#bbbbbb")
        ax.hlines(row, *np.quantile(draws, [0.025, 0.975]), color=BLACK, linewidth=4)
        ax.scatter([value], [row], marker="D", s=90, color=VERMILLION, zorder=3, clip_on=False)
        ax.annotate(f"observed: {value:.2f}", (value, row), (0, -20), textcoords="offset points", ha="center")
    ax.axvline(1, color=GRAY, linestyle=":", linewidth=1)
    ax.set(xlabel=xlabel, yticks=[], ylim=(-0.35, len(names) - 0.25))
    ax.margins(x=0.12)
    ax.spines["left"].set_visible(False)
    ax.grid(visible=False)
    return figure


def acquired(steps: Values, places: Values, dimensions: Values, span: tuple[float | int, float | int]) -> Figure:
    """Right signs of one network while it learns, in percent: a line per dimension (X, D) left, one per place (X, S)
    right, over training steps (X,). The lines of a panel are joined by a shade, so that its width is how far they are
    apart; `span` is the part of the steps that is shown."""
    steps = as_numpy(steps, "steps", None)
    figure, axes = plt.subplots(1, 2, figsize=(6.2, 3.9), sharey=True)
    for ax, values, what in zip(axes, (dimensions, places), ("dimension", "place in the round"), strict=True):
        share = 100 * as_numpy(values, what, len(steps), None, real=True)
        ax.fill_between(steps, share.min(1), share.max(1), color="#cccccc", alpha=0.7, linewidth=0)
        for k, (line, dash, color) in enumerate(zip(share.T, cycle(DASHES), cycle(LINES), strict=False)):
            ax.plot(steps, line, linestyle=dash, color=color, label=f"{k + 1}", linewidth=2.2)
        ax.set(xlabel="training step", xlim=span)
        ax.set_title(f"one line per {what}", fontsize=12)
        ax.legend(title=what.split(" ")[0], loc="lower right", ncols=2, handlelength=1.6, columnspacing=0.8)
    axes[0].set_ylabel("signs right (%)")
    return figure


def beyond_linear(
    scales: Values, errors: Sequence[Values], floors: Sequence[float], names: Sequence[str], control: Values
) -> Axes:
    """Mean squared error (X, R) of R networks per task over the size of the inputs (X,), with the task's linear floor
    as a thin line of the same dash; and of a control (X,), whose task has no floor. Both axes logarithmic."""
    scales = as_numpy(scales, "scales", None)
    ax = plt.subplots(figsize=(6.4, 4.4))[1]
    styles = [{"color": color, "linestyle": dash} for color, dash in zip(LINES, cycle(DASHES), strict=False)]
    for values, floor, name, style in zip(errors, floors, names, styles, strict=False):
        values = as_numpy(values, f"errors of {name}", len(scales), None, real=True)
        ax.plot(scales, values, marker="o", **style)[0].set_label(name)
        ax.axhline(floor, linewidth=1, **style)
    ax.plot(scales, as_numpy(control, "control", len(scales)), color=BLACK, marker="s", label="control: no floor")
    ax.set(xscale="log", yscale="log", xlabel="size of the inputs (1: as in training)", ylabel="mean squared error")
    ax.legend(fontsize=10)
    return ax
