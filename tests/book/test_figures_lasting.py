"""Pictures of memories that last or do not: what they are given is what they show."""

import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book import figures
from emt_core.book.figures.lasting import FLOOR
from emt_core.book.figures.style import LINES, MARKERS


def dots(ax) -> list[np.ndarray]:
    return [np.asarray(group.get_offsets()) for group in ax.collections]


def test_decay_has_a_thin_line_for_each_network_and_a_bold_median():
    steps, later = [10, 100, 1000], torch.tensor([1, 10])
    accuracy = {"analog": [[1.0, 0.9, 0.5], [1.0, 0.7, 0.6], [0.9, 0.8, 0.55]], "digital": np.ones((1, 3))}
    kept = {"analog": torch.tensor([[0.2, 0.1], [0.3, 0.2], [0.25, 0.3]]), "digital": [[1e-3, 1e-17]]}
    figure = figures.lasting.decay(steps, accuracy, later, kept)
    left, right = figure.axes
    for ax, x, curves, factor in ((left, steps, accuracy, 100), (right, later.tolist(), kept, 1)):
        lines = iter(ax.lines)
        for color, (name, values) in zip(LINES, curves.items(), strict=False):
            values = np.asarray(values, dtype=float) * factor
            for row in values:
                thin = next(lines)
                assert list(thin.get_xdata()) == x and thin.get_color() == color
                np.testing.assert_allclose(thin.get_ydata(), np.maximum(row, FLOOR))
            bold = next(lines)
            np.testing.assert_allclose(bold.get_ydata(), np.maximum(np.median(values, axis=0), FLOOR))
            assert bold.get_label() == name and bold.get_linewidth() > thin.get_linewidth()
    (guessing,) = list(left.lines)[6:]
    assert list(guessing.get_ydata()) == [50, 50] and len(right.lines) == 6
    assert right.lines[-1].get_ydata()[1] == FLOOR  # rounding has no size
    assert (left.get_xscale(), left.get_yscale(), right.get_yscale()) == ("log", "linear", "log")
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["analog", "digital"]
    draw(figure)


def test_lines_of_a_name_are_told_apart_by_their_dashes():
    two = {"one": np.ones((1, 2)), "other": np.ones((2, 2))}
    left, right = figures.lasting.decay([1, 2], two, [1, 2], two).axes
    for ax in (left, right):
        one, other = (line for line in ax.lines if line.get_label() in two)
        assert one.get_linestyle() != other.get_linestyle() and one.get_color() != other.get_color()


def test_every_cycle_is_a_line_from_its_first_place_on():
    elasticity = {"copy": [[1.0, 0.9], torch.tensor([0.5, 0.4])], "random": [np.array([0.1, 0.2, 0.3, 0.4, 0.5])]}
    figure = figures.lasting.along_cycles(elasticity)
    assert [ax.get_title() for ax in figure.axes] == ["copy", "random"]
    for ax, cycles in zip(figure.axes, elasticity.values(), strict=True):
        kept, *lines = ax.lines  # first the line at 1: an error that is kept
        assert list(kept.get_ydata()) == [1, 1] and len(lines) == len(cycles)
        for line, values in zip(lines, cycles, strict=True):
            assert list(line.get_xdata()) == list(range(1, len(values) + 1))
            np.testing.assert_array_equal(line.get_ydata(), np.asarray(values))
        assert [line.get_marker() for line in lines] == list(MARKERS[: len(lines)])
    draw(figure)
    draw(figures.lasting.along_cycles({"alone": [[0.5]]}))
    three = figures.lasting.along_cycles({name: [[0.5, 0.1]] for name in "abc"})
    draw(three)
    below, blank = three.axes[1:4:2]
    assert not blank.axison and any(tick.label1.get_visible() for tick in below.xaxis.get_major_ticks())


def test_gains_mark_every_network_and_count_them():
    groups = {"known": ([0.1, 0.99], [1.0, 0.5]), "held out": (torch.tensor([0.4]), np.array([0.9]))}
    ax = figures.lasting.gains(groups, 0.95)
    for found, (gain, late) in zip(dots(ax), groups.values(), strict=True):
        np.testing.assert_allclose(found[:, 0], gain)
        np.testing.assert_allclose(found[:, 1], 100 * np.asarray(late))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["known (2)", "held out (1)"]
    bound, guessing = ax.lines
    assert list(bound.get_xdata()) == [0.95, 0.95] and list(guessing.get_ydata()) == [50, 50]
    draw(ax)


def test_fates_are_lines_over_the_gain_with_their_median():
    gain, accuracy = [0.9, 1.0, 1.5], {"units of its own": np.eye(3), "shared": torch.full((1, 3), 0.5)}
    ax = figures.lasting.fates(gain, accuracy)
    drawn = [(line.get_label(), list(line.get_ydata())) for line in ax.lines]
    assert [values for _, values in drawn[:3]] == [[100, 0, 0], [0, 100, 0], [0, 0, 100]]
    assert drawn[3] == ("units of its own", [0, 0, 0]) and drawn[5] == ("shared", [50, 50, 50])
    assert all(list(line.get_xdata()) == gain for line in ax.lines[:6]) and len(drawn) == 7
    draw(ax)


def test_conditions_have_a_row_each_and_a_mark_for_each_network():
    late = {"copy": [0.5, 0.6, 0.7], "noise": torch.tensor([1.0])}
    gain = {"noise": [0.1], "copy": [0.97, 0.98, 0.99]}  # in whatever order
    figure = figures.lasting.conditions(late, gain)
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["copy", "noise"]
    for ax, values, factor in ((left, late, 100), (right, gain, 1)):
        for row, (name, found) in enumerate(zip(late, dots(ax), strict=True)):
            np.testing.assert_allclose(found[:, 0], factor * np.asarray(values[name]))
            assert (abs(found[:, 1] - row) < 0.5).all()
            assert len({*found[:, 1].tolist()}) == len(found)  # none hides another
    bottom, top = left.get_ylim()
    assert bottom > top  # the first condition is the highest row
    draw(figure)


def test_cells_have_a_row_each_in_every_tasks_panel():
    panels = {"copy": {"elman": [0.5, 0.6], "gru": [0.7]}, "random": {"elman": [1.0, 0.9], "gru": torch.tensor([0.8])}}
    figure = figures.lasting.cells(panels)
    assert [ax.get_title() for ax in figure.axes] == [*panels]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["elman", "gru"]
    for ax, late in zip(figure.axes, panels.values(), strict=True):
        for row, (values, found) in enumerate(zip(late.values(), dots(ax), strict=True)):
            np.testing.assert_allclose(found[:, 0], 100 * np.asarray(values))
            assert (abs(found[:, 1] - row) < 0.5).all() and len({*found[:, 1].tolist()}) == len(found)
    draw(figure)


def test_exponents_are_drawn_largest_first_with_a_line_after_the_memories():
    values = {"analog": [[0.0, -0.1, -0.7], [0.1, -0.2, -0.8]], "digital": torch.tensor([[-0.1, -0.2, -0.9]])}
    ax = figures.lasting.exponents(values, 2)
    bold = [line for line in ax.lines if line.get_linewidth() > 2]
    np.testing.assert_allclose(bold[0].get_ydata(), [0.05, -0.15, -0.75])
    np.testing.assert_array_equal(bold[0].get_xdata(), [1, 2, 3])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [*values]
    assert any(set(line.get_xdata()) == {2.5} for line in ax.lines)
    draw(ax)


ONE, PAIR = np.ones((1, 2)), np.ones(2)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (lambda: figures.lasting.decay(ONE, {}, PAIR, {}), r"^steps: got shape \(1, 2\), expected \(any\)"),
        (lambda: figures.lasting.decay(PAIR, {}, ONE, {}), r"^later: got shape \(1, 2\), expected \(any\)"),
        (lambda: figures.lasting.decay(PAIR, {"a": PAIR}, PAIR, {}), r"^a: got shape \(2,\), expected \(any, 2\)"),
        (lambda: figures.lasting.decay(PAIR, {}, np.ones(3), {"b": ONE}), r"^b: got shape \(1, 2\), expected \(any, 3"),
        (lambda: figures.lasting.along_cycles({"a": [ONE]}), r"^a: got shape \(1, 2\), expected \(any\)"),
        (lambda: figures.lasting.gains({"a": (ONE, PAIR)}, 0.9), r"^gain of a: got shape \(1, 2\), expected \(any\)"),
        (lambda: figures.lasting.gains({"a": (PAIR, ONE)}, 0.9), r"^a: got shape \(1, 2\), expected \(2\)"),
        (lambda: figures.lasting.gains({"a": (PAIR, np.ones(3))}, 0.9), r"^a: got shape \(3,\), expected \(2\)"),
        (lambda: figures.lasting.fates(ONE, {}), r"^gain: got shape \(1, 2\), expected \(any\)"),
        (lambda: figures.lasting.fates(PAIR, {"a": np.ones((1, 3))}), r"^a: got shape \(1, 3\), expected \(any, 2\)"),
        (lambda: figures.lasting.conditions({"a": ONE}, {"a": PAIR}), r"^a: got shape \(1, 2\), expected \(any\)"),
        (lambda: figures.lasting.conditions({"a": PAIR}, {}), r"^gain must name .* of late, \['a'\], got \[\]"),
        (lambda: figures.lasting.cells({"a": {"b": ONE}}), r"^panels\['a'\]\['b'\]: got shape \(1, 2\), expected"),
        (lambda: figures.lasting.cells({"a": {"b": PAIR}, "c": {}}), r"^panels\['c'\] must have .* \['b'\], got \[\]"),
        (lambda: figures.lasting.exponents({"a": PAIR}, 1), r"^a: got shape \(2,\), expected \(any, any\)"),
        (lambda: figures.lasting.fates(1j * PAIR, {}), r"^gain: got complex128, expected real numbers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(picture, message):
    with pytest.raises(ValueError, match=message):
        picture()
