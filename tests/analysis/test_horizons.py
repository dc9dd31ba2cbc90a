"""How long a memory lasts, against whole rollouts and closed forms; what eigenvalues predict, against simulations."""

import math

import numpy as np
import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits
from scipy.linalg import schur
from scipy.stats import norm

from emt_core.analysis import horizons, spectrum
from emt_core.networks import CELLS, VectorNetwork
from emt_core.networks.exact import linear_rnn
from emt_core.networks.vectors import elman
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit
from emt_core.training import evaluate

each_cell = pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)
MIXED = VariableBinding.from_operator(torch.eye(12, dtype=torch.float64)[[4, 0, 9]] * -1)
NEGATED = VariableBinding((3, 0, 3), 2, 2)  # x(t) = −x(t − 2): eigenvalues ±i
ORDER = [2, 0, 1]


def one_cycle(history: int, dim: int) -> VariableBinding:
    """x_k(t) = x_{k+1}(t − S): all S·D entries on one cycle, and nothing acts while it is read."""
    return VariableBinding.from_operator(torch.eye(history * dim, dtype=torch.float64)[:dim].roll(-1, 0))


def noisy(task: VariableBinding, *seeds: int, size: float = 0.02) -> VectorNetwork:
    """Linear circuits that are slightly wrong, one per seed."""
    exact = linear_rnn(task)
    noise = [torch.randn(exact.W_hh.shape[1:], generator=g, dtype=torch.float64) for g in generators(*seeds)]
    many = [w.expand(len(seeds), -1, -1) for w in (exact.W_uh, exact.W_hh, exact.W_r)]
    return elman(many[0], many[1] + size * torch.stack(noise), many[2], activation="identity")


def turned(*deltas: float) -> VectorNetwork:
    """The circuits of NEGATED with eigenvalues ±i e^{±iδ}. Φ² = −1, so Φ e^{δΦ} = cos(δ) Φ + sin(δ) Φ² has them."""
    exact, phi = linear_rnn(NEGATED), circuit.interaction_matrix(NEGATED)
    W_hh = torch.stack([math.cos(d) * phi + math.sin(d) * phi @ phi for d in deltas])
    many = len(deltas), -1, -1
    return elman(exact.W_uh.expand(many), W_hh, exact.W_r.expand(many), activation="identity")


# --- accuracy ---------------------------------------------------------------------------------------------------------


@each_cell
def test_accuracy_is_that_of_the_whole_rollout(kind):
    for dtype in (torch.float32, torch.float64):
        network = VectorNetwork.init(kind, 3, 7, generators(0, 1, 2)).to(dtype)
        inputs, targets = MIXED.sample(20, 30, generators(3, 4, 5), dtype)
        _, outputs = network.rollout(inputs, 30)
        right = (outputs[:, 4:] * targets > 0).double().mean((2, 3))
        assert len(right.unique()) > 5
        assert torch.equal(horizons.accuracy_at(network, MIXED, range(1, 31), 20, generators(3, 4, 5)), right)
        some = horizons.accuracy_at(network, MIXED, np.array([1, 7, 30]), 20, generators(3, 4, 5))
        assert torch.equal(some, right[:, [0, 6, 29]])


def test_the_mean_over_all_steps_is_the_accuracy_of_training():
    network = noisy(MIXED, 0).to(torch.float32)
    found = horizons.accuracy_at(network, MIXED, range(1, 61), 50, torch.Generator().manual_seed(2**31)).mean()
    assert 0.6 < found < 0.99
    # which is returned in float32
    assert found.item() == pytest.approx(evaluate(network, MIXED, horizon=60, sequences=50, seeds=[0]).item(), abs=1e-7)


def test_an_exact_circuit_is_right_for_as_long_as_one_likes():
    network = linear_rnn(one_cycle(3, 2))
    assert horizons.accuracy_at(network, one_cycle(3, 2), [1, 10_000, 20_000], 8, generators(0)).tolist() == [[1.0] * 3]
    found = horizons.horizon(network, one_cycle(3, 2), generators(0), longest=500, batch=8)
    assert found.step.tolist() == [500] and found.censored.tolist() == [True]


def test_outputs_of_zero_have_no_sign():
    silent = linear_rnn(NEGATED)
    silent = silent.with_weights(silent.weights | {"W_r": 0 * silent.W_r})
    assert horizons.accuracy_at(silent, NEGATED, [1, 2], 4, generators(0)).tolist() == [[0.0, 0.0]]
    found = horizons.horizon(silent, NEGATED, generators(0), batch=1)
    assert found.step.tolist() == [1] and found.censored.tolist() == [False]


# --- horizons ---------------------------------------------------------------------------------------------------------


def test_horizon_of_a_turned_spectrum_is_the_closed_form():
    """After t steps an output holds cos of its target and ± sin of the entry that is written before or after it, where
    the older of the two has turned by δ(t + 1) and the younger by δt: its sign is right for sure as long as
    cos δ(t + 1) > sin δt or the reverse, that is δ(t + ½) < π/4, and as often as not from then on."""
    deltas = (0.01, 0.003, 0.0)
    found = horizons.horizon(turned(*deltas), NEGATED, generators(0, 1, 2), longest=400)
    assert found.step.tolist() == [math.floor(math.pi / 4 / d - 0.5) + 1 for d in deltas[:2]] + [400]
    assert found.censored.tolist() == [False, False, True]
    before, at = horizons.accuracy_at(turned(0.01), NEGATED, [78, 79], 2000, generators(0))[0].tolist()
    assert before == 1 and at == pytest.approx(0.5, abs=5 * 0.5 / 2000**0.5)  # five standard errors of 2000 sequences


def test_horizon_is_read_off_the_mean_of_the_last_steps():
    network = noisy(MIXED, 0, 1, 2)
    right = horizons.accuracy_at(network, MIXED, range(1, 121), 40, generators(3, 4, 5))
    for level in (0.6, 0.9, 1.0):
        want = []
        for own in right:
            means = [own[max(t - 4, 0) : t].mean() for t in range(1, 121)]
            want.append(next((t for t, mean in enumerate(means, start=1) if mean < level), None))
        found = horizons.horizon(network, MIXED, generators(3, 4, 5), level, 120, 40)
        assert found.step.tolist() == [t or 120 for t in want]
        assert found.censored.tolist() == [t is None for t in want]


def test_models_read_their_own_sequences():
    network, steps = noisy(MIXED, 0, 1, 2), [1, 20, 40]
    right = horizons.accuracy_at(network, MIXED, steps, 15, generators(3, 4, 5))
    moved = horizons.accuracy_at(network[ORDER], MIXED, steps, 15, generators(5, 3, 4))
    assert same_bits(moved, right[ORDER]) and len(right[:, 2].unique()) > 1
    assert same_bits(horizons.accuracy_at(network[1], MIXED, steps, 15, *generators(4)), right[1:2])
    there = horizons.horizon(network, MIXED, generators(3, 4, 5), batch=15)
    back = horizons.horizon(network[ORDER], MIXED, generators(5, 3, 4), batch=15)
    assert torch.equal(back.step, there.step[ORDER])
    assert horizons.accuracy_at(network[0], MIXED, [1], 1, generators(0)).shape == (1, 1)


# --- linear theory ----------------------------------------------------------------------------------------------------


def moved_modes(task: VariableBinding, angle: float, growth: float, seed: int) -> tuple[np.ndarray, ...]:
    """Orthonormal modes of the task's cycles, their eigenvalues, and these moved at random: arguments by up to
    ``angle``, moduli by up to ``growth``, the same for partners of a complex pair."""
    kept = circuit.on_cycle(task)
    phi = circuit.interaction_matrix(task)[kept][:, kept].numpy()
    values, modes = schur(phi, output="complex")  # of a normal matrix: unitary, and a diagonal
    values, rng = values.diagonal(), np.random.default_rng(seed)
    # a smooth odd function of the argument for the angles, an even one for the moduli: the moved matrix is real
    phase = np.angle(values)
    delta = angle * sum(rng.uniform(-1, 1) * np.sin(k * phase) for k in range(1, 9)) / 3
    rho = np.exp(growth * sum(rng.uniform(-1, 1) * np.cos(k * phase) for k in range(1, 9)) / 3)
    return modes, values, values * rho * np.exp(1j * delta)


@pytest.mark.parametrize("seed", range(4))
def test_correlation_is_that_of_the_covariances(seed):
    """E[x̂ xᵀ] and E[x̂ x̂ᵀ] for loads of unit covariance, written out as matrices: for tasks of several cycles too."""
    task = VariableBinding.random(4, 5, *generators(seed))
    modes, theory, learned = moved_modes(task, 0.02, 0.05, seed)
    order, steps = np.random.default_rng(seed).permutation(len(theory)), [0, 1, 5, 40]
    found = horizons.mode_correlation(learned[order], theory, steps)
    for r, t in zip(found, steps, strict=True):
        wanted, held = (modes @ np.diag(values**t) @ modes.conj().T for values in (theory, learned))
        want = np.trace(held @ wanted.conj().T).real / np.sqrt(len(theory)) / np.linalg.norm(held)
        assert r == pytest.approx(want, abs=1e-12)  # t + K products of numbers of order 1
    assert found[-1] < 0.999


def test_prediction_is_the_share_of_right_signs_in_simulated_modes():
    modes, theory, learned = moved_modes(one_cycle(5, 8), 0.03, 0.02, 1)
    steps, rng = [1, 20, 40, 80, 160], np.random.default_rng(0)
    x = np.sign(rng.normal(size=(40, 20_000)))
    right = []
    for t in steps:
        wanted, held = ((modes @ np.diag(values**t) @ modes.conj().T).real @ x for values in (theory, learned))
        right.append((wanted * held > 0).mean())
    found = horizons.linear_prediction(learned, theory, steps)
    assert found[0] > 0.97 and found[-1] < 0.8 and (np.diff(found) < 0).all()
    # 20,000 independent runs: at most ½/√20,000 = 0.0035 of standard error, had all 40 entries of a run one fate; four
    # of them. A sum of signs is not quite normal, by kurtosis terms of order 1/40 times the density's curvature: 0.005
    np.testing.assert_allclose(found, right, rtol=0, atol=4 * 0.0035 + 0.005)


def test_prediction_is_the_accuracy_of_a_linear_network_with_that_spectrum():
    """From reading the inputs to the signs written, knowing the eigenvalues of W_hh alone."""
    task = one_cycle(5, 8)
    modes, _, learned = moved_modes(task, 0.01, 0.005, 2)
    exact = linear_rnn(task)
    W_hh = torch.from_numpy((modes @ np.diag(learned) @ modes.conj().T).real)[None]
    network = elman(exact.W_uh, W_hh, exact.W_r, activation="identity")
    steps = [1, 60, 120, 240, 480]
    found = horizons.accuracy_at(network, task, steps, 1000, generators(0))[0].numpy()
    values = spectrum.eigenvalues(W_hh[0]).numpy()
    theory = spectrum.eigenvalues(circuit.effective_interaction(task)).numpy()
    predicted = horizons.linear_prediction(values, theory, steps)
    assert found[0] == 1 and found[-1] < 0.8
    # 1000 runs: four standard errors of at most ½/√1000; that reading turns by up to S steps more moves it by less
    np.testing.assert_allclose(predicted, found, rtol=0, atol=4 * 0.5 / 1000**0.5)


def test_prediction_of_phases_alone_is_the_closed_form():
    """All modes turned by ±δ: r = cos δt, and accuracy is Φ(cot δt)."""
    theory, d, t = np.exp(1j * np.array([0.5, 1.5, -0.5, -1.5])), 0.002, np.array([1, 100, 700])
    learned = (theory * np.exp(1j * d * np.array([1, -1, -1, 1])))[[2, 0, 3, 1]]
    r = horizons.mode_correlation(learned, theory, t)
    np.testing.assert_allclose(r, np.cos(d * t), rtol=0, atol=1e-13)  # t times the rounding of an argument
    # arcsin is off by √(2ε) = 2e-8 where r is rounded next to 1, ε δt / sin δt elsewhere
    signs = horizons.linear_prediction(learned, theory, t)
    np.testing.assert_allclose(signs, norm.cdf(1 / np.tan(d * t)), rtol=0, atol=1e-8)
    for level in (0.95, 0.7):
        end = np.arctan(1 / norm.ppf(level)) / d
        found = horizons.predicted_horizon(learned, theory, level)
        assert found.step.item() == math.floor(end) + 1 and not found.censored
        cut = horizons.predicted_horizon(learned, theory, level, math.floor(end))
        assert cut.step.item() == math.floor(end) and cut.censored


def test_moduli_alone_leave_the_largest_mode():
    """As its modes grow apart the output becomes the largest one: r falls to 1/√K, and nothing overflows."""
    theory = np.exp(2j * np.pi * np.arange(4) / 4)
    learned = theory * np.array([1.3, 1.2, 1.1, 1.2])
    steps = [0, 1, 10, 10**6]
    found = horizons.mode_correlation(learned, theory, steps)
    moduli = np.abs(learned)
    want = [(moduli**t).sum() / np.sqrt(4 * (moduli ** (2 * t)).sum()) for t in steps[:3]]
    np.testing.assert_allclose(found, [*want, 0.5], rtol=0, atol=1e-14)
    even = horizons.linear_prediction(0.9 * theory, theory, steps)  # what shrinks together keeps its signs
    np.testing.assert_allclose(even, 1, rtol=0, atol=1e-14)
    exact = horizons.predicted_horizon(theory, theory, 1.0, 100)
    assert exact.step.item() == 100 and exact.censored


# --- errors -----------------------------------------------------------------------------------------------------------


def test_wrong_arguments_are_named():
    network, three = noisy(MIXED, 0, 1, 2), generators(0, 1, 2)
    for steps in ([], [0], [2, 1], [1, 1]):
        with pytest.raises(ValueError, match=r"^steps must be"):
            horizons.accuracy_at(network, MIXED, steps, 4, three)
    with pytest.raises(ValueError, match=r"^generators must be one per model \(3\), got 1"):
        horizons.accuracy_at(network, MIXED, [1], 4, three[0])
    with pytest.raises(ValueError, match=r"^batch must be at least 1, got 0"):
        horizons.horizon(network, MIXED, three, batch=0)
    with pytest.raises(ValueError, match=r"^task must have dim 3 as the network, got 2"):
        horizons.horizon(network, NEGATED, three)
    values = np.exp(1j * np.arange(3))
    for name, bad in (("level", 0.0), ("level", 1.1), ("level", math.nan), ("longest", 0)):
        with pytest.raises(ValueError, match=rf"^{name} must"):
            horizons.horizon(network, MIXED, three, **{name: bad})
        with pytest.raises(ValueError, match=rf"^{name} must"):
            horizons.predicted_horizon(values, values, **{name: bad})
    with pytest.raises(ValueError, match=r"^steps must be at least 0, got -1"):
        horizons.linear_prediction(values, values, [-1])
    wrong = [("learned", (0 * values, values)), ("theory", (values, values * np.nan)), ("learned", (values[:0],) * 2)]
    for name, bad in wrong:
        with pytest.raises(ValueError, match=rf"^{name} must hold at least one eigenvalue"):
            horizons.mode_correlation(*bad, [1])
    with pytest.raises(SHAPE_ERRORS, match="theory"):
        horizons.mode_correlation(values, values[:2], [1])
