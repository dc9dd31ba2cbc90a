import numpy as np

from emt_core.book.figures import tasks


def test_sequences_mark_each_plus_and_the_end_of_the_input():
    signs = np.array([[1, -1], [-1, -1], [1, 1]])
    figure = tasks.sequences({"first": signs, "second": -signs}, history=1)
    dots = [ax.collections[0].get_offsets().tolist() for ax in figure.axes]
    assert dots[0] == [[1, 1], [3, 1], [3, 2]] and len(dots[1]) == 3
    assert figure.axes[0].lines[0].get_xdata()[0] == 1.5


def test_ranks_count_every_task_once():
    ax = tasks.ranks([1, 2, 2, 4], 4, {"repeat copy": 4})
    assert [bar.get_height() for bar in ax.patches] == [1, 2, 0, 1]
    assert ax.texts[0].get_text() == "repeat copy" and ax.lines[0].get_xdata()[0] == 4
