"""How a basis answers to its knobs, in pictures: curves over a knob, and noise beside first order and bound."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
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
    percent_table,
    shared_panels,
)

COSTS = LinearSegmentedColormap.from_list("costs", ["#ffffff", VERMILLION])
FLOOR = 1e-16  # what is below is rounding: drawn there


def knobs(
    panels: Mapping[str, tuple[Values, Mapping[str, Values]]], y_label: str, limits: tuple | None = None
) -> Figure:
    """A panel for each knob, on one vertical axis: ``panels[label] = x, curves``, where ``curves[name]`` (X, M) has a
    thin line for each network and a bold one with marks for the median. The label is that of the horizontal axis, which
    is logarithmic where the largest x is 30 times the smallest or more."""
    figure, axes = plt.subplots(1, len(panels), figsize=(0.9 + 3.7 * len(panels), 3.9), sharey=True, squeeze=False)
    for ax, (label, (x, curves)) in zip(axes[0], panels.items(), strict=True):
        _draw(ax, as_numpy(x, f"x of {label}", None, real=True), curves)
        ax.set_xlabel(label)
    axes[0, 0].set_ylabel(y_label)
    if limits is not None:
        axes[0, 0].set_ylim(*limits)
    _legend(figure, axes)
    return figure


def uses(x: Values, rows: Mapping[str, Mapping[str, Mapping[str, Values]]], x_label: str) -> Figure:
    """A row of panels for each recursion, a column for each use: ``rows[recursion][use][name]`` (X, M) is drawn as in
    :func:`knobs`, over x (X,). A column has one vertical axis."""
    x = as_numpy(x, "x", None, real=True)
    columns = list(next(iter(rows.values())))
    size = 1.0 + 2.7 * len(columns), 0.9 + 2.4 * len(rows)
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, sharex=True, sharey="col", squeeze=False)
    for line, (recursion, by_use) in zip(axes, rows.items(), strict=True):
        if list(by_use) != columns:
            raise ValueError(f"rows[{recursion!r}]: got {list(by_use)}, expected the uses {columns}")
        line[0].set_ylabel(recursion)
        for ax, (use, curves) in zip(line, by_use.items(), strict=True):
            _draw(ax, x, curves)
            if ax in axes[0]:
                ax.set_title(use, fontsize=12)
            if ax in axes[-1]:
                ax.set_xlabel(x_label)
    _legend(figure, axes)
    return figure


def first_order(sigma: Values, cases: Mapping[str, tuple[Values, Values, Values]]) -> Figure:
    """A panel for each case, double logarithmic, over σ (X,): what is measured as marks, first order and bound as
    lines, (X, M) each; medians, the measured with its range. Where most bounds are infinite there is none."""
    sigma = as_numpy(sigma, "sigma", None, real=True)
    figure, axes = shared_panels(len(cases), (3.2, 2.5), (0.9, 0.9))
    for ax, (case, values) in zip(axes.flat, cases.items(), strict=False):
        measured, first, bound = (np.maximum(_lines(v, f"cases[{case!r}]", len(sigma)), FLOOR) for v in values)
        middle = np.median(measured, axis=1)
        reach = np.stack([middle - measured.min(1), measured.max(1) - middle])
        look = dict(fmt="o", color=BLACK, markersize=6, zorder=3, label="measured")
        ax.errorbar(sigma, middle, yerr=reach, **look)
        ax.plot(sigma, np.median(first, axis=1), "-", color=BLUE, label="first order")
        highest = np.median(bound, axis=1)
        ax.plot(sigma, np.where(np.isfinite(highest), highest, np.nan), "--", color=VERMILLION, label="bound")
        ax.set(xscale="log", yscale="log")
        ax.set_title(case, fontsize=12)
    figure.supxlabel("noise σ", fontsize=12)
    figure.supylabel("change of Ψ*WΨ / ‖Φ‖", fontsize=12)
    _legend(figure, axes, "upper")
    return figure


def losses(values: Values, rows: Sequence[str], groups: Mapping[str, Sequence[str]], dark: float = 0.3) -> Figure:
    """What a knob can cost (R, C) as a heat map in hundredths, NaN where it does not enter: one row a name, and columns
    in ``groups``, each under its title. Shades go from 0 to ``dark``, and are the same beyond."""
    values = as_numpy(values, "values", len(rows), sum(map(len, groups.values())), real=True)
    return percent_table(values, rows, groups, COSTS, dark)


def _lines(values: Values, name: str, length: int) -> np.ndarray:
    return as_numpy(values, name, length, None, real=True).astype(float)


def _draw(ax: Axes, x: np.ndarray, curves: Mapping[str, Values]) -> None:
    styles = zip(curves.items(), cycle(LINES), cycle(MARKERS), cycle(DASHES), strict=False)
    for (name, values), color, marker, dash in styles:
        lines = _lines(values, f"curves[{name!r}]", len(x)).T
        bundle(ax, x, lines, color=color, marker=marker, linestyle=dash, markersize=5, label=name)
    if x.min() > 0 and x.max() / x.min() >= 30:
        ax.set_xscale("log")
    if any(np.min(line.get_ydata()) < 0 for line in ax.lines):
        ax.axhline(0, color=GRAY, linestyle=":", linewidth=1)


def _legend(figure: Figure, axes: np.ndarray, where: str = "lower") -> None:
    """One legend for all panels, below or above them."""
    found: dict = {}
    for ax in axes.flat:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    columns = 2 if max(map(len, found)) > 20 else 4
    figure.legend(found.values(), found, loc=f"outside {where} center", ncols=min(len(found), columns), fontsize=10.5)
