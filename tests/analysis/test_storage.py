"""What is stored can be read back, and a network made of it is the network, as far as it acts between memories."""

import torch
from oracles import generators

from emt_core.analysis import storage
from emt_core.analysis.memories import variable_memories
from emt_core.networks import Elman, VectorNetwork
from emt_core.networks.exact import linear_rnn
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

COPY = VariableBinding.repeat_copy(4, 3)
MIXED = VariableBinding.from_operator(torch.eye(12, dtype=torch.float64)[[0, 11, 10]])


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def test_memories_of_the_circuit_are_stored_as_theory_expects():
    for orthonormal in (True, False):
        model = linear_rnn(COPY, circuit.random_basis(18, 12, *generators(0), orthonormal))
        memories = variable_memories(model, COPY, 1.0, method="corrected", residuals=0)
        found = storage.stored(model, COPY, memories)
        close(found.found, found.expected)
        close(found.left_out, torch.zeros(1).double())
        off = (found.found[0].diagonal() + 1).abs().max()
        assert (off < 1e-9) == orthonormal  # no memory holds itself, where none overlaps another


def test_entries_off_the_cycles_are_no_memories():
    model = linear_rnn(MIXED, circuit.random_basis(18, 12, *generators(0), True))
    memories = variable_memories(model, MIXED, 1.0, method="corrected", residuals=2)
    found = storage.stored(model, MIXED, memories)
    assert found.memories.shape == (1, 18, 6) and found.expected.shape == (1, 6, 6)
    close(found.found, found.expected)
    assert float(found.left_out) > 0.1  # the entries that are forgotten act outside


def test_rebuilt_networks_have_the_part_of_the_weights_that_acts_between_memories():
    model = VectorNetwork.init(Elman, 3, 16, generators(0, 1)).to(torch.float64)
    memories = variable_memories(model, COPY, 0.5, residuals=0)
    found = storage.stored(model, COPY, memories)
    made = storage.rebuilt(model, found.memories, found.found)
    for m in range(2):
        projector = found.memories[m] @ torch.linalg.pinv(found.memories[m])
        close(made.W_hh[m], projector @ model.W_hh[m] @ projector)
        rest = (model.W_hh[m] - made.W_hh[m]).norm() / model.W_hh[m].norm()
        close(found.left_out[m], rest)
    assert torch.equal(made.W_uh, model.W_uh) and torch.equal(made.W_r, model.W_r)
    assert storage.rebuilt(model.to(torch.float32), found.memories, found.found).W_hh.dtype == torch.float32
