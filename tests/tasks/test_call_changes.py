"""Call changes: what is read, and the rows that it makes, against methods rung by themselves."""

import pytest
import torch

from emt_core.support.random_streams import stream
from emt_core.tasks.call_changes import CallChanges, called, changes_of, rung, stretches_of
from emt_core.tasks.change_ringing import Method, parse_change, spelled, split_rows
from emt_core.training import own_task

BOB, REVERSE = Method("Plain Bob", 6, "&x16x16x16,12"), Method("Reverse Bob", 6, "&x16x16x14,16")
TASK = CallChanges((BOB, REVERSE), rows=9)


def test_the_changes_of_methods_each_once():
    written = [("x", 6), ("16", 6), ("12", 6), ("14", 6)]
    assert set(changes_of((BOB, REVERSE))) == {parse_change(*each) for each in written}
    assert list(changes_of((BOB, REVERSE))) == sorted(changes_of((REVERSE, BOB, BOB)))


def test_stretches_go_on_from_lead_to_lead():
    x, stay = parse_change("x", 6), parse_change("16", 6)
    original = Method("Original", 6, "x16")
    assert stretches_of((original,), 1) == {(x,), (stay,)}
    assert stretches_of((original, original), 3) == {(x, stay, x), (stay, x, stay)}
    assert len(stretches_of((BOB,), 12)) == 12 and (BOB.changes[-1], BOB.changes[0]) in stretches_of((BOB,), 2)
    with pytest.raises(ValueError, match=r"^length must be at least 1, got 0"):
        stretches_of((BOB,), 0)


@pytest.mark.parametrize("method", [BOB, REVERSE], ids=lambda m: m.title)
def test_who_is_called_a_method_rings_it(method):
    start = (3, 1, 0, 5, 4, 2)
    rows = rung(torch.tensor([start]), called(method, 40)[:, None])[:, 0]
    assert torch.equal(rows, method.rows(41, start))
    later = called(method, 40, 5)
    assert torch.equal(later, called(method, 45)[5:]) and called(method, 0).shape == (0, 6)


def test_what_is_read_is_the_row_then_each_change_as_pairs_that_swap():
    """By hand: 123456, called x (all pairs swap), 16 (the inner ones do), 12."""
    changes = torch.tensor([parse_change(each, 6) for each in ("x", "16", "12")])[:, None]
    start = torch.arange(6)[None]
    assert [spelled(row) for row in rung(start, changes)[:, 0]] == ["123456", "214365", "241635", "246153"]
    read = TASK.inputs(start, changes)[:, 0]
    assert read.shape == (4, 18 + 5)
    assert read[:, 18:].tolist() == [[0, 0, 0, 0, 0], [1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, 0, 1]]
    assert torch.equal(read[0, :18], TASK.signs.encode(start)[0]) and not read[1:, :18].any()


def test_sequences_begin_with_any_start_and_any_change_of_a_lead():
    starts = split_rows(6, 0.25, stream(0, "split"))[0]
    task = CallChanges((BOB, REVERSE), 9, starts)
    row, changes = task.calls(4000, stream(1, "draw"))
    assert {tuple(each) for each in row.tolist()} == set(starts)
    drawn = {tuple(map(tuple, each)) for each in changes.transpose(0, 1).tolist()}
    ways = {tuple(map(tuple, called(m, 8, t).tolist())) for m in task.methods for t in range(12)}
    assert drawn == ways and len(ways) > 12
    read, wanted = task.draw(4000, stream(1, "draw"))
    assert torch.equal(read, task.inputs(row, changes))
    assert torch.equal(wanted, task.signs.encode(rung(row, changes)))


def test_it_is_learned_as_a_task_of_ones_own():
    read, wanted = TASK.task.sample(5, [stream(0, "a"), stream(1, "a")])
    assert read.shape == (2, 9, 5, 23) and wanted.shape == (2, 9, 5, 18)
    run = own_task.fit(TASK.task, hidden=8, steps=3, batch=4, held_out=8, progress=False)
    assert run.model.outputs == 18 and run.model.cell.inputs == 23


def test_what_is_no_task():
    with pytest.raises(ValueError, match=r"^methods must be at least one, all on one number of bells, got \[4, 6\]"):
        CallChanges((BOB, Method("Plain Bob", 4, "&x14x14,12")))
    with pytest.raises(ValueError, match=r"^rows must be at least 2, got 1"):
        CallChanges((BOB,), rows=1)
    with pytest.raises(ValueError, match=r"^starts must be rows of 6 bells"):
        CallChanges((BOB,), starts=((0, 0, 1, 2, 3, 4),))
    with pytest.raises(ValueError, match=r"^count must be at least 0, got -1"):
        called(BOB, -1)
