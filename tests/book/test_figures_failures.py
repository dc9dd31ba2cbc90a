"""Pictures of failures: what they are given is what they show."""

import math

import numpy as np

from emt_core.book import figures


def test_maps_write_means_over_seeds():
    layers = {"a": np.stack([np.zeros((2, 3)), np.ones((2, 3))], 2), "b": np.ones((2, 3, 2))}
    figure = figures.failures.maps(layers, [0.0, 0.1], [8, 16, 32])
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.50"] * 6
    assert [ax.get_title() for ax in figure.axes] == ["a", "b"]


def test_partial_separates_scarce_networks():
    figure = figures.failures.partial([1, 2, 2], [0.1, 0.2, 0.3], [True, False, True], {1: 0.5, 2: 0.4})
    few, many, chance = figure.axes[0].lines
    assert few.get_ydata().tolist() == [0.1, 0.3] and many.get_ydata().tolist() == [0.2]
    assert chance.get_ydata().tolist() == [0.5, 0.4]


def test_probes_show_both_probes_at_both_times():
    reads = {(u, later): ([0.6 + later / 10], [0.7]) for u in (8, 16) for later in (False, True)}
    figure = figures.failures.probes(reads, [8, 16], [0.5, 0.6], 12)
    assert [float(line.get_ydata()[0]) for line in figure.axes[1].lines[:2]] == [0.7, 0.7]
    assert [ax.get_title() for ax in figure.axes] == ["inputs just read", "2S steps later"]


def test_a_setting_that_never_found_it_says_so():
    share, never = (0.0, 0.0, 0.2), (math.inf, 1500.0, math.inf)
    figure = figures.failures.emergence(
        {"usual": ((1.0, 0.8, 1.0), (500.0, 400.0, 700.0)), "bad": (share, never)}, 2000
    )
    assert [text.get_text() for text in figure.axes[1].texts] == ["never"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["usual", "bad"]
