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


def test_probes_show_both_probes_and_the_twins_of_networks():
    reads = {8: ([0.6, 0.7], [0.8, 0.9]), 16: ([0.65], [0.75])}
    twins = {8: ([0.5, 0.5], [0.55, 0.56]), 16: ([0.5], [0.57])}
    figure = figures.failures.probes({"networks": reads, "built": reads}, {"networks": twins}, [8, 16])
    drawn = [[list(line.get_ydata()) for line in ax.lines] for ax in figure.axes]
    assert drawn[0][:3] == [[0.6, 0.7, 0.65], [0.8, 0.9, 0.75], [0.55, 0.56, 0.57]]  # then the line of guesses
    assert drawn[1][:2] == drawn[0][:2] and len(drawn[1]) == len(drawn[0]) - 1
    assert [ax.get_title() for ax in figure.axes] == ["networks", "built"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()][-1] == "the same, linear twin"


def test_a_setting_that_never_found_it_says_so():
    share, never = (0.0, 0.0, 0.2), (math.inf, 1500.0, math.inf)
    figure = figures.failures.emergence(
        {"usual": ((1.0, 0.8, 1.0), (500.0, 400.0, 700.0)), "bad": (share, never)}, 2000
    )
    assert [text.get_text() for text in figure.axes[1].texts] == ["never"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["usual", "bad"]
