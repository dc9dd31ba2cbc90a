import matplotlib.pyplot as plt
import pytest
import torch
from drawing import draw
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

from emt_core.book import diagrams
from emt_core.tasks import VariableBinding
from emt_core.tasks.variable_binding import PAPER_TRIPLES
from emt_core.theory import circuit

TASKS = [VariableBinding(triple, 8, 8) for triple in PAPER_TRIPLES]
TASKS += [VariableBinding.random(4, 3, torch.Generator().manual_seed(seed)) for seed in range(12)]
TASKS += [VariableBinding.repeat_copy(1, 1), VariableBinding((1, 0, 1), 3, 1)]


def words(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.triple}-{task.history}")
def test_cycle_graph_draws_every_entry_step_and_turned_sign(task):
    ax = diagrams.cycle_graph(task)
    size, rank = task.history * task.dim, circuit.effective_rank(task)
    circles = [patch for patch in ax.patches if isinstance(patch, Circle)]
    assert len(circles) == size
    assert sum(to_hex(circle.get_edgecolor()) == diagrams.MEMORY.lower() for circle in circles) == rank
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    by_task = [arrow for arrow in arrows if to_hex(arrow.get_edgecolor()) == diagrams.TASK.lower()]
    assert len(by_task) == task.dim
    assert len(arrows) == size  # each entry is filled by one other: a shift, or F for the newest
    turned = sum(sign < 0 for _, sign in task.sources)
    assert words(ax).count("−") == turned
    assert sum(arrow.get_linestyle() != "-" for arrow in by_task) == turned
    lengths = sorted((len(entries) for entries, _ in circuit.cycles(task)), reverse=True)
    centres = {circle.center for circle in circles}
    inside = [text.get_text() for text in ax.texts if text.get_position() in centres]
    assert [inside.count(str(i)) for i in range(1, len(lengths) + 1)] == lengths  # the longest is number 1
    off = size - rank
    assert (f"{off} forgotten" in ax.get_title()) == (off > 0)
    draw(ax)


def test_titles_count_cycles_of_a_kind():
    assert diagrams.cycle_graph(TASKS[0]).get_title() == "8 cycles of 8"
    assert diagrams.cycle_graph(VariableBinding((3, 0, 1), 4, 2)).get_title() == (
        "1 cycle of 4 with a sign left, 1 cycle of 4"
    )


@pytest.mark.parametrize(("history", "blocks"), [(1, "1"), (3, "123"), (5, "12345"), (8, "1278")])
def test_shift_register_names_its_blocks_and_the_sizes_of_f(history, blocks):
    ax = diagrams.shift_register(history, 2)
    assert [text[7:-2] for text in words(ax) if text.startswith(r"$\Psi")] == list(blocks)
    assert ("…" in words(ax)) == (history > 5)
    if history > 2:
        assert f"$F$: {2 * history} numbers in, 2 out" in words(ax)
    colors = {to_hex(patch.get_edgecolor()) for patch in ax.patches if isinstance(patch, FancyArrowPatch)}
    assert {diagrams.INPUT.lower(), diagrams.TASK.lower()} <= colors
    draw(ax)


@pytest.mark.parametrize(("settle", "ticks"), [(0, [0, 8, 20]), (16, [0, 8, 24, 36])])
def test_timeline_is_to_scale_and_compares_after_the_edit(settle, ticks):
    ax = diagrams.edit_timeline(8, settle, 12)
    assert ax.get_xticks().tolist() == ticks
    boxes = {(box.get_x(), box.get_width()) for box in ax.patches if isinstance(box, Rectangle)}
    assert boxes == {(0, 8), (8 + settle, 12), *([(8, 16)] if settle else [])}
    assert {"edit", "read", "write on", r"$\Phi$ predicts", "network", "theory"} <= set(words(ax))
    draw(ax)


def test_the_timeline_names_what_is_expected():
    ax = diagrams.edit_timeline(5, 0, 5, "A B C", "wanted")
    assert {"A B C", "wanted"} <= set(words(ax)) and "theory" not in words(ax)


def test_they_draw_where_they_are_told():
    axes = plt.subplots(1, 3)[1]
    assert diagrams.shift_register(3, 2, ax=axes[0]) is axes[0]
    assert diagrams.cycle_graph(TASKS[4], ax=axes[1]) is axes[1]
    assert diagrams.edit_timeline(3, 0, 4, ax=axes[2]) is axes[2]


@pytest.mark.parametrize(
    ("draw", "arguments", "name"),
    [
        (diagrams.shift_register, (0, 2), "history"),
        (diagrams.shift_register, (2, 0), "dim"),
        (diagrams.edit_timeline, (0, 0, 4), "history"),
        (diagrams.edit_timeline, (4, -1, 4), "settle"),
        (diagrams.edit_timeline, (4, 0, 0), "horizon"),
    ],
)
def test_bad_arguments_are_named(draw, arguments, name):
    with pytest.raises(ValueError, match=f"^{name} must be at least"):
        draw(*arguments)
