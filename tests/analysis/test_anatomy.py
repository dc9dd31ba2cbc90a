"""Measures of partial circuits, against circuits that are known: exact, turned, cut, projected."""

import math

import numpy as np
import pytest
import torch

from emt_core.analysis import anatomy
from emt_core.networks.exact import linear_rnn
from emt_core.networks.vectors import elman
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

S, D = 3, 2
COPY = VariableBinding.repeat_copy(S, D)
ROOTS = np.exp(2j * np.pi * np.arange(6) / 6)


def draws(models=1, seed=0):
    return [torch.Generator().manual_seed(seed + m) for m in range(models)]


@pytest.mark.parametrize("turn", [0.0, 0.1, -0.3])
@pytest.mark.parametrize("count", [1, 4, 6])
def test_turned_eigenvalues_are_off_by_their_turn(turn, count):
    """A turn by less than half the gap of π/3 leaves everybody's own partner the nearest."""
    learned = np.concatenate([ROOTS[:count] * np.exp(1j * turn), [0.5, 0.1j]])  # the small ones do not count
    assert anatomy.off_by(learned[::-1], ROOTS) == pytest.approx(abs(turn), abs=1e-12)


def test_partners_are_taken_once():
    """Two eigenvalues at 1: one keeps its place, the other takes the next, π/3 away."""
    assert anatomy.off_by(np.array([1.0 + 0j, 1.0]), ROOTS) == pytest.approx(math.pi / 6)


def test_nothing_to_compare_is_nan():
    assert math.isnan(anatomy.off_by(np.array([0.5 + 0j]), ROOTS))
    assert math.isnan(anatomy.off_by(np.concatenate([ROOTS, ROOTS]), ROOTS))
    assert math.isnan(anatomy.off_by_chance(0, ROOTS, 0))


def test_chance_is_what_random_angles_give():
    """One eigenvalue against one: uniform in [0, π], mean π/2, standard error π/√12/√draws."""
    got = anatomy.off_by_chance(1, np.array([1.0 + 0j]), 0, draws=4000)
    assert got == pytest.approx(math.pi / 2, abs=5 * math.pi / math.sqrt(12 * 4000))
    assert anatomy.off_by_chance(1, ROOTS, 0, draws=4000) == pytest.approx(math.pi / 12, abs=0.02)


def test_the_exact_circuit_is_whole():
    body = anatomy.anatomy(linear_rnn(COPY, circuit.random_basis(9, 6, draws()[0])), COPY, draws())
    assert body.count.tolist() == [6]
    assert body.off_by[0] < 1e-9 and body.outside[0] < 1e-9
    gain = anatomy.gain(linear_rnn(COPY), COPY, draws())
    assert torch.allclose(gain.G[0], torch.eye(6, dtype=torch.float64), atol=1e-9)
    assert gain.linear[0] == pytest.approx(1) and gain.alone[0] == pytest.approx(1)
    assert gain.idempotence[0] < 1e-9
    for settle in (0, 5):
        linear, wide = anatomy.signs_read(*anatomy.held(linear_rnn(COPY), COPY, settle, 400, draws()))
        assert linear.tolist() == [1.0] and wide.tolist() == [1.0]


@pytest.mark.parametrize("settle", [0, 1, 4])
def test_held_signs_are_those_that_come_out_next(settle):
    """The exact circuit of repeat copy writes its S·D signs, oldest first, over the S steps that follow."""
    states, signs = anatomy.held(linear_rnn(COPY), COPY, settle, 50, draws(seed=3))
    _, targets = COPY.sample(50, settle + S, draws(seed=3), torch.float64)
    following = targets[0, settle : settle + S]  # (S, B, D)
    assert states.shape == (1, 50, 6)
    assert torch.equal(signs[0], following.transpose(0, 1).flatten(1).float())


def test_a_projection_is_recognised():
    """A read-out that projects each vector of D = 2 on one direction: o = P y, block by block."""
    angle = 0.4
    direction = torch.tensor([[math.cos(angle)], [math.sin(angle)]], dtype=torch.float64)
    P = direction @ direction.T
    exact = linear_rnn(COPY)
    cut = elman(exact.W_uh, exact.W_hh, P @ exact.W_r, "identity")
    gain = anatomy.gain(cut, COPY, draws(), sequences=4000)
    assert torch.allclose(gain.G[0], torch.block_diag(P, P, P), atol=1e-9)
    assert gain.linear[0] == pytest.approx(1) and gain.idempotence[0] < 1e-9
    own = float(P.diagonal().square().sum() / P.square().sum())
    assert gain.alone[0] == pytest.approx(own, abs=0.05)  # of 4000 sequences: 1/√4000 = 0.016
    assert gain.alone_if_random[0] == pytest.approx((3 + 2) / (6 + 2))


def test_what_is_outside_the_memories_is_seen():
    """States that are shifted along a direction that no memory spans lie outside by the share of that shift."""
    exact = linear_rnn(COPY, circuit.random_basis(9, 6, draws()[0], orthonormal=True))
    inside = anatomy.anatomy(exact, COPY, draws())
    states, _, _ = anatomy.output_phase(exact, COPY, 2 * S, 200, draws())
    assert states.shape[1] == S
    assert float(inside.size[0]) == pytest.approx(float(states.square().mean().sqrt()))
    assert 4 < float(inside.dimension[0]) <= 6  # six independent signs
    assert float(inside.beyond[0]) == pytest.approx(float((states.abs() > 0.5).double().mean()))
