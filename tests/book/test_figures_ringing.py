"""Pictures of change ringing: every bell, mark and shade is where the numbers say."""

import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book import figures
from emt_core.book.figures.style import BLUE, VERMILLION

ROWS = torch.tensor([[0, 1, 2], [1, 0, 2], [1, 2, 0], [2, 1, 0], [2, 0, 1], [0, 2, 1], [0, 1, 2]])
SHARES = {
    "trained starts": {"edit": [0.9, 1.0], "control": [0.0, 0.02]},
    "held out": {"edit": [0.8], "control": [0.1]},
}


def test_lines_go_through_the_places_of_their_bells():
    ax = figures.ringing.blue_line(ROWS, 2, treble=0, bell=2)
    red, blue, *rules = ax.lines
    for line, which, color in ((red, 0, VERMILLION), (blue, 2, BLUE)):
        assert line.get_color() == color
        np.testing.assert_array_equal(line.get_xdata(), np.argmax(ROWS.numpy() == which, axis=1))
        np.testing.assert_array_equal(line.get_ydata(), range(7))
    assert [rule.get_ydata()[0] for rule in rules] == [2.5, 4.5]  # after each lead, but not after all
    written = {tuple(text.get_position()): text.get_text() for text in ax.texts}
    assert len(written) == 21 and all(written[p, t] == str(int(ROWS[t, p]) + 1) for t in range(7) for p in range(3))
    low, high = ax.get_ylim()
    assert low > high  # time goes down
    draw(ax)


def test_marks_of_swaps_are_at_their_shares():
    ax = figures.ringing.swaps(SHARES)
    spots = [np.asarray(each.get_offsets()) for each in ax.collections]
    for found, (row, values) in zip(spots, [(k % 2, v) for k, v in enumerate(_in_order(SHARES))], strict=True):
        np.testing.assert_allclose(found[:, 0], 100 * np.asarray(values))
        assert (np.round(found[:, 1]) == row).all()
    everywhere = np.concatenate(spots)
    assert len(np.unique(everywhere, axis=0)) == len(everywhere)  # none hides another
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(SHARES)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["edit", "control"]
    draw(ax)


def test_marks_of_three_kinds_keep_to_their_row_and_the_legend_may_stand_below():
    shares = {kind: {"met": [1.0, 0.9], "never": [0.1]} for kind in ("elman", "gru", "lstm")}
    ax = figures.ringing.swaps(shares, label="next rows right (%)", below=True)
    assert ax.get_xlabel() == "next rows right (%)"
    for k, each in enumerate(ax.collections):
        assert (np.round(np.asarray(each.get_offsets())[:, 1]) == k % 2).all()
    draw(ax)
    assert ax.get_legend().get_window_extent().y1 < ax.get_window_extent().y0


def _in_order(shares):
    return [values for each in shares.values() for values in each.values()]


def test_the_opening_has_both():
    figure = figures.ringing.opening(ROWS, 2, SHARES)
    left, right = figure.axes
    assert len(left.texts) == 21 and len(right.collections) == 4
    draw(figure)


def test_a_phases_picture_is_its_matrix():
    values = np.linspace(-2, 1, 24).reshape(4, 6)
    ax = figures.ringing.phases(torch.tensor(values), 4)
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), values)
    assert image.get_clim() == (0, 1) and [line.get_xdata()[0] for line in ax.lines] == [3.5]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["4", "6"]
    draw(ax)


def test_counts_stand_under_their_frequency():
    counts = {"Elman": [[2, 0, 4], [2, 2, 2]], "free": [[1, 1, 0]]}
    figure = figures.ringing.frequencies([0.5, 0.1, 0.4], counts, 8)
    above, below = figure.axes
    assert [bar.get_height() for bar in above.patches] == [0.5, 0.1, 0.4]
    assert [bar.get_center()[0] for bar in above.patches] == pytest.approx([1, 2, 3])
    means = {line.get_label(): line for line in below.lines if not line.get_label().startswith("_")}
    np.testing.assert_allclose(means["Elman (2)"].get_ydata(), [2, 1, 3])
    np.testing.assert_allclose(means["free (1)"].get_ydata(), [1, 1, 0])
    assert len(below.lines) == 5 and "course of 8 rows" in below.get_xlabel()
    draw(figure)


def test_rows_right_stand_in_their_condition():
    late = {"Elman": ([1.0, 0.9], [0.5, 0.4]), "GRU": ([0.3], [0.2])}
    ax = figures.ringing.courses(late, ["course 1", "course 2"])
    groups = [values for each in late.values() for values in each]
    for k, (found, values) in enumerate(zip(ax.collections, groups, strict=True)):
        spots = np.asarray(found.get_offsets())
        np.testing.assert_allclose(spots[:, 0], 100 * np.asarray(values))
        assert (np.round(spots[:, 1]) == k // 2).all()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["course 1", "course 2"]
    draw(ax)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.blue_line([[0, 1]], 1, bell=2), "^bell: got 2, expected a bell from 0 to 1"),
        (lambda f: f.blue_line([0, 1], 1), r"^rows: got shape \(2,\)"),
        (lambda f: f.swaps({}), "^shares: got"),
        (lambda f: f.swaps({"a": {"x": [1]}, "b": {"y": [1]}}), "^shares: got .*expected the same names"),
        (lambda f: f.phases(np.zeros((3, 5)), 4), r"^explained: got shape \(3, 5\), expected \(4, any\)"),
        (lambda f: f.frequencies([0.1, 0.2], {"a": [[1]]}, 6), r"^a: got shape \(1, 1\), expected \(any, 2\)"),
        (lambda f: f.courses({"a": [[1.0]]}, ["x", "y"]), r"^shares\['a'\]: got 1 groups, expected 2"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(figures.ringing)
