"""Pictures of recurrences: lines and marks are what was given, bars add up, names stand where they belong."""

import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book import figures
from emt_core.book.figures.powers import PARTS


def test_closed_forms_are_lines_and_measurements_marks():
    x, exact, found = [0, 0.5, 1], [1.0, 0.5, 0.0], torch.tensor([1.0, 0.4, 0.1])
    figure = figures.powers.between(x, {"a": {"overlap": (exact, found)}, "b": {"overlap": (found, exact)}}, "spread")
    left, right = figure.axes
    line, marks = left.lines
    np.testing.assert_allclose(line.get_ydata(), exact)
    np.testing.assert_allclose(marks.get_ydata(), found)
    assert line.get_linestyle() == "-" and marks.get_linestyle() == "None" and left.get_legend() is not None
    assert (left.get_title(), right.get_title(), left.get_xlabel()) == ("a", "b", "spread")
    with pytest.raises(ValueError, match=r"^overlap: got shape \(2,\), expected \(3\)"):
        figures.powers.between(x, {"a": {"overlap": ([1, 0], found)}}, "spread")
    draw(figure)


def test_bars_add_up_to_one_and_leave_out_what_is_below_zero():
    rows = {"GRU": [[0.2, 0.3, 0.1, 0.4], [0.4, 0.1, 0.1, 0.4]], "LRU": [[0.8, -0.1, 0.1, 0.2]]}
    ax = figures.powers.parts(rows, {"GRU": "93 %"})
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(2, len(PARTS))
    np.testing.assert_allclose(widths[0], [0.3, 0.2, 0.1, 0.4])
    np.testing.assert_allclose(widths[1], np.array([0.8, 0, 0.1, 0.2]) / 1.1)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["GRU", "LRU"]
    assert "93 %" in [text.get_text() for text in ax.texts]
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == list(PARTS)
    draw(ax)


def test_a_panel_for_each_recurrence_with_its_networks():
    exact = {name: {48: [0.1, 0.3], 64: [0.5]} for name in ("a", "b", "c", "d", "e")}
    figure = figures.powers.room(exact, (48, 64))
    assert sum(ax.axison for ax in figure.axes) == 5
    first = figure.axes[0]
    np.testing.assert_allclose(first.lines[-1].get_ydata(), [0.2, 0.5])  # means
    assert first.get_title() == "a"
    draw(figure)


def test_sizes_are_medians_relative_to_the_largest():
    ax = figures.powers.sizes({"onion": [[4, 2, 1], [8, 4, 2], [2, 2, 2]], "level": torch.ones(1, 3)})
    onion, level = ax.lines
    np.testing.assert_allclose(onion.get_ydata(), [1, 0.5, 0.25])
    np.testing.assert_allclose(level.get_ydata(), [1, 1, 1])
    assert ax.get_yscale() == "log" and [text.get_text() for text in ax.texts] == ["onion", "level"]
    draw(ax)
