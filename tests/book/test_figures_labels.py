"""Labels beside curves: apart, in order, and where the curves end."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from emt_core.book.figures.labels import apart, beside


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_apart_in_order_and_move_no_more_than_they_must(seed):
    heights = np.random.default_rng(seed).uniform(size=6)
    placed = apart(heights, 0.15)
    assert (np.diff(np.sort(placed)) >= 0.15 - 1e-12).all()
    assert (placed.argsort() == heights.argsort()).all()
    assert abs(placed.mean() - heights.mean()) < 1e-12  # blocks move about their middle
    assert np.allclose(apart(placed, 0.15), placed)


def test_far_ones_stay_and_close_ones_share_their_middle():
    assert apart(np.array([0.5, 0.0, 0.5]), 0.2) == pytest.approx([0.4, 0.0, 0.6])
    assert apart(np.array([1.0, 9.0]), 2).tolist() == [1.0, 9.0]
    assert sorted(apart(np.array([5.0, 5.0, 5.0]), 2)) == [3, 5, 7]
    chain = apart(np.array([0.0, 1.0, 2.5, 9.0]), 2)
    assert np.diff(chain)[:2] == pytest.approx([2, 2]) and chain[3] == 9
    assert apart(np.array([]), 2).size == 0


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_names_stand_at_the_ends(scale):
    ax = plt.figure(layout="none").add_subplot()
    ax.plot([1, 2], [1, 1000])
    ax.set_yscale(scale)
    beside(ax, 2, {"a": (10.0, "k"), "b": (1000.0, "k")}, gap=0.01)
    for text, height in zip(ax.texts, (10.0, 1000.0), strict=True):
        at = text.get_transform().transform(text.get_position())
        assert at == pytest.approx(ax.transData.transform((2, height)))
