"""Pictures of onions: what is drawn lies where the arrays say."""

import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book.figures import onions
from emt_core.theory import onion

CODE = onion.hand_built(5, 2, kind="circle")
NAMES = list("ABCDE")


def names_in(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_peeled_ends_at_the_state_and_marks_the_nearest_token():
    tokens = torch.tensor([[1], [3], [0], [2]])
    h = onion.encode(CODE, tokens)
    left = onion.peel(CODE, h, 4)[1][:, 0]
    figure = onions.peeled(CODE.embedding, CODE.gamma, [1, 3, 0, 2], NAMES, left)
    written, *peels = figure.axes
    np.testing.assert_allclose(np.ravel(written.lines[0].get_xydata()), h[0])
    assert names_in(written) == ["B", "D", "A"]
    assert [ax.get_title() for ax in peels] == ["peel 0: B", "peel 1: D", "peel 2: A"]
    for p, ax in enumerate(peels):
        np.testing.assert_allclose(ax.lines[0].get_xydata(), torch.stack([CODE.embedding[tokens[p, 0]], left[p]]))
        rings = [ring for ring in ax.collections if ring.get_zorder() == 3]
        thick = [v for v, ring in enumerate(rings) if ring.get_linewidths()[0] > 2]
        assert thick == [int((CODE.embedding - left[p]).norm(dim=1).argmin())]
    draw(figure)


def test_against_gamma_draws_a_bound_only_where_there_is_one():
    ax = onions.against_gamma([0.1, 0.5, 0.9], {"a": [1, 1, 0], "b": [1, 1, 1]}, {"a": 0.5, "b": np.inf})
    assert [len(line.get_xdata()) for line in ax.lines] == [3, 2, 3]
    assert ax.lines[1].get_xdata()[0] == 0.5
    draw(ax.figure)


def test_clouds_name_the_mean_of_each_first_token():
    first = torch.tensor([0, 0, 1, 1])
    h = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [0.0, 6.0]])
    figure = onions.clouds({"x": h, "y": 2 * h}, first, ["A", "B"])
    places = [text.get_position() for text in figure.axes[0].texts]
    assert places == [(1.0, 0.0), (0.0, 5.0)]
    assert figure.axes[1].texts[1].get_position() == (0.0, 10.0)
    draw(figure)


def test_formats_has_the_rule_as_a_line():
    bits = [3, 24]
    ax = onions.formats(bits, {"binary": np.array([3, 24])}, {"binary": np.array([1, 20])}, {"binary": 0.5})
    rule = ax.lines[-1]
    assert np.interp(24, *rule.get_data()) == pytest.approx(24)
    with pytest.raises(ValueError, match="sure, binary: got shape"):
        onions.formats(bits, {"binary": np.array([3, 24])}, {"binary": np.array([1])}, {"binary": 0.5})
    draw(ax.figure)


def test_toys_has_a_dot_and_a_triangle_a_seed():
    ax = onions.toys({1: [0.1, 0.2], 8: torch.ones(2)}, {1: [0.3, 0.3], 8: [0.45, 0.5]}, 3.0, 0.4)
    np.testing.assert_allclose(
        [line.get_ydata() for line in ax.lines[:4]], [[0.1, 0.2], [0.3, 0.3], [1, 1], [0.45, 0.5]]
    )
    draw(ax.figure)


def test_probed_tells_equal_lines_apart():
    ax = onions.probed({"peeled": [1.0, 1.0], "linear": np.array([1.0, 1.0])}, 0.2)
    assert ax.lines[0].get_markersize() > ax.lines[1].get_markersize()
    assert ax.lines[-1].get_ydata()[0] == 0.2
    draw(ax.figure)


def test_turning_projects_into_the_given_plane():
    layers = torch.zeros(3, 4, 5)
    layers[2, :, 1] = torch.arange(4.0)
    plane = torch.eye(5)[1:3]
    figure = onions.turning(layers, plane, [0, 2, 3], (0, 2))
    np.testing.assert_allclose(figure.axes[1].collections[0].get_offsets(), [[0, 0], [1, 0], [2, 0], [3, 0]])
    assert len(figure.axes) == 2
    draw(figure)
