"""The pictures of the chapter on the spectrum, drawn once each on small arrays."""

import numpy as np
import pytest
import torch
from drawing import draw

from emt_core.book import figures

ROOTS = np.exp(2j * np.pi * np.arange(3) / 3)


def test_side_by_side_has_one_legend():
    figure = figures.spectra.side_by_side([ROOTS, 0.9 * ROOTS, ROOTS], [ROOTS] * 3, ["a", "b", "c"])
    assert [ax.get_title() for ax in figure.axes if ax.get_title()] == ["a", "b", "c"]
    assert all(ax.get_legend() is None for ax in figure.axes) and len(figure.legends) == 1
    draw(figure)
    with pytest.raises(ValueError, match="titles"):
        figures.spectra.side_by_side([ROOTS], [ROOTS], ["a", "b"])


def test_cells_set_the_mean_of_the_seeds_on_the_row_of_the_printed_number():
    errors = [np.array([0.001, 0.003]), np.array([]), np.array([0.02])]
    notes = ["2 of 2", "0 of 2", "1 of 2"]
    figure = figures.spectra.cells(["x", "y", "z"], [0.004, 0.005, 0.006], errors, notes, head="cell")
    ax = figure.axes[0]
    means = [c.get_offsets()[0] for c in ax.collections if c.get_zorder() == 4]
    np.testing.assert_allclose(means, [[0.002, 0], [0.02, 2]])
    bands = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches[:3]]
    np.testing.assert_allclose(bands, [(0.002, 0.008), (0.0025, 0.01), (0.003, 0.012)])  # half to twice
    assert [text.get_text() for text in ax.texts] == [*notes, "cell"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1] and ax.get_xscale() == "log"
    draw(figure)


def test_found_and_wanted_hides_no_network():
    ax = figures.spectra.found_and_wanted([4, 4, 6], [torch.tensor([4, 4]), torch.tensor([4, 7]), torch.tensor([6, 5])])
    dots = {tuple(c.get_offsets()[0]): c.get_sizes()[0] / 34 for c in ax.collections}
    assert dots == {(4, 4): 3, (4, 7): 1, (6, 5): 1, (6, 6): 1}
    assert "3" in [text.get_text() for text in ax.texts]
    draw(ax.figure)


def test_found_and_wanted_writes_no_number_on_another_dot():
    ax = figures.spectra.found_and_wanted([2, 3, 16], [[3, 3], [3] * 7, [16]])
    small, large = (text for text in ax.texts if text.get_text() in {"2", "7"})
    assert (small.get_text(), large.get_text()) == ("2", "7")
    assert small.get_position()[0] == 0 and small.get_position()[1] > 0  # above: right of it lies the large dot
    assert large.get_position()[0] > 0 and large.get_position()[1] == 0
    draw(ax.figure)


def test_excess_marks_the_threshold_in_use():
    levels = np.linspace(0.5, 1, 6)
    ax = figures.spectra.excess(levels, np.arange(12).reshape(2, 6), 0.8)
    assert 0.8 in [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(ax.lines[2].get_ydata(), np.arange(6) + 3)  # the median of the two
    assert ax.texts[0].get_text() == "in use: 0.8"
    draw(ax.figure)
