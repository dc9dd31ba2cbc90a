"""Fixed points and periodic orbits: of maps where they are known, and of every cell against autograd."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from oracles import SHAPE_ERRORS, generators
from scipy.optimize import brentq, root

from emt_core.analysis import orbits
from emt_core.analysis.orbits import Status
from emt_core.networks import CELLS, Elman, TokenNetwork, VectorNetwork
from emt_core.networks.delta_rule import LinearAttention
from emt_core.networks.exact import linear_rnn
from emt_core.support.random_streams import stream
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

each_cell = pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)
# |r| ends at a few ε of |h|, and a zero is as exact as that over the least singular value of J: here 1e-2 or more
EXACT = 1e-12
HENON = 1.4, 0.3


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=stream(seed, "orbits"))


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    """In −1 … 1."""
    return 2 * torch.rand(*shape, dtype=torch.float64, generator=stream(seed, "orbits")) - 1


def henon(h: torch.Tensor) -> torch.Tensor:
    (a, b), (x, y) = HENON, h.unbind(1)
    return torch.stack([1 - a * x**2 + y, b * x], dim=1)


def squared(h: torch.Tensor) -> torch.Tensor:
    """z ↦ z² of complex numbers."""
    x, y = h.unbind(1)
    return torch.stack([x**2 - y**2, 2 * x * y], dim=1)


WEIGHTS, BIAS = 2.5 * normal(4, 4, seed=3), 0.2 * normal(4, seed=13)


def random_network(h: torch.Tensor) -> torch.Tensor:
    """Of four units, with three zeros."""
    return torch.tanh(h @ WEIGHTS.mT + BIAS)


def slow_passage(h: torch.Tensor) -> torch.Tensor:
    """No zero; |r| = x² + 1e-4 is least at x = 0."""
    return h + h**2 + 1e-4


def drawn(kind, hidden: int = 5, models: int = 1, gain: float = 2.0):
    """Cells in float64 whose weights are ``gain`` times those drawn."""
    cell = kind.init(3, hidden, generators(*range(models))).to(torch.float64)
    return cell.with_weights({name: gain * w for name, w in cell.weights.items()})


def assert_same(found: orbits.Orbits, other: orbits.Orbits, but: tuple[str, ...] = ()) -> None:
    for name in [f.name for f in fields(orbits.Orbits) if f.name not in but]:
        mine, theirs = getattr(found, name), getattr(other, name)
        assert torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs, name


# -- maps whose zeros are known --------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", [1, 2, 3])
def test_a_linear_map_has_one_zero_and_powers_of_its_eigenvalues(period):
    W, b = normal(5, 5) / 2, normal(5, seed=1)
    found = orbits.find(lambda h: h @ W.mT + b, 10 * normal(7, 5, seed=2), period)
    assert found.status == (Status.CONVERGED,) and found.start_status == (Status.CONVERGED,) * 7
    wanted = torch.linalg.solve(torch.eye(5, dtype=torch.float64) - W, b)
    torch.testing.assert_close(found.state, wanted[None], rtol=0, atol=EXACT)
    torch.testing.assert_close(found.jacobian[0], torch.linalg.matrix_power(W, period), rtol=0, atol=EXACT)
    values = torch.linalg.eigvals(W) ** period
    assert found.multipliers.dtype == torch.complex128
    gap = (found.multipliers[0][:, None] - values).abs()
    assert gap.min(0).values.max() < 1e-10 and gap.min(1).values.max() < 1e-10  # W is far from defective
    assert (found.multipliers[0].abs().diff() <= 0).all()
    assert found.least_period.tolist() == [1] and found.of_start.tolist() == [0] * 7
    assert found.iterations.item() <= 3  # Newton's first step is exact; the next ones see that it was


def test_tanh_of_a_diagonal_matrix_has_the_products_of_its_units_zeros():
    w = torch.tensor([0.5, 1.5, 3.0], dtype=torch.float64)
    ends = [brentq(lambda x, w=w: x - np.tanh(w * x), 0.1, 1, xtol=1e-15) for w in w[1:].tolist()]
    axes = [[0.0], *([-end, 0.0, end] for end in ends)]
    wanted = torch.cartesian_prod(*(torch.tensor(axis, dtype=torch.float64) for axis in axes))
    found = orbits.find(lambda h: torch.tanh(w * h), 1.2 * uniform(400, 3))
    assert set(found.status) == {Status.CONVERGED} and len(found.state) == 9
    order = np.lexsort(found.state.round(decimals=6).T.flip(0).numpy())  # zeros may be ±1e-17
    torch.testing.assert_close(found.state[order], wanted, rtol=0, atol=EXACT)
    slopes = (w * (1 - wanted**2)).sort(dim=1, descending=True).values
    torch.testing.assert_close(found.multipliers[order], slopes + 0j, rtol=0, atol=EXACT)


def test_henons_fixed_points_and_two_cycle():
    a, b = HENON
    # fixed points: a x² + (1 − b) x − 1 = 0; the two points of the cycle: a² x² − a (1 − b) x + (1 − b)² − a = 0
    fixed, cycle = np.sort(np.roots([a, 1 - b, -1])), np.sort(np.roots([a**2, -a * (1 - b), (1 - b) ** 2 - a]))
    once, twice = (orbits.find(henon, uniform(100, 2), period) for period in (1, 2))
    np.testing.assert_allclose(once.state, np.stack([fixed, b * fixed], axis=1), rtol=0, atol=EXACT)
    assert once.least_period.tolist() == [1, 1] and once.orbit.tolist() == [0, 1]
    by_x = [fixed[0], cycle[0], fixed[1], cycle[1]]
    before = [fixed[0], cycle[1], fixed[1], cycle[0]]  # y = b times the x before
    np.testing.assert_allclose(twice.state, np.stack([by_x, b * np.array(before)], axis=1), rtol=0, atol=EXACT)
    assert twice.least_period.tolist() == [1, 2, 1, 2] and twice.orbit.tolist() == [0, 1, 2, 1]
    # the trace of J(x) is −2 a x and that of J(x₁) J(x₂) is 4 a² x₁ x₂ + 2 b; the determinants are −b and b²
    for k, x in enumerate(fixed):
        values = np.roots([1, 2 * a * x, -b])
        np.testing.assert_allclose(once.multipliers[k], sorted(values, key=abs, reverse=True), rtol=0, atol=EXACT)
    values = np.roots([1, -(4 * a**2 * cycle.prod() + 2 * b), b**2])
    for k in (1, 3):
        np.testing.assert_allclose(twice.multipliers[k], sorted(values, key=abs, reverse=True), rtol=0, atol=EXACT)


def test_the_logistic_maps_two_cycle_in_one_dimension():
    r, spread = 3.2, np.sqrt((3.2 + 1) * (3.2 - 3))
    found = orbits.find(lambda h: r * h * (1 - h), torch.linspace(0.05, 0.95, 40, dtype=torch.float64)[:, None], 2)
    wanted = [0, (r + 1 - spread) / (2 * r), 1 - 1 / r, (r + 1 + spread) / (2 * r)]
    np.testing.assert_allclose(found.state[:, 0], wanted, rtol=0, atol=EXACT)
    of_cycle = 4 + 2 * r - r**2
    np.testing.assert_allclose(found.multipliers[:, 0], [r**2, of_cycle, (2 - r) ** 2, of_cycle], rtol=0, atol=1e-11)
    assert found.least_period.tolist() == [1, 2, 1, 2] and found.orbit.tolist() == [0, 1, 2, 1]


def test_orbits_of_every_divisor_of_the_period():
    """The zeros of z^16 − z on the unit circle are the 15th roots of unity, in orbits of 1, 2 and three times 4."""
    angle = 2 * torch.pi * torch.arange(15, dtype=torch.float64) / 15
    found = orbits.find(squared, torch.stack([angle.cos(), angle.sin()], dim=1) + 0.01 * normal(15, 2), 4)
    x, y = found.state.T
    power = (torch.atan2(y, x) * 15 / (2 * torch.pi)).round().long() % 15
    assert sorted(power.tolist()) == list(range(15))
    assert found.least_period.tolist() == [1 if p == 0 else 2 if p % 5 == 0 else 4 for p in power.tolist()]
    number = dict(zip(power.tolist(), found.orbit.tolist(), strict=True))
    for p in range(15):
        assert {q for q in range(15) if number[q] == number[p]} == {p * 2**j % 15 for j in range(4)}
    assert list(dict.fromkeys(found.orbit.tolist())) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(found.multipliers.abs(), 16, rtol=EXACT)


def test_of_a_permutation_every_state_is_a_zero_and_stays_where_it_is():
    task, starts = VariableBinding.repeat_copy(4, 3), normal(6, 12)
    phi = circuit.interaction_matrix(task)
    found = orbits.find(lambda h: h @ phi.mT, starts, 4)
    assert torch.equal(found.state, torch.unique(starts, dim=0)) and (found.residual == 0).all()
    assert torch.equal(found.state[found.of_start], starts)
    assert found.least_period.tolist() == [4] * 6 and found.orbit.tolist() == list(range(6))
    torch.testing.assert_close(found.multipliers, torch.ones_like(found.multipliers), rtol=0, atol=EXACT)
    # four states of one orbit
    turned = torch.stack([starts[0] @ torch.linalg.matrix_power(phi, j).mT for j in range(4)])
    assert orbits.find(lambda h: h @ phi.mT, turned, 4).orbit.tolist() == [0] * 4


def test_a_circuit_in_hidden_units_forgets_what_lies_outside_its_memories():
    """There the memories' contents are zeros to rounding, and are found where the start has them."""
    task, starts = VariableBinding.repeat_copy(4, 3), normal(6, 20)
    model = linear_rnn(task, circuit.random_basis(20, 12, generators(0)[0]))
    found = orbits.find(orbits.step_of(model), starts, 4)
    power = torch.linalg.matrix_power(model.W_hh[0], 4)  # the projection on the memories
    assert set(found.status) == {Status.CONVERGED}
    torch.testing.assert_close(found.state[found.of_start], starts @ power.mT, rtol=0, atol=1e-10)  # κ ε, κ ≈ 1e2 … 1e3
    assert ((found.multipliers.abs() - 1).abs() < 1e-9).sum(1).tolist() == [12] * 6


@pytest.mark.parametrize("period", [1, 2, 5])
def test_a_turn_by_an_irrational_angle_leaves_zero_alone(period):
    turn = torch.tensor([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    found = orbits.find(lambda h: h @ turn.mT, normal(20, 2), period)
    torch.testing.assert_close(found.state, torch.zeros(1, 2, dtype=torch.float64), rtol=0, atol=EXACT)
    values = sorted(found.multipliers[0].tolist(), key=lambda z: z.imag)
    wanted = sorted([np.exp(1j * period), np.exp(-1j * period)], key=lambda z: z.imag)
    np.testing.assert_allclose(values, wanted, rtol=0, atol=EXACT)


def test_a_search_by_powells_method_finds_nothing_else():
    """From the same starts."""
    starts = uniform(100, 4, seed=2)
    found = orbits.find(random_network, starts)
    assert len(found.state) == 3 and set(found.status) == {Status.CONVERGED}

    def r(x):
        return (random_network(torch.from_numpy(x)[None])[0] - torch.from_numpy(x)).numpy()

    others = [root(r, start.numpy(), tol=1e-12) for start in starts]
    ends = torch.from_numpy(np.array([other.x for other in others if other.success]))
    distance = (ends[:, None] - found.state).norm(dim=2)
    assert len(ends) > 50 and distance.min(1).values.max() < 1e-9
    assert distance.min(0).values.max() < 1e-9  # nor anything less


# -- how a start gets there ------------------------------------------------------------------------------------------


def residuals(step, starts: torch.Tensor) -> list[torch.Tensor]:
    return [r.norm(dim=1) for _, r, _ in orbits._descents(step, starts, 1, 1e-10, 1e-7)]


def test_the_order_of_convergence_is_three_at_a_hyperbolic_zero():
    zero = orbits.find(random_network, uniform(100, 4, seed=2)).state[0]
    starts = zero + torch.logspace(-4, -2.5, 12, dtype=torch.float64)[:, None] * normal(1, 4, seed=3)
    before, after, *_ = residuals(random_network, starts)
    assert after.min() > 1e-13 and after.max() < 1e-3  # above rounding, and close enough
    order = np.polyfit(before.log(), after.log(), 1)[0]
    assert 2.7 < order < 3.3  # the next term changes it by as much as the largest distance


def test_residuals_never_rise():
    seen = torch.stack(residuals(henon, 5 * normal(50, 2)))
    assert (seen.diff(dim=0) <= 0).all() and (seen[-1] < seen[0]).all()


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9])
def test_a_nearly_neutral_zero_is_found_from_all_sides_and_is_one(gap):
    """x ↦ (1 − gap) x − x³, and a direction that dies out, in a skew basis."""
    basis = torch.tensor([[1.0, 0.8], [0.2, 1.0]], dtype=torch.float64)

    def step(h):
        x, y = (h @ torch.linalg.inv(basis).mT).unbind(1)
        return torch.stack([(1 - gap) * x - x**3 + 0.1 * y**2, 0.3 * y], dim=1) @ basis.mT

    found = orbits.find(step, normal(30, 2))
    assert found.status == (Status.CONVERGED,) and found.start_status == (Status.CONVERGED,) * 30
    assert found.residual.item() <= 1e-10 and found.state.norm() < 1e-6  # merge
    np.testing.assert_allclose(found.multipliers[0], [1 - gap, 0.3], rtol=0, atol=1e-11)  # and 3 x² of it


def test_two_nearly_neutral_zeros_that_are_close_together_are_told_apart():
    """x ↦ x + x² − a² with a = 5e-7: at ±a, where the multipliers are 1 ± 1e-6."""
    a = 5e-7
    starts = torch.tensor([[-1.0], [-1e-3], [1e-3], [0.5]], dtype=torch.float64)
    found = orbits.find(lambda h: h + (h - a) * (h + a), starts, merge=1e-8)
    np.testing.assert_allclose(found.state[:, 0], [-a, a], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.multipliers[:, 0], [1 - 1e-6, 1 + 1e-6], rtol=0, atol=1e-9)
    assert found.of_start.tolist() == [0, 0, 1, 1]


def test_a_slow_point_is_where_the_speed_is_least_but_not_zero():
    starts = torch.linspace(-1, 1, 21, dtype=torch.float64)[:, None]
    found = orbits.find(slow_passage, starts)
    assert found.status == (Status.SLOW,) and found.start_status == (Status.SLOW,) * 21
    assert abs(found.state.item()) < 1e-6 and found.residual.item() == pytest.approx(1e-4, rel=1e-6)
    assert found.of_start.tolist() == [0] * 21
    strict = orbits.find(slow_passage, starts, slow=1e-5)
    assert len(strict.state) == 0 and strict.start_status == (Status.FAILED,) * 21
    loose = orbits.find(slow_passage, starts, tolerance=1e-3)
    assert set(loose.start_status) == {Status.CONVERGED}


def test_a_start_that_is_on_its_way_is_no_slow_point():
    """After one iteration |r| may be small, but it is not least."""
    starts = torch.tensor([[0.5]], dtype=torch.float64)
    for iterations in (0, 1, 2):
        found = orbits.find(slow_passage, starts, iterations=iterations, slow=10.0)
        assert found.start_status == (Status.FAILED,) and found.of_start.tolist() == [-1]
    done = orbits.find(slow_passage, starts, slow=10.0)
    assert done.iterations.item() > 2


def test_residual_and_jacobian_are_those_of_the_very_state():
    found = orbits.find(henon, uniform(30, 2), 2, tolerance=1e-4)
    want = (henon(henon(found.state)) - found.state).norm(dim=1)
    torch.testing.assert_close(found.residual, want, rtol=0, atol=1e-15)
    for h, J in zip(found.state, found.jacobian, strict=True):
        want = torch.autograd.functional.jacobian(lambda h: henon(henon(h[None]))[0], h)
        torch.testing.assert_close(J, want, rtol=0, atol=1e-14)


# -- many starts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", [1, 2])
def test_the_order_of_the_starts_does_not_matter(period):
    cell = drawn(CELLS["gru"], hidden=6, gain=3.0)
    starts = torch.cat([normal(40, 6), torch.full((1, 6), torch.nan).double(), normal(3, 6)])  # some twice
    step = orbits.step_of(cell)
    found = orbits.find(step, starts, period, iterations=30)
    assert len(found.state) > 0
    for seed in range(3):
        order = torch.randperm(len(starts), generator=stream(seed, "orders"))
        other = orbits.find(step, starts[order], period, iterations=30)
        assert_same(found, other, but=("of_start", "start_status"))
        assert torch.equal(other.of_start, found.of_start[order])
        assert other.start_status == tuple(found.start_status[i] for i in order)


def test_zeros_of_either_sign_are_one_start():
    starts = torch.tensor([[0.0, 1.0], [-0.0, 1.0]], dtype=torch.float64)
    found = orbits.find(lambda h: h.clone(), starts)
    assert len(found.state) == 1 and not found.state.signbit().any()
    assert_same(found, orbits.find(lambda h: h.clone(), starts.flip(0)))


def test_a_bad_start_disturbs_nobody():
    """NaN, infinity, an image that is not finite, and one that is never near a zero."""

    def step(h):
        return h.sqrt() + 0.2  # NaN below zero

    good = torch.tensor([[0.5], [1.0], [4.0]], dtype=torch.float64)
    bad = torch.tensor([[torch.nan], [torch.inf], [-torch.inf], [-1.0]], dtype=torch.float64)
    found = orbits.find(step, torch.cat([bad[:2], good, bad[2:]]))
    failed = Status.FAILED
    assert found.start_status == (failed, failed, *[Status.CONVERGED] * 3, failed, failed)
    assert found.of_start.tolist() == [-1, -1, 0, 0, 0, -1, -1]
    assert_same(found, orbits.find(step, good), but=("of_start", "start_status"))
    away = orbits.find(lambda h: h + 1, good)
    assert away.start_status == (failed,) * 3 and away.state.shape == (0, 1)
    # where the slope is infinite nothing can be said of a multiplier, and no step be made
    edge = orbits.find(lambda h: h.sqrt(), torch.zeros(1, 1, dtype=torch.float64))
    assert edge.status == (Status.CONVERGED,) and edge.multipliers.isnan().all()
    huge = orbits.find(lambda h: h**3, torch.tensor([[1e200], [0.9]], dtype=torch.float64))
    assert huge.start_status == (failed, Status.CONVERGED)


@pytest.mark.parametrize("bad", [torch.empty(0, 3), torch.full((2, 3), torch.nan)], ids=["none", "nan"])
@pytest.mark.parametrize("period", [1, 4])
def test_no_start_leads_nowhere(bad, period):
    def step(h):
        raise AssertionError("there is nothing to step from")

    found = orbits.find(step, bad, period)
    assert found.state.shape == (0, 3) and found.jacobian.shape == (0, 3, 3) and found.multipliers.shape == (0, 3)
    assert found.status == () and found.start_status == (Status.FAILED,) * len(bad)
    assert found.of_start.tolist() == [-1] * len(bad) and len(found.orbit) == len(found.least_period) == 0


def test_states_within_merge_or_joined_by_a_chain_are_one():
    """(x, y) ↦ (x, y/2): all of y = 0 are zeros, and a start keeps its x."""

    def step(h):
        return h * torch.tensor([1.0, 0.5], dtype=torch.float64)

    x = torch.tensor([0.0, 0.6, 1.2, 3.0, 3.6, 9.0], dtype=torch.float64)
    starts = torch.stack([0.01 * x, torch.ones(6).double()], dim=1)
    found = orbits.find(step, starts, merge=0.01)
    np.testing.assert_allclose(found.state[:, 1], 0, atol=EXACT)
    # equal residuals: the one whose entries come first
    np.testing.assert_allclose(found.state[:, 0], [0, 0.03, 0.09], rtol=0, atol=EXACT)
    assert found.of_start.tolist() == [0, 0, 0, 1, 1, 2]
    assert len(orbits.find(step, starts, merge=0.005).state) == 6


def test_a_map_that_forgets_its_state_has_one_zero():
    """Its derivative is not even known to autograd."""
    found = orbits.find(lambda h: torch.full_like(h, 0.3), normal(5, 2), 2)
    torch.testing.assert_close(found.state, torch.full((1, 2), 0.3, dtype=torch.float64), rtol=0, atol=EXACT)
    assert (found.multipliers == 0).all()


def test_of_states_that_are_one_the_least_residual_stays():
    def step(h):
        return h / 2

    starts = torch.tensor([[-4e-3], [1e-3], [2e-3]], dtype=torch.float64)
    found = orbits.find(step, starts, iterations=0, tolerance=1.0, merge=0.1)
    assert found.state.tolist() == [[1e-3]] and found.residual.tolist() == [5e-4] and found.iterations.tolist() == [0]


def test_arguments_are_left_alone():
    cell = drawn(CELLS["gru"])
    weights = {name: w.clone().requires_grad_() for name, w in cell.weights.items()}
    starts = normal(6, 5).requires_grad_()
    before, kept = starts.detach().clone(), {name: w.detach().clone() for name, w in weights.items()}
    alive = cell.with_weights(weights)
    found = orbits.find(lambda h: alive.step(h[None])[0], starts)
    assert torch.equal(starts.detach(), before) and starts.requires_grad and starts.grad is None
    for name, w in weights.items():
        assert torch.equal(w.detach(), kept[name]) and w.requires_grad and w.grad is None
    tensors = [value for value in vars(found).values() if isinstance(value, torch.Tensor)]
    assert not any(value.requires_grad for value in tensors)
    assert torch.is_grad_enabled()
    # float32, and not contiguous: as good as others
    step, narrow = orbits.step_of(cell), before.float()
    assert_same(orbits.find(step, narrow), orbits.find(step, narrow.double().mT.clone().mT))


# -- networks --------------------------------------------------------------------------------------------------------


@each_cell
@pytest.mark.parametrize(("hidden", "period"), [(1, 1), (5, 1), (4, 3)], ids=str)
@pytest.mark.parametrize("reading", [False, True], ids=["alone", "reading"])
def test_of_every_cell_what_is_found_is_a_zero_with_autograds_multipliers(kind, hidden, period, reading):
    cell = drawn(kind, hidden)
    x = normal(3, seed=5) if reading else None
    step = orbits.step_of(cell, 0, x)
    starts = normal(8, cell.state_size)
    found = orbits.find(step, starts, period)
    assert found.state.shape[1] == cell.state_size
    if kind is LinearAttention and reading:  # nothing is erased: S grows by v kᵀ for ever
        assert found.status == ()
        return
    assert Status.CONVERGED in found.status

    def several(h):
        for _ in range(period):
            h = cell.step(h[None, None], None if x is None else x[None, None])[0, 0]
        return h

    for k, h in enumerate(found.state):
        size = (several(h) - h).norm()
        assert size == pytest.approx(found.residual[k].item(), abs=1e-14)
        assert size <= 1e-10 or found.status[k] == Status.SLOW
        J = torch.autograd.functional.jacobian(several, h)
        torch.testing.assert_close(found.jacobian[k], J, rtol=0, atol=1e-12)
        values = torch.linalg.eigvals(J)
        order = values.abs().argsort(descending=True)
        torch.testing.assert_close(found.multipliers[k].abs(), values[order].abs(), rtol=0, atol=1e-10)
        # as a set: all are roots of the characteristic polynomial
        shifted = J - found.multipliers[k][:, None, None] * torch.eye(len(h))
        assert torch.linalg.svdvals(shifted)[:, -1].max() < 1e-10


@each_cell
@pytest.mark.parametrize("models", [1, 3])
def test_step_of_a_network_is_its_cells_step(kind, models):
    cell = drawn(kind, models=models).to(torch.float32)
    h, x = normal(4, cell.state_size), normal(3, seed=1)
    g = generators(*range(models))
    vectors = VectorNetwork(cell, normal(models, 3, 5).float())
    tokens = TokenNetwork.init(kind, 7, 5, g)
    wide = cell.to(torch.float64)
    for m in range(models):
        for network in (cell, vectors):
            assert torch.equal(orbits.step_of(network, m)(h), wide[m].step(h[None])[0])
            want = wide[m].step(h[None], x.expand(1, 4, 3))[0]
            assert torch.equal(orbits.step_of(network, m, x)(h), want)
        token, h_t = orbits.step_of(tokens, m, tokens.embedding[m, 2]), normal(4, tokens.cell.state_size)
        want = tokens.to(torch.float64)[m].step(h_t[None], torch.full((1, 4), 2))[0]
        assert torch.equal(token(h_t), want)


def test_the_zero_of_an_elman_network_has_the_eigenvalues_of_its_matrix():
    cell = drawn(Elman, hidden=8, gain=1.0)
    found = orbits.find(orbits.step_of(cell), 0.1 * normal(5, 8))
    k = found.state.norm(dim=1).argmin()
    torch.testing.assert_close(found.jacobian[k], cell.W_hh[0], rtol=0, atol=EXACT)


# -- directions ------------------------------------------------------------------------------------------------------


def with_multipliers(J: torch.Tensor) -> orbits.Orbits:
    return orbits.find(lambda h: h @ J.mT, torch.zeros(1, len(J), dtype=torch.float64))


def test_directions_span_the_invariant_subspaces():
    c, s = np.cos(0.7), np.sin(0.7)
    blocks = [[[0.2]], [[0.5, 1.0], [0.0, 0.5]], [[c, -s], [s, c]], [[1.5 * c, -1.5 * s], [1.5 * s, 1.5 * c]], [[-2.0]]]
    D = torch.block_diag(*(torch.tensor(block, dtype=torch.float64) for block in blocks))  # with a Jordan block
    basis = normal(8, 8)
    J = basis @ D @ torch.linalg.inv(basis)
    found = orbits.directions(with_multipliers(J), 0)
    assert [part.shape for part in found] == [(8, 3), (8, 2), (8, 3)]
    wanted = [(slice(3), [0.2, 0.5, 0.5]), (slice(3, 5), [1, 1]), (slice(5, 8), [1.5, 1.5, 2])]
    for part, (columns, modulus) in zip(found, wanted, strict=True):
        torch.testing.assert_close(part.mT @ part, torch.eye(part.shape[1]).double(), rtol=0, atol=EXACT)
        inside = part.mT @ J @ part
        torch.testing.assert_close(J @ part, part @ inside, rtol=0, atol=1e-11)
        # the √ε of the Jordan block
        np.testing.assert_allclose(np.sort(np.abs(np.linalg.eigvals(inside))), modulus, rtol=0, atol=1e-6)
        # the same span as the columns of the basis, which it need not be orthogonal to
        torch.testing.assert_close(part @ (part.mT @ basis[:, columns]), basis[:, columns], rtol=0, atol=1e-10)


def test_the_threshold_says_what_is_neutral():
    found = with_multipliers(torch.diag(torch.tensor([0.98, 1.0005, 1.02, 0.5], dtype=torch.float64)))
    for neutral, counts in ((1e-3, (2, 1, 1)), (0.05, (1, 3, 0)), (0, (2, 0, 2))):
        assert tuple(part.shape[1] for part in orbits.directions(found, 0, neutral)) == counts
    stable = orbits.directions(found, 0).stable.abs()
    torch.testing.assert_close(stable.square().sum(1), torch.tensor([1.0, 0, 0, 1]).double(), rtol=0, atol=EXACT)


# -- arguments -------------------------------------------------------------------------------------------------------


def test_wrong_arguments_are_named():
    starts, step = normal(3, 2), lambda h: h / 2
    for name, values in {"period": (0, True, 1.5), "iterations": (-1,), "tolerance": (0, -1.0, np.inf),
                         "merge": (0,), "slow": (-1,)}.items():  # fmt: skip
        for value in values:
            with pytest.raises(SHAPE_ERRORS, match=name):
                orbits.find(step, starts, **{name: value})
    for wrong in (starts[0], starts[:, :0], starts.long(), starts + 0j):
        with pytest.raises(SHAPE_ERRORS, match="starts"):
            orbits.find(step, wrong)
    for wrong in (lambda h: h[:, :1], lambda h: h.float(), lambda h: h[0]):
        with pytest.raises(ValueError, match=r"^step must return torch.float64, \(3, 2\)"):
            orbits.find(wrong, starts)
    cell = drawn(Elman, models=2)
    for m in (2, -1):
        with pytest.raises(ValueError, match=r"^m must"):
            orbits.step_of(cell, m)
    with pytest.raises(ValueError, match=r"^x must have shape \(3,\)"):
        orbits.step_of(cell, 0, normal(4))
    found = orbits.find(step, starts)
    for k in (1, -1):
        with pytest.raises(ValueError, match=r"^k must"):
            orbits.directions(found, k)
    with pytest.raises(ValueError, match=r"^neutral must"):
        orbits.directions(found, 0, -1.0)


def test_what_a_step_raises_is_the_callers():
    def step(h):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        orbits.find(step, normal(3, 2))
