"""Intervals: against closed forms, and that they cover what they promise to cover."""

import math

import numpy as np
import pytest

from emt_core import intervals


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (500, 512)])
def test_wilson_solves_its_equation(hits, n):
    share, low, high = intervals.wilson([True] * hits + [False] * (n - hits))
    assert share == hits / n
    z = 1.959963984540054
    for end in (low, high):  # |p̂ − p| = z √(p(1−p)/n) at both ends, but where an end is cut off at 0 or 1
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n), abs=1e-9)


def test_the_median_s_interval_covers_it():
    rng = np.random.default_rng(0)
    for n in (6, 16, 33):
        draws = rng.exponential(size=(2000, n))
        ends = np.array([intervals.median(d)[1:] for d in draws])
        covered = np.mean((ends[:, 0] <= math.log(2)) & (math.log(2) <= ends[:, 1]))
        assert covered > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_what_was_not_reached_counts_as_late():
    assert intervals.median([1, 2, 3, math.inf, math.inf])[0] == 3
    assert intervals.median([1, 2, math.inf, math.inf])[0] == math.inf
    value, low, high = intervals.median([*range(1, 13), *[math.inf] * 4])
    assert (value, low, high) == (8.5, 4, math.inf)
    assert intervals.median([5.0]) == (5.0, -math.inf, math.inf)


def test_networks_not_trials_are_drawn():
    shares = np.array([0.0, 0.2, 0.9, 1.0])
    mean, low, high = intervals.over_networks(shares)
    assert mean == pytest.approx(0.525)
    assert low < 0.2 and high > 0.8  # four networks that differ leave the mean wide open
    assert intervals.over_networks(shares) == intervals.over_networks(shares)
    assert intervals.over_networks([0.5, 0.5]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("function", [intervals.wilson, intervals.over_networks, intervals.median])
def test_nothing_is_refused(function):
    with pytest.raises(ValueError, match="at least one"):
        function([])
