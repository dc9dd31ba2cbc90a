import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from emt_core.book.figures import tasks
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_sequences_mark_each_plus_and_the_end_of_the_input():
    signs = np.array([[1, -1], [-1, -1], [1, 1]])
    figure = tasks.sequences({"first": signs, "second": -signs}, history=1)
    dots = [ax.collections[0].get_offsets().tolist() for ax in figure.axes]
    assert dots[0] == [[1, 1], [3, 1], [3, 2]] and len(dots[1]) == 3
    assert figure.axes[0].lines[0].get_xdata()[0] == 1.5


@pytest.mark.parametrize("triple", [(15, 0, 0), (278, 8, 7), (33153, 23, 8), (61440, 0, 1)])
def test_the_cycle_graph_letters_what_is_remembered_and_draws_each_arrow(triple):
    task = VariableBinding(triple, 4, 4)
    ax = tasks.cycle_graph(task.sources, [entries for entries, _ in circuit.cycles(task)], 4, 4)
    assert len(ax.texts) == circuit.effective_rank(task)
    assert len({text.get_text() for text in ax.texts}) == len(circuit.cycles(task))
    assert len(ax.patches) == 3 * 4 + 4  # every entry but the newest comes from a newer one; outputs copy
    dashed = [p for p in ax.patches if p.get_linestyle() in ("--", "dashed")]
    assert len(dashed) == sum(sign < 0 for _, sign in task.sources)


def test_ranks_count_every_task_once():
    ax = tasks.ranks([1, 2, 2, 4], 4, {"repeat copy": 4})
    assert [bar.get_height() for bar in ax.patches] == [1, 2, 0, 1]
    assert ax.texts[0].get_text() == "repeat copy" and ax.lines[0].get_xdata()[0] == 4
