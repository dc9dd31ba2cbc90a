import numpy as np
import pytest
import torch
from drawing import draw
from matplotlib.patches import Rectangle

from emt_core.book import figures


def test_frames_stand_where_something_changed_in_every_strip():
    changed = torch.zeros(5, 3, dtype=torch.bool)
    changed[1, 2] = changed[4, 0] = True
    strips = {"before": torch.ones(5, 3), "after": np.arange(15.0).reshape(5, 3)}
    figure = figures.causal.edited_strips(strips, changed)
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(strips)
    for ax, values in zip(figure.axes, strips.values(), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), np.asarray(values).T)
        left, right, bottom, top = ax.images[0].get_extent()
        cells = set()
        for frame in (p for p in ax.patches if isinstance(p, Rectangle)):
            x, y = frame.get_x() + frame.get_width() / 2, frame.get_y() + frame.get_height() / 2
            cells.add((int((x - left) // ((right - left) / 5)), int((y - top) // ((bottom - top) / 3))))
        assert cells == {(1, 2), (4, 0)}
    draw(figure)


def test_the_grid_writes_percent_and_never_rounds_to_all_or_nothing():
    shares = [[1.0, 0.999, 0.5], [0.0, 0.001, np.nan]]
    figure = figures.causal.exact_grid(shares, ["a", "b"], {"left": ["x", "y"], "right": ["z"]})
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("left", "right")
    written = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in left.texts}
    assert written == {(0, 0): "100", (0, 1): ">99", (1, 0): "0", (1, 1): "<1"}
    assert [t.get_text() for t in right.texts] == ["50", "–"]
    draw(figure)


def test_dots_have_a_shape_per_measure_a_row_per_task_and_lie_on_no_other():
    second = {"a": [0.2, 0.4], "b": [0.9, 0.7, 0.9, 0.901, 0.9]}
    measures = {"first": {"a": [1.0, 1.0], "b": torch.tensor([0.5])}, "second": second}
    figure = figures.causal.dots(measures, "exact (%)")
    (ax,) = figure.axes
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert rows == ["a", "b"] and ax.get_xlabel() == "exact (%)"
    offsets = np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections])
    assert len(offsets) == 7 and len({tuple(dot) for dot in offsets.round(6).tolist()}) == 7
    np.testing.assert_allclose(np.sort(offsets[:, 0]), [20, 40, 50, 70, 90, 100, 100])
    assert [(text.get_text(), text.xy[0]) for text in ax.texts] == [("×4", 90)]
    assert [round(float(y)) for x, y in offsets if x == 50] == [1]
    medians = [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1]
    assert {100, 50, 30, 90} <= {round(float(x)) for x in medians}
    draw(figure)


def test_crowded_dots_carry_numbers_only_where_there_is_room():
    # five shares four times each, 2 % apart: the outer two have a free side, the three between are drawn one by one
    shares = np.repeat([0.4, 0.42, 0.44, 0.46, 0.48], 4)
    figure = figures.causal.dots({"first": {"a": shares}}, "exact (%)")
    (ax,) = figure.axes
    assert [(text.xy[0], text.get_text(), text.get_ha()) for text in ax.texts] == [
        (40, "×4", "right"),
        (48, "×4", "left"),
    ]
    offsets = np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections])
    assert len(offsets) == 12 + 2 and len({tuple(dot) for dot in offsets.round(6).tolist()}) == 14
    draw(figure)


def test_a_number_may_cover_one_dot_and_not_two():
    for others, written in (([0.52], "left"), ([0.52, 0.54], "right"), ([0.52, 0.54, 0.47, 0.48], None)):
        (ax,) = figures.causal.dots({"first": {"a": [0.5] * 4 + others}}, "exact (%)").axes
        assert [text.get_ha() for text in ax.texts] == [written] * (written is not None)


def test_thresholds_have_a_median_and_two_ranges_and_a_place_for_never():
    many = np.arange(1, 101) / 100
    measures = {"right": {"a": many, "b": [0.5, np.inf, np.inf]}, "wrong": {"a": torch.full((4,), torch.inf)}}
    figure = figures.causal.thresholds(measures, 2, "move")
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "0.5", "1", "1.5", "2", "never"]
    never = ax.get_xticks()[-1]
    marks = np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections if len(c.get_offsets())])
    np.testing.assert_allclose(marks[:, 0], [0.5, never, never], rtol=1e-6)
    assert marks[:, 1].round().tolist() == [0, 1, 0]
    spans = [tuple(line.get_xdata()) for line in ax.lines if len(set(line.get_ydata())) == 1][:4]
    # the ends are themselves values: the 5th, 25th, 75th and 95th of a hundred; of three the first and the last
    assert spans == [(0.05, 0.95), (0.25, 0.75), (0.5, never), (0.5, never)]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["right", "wrong"]
    draw(figure)


def test_turning_points_lie_where_they_should_and_are_spread_by_no_more_than_a_step():
    zeros, turned = np.linspace(0.3, 0.7, 50), torch.linspace(0.2, 0.9, 50)
    figure = figures.causal.turning_points({"one": (zeros, turned), "two": (zeros[:2], [0.5, 0.5])}, 0.1)
    assert [ax.get_title() for ax in figure.axes] == ["one", "two"]
    points = np.asarray(figure.axes[0].collections[0].get_offsets())
    np.testing.assert_allclose(points[:, 0], zeros)
    off = points[:, 1] - turned.numpy()
    assert np.abs(off).max() <= 0.05 + 1e-6 and off.min() < -0.04 and off.max() > 0.04 and abs(off.mean()) < 0.005
    for ax in figure.axes:
        assert [tuple(line.get_ydata()) for line in ax.lines] == [(0, 1), (0.5, 0.5)]
    draw(figure)


def test_superposition_draws_both_rounds_and_names_them():
    first, later = {"copy": [0.0, 0.1, 0.2]}, {"copy": [0.0, 0.5, 0.9]}
    figure = figures.causal.superposition([0.1, 1, 10], first, later)
    (ax,) = figure.axes
    np.testing.assert_allclose(ax.lines[1].get_ydata(), later["copy"])
    assert ax.lines[1].get_linestyle() == "--" and ax.get_xscale() == "log"
    assert {text.get_text() for text in ax.texts} == {"copy,\nfirst round", "copy,\nlater round"}
    draw(figure)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("changed", lambda: figures.causal.edited_strips({"a": np.ones((2, 3))}, np.ones(3))),
        (r"strips\['a'\]", lambda: figures.causal.edited_strips({"a": np.ones((2, 3))}, np.ones((3, 2)))),
        ("shares", lambda: figures.causal.exact_grid(np.ones((2, 2)), ["a"], {"left": ["x", "y"]})),
        ("measures", lambda: figures.causal.dots({}, "x")),
        (r"measures\['m'\]\['a'\]", lambda: figures.causal.dots({"m": {"a": np.ones((2, 2))}}, "x")),
        ("measures", lambda: figures.causal.thresholds({}, 2, "x")),
        (r"measures\['m'\]\['a'\]", lambda: figures.causal.thresholds({"m": {"a": np.ones((2, 2))}}, 2, "x")),
        (r"panels\['a'\]\[1\]", lambda: figures.causal.turning_points({"a": ([1, 2], [1])}, 0.1)),
        (r"later round\['a'\]", lambda: figures.causal.superposition([1, 2], {"a": [1, 2]}, {"a": [1]})),
    ],
)
def test_bad_shapes_are_named(name, call):
    with pytest.raises(ValueError, match=name):
        call()
