"""Contents and interaction of the memories: exact circuits hold what they should, and counts are those by hand."""

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
