"""Whether drops and jumps coincide, on curves made so that the answer is known."""

import numpy as np
import pytest
from oracles import SHAPE_ERRORS

from emt_core.analysis.staircase import coincidence

LOOKS = 101


def drawn(networks: int, seed: int, density: float = 0.2):
    """Random jumps (M, L − 1), and the counts (M, L) that have them; the first and last of each are jumps."""
    jumps = np.random.default_rng(seed).random((networks, LOOKS - 1)) < density
    jumps[:, [0, -1]] = True
    return jumps, np.concatenate([np.zeros((networks, 1), int), jumps.cumsum(1)], axis=1)


def falling(rate):
    """A loss that starts at 1 and whose logarithm falls at these rates (M, L − 1)."""
    return np.exp(-np.concatenate([np.zeros((len(rate), 1)), rate.cumsum(1)], axis=1))


def test_a_loss_that_falls_at_jumps_alone_falls_there_as_much_faster_as_they_are_rare():
    jumps, counts = drawn(4, 0)
    found = coincidence(counts, falling(jumps * 0.1), draws=199)
    np.testing.assert_allclose(found.ratio, 1 / jumps.mean(1))
    assert found.p == 1 / 200  # no draw of four shifts brings all jumps back


def test_a_loss_that_falls_steadily_tells_nothing():
    _, counts = drawn(3, 1)
    found = coincidence(counts, falling(np.full((3, LOOKS - 1), 0.02)))
    np.testing.assert_allclose(found.ratio, 1)
    np.testing.assert_allclose(found.null, 1)


def test_unrelated_curves_give_small_p_values_as_rarely_as_they_should():
    p = []
    for seed in range(200):
        _, counts = drawn(2, seed)
        rate = np.random.default_rng(1000 + seed).exponential(size=(2, LOOKS - 1))
        p.append(coincidence(counts, falling(rate), draws=199).p)
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.1  # binomial, 200 trials: beyond this once in a thousand
    assert 0.4 < np.mean(p) < 0.6


def test_what_lies_outside_the_learning_window_does_not_count():
    """A run over which drops and jumps coincide only in that both end: as the whole run, so the window, tells apart."""
    jumps, counts = drawn(1, 2)
    rate = np.full((1, LOOKS - 1), 0.02)
    long = np.concatenate([rate, np.zeros((1, 400))], axis=1)
    whole = np.concatenate([counts, np.repeat(counts[:, -1:], 400, axis=1)], axis=1)
    assert coincidence(whole, falling(long)).mean == pytest.approx(1)
    over_the_run = rate[jumps].mean() / long.mean()
    assert over_the_run > 4  # the comparison that would call this a coincidence


def test_networks_without_a_window_are_left_out():
    jumps, counts = drawn(4, 3)
    loss = falling(jumps * 0.1)
    counts[0] = 7  # no jump
    counts[1] = np.arange(LOOKS)  # nothing else
    loss[2, 50] = np.nan
    found = coincidence(counts, loss)
    assert np.isnan(found.ratio).tolist() == [True, True, True, False]
    assert found.mean == found.ratio[3]
    nothing = coincidence(counts[:3], loss[:3])
    assert np.isnan([nothing.mean, nothing.p, *nothing.null]).all()


def test_seeded():
    jumps, counts = drawn(2, 4)
    loss = falling(np.random.default_rng(0).random(jumps.shape))
    first, same, other = (coincidence(counts, loss, draws=50, seed=s).null for s in (1, 1, 2))
    assert (first == same).all() and (first != other).any()


@pytest.mark.parametrize("draws", [0, -1])
def test_bad_draws(draws):
    with pytest.raises(ValueError, match="draws"):
        coincidence(*drawn(1, 0)[1:], np.ones((1, LOOKS)), draws=draws)


def test_shapes_must_agree():
    with pytest.raises(SHAPE_ERRORS):
        coincidence(np.zeros((2, 5), int), np.ones((2, 4)))
    with pytest.raises(ValueError, match="counts and loss"):
        coincidence(np.zeros((2, 1), int), np.ones((2, 1)))
