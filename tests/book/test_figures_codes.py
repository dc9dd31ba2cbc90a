"""Pictures of codes: every bar, frame, line and name is where it should be."""

import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book.figures import codes


def test_stored_draws_each_layer_and_their_sum_on_one_scale():
    layers = {"apart": torch.eye(2, 4), "together": np.array([[1.0, 2.0], [0.0, -0.5]])}
    figure = codes.stored(layers, ["a", "b"], {"apart": [(0, 1), (2, 3)], "together": [(0, 1), (0, 1)]})
    for ax, values in zip(figure.axes, layers.values(), strict=True):
        bars = [patch for container in ax.containers for patch in container]
        heights = np.array([bar.get_height() for bar in bars]).reshape(3, -1)
        values = np.asarray(values)
        np.testing.assert_allclose(heights[:2] / heights[0].max(), values / values[0].max())
        np.testing.assert_allclose(heights[2], heights[:2].sum(0), atol=1e-12)
    assert [ax.get_title() for ax in figure.axes] == ["apart\n4 numbers", "together\n2 numbers"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a at 0", "b at 1", "sum h"]
    frames = [patch for patch in figure.axes[0].patches if patch.get_facecolor()[0] > 0.9]
    assert [(frame.get_x(), frame.get_width()) for frame in frames] == [(-0.5, 2), (1.5, 2)]
    draw(figure)


def test_stored_wants_a_window_for_each_code():
    with pytest.raises(ValueError, match=r"windows: got \['b'\], expected one for each of \['a'\]"):
        codes.stored({"a": np.eye(2)}, ["x", "y"], {"b": [(0, 1)] * 2})


def test_both_ways_draws_forwards_and_backwards_in_every_panel():
    right = {"a": np.array([[1.0, 0.9], [0.8, 0.7]]), "b": torch.tensor([[0.6, 0.5], [0.4, 0.3]])}
    figure = codes.both_ways(right, chance=0.1)
    for ax, values in zip(figure.axes, right.values(), strict=True):
        np.testing.assert_allclose([line.get_ydata() for line in ax.lines[:2]], np.asarray(values))
        assert ax.lines[2].get_ydata()[0] == 0.1
    draw(figure)


def test_plane_names_every_code_and_no_two_names_lie_on_each_other():
    points = {"one": (0.5, 0.3), "several": [[0.5, 0.3], [0.52, 0.31]], "tensor": torch.tensor([0.51, 0.3])}
    ax = codes.plane(points, path=[(0, 0), (1, 0.7)])
    offsets = [dots.get_offsets() for dots in ax.collections]
    assert [len(dots) for dots in offsets] == [1, 2, 1]
    np.testing.assert_allclose(offsets[1], points["several"])
    assert [text.get_text() for text in ax.texts] == list(points)
    heights = sorted(text.get_position()[1] for text in ax.texts)
    assert min(np.diff(heights)) > 0.049
    draw(ax.figure)


def test_plane_refuses_points_of_more_than_two_numbers():
    with pytest.raises(ValueError, match="x: got shape"):
        codes.plane({"x": [1.0, 2.0, 3.0]})
