"""All networks in one triangle: how far rotating, and routing or placing, part positions, and how far these overlap."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from emt_core.book.figures.style import BLACK, LINES, MARKERS, Values, as_numpy

CORNERS = ("rotate (circuit)", "route (router)", "shrink (onion)")  # lower left, lower right, top
PLACES = np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]])  # of the corners: the sides are 1
MOST = 2 * len(MARKERS)  # groups: each marker once filled, once hollow
TOLERANCE = 1e-6


def shares(values: Values, name: str) -> np.ndarray:
    """Barycentric coordinates (M, 3), in the order of CORNERS: none below 0, each row adds up to 1, to within 1e-6; a
    ValueError naming `name` otherwise."""
    parts = as_numpy(values, name, None, 3, real=True).astype(float)
    for row in parts:
        if not (row.min() >= -TOLERANCE and abs(row.sum() - 1) <= TOLERANCE):  # so that NaN is refused, too
            raise ValueError(f"{name}: got {row.tolist()}, expected three numbers of at least 0 that add up to 1")
    return parts


def corners(rotation: Values, placing: Values) -> np.ndarray:
    """Places (M, 3) in the triangle, from what rotation and what placing, routing included, make of the separation of
    positions (M,) each; the third number is the overlap that is left. Shares a little below zero become zero."""
    turned = as_numpy(rotation, "rotation", None, real=True)
    moved = as_numpy(placing, "placing", len(turned), real=True)
    spots = np.stack([turned, moved, 1 - turned - moved], axis=1).clip(0)
    return spots / spots.sum(1, keepdims=True)


def triangle(groups: Mapping[str, Values], *, ax: Axes | None = None) -> Axes:
    """A dot for each network, in a triangle with the corners CORNERS; the nearer to one, the larger that share.

    groups: 1 to 16 names to (M, 3), the shares of rotation, of routing and place, and the overlap, as `shares` checks
    them. Each group has a marker and colour of its own, hollow from the ninth on, and is counted in the legend. The
    thin lines are at a quarter, a half and three quarters of each share.
    """
    if not 1 <= len(groups) <= MOST:
        raise ValueError(f"groups: got {len(groups)}, expected 1 to {MOST}")
    ax = ax or plt.subplots(figsize=(6.0, 5.7))[1]
    for level in (0.25, 0.5, 0.75):
        for k in range(3):
            ends = np.zeros((2, 3))
            ends[:, k] = level
            ends[0, (k + 1) % 3] = ends[1, (k + 2) % 3] = 1 - level
            ax.plot(*(ends @ PLACES).T, color="#dddddd", linewidth=0.8, zorder=1)
    ax.plot(*PLACES[[0, 1, 2, 0]].T, color=BLACK, linewidth=1.2, zorder=2)
    for (x, y), name in zip(PLACES.tolist(), CORNERS, strict=True):
        down = "top" if y == 0 else "bottom"
        ax.text(x, y + (0.035 if y else -0.035), name, ha="center", va=down, fontsize=13, fontweight="bold")
    for k, (name, values) in enumerate(groups.items()):
        x, y = (shares(values, name) @ PLACES).T
        color, hollow = LINES[k % len(LINES)], k >= len(MARKERS)
        look = {"facecolors": "white", "edgecolors": color, "linewidths": 1.8} if hollow else {"color": color}
        edge = {} if hollow else {"edgecolors": "white", "linewidths": 0.7}  # parts dots that overlap
        marker, label = MARKERS[k % len(MARKERS)], f"{name} ({len(x)})"
        size = 120 if marker == "*" else 64  # a star fills less of its square
        ax.scatter(x, y, s=size, marker=marker, zorder=3, alpha=0.9, label=label, **{**look, **edge})
    ax.set(xlim=(-0.2, 1.2), ylim=(-0.1, 0.94), aspect="equal")
    ax.set_axis_off()
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, columnspacing=1.2, handletextpad=0.3)
    return ax
