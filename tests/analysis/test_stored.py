"""Memories stored in networks: exact circuits store their memories as expected, and are rebuilt from them."""

import pytest
import torch

from emt_core.analysis import stored
from emt_core.networks import Elman, VectorNetwork
from emt_core.networks.exact import linear_rnn, to_rnn
from emt_core.networks.vectors import elman
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit, gsemm

S, D, N = 3, 2, 14
COPY = VariableBinding.repeat_copy(S, D)


def exact(orthonormal: bool):
    """The exact circuit of repeat copy in a random basis, and the basis."""
    basis = circuit.random_basis(N, S * D, torch.Generator().manual_seed(1), orthonormal)
    return linear_rnn(COPY, basis), basis


def test_an_exact_orthonormal_circuit_stores_its_memories_with_the_shift_less_the_identity():
    model, basis = exact(orthonormal=True)
    found = stored.found_in(model, COPY)
    torch.testing.assert_close(found.memories[0], basis, atol=1e-9, rtol=0)
    wanted = circuit.interaction_matrix(COPY).T - torch.eye(S * D, dtype=torch.float64)
    torch.testing.assert_close(found.found[0], wanted, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.expected[0], wanted, atol=1e-9, rtol=0)
    assert float(found.residual) < 1e-9


def test_what_is_expected_gives_the_circuit_back_in_any_basis():
    """Ψ (I + Φ_Gᵀ) Ψᵀ = Ψ Φ Ψ†, straight from the definition."""
    _, basis = exact(orthonormal=False)
    phi = circuit.interaction_matrix(COPY)
    interaction = gsemm.stored_interaction(phi, basis)
    torch.testing.assert_close(to_rnn(basis, interaction).W_hh[0], basis @ phi @ torch.linalg.pinv(basis))


def test_entries_off_the_cycles_are_left_out():
    task = VariableBinding((9, 0, 2), 2, 2)
    model = VectorNetwork.init(Elman, 2, 10, [torch.Generator().manual_seed(0)])
    assert stored.found_in(model, task).found.shape == (1, circuit.effective_rank(task), circuit.effective_rank(task))


def test_a_network_rebuilt_from_its_memories_has_the_old_weights_where_nothing_was_left_out():
    exact_model, _ = exact(orthonormal=True)
    model = elman(exact_model.W_uh, exact_model.W_hh, exact_model.W_r, activation="tanh")
    found = stored.found_in(model, COPY)
    made = stored.rebuilt(model, found.memories[0], found.found[0])
    for name in ("W_uh", "W_hh", "W_r"):
        torch.testing.assert_close(getattr(made, name), getattr(model, name), atol=1e-9, rtol=0)


def test_random_memories_keep_the_newest_and_avoid_it_and_the_inputs_and_outputs():
    model = VectorNetwork.init(Elman, D, N, [torch.Generator().manual_seed(3)])
    psi = stored.found_in(model, COPY).memories[0]
    drawn, interaction = stored.with_random_memories(model, COPY, psi, torch.Generator().manual_seed(4))
    assert torch.equal(drawn[:, -D:], psi[:, -D:]) and drawn.shape == psi.shape
    older = drawn[:, :-D]
    torch.testing.assert_close(older.T @ older, torch.eye((S - 1) * D, dtype=torch.float64))
    for taken in (drawn[:, -D:], model.W_uh[0].double(), model.W_r[0].double().T):
        assert float((older.T @ taken).abs().max()) < 1e-6
    torch.testing.assert_close(
        (torch.eye(S * D, dtype=torch.float64) + interaction.T) @ drawn.T @ drawn, circuit.interaction_matrix(COPY)
    )


def test_one_network_is_taken_at_a_time_and_needs_room():
    two = VectorNetwork.init(Elman, D, N, [torch.Generator().manual_seed(s) for s in (0, 1)])
    psi = stored.found_in(two, COPY).memories[0]
    for call in (
        lambda: stored.rebuilt(two, psi, torch.eye(S * D, dtype=torch.float64)),
        lambda: stored.with_random_memories(two, COPY, psi, torch.Generator()),
    ):
        with pytest.raises(ValueError, match="model"):
            call()
    small = VectorNetwork.init(Elman, D, S * D, [torch.Generator().manual_seed(0)])
    with pytest.raises(ValueError, match="units"):
        stored.with_random_memories(small, COPY, stored.found_in(small, COPY).memories[0], torch.Generator())
