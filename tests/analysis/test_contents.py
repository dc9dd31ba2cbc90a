"""Contents and interaction of the memories: exact circuits hold what they should, and counts are those by hand."""

from dataclasses import replace

import pytest
import torch
from oracles import decode, generators, simulate

from emt_core.analysis import contents
from emt_core.analysis.memories import variable_memories
from emt_core.networks import Elman, VectorNetwork
from emt_core.networks.exact import linear_rnn
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

S, D = 4, 3
COPY = VariableBinding.repeat_copy(S, D)
MIXED = VariableBinding.from_operator(torch.eye(12, dtype=torch.float64)[[0, 11, 10]])


def in_random_basis(task, seed=0):
    (generator,) = generators(seed)
    return linear_rnn(task, circuit.random_basis(18, 12, generator))


def test_the_circuit_of_repeat_copy_holds_everything_at_all_times():
    model = in_random_basis(COPY)
    memories = variable_memories(model, COPY, 1.0, method="corrected", residuals=0)
    held = contents.agreement(model, COPY, memories, 9, *generators(1))
    assert held.shape == (1, 10, 12) and bool((held == 1).all())
    assert contents.agreement(model, COPY, memories, 0, *generators(1)).shape == (1, 1, 12)


def test_agreement_counts_as_by_hand():
    model = VectorNetwork.init(Elman, D, 15, generators(0, 1))
    memories = variable_memories(model, MIXED, 0.3, residuals=2)
    found = contents.agreement(model, MIXED, memories, 5, *generators(4), sequences=20)
    inputs = MIXED.inputs(20, generators(4))[0]
    for m in range(2):
        right = torch.zeros(6, 12)
        for b in range(20):
            u, state = inputs[:, b], torch.zeros(15)
            sequence = u.tolist() + simulate(decode(MIXED.triple, D), u.tolist(), 5)
            for t in range(S + 5):
                drive = model.W_uh[m] @ u[t] if t < S else 0.0
                state = torch.tanh(model.W_hh[m] @ state + drive)
                if t >= S - 1:
                    wanted = torch.tensor([x for vector in sequence[t - S + 1 : t + 1] for x in vector])
                    right[t - S + 1] += (memories.dual[m, :12].float() @ state * wanted > 0).float()
        torch.testing.assert_close(found[m].float(), right / 20)
    assert not found[:, :, ~memories.kept].any()  # what the basis lacks agrees with nothing


@pytest.mark.parametrize("residuals", [0, 3])
def test_the_interaction_of_a_circuit_is_phi_and_of_another_task_is_not(residuals):
    model = in_random_basis(MIXED)
    memories = variable_memories(model, MIXED, 1.0, method="corrected", residuals=residuals)
    assert float(contents.interaction_error(model, MIXED, memories)) < 1e-9
    # twice the weights: twice Φ, off by as much as it is large
    twice = model.with_weights(model.weights | {"W_hh": 2 * model.W_hh})
    assert float(contents.interaction_error(twice, MIXED, memories)) == pytest.approx(1)


def test_units_per_memory_are_counted_by_participation():
    """One unit is one, two alike are two, and random directions have a third of all."""
    (generator,) = generators(0)
    exact = in_random_basis(COPY)
    memories = variable_memories(exact, COPY, 1.0, method="corrected", residuals=2)
    columns = torch.randn(1, 400, 14, generator=generator, dtype=torch.float64)
    columns[:, :, 0] = torch.eye(400)[3]
    columns[:, :, 1] = torch.eye(400)[3] - torch.eye(400)[5]
    found = contents.units_per_memory(replace(memories, basis=columns, dual=columns.mT))
    assert found.shape == (1, 12)  # residual directions are no memories
    assert found[0, :2].tolist() == pytest.approx([1, 2])
    # Σ ψ⁴ of 400 normal numbers has a relative standard deviation of √(96 / 9 / 400) = 0.16
    assert abs(found[0, 2:].mean() - 402 / 3) < 5 * 0.16 * 134 / 10**0.5


def test_dropped_memories_are_not_counted():
    memories = variable_memories(in_random_basis(MIXED), MIXED, 1.0, residuals=0)
    assert contents.units_per_memory(memories).shape[1] == circuit.effective_rank(MIXED) < 12


def test_free_columns_begin_the_chains_of_kept_entries():
    """By hand: S = 4 blocks of 3; repeat copy leaves the oldest block free. MIXED keeps what its operator reads: old
    entry 0, and of the others what feeds them."""
    assert contents.free_columns(COPY).nonzero()[:, 0].tolist() == [0, 1, 2]
    kept, free = circuit.on_cycle(MIXED), contents.free_columns(MIXED)
    for p in range(12):
        assert bool(free[p]) == bool(kept[p] and (p < 3 or not kept[p - 3]))


@pytest.mark.parametrize("task", [COPY, MIXED], ids=["copy", "mixed"])
def test_free_columns_of_the_circuit_are_phis_and_others_are_not_judged(task):
    """In an orthonormal basis; a change that moves the free columns alone shows, in size or elsewhere it does not."""
    (generator,) = generators(3)
    model = linear_rnn(task, circuit.random_basis(18, 12, generator, orthonormal=True))
    memories = variable_memories(model, task, 1.0, method="corrected", residuals=0)
    cosines = contents.free_cosines(model, task, memories)
    assert cosines.shape == (1, int(contents.free_columns(task).sum()))
    assert bool((cosines - 1).abs().max() < 1e-12)
    scaled = model.with_weights(model.weights | {"W_hh": 3 * model.W_hh})
    assert bool((contents.free_cosines(scaled, task, memories) - 1).abs().max() < 1e-12)
    turned = model.with_weights(model.weights | {"W_hh": -model.W_hh})
    assert bool((contents.free_cosines(turned, task, memories) + 1).abs().max() < 1e-12)
