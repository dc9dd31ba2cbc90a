"""Pictures of edits: what they are given is what they show."""

import numpy as np

from emt_core.book import figures


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_every_network_is_a_marker_of_its_own():
    kinds = {"GRU": {8: [0.9, 0.9], 16: [1.0]}, "unigram": {8: [0.0, 0.0]}, "onion": {}}
    figure = figures.interventions.by_size({"a": kinds, "b": {"onion": {16: [0.5]}}}, [8, 16])
    left, right = figure.axes
    assert (left.get_title(), words(left)) == ("a", ["GRU", "unigram"])  # what was not run is not named
    markers = [line for line in left.lines if line.get_linestyle() == "None"]
    places = [tuple(xy) for line in markers for xy in line.get_xydata()]
    assert len(places) == len(set(places)) == 5, "equal values of different networks must not hide each other"
    assert right.lines[0].get_xydata()[0].round() @ [1, 0] == 1  # the second size


def test_where_shows_each_length_and_each_network():
    places = {8: {2: [0.5, 0.6], 3: [0.1, 0.2, 0.3]}, 16: {2: [1.0, 1.0], 3: [0.7, 0.8, 0.9]}}
    by_length = {8: np.full((3, 2), 0.4), 16: np.full((1, 2), 0.8)}
    left, right = figures.interventions.where(places, [2, 3], by_length, [1.0, 0.95]).axes
    assert words(left) == ["2 tokens", "3 tokens"] and len(left.lines) == 4
    assert len(right.lines) == 3 + 1 + 2 + 1  # networks, means, the networks themselves
    assert "16 units" in words(right)


def test_lengths_seen_has_a_panel_for_each_size():
    tables = {8: np.array([[0.2, 0.4], [0.4, 0.8]]), 16: np.ones((2, 2))}
    figure = figures.interventions.lengths_seen([2, 3], tables, tables)
    assert [ax.get_title() for ax in figure.axes] == ["8 units", "16 units"]
    assert np.allclose(figure.axes[0].lines[0].get_ydata(), [0.3, 0.6])


def test_magnitudes_are_sorted_and_logarithmic():
    groups = {"low": [1.0, 0.1, 0.01], "high": [1.0, 0.5, 0.25]}
    left, right = figures.interventions.magnitudes({3: [0.9, 0.1, 0.5]}, groups, [1.0, 0.3, 0.1], 0.4).axes
    assert left.lines[0].get_ydata().tolist() == [0.1, 0.5, 0.9]
    assert right.get_yscale() == "log" and {"low", "high", "all units"} <= set(words(right))
    assert np.allclose(right.lines[-1].get_ydata(), [1, 0.4, 0.16])


def test_edits_stand_in_the_order_of_their_numbers():
    trained = {"onion": [0.8, 0.9], "unigram": [0.0], "measured": [0.95]}
    panels = {"a": {"trained": trained, "misled": {"onion": [0.1]}}, "b": {"trained": {"onion": [0.5]}}}
    few = {"measured": 60_000, "unigram": 2_500, "onion": 1_600}
    figure = figures.interventions.against_numbers(panels, {"a": few, "b": {"onion": 2_000}})
    top, bottom = figure.axes
    names = [[label.get_text() for label in ax.get_xticklabels()] for ax in (top, bottom)]
    assert names == [["onion\n1,600", "unigram\n2,500", "measured\n60,000"], ["onion\n2,000"]]
    assert [ax.get_title() for ax in figure.axes] == ["a", "b"]
    dots = sorted((round(x), y) for line in top.lines for x, y in line.get_xydata())
    assert dots == [(0, 0.1), (0, 0.8), (0, 0.9), (1, 0.0), (2, 0.95)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["trained", "misled"]
