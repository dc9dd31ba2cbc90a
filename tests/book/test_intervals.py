"""Intervals: against closed forms, and that they cover what they promise to cover."""

import math

import numpy as np
import pytest
from scipy import stats

from emt_core.book import intervals


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (500, 512)])
def test_wilson_solves_its_equation(hits, n):
    share, low, high = intervals.wilson([True] * hits + [False] * (n - hits))
    assert share == hits / n
    z = 1.959963984540054
    for end in (low, high):  # |p̂ − p| = z √(p(1−p)/n) at both ends, but where an end is cut off at 0 or 1
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n), abs=1e-9)


@pytest.mark.parametrize("kind", [bool, int, float])
def test_wilson_counts_ones(kind):
    hits = np.array([0, 1, 1, 0, 1])
    assert intervals.wilson(hits.astype(kind)) == intervals.wilson([bool(h) for h in hits])


@pytest.mark.parametrize("wrong", [math.nan, 0.5, 2, -1, math.inf])
def test_wilson_refuses_what_is_neither_hit_nor_miss(wrong):
    with pytest.raises(ValueError, match=f"hits must be booleans, or numbers that are 0 or 1, got {wrong}"):
        intervals.wilson(np.array([1, 0, wrong]))


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


@pytest.mark.parametrize("n", [4, 5, 10])
@pytest.mark.parametrize(
    ("interval", "draw", "true"),
    [
        (intervals.mean, lambda rng, size: rng.normal(size=size), 0),
        (intervals.mean, lambda rng, size: rng.gamma(2, size=size), 2),
        (intervals.mean_share, lambda rng, size: rng.beta(8, 2, size=size), 0.8),
        (intervals.mean_share, lambda rng, size: rng.beta(9.5, 0.5, size=size), 0.95),
        (intervals.mean_share, lambda rng, size: np.where(rng.random(size) < 0.9, 1, rng.random(size)), 0.95),
    ],
    ids=["normal", "skewed", "share, about normal", "share near 1", "share, most exactly 1"],
)
def test_few_networks_cover_the_mean(interval, draw, true, n):
    """93 % at least, from so many samples that the simulation's own standard error is below 0.5 %."""
    samples = draw(np.random.default_rng(n), (2500, n))
    ends = np.array([interval(sample)[1:] for sample in samples])
    assert np.mean((ends[:, 0] <= true) & (true <= ends[:, 1])) >= 0.93


@pytest.mark.parametrize("values", [[1.0, 4.0], [1, 2, 3], [0.1, 0.2, 0.3, 0.4, 0.5]])
def test_without_skewness_the_mean_has_student_s_interval(values):
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert intervals.mean(values) == pytest.approx((np.mean(values), *expected))


def test_the_mean_s_interval_is_student_s_opened_towards_the_tail():
    values = np.array([0.0, 0.1, 0.3, 0.4, 2.0])
    middle, low, high = intervals.mean(values)
    student = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert low == pytest.approx(student[0]) and high > student[1] + 0.1
    # Hall's transformation of Student's T takes the opened end to the quantile it is for
    a = stats.skew(values, bias=False) / math.sqrt(5)
    T = (middle - high) / stats.sem(values)
    assert T + a * T**2 / 3 + a**2 * T**3 / 27 + a / 6 == pytest.approx(stats.t.ppf(0.025, 4))
    assert intervals.mean(3 - 2 * values) == pytest.approx((3 - 2 * middle, 3 - 2 * high, 3 - 2 * low))


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0, 5.0]], ids=["one", "equal"])
def test_values_without_spread_bound_no_mean(values):
    assert intervals.mean(values) == (5, -math.inf, math.inf)


@pytest.mark.parametrize(("hits", "n"), [(0, 4), (2, 4), (4, 4), (7, 10), (60, 64)])
def test_shares_of_0_and_1_have_the_exact_binomial_interval(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(method="exact")
    found = intervals.mean_share([1] * hits + [0] * (n - hits))
    assert found == pytest.approx((hits / n, expected.low, expected.high), abs=1e-8)


def test_the_mean_share_s_ends_leave_a_fortieth_of_the_binomial_on_either_side():
    """Hits that are not whole numbers, by the integral that a beta quantile solves."""
    shares = np.array([0.3, 0.9, 0.9, 0.5, 1.0])
    middle, low, high = intervals.mean_share(shares)
    p, n, hits = np.linspace(0, 1, 2_000_001), 5, shares.sum()
    for end, a, b, share in ((low, hits, n - hits + 1, 0.025), (high, hits + 1, n - hits, 0.975)):
        density = p ** (a - 1) * (1 - p) ** (b - 1)
        assert density[p <= end].sum() / density.sum() == pytest.approx(share, abs=1e-5)
    assert middle == pytest.approx(0.72) and low < middle < high


def test_below_six_networks_a_page_says_the_range():
    assert intervals.said([0.84, 0.86, 0.91]) == "0.87 (0.84 … 0.91, n = 3)"
    assert intervals.said([1.0, 1.0, 1.0, 1.0, 0.998], digits=3) == "1.000 (0.998 … 1.000, n = 5)"
    assert intervals.said(np.array([0.5])) == "0.50 (0.50 … 0.50, n = 1)"


def test_from_six_networks_on_a_page_says_the_interval():
    assert intervals.said([1.0] * 6) == "1.00 [0.54, 1.00], n = 6"
    values = [11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0]
    assert intervals.said(values, digits=1, interval=intervals.mean) == "14.0 [12.0, 16.0], n = 7"


@pytest.mark.parametrize(
    "function", [intervals.wilson, intervals.mean, intervals.mean_share, intervals.median, intervals.said]
)
def test_nothing_is_refused(function):
    with pytest.raises(ValueError, match="at least one"):
        function([])


@pytest.mark.parametrize(
    ("function", "wrong", "message"),
    [
        (intervals.mean, math.nan, "values must be finite numbers, got nan"),
        (intervals.mean, math.inf, "values must be finite numbers, got inf"),
        (intervals.mean_share, math.nan, "shares must be between 0 and 1, got nan"),
        (intervals.mean_share, 1.5, "shares must be between 0 and 1, got 1.5"),
        (intervals.mean_share, -0.5, "shares must be between 0 and 1, got -0.5"),
        (intervals.median, math.nan, "values must be numbers, none of them NaN, got nan"),
        (intervals.said, math.nan, "shares must be between 0 and 1, got nan"),
    ],
)
def test_wrong_values_are_named(function, wrong, message):
    with pytest.raises(ValueError, match=message):
        function([0.5, wrong, 0.5])


def test_equivalence_is_two_one_sided_tests():
    """By hand: five values with mean 0.9 and standard error s; the nearer margin decides."""
    values = np.array([0.88, 0.89, 0.9, 0.91, 0.92])
    error = values.std(ddof=1) / 5**0.5
    p = intervals.equivalence(values, 0.89, 0.03)
    assert p == pytest.approx(stats.t.sf((0.92 - 0.9) / error, 4))
    assert intervals.equivalence(values, 0.9, 0.03) < p < intervals.equivalence(values, 0.88, 0.03)
    assert intervals.equivalence(values, 0.95, 0.03) > 0.5  # beyond the margin


def test_equivalence_of_two_groups():
    a, b = np.array([0.9, 0.92, 0.91, 0.89]), np.array([0.9, 0.91, 0.93, 0.9, 0.92])
    assert intervals.equivalence(a, b, 0.05) == pytest.approx(intervals.equivalence(b, a, 0.05))
    assert intervals.equivalence(a, b, 0.05) < 0.01 < intervals.equivalence(a, b, 0.005)
    with pytest.raises(ValueError, match=r"margin must be above 0, got 0\.0"):
        intervals.equivalence(a, b, 0.0)


def test_equivalence_errs_as_often_as_it_says():
    """At the margin itself, where the two differ, five in a hundred pass."""
    draw = np.random.default_rng(0).normal(1.0, 0.1, (4000, 5))
    passed = np.mean([intervals.equivalence(x, 0.0, 1.0) < 0.05 for x in draw])
    assert abs(passed - 0.05) < 4 * (0.05 * 0.95 / 4000) ** 0.5
