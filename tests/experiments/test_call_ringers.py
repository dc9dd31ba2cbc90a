"""Call changes as an experiment: conditions, methods held out, what is measured, and the sweep."""

import threading
from itertools import pairwise

import pytest
import torch

from emt_core.analysis import call_bases
from emt_core.experiments import call_changes, call_ringers
from emt_core.experiments.call_ringers import CallRinger
from emt_core.experiments.jobs import Place
from emt_core.experiments.table import weights_file
from emt_core.networks import Reader, load
from emt_core.networks.elman import Elman
from emt_core.support.random_streams import stream
from emt_core.tasks.call_changes import CallChanges, called, changes_of, stretches_of
from emt_core.tasks.change_ringing import Method, Tables, split_rows
from emt_core.theory import ringing
from emt_core.training import own_task

SMALL = dict(cell="gru", hidden=8, steps=3, rows=6, batch=4, bells=4)
TINY = {"tiny": (SMALL, 2), "lstm": (SMALL | {"cell": "lstm"}, 1)}
NOTATIONS = {  # all of the same four changes, of which some never follow each other
    "Canterbury": "&x14.12.34,14",
    "Double Bob": "&x14x34,12",
    "Reverse St Nicholas": "&x14.12.34,12",
    "Again": "&x14x34,12",
    "Untrue": "x.x.14.14",
}


@pytest.fixture
def small(monkeypatch):
    """Small networks, not for long, on methods of four bells."""
    methods = tuple(Method(name, 4, notation) for name, notation in NOTATIONS.items())
    monkeypatch.setattr(call_ringers, "tables", lambda: Tables((*methods, Method("Plain Bob", 6, "&x16x16x16,12")), ()))
    for name, value in dict(
        CONDITIONS=TINY, COUNT=12, FITTED=20, JUDGED=6, FIRST=3, EDITED=5, DEPTHS=(1, 2), LEAST=2
    ).items():
        monkeypatch.setattr(call_ringers, name, value)
    call_ringers.split_methods.cache_clear()
    yield
    call_ringers.split_methods.cache_clear()


def conducted() -> Reader:
    W_uh, W_hh, W_r, b = (w[None] for w in ringing.conducted(4, 2))
    return Reader(Elman(W_hh=W_hh, W_uh=W_uh, b=b), W_r, torch.zeros(1, 8, dtype=torch.float64))


def test_what_is_no_network(tmp_path, thread):
    for name in ("hidden", "steps", "rows", "bells", "batch"):
        with pytest.raises(ValueError, match=rf"^{name} must be at least 1, got 0"):
            CallRinger(**SMALL | {name: 0}, seed=0)
    with pytest.raises(ValueError, match=r"^cell must"):
        CallRinger(**SMALL | {"cell": "bell"}, seed=0)
    with pytest.raises(ValueError, match=r"^lr must"):
        CallRinger(**SMALL | {"lr": 0.0}, seed=0)
    with pytest.raises(ValueError, match=r"^conditions must be among called elman, .*; got 'no such'"):
        call_changes(tmp_path, conditions=["no such"], executor=thread)


def test_a_quarter_of_the_true_methods_is_held_out_and_none_comes_twice(small):
    trained, held = call_ringers.split_methods(4)
    assert (len(trained), len(held)) == (2, 1)
    assert len({method.changes for method in (*trained, *held)}) == 3
    assert {method.name for method in (*trained, *held)} == {*list(NOTATIONS)[:3]}


def test_calls_are_those_of_their_kind(small):
    parts = [{*rows} for rows in split_rows(4, 0.25, stream(0, "split"))]
    for kind, which in (("trained", 0), ("held_out", 1)):
        methods = call_ringers.split_methods(4)[which]
        for part in (0, 1):
            starts, changes = call_ringers.calls(4, kind, part, 5, 20)
            assert {tuple(row) for row in starts.tolist()} <= parts[part]
            assert changes.shape == (20, 5 * len(methods), 4)
            for b in range(len(starts)):
                assert torch.equal(changes[:, b], called(methods[b // 5], 20))
    trained = call_ringers.split_methods(4)[0]
    known = {*changes_of(trained)}
    seen = stretches_of(trained, 2)
    drawn = {kind: call_ringers.calls(4, kind, 1, 50, 24)[1] for kind in call_ringers.WALKS}
    for changes in drawn.values():
        assert {tuple(each) for each in changes.flatten(0, 1).tolist()} == known and changes.shape == (24, 50, 4)
    for kind, found in drawn.items():
        ways = [[tuple(change) for change in each] for each in found.transpose(0, 1).tolist()]
        pairs = {pair for each in ways for pair in pairwise(each)}
        assert (pairs == seen) == (kind == "pairs") and (len(pairs) == len(known) ** 2) == (kind == "random")
    assert not (drawn["unrepeated"][1:] == drawn["unrepeated"][:-1]).all(-1).any()


def test_no_method_is_held_out_that_is_trained_from_another_change_on(small, monkeypatch):
    bob = Method("Plain Bob", 4, "&x14x14,12")
    turned = Method("Turned", 4, "&x14x14,12<3")
    monkeypatch.setattr(call_ringers, "tables", lambda: Tables((bob, turned), ()))
    call_ringers.split_methods.cache_clear()
    assert turned.changes == bob.changes[3:] + bob.changes[:3]
    assert sorted(call_ringers.split_methods(4), key=len) == [(), (bob,)]


def test_a_network_written_down_rings_what_it_is_called(small):
    found = call_ringers.measure(conducted(), CallRinger(**SMALL, seed=0))
    for kind in call_ringers.KINDS:
        assert found[f"{kind}_first"] == found[f"{kind}_tenth"] == 1
    assert found["edit"] == found["swapped_from_the_start"] == 1 and found["nothing"] == 0
    assert max(found["explained_one"], found["explained_other"]) < 0.9
    assert min(found["explained_1"], found["explained_2"]) > 0.999
    pairs = {name: value for name, value in found.items() if name.startswith("pair_")}
    assert pairs.pop("pair_never_met") > 0 and all(share == 1 for share in pairs.values()) and len(pairs) == 9
    assert found["another_changes_basis"] == 1 and found["random"] < 0.9  # all are read in one way


def test_the_sweep_trains_saves_and_measures(small, tmp_path, thread):
    swept = call_changes(tmp_path, conditions=TINY, executor=thread, progress=False)
    lines = [call_ringers.network(name, seed) for name, seed in (("tiny", 0), ("tiny", 1), ("lstm", 0))]
    assert not swept.failed and [row["key"] for row in swept.rows] == [line.key for line in lines]
    heard = split_rows(4, 0.25, stream(0, "split"))[0]
    task = CallChanges(call_ringers.split_methods(4)[0], 6, heard).task
    for line, row in zip(lines, swept.rows, strict=True):
        saved, about = load(tmp_path / weights_file(line.key))
        recipe = own_task.Recipe(steps=3, lr=1e-3, decay=0.01, batch=4, every=500, patience=0)
        run = own_task.fit(
            task, cell=line.cell, hidden=8, seeds=[line.seed], recipe=recipe, held_out=512, progress=False
        )
        assert saved == run.model and row["score"] == pytest.approx(float(run.score)) and about["status"] == "done"
        measured = call_ringers.measure(saved, line)
        for name, value in measured.items():  # sums on another number of threads
            assert row[name] == (None if value is None else pytest.approx(value, rel=1e-5, abs=1e-6)), name


def test_a_network_that_is_wrong_where_changes_never_met(small, monkeypatch):
    """Shares are of pairs: right after what it met, also rewritten as if that were last, and wrong otherwise."""
    met = stretches_of(call_ringers.split_methods(4)[0], 2)

    def stepped(model, task, bases, changes, run, t, given):
        known = torch.tensor([[float((a, b) in met) for b in changes] for a in changes]).double()
        assert given == met
        shares = dict.fromkeys(call_bases.REWRITTEN, known) | {"as met": torch.ones_like(known)}
        return shares, torch.full(known.shape, 3)

    monkeypatch.setattr(call_bases, "next_rows", stepped)
    found = call_ringers.measure(conducted(), CallRinger(**SMALL, seed=0))
    assert found["pair_met"] == found["pair_met_alike"] == found["pair_never_met_as_met"] == 1
    zero = ("pair_repeated", "pair_never_met_as_it_is", "pair_never_met_alike", "pair_never_met_as_never_met")
    assert not any(found[name] for name in zero)
    changes = changes_of(call_ringers.split_methods(4)[0])
    assert found["pair_never_met"] == len(changes) ** 2 - len(met) - len(changes)


def test_rows_of_the_tenth_block_are_its_own(small, monkeypatch):
    """By a network that is right in every row of its first block, and in none after."""
    monkeypatch.setattr(call_bases, "right", lambda *_: (torch.arange(120) < 12).double()[None])
    found = call_ringers.measure(conducted(), CallRinger(**SMALL, seed=0))
    assert (found["trained_first"], found["trained_tenth"]) == (1, 0)


def test_who_is_stopped_measures_nothing(tmp_path, small, monkeypatch):
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(call_ringers, "measure", lambda *_: pytest.fail("it was stopped"))
    place = Place(tmp_path, tmp_path / "run", stop)
    assert call_ringers.train(place, (call_ringers.network("tiny", 0),), "cpu", 5) is None
