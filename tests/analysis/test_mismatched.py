"""Bases for controls: they have the span that they should have, and the wrong directions in it."""

import pytest
import torch
from loaded_circuits import COPY, MIXED, D, S, basis_of, circuits, late, loaded
from oracles import generators

from emt_core.analysis import edits
from emt_core.analysis.edits import mismatched, trials
from emt_core.analysis.memories import fitted_memories, variable_memories

TASKS = pytest.mark.parametrize("task", [COPY, MIXED], ids=["copy", "mixed"])


def fitted(task, sequences=30):
    run = late(loaded(task, circuits(task, [0, 1]), sequences))
    return run, fitted_memories(run.h, run.held, task)[0]


def span(memories) -> torch.Tensor:
    """The projection on the kept directions."""
    columns = memories.basis[:, :, : memories.size]
    return columns @ torch.linalg.pinv(columns, rtol=1e-9)


def a_basis_and_its_dual(memories) -> None:
    count = int(memories.kept.sum())
    both = (memories.dual @ memories.basis)[:, memories.kept][:, :, memories.kept]
    torch.testing.assert_close(both, torch.eye(count).double().expand(2, -1, -1), rtol=0, atol=1e-9)
    assert not memories.basis[:, :, : memories.size][:, :, ~memories.kept].any()
    assert memories.basis.shape[2] == memories.dual.shape[1] == len(memories.labels) == memories.size


@TASKS
def test_relabelled_directions_are_the_same_under_the_next_entry_s_name(task):
    run, memories = fitted(task)
    wrong = mismatched.relabelled(memories)
    a_basis_and_its_dual(wrong)
    names = memories.kept.nonzero()[:, 0].tolist()
    for before, name in zip(names[-1:] + names[:-1], names, strict=True):
        assert torch.equal(wrong.basis[:, :, name], memories.basis[:, :, before])
        contents = (basis.contents(run.h)[..., k] for basis, k in ((wrong, name), (memories, before)))
        torch.testing.assert_close(*contents, rtol=0, atol=1e-12)  # summed in another order


@TASKS
def test_what_is_written_under_wrong_names_comes_out_as_these_say(task):
    run, memories = fitted(task)
    wrong, kept = mismatched.relabelled(memories), memories.kept
    said = mismatched.relabelled_window(run.held, kept)
    assert torch.equal(said[:, :, kept], run.held[:, :, kept].roll(-1, 2))
    written = edits.write(run.h, wrong, run.held.double())
    assert bool(run.judged(written, said, 9).exact.all())
    unlike = (said != run.held).any(2)
    assert int(unlike.sum()) > 40 and not run.judged(written, run.held, S * D).exact[unlike].any()


@TASKS
def test_mixed_directions_span_the_same_and_are_others(task):
    _, memories = fitted(task)
    mixed = mismatched.mixed(memories, generators(0, 1))
    a_basis_and_its_dual(mixed)
    torch.testing.assert_close(span(mixed), span(memories), rtol=0, atol=1e-9)
    kept = memories.kept
    Q = (memories.dual @ mixed.basis)[:, kept][:, :, kept]
    torch.testing.assert_close(Q @ Q.mT, torch.eye(len(Q[0])).double().expand_as(Q), rtol=0, atol=1e-9)
    assert not torch.allclose(Q[0], Q[1])
    alone = mismatched.mixed(memories[[1]], generators(1))
    # the same draw; products of two networks and of one may be rounded in another order
    torch.testing.assert_close(alone.basis, mixed.basis[1:], rtol=0, atol=1e-12)


def test_residuals_are_left_out():
    model = circuits(COPY, [0, 1])
    whole = variable_memories(model, COPY, 1.0, method="corrected")
    assert whole.basis.shape[2] > whole.size
    for wrong in (mismatched.relabelled(whole), mismatched.mixed(whole, generators(0, 1))):
        a_basis_and_its_dual(wrong)
        torch.testing.assert_close(span(wrong), span(basis_of(COPY, model)), rtol=0, atol=1e-9)


def test_shuffled_windows_are_the_same_in_another_order():
    held = torch.arange(2 * 7 * 3).view(2, 7, 3).double()
    found = mismatched.shuffled(held, generators(0, 1))
    for own, rows in zip(found, held, strict=True):
        assert own.tolist() != rows.tolist() and sorted(own.tolist()) == rows.tolist()
    assert not torch.equal(found[0], found[1] - 21)
    assert torch.equal(found[1], mismatched.shuffled(held[1:], generators(1))[0])


def test_a_fit_to_shuffled_windows_lies_in_the_span_and_explains_nothing_new():
    run, memories = fitted(COPY, 60)
    wrong, _ = fitted_memories(run.h, mismatched.shuffled(run.held, generators(0, 1)), COPY)
    torch.testing.assert_close(span(wrong), span(memories), rtol=0, atol=1e-6)
    other = late(loaded(COPY, run.model, 60, seed=9))
    explained = [trials.fitted_outcome(other, basis, *generators(0), 9).explained for basis in (memories, wrong)]
    assert bool((explained[0] > 1 - 1e-9).all()) and bool((explained[1] < 0.3).all())
    moved = trials.fitted_outcome(other, memories, *generators(0), 9, wrong=wrong).outcome
    assert float(moved.exact.double().mean()) < 0.2  # twelve directions: a random one is right now and then
