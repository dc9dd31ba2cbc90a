import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book import figures

S, D = 3, 2


def test_becomes_shows_the_three_matrices_and_the_last_two_on_one_scale():
    W_hh, in_basis, phi = torch.randn(9, 9), 3 * torch.eye(8).double(), torch.eye(6).double()
    figure = figures.basis.becomes(W_hh, in_basis, phi, S, D)
    images = [ax.images[0] for ax in figure.axes]
    for image, matrix in zip(images, (W_hh, in_basis, phi), strict=True):
        np.testing.assert_array_equal(image.get_array(), matrix)
    assert images[1].get_clim() == images[2].get_clim() == (-3, 3)
    assert figure.axes[1].get_xticklabels()[-1].get_text() == "rest"  # two residual directions
    draw(figure)


def test_curves_end_in_their_names_and_these_do_not_overlap():
    curves = {"a": [0.2, 0.9, 1.0], "b": np.array([1.0, 1.0, 1.0]), "c": torch.tensor([1.0, 0.5, 0.5])}
    figure = figures.basis.over_time([8, 9, 10], curves)
    (ax,) = figure.axes
    np.testing.assert_allclose(ax.lines[2].get_ydata(), [100, 50, 50])
    low, high = ax.get_ylim()
    heights = {text.get_text(): low + (high - low) * text.get_position()[1] for text in ax.texts}
    assert set(heights) == set(curves)
    assert abs(heights["a"] - heights["b"]) > 2 and heights["c"] < 60
    draw(figure)


def test_ways_draws_a_dot_for_every_network_none_on_another_and_the_median():
    shares = {"first": [1.0, 1.0, 0.5], "second": torch.tensor([0.9, 0.8, 0.7])}
    figure = figures.basis.ways({"copy": shares, "other": shares, "third": shares})
    shown = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title() for ax in shown] == ["copy", "other", "third"]
    dots = np.concatenate([c.get_offsets() for c in shown[1].collections])
    assert len({tuple(dot) for dot in dots.round(6).tolist()}) == 6
    np.testing.assert_allclose(np.sort(dots[:, 0]), [50, 70, 80, 90, 100, 100])
    assert [line.get_xdata()[0] for line in shown[1].lines[:2]] == pytest.approx([100, 80])
    assert [label.get_text() for label in shown[0].get_yticklabels()] == ["first", "second"]
    draw(figure)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("tasks", lambda: figures.basis.ways({})),
        (r"tasks\['copy'\]\['a'\]", lambda: figures.basis.ways({"copy": {"a": np.ones((2, 2))}})),
        (r"curves\['a'\]", lambda: figures.basis.over_time([1, 2], {"a": [1.0]})),
        ("W_hh", lambda: figures.basis.becomes(np.ones(3), np.eye(6), np.eye(6), S, D)),
        ("matrix", lambda: figures.basis.becomes(np.eye(3), np.eye(5), np.eye(6), S, D)),
    ],
)
def test_bad_shapes_are_named(name, call):
    with pytest.raises(ValueError, match=name):
        call()
