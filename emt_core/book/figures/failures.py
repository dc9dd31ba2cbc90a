"""What becomes of networks that do not find the circuit: maps over units and penalties, partial spectra, probes."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from emt_core.book.figures.style import BLACK, BLUE, GRAY, VERMILLION, Values, as_numpy


def maps(layers: Mapping[str, Values], penalties: Sequence[float], sizes: Sequence[int]) -> Figure:
    """One map per layer, (penalties, sizes, seeds) each with values from 0 to 1: means over seeds, written in."""
    figure, axes = plt.subplots(1, len(layers), figsize=(9.5, 0.9 + 0.62 * len(penalties)), sharey=True, squeeze=False)
    for ax, (title, values) in zip(axes[0], layers.items(), strict=True):
        mean = as_numpy(values, title, len(penalties), len(sizes), None).mean(2)
        ax.imshow(mean, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        for (i, j), value in np.ndenumerate(mean):
            ink = "white" if value < 0.6 else "black"
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=10)
        ax.set_xticks(range(len(sizes)), sizes)
        ax.set(title=title, xlabel="units")
        ax.grid(False)
    axes[0, 0].set_yticks(range(len(penalties)), [f"{p:g}" for p in penalties])
    axes[0, 0].set_ylabel("L2 penalty")
    return figure


def partial(counts: Values, off_by: Values, scarce: Values, at_random: Mapping[int, float]) -> Figure:
    """Networks (K,) with some eigenvalues: how far off (radians) against how many; a dot where units are ``scarce``."""
    counts, off_by = as_numpy(counts, "counts", None), as_numpy(off_by, "off_by", None)
    scarce = as_numpy(scarce, "scarce", len(counts)).astype(bool)
    figure, ax = plt.subplots(figsize=(6.4, 3.5))
    shift = np.random.default_rng(0).uniform(-0.15, 0.15, len(counts))  # so that equal points are seen
    for choose, marker, label in ((scarce, "o", "fewer units than rank"), (~scarce, "^", "enough units")):
        ax.plot((counts + shift)[choose], off_by[choose], marker, alpha=0.7, label=label)
    ax.plot(list(at_random), list(at_random.values()), "--", color=GRAY, label="random angles")
    ax.set(xlabel="eigenvalues of modulus above 0.9", ylabel="off by (radians)", ylim=(-0.02, None))
    ax.legend()
    return figure


def probes(
    panels: Mapping[str, Mapping[int, Sequence[Values]]],
    twins: Mapping[str, Mapping[int, Sequence[Values]]],
    sizes: Sequence[int],
) -> Figure:
    """Signs read by a linear and a non-linear probe, each (seeds,) at ``panels[title][size]``, and hollow beside them
    what the non-linear one reads from the linear twins, where a panel has ``twins``."""
    figure, axes = plt.subplots(1, len(panels), figsize=(9.5, 3.4), sharey=True, squeeze=False)
    for ax, (title, reads) in zip(axes[0], panels.items(), strict=True):
        drawn = [(reads, 0, -0.2, "o", BLUE, BLUE, "linear probe")]
        drawn += [(reads, 1, 0.0, "^", VERMILLION, VERMILLION, "non-linear probe")]
        if title in twins:
            drawn += [(twins[title], 1, 0.2, "^", "none", VERMILLION, "the same, linear twin")]
        for source, which, shift, marker, face, edge, label in drawn:
            values = [as_numpy(source[size][which], "reads", None) for size in sizes]
            at = np.concatenate([np.full(len(v), j + shift) for j, v in enumerate(values)])
            ax.plot(at, np.concatenate(values), marker, mfc=face, mec=edge, alpha=0.7, label=label)
        ax.axhline(0.5, color=GRAY, linestyle=":")
        ax.set_xticks(range(len(sizes)), sizes)
        ax.set(xlabel="units", title=title, ylim=(0.45, 1.02), xlim=(-0.5, len(sizes) - 0.5))
    axes[0, 0].set_ylabel("signs right")
    axes[0, 0].legend(fontsize=9)
    return figure


def emergence(settings: Mapping[str, tuple], last: int) -> Figure:
    """One row per setting: (share found, median step, …), both with their interval (value, low, high); infinite steps
    are never. ``last`` is the last step that was taken."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 0.7 + 0.36 * len(settings)), sharey=True)
    for k, (share, at, *_) in enumerate(settings.values()):
        for ax, (value, low, high), most in ((left, share, 1.0), (right, at, float(last))):
            color = BLUE if k else BLACK
            if not np.isfinite(value):
                ax.annotate("never", (most, k), ha="right", va="center", color=color, fontsize=10)
                if np.isfinite(low):
                    ax.plot([low, 0.86 * most], [k, k], color=color)
                continue
            ends = [[value - low], [min(high, 1.03 * most) - value]]
            ax.errorbar(value, k, xerr=np.maximum(ends, 0), fmt="o", capsize=3, color=color)
    left.set_yticks(range(len(settings)), list(settings))
    left.invert_yaxis()
    left.set(xlabel="share that found it", xlim=(-0.05, 1.05))
    right.set(xlabel="at step", xlim=(0, 1.03 * last))
    return figure
