"""The privileged basis in pictures: the weights before and after, and how well its contents read."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from emt_core.book.figures.circuits import block_grid
from emt_core.book.figures.labels import beside
from emt_core.book.figures.style import BLACK, BLUE, DASHES, LINES, Values, as_numpy, framed, jitter


def becomes(W_hh: Values, in_basis: Values, phi: Values, history: int, dim: int) -> Figure:
    """Three matrices: above, the recurrent weights (N, N) as they are; below, the same in the privileged basis (K, K),
    K >= S·D, beside Φ (S·D, S·D). The first has a colour scale of its own, the others share one."""
    W_hh = as_numpy(W_hh, "W_hh", None, None, real=True)
    figure, by_name = plt.subplot_mosaic([[".", "units", "units", "."], ["basis", "basis", "phi", "phi"]],
                                         figsize=(6.0, 6.2))  # fmt: skip
    axes = [by_name[name] for name in ("units", "basis", "phi")]
    framed(axes[0], W_hh, float(np.quantile(np.abs(W_hh), 0.995)) or 1.0, "W_hh, by units")
    axes[0].set(xticks=[0, len(W_hh) - 1], yticks=[0, len(W_hh) - 1])
    axes[0].set_xticklabels(["1", str(len(W_hh))])
    axes[0].set_yticklabels(["1", str(len(W_hh))])
    vmax = float(max(np.abs(as_numpy(m, "matrix", None, None)).max() for m in (in_basis, phi)))
    block_grid(in_basis, history, dim, ax=axes[1], title="W_hh, in its basis", vmax=vmax)
    block_grid(phi, history, dim, ax=axes[2], title="Φ, from the task", vmax=vmax)
    return figure


def over_time(times: Sequence[int], curves: Mapping[str, Values]) -> Figure:
    """Shares in percent over time: one line a name, (T,) each, named at its end."""
    figure, ax = plt.subplots(figsize=(6.6, 3.6))
    ends = {}
    for k, (name, shares) in enumerate(curves.items()):
        shares = 100 * as_numpy(shares, f"curves[{name!r}]", len(times), real=True)
        ax.plot(times, shares, DASHES[k % len(DASHES)], color=LINES[k % len(LINES)], marker="o", markevery=[0])
        ends[name] = float(shares[-1]), BLACK
    ax.set(xlabel="time t", ylabel="signs that agree (%)")
    beside(ax, times[-1] + 0.02 * (times[-1] - times[0]), ends, gap=0.07)
    return figure


def ways(tasks: Mapping[str, Mapping[str, Values]]) -> Figure:
    """How well each way to compute a basis reads, a panel per task: ``tasks[task][way]`` holds a share for each
    network, drawn as a dot (in percent; dots of one row lie at different heights), with a bar at their median."""
    if not tasks:
        raise ValueError("tasks: got none, expected at least one")
    columns = min(2, len(tasks))
    rows = -(-len(tasks) // columns)
    names = list(next(iter(tasks.values())))
    size = (1.8 + 2.1 * columns, 0.6 + rows * (0.9 + 0.27 * len(names)))
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(tasks) :]:
        ax.set_axis_off()
    for ax, (task, measured) in zip(axes.flat, tasks.items(), strict=False):
        for row, way in enumerate(names):
            shares = 100 * as_numpy(measured[way], f"tasks[{task!r}][{way!r}]", None, real=True)
            heights = row + jitter(len(shares))
            ax.plot([np.median(shares)] * 2, [row - 0.38, row + 0.38], color=BLACK, linewidth=2.5, zorder=2)
            ax.scatter(shares, heights, s=20, color=BLUE, edgecolors="white", linewidths=0.4, zorder=3)
        ax.set_yticks(range(len(names)), names)
        ax.set_title(task)
        ax.grid(axis="y", visible=False)
    for ax in axes[-1] if len(tasks) % columns == 0 else axes.flat[-columns - 1 :]:
        ax.set_xlabel("signs right (%)")
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    return figure
