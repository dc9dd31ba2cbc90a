"""Pictures of codes between onion and linear: every network is drawn where its numbers are."""

import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book.figures import overlaps


def test_everyone_draws_points_the_family_and_ticks():
    ax = overlaps.everyone({"a": [[0.5, 0.3]], "b": torch.tensor([0.1, 0.0])}, [(0, 0), (1, 0.7)], {"128": [0.2, 0.3]})
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0.5, 0.3]])
    ticks = [line for line in ax.lines if line.get_marker() == "|"]
    np.testing.assert_allclose(ticks[0].get_xdata(), [0.2, 0.3])
    assert {text.get_text() for text in ax.texts} == {"128", "subspaces, by hand", "onion, by hand"}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    draw(ax.figure)


def test_over_units_leaves_out_sizes_without_networks():
    rows = {48: [0.6, 0.5], 64: [0.4], 128: []}
    figure = overlaps.over_units({"fed": {"overlap": rows, "edit": {64: np.array([1.0])}}}, [48, 64, 128])
    ax = figure.axes[0]
    assert [
        line.get_linestyle() for line in ax.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"
    ] == [":"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.55, 0.4])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["overlap", "edit"]
    draw(figure)


def test_room_divides_sizes_by_the_first():
    key = (48, 0), (64, 1)
    sizes = {key[0]: [2.0, 1.0], key[1]: torch.tensor([4.0, 1.0])}
    figure = overlaps.room({k: [12.0] for k in key}, sizes, {k: [0.5, 0.9] for k in key}, [48, 64])
    np.testing.assert_allclose([line.get_ydata() for line in figure.axes[1].lines], [[1, 0.5], [1, 0.25]])
    assert [line.get_linestyle() for line in figure.axes[1].lines] == ["-", "--"]
    draw(figure)


def test_grid_fills_networks_that_solve_the_task():
    cells = {(3, 16): ([0.95, 0.5], [0.3, 0.4]), (3, 32): (torch.ones(2), torch.tensor([0.2, 0.1]))}
    ax = overlaps.grid(cells)
    marks = [line for line in ax.lines if line.get_marker() != "None"]
    assert [mark.get_markerfacecolor() == "none" for mark in marks] == [False, True, False, False]
    assert sorted(float(mark.get_ydata()[0]) for mark in marks) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert [text.get_text() for text in ax.texts] == ["up to 3 tokens"]
    draw(ax.figure)
