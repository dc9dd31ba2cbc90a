"""Trials of edits: on exact circuits every edit comes out, controls do not, and numbers agree with plain counts."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from loaded_circuits import COPY, MIXED, D, S, basis_of, circuits, late, loaded
from oracles import decode, generators, simulate

from emt_core.analysis import edits
from emt_core.analysis.edits import mismatched, trials
from emt_core.analysis.edits.transplants import transplants
from emt_core.analysis.memories import fitted_memories, variable_memories
from emt_core.networks import Elman, VectorNetwork
from emt_core.networks.vectors import elman
from emt_core.theory import circuit


def tanh_networks(task, seeds, hidden=20) -> VectorNetwork:
    return VectorNetwork.init(Elman, task.dim, hidden, generators(*seeds))


# --- who is edited ----------------------------------------------------------------------------------------------------


def test_running_holds_what_the_simulated_sequence_holds_and_each_network_draws_alone():
    model = circuits(COPY, [0, 1])
    run = trials.running(COPY, model, 5, 6, generators(3, 4))
    inputs = COPY.inputs(6, generators(3, 4), torch.float64)
    for m in range(2):
        alone = trials.running(COPY, model[m], 5, 6, generators(3 + m))
        assert torch.equal(alone.held[0], run.held[m])
        for b in range(6):
            u = inputs[m, :, b].tolist()
            sequence = u + simulate(decode(COPY.triple, D), u, 5)
            assert run.held[m, b].tolist() == [x for vector in sequence[5:9] for x in vector]
    torch.testing.assert_close(basis_of(COPY, model).contents(run.h), run.held, rtol=0, atol=1e-9)


def test_unedited_circuits_write_what_they_should_and_wrong_windows_are_seen():
    run = loaded(MIXED, circuits(MIXED, [0, 1]))
    assert bool(trials.unedited(run, 9).exact.all())
    result = run.judged(run.h, -run.held, 9)
    assert not result.exact.any()
    assert bool((result.signs == 0).all()) and bool((result.followed == 0).all())


def test_judged_leaves_out_the_steps_before():
    run = loaded(COPY, circuits(COPY, [0, 1]))
    other = run.held.clone()
    other[:, :, :D] *= -1  # comes out at steps 1, 5, 9, …
    assert not run.judged(run.h, other, 1).exact.any()
    assert bool(run.judged(run.h, other, 3, after=1).exact.all())
    assert not run.judged(run.h, other, 4, after=1).exact.any()


# --- what is changed --------------------------------------------------------------------------------------------------


def test_changes_touch_only_entries_on_cycles_and_each_kind_its_own():
    run = loaded(MIXED, circuits(MIXED, [0, 1]), sequences=200)
    drawn, kept = trials.changes(run, *generators(0)), circuit.on_cycle(MIXED)
    assert tuple(drawn) == trials.KINDS and 0 < int(kept.sum()) < 12
    for where, new in drawn.values():
        assert not where[:, :, ~kept].any()
        assert torch.equal(new[~where], run.held[~where])
        assert bool((new.abs() == 1).all())
    single, variable, everything = (drawn[kind] for kind in trials.KINDS)
    assert bool((single.where.sum(2) == 1).all())
    assert torch.equal(single.new[single.where], -run.held[single.where])
    assert {int(i) for i in single.where.nonzero()[:, 2]} == {int(i) for i in kept.nonzero()[:, 0]}  # each comes
    groups = variable.where.unflatten(2, (S, D))
    assert bool((groups.any(3).sum(2) == 1).all())
    assert bool((variable.where | ~single.where).all())  # the entry lies in the variable
    assert bool((everything.where == kept).all())
    # random signs: half of them differ, and 2400 tosses are off by 5 standard errors, 0.05, in one case of a million
    flipped = (everything.new != run.held)[:, :, kept].double().mean()
    assert abs(float(flipped) - 0.5) < 0.08


# --- how it comes out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [COPY, MIXED], ids=["copy", "mixed"])
def test_on_the_circuit_every_edit_comes_out_and_no_control(task):
    model = circuits(task, [0, 1])
    run, memories = loaded(task, model, 20), basis_of(task, model)
    whole = trials.outcomes(run, memories, *generators(0), 11)
    assert tuple(whole) == trials.KINDS
    assert all(bool(result.exact.all()) for result in whole.values())
    for instead in (edits.random_edit, partial(edits.random_edit, outside=memories)):
        moved = trials.outcomes(run, memories, *generators(0), 11, instead=instead)
        assert float(moved["one entry"].exact.double().mean()) < 0.3
        # only a sign that the edit turns twice, or a random move that happens to, can follow
        assert float(moved["one entry"].followed.nanmean()) < 0.5
    foreign = trials.outcomes(run, memories[[1, 0]], *generators(0), 11)
    assert float(foreign["one entry"].exact.double().mean()) < 0.3


def test_on_the_way_to_the_edited_state_the_sign_turns_half_way():
    model = circuits(COPY, [0, 1])
    run, memories = loaded(COPY, model), basis_of(COPY, model)
    for share, follows in ((0.0, 0.0), (0.45, 0.0), (0.55, 1.0), (1.0, 1.0)):
        found = trials.outcomes(
            run, memories, *generators(0), 8, kinds=["one entry"], instead=lambda h, e, _, s=share: h + s * (e - h)
        )
        assert bool((found["one entry"].followed == follows).all()), share


def test_fewer_kinds_make_the_same_changes_and_unknown_ones_are_named():
    model = tanh_networks(COPY, [0, 1])
    run = trials.running(COPY, model, 3, 9, generators(0, 1))
    memories = variable_memories(model, COPY, residuals=0)
    every = trials.outcomes(run, memories, *generators(0), 5)
    one = trials.outcomes(run, memories, *generators(0), 5, kinds=["one entry"])
    assert torch.equal(every["one entry"].signs, one["one entry"].signs)
    with pytest.raises(ValueError, match=r"kinds must be among .* got \['two'\]"):
        trials.outcomes(run, memories, *generators(0), 5, kinds=["two"])


def test_an_outcome_is_that_of_the_edit_written_by_hand():
    model = tanh_networks(MIXED, [0, 1])
    run = trials.running(MIXED, model, 3, 9, generators(0, 1))
    memories = variable_memories(model, MIXED, residuals=0)
    found = trials.outcomes(run, memories, *generators(7), 6, after=2)["all"]
    _, new = trials.changes(run, *generators(7))["all"]
    contents, kept = memories.contents(run.h), memories.kept
    usual = contents.abs().mean(1, keepdim=True)
    edited = run.h.double() + ((usual * new - contents) * kept) @ memories.basis.mT
    for m in range(2):
        for b in range(9):
            state, right = edited[m, b].float(), []
            expected = simulate(decode(MIXED.triple, D), new[m, b].view(S, D).tolist(), 8)
            for t in range(8):
                state = torch.tanh(model.W_hh[m] @ state)
                right += (model.W_r[m] @ state * torch.tensor(expected[t]) > 0).tolist()
            assert float(found.signs[m, b]) == pytest.approx(sum(right[2 * D :]) / (6 * D))


# --- fitted bases -----------------------------------------------------------------------------------------------------


def test_edits_in_a_fitted_basis_come_out_once_only_copies_are_left():
    model = circuits(MIXED, [0, 1])
    run, other = loaded(MIXED, model, 30), loaded(MIXED, model, 30, seed=5)
    settled, others = late(run), late(other)
    memories, _ = fitted_memories(others.h, others.held, MIXED)
    fitted = trials.fitted_outcome(settled, memories, *generators(0), 11)
    assert fitted.complete and bool(fitted.outcome.exact.all())
    torch.testing.assert_close(fitted.explained, torch.ones(2).double(), rtol=0, atol=1e-9)
    early, _ = fitted_memories(other.h, other.held, MIXED)
    at_once = trials.fitted_outcome(run, early, *generators(0), 11)
    assert not at_once.complete and bool((at_once.explained < 0.95).all())


def test_as_long_an_edit_in_a_wrong_basis_is_judged_by_what_the_right_one_should_do():
    run = loaded(COPY, circuits(COPY, [0, 1]), 20)
    memories = basis_of(COPY, run.model)
    moved = trials.fitted_outcome(run, memories, *generators(0), 9, wrong=mismatched.relabelled(memories)).outcome
    assert not moved.exact.any() and bool((moved.followed == 0).all())
    # twice as long a direction, but the move has the length of the right one
    doubled = replace(memories, basis=2 * memories.basis, dual=memories.dual / 2)
    assert bool(trials.fitted_outcome(run, memories, *generators(0), 9, wrong=doubled).outcome.exact.all())


def test_copies_of_an_edited_entry_are_edited_too():
    kept = torch.tensor([True, False, True, False])
    x = torch.tensor([[1.0, 1, -1, 1], [-1, -1, -1, 1], [1, 1, 1, -1]])[None]  # slot 1 = slot 0, slot 3 = −slot 2
    new = x.clone()
    new[:, :, 2] *= -1
    changed, complete = trials.with_copies(x, new, kept)
    assert complete
    assert torch.equal(changed, x * torch.tensor([1.0, 1, -1, -1]))
    assert trials.copies(x, kept).tolist() == [[1, 1, 0, 0], [0, 0, 1, -1]]
    x[0, 1, 1] = 1  # no copy any more
    assert not trials.with_copies(x, new, kept)[1]
    assert trials.copies(x, kept).tolist() == [[1, 0, 0, 0], [0, 0, 1, -1]]


def test_copies_are_found_from_few_sequences_of_many_networks_and_entries_on_cycles_are_their_own():
    run = late(loaded(MIXED, circuits(MIXED, range(20)), sequences=3))  # fewer sequences than entries on cycles
    kept = circuit.on_cycle(MIXED)
    source = trials.copies(run.held, kept)
    assert torch.equal(source[:, kept], torch.eye(6).double())
    assert torch.equal(run.held[:, :, kept] @ source, run.held)
    same = torch.ones(1, 4, 3)
    assert trials.copies(same, torch.tensor([True, True, False])).tolist() == [[1, 0, 1], [0, 1, 0]]


# --- what an edit imitates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settle", [3, 9])
def test_on_repeat_copy_an_edit_makes_the_state_of_the_sequence_that_it_imitates(settle):
    model = circuits(COPY, [0, 1])
    run = trials.running(COPY, model, settle, 5, generators(3, 4))
    where, new = trials.changes(run, *generators(0))["one variable"]
    turned = where & (new != run.held)
    own = trials.counterfactual(run, turned, settle, generators(3, 4))
    assert torch.equal(own.held, new)
    edited = edits.flip(run.h, basis_of(COPY, model), turned)
    # contents of order 1, condition numbers of some 10, a few steps: 1e-12 (see test_edits)
    torch.testing.assert_close(own.h, edited, rtol=0, atol=1e-10)


def test_what_an_edit_imitates_differs_in_the_entry_and_in_its_copies():
    model, settle = tanh_networks(MIXED, [0, 1]), S * D
    run = trials.running(MIXED, model, settle, 40, generators(3, 4))
    where, new = trials.changes(run, *generators(0))["one entry"]
    own = trials.counterfactual(run, where, settle, generators(3, 4))
    expected, complete = trials.with_copies(run.held, new, circuit.on_cycle(MIXED))
    assert complete and torch.equal(own.held, expected)
    assert bool(((own.held != run.held).sum(2) >= 1).all())
    inputs = MIXED.inputs(40, generators(3, 4))
    for b in range(3):  # by hand: the one input of which this entry is a copy now
        found = []
        for u in range(S * D):
            other = inputs[0, :, b].clone()
            other[u // D, u % D] *= -1
            held = (other.tolist() + simulate(decode(MIXED.triple, D), other.tolist(), settle))[-S:]
            if [x for vector in held for x in vector] == own.held[0, b].tolist():
                found.append(u)
                state = trials.reading(MIXED, model[0], settle, other[None, :, None]).h
                torch.testing.assert_close(state[0, 0], own.h[0, b], rtol=0, atol=1e-5)
        assert len(found) == 1


# --- sums and transplants ---------------------------------------------------------------------------------------------


def test_a_linear_network_superposes_and_a_saturated_one_does_not():
    model = circuits(COPY, [0, 1])
    run = loaded(COPY, model)
    for rounds in (1, 3):
        ratio, right = trials.superposed(run, 0.3, rounds)
        torch.testing.assert_close(ratio, torch.zeros(2).double(), rtol=0, atol=1e-9)
        assert bool((right == 1).all())
    hard = elman(model.W_uh, 1e3 * model.W_hh, model.W_r, "tanh")
    wrong, _ = trials.superposed(trials.Running(COPY, hard, run.h, run.held), 1.0)
    assert bool((wrong > 0.2).all())
    with pytest.raises(ValueError, match="run must hold an even number of sequences, got 7"):
        trials.superposed(trials.Running(COPY, model, run.h[:, :7], run.held[:, :7]), 1.0)


def test_superposed_counts_as_by_hand():
    model = tanh_networks(COPY, [0, 1])
    run = trials.running(COPY, model, 2, 6, generators(0, 1))
    ratio, right = trials.superposed(run, 0.7, rounds=2)
    for m in range(2):
        unlike, like, signs = [], [], []
        for b in range(0, 6, 2):
            first, second = (
                simulate(decode(COPY.triple, D), run.held[m, c].view(S, D).tolist(), 2 * S) for c in (b, b + 1)
            )
            state = 0.7 * (run.h[m, b] + run.h[m, b + 1])
            for t in range(2 * S):
                state = torch.tanh(model.W_hh[m] @ state)
                for k, x in enumerate((model.W_r[m] @ state).tolist()):
                    if t >= S and first[t][k] == second[t][k]:
                        like.append(abs(x))
                        signs.append(x * first[t][k] > 0)
                    elif t >= S:
                        unlike.append(abs(x))
        assert float(ratio[m]) == pytest.approx((sum(unlike) / len(unlike)) / (sum(like) / len(like)), rel=1e-4)
        assert float(right[m]) == pytest.approx(sum(signs) / len(signs))


@pytest.mark.parametrize("task", [COPY, MIXED], ids=["copy", "mixed"])
def test_circuits_go_on_with_each_others_contents_and_not_with_raw_states(task):
    model = circuits(task, [0, 1, 2])
    run = loaded(task, model)
    memories = basis_of(task, model)
    for rescale in (True, False):
        shares = transplants(run, memories, 9, rescale=rescale, after=S * D)
        assert shares.shape == (2, 3) and bool((shares == 1).all())
    assert float(transplants(run, None, 9).max()) < 0.5


@pytest.mark.parametrize("task", [COPY, MIXED], ids=["copy", "mixed"])
@pytest.mark.parametrize("rescale", [True, False])
def test_under_wrong_labels_the_other_network_goes_on_with_what_these_labels_say(task, rescale):
    run = late(loaded(task, circuits(task, [0, 1, 2]), 20))
    other = late(loaded(task, run.model, 20, seed=5))
    memories, _ = fitted_memories(other.h, other.held, task)
    options = dict(rescale=rescale, into=mismatched.relabelled(memories))
    said = mismatched.relabelled_window(run.held, memories.kept)
    assert bool((transplants(replace(run, held=said), memories, 9, **options) == 1).all())
    unchanged = (said == run.held).all(2).double().mean(1)  # labels that say the same by chance
    torch.testing.assert_close(transplants(run, memories, S * D, **options), unchanged.expand(2, 3))
    assert float(unchanged.max()) < 0.3


def test_a_pair_stands_where_it_should():
    # network 2 writes nothing but the wrong sign, so every transplant into it fails, and no other
    model = circuits(COPY, [0, 1, 2])
    W_r = model.W_r * torch.tensor([1.0, 1.0, -1.0]).double()[:, None, None]
    bad = elman(model.W_uh, model.W_hh, W_r, "identity")
    good = loaded(COPY, model)
    run = trials.Running(COPY, bad, good.h, good.held)
    shares = transplants(run, basis_of(COPY, model), 5)
    assert [[int(x) for x in row] for row in shares] == [[1, 0, 1], [0, 1, 1]]  # to 1 2 0, and to 2 0 1
    with pytest.raises(ValueError, match="run must hold at least two networks, got 1"):
        transplants(trials.Running(COPY, model[0], run.h[:1], run.held[:1]), None, 5)


def test_contents_are_rescaled_to_the_size_usual_in_the_other_network():
    model = circuits(COPY, [0, 1])
    run = loaded(COPY, model)
    large = trials.Running(COPY, model, run.h * torch.tensor([1.0, 50.0]).double()[:, None, None], run.held)
    moved = []

    class Spy(VectorNetwork):
        def rollout(self, inputs, horizon=0, h=None):
            moved.append(h)
            return super().rollout(inputs, horizon, h)

    transplants(trials.Running(COPY, Spy(model.cell, model.W_r), large.h, large.held), basis_of(COPY, model), 3)
    sizes = basis_of(COPY, model)[[1, 0]].contents(moved[0]).abs().mean((1, 2))
    torch.testing.assert_close(sizes, torch.tensor([50.0, 1.0]).double(), rtol=1e-9, atol=0)
