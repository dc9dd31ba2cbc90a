"""Pictures of names that are copied: every value where it belongs, wrong shapes by name."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from emt_core.book import figures


def test_shares_over_lengths_are_lines_and_their_means():
    shares = {"GRU": [[1.0, 0.5], [0.8, 0.1]], "LSTM": [[0.2, 0.0]]}
    ax = figures.copying.over(shares, [2, 5], xlabel="letters", ylabel="%")
    labelled = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    np.testing.assert_allclose(labelled["GRU (2)"].get_ydata(), [90, 30])
    np.testing.assert_allclose(labelled["LSTM"].get_ydata(), [20, 0])
    assert len(ax.lines) == 5 and ax.get_xticks().tolist() == [2, 5] and ax.get_xlabel() == "letters"
    ax.figure.canvas.draw()
    plt.close(ax.figure)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"^GRU: got shape \(1, 1\), expected \(any, 2\)"):
        figures.copying.over({"GRU": [[1.0]]}, [2, 5], xlabel="", ylabel="")
