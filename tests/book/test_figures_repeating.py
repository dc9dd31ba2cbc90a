"""Pictures of networks that repeat tokens, each drawn once on small arrays."""

import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book.figures import repeating


def test_learning_has_two_axes_of_one_length():
    figure = repeating.learning([10, 20, 30], torch.tensor([0.2, 0.5, 0.9]), np.array([3.0, 1.0, 0.1]))
    left, right = figure.axes
    assert left.lines[0].get_xdata().tolist() == right.lines[0].get_xdata().tolist() == [10, 20, 30]
    assert right.get_yscale() == "log"
    draw(figure)


def test_by_place_draws_a_line_a_seed_and_one_marker_a_size_in_all_panels():
    curves = {"a": {4: np.array([[1.0, 0.5], [0.9, 0.4]]), 8: [1.0, 0.8]}, "b": {8: np.array([[0.3, 0.2]])}}
    figure = repeating.by_place(curves, range(2), xlabel="position", ylabel="size", log=True, guide=10)
    a, b = figure.axes
    assert len(a.lines) == 3 + 1 and len(b.lines) == 1 + 1  # and the guide
    assert a.lines[2].get_marker() == b.lines[0].get_marker() != a.lines[0].get_marker()
    np.testing.assert_allclose(a.lines[3].get_ydata(), [1, 0.1])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["N = 4", "N = 8"]
    draw(figure)


def test_by_place_wants_a_value_for_every_place():
    with pytest.raises(ValueError, match=r"N = 4: got shape \(1, 2\), expected \(any, 3\)"):
        repeating.by_place({"a": {4: [1.0, 2.0]}}, range(3), xlabel="x", ylabel="y")


def test_lives_begin_when_a_token_is_read_and_mark_when_it_is_written():
    size = torch.rand(3, 6) + 0.1
    ax = repeating.lives({"one": size}).axes[0]
    lines, dots = ax.lines[0:6:2], ax.lines[1:6:2]
    assert [line.get_xdata()[0] for line in lines] == [1, 2, 3]
    np.testing.assert_allclose(lines[1].get_ydata(), size[1, 1:])
    assert [(dot.get_xdata()[0], dot.get_ydata()[0]) for dot in dots] == [
        (4 + p, float(size[p, 3 + p])) for p in range(3)
    ]
    draw(ax.figure)


def test_pairs_of_positions_have_one_scale():
    figure = repeating.pairs_of_positions({n: {"overlap": np.eye(3), "alignment": -np.eye(3)} for n in ("x", "y")})
    maps = [ax for ax in figure.axes if ax.images]
    assert len(maps) == 4 and {ax.images[0].get_clim() for ax in maps} == {(-1, 1)}
    assert maps[0].get_title() == "x" and maps[2].get_ylabel() == "alignment\nposition"
    draw(figure)


def test_units_are_sorted_by_the_position_that_they_hold_most():
    held = np.array([[0.1, 2.0, 0.3], [0.2, 1.0, 0.6]])  # units 0 and 2 hold position 1 most, unit 1 position 0
    ax = repeating.units({"net": held}).axes[0]
    np.testing.assert_allclose(ax.images[0].get_array(), [[1, 0.5], [0.5, 1], [0.5, 1]])
    draw(ax.figure)


def test_misled_draws_the_truth_each_lie_and_chance():
    ax = repeating.misled([1.0, 0.9, 0.9], {0: torch.tensor([1.0, 0.1, 0.0]), 1: [1.0, 0.9, 0.1]}, 0.25)
    np.testing.assert_allclose([line.get_ydata()[-1] for line in ax.lines], [0.9, 0.0, 0.1, 0.25])
    assert [text.get_text() for text in ax.get_legend().get_texts()][1:] == [
        "a wrong one after 0",
        "a wrong one after 1",
    ]
    draw(ax.figure)
