import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book import figures

X, M = 4, 3
SIGMA = [0.001, 0.01, 0.1, 0.3]


def curves(seed=0):
    rng = np.random.default_rng(seed)
    return {"copy": 100 * rng.uniform(size=(X, M)), "other": torch.from_numpy(rng.uniform(size=(X, 1)))}


def median_lines(ax):
    """The bold line of each name."""
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_knobs_draws_networks_and_medians_and_a_logarithmic_axis_where_x_spans_much():
    drawn = curves()
    figure = figures.sensitivity.knobs({"α": ([0, 0.25, 0.5, 1], drawn), "cut-off": (SIGMA, drawn)}, "right (%)")
    left, right = figure.axes
    assert (left.get_xscale(), right.get_xscale()) == ("linear", "log")
    assert (left.get_xlabel(), right.get_xlabel(), left.get_ylabel()) == ("α", "cut-off", "right (%)")
    assert left.get_ylim() == right.get_ylim()
    found = median_lines(left)
    assert list(found) == list(drawn)
    np.testing.assert_allclose(found["copy"].get_ydata(), np.median(drawn["copy"], axis=1))
    assert len(left.lines) == M + 1 + 2  # the networks of both names, and their medians
    assert {found[n].get_linestyle() + found[n].get_marker() for n in drawn} == {"-o", "--s"}  # not by colour alone
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(drawn)
    draw(figure)


def test_limits_are_kept():
    figure = figures.sensitivity.knobs({"α": (range(X), curves())}, "right (%)", (40, 101))
    assert figure.axes[0].get_ylim() == (40, 101)


def test_uses_has_a_row_for_each_recursion_and_an_axis_for_each_use():
    one, two = curves(1), {"copy": -np.ones((X, M))}
    rows = {"first": {"cosine": one, "signs": one}, "second": {"cosine": two, "signs": one}}
    figure = figures.sensitivity.uses(SIGMA, rows, "noise")
    a, b, c, d = figure.axes
    assert [ax.get_title() for ax in (a, b, c, d)] == ["cosine", "signs", "", ""]
    assert [ax.get_ylabel() for ax in (a, b, c, d)] == ["first", "", "second", ""]
    assert [ax.get_xlabel() for ax in (a, b, c, d)] == ["", "", "noise", "noise"]
    assert a.get_ylim() == c.get_ylim() != b.get_ylim()
    np.testing.assert_allclose(median_lines(c)["copy"].get_ydata(), -1)
    assert any(list(line.get_ydata()) == [0, 0] for line in c.lines)  # where curves are negative, a line at zero
    assert not any(list(line.get_ydata()) == [0, 0] for line in b.lines)
    draw(figure)


def test_first_order_shows_medians_and_no_bound_where_most_are_infinite():
    measured = np.outer(SIGMA, [1.0, 2.0, 3.0])
    bound = 50 * measured
    bound[2, :1] = bound[3, :2] = np.inf
    bound[0] = np.inf
    figure = figures.sensitivity.first_order(SIGMA, {"copy": (measured, 0.9 * measured, bound)})
    (ax,) = figure.axes
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_title()) == ("log", "log", "copy")
    lines = median_lines(ax)
    np.testing.assert_allclose(lines["first order"].get_ydata(), 1.8 * np.array(SIGMA))
    np.testing.assert_allclose(lines["bound"].get_ydata(), [np.nan, 1, 15, np.nan])
    (marks,) = ax.containers
    np.testing.assert_allclose(marks[0].get_ydata(), 2 * np.array(SIGMA))
    draw(figure)


def test_first_order_draws_what_did_not_change_at_all():
    figure = figures.sensitivity.first_order(SIGMA, {"copy": (torch.zeros(X, 2),) * 3})
    draw(figure)


def test_losses_writes_hundredths_and_shades_up_to_where_it_is_dark():
    values = [[1.87, 0.12, 0.0], [0.001, np.nan, 0.29]]
    figure = figures.sensitivity.losses(values, ["α", "noise"], {"left": ["Φ", "edits"], "right": ["count"]}, dark=0.3)
    left, right = figure.axes
    written = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in left.texts}
    assert written == {(0, 0): "187", (0, 1): "12", (1, 0): "<1", (1, 1): "–"}
    assert [t.get_text() for t in right.texts] == ["0", "29"]
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0, 0.3)
    assert [t.get_color() for t in right.texts][1] == "white"
    assert (left.get_title(), right.get_title()) == ("left", "right")
    broken = figures.sensitivity.losses(
        values, ["α", "noise"], {"corrected recursion": ["Φ", "edits"], "no": ["count"]}
    )
    assert broken.axes[0].get_title() == "corrected\nrecursion"  # else it would run into the next one
    assert [label.get_text() for label in left.get_yticklabels()] == ["α", "noise"]
    draw(figure)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("x of α", lambda: figures.sensitivity.knobs({"α": (np.ones((2, 2)), curves())}, "y")),
        (r"curves\['copy'\]", lambda: figures.sensitivity.knobs({"α": ([0, 1], curves())}, "y")),
        (r"curves\['a'\]", lambda: figures.sensitivity.uses(SIGMA, {"r": {"u": {"a": np.ones(X)}}}, "x")),
        (r"rows\['s'\]", lambda: figures.sensitivity.uses(SIGMA, {"r": {"u": curves()}, "s": {"v": curves()}}, "x")),
        (r"cases\['c'\]", lambda: figures.sensitivity.first_order(SIGMA, {"c": (np.ones((2, 2)),) * 3})),
        ("values", lambda: figures.sensitivity.losses(np.ones((2, 2)), ["a"], {"g": ["x", "y"]})),
    ],
)
def test_bad_shapes_are_named(name, call):
    with pytest.raises(ValueError, match=name):
        call()
