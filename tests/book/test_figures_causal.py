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
        (r"later round\['a'\]", lambda: figures.causal.superposition([1, 2], {"a": [1, 2]}, {"a": [1]})),
    ],
)
def test_bad_shapes_are_named(name, call):
    with pytest.raises(ValueError, match=name):
        call()
