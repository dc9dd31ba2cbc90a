"""How the book's pictures look, and what they share: colours, settings, panels, checks of arrays.

Arrays may be NumPy arrays, tensors on any device, or nested sequences. Colours are Okabe and Ito's, told apart by the
colour-blind; sign and kind are never shown by colour alone where a reader must decide by them. The background is white,
so that the site can invert a picture for dark mode.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from emt_core.book.text import SPACE, percent

Values = np.ndarray | torch.Tensor | Sequence

STYLE = mpl.rc_params_from_file(Path(__file__).with_name("emt.mplstyle"), use_default_template=False)
LINES = BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK = STYLE["axes.prop_cycle"].by_key()["color"]
GRAY = "#777777"  # of what is only to compare with
MARKERS = "os^DvPX*"
DASHES = "-", "--", "-.", ":"
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", BLUE, "#00304e"])  # from 0 to 1
DIVERGING = LinearSegmentedColormap.from_list("emt", ["#00456e", BLUE, "#ffffff", VERMILLION, "#7a3600"])


def style() -> AbstractContextManager:
    """The book's settings within a block: `with style(): ...`."""
    return plt.rc_context(STYLE)


def use_style() -> None:
    """The book's settings from here on; in a notebook, pictures become SVG without a date (equal runs, equal bytes)."""
    mpl.rcParams.update(STYLE)
    from IPython import get_ipython

    if get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


def as_numpy(values: Values, name: str, *shape: int | None, real: bool = False) -> np.ndarray:
    """`values` as an array of this shape (None: any length), real on request, or a ValueError naming `name`."""
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.ndim != len(shape) or any(want not in (None, got) for got, want in zip(array.shape, shape, strict=True)):
        expected = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name}: got shape {array.shape}, expected ({expected})")
    if real and np.iscomplexobj(array):
        raise ValueError(f"{name}: got {array.dtype}, expected real numbers")
    return array


def framed(ax: Axes, matrix: np.ndarray, vmax: float, title: str, **font: Any) -> None:
    """A matrix on the diverging scale from -vmax to vmax, in a frame without ticks."""
    ax.imshow(matrix, cmap=DIVERGING, vmin=-vmax, vmax=vmax)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(True)
    ax.set_title(title, **font)


def panels(count: int, columns: int, panel: tuple, margin: tuple) -> tuple[Figure, np.ndarray]:
    """A figure and its Axes, (rows, columns); those beyond `count` are blank. Sizes are (width, height) in inches."""
    columns = min(columns, count)
    rows = -(-count // columns)
    size = margin[0] + panel[0] * columns, margin[1] + panel[1] * rows
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return figure, axes


def shared_panels(count: int, panel: tuple, margin: tuple) -> tuple[Figure, np.ndarray]:
    """As `panels`, two in a row, with the same axes in all: ticks and labels belong at the left and below."""
    rows, columns = -(-count // 2), min(2, count)
    size = margin[0] + panel[0] * columns, margin[1] + panel[1] * rows
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
        axes[rows - 2, -1].tick_params(labelbottom=True)
    return figure, axes


def bundle(ax: Axes, x: np.ndarray, lines: np.ndarray, **look: Any) -> None:
    """A thin line for each network, (M, X) over x (X,), and a bold one for their median."""
    ax.plot(x, lines.T, color=look["color"], linewidth=0.7, alpha=0.5)
    ax.plot(x, np.median(lines, axis=0), linewidth=2.4, **look)


def percent_table(
    shares: np.ndarray, rows: Sequence[str], groups: Mapping[str, Sequence[str]], shades: LinearSegmentedColormap,
    most: float = 1.0, **ticks: Any,
) -> Figure:  # fmt: skip
    """Shares (R, C) in percent, NaN as a dash, on `shades` from 0 to `most`: one row a name, and columns in `groups`,
    each under its title, broken where its columns are too narrow for it. `ticks`: how the names of columns are written.
    """
    widths = [len(group) for group in groups.values()]
    size = 1.6 + 0.5 * sum(widths) + 0.15 * len(groups), 1.6 + 0.4 * len(rows)
    figure, axes = plt.subplots(1, len(groups), figsize=size, width_ratios=widths, sharey=True, squeeze=False)
    parts = np.split(shares, np.cumsum(widths)[:-1], axis=1)
    for ax, (title, group), part in zip(axes[0], groups.items(), parts, strict=True):
        ax.imshow(np.nan_to_num(part), cmap=shades, vmin=0, vmax=most, aspect="auto")
        for (r, c), share in np.ndenumerate(part):
            text = "–" if np.isnan(share) else percent(share).split(SPACE)[0]
            color = "white" if share > 0.75 * most else BLACK
            ax.text(c, r, text, ha="center", va="center", fontsize=11, color=color)
        ax.set_xticks(range(len(group)), group, fontsize=10, **ticks)
        ax.set_yticks(range(len(rows)), rows, fontsize=11)
        ax.set_title(fill(title, max(1, 5 * len(group)), break_long_words=False), fontsize=12)
        ax.tick_params(length=0)
        ax.grid(False)
        for edge in range(1, len(group)):
            ax.axvline(edge - 0.5, color="white", linewidth=1.5)
        for edge in range(1, len(rows)):
            ax.axhline(edge - 0.5, color="white", linewidth=1.5)
    return figure


def jitter(count: int, reach: float = 0.25) -> np.ndarray:
    """Offsets (count,) of dots in one row, evenly from −reach to reach, so that none hides another."""
    return np.linspace(-reach, reach, count) if count > 1 else np.zeros(count)


def ensemble(values: Values, name: str, length: int) -> np.ndarray:
    """(length,) or (M, length) as (M, length)."""
    values = values.detach().cpu() if isinstance(values, torch.Tensor) else values
    return as_numpy(np.atleast_2d(values), name, None, length)
