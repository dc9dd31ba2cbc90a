"""Every picture of these tests is drawn without a screen, in the book's style, and closed."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from emt_core.book import figures


@pytest.fixture(autouse=True)
def book_style():
    with figures.style():
        yield
    plt.close("all")
