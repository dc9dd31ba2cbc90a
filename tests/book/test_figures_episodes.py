import numpy as np
import pytest
from matplotlib.text import Text

from emt_core.book.figures import episodes


def test_walk_numbers_each_visit_and_dots_each_move():
    overlaps = np.repeat(np.eye(2), 5, axis=0)
    figure = episodes.walk(np.arange(10.0), overlaps, -np.arange(10.0), [5])
    above, below = figure.axes
    assert [text.get_text() for text in above.texts] == ["1", "2"]
    assert [line.get_xdata()[0] for line in below.lines[1:]] == [5.0]
    with pytest.raises(ValueError, match="energy"):
        episodes.walk(np.arange(10.0), overlaps, np.zeros(3), [])


def test_dwell_draws_what_was_measured_and_the_formula():
    ax = episodes.dwell([1, 10], [2.0, 1.0], 0.5)
    measured, formula = ax.lines
    assert measured.get_ydata().tolist() == [2, 1] and set(formula.get_ydata()) == {0.5}


@pytest.mark.parametrize("log", [False, True])
def test_recall_hides_no_point_behind_another(log):
    points = np.array([[1, 0.6, 1], [1, 0.6, 1], [0, 0, 0.4]])
    figure = episodes.recall(
        [0.1, 0.2, 0.4], {"a": {"x": points, "y": points}, "b": {"x": points}}, xlabel="load", log=log
    )
    curves = [container.lines[0] for container in figure.axes[0].containers]
    at = np.stack([line.get_xdata() for line in curves])
    assert (np.abs(np.diff(at, axis=0)) > 0).all() and len(figure.axes) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y"]


def test_departure_draws_a_line_for_each_system_and_their_median():
    ax = episodes.departure([1, 2, 4], [[1, 0.5, 0.2], [0.8, 0.4, 0.2], [0.6, 0.3, 0.1]])
    assert len(ax.lines) == 5 and ax.lines[3].get_ydata().tolist() == [0.8, 0.4, 0.2]
    assert ax.lines[4].get_xydata().tolist() == [[1, 0.8]]  # the network: one step


def test_departure_names_the_network_below_all_lines():
    ax = episodes.departure([1, 2, 4], [[1, 0.5, 0.2], [0.8, 0.4, 0.2], [0.6, 0.3, 0.1]])
    ax.figure.canvas.draw()
    words = Text.get_window_extent(ax.texts[0])  # without the line that leads to the dot
    for line in ax.lines[:4]:
        x, y = ax.transData.transform(line.get_xydata()).T
        at = np.linspace(max(words.x0, x[0]), words.x1, 50)
        assert np.interp(at, x, y).min() > words.y1
