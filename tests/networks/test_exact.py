"""The theory's circuit with tanh: the same eigenvalues times a gain, and the linear circuit where states are small."""

import math

import pytest
import torch
from oracles import PAPER, generators

from emt_core.networks.exact import linear_rnn, tanh_rnn
from emt_core.networks.vectors import elman
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

TASKS = [VariableBinding.repeat_copy(3, 2), VariableBinding.random(4, 3, torch.Generator().manual_seed(1))]
TASKS += [VariableBinding(triple, 8, 8) for triple in PAPER[1:]]
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.triple}-{task.history}")


def basis_for(task, orthonormal=True):
    size = task.history * task.dim
    return circuit.random_basis(size + 3, size, torch.Generator().manual_seed(0), orthonormal=orthonormal)


@each_task
@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_eigenvalues_on_the_unit_circle_get_the_gain_as_their_modulus(task, gain):
    basis, rank = basis_for(task), circuit.effective_rank(task)
    made, linear = tanh_rnn(task, basis, gain), linear_rnn(task, basis)
    assert made.cell.activation == "tanh" and made.W_hh.dtype == torch.float64
    assert torch.equal(made.W_uh, linear.W_uh) and torch.equal(made.W_r, linear.W_r)
    # at the origin the Jacobian, by autograd, is W_hh, and its eigenvalues those of Φ times the gain, as a set: by the
    # distance of each from the nearest. Off the cycles Φ is nilpotent: n entries turn ε into ε^(1/n), 0.1 for n = 15
    values = torch.linalg.eigvals(made.cell.jacobian()[0])
    expected = gain * torch.linalg.eigvals(circuit.effective_interaction(task))
    large, wanted = values[values.abs() > gain / 2], expected[expected.abs() > gain / 2]
    assert len(large) == len(wanted) == rank
    # Φ permutes on its cycles: eigenvalues are as well conditioned as the basis, orthonormal, but for what entries off
    # the cycles copy from them: N ε times a few
    torch.testing.assert_close(large.abs(), torch.full_like(large.abs(), gain), rtol=1e-10, atol=0)
    apart = (large[:, None] - wanted).abs()
    assert apart.min(0).values.max() < 1e-10 * gain and apart.min(1).values.max() < 1e-10 * gain


@each_task
def test_small_states_go_as_in_the_linear_circuit(task):
    """tanh(x) = x − x³/3: states of size s leave s² of themselves, so that half the size leaves a quarter."""
    made = tanh_rnn(task, basis_for(task, orthonormal=False), 1.1)
    linear = elman(made.W_uh, made.W_hh, made.W_r, activation="identity")
    inputs, off = task.inputs(5, generators(0), torch.float64), []
    for size in (2e-5, 1e-5):
        written = made.rollout(size * inputs, 12)[1]
        expected = linear.rollout(size * inputs, 12)[1]
        off.append(((written - expected).abs().max() / size).item())
        assert expected.abs().max() > 0.1 * size
    # s² = 4e-10 of 20 steps, through a basis of condition 100 and its inverse; the next order is s² of the first
    assert 0 < off[0] < 1e-4 and off[0] / off[1] == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_contents_of_small_states_grow_by_the_gain(gain):
    """Repeat copy, T steps after an input: gain^T times what was read."""
    task = TASKS[0]
    made, inputs = tanh_rnn(task, basis_for(task), gain), 1e-7 * task.inputs(5, generators(0), torch.float64)
    _, written = made.rollout(inputs, 9)
    for lap in range(4):
        got = written[:, 3 * lap : 3 * lap + 3]
        # states of at most 1e-7 · 2^9 leave their squares, 3e-9 of themselves, in each of 12 steps
        torch.testing.assert_close(got, gain ** (3 * lap) * inputs, rtol=1e-7, atol=0)


def test_by_default_the_gain_is_one_and_the_basis_the_standard_one():
    made = tanh_rnn(TASKS[0])
    assert torch.equal(made.W_hh[0], circuit.interaction_matrix(TASKS[0]))


@pytest.mark.parametrize("gain", [0.0, -1.0, math.nan, math.inf])
def test_a_wrong_gain_is_named(gain):
    with pytest.raises(ValueError, match=r"^gain must be finite and positive, got"):
        tanh_rnn(TASKS[0], gain=gain)


def test_a_wrong_basis_is_refused_as_by_the_linear_circuit():
    with pytest.raises(ValueError, match=r"^basis must have S·D = 6 columns, got shape \(7, 5\)"):
        tanh_rnn(TASKS[0], torch.eye(7)[:, :5])
