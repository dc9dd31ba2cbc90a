"""95 % intervals for what the chapters count and measure, and the words in which a page gives them.

``benchmarks/interval_coverage.py`` simulates how often the intervals over networks hold the true mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import beta, binom, binomtest, t, ttest_1samp, ttest_ind

Interval = tuple[float, float, float]  #: value, lower end, upper end
Numbers = Sequence[float | int] | np.ndarray  #: one number per trial or network

LEVEL = 0.95
FEWEST = 6  #: with fewer networks than this a page gives their range and number, no interval


def wilson(hits: Sequence[bool | int | float] | np.ndarray) -> Interval:
    """Share of hits among independent trials, with Wilson's score interval.
    A hit is True or 1, a miss False or 0. Trials on one network are not independent: see :func:`mean_share`."""
    hits = _numbers(hits, "hits", lambda x: (x == 0) | (x == 1), "booleans, or numbers that are 0 or 1")
    test = binomtest(int(hits.sum()), hits.size)
    low, high = test.proportion_ci(confidence_level=LEVEL, method="wilson")
    return float(test.statistic), float(low), float(high)


def mean(values: Numbers) -> Interval:
    """Mean over networks, with a t interval opened towards the longer tail.

    Each end is the wider one of Student's t and of t after Hall's correction for the skewness that the values show
    (Hall 1992, *On the removal of skewness by transformation*). The mean of normal values is covered with 95 to 97 %,
    from four networks on that of values with skewness 1.4 (gamma) with 94 to 96 %, and of exponential ones with 93 to
    96 %. A tail much longer than that does not show in a few values: of a lognormal distribution with σ = 1 the mean is
    covered with 89 % at four networks. Values that do not differ, or a single one, show no spread at all: the ends are
    then ∓ infinity. For shares see :func:`mean_share`.
    """
    values = _numbers(values, "values", np.isfinite, "finite numbers")
    n, middle = values.size, float(values.mean())
    if np.ptp(values) == 0:
        return middle, -math.inf, math.inf
    error = float(values.std(ddof=1)) / math.sqrt(n)
    reach = float(t.ppf((1 + LEVEL) / 2, n - 1))
    ends = [-reach, reach]
    if n > 2:  # two values show no skewness
        third = float((((values - middle) / values.std()) ** 3).mean()) * math.sqrt(n * (n - 1)) / (n - 2)
        a = third / math.sqrt(n)
        for x in (-reach, reach):  # T + a T²/3 + a² T³/27 + a/6 = x, Hall's transformation of Student's T, solved for T
            root = np.cbrt(1 + a * (x - a / 6))
            ends.append(3 * (x - a / 6) / (root**2 + root + 1))  # 3 (root − 1) / a, but exact also where a is about 0
    return middle, float(middle - error * max(ends)), float(middle - error * min(ends))


def mean_share(shares: Numbers) -> Interval:
    """Mean over networks of a share between 0 and 1, with an interval that asks nothing of its distribution.

    Clopper and Pearson's, with the sum of the shares as the number of hits: of all that lies between 0 and 1, hits and
    misses spread most, and for them it is exact. It is wide: eight networks with a share of 1 leave open that one in
    three fails ([0.63, 1]), and where shares lie close together away from 0 and 1, :func:`mean` is narrower.
    """
    shares = _numbers(shares, "shares", lambda x: (x >= 0) & (x <= 1), "between 0 and 1")
    n, hits, outside = shares.size, float(shares.sum()), (1 - LEVEL) / 2
    low = float(beta.ppf(outside, hits, n - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - outside, hits + 1, n - hits)) if hits < n else 1.0
    return float(shares.mean()), low, high


def median(values: Numbers) -> Interval:
    """Median with the interval between two order statistics that covers it with at least 95 %, for any distribution.
    Values that were not reached within the time may be given as infinity: they count as late, they are not dropped.
    Fewer than six values have no such interval; its ends are then ∓ infinity."""
    ordered = np.sort(_numbers(values, "values", lambda x: ~np.isnan(x), "numbers, none of them NaN"))
    n = ordered.size
    outside = int(binom.ppf((1 - LEVEL) / 2, n, 0.5))  # P(X < outside) ≤ 0.025 values lie below the lower end
    low, high = (ordered[outside - 1], ordered[n - outside]) if outside else (-math.inf, math.inf)
    middle = ordered[(n - 1) // 2], ordered[n // 2]
    return float(middle[0] if middle[0] == middle[1] else sum(middle) / 2), float(low), float(high)


def equivalence(values: Numbers, other: Numbers | float, margin: float | int) -> float:
    """P value for a mean that lies within ``margin`` of another or of a number: the larger one of two one-sided t tests
    (Schuirmann 1987; Welch's where both have a spread). Below 0.05 the two are equivalent in that sense. A large value
    does not say that they differ: too few values cannot show equivalence."""
    x = _numbers(values, "values", np.isfinite, "finite numbers")
    if not margin > 0:
        raise ValueError(f"margin must be above 0, got {margin}")
    y = _numbers(np.atleast_1d(np.asarray(other, dtype=float)), "other", np.isfinite, "finite numbers")
    if np.ndim(other) == 0:
        above, below = ttest_1samp(x, y - margin, alternative="greater"), ttest_1samp(x, y + margin, alternative="less")
    else:
        above = ttest_ind(x, y - margin, equal_var=False, alternative="greater")
        below = ttest_ind(x, y + margin, equal_var=False, alternative="less")
    return float(np.max([above.pvalue, below.pvalue]))


def said(values: Numbers, digits: int = 2, interval: Callable[[np.ndarray], Interval] = mean_share) -> str:
    """What a page says of one number per network: below six their range, ``0.87 (0.84 … 0.91, n = 5)``.
    From six on ``interval``, in square brackets: ``0.87 [0.85, 0.90], n = 12``."""
    values = np.asarray(values, dtype=float).ravel()
    middle, low, high = interval(values)
    if (n := values.size) < FEWEST:
        return f"{middle:.{digits}f} ({values.min():.{digits}f} … {values.max():.{digits}f}, n = {n})"
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}], n = {n}"


def _numbers(values: Numbers, name: str, allowed: Callable[[np.ndarray], np.ndarray], expected: str) -> np.ndarray:
    """The values in one row, all of them allowed."""
    values = np.asarray(values, dtype=float).ravel()
    if not values.size:
        raise ValueError(f"{name} must hold at least one number, got none")
    wrong = values[~allowed(values)]
    if wrong.size:
        raise ValueError(f"{name} must be {expected}, got {wrong[0]}")
    return values
