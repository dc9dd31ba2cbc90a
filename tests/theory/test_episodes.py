"""Sequences of memories: the system that walks, the way between memories, recall, and the first dwell."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from emt_core.theory import episodes, gsemm


def signs(features: int, count: int, seed: int = 0):
    return gsemm.random_memories(features, count, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_sequence_drives_features_as_its_equations_say(power):
    """One state through NumPy: σ_f = tanh(g v), σ_h = (v / Nf)^n, rectified for n > 1, memories in a cycle."""
    Xi = signs(12, 3)
    system = episodes.sequence(Xi, power, gain=2.0, a_c=1.5, T_d=7.0)
    V_f, V_d = (torch.randn(1, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    X, following = Xi.numpy(), np.eye(3)[[1, 2, 0]]  # row μ: the memory after μ
    v = X.T @ np.tanh(2 * V_f[0].numpy()) + 1.5 * following.T @ X.T @ V_d[0].numpy()
    h = v / 12 if power == 1 else np.maximum(v / 12, 0) ** power
    np.testing.assert_allclose(system.drive_f(system.drive_h(V_f, V_d))[0].numpy(), X @ h, atol=1e-12)
    assert (system.a_c, system.T_d) == (1.5, 7.0)


def test_a_sequence_needs_a_whole_power():
    with pytest.raises(ValueError, match="power"):
        episodes.sequence(signs(4, 2), 0)


def test_the_closed_path_passes_all_memories_in_order_in_straight_lines_and_returns():
    Xi = signs(9, 3)
    states, path = episodes.closed_path(Xi, points=4)
    at = path.tolist()
    for place, memory in ((1.0, 0), (2.0, 1), (3.0, 2), (4.0, 0)):
        assert torch.equal(states[at.index(place)], Xi[:, memory])
    torch.testing.assert_close(states[at.index(2.25)], 0.75 * Xi[:, 1] + 0.25 * Xi[:, 2])
    assert len(states) == len(path) == 13


def test_few_memories_are_recalled_and_too_many_are_not():
    few = episodes.sequence(signs(64, 3), 2, a_c=2.0, T_d=10.0)
    assert episodes.recall(few) == 1
    many = episodes.sequence(signs(16, 40), 1, a_c=2.0, T_d=10.0)
    assert episodes.recall(many) < 0.5


def test_a_cue_with_all_signs_turned_is_not_memory_one():
    system = episodes.sequence(signs(64, 3), 2, a_c=2.0, T_d=10.0)
    assert episodes.recall(system, 1.0, [torch.Generator().manual_seed(0)]) < 1
    with pytest.raises(ValueError, match="flipped"):
        episodes.recall(system, 1.5)
    with pytest.raises(ValueError, match="one for each of 1 systems, got 0"):
        episodes.recall(system, 0.5)


def test_close_to_the_capacity_recall_is_that_of_a_precise_integration():
    """Sets of 19 memories for 24 features, of which some are recalled and some are lost on the way: with loose
    tolerances the first of them went another way."""
    sets = torch.stack([signs(24, 19, seed) for seed in range(4)])
    given = sets.clone()
    found = episodes.recall(episodes.sequence(sets, 3, a_c=2.0, T_d=10.0))
    assert torch.equal(sets, given)
    times = torch.arange(0, 300.5, 0.5, dtype=torch.float64)
    for Xi, share in zip(sets, found, strict=True):
        system = episodes.sequence(Xi, 3, a_c=2.0, T_d=10.0)
        run = gsemm.simulate(system, Xi[:, :1].T, times, rtol=1e-7, atol=1e-9, progress=False)
        assert min(19, gsemm.recalled(gsemm.overlaps(system, run.V_f)[:, 0])) == round(19 * float(share))
    assert 0 < int((found == 1).sum()) < 4


def test_turned_signs_are_those_of_each_systems_own_generator():
    sets = torch.stack([signs(40, 4, seed) for seed in range(3)])
    draws = [[torch.Generator().manual_seed(10 + s) for s in range(3)] for _ in range(2)]
    together = episodes.recall(episodes.sequence(sets, 2, a_c=2.0, T_d=10.0), 0.35, draws[0])
    alone = [
        episodes.recall(episodes.sequence(Xi, 2, a_c=2.0, T_d=10.0), 0.35, [g])
        for Xi, g in zip(sets, draws[1], strict=True)
    ]
    assert torch.equal(together, torch.cat(alone)) and len(together.unique()) > 1


@pytest.mark.parametrize("gain", [1.5, 5.0, 20.0])
def test_the_hold_is_lost_where_the_equation_loses_a_solution(gain):
    """Just below θ, δ = tanh(g δ) − c has a solution δ > 0; just above it has none."""
    top = math.atanh(math.sqrt(1 - 1 / gain)) / gain  # where tanh(g δ) − δ is largest
    theta = episodes.hold_limit(gain)
    rest = lambda delta, c: math.tanh(gain * delta) - c - delta  # noqa: E731
    assert brentq(rest, top, 2.0, args=(0.999 * theta,)) > 0
    assert max(rest(delta, 1.001 * theta) for delta in np.linspace(0, 2, 2001)) < 0
    with pytest.raises(ValueError, match="gain"):
        episodes.hold_limit(1.0)


def test_the_first_dwell_is_when_an_exponential_has_filled_so_far():
    m = 1 - math.exp(-episodes.first_dwell(20.0, 2.0))
    assert m * 2.0 == pytest.approx(episodes.hold_limit(20.0))
    assert episodes.first_dwell(20.0, 0.99 * episodes.least_interaction(20.0)) == math.inf


def test_the_state_leaves_only_above_the_least_interaction():
    """The simulated model, at a time scale where the formula is close."""
    pair = torch.tensor([[1, 1], [1, -1]] * 2, dtype=torch.float64)
    at = torch.linspace(0, 300, 301, dtype=torch.float64)
    for factor in (0.97, 1.2):
        a_c = factor * episodes.least_interaction(5.0)
        system = episodes.sequence(pair, 1, gain=5.0, a_c=a_c, T_d=50.0)
        overlap = gsemm.overlaps(system, gsemm.simulate(system, pair[:, :1].T, at).V_f)[:, 0]
        assert bool((overlap[:, 1] > overlap[:, 0]).any()) == (factor > 1)
