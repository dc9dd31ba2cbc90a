"""Do the drops of the loss coincide with jumps of the number of eigenvalues found?

Over a whole run they always seem to: the loss falls and eigenvalues appear while a network learns, and neither happens
much afterwards. The question is asked within each network's learning window, from its first jump to its last, and the
answer is compared with jump times that know nothing of the loss: the same pattern of jumps, shifted round that window
by a random number of checkpoints. A shift keeps what either curve is like by itself (jumps in bursts, a loss that slows
down), and breaks only what ties one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from emt_core.support import checks


@dataclass(frozen=True)
class Coincidence:
    """``ratio`` (M,): rate at which a network's log loss falls at jumps, over its mean rate in the learning window; NaN
    where there is no such window. ``null`` (K,): mean ratio of the networks with their jumps shifted at random, once a
    draw. ``p``: share of draws, the observed one among them, whose mean ratio is at least the observed one; NaN without
    networks."""

    ratio: Float[np.ndarray, "M"]
    null: Float[np.ndarray, "K"]
    p: float

    @property
    def mean(self) -> float:
        """The observed ratio, mean of the networks that have one."""
        known = self.ratio[~np.isnan(self.ratio)]
        return float(known.mean()) if known.size else float("nan")


def coincidence(
    counts: Int[np.ndarray, "M L"], loss: Float[np.ndarray, "M L"], *, draws: int = 2000, seed: int = 0
) -> Coincidence:
    """Compare the fall of the loss at jumps with its fall at jump times shifted round the learning window.

    Args:
        counts: eigenvalues found, per network and checkpoint. A checkpoint is a jump if its count exceeds the previous
            one's.
        loss: at the same checkpoints, positive.
        draws: how many random shifts, each of all networks at once, independently.
        seed: of the shifts.

    A network has a learning window if it has jumps with a checkpoint between them that is none, and if its loss is
    finite there and lower at its end than at its beginning.

    Raises:
        ValueError: the shapes differ, or there are no networks, fewer than two checkpoints or no draws.
    """
    if counts.ndim != 2 or counts.shape != loss.shape or min(counts.shape) < 1 or counts.shape[1] < 2:
        raise ValueError(f"counts and loss must both be (M, L) with L > 1, got {counts.shape} and {loss.shape}")
    draws, rng = checks.integer("draws", draws, 1), np.random.default_rng(checks.integer("seed", seed, 0))
    windows = [_window(c, x) for c, x in zip(counts, loss, strict=True)]
    ratio = np.array([np.nan if w is None else w[0] for w in windows])
    shifted = [rng.choice(w, draws) for w in windows if w is not None]
    null = np.mean(shifted, axis=0) if shifted else np.full(draws, np.nan)
    observed = Coincidence(ratio, null, float("nan"))
    if not shifted:
        return observed
    return Coincidence(ratio, null, float((1 + (null >= observed.mean).sum()) / (1 + draws)))


def _window(counts: Int[np.ndarray, "L"], loss: Float[np.ndarray, "L"]) -> Float[np.ndarray, "W"] | None:
    """The ratio of one network for each of the W shifts of its jumps round its window, first that of no shift."""
    jumps = np.flatnonzero(np.diff(counts) > 0)
    if len(jumps) < 2 or jumps[-1] - jumps[0] + 1 == len(jumps):
        return None
    fall = -np.diff(np.log(loss[jumps[0] : jumps[-1] + 2]))
    if not (np.isfinite(fall).all() and fall.mean() > 0):
        return None
    at = jumps - jumps[0]
    return np.array([fall[(at + shift) % len(fall)].mean() for shift in range(len(fall))]) / fall.mean()
