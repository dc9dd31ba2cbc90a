"""95 % intervals for what the chapters count and measure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binom, binomtest, bootstrap

Interval = tuple[float, float, float]  #: value, lower end, upper end


def wilson(hits: Sequence[bool] | np.ndarray) -> Interval:
    """Share of hits among independent trials, with Wilson's score interval."""
    hits = np.asarray(hits).ravel()
    if not hits.size:
        raise ValueError("hits must hold at least one trial, got none")
    test = binomtest(int(np.count_nonzero(hits)), hits.size)
    low, high = test.proportion_ci(method="wilson")
    return float(test.statistic), float(low), float(high)


def over_networks(shares: Sequence[float | int] | np.ndarray, seed: int = 0) -> Interval:
    """Mean over networks, with a percentile bootstrap that draws *networks*: trials on one network are not independent.

    One network, or equal ones, give an interval of no width: too few networks show no spread.
    """
    shares = np.asarray(shares, dtype=float).ravel()
    if not shares.size:
        raise ValueError("shares must hold at least one network, got none")
    mean = float(shares.mean())
    if np.ptp(shares) == 0:
        return mean, mean, mean
    ends = bootstrap((shares,), np.mean, method="percentile", n_resamples=2000, rng=np.random.default_rng(seed))
    return mean, float(ends.confidence_interval.low), float(ends.confidence_interval.high)


def median(values: Sequence[float | int] | np.ndarray) -> Interval:
    """Median with the interval between two order statistics that covers it with at least 95 %, for any distribution.

    Values that were not reached within the time may be given as infinity: they count as late, they are not dropped.
    Fewer than six values have no such interval; its ends are then ∓ infinity.
    """
    ordered = np.sort(np.asarray(values, dtype=float).ravel())
    if not ordered.size or np.isnan(ordered).any():
        raise ValueError(f"values must be numbers, at least one and none of them NaN, got {values}")
    n = ordered.size
    outside = int(binom.ppf(0.025, n, 0.5))  # P(X < outside) ≤ 0.025 values lie below the lower end
    low, high = (ordered[outside - 1], ordered[n - outside]) if outside else (-math.inf, math.inf)
    middle = ordered[(n - 1) // 2], ordered[n // 2]
    return float(middle[0] if middle[0] == middle[1] else sum(middle) / 2), float(low), float(high)
