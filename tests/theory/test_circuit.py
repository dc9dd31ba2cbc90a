"""The theory's circuit: exact where contents are loaded, off by a known matrix where they are written."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import PAPER, SHAPE_ERRORS, codes, decode, simulate

from emt_core.networks.exact import linear_rnn
from emt_core.networks.vectors import elman
from emt_core.tasks import PAPER_TRIPLES, VariableBinding
from emt_core.theory import circuit

# Contents stay of order 1 for ever (Φ copies them), so errors add up rather than grow: 200 steps of N·ε·cond(Ψ)² stay
# below 1e-11 for N ≥ 1.5·S·D, where a Gaussian basis has a condition number of about 10.
EXACT = 1e-10


def basis_for(task, seed, extra=1.5, orthonormal=False):
    size = task.history * task.dim
    generator = torch.Generator().manual_seed(seed)
    return circuit.random_basis(int(size * extra) + 3, size, generator, orthonormal=orthonormal)


def future(task, x, horizon):
    """What the task says follows the contents ``x`` (S·D, B): (T, B, D), by the scalar simulator."""
    sources = decode(task.triple, task.dim)
    rows = [simulate(sources, x[:, b].view(task.history, task.dim).tolist(), horizon) for b in range(x.shape[1])]
    return torch.tensor(rows, dtype=torch.float64).transpose(0, 1)


def test_interaction_matrix_by_hand():
    task = VariableBinding((0b0110, 1, 0b10), 2, 2)
    assert circuit.interaction_matrix(task).tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, -1, 0, 0]]


@given(codes())
def test_interaction_matrix_shifts_and_appends(code):
    task = VariableBinding(*code)
    x = torch.randn(task.history * task.dim, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    after = circuit.interaction_matrix(task) @ x
    assert torch.equal(after[: -task.dim], x[task.dim :])
    assert torch.equal(after[-task.dim :].T, future(task, x, 1)[0])


@pytest.mark.parametrize(("history", "dim"), [(1, 1), (3, 2), (8, 8)], ids=str)
def test_repeat_copy_has_the_roots_of_unity_d_fold(history, dim):
    values = torch.linalg.eigvals(circuit.interaction_matrix(VariableBinding.repeat_copy(history, dim)))
    roots = np.exp(2j * np.pi * np.arange(history) / history)
    # Φ is a permutation: its eigenvectors are orthogonal and its eigenvalues exact to a few N·ε
    near = np.abs(values.numpy()[:, None] - roots[None, :]) < 1e-12
    assert near.sum(0).tolist() == [dim] * history


@pytest.mark.parametrize(("triple", "rank"), list(zip(PAPER, (64, 36, 36, 36), strict=True)), ids=str)
def test_effective_rank_of_the_papers_tasks(triple, rank):
    task = VariableBinding(triple, 8, 8)
    assert circuit.effective_rank(task) == rank
    values = torch.linalg.eigvals(circuit.effective_interaction(task)).abs()
    assert int((values > 0.9).sum()) == rank


@given(codes(max_history=5, max_dim=4))
def test_effective_interaction_is_the_papers_deletion_rule(code):
    # up to 20 entries: a nilpotent block of 20 shows eigenvalues of size ε^(1/20) ≈ 0.16, far below the paper's 0.8
    task = VariableBinding(*code)
    phi = circuit.interaction_matrix(task).numpy()

    def large(matrix):
        return int((np.abs(np.linalg.eigvals(matrix)) > 0.8).sum()) if len(matrix) else 0

    keep = [large(np.delete(np.delete(phi, i, 0), i, 1)) < large(phi) for i in range(len(phi))]
    assert circuit.on_cycle(task).tolist() == keep
    assert np.array_equal(circuit.effective_interaction(task).numpy(), phi * np.outer(keep, keep))
    assert circuit.effective_rank(task) == sum(keep) == large(phi)


@pytest.mark.parametrize("orthonormal", [False, True], ids=["oblique", "orthonormal"])
@settings(max_examples=15)
@given(code=codes(), seed=st.integers(0, 999))
def test_loaded_contents_evolve_as_the_task_says(orthonormal, code, seed):
    task = VariableBinding(*code)
    basis = basis_for(task, seed, orthonormal=orthonormal)
    model = linear_rnn(task, basis)
    x = torch.randn(basis.shape[1], 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    nothing = torch.empty(1, 0, 3, task.dim, dtype=torch.float64)
    states, outputs = model.rollout(nothing, 220, (basis @ x).T[None])
    expected = future(task, x, 220)
    assert (outputs[0] - expected).abs().max() < EXACT
    contents = states[0, -1] @ torch.linalg.pinv(basis).T
    window = torch.cat([x.T.unflatten(1, (task.history, task.dim)), expected.transpose(0, 1)], dim=1)[
        :, -task.history :
    ]
    assert (contents - window.flatten(1)).abs().max() < EXACT


@pytest.mark.parametrize("triple", PAPER, ids=str)
def test_loaded_contents_of_the_papers_tasks(triple):
    task = VariableBinding(triple, 8, 8)
    basis = basis_for(task, 0)
    x = torch.randn(64, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).sign()
    model = linear_rnn(task, basis)
    _, outputs = model.rollout(torch.empty(1, 0, 4, 8, dtype=torch.float64), 250, (basis @ x).T[None])
    assert (outputs[0] - future(task, x, 250)).abs().max() < EXACT


@settings(max_examples=20)
@given(codes(max_history=5, max_dim=4), st.integers(0, 999))
def test_writing_through_the_inputs_leaves_the_gap(code, seed):
    task = VariableBinding(*code)
    basis = basis_for(task, seed)
    model = linear_rnn(task, basis)
    inputs = task.inputs(5, torch.Generator().manual_seed(seed), torch.float64)
    states, _ = model.rollout(inputs)
    contents = torch.linalg.pinv(basis) @ states[0, -1].T
    x = inputs[0].permute(0, 2, 1).flatten(0, 1)  # (S·D, B), oldest block first
    assert (contents - circuit.writing_matrix(task) @ x).abs().max() < EXACT
    assert (contents - x - circuit.writing_gap(task) @ x).abs().max() < EXACT
    oldest_only = all(p < task.dim for p, _ in decode(task.triple, task.dim))
    assert bool((circuit.writing_gap(task) == 0).all()) == oldest_only


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6))
@settings(max_examples=15)
def test_written_inputs_are_solved_where_only_the_oldest_block_is_read(history, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    shuffled = VariableBinding.random(1, dim, generator).operator  # any signed order of the oldest block
    task = VariableBinding.from_operator(torch.cat([shuffled, shuffled.new_zeros(dim, (history - 1) * dim)], dim=1))
    inputs, targets = task.sample(4, 200, generator, torch.float64)
    _, outputs = linear_rnn(task, basis_for(task, seed)).rollout(inputs, 200)
    assert (outputs[:, history:] - targets).abs().max() < EXACT


@pytest.mark.parametrize(("triple", "solved"), [(t, t == PAPER[0]) for t in PAPER], ids=str)
def test_of_the_papers_tasks_only_repeat_copy_can_be_written(triple, solved):
    task = VariableBinding(triple, 8, 8)
    inputs, targets = task.sample(64, 200, torch.Generator().manual_seed(0), torch.float64)
    _, outputs = linear_rnn(task).rollout(inputs, 200)
    right = ((outputs[:, 8:] * targets) > 0).double().mean()
    assert right == 1 if solved else right < 0.9


def test_the_standard_basis_is_the_default():
    task = VariableBinding(PAPER[3], 8, 8)
    model = linear_rnn(task)
    assert model.cell.activation == "identity"
    assert torch.equal(model.W_hh[0], circuit.interaction_matrix(task))
    assert torch.equal(model.W_uh[0], torch.eye(64, dtype=torch.float64)[:, -8:])


def test_random_basis_is_orthonormal_on_request_and_its_generators_own():
    a, b = (circuit.random_basis(9, 4, torch.Generator().manual_seed(1), orthonormal=True) for _ in range(2))
    assert torch.equal(a, b)
    torch.testing.assert_close(a.T @ a, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-14)
    oblique = circuit.random_basis(9, 4, torch.Generator().manual_seed(1))
    assert (oblique.T @ oblique - torch.eye(4)).abs().max() > 0.1


@pytest.mark.parametrize(("hidden", "size", "own"), [(23, 4, 5), (12, 12, 1), (40, 5, 8), (3, 1, 3)], ids=str)
def test_columns_of_a_local_basis_share_no_unit(hidden, size, own):
    basis = circuit.local_basis(hidden, size, torch.Generator().manual_seed(0))
    assert basis.shape == (hidden, size) and basis.dtype == torch.float64
    used = basis != 0
    assert used.sum(0).tolist() == [own] * size and used.sum(1).max() == 1
    # equal sizes: the root of a mean of equal squares is rounded once
    torch.testing.assert_close(basis[used].abs(), torch.full_like(basis[used], own**-0.5), rtol=1e-15, atol=0)
    torch.testing.assert_close(basis.T @ basis, torch.eye(size).double(), rtol=0, atol=1e-14)
    linear = linear_rnn(VariableBinding.repeat_copy(size, 1), basis)  # a basis like any other
    torch.testing.assert_close(linear.W_r[0], basis[:, -1:].T, rtol=0, atol=1e-14)


def test_signs_of_a_local_basis_are_random_and_its_generators_own():
    before = torch.get_rng_state()
    a, b, c = (circuit.local_basis(400, 4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(torch.get_rng_state(), before)
    # of 100 signs a column, the number of +1 has a standard deviation of 5
    assert ((a > 0).sum(0) - 50).abs().max() < 20


def test_wrong_bases_are_refused():
    task = VariableBinding.repeat_copy(2, 2)
    with pytest.raises(ValueError, match="size"):
        circuit.random_basis(3, 4, torch.Generator())
    with pytest.raises(ValueError, match="size"):
        circuit.random_basis(3, 0, torch.Generator())
    for size in (0, 4):
        with pytest.raises(ValueError, match=rf"^size must lie in 1 … hidden = 3 for units of its own, got {size}"):
            circuit.local_basis(3, size, torch.Generator())
    with pytest.raises(SHAPE_ERRORS, match="basis"):
        linear_rnn(task, torch.eye(5))
    with pytest.raises(ValueError, match=r"basis.* rank 3 of 4"):
        linear_rnn(task, torch.eye(5)[:, [0, 1, 2, 2]])
    with pytest.raises(ValueError, match=r"basis.* rank 3 of 4"):
        linear_rnn(task, torch.eye(3, 4))
    with pytest.raises(ValueError, match="basis must be finite"):
        linear_rnn(task, torch.full((5, 4), torch.nan))


def least_squares_floor(task: VariableBinding, horizon: int) -> float:
    """The linear floor by brute force: the best responses to each lag by least squares on every possible input."""
    S, D = task.history, task.dim
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=S * D)), dtype=torch.float64)
    u = signs.view(1, -1, S, D).transpose(1, 2)  # (1, S, B, D): all inputs there are
    x = task.targets(u, horizon)[0]  # (T, B, D)
    blocks = []
    for m in range(horizon):  # design matrix: what reaches output m at each lag, S·D … of lags 0 … T + S − 2
        row = torch.zeros(len(signs), horizon + S - 1, D, dtype=torch.float64)
        for k in range(S):
            row[:, m - k + S - 1] = u[0, k]
        blocks.append(row.flatten(1))
    design, wanted = torch.cat(blocks), x.flatten(0, 1)
    best = torch.linalg.lstsq(design, wanted, driver="gelsd").solution
    return float((design @ best - wanted).square().mean())


@pytest.mark.parametrize("seed", range(6))
def test_linear_floor_is_the_least_squares_error_over_all_inputs(seed):
    task = VariableBinding.random(3, 2, torch.Generator().manual_seed(seed))
    # the normal equations of ± 1 inputs are diagonal: both sides are exact up to rounding
    assert circuit.linear_floor(task, 7) == pytest.approx(least_squares_floor(task, 7), abs=1e-12)


def test_linear_floor_of_tasks_that_the_circuit_reads_exactly_is_zero():
    assert circuit.linear_floor(VariableBinding.repeat_copy(4, 3), 20) < 1e-15
    with pytest.raises(ValueError, match="horizon"):
        circuit.linear_floor(VariableBinding.repeat_copy(4, 3), 0)


@pytest.mark.parametrize("seed", range(4))
def test_an_f_below_one_half_keeps_every_sign(seed):
    """Echoes sum to less than what they lie on: signs alone a linear network can get right, on any task."""
    task = VariableBinding.random(4, 3, torch.Generator().manual_seed(seed))
    exact = linear_rnn(task)
    weak = exact.W_hh.clone()
    weak[:, -task.dim :] *= 0.45
    u, x = task.sample(32, 100, torch.Generator().manual_seed(1), torch.float64)
    _, written = elman(exact.W_uh, weak, exact.W_r, "identity").rollout(u, 100)
    assert bool((written[:, task.history :] * x > 0).all())


CYCLIC = [VariableBinding.random(3, 4, torch.Generator().manual_seed(seed)) for seed in range(12)]
CYCLIC += [VariableBinding(triple, 8, 8) for triple in PAPER_TRIPLES]
CYCLIC += [VariableBinding.repeat_copy(1, 1), VariableBinding((1, 0, 1), 3, 1)]


@pytest.mark.parametrize("task", CYCLIC, ids=lambda task: f"{task.triple}-{task.history}")
def test_cycles_are_the_eigenvalues_on_the_unit_circle(task):
    """A cycle of n entries with sign s contributes the n-th roots of s; s(i) is read off Φ itself."""
    phi = circuit.interaction_matrix(task)
    found = circuit.cycles(task)
    assert sorted(i for entries, _ in found for i in entries) == circuit.on_cycle(task).nonzero()[:, 0].tolist()
    for entries, sign in found:
        steps = [float(phi[i, j]) for i, j in zip(entries, (*entries[1:], entries[0]), strict=True)]
        assert abs(math.prod(steps)) == 1 and math.prod(steps) == sign
        assert entries[0] == min(entries)
    roots = np.concatenate([np.roots([1, *[0] * (len(entries) - 1), -sign]) for entries, sign in found])
    values = torch.linalg.eigvals(circuit.effective_interaction(task)).numpy()
    values = values[abs(values) > 0.5]
    # by angle: the coefficients of a polynomial with eightfold roots are huge
    angles, expected = (np.sort(np.round(np.angle(v) % (2 * np.pi), 6) % round(2 * np.pi, 6)) for v in (values, roots))
    np.testing.assert_allclose(angles, expected, atol=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_the_period_is_the_least_power_that_brings_all_kept_entries_back(seed):
    task = VariableBinding.random(3, 3, torch.Generator().manual_seed(seed))
    kept = circuit.on_cycle(task)
    phi = circuit.interaction_matrix(task)[kept][:, kept]
    power, n = phi, 1
    while not torch.equal(power, torch.eye(len(phi), dtype=torch.float64)):
        power, n = power @ phi, n + 1
    assert circuit.period(task) == n
