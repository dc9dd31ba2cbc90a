"""Names written beside the ends of curves, in place of a legend."""

from collections.abc import Mapping
from typing import SupportsFloat

import numpy as np
from matplotlib.axes import Axes


def apart(heights: np.ndarray, gap: SupportsFloat) -> np.ndarray:
    """The heights (K,), moved as little as need be so that neighbours are at least ``gap`` apart; their order stays."""
    order, gap = np.argsort(heights, kind="stable"), float(gap)
    raised = np.asarray(heights, float)[order] - gap * np.arange(len(heights))
    # the nearest increasing sequence: blocks that would overlap share their mean
    blocks: list[tuple[float, int]] = []
    for value in raised:
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, n) = blocks[-2:]
            blocks[-2:] = [((a * m + b * n) / (m + n), m + n)]
    placed = np.empty(len(heights))
    level = [v for v, n in blocks for _ in range(n)]
    placed[order] = np.array(level, float) + gap * np.arange(len(heights))
    return placed


def beside(ax: Axes, x: SupportsFloat, ends: Mapping[str, tuple[float, str]], gap: SupportsFloat = 0.08) -> None:
    """Write each name at (x, its height), in its colour, to the right; neighbours ``gap`` of the axis' height apart.
    Set the axis' limits first."""
    x = float(x)
    ax.get_ylim()  # now all curves are within the limits, and transData knows them
    to_axes = ax.transData + ax.transAxes.inverted()
    heights = apart(np.array([to_axes.transform((x, height))[1] for height, _ in ends.values()]), gap)
    for (name, (_, color)), height in zip(ends.items(), heights, strict=True):
        where = ax.get_xaxis_transform()  # x in data, y as a fraction of the axis
        ax.text(x, height, name, transform=where, color=color, va="center", ha="left", fontsize=10.5, linespacing=1.0)
