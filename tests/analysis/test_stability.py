"""Kicks that stay, kicks that die out, how large they may be, and the exponents that say so, against closed forms."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from oracles import OF_TORCH, SHAPE_ERRORS, generators, same_bits

from emt_core.analysis import stability
from emt_core.networks import CELLS, Elman, TokenNetwork, VectorNetwork
from emt_core.networks.exact import linear_rnn
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

each_cell = pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)
each_of_torch = pytest.mark.parametrize("kind", OF_TORCH.values(), ids=OF_TORCH)
COPY = VariableBinding.repeat_copy(4, 3)
M, B, N, D = 3, 5, 6, 2
ORDER = [2, 0, 1]
EPS = torch.finfo(torch.float64).eps


def real(numbers) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generators(seed)[0])


def draw(kind, *seeds) -> VectorNetwork:
    """Networks of a cell, twice as large as they are drawn, so that they are not close to linear."""
    drawn = VectorNetwork.init(kind, D, N, generators(*(seeds or range(M)))).to(torch.float64)
    return drawn.with_weights({name: 2 * w for name, w in drawn.weights.items()})


def linear(W: torch.Tensor, b: torch.Tensor | None = None) -> Elman:
    """h' = W h + b."""
    return Elman(W, torch.zeros_like(W[:, :, :1]), b, activation="identity")


def scalar(*weights: float) -> Elman:
    """h' = tanh(w h)."""
    W = real(weights)[:, None, None]
    return Elman(W, torch.zeros_like(W))


def fixed_point(w: float) -> float:
    """The positive solution of x = tanh(|w| x), |w| > 1."""
    x = 1.0
    for _ in range(200):
        x = math.tanh(abs(w) * x)
    return x


def turning(*angles: float) -> torch.Tensor:
    """Rotations of the plane, one a model."""
    return real([[[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]] for a in angles])


def close(a, b, atol) -> None:
    torch.testing.assert_close(a, torch.as_tensor(b, dtype=a.dtype).expand_as(a), rtol=0, atol=atol)


# --- running on -------------------------------------------------------------------------------------------------------


@each_cell
def test_states_are_those_of_the_whole_run_at_the_steps_asked_for(kind):
    network = draw(kind)
    h = random(M, B, network.state_size)
    whole, _ = network.rollout(torch.empty(M, 0, B, D).double(), 12, h)
    found = stability.run_on(network, h, [0, 1, 4, 12])
    assert same_bits(found, torch.stack([h, whole[:, 0], whole[:, 3], whole[:, 11]], 1))
    assert same_bits(stability.run_on(network.cell, h, np.array([12])), whole[:, 11:])


def test_no_gradients_are_kept_and_the_callers_mode_is():
    network, h = draw(Elman), random(M, B, N).requires_grad_()
    for state in stability.states_at(network, h, [1, 2]):
        assert not state.requires_grad and torch.is_grad_enabled()


# --- kicks ------------------------------------------------------------------------------------------------------------


def test_kicks_have_the_size_asked_for():
    h = 10 * random(M, B, N)
    for size in (0.05, 1, 0):
        moved = stability.kick(h, size, generators(0, 1, 2)) - h
        # the sum of state and kick is rounded by ε of the state, and the norms by a few more
        close(moved.norm(dim=2) / h.norm(dim=2), size, 10 * EPS)
    assert stability.kick(h.float(), 0.1, generators(0, 1, 2)).dtype == torch.float32
    assert not stability.kick(torch.zeros(M, B, N), 0.1, generators(0, 1, 2)).any()


def test_kicks_lie_in_the_memories_or_orthogonal_to_them():
    """Memories may be far from orthogonal, and columns of entries off every cycle are zero."""
    basis = random(M, N, 3)
    basis[:, :, 2] = 0
    basis[:, :, 1] = basis[:, :, 0] + 0.1 * basis[:, :, 1]
    onto = basis @ torch.linalg.pinv(basis)
    h = random(M, B, N)
    inside, outside = (stability.directions(h, generators(0, 1, 2), 40, basis, within) for within in (True, False))
    for found, rank in ((inside, 2), (outside, N - 2), (stability.directions(h, generators(0, 1, 2), 40), N)):
        assert found.shape == (M, B, 40, N)
        close(found.norm(dim=3), 1, 10 * EPS)
        # as many random directions fill their space: they have its rank
        assert torch.linalg.matrix_rank(found.flatten(1, 2), rtol=1e-8).tolist() == [rank] * M
    # ε times the condition number of the two columns, which is below 100, times that of the pseudo-inverse, the same
    close(inside.flatten(1, 2) @ onto.mT - inside.flatten(1, 2), 0, 1e-11)
    close(outside.flatten(1, 2) @ onto.mT, 0, 1e-11)
    kicked = stability.kick(h, 0.1, generators(0, 1, 2), basis, within=False)
    close((kicked - h) @ onto.mT, 0, 1e-11)
    assert ((kicked - h).norm(dim=2) > 0.09 * h.norm(dim=2)).all()


def test_directions_within_a_span_are_uniform():
    """The mean of uuᵀ is the projector over its dimension, whatever the columns' lengths."""
    basis = random(1, 4, 2) * real([1, 100])
    drawn = stability.directions(torch.zeros(1, 1, 4).double(), generators(0), 20_000, basis)[0, 0]
    # entries of uuᵀ have a standard deviation of at most ½: five standard errors of their mean
    close(drawn.mT @ drawn / 20_000, (basis @ torch.linalg.pinv(basis))[0] / 2, 5 * 0.5 / 20_000**0.5)


def test_a_model_draws_from_its_own_generator():
    h, basis = random(M, B, N), random(M, N, 2)
    for options in ({}, {"basis": basis}, {"basis": basis, "within": False}):
        found = stability.kick(h, 0.1, generators(0, 1, 2), **options)
        moved = {name: value[ORDER] if name == "basis" else value for name, value in options.items()}
        assert same_bits(stability.kick(h[ORDER], 0.1, generators(*ORDER), **moved), found[ORDER])
        assert not torch.isclose(found, stability.kick(h, 0.1, generators(3, 4, 5), **options)).any()
    assert stability.kick(h[:1, :1], 0.1, *generators(0)).shape == (1, 1, N)


# --- distance and return ----------------------------------------------------------------------------------------------


def test_the_circuit_keeps_kicks_of_its_memories_and_forgets_all_others():
    basis = circuit.random_basis(18, 12, *generators(1), orthonormal=True)
    network, psi = linear_rnn(COPY, basis), basis[None]
    h = random(1, B, 12) @ psi.mT
    kept, lost = (stability.kick(h, 0.05, generators(2), psi, within) for within in (True, False))
    # each of 1000 steps rounds by a few ε of the state
    close(stability.distance(network, h, kept, [0, 1, 10, 1000]), 0.05, 1000 * 10 * EPS)
    never = stability.return_time(network, h, kept, 100, 0.9)
    assert never.censored.all() and (never.step == 100).all()
    # what is left after a step is the rounding of W_hh and of the kick, ε times the √18 numbers of a state
    close(stability.distance(network, h, lost, [1, 1000]), 0, 100 * EPS)
    once = stability.return_time(network, h, lost, 100)
    assert not once.censored.any() and (once.step == 1).all()


def test_return_time_of_a_contraction_is_the_closed_form():
    """At the fixed point of h' = ρ R h + b a kick shrinks by ρ a step: it is below f from ⌈log f / log ρ⌉ on."""
    rates = real([0.5, 0.9, 0.99])
    W, b = rates[:, None, None] * turning(0.3, 1.0, 2.0), random(3, 2)
    h = torch.linalg.solve(torch.eye(2).double() - W, b)[:, None].expand(-1, B, -1)
    kicked = stability.kick(h, 0.05, generators(0, 1, 2))
    found = stability.distance(linear(W, b), h, kicked, [0, 1, 7])
    # states of order 1/(1 − ρ) = 100 relative to which the distance is
    close(found, 0.05 * rates[:, None, None] ** torch.tensor([0, 1, 7])[:, None].expand(3, 3, B), 100 * EPS)
    for fraction in (0.1, 0.37):
        back = stability.return_time(linear(W, b), h, kicked, 400, fraction)
        assert not back.censored.any()
        want = (math.log(fraction) / rates.log()).ceil().long()
        assert torch.equal(back.step, want[:, None].expand(3, B))
        # one step before, the last of them is not back yet
        short = stability.return_time(linear(W, b), h, kicked, int(want[2]) - 1, fraction)
        assert short.censored.tolist() == [[False] * B, [False] * B, [True] * B]
    # without b the states decay as the kicks do: relative to them, nothing is forgotten
    assert stability.return_time(linear(W), h, kicked, 400, 0.9).censored.all()


@each_of_torch
def test_return_time_is_read_off_the_distances(kind):
    network = draw(kind)
    h = stability.run_on(network, random(M, B, network.state_size), [3])[:, 0]
    kicked = stability.kick(h, 0.3, generators(0, 1, 2))
    distances = stability.distance(network, h, kicked, range(31))
    steps = set()
    for fraction in (0.05, 0.5, 1.5):
        found = stability.return_time(network, h, kicked, 30, fraction)
        for m, b in np.ndindex(M, B):
            outside = [t for t in range(31) if not distances[m, t, b] <= fraction * distances[m, 0, b]]
            last = outside[-1] if outside else -1
            assert (int(found.step[m, b]), bool(found.censored[m, b])) == (min(last + 1, 30), last == 30)
        steps |= set(found.step.flatten().tolist())
    assert len(steps) > 3  # early, late and never


def test_where_nothing_was_kicked_it_is_back_at_once_and_nan_never_is():
    network, h = draw(Elman), random(M, B, N)
    none = stability.return_time(network, h, h, 5)
    assert not none.step.any() and not none.censored.any()
    lost = stability.return_time(network, h, h + torch.nan, 5)
    assert (lost.step == 5).all() and lost.censored.all()


@each_cell
def test_models_and_states_do_not_see_each_other(kind):
    """To rounding, which 10 steps increase little: a product of another size may be summed in another order."""
    network = draw(kind)
    h = stability.run_on(network, random(M, B, network.state_size), [5])[:, 0]
    kicked, along = stability.kick(h, 0.1, generators(0, 1, 2)), stability.directions(h, generators(0, 1, 2), 2)

    def all_of(network, h, kicked, along):
        basin = stability.basin(network, h, along, 10, returned=0.3, bisections=4)
        back = stability.return_time(network, h, kicked, 10)
        exponents = stability.lyapunov(network, h, 10, 3)
        distance = stability.distance(network, h, kicked, [10])
        return distance, basin.size, basin.censored, back.step, back.censored, exponents

    whole = all_of(network, h, kicked, along)
    permuted = all_of(network[ORDER], h[ORDER], kicked[ORDER], along[ORDER])
    alone = all_of(network[1], h[1:2, 2:3], kicked[1:2, 2:3], along[1:2, 2:3])
    for every, moved, one in zip(whole, permuted, alone, strict=True):
        close(moved.double(), every[ORDER].double(), 1e-12)
        place = (slice(1, 2), slice(None), slice(2, 3)) if every is whole[0] else (slice(1, 2), slice(2, 3))
        close(one.double(), every[place].double(), 1e-12)


# --- basins -----------------------------------------------------------------------------------------------------------


def test_basin_of_a_bistable_neuron_ends_at_zero():
    """h' = tanh(w h), w > 1, has the attracting fixed points ±x* and between them, at zero, one that repels: a kick
    from x* towards it returns up to a size of exactly 1, and away from it whatever its size."""
    weights = (1.5, 3.0)
    x = real([[[fixed_point(w)], [-fixed_point(w)]] for w in weights])
    along = real([-1.0, 5.0])[None, None, :, None].expand(2, 2, 2, 1)  # their length does not count
    found = stability.basin(scalar(*weights), x, along, 200)
    outwards = torch.tensor([[False, True], [True, False]]).expand(2, 2, 2)
    assert torch.equal(found.censored, outwards)
    assert found.resolution == 2.0 / 2**12
    # 1 is a midpoint and does not return (it ends at zero); the largest that does is one resolution below
    assert torch.equal(found.size, torch.where(outwards, 2.0, 1 - found.resolution).double())


def test_an_analog_memory_has_no_basin_and_a_contraction_no_edge():
    h = random(2, B, 2)
    along = stability.directions(h, generators(0, 1), 3)
    W = turning(0.3, 1.0)
    kept = stability.basin(linear(W), h, along, 50)
    assert not kept.size.any() and not kept.censored.any()
    b = h[:, 0]
    at = torch.linalg.solve(torch.eye(2).double() - 0.5 * W, b)[:, None].expand(2, B, 2)
    back = stability.basin(linear(0.5 * W, b), at, along, 50, largest=7.0, bisections=1)
    assert (back.size == 7).all() and back.censored.all()


def test_what_counts_as_returned_is_relative_to_the_kick():
    """h' = h / 2 at its fixed point: after 6 steps 1/64 of any kick is left."""
    W, b = torch.full((1, 1, 1), 0.5).double(), torch.ones(1, 1).double()
    at, along = torch.full((1, 1, 1), 2.0).double(), torch.ones(1, 1, 1, 1).double()
    for returned, size in ((0.016, 2.0), (0.015, 0.0)):
        assert stability.basin(linear(W, b), at, along, 6, returned=returned).size.item() == size


# --- Lyapunov exponents -----------------------------------------------------------------------------------------------


def test_exponents_of_rotations_are_zero():
    found = stability.lyapunov(linear(turning(0.3, 1.0, 2.0)), random(3, B, 2), 50)
    close(found, 0, 10 * EPS)  # every R is ±1 to a few ε


def test_exponents_of_a_linear_map_are_the_logarithms_of_its_moduli():
    """Far from normal. With real eigenvalues of distinct moduli the frame settles, as (0.9/1.1)^t here, and what is
    left is rounding, ε times the condition number of the eigenvectors; in turns of complex pairs log κ / T is."""
    values = real([1.1, -0.9, 0.7, -0.3])
    V = torch.eye(4).double() + real([[0, 0, 0, 0], [5, 0, 0, 0], [0, 0, 0, 5], [3, 0, 0, 0]])
    W = (V @ torch.diag(values) @ torch.linalg.inv(V))[None]
    condition = float(torch.linalg.cond(V))
    assert condition > 20 and (W @ W.mT - W.mT @ W).abs().max() > 1
    for count in (4, 2):
        found = stability.lyapunov(linear(W), random(1, 2, 4), 100, count, warm_up=200)
        close(found, values.abs().log()[:count], 10 * condition * EPS)
    pairs = torch.block_diag(1.05 * turning(1.0)[0], 0.8 * turning(0.3)[0])
    W, T = (V @ pairs @ torch.linalg.inv(V))[None], 400
    moduli = real([1.05, 1.05, 0.8, 0.8])
    close(stability.lyapunov(linear(W), random(1, 2, 4), T, warm_up=100), moduli.log(), 2 * math.log(condition) / T)


def test_exponents_at_orbits_of_a_neuron_are_the_logarithms_of_their_multipliers():
    """h' = tanh(w h) stays at x* if w > 1, and jumps between ±x* if w < −1: log |w| (1 − x*²) a step."""
    weights = (1.5, -2.0)
    x = real([fixed_point(w) for w in weights])[:, None, None]
    want = [math.log(abs(w) * (1 - fixed_point(w) ** 2)) for w in weights]
    close(stability.lyapunov(scalar(*weights), x, 10)[:, 0, 0], want, 1e-13)  # 1 − x² loses a digit or two
    # a run that starts elsewhere has settled after the warm-up, by e^(−0.4 · 200) at least
    close(stability.lyapunov(scalar(*weights), 0.1 * x, 10, warm_up=200)[:, 0, 0], want, 1e-13)


def test_exponents_of_chaotic_maps():
    """Ulam's h' = 1 − 2h² has log 2, with a mean over T steps off by (g(h_T) − g(h_0)) / T, g = log √(1 − h²). Hénon's
    map shrinks areas by 0.3 a step, and its first exponent is known to be 0.419."""
    ulam = SimpleNamespace(step=lambda h: 1 - 2 * h * h)
    found = stability.lyapunov(ulam, random(2, B, 1).sin(), 500)
    close(found, math.log(2), 10 / 500)  # g = −10 is met once in e^10 steps

    def step(h):
        x, y = h.unbind(-1)
        return torch.stack([1 - 1.4 * x * x + y, 0.3 * x], -1)

    found = stability.lyapunov(SimpleNamespace(step=step), 0.1 * random(1, 40, 2), 300, warm_up=50)
    close(found.sum(2), math.log(0.3), 300 * EPS)
    # local stretching varies by about 1 a step: 40 runs of 300 steps
    assert found[..., 0].mean().item() == pytest.approx(0.419, abs=3 / (40 * 300) ** 0.5)


@each_cell
def test_exponents_add_up_to_the_logarithms_of_the_jacobians_determinants(kind):
    network = draw(kind)
    h = random(M, 2, network.state_size)
    states = stability.run_on(network, h, range(6))
    found = stability.lyapunov(network, h, 5)
    assert found.dtype == torch.float64 and (found[..., :-1] >= found[..., 1:]).all()
    for b in range(2):
        every = [network.cell.jacobian(states[:, t, b]) for t in range(5)]
        sizes = torch.linalg.svdvals(torch.stack(every))
        if (sizes[..., -1] <= 1e-14 * sizes[..., 0]).all():  # what was written last is forgotten: no determinant
            assert (found[:, b, -1] < math.log(1e-12)).all()
            continue
        # a determinant is off by n ε times the condition number of its Jacobian, in each of five QR steps twice
        allowed = 10 * network.state_size * 2**-52 * float((sizes[..., 0] / sizes[..., -1]).max())
        assert allowed < 1e-4
        close(found[:, b].sum(1), torch.stack([torch.linalg.slogdet(J).logabsdet for J in every]).mean(0), allowed)


def test_the_largest_exponent_is_that_of_the_product_of_all_jacobians():
    network, T = draw(Elman), 60
    h = random(M, 1, N)
    states = stability.run_on(network, h, range(T))
    product = torch.eye(N).double().expand(M, N, N)
    for t in range(T):
        product = network.cell.jacobian(states[:, t, 0]) @ product
    norms = torch.linalg.svdvals(product)[:, 0].log() / T
    # a random direction has a component of about 1/√N along the one that is stretched most, and below e^−5 in 1 of 75
    close(stability.lyapunov(network, h, T)[:, 0, 0], norms, 5 / T)


def test_a_direction_that_is_wiped_out_has_minus_infinity():
    W = real([[[0.5, 0], [0, 0]]])
    found = stability.lyapunov(linear(W), random(1, 1, 2), 1)[0, 0]
    assert found[1] == -math.inf


def test_float32_networks_are_measured_in_float64():
    network = draw(Elman).to(torch.float32)
    h = random(M, B, N).float()
    want = stability.lyapunov(network.to(torch.float64), h.double(), 20)
    assert same_bits(stability.lyapunov(network, h, 20), want)


def test_networks_of_tokens_run_as_their_cells_or_with_an_input_that_stays():
    network = TokenNetwork.init(CELLS["gru"], 4, N, generators(0, 1), autoregressive=False).to(torch.float64)
    h, nothing = random(2, B, N), network.vocabulary + 1
    reading = SimpleNamespace(step=lambda h: network.step(h, torch.full(h.shape[:2], nothing)))
    assert torch.equal(stability.run_on(reading, h, [1])[:, 0], network.step(h, torch.full((2, B), nothing)))
    kicked = stability.kick(h, 0.1, generators(0, 1))
    for runs in (reading, network.cell):  # freshly drawn gates forget
        assert (stability.distance(runs, h, kicked, [60]) < 1e-3).all()
        assert (stability.lyapunov(runs, h, 60, 1) < 0).all()


# --- errors -----------------------------------------------------------------------------------------------------------


def test_wrong_arguments_are_named():
    network, h, three = draw(Elman), random(M, B, N), generators(0, 1, 2)
    for steps in ([], [2, 1], [1, 1], [-1], [0.5]):
        with pytest.raises(SHAPE_ERRORS, match="steps"):
            stability.run_on(network, h, steps)
        with pytest.raises(SHAPE_ERRORS, match="steps"):
            stability.distance(network, h, h, steps)
    with pytest.raises(ValueError, match=r"^generators must be one per model \(3\), got 2"):
        stability.kick(h, 0.1, three[:2])
    with pytest.raises(ValueError, match=r"^size must be finite and at least 0, got -1"):
        stability.kick(h, -1, three)
    with pytest.raises(ValueError, match=r"^count must be at least 1, got 0"):
        stability.directions(h, three, 0)
    with pytest.raises(SHAPE_ERRORS, match="basis"):
        stability.kick(h, 0.1, three, random(M, N + 1, 2))
    full = random(M, N, N)
    with pytest.raises(ValueError, match=r"^basis must have a direction outside its span for every model, got ranks"):
        stability.kick(h, 0.1, three, full, within=False)
    with pytest.raises(ValueError, match=r"^basis must have a direction for every model, got ranks \[0, 6, 6\] of 6"):
        stability.kick(h, 0.1, three, full * torch.tensor([0, 1, 1])[:, None, None])
    for name, options in (("steps", (0, 0.1)), ("fraction", (5, 0.0))):
        with pytest.raises(ValueError, match=rf"^{name} must be"):
            stability.return_time(network, h, h, *options)
    along = stability.directions(h, three, 2)
    for name, value in (("steps", 0), ("returned", 0.0), ("largest", -1.0), ("bisections", 0)):
        with pytest.raises(ValueError, match=rf"^{name} must be"):
            stability.basin(network, h, along, **{"steps": 5, name: value})
    with pytest.raises(SHAPE_ERRORS, match="directions"):
        stability.basin(network, h, along[:, :2], 5)
    for bad in (0, torch.nan):
        with pytest.raises(ValueError, match=r"^directions must be finite and none of them zero"):
            stability.basin(network, h, bad * along, 5)
    for options in ({"steps": 0}, {"count": 0}, {"count": N + 1}, {"warm_up": -1}):
        with pytest.raises(ValueError, match=f"^{next(iter(options))} must be"):
            stability.lyapunov(network, h, **{"steps": 3, **options})
