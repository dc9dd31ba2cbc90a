"""Matching eigenvalues: the best assignment, symmetric, zero on itself, and counts that tell when there is none."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import PAPER, SHAPE_ERRORS

from emt_core.analysis import spectrum
from emt_core.networks.exact import linear_rnn
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

seeds = st.integers(0, 10**6)
# angles are exact to a few ε, and at most a few dozen are added
ROUNDING = 1e-13


def points(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(0.5, 1.5, count) * np.exp(1j * rng.uniform(-np.pi, np.pi, count))


def with_spectrum(values: np.ndarray, seed: int = 0) -> torch.Tensor:
    """A real matrix with eigenvalues ``values`` and their conjugates, in a random basis."""
    blocks = [torch.tensor([[v.real, -v.imag], [v.imag, v.real]], dtype=torch.float64) for v in values]
    basis = torch.randn(
        2 * len(values), 2 * len(values), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return basis @ torch.block_diag(*blocks) @ torch.linalg.inv(basis)


def matrices(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) / shape[-1] ** 0.5


@given(st.integers(1, 6), seeds)
def test_optimal_matching_is_the_best_of_all_permutations(count, seed):
    a, b = points(count, seed), points(count, seed + 1)
    partner, angles = spectrum.match_optimal(a, b)
    assert sorted(partner) == list(range(count))
    np.testing.assert_allclose(angles, np.abs(np.angle(a / b[partner])), rtol=0, atol=ROUNDING)
    best = min(
        sum(abs(np.angle(x / y)) for x, y in zip(a, b[list(p)], strict=True)) for p in permutations(range(count))
    )
    assert angles.sum() == pytest.approx(best, abs=ROUNDING)


@given(st.integers(1, 30), seeds)
def test_greedy_matching_is_one_to_one_and_never_better(count, seed):
    a, b = points(count, seed), points(count, seed + 1)
    partner, angles = spectrum.match_greedy(a, b)
    assert sorted(partner) == list(range(count))
    np.testing.assert_allclose(angles, np.abs(np.angle(a / b[partner])), rtol=0, atol=ROUNDING)
    assert angles.sum() >= spectrum.match_optimal(a, b)[1].sum() - ROUNDING


def test_greedy_matching_depends_on_the_order_and_the_optimal_one_does_not():
    a, b = np.exp(1j * np.array([0.4, 0.0])), np.exp(1j * np.array([0.3, 1.0]))
    assert spectrum.match_greedy(a, b)[1].sum() == pytest.approx(0.1 + 1.0)
    assert spectrum.match_greedy(a[::-1], b)[1].sum() == pytest.approx(0.3 + 0.6)
    for order in (a, a[::-1]):
        assert spectrum.match_optimal(order, b)[1].sum() == pytest.approx(0.9)


@given(st.integers(1, 20), seeds)
def test_angle_is_symmetric_and_exactly_zero_between_equals(count, seed):
    a, b = points(count, seed), points(count, seed + 1)
    assert np.array_equal(spectrum.angle_between(a, a), np.zeros(count))
    assert np.array_equal(spectrum.angle_between(a, b), spectrum.angle_between(b, a))
    assert (spectrum.angle_between(a, b) <= np.pi).all()


def test_angle_goes_the_short_way_round():
    a, b = np.exp(1j * np.array([np.pi - 0.1, 3.0])), np.exp(1j * np.array([-np.pi + 0.1, -3.0]))
    np.testing.assert_allclose(spectrum.angle_between(a, b), [0.2, 2 * np.pi - 6.0], rtol=0, atol=ROUNDING)


@given(st.integers(1, 12), seeds)
def test_error_is_exactly_zero_on_itself(hidden, seed):
    W = matrices(2, hidden, hidden, seed=seed)
    match = spectrum.spectral_error(W, W, threshold=0.3)
    assert match.matched.all()
    assert match.error.tolist() == [0.0, 0.0]
    assert torch.equal(match.counts[:, 0], match.counts[:, 1])


@pytest.mark.parametrize("triple", PAPER, ids=str)
def test_error_is_zero_on_the_papers_circuits_in_any_basis(triple):
    task = VariableBinding(triple, 8, 8)
    phi = circuit.effective_interaction(task)
    assert spectrum.spectral_error(phi, phi).error.item() == 0
    basis = circuit.random_basis(100, 64, torch.Generator().manual_seed(0))
    match = spectrum.spectral_error(linear_rnn(task, basis).W_hh, phi)
    assert match.matched.all()
    assert match.counts.tolist() == [[circuit.effective_rank(task)] * 2]
    assert match.error.item() < 1e-10


@given(st.integers(1, 12), seeds)
def test_error_is_symmetric(hidden, seed):
    a, b = matrices(hidden, hidden, seed=seed), matrices(hidden, hidden, seed=seed + 1)
    there, back = spectrum.spectral_error(a, b, threshold=0.3), spectrum.spectral_error(b, a, threshold=0.3)
    assert there.matched == back.matched
    assert there.counts.tolist() == back.counts.tolist()[::-1]
    torch.testing.assert_close(there.error, back.error, rtol=0, atol=ROUNDING, equal_nan=True)


def test_error_is_the_angle_by_which_the_spectrum_is_turned():
    angles = np.array([0.3, 1.0, 1.7, 2.4])
    turned = with_spectrum(np.exp(1j * (angles + 0.01)), seed=1)
    small = with_spectrum(0.95 * np.exp(1j * angles), seed=2)
    # conjugates turn the other way, so that every pair is 0.01 apart; a random basis costs a few digits of 16
    assert spectrum.spectral_error(turned, small).error.item() == pytest.approx(0.01, abs=1e-9)


def test_threshold_decides_what_counts():
    a = with_spectrum(np.array([1.0, 0.95, 0.5]) * np.exp(1j))
    b = with_spectrum(np.array([1.0, 0.85, 0.2]) * np.exp(1j), seed=1)
    for threshold, counts in [(0.9, [4, 2]), (0.8, [4, 4]), (0.1, [6, 6]), (2, [0, 0])]:
        match = spectrum.spectral_error(a, b, threshold=threshold)
        assert match.counts.tolist() == counts
        assert match.matched.item() == (counts[0] == counts[1])
        assert match.error.isnan().item() == (counts[0] != counts[1])


def test_default_threshold_is_the_papers():
    a, b = torch.diag(torch.tensor([0.95, 0.91])), torch.diag(torch.tensor([0.95, 0.89]))
    assert spectrum.spectral_error(a, b).counts.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("left", "right", "batch"),
    [
        ((), (), ()),
        ((3,), (), (3,)),
        ((), (3,), (3,)),
        ((2, 3), (3,), (2, 3)),
        ((2, 1), (3,), (2, 3)),
        ((0,), (), (0,)),
    ],
    ids=str,
)
def test_batches_broadcast(left, right, batch):
    a, b = matrices(*left, 6, 6), matrices(*right, 4, 4, seed=1)
    match = spectrum.spectral_error(a, b, threshold=0.5)
    assert match.error.shape == match.matched.shape == batch
    assert match.counts.shape == (*batch, 2)
    for place in np.ndindex(*batch):
        one = spectrum.spectral_error(a.expand(*batch, 6, 6)[place], b.expand(*batch, 4, 4)[place], threshold=0.5)
        assert one.counts.tolist() == match.counts[place].tolist()
        torch.testing.assert_close(one.error, match.error[place], rtol=0, atol=ROUNDING, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_eigenvalues_are_numpys_in_double_precision(dtype):
    W = matrices(3, 5, 5).to(dtype)
    values = spectrum.eigenvalues(W)
    assert values.dtype == torch.complex128
    for m in range(3):
        expected = np.linalg.eigvals(W[m].double().numpy())
        # the same LAPACK routine or another: sorted, equal to the conditioning of a random 5 × 5 matrix
        np.testing.assert_allclose(np.sort_complex(values[m].numpy()), np.sort_complex(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_eigenvalues_of_a_complex_matrix_are_numpys(dtype):
    W = torch.complex(matrices(3, 5, 5), matrices(3, 5, 5, seed=1)).to(dtype)
    values = spectrum.eigenvalues(W)
    assert values.dtype == torch.complex128 and values.shape == (3, 5)
    for m in range(3):
        expected = np.linalg.eigvals(W[m].to(torch.complex128).numpy())
        np.testing.assert_allclose(np.sort_complex(values[m].numpy()), np.sort_complex(expected), rtol=0, atol=1e-10)
    # by hand: two turned by an imaginary unit, which are no longer each other's conjugates
    turned = spectrum.eigenvalues(torch.diag(torch.tensor([2.0, 3.0j], dtype=dtype)))
    assert turned.tolist() == [2, 3j]
    torch.testing.assert_close(spectrum.eigenvalues(1j * W)[0], 1j * values[0], rtol=0, atol=1e-6)
    bad = W.clone()
    bad[1, 2, 3] = complex(0, torch.inf)
    assert spectrum.eigenvalues(bad)[1].isnan().all() and torch.equal(spectrum.eigenvalues(bad)[::2], values[::2])


def test_complex_matrices_are_compared_by_all_of_their_numbers():
    W = torch.diag(torch.tensor([1.0, 1.0j, 0.1]))
    match = spectrum.spectral_error(W * np.exp(0.01j), W)
    assert match.counts.tolist() == [2, 2] and match.error.item() == pytest.approx(0.01, abs=1e-6)


def test_zeros_are_no_eigenvalues_above_a_small_threshold():
    """Of a task with entries off every cycle Φ is singular, and in a basis its zeros become rounding residues."""
    task = VariableBinding(PAPER[1], 8, 8)
    phi, rank = circuit.effective_interaction(task), circuit.effective_rank(task)
    learned = linear_rnn(task, circuit.random_basis(100, 64, torch.Generator().manual_seed(0))).W_hh
    assert rank < 64 and (spectrum.eigenvalues(learned) != 0).sum() > rank
    match = spectrum.spectral_error(learned, phi, threshold=0.5)  # all others lie on the unit circle
    assert match.counts.tolist() == [[rank, rank]] and match.error.item() < 1e-10


@pytest.mark.parametrize("bad", [torch.nan, torch.inf], ids=str)
def test_a_matrix_that_is_not_finite_matches_nothing_and_disturbs_nobody(bad):
    W = matrices(3, 4, 4)
    W[1, 2, 3] = bad
    assert spectrum.eigenvalues(W)[1].isnan().all()
    assert spectrum.eigenvalues(W)[[0, 2]].isfinite().all()
    # compared with a matrix that has no large eigenvalue, its count of none must not pass for agreement
    match = spectrum.spectral_error(W, torch.zeros(4, 4), threshold=100)
    assert match.matched.tolist() == [True, False, True]
    assert match.error.isnan().tolist() == [False, True, False]
    assert not spectrum.spectral_error(W, W).matched[1]


def test_the_greedy_variant_is_on_offer():
    task = VariableBinding(PAPER[2], 8, 8)
    phi = circuit.effective_interaction(task)
    noisy = phi + matrices(5, 64, 64) * 0.02
    greedy, optimal = (spectrum.spectral_error(noisy, phi, 0.7, matching=m) for m in ("greedy", "optimal"))
    assert greedy.matched.any()
    assert torch.equal(greedy.matched, optimal.matched)
    assert (greedy.error >= optimal.error - ROUNDING)[greedy.matched].all()


def test_wrong_arguments_are_named():
    W = matrices(3, 3)
    with pytest.raises(ValueError, match="matching"):
        spectrum.spectral_error(W, W, matching="best")
    for threshold in (0, 0.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=rf"^threshold must be positive, got {threshold}$"):
            spectrum.spectral_error(W, W, threshold=threshold)
    with pytest.raises(SHAPE_ERRORS, match="learned"):
        spectrum.spectral_error(W[:2], W)
    with pytest.raises(SHAPE_ERRORS, match="theory"):
        spectrum.spectral_error(W, W[:, :2])
    with pytest.raises(SHAPE_ERRORS, match="theory"):
        spectrum.spectral_error(W.expand(2, 3, 3), W.expand(3, 3, 3))
    for match in (spectrum.match_optimal, spectrum.match_greedy):
        with pytest.raises(SHAPE_ERRORS, match="theory"):
            match(points(2, 0), points(3, 0))
