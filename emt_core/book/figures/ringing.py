"""Change ringing in pictures: rows with the lines of bells, what a phase's basis explains, swaps, and frequencies."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emt_core.book.figures.style import (
    BLACK,
    BLUE,
    GRAY,
    LINES,
    MARKERS,
    SHADES,
    VERMILLION,
    Values,
    as_numpy,
    jitter,
)


def blue_line(rows: Values, lead: int, *, treble: int = 0, bell: int = 1, ax: Axes | None = None) -> Axes:
    """Rows (T, n) of bells from 0, each under the one before as ringers write them, bell 1 first: a blue line through
    the places of ``bell``, a thin red one through those of ``treble``, a rule under every ``lead`` of changes."""
    rows = as_numpy(rows, "rows", None, None, real=True)
    T, n = rows.shape
    for name, which in (("treble", treble), ("bell", bell)):
        if not 0 <= which < n:
            raise ValueError(f"{name}: got {which}, expected a bell from 0 to {n - 1}")
    ax = ax or plt.subplots(figsize=(0.7 + 0.55 * n, 0.5 + 0.22 * T))[1]
    for which, color, width, kind in ((treble, VERMILLION, 1.2, "--"), (bell, BLUE, 3.0, "-")):
        ax.plot((rows == which).argmax(1), np.arange(T), kind, color=color, linewidth=width, zorder=1)
    for t, row in enumerate(rows.astype(int)):
        for place, which in enumerate(row):
            known = which in (treble, bell)
            look = {"color": BLACK, "fontweight": "bold" if known else "normal", "fontsize": 10 if T < 30 else 8}
            back = {"facecolor": "white", "edgecolor": "none", "boxstyle": "circle,pad=0.12"} if known else None
            ax.text(place, t, str(which + 1), ha="center", va="center", zorder=2, bbox=back, **look)
    for t in range(lead, T - 1, lead):
        ax.axhline(t + 0.5, color=GRAY, linewidth=0.8)
    ax.set(xlim=(-0.6, n - 0.4), ylim=(T - 0.4, -0.6), xlabel="place", ylabel="row")
    ax.set_xticks(range(n), [str(p + 1) for p in range(n)])
    ax.set_yticks(range(0, T, lead))
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return ax


def swaps(
    shares: Mapping[str, Mapping[str, Values]],
    *,
    label: str = "rows of the swapped bells (%)",
    below: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """What comes of edits: a row for each of the inner names, the same in all, in it a mark for each network (M,), of
    shares of rows in percent. The outer names are kinds of starts or of networks, at most as many as there are markers;
    the legend has them in the middle, where there is seldom a mark, or ``below``."""
    names = list(next(iter(shares.values()), {}))
    if not names or any(list(each) != names for each in shares.values()) or len(shares) > len(MARKERS):
        raise ValueError(f"shares: got {[list(each) for each in shares.values()]}, expected the same names in each")
    ax = ax or plt.subplots(figsize=(6.2, 1.4 + 0.5 * len(names)))[1]
    for k, (kind, each) in enumerate(shares.items()):
        for row, name in enumerate(names):
            x = 100 * as_numpy(each[name], f"shares[{kind!r}][{name!r}]", None, real=True)
            y = row + (k - (len(shares) - 1) / 2) * min(0.34, 0.6 / len(shares)) + jitter(len(x), 0.1)
            look = {"color": LINES[k], "marker": MARKERS[k], "s": 40, "alpha": 0.8, "linewidths": 0, "zorder": 3}
            ax.scatter(x, y, label=kind if row == 0 else None, **look)
    ax.set_yticks(range(len(names)), names, fontsize=11)
    ax.set(xlim=(-3, 103), ylim=(len(names) - 0.45, -0.55), xlabel=label)
    if below:
        ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=len(shares), fontsize=10)
    else:
        ax.legend(loc="center", bbox_to_anchor=(0.5, 0.5), fontsize=10)
    return ax


def opening(rows: Values, lead: int, shares: Mapping[str, Mapping[str, Values]]) -> Figure:
    """:func:`blue_line` beside :func:`swaps`."""
    height = 0.9 + 0.2 * len(rows)
    figure, axes = plt.subplots(1, 2, figsize=(8.4, max(height, 3.4)), width_ratios=(1, 2))
    blue_line(rows, lead, ax=axes[0])
    swaps(shares, ax=axes[1])
    axes[0].set_title("rung by people", fontsize=12)
    axes[1].set_title("two bells swapped by an edit", fontsize=12)
    return figure


def phases(explained: Values, lead: int, *, ax: Axes | None = None) -> Axes:
    """How much of the variance of states at row t (across) is explained by the basis that was fitted at row s (down),
    (P, T), on a scale from 0 to 1, negative values as 0; s = P … 2P − 1, P = ``lead``, and a thin line parts
    the leads."""
    values = as_numpy(explained, "explained", lead, None, real=True)
    ax = ax or plt.subplots(figsize=(7.6, 3.4))[1]
    shown = ax.imshow(values, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    for t in range(lead, values.shape[1], lead):
        ax.axvline(t - 0.5, color=GRAY, linewidth=1.0)
    ax.set_yticks(range(0, lead, 2), [str(lead + s) for s in range(0, lead, 2)])
    ax.set(xlabel="row whose states are explained", ylabel="row of the basis")
    ax.tick_params(length=0)
    ax.grid(False)
    ax.figure.colorbar(shown, ax=ax, label="R², other starts", shrink=0.9)
    return ax


def frequencies(power: Values, counts: Mapping[str, Values], course: int) -> Figure:
    """Above, how strong each frequency k = 1 … K is in a method, (K,); below, how many leading eigenvalues lie next to
    it, (M, K) a name: a thin line a network, the mean as marks."""
    power = as_numpy(power, "power", None, real=True)
    k = np.arange(1, len(power) + 1)
    figure, (above, below) = plt.subplots(2, 1, figsize=(7.2, 4.8), sharex=True, height_ratios=(2, 3))
    above.bar(k, power, color=GRAY, width=0.7)
    above.set(ylabel="strength")
    for (name, values), color, marker in zip(counts.items(), cycle(LINES), cycle(MARKERS), strict=False):
        lines = as_numpy(values, name, None, len(power), real=True)
        below.plot(k, lines.T, color=color, linewidth=0.7, alpha=0.5)
        below.plot(k, lines.mean(0), color=color, marker=marker, linestyle="none", label=f"{name} ({len(lines)})")
    below.set(xlabel=f"frequency, in turns per course of {course} rows", ylabel="leading eigenvalues")
    below.legend(loc="upper right", fontsize=10)
    step = max(1, len(power) // 12)
    below.set_xticks(k[::step])
    return figure


def courses(shares: Mapping[str, Sequence[Values]], names: Sequence[str], *, label: str = "rows right (%)") -> Axes:
    """Shares in percent, a row for each condition, in it a mark for each network (M,) and each of the ``names``, which
    are told apart by colour and marker."""
    ax = plt.subplots(figsize=(7.2, 1.5 + 0.75 * len(shares)))[1]
    for row, (condition, groups) in enumerate(shares.items()):
        if len(groups) != len(names):
            raise ValueError(f"shares[{condition!r}]: got {len(groups)} groups, expected {len(names)}, as names")
        for k, values in enumerate(groups):
            x = 100 * as_numpy(values, f"shares[{condition!r}][{k}]", None, real=True)
            y = row + (k - (len(names) - 1) / 2) * 0.2 + jitter(len(x), 0.06)
            look = {"color": LINES[k], "marker": MARKERS[k], "s": 36, "alpha": 0.8, "linewidths": 0, "zorder": 3}
            ax.scatter(x, y, label=names[k] if row == 0 else None, **look)
    for edge in range(1, len(shares)):
        ax.axhline(edge - 0.5, color=GRAY, linewidth=0.6)
    ax.set_yticks(range(len(shares)), list(shares), fontsize=11)
    ax.set(xlim=(-3, 103), ylim=(len(shares) - 0.45, -0.55), xlabel=label)
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=2, fontsize=10)
    return ax
