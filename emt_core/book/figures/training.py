"""Training in pictures: curves over steps, and the staircase of found eigenvalues."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emt_core.book.figures.style import BLUE, VERMILLION, Values, as_numpy, ensemble


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
    """Eigenvalues found above, loss (log) below, over shared training steps (X,): both (X,) or (M, X).
    `expected`, the theory's count, is drawn dashed."""
    steps = as_numpy(steps, "steps", None)
    counts, loss = ensemble(counts, "counts", len(steps)), ensemble(loss, "loss", len(steps))
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(6.0, 5.0))
    faint = 1.0 if len(counts) == 1 else 0.5
    above.step(steps, counts.T, where="post", color=BLUE, alpha=faint)
    if expected is not None:
        above.axhline(expected, color="#777777", linestyle="--", linewidth=1, label=f"theory: {expected}")
        above.legend(loc="lower right")
    above.set_ylabel("eigenvalues found")
    below.plot(steps, loss.T, color=VERMILLION, alpha=faint)
    below.set(xlabel="training step", ylabel="loss", yscale="log")
    return figure
