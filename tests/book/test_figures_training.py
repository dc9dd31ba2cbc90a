"""The pictures of the chapter on training, drawn once each on small arrays (staircase and curves: test_figures.py)."""

import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book import figures

NULL = np.random.default_rng(0).normal(1, 0.2, 500)


def test_beside_chance_sets_the_diamond_over_the_middle_of_the_null():
    figure = figures.training.beside_chance([1.9, 0.7], [NULL, NULL], ["lower", "upper"], "ratio")
    ax = figure.axes[0]
    bars = [line.get_segments()[0][:, 0] for line in ax.collections if hasattr(line, "get_segments")]
    np.testing.assert_allclose(bars, [np.quantile(NULL, [0.025, 0.975])] * 2)
    diamonds = [c.get_offsets() for c in ax.collections if not hasattr(c, "get_segments")]
    np.testing.assert_allclose(np.concatenate(diamonds), [[1.9, 0], [0.7, 1]])
    assert {"lower", "upper", "observed: 1.90"} <= {text.get_text() for text in ax.texts}
    draw(figure)


def test_beside_chance_leaves_a_row_without_numbers_empty():
    ax = figures.training.beside_chance([np.nan], [np.full(5, np.nan)], ["nothing"], "ratio").axes[0]
    assert not ax.collections and [text.get_text() for text in ax.texts] == ["nothing"]


def test_acquired_shades_from_the_lowest_to_the_highest_line_in_percent():
    steps, dimensions = np.arange(4), torch.rand(4, 3)
    figure = figures.training.acquired(steps, torch.rand(4, 5), dimensions, (0, 2))
    left, right = figure.axes
    assert len(left.lines) == 3 and len(right.lines) == 5 and left.get_xlim() == (0, 2)
    edge = left.collections[0].get_paths()[0].vertices[:, 1]
    assert edge.max() == pytest.approx(100 * float(dimensions.max()))
    assert edge.min() == pytest.approx(100 * float(dimensions.min()))
    draw(figure)


def test_beyond_linear_draws_a_floor_of_the_same_dash_for_every_task():
    scales = [1.0, 0.1]
    errors = [np.array([[0.01, 0.02], [1.0, 2.0]]), np.array([[0.03], [0.5]])]
    ax = figures.training.beyond_linear(scales, errors, [0.2, 0.3], ["task A", "task B"], np.array([0.1, 0.1]))
    levels = [line for line in ax.lines if len(set(line.get_ydata())) == 1 and line.get_label() != "control: no floor"]
    assert [line.get_ydata()[0] for line in levels] == [0.2, 0.3]
    curves = [line for line in ax.lines if line.get_label() in ("task A", "task B")]
    assert [c.get_linestyle() for c in curves] == [f.get_linestyle() for f in levels] == ["-", "--"]
    draw(ax.figure)


def test_shapes_are_named():
    with pytest.raises(ValueError, match="dimension"):
        figures.training.acquired(np.arange(3), np.ones((3, 2)), np.ones((4, 2)), (0, 1))
    with pytest.raises(ValueError, match="control"):
        figures.training.beyond_linear([1.0, 0.1], [], [], [], np.ones(3))
