"""Sensitivity of the basis: exact circuits are exact for every choice, derivatives are differences, bounds hold and are
attained or near."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import PAPER, SHAPE_ERRORS, codes, decode, generators, simulate

from emt_core.analysis import contents, sensitivity, spectrum
from emt_core.analysis.edits.basis import window
from emt_core.analysis.memories import recursion, variable_memories
from emt_core.networks import Elman, VectorNetwork
from emt_core.networks.exact import linear_rnn
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

# Ψ* W_hh Ψ: sums of N products whose factors are off by ε·cond(Ψ); N·ε·cond² ≈ 1e-11 for cond ≈ 30
EXACT = 1e-9
COPY = VariableBinding.repeat_copy(4, 3)
MIXED = VariableBinding.from_operator(torch.eye(12, dtype=torch.float64)[[0, 11, 10]])  # does not keep all entries
METHODS = ("paper", "corrected")


def basis_of(task, seed=0, orthonormal=False, extra=1.5):
    size = task.history * task.dim
    return circuit.random_basis(int(size * extra) + 1, size, *generators(seed), orthonormal)


def agreeing(task, basis):
    """The linear circuit with its read-out so that W_r† = W_uh: both sides ground the newest memory alike."""
    model = linear_rnn(task, basis)
    return replace(model, W_r=torch.linalg.pinv(model.W_uh))


def held_exactly(model, basis, task, sequences=40, seed=1):
    """A run in which the states hold the last S vectors of a sequence of the task, at two times."""
    inputs, targets = task.sample(sequences, 2, generators(seed), torch.float64)
    sequence = torch.cat([inputs, targets], dim=1)
    held = torch.cat([window(sequence, task.history, task.history + t) for t in (0, 2)])
    return sensitivity.Run(model, (held @ basis.T)[None], held)


def random_network(seeds=(0, 1), hidden=15, dim=3):
    """Some networks of random weights, in float64."""
    return VectorNetwork.init(Elman, dim, hidden, generators(*seeds)).to(torch.float64)


def noise_on(model, sigma, seed):
    """The same with noise, and the change of each weight."""
    changed = sensitivity.noisy(model, sigma, generators(*range(seed, seed + model.models)))
    return changed, {name: changed.weights[name] - w.double() for name, w in model.weights.items()}


def interaction(task, grounding, method):
    """Ψ*WΨ as a function of networks."""

    def found(model):
        memories = variable_memories(model, task, grounding, method=method, cutoff=0, residuals=0)
        return memories.interaction(model.W_hh)

    return found


def inverted(task, grounding, method):
    """The columns that are inverted, as a function of networks."""
    kept = circuit.on_cycle(task)

    def found(model):
        newest = grounding * model.W_uh + (1 - grounding) * torch.linalg.pinv(model.W_r)
        columns = recursion(model.W_hh, newest, task, method)
        return (columns / columns.norm(dim=1, keepdim=True))[:, :, kept] if method == "paper" else columns

    return found


# --- what is measured ---------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(codes(max_history=4, max_dim=4), st.integers(0, 99), st.sampled_from([0, 0.3, 0.5, 1.0]), st.booleans())
def test_circuits_whose_two_sides_agree_are_read_exactly_at_every_grounding(code, seed, grounding, orthonormal):
    task = VariableBinding(*code)
    basis = basis_of(task, seed, orthonormal)
    model = agreeing(task, basis)
    seen = held_exactly(model, basis, task)
    # outputs of the edited network as well, in the basis that it was built in
    seen = replace(seen, model=linear_rnn(task, basis))
    found = sensitivity.measure(model, task, seen, grounding, method="corrected")
    assert float(found.phi_error) < EXACT and float(found.largest) < EXACT
    assert float(found.free_cosine) == pytest.approx(1, abs=EXACT)
    assert float(found.correlation) == pytest.approx(1, abs=EXACT)
    assert float(found.signs) == float(found.followed) == 1
    assert int(found.rank) == task.history * task.dim


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("triple", PAPER, ids=str)
def test_the_papers_tasks_in_an_orthonormal_basis_do_not_depend_on_the_grounding(triple, method):
    task = VariableBinding(triple, 8, 8)
    basis = basis_of(task, orthonormal=True)
    model = linear_rnn(task, basis)
    seen = held_exactly(model, basis, task, sequences=70)
    curve = sensitivity.stack(sensitivity.measure(model, task, seen, a, method=method) for a in (0, 0.25, 0.5, 1))
    assert curve.phi_error.shape == (4, 1)
    assert curve.phi_error.max() < EXACT and curve.largest.max() < EXACT
    assert (curve.signs == 1).all() and (curve.followed == 1).all()


def test_where_the_two_sides_differ_the_grounding_matters():
    """For Φ and for the contents; but on repeat copy Φ comes back from any Ψ_S in the span of the memories, since
    mixtures of them that commute with Φ have the same Φ. There only the contents tell."""
    for task, says_nothing in ((COPY, True), (MIXED, False)):
        basis = basis_of(task)
        model = linear_rnn(task, basis)
        seen = held_exactly(model, basis, task)
        qualities = [sensitivity.measure(model, task, seen, a, method="corrected") for a in (0.0, 0.5, 1.0)]
        curve = sensitivity.stack(qualities)
        assert float(curve.phi_error[2]) < EXACT and float(curve.correlation[2]) > 1 - EXACT
        assert ((curve.phi_error[:2] < EXACT) == says_nothing).all()
        assert (curve.phi_error[:2] > 0.05).all() or says_nothing
        assert (curve.correlation[:2] < 0.95).all() and (curve.followed[:2] < 0.99).all()


def test_the_measures_are_those_by_hand():
    """One state, one sequence, one number at a time; the basis of noisy networks, the states of the clean ones."""
    clean = random_network()
    model, _ = noise_on(clean, 0.1, seed=5)
    times, B = (5, 4, 9), 23  # more sequences than entries, so that entries are turned again from the first on
    seen = sensitivity.run(clean, MIXED, *generators(4), sequences=B, times=times)
    found = sensitivity.measure(model, MIXED, seen, 0.3, method="corrected")
    memories = variable_memories(model, MIXED, 0.3, method="corrected", residuals=0)
    kept = memories.kept.nonzero()[:, 0].tolist()
    sources, inputs = decode(MIXED.triple, 3), MIXED.inputs(B, generators(4), torch.float64)[0]
    for m in range(2):
        W_uh, W_hh, W_r = (w[m].numpy() for w in (clean.W_uh, clean.W_hh, clean.W_r))
        dual, basis = memories.dual[m].numpy(), memories.basis[m].numpy()
        right, products, squares = [], np.zeros((3, 12)), np.zeros((3, 12))
        followed = []
        for b in range(B):
            u = inputs[:, b].tolist()
            sequence, h, states = u + simulate(sources, u, 5), np.zeros(15), {}
            for t in range(9):
                h = np.tanh(W_hh @ h + (W_uh @ np.array(u[t]) if t < 4 else 0))
                states[t + 1] = h
            for i, t in enumerate(times):
                held = np.array(sequence[t - 4 : t]).ravel()
                read = dual @ states[t]
                right += [read[p] * held[p] > 0 for p in kept]
                products[i] += read * held
                squares[i] += read**2
            p = kept[b % len(kept)]
            read = dual @ states[9]
            h, turned = states[9] - 2 * read[p] * basis[:, p], held.copy()
            turned[p] *= -1
            before, after = (simulate(sources, x.reshape(4, 3).tolist(), 8) for x in (held, turned))
            hits = []
            for old, new in zip(before, after, strict=True):
                h = np.tanh(W_hh @ h)
                hits += [o * x > 0 for o, x, y in zip(W_r @ h, new, old, strict=True) if x != y]
            followed.append(np.mean(hits))
        assert float(found.signs[m]) == pytest.approx(np.mean(right))
        correlation = products[:, kept] / np.sqrt(squares[:, kept] * B)
        assert float(found.correlation[m]) == pytest.approx(correlation.mean(), abs=1e-12)
        assert float(found.followed[m]) == pytest.approx(np.mean(followed))
        difference = dual @ model.W_hh[m].numpy() @ basis - circuit.effective_interaction(MIXED).numpy()
        assert float(found.largest[m]) == pytest.approx(np.abs(difference).max())
    assert torch.equal(found.phi_error, contents.interaction_error(model, MIXED, memories))
    assert torch.equal(found.condition, memories.condition) and tuple(found.rank.tolist()) == memories.rank


def test_the_default_times_are_those_of_agreement():
    model = random_network()
    seen = sensitivity.run(model, COPY, *generators(1), sequences=30)
    assert seen.states.shape == (2, 9, 30, 15) and seen.held.shape == (9, 30, 12)
    memories = variable_memories(model, COPY, residuals=0)
    shares = contents.agreement(model, COPY, memories, 12, *generators(1), sequences=30)[:, 4:]
    found = sensitivity.measure(model, COPY, seen)
    torch.testing.assert_close(found.signs, shares.mean((1, 2)), rtol=0, atol=1e-14)  # means of the same counts


@pytest.mark.parametrize("method", METHODS)
def test_residual_directions_change_nothing(method):
    model = random_network()
    seen = sensitivity.run(model, MIXED, *generators(2), sequences=20)
    few, many = (sensitivity.measure(model, MIXED, seen, method=method, residuals=n) for n in (0, 5))
    for field in fields(sensitivity.Quality):  # products of other shapes may add in another order
        torch.testing.assert_close(getattr(few, field.name), getattr(many, field.name), rtol=1e-11, atol=1e-12)


def test_a_cut_off_that_bites_shows():
    """Above one singular value of a basis that has it a thousand times smaller than the others."""
    sizes = torch.ones(12, dtype=torch.float64)
    sizes[4] = 1e-3
    basis = basis_of(COPY, orthonormal=True) * sizes @ basis_of(COPY, 1, orthonormal=True, extra=0.95).mT
    model = linear_rnn(COPY, basis)
    seen = held_exactly(model, basis, COPY)
    cutoffs = (0, 1e-6, 1e-2)
    curve = sensitivity.stack(
        sensitivity.measure(model, COPY, seen, 1.0, method="corrected", cutoff=c) for c in cutoffs
    )
    assert curve.rank[:, 0].tolist() == [12, 12, 11]
    assert (curve.phi_error[:2] < EXACT).all() and float(curve.phi_error[2]) > 0.1
    assert (curve.correlation[:2] > 1 - EXACT).all() and float(curve.correlation[2]) < 0.99


def test_a_curve_has_its_models_last():
    model = random_network(seeds=(0, 1, 2))
    seen = sensitivity.run(model, MIXED, *generators(2), sequences=10)
    single = [sensitivity.measure(model, MIXED, seen, alpha) for alpha in (0.0, 0.4)]
    curve = sensitivity.stack(single)
    draws = sensitivity.stack([curve, curve, curve])
    for field in fields(sensitivity.Quality):
        values = getattr(curve, field.name)
        assert values.shape == (2, 3) and getattr(draws, field.name).shape == (3, 2, 3)
        assert torch.equal(values[1], getattr(single[1], field.name))


# --- changes of the weights ---------------------------------------------------------------------------------------


def test_noise_has_the_size_that_is_asked_for():
    model = VectorNetwork.init(Elman, 8, 100, generators(0, 1))
    changed, change = noise_on(model, 0.01, seed=7)
    for name, d in change.items():
        share = d.norm(dim=(1, 2)) / model.weights[name].norm(dim=(1, 2)) / 0.01
        # n normal numbers: their norm has a relative standard deviation of 1/√(2n); n = 800 at least, five of them
        assert (share - 1).abs().max() < 5 / math.sqrt(1600)
        assert abs(float(d.mean() / d.std())) < 5 / math.sqrt(1600)
    assert changed.W_hh.dtype == torch.float64
    assert not torch.equal(change["W_hh"][0], change["W_hh"][1])
    assert torch.equal(sensitivity.noisy(model, 0, generators(1, 2)).W_hh, model.W_hh.double())


def test_noise_is_the_same_for_every_size_and_choice_and_for_a_model_alone():
    model = random_network()
    before = {name: w.clone() for name, w in model.weights.items()}
    _, small = noise_on(model, 0.01, seed=3)
    _, large = noise_on(model, 0.02, seed=3)
    alone = sensitivity.noisy(model[1], 0.01, generators(4))
    one = sensitivity.noisy(model, 0.01, generators(3, 4), matrices=["W_r"])
    for name in before:
        torch.testing.assert_close(large[name], 2 * small[name], rtol=1e-9, atol=1e-15)  # differences of rounded sums
        assert torch.equal(alone.weights[name][0], (model.weights[name] + small[name])[1])
        assert torch.equal(one.weights[name] - before[name], small[name] if name == "W_r" else 0 * before[name])
        assert torch.equal(model.weights[name], before[name])


@pytest.mark.parametrize(
    "dtype, unit", [(torch.float32, 2**-24), (torch.float16, 2**-11), (torch.bfloat16, 2**-8)], ids=str
)
def test_rounding_is_the_formats(dtype, unit):
    model, _ = noise_on(random_network(), 0.1, seed=0)  # what is drawn is float32 itself
    found = sensitivity.rounded(model, dtype)
    for name, w in model.weights.items():
        assert found.weights[name].dtype == torch.float64
        assert torch.equal(found.weights[name], w.to(dtype).double())
        # half a unit in the last place; below 6e-5 float16 has fewer bits, half of 6e-8 off
        assert ((found.weights[name] - w).abs() <= unit * w.abs() + 3e-8 * (dtype == torch.float16)).all()
    assert not torch.equal(found.W_hh, model.W_hh)
    assert torch.equal(sensitivity.rounded(found, dtype).W_hh, found.W_hh)


# --- to first order -----------------------------------------------------------------------------------------------


@given(codes(max_history=5, max_dim=3), st.integers(0, 99), st.sampled_from(METHODS))
def test_the_derivative_of_the_recursion_is_the_recursion_of_the_derivative(code, seed, method):
    task = VariableBinding(*code)
    S, D = task.history, task.dim
    model = random_network((seed, seed + 1), hidden=9, dim=D)
    _, change = noise_on(model, 1.0, seed=200)
    found = sensitivity.derivative(lambda net: recursion(net.W_hh, net.W_uh, task, method), model, change)
    block, own, F = model.W_uh, change["W_uh"], task.operator.split(D, dim=1)
    blocks = [own]
    for k in range(S - 1, 0, -1):  # Ψ_{k+1} to Ψ_k; F[k] reads variable k + 1
        own = change["W_hh"] @ block + model.W_hh @ own - (change["W_uh"] @ F[k] if method == "corrected" else 0)
        block = model.W_hh @ block - (model.W_uh @ F[k] if method == "corrected" else 0)
        blocks.insert(0, own)
    # five products of 9 terms of order 1
    torch.testing.assert_close(found, torch.cat(blocks, dim=2), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("grounding", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_the_derivative_of_the_algorithm_is_that_of_differences(method, grounding):
    model, function = random_network(hidden=20), interaction(MIXED, grounding, method)
    _, change = noise_on(model, 1.0, seed=9)
    found = sensitivity.derivative(function, model, change)
    assert found.shape == (2, 12, 12) and found.abs().max() > 0.5

    def moved(step):
        return function(model.with_weights({name: w + step * change[name] for name, w in model.weights.items()}))

    # central differences over h are off by h² times the third derivative, and by ε κ² / h, κ ≈ 30 here: 1e-7 of it
    difference = (moved(1e-6) - moved(-1e-6)) / 2e-6
    assert (found - difference).norm() < 1e-5 * found.norm()
    # what is left of a step is of second order: a tenth of the step, a hundredth of it
    left = [float((moved(h) - moved(0) - h * found).norm()) for h in (1e-3, 1e-4)]
    assert math.log10(left[0] / left[1]) == pytest.approx(2, abs=0.2)


def test_what_does_not_enter_has_no_derivative():
    model = random_network()
    change = {"W_uh": torch.ones_like(model.W_uh)}
    assert (sensitivity.derivative(interaction(COPY, 0.0, "paper"), model, change) == 0).all()
    assert (sensitivity.derivative(lambda net: net.W_r.sum((1, 2)), model, change) == torch.zeros(2)).all()
    assert sensitivity.derivative(interaction(COPY, 0.5, "paper"), model, change).abs().max() > 0


# --- bounds -------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.integers(1, 8), st.integers(1, 8), st.floats(-6, -0.01), st.integers(0, 999))
def test_no_pseudo_inverse_moves_further_than_its_bound(rows, columns, power, seed):
    A, change = (
        torch.randn(3, rows, columns, dtype=torch.float64, generator=generators(s)[0]) for s in (seed, seed + 1)
    )
    size = 10**power * torch.linalg.svdvals(A)[:, -1]  # nearly up to where a rank is lost
    change = change * (size / change.norm(dim=(1, 2)))[:, None, None]
    moved = (torch.linalg.pinv(A + change) - torch.linalg.pinv(A)).norm(dim=(1, 2))
    bound = sensitivity.pseudo_inverse_bound(A, size)
    # rounding: A† is known to ε κ², relatively, κ below 1e3 in these draws, and moves by 1e-6 of itself at least
    assert (moved <= bound * (1 + 1e-3)).all()
    left, _, right = torch.linalg.svd(A, full_matrices=False)
    worst = A - size[:, None, None] * left[:, :, -1:] @ right[:, -1:]  # towards the nearest matrix of lower rank
    moved = (torch.linalg.pinv(worst) - torch.linalg.pinv(A)).norm(dim=(1, 2))
    torch.testing.assert_close(moved, bound, rtol=1e-3, atol=0)  # attained


def test_a_pseudo_inverse_that_may_lose_a_rank_has_no_bound():
    A = torch.diag(torch.tensor([2.0, 0.5], dtype=torch.float64))[None].expand(3, -1, -1)
    found = sensitivity.pseudo_inverse_bound(A, torch.tensor([0.0, 0.25, 0.5], dtype=torch.float64))
    assert found.tolist() == [0, 2, math.inf]  # 2² · 0.25 / (1 − 2 · 0.25)
    assert sensitivity.pseudo_inverse_bound(0 * A, torch.ones(3, dtype=torch.float64)).tolist() == [math.inf] * 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("orthonormal, factor", [(True, 50), (False, 600)], ids=["orthonormal", "gaussian"])
@pytest.mark.parametrize("task", [COPY, MIXED], ids=["copy", "mixed"])
def test_no_interaction_moves_further_than_its_bound(task, orthonormal, factor, method):
    """Nor, in these draws, by less than a ``factor`` of it: the bound says something. (It is 5 to 36 times too large in
    orthonormal bases, 10 to 430 times in Gaussian ones, whose condition enters squared.)"""
    for seed in range(10):
        model = agreeing(task, basis_of(task, seed, orthonormal))
        columns, found = inverted(task, 0.5, method), interaction(task, 0.5, method)
        for sigma in (1e-7, 1e-4, 1e-3):
            changed, change = noise_on(model, sigma, seed=50 + seed)
            size = (columns(changed) - columns(model)).norm(dim=(1, 2))
            weights = torch.linalg.matrix_norm(change["W_hh"], 2)
            bound = sensitivity.interaction_bound(columns(model), model.W_hh, size, weights)
            moved = (found(changed) - found(model)).norm(dim=(1, 2))
            # rounding of both is ε N κ² ≈ 1e-12, against 1e-7
            assert (moved <= bound * (1 + 1e-4)).all()
            if sigma < 1e-3:
                assert (bound < factor * moved).all()


@pytest.mark.parametrize("size", [1e-6, 0.3])
def test_the_bound_of_the_interaction_is_that_on_paper(size):
    """Of one column of length 1 and W = 2: a change of W attains it; of a column only the size is known."""
    psi, one = torch.eye(3, 1, dtype=torch.float64)[None], torch.ones(1, dtype=torch.float64)
    W = 2 * torch.eye(3, dtype=torch.float64)[None]
    moved = torch.linalg.pinv(psi) @ (W + size * torch.eye(3, dtype=torch.float64)) @ psi - 2
    assert float(sensitivity.interaction_bound(psi, W, 0 * one, size * one)) == pytest.approx(float(moved))
    # ‖δΨ†‖ ≤ s/(1 − s), times ‖WΨ‖ = 2, and ‖Ψ'†‖ ≤ 1/(1 − s), times ‖W δΨ‖ ≤ 2s
    found = float(sensitivity.interaction_bound(psi, W, size * one, 0 * one))
    assert found == pytest.approx(4 * size / (1 - size))


# --- eigenvalues --------------------------------------------------------------------------------------------------


def test_the_conditions_of_a_triangle_are_those_on_paper():
    a, b, c = 0.5, 3.0, -1.0
    values, conditions = sensitivity.eigenvalue_conditions(torch.tensor([[[a, b], [0, c]]], dtype=torch.float64))
    assert sorted(values[0].real.tolist()) == [c, a]
    assert conditions[0].tolist() == pytest.approx([math.hypot(1, b / (a - c))] * 2)


def test_eigenvalues_of_normal_matrices_have_condition_one():
    A = torch.randn(2, 8, 8, dtype=torch.float64, generator=generators(0)[0])
    for normal in (A + A.mT, A - A.mT, torch.linalg.qr(A).Q):
        _, conditions = sensitivity.eigenvalue_conditions(normal)
        # eigenvectors are known to ε over the gaps between eigenvalues, here above 1e-2
        torch.testing.assert_close(conditions, torch.ones(2, 8, dtype=torch.float64), rtol=0, atol=1e-12)


def test_eigenvalues_move_as_their_conditions_say():
    """By differences: no random change moves one further, and the change y xᴴ moves it as far."""
    W = torch.randn(20, 7, 7, dtype=torch.float64, generator=generators(1)[0])
    values, conditions = sensitivity.eigenvalue_conditions(W)
    assert values.shape == conditions.shape == (20, 7) and values.dtype == torch.complex128
    assert conditions.min() >= 1 - 1e-12 and conditions.max() > 5
    step = 1e-7
    for m in range(20):
        matrix, value = W[m].numpy().astype(complex), values[m].numpy()
        right = np.linalg.eig(matrix)[1]
        for draw in range(5):
            change = torch.randn(7, 7, dtype=torch.float64, generator=generators(10 * m + draw)[0]).numpy()
            change *= step / np.linalg.norm(change, 2)
            moved = np.linalg.eigvals(matrix + change)
            moved = np.abs(moved[None, :] - value[:, None]).min(1)
            # second order: step · κ² / gap, below 1e-3 of the first; rounding: ε κ / step
            assert (moved <= step * conditions[m].numpy() * (1 + 1e-2)).all()
        for i in range(7):
            x = right[:, np.abs(np.linalg.eig(matrix)[0] - value[i]).argmin()]
            w, v = np.linalg.eig(matrix.conj().T)
            y = v[:, np.abs(w.conj() - value[i]).argmin()]
            moved = np.linalg.eigvals(matrix + step * np.outer(y, x.conj()))
            assert np.abs(moved - value[i]).min() == pytest.approx(step * float(conditions[m, i]), rel=1e-2)


def test_forgotten_entries_have_no_condition_but_a_margin():
    """A nilpotent block of S: its eigenvalues are moved by ε^(1/S) at worst, whatever 1/|yᴴx| says."""
    shift = torch.diag(torch.ones(5, dtype=torch.float64), 1)[None]
    assert sensitivity.eigenvalue_conditions(shift)[1].min() > 1e6
    (margin,) = sensitivity.count_margin(shift, 0.5).tolist()
    # turning the phases of the basis turns the eigenvalues: all points of the circle are alike
    least = float(torch.linalg.svdvals(shift[0] - 0.5 * torch.eye(6))[-1])
    assert margin == pytest.approx(least - math.pi * 0.5 / 512, abs=1e-12)
    assert 0 < margin < 0.5**6  # a corner of that size has the eigenvalues' sixth power: they are on the circle


def test_the_margin_of_a_normal_matrix_is_the_nearest_eigenvalue():
    Q = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=generators(0)[0])).Q
    for sizes, threshold in (
        ([1, 1, 0.97, 0.6, 0.2, 0], 0.9),
        ([1.2, 1, -0.8, 0.7, 0, 0], 0.9),
        ([1, 1, 1, 1, 1, 1], 2),
    ):
        W = (Q * torch.tensor(sizes, dtype=torch.float64) @ Q.mT)[None]
        wanted = min(abs(abs(s) - threshold) for s in sizes)
        for angles in (64, 1000):
            (found,) = sensitivity.count_margin(W, threshold, angles).tolist()
            # what is taken off, and how far the nearest of the points may lie from the real axis
            assert wanted - math.pi * threshold / (2 * angles) - 1e-12 <= found <= wanted + 1e-12


def test_counts_change_beyond_the_margin_and_not_below():
    """Random changes just below the margin move no eigenvalue over; one that is built, hardly larger, does."""
    phi = circuit.effective_interaction(COPY)
    for seed in range(5):
        W = torch.randn(1, 12, 12, dtype=torch.float64, generator=generators(seed)[0]) / 12**0.5
        (margin,) = sensitivity.count_margin(W, 0.9, 2000).tolist()
        assert margin > 1e-5
        count = int(spectrum.spectral_error(W, phi, 0.9).counts[0, 0])
        for draw in range(40):
            change = torch.randn(12, 12, dtype=torch.float64, generator=generators(1000 + draw)[0])
            if draw % 2:  # of rank one, as the least that moves an eigenvalue over the circle
                change = change[:, :1] @ change[:1]
            change *= 0.999 * margin / torch.linalg.matrix_norm(change, 2)
            assert int(spectrum.spectral_error(W + change, phi, 0.9).counts[0, 0]) == count
        # W − σ u vᴴ has the eigenvalue z of the circle
        angles = torch.linspace(0, math.pi, 4001, dtype=torch.float64)
        z = torch.polar(torch.full_like(angles, 0.9), angles)
        left, sigma, right = torch.linalg.svd(W[0] - z[:, None, None] * torch.eye(12))
        i = int(sigma[:, -1].argmin())
        on = W[0] - sigma[i, -1] * torch.outer(left[i, :, -1], right[i, -1])
        assert (torch.linalg.eigvals(on) - z[i]).abs().min() < 1e-6
        assert float(sigma[i, -1]) - margin <= math.pi * 0.9 / 4000 + 1e-9  # no more than what is taken off


# --- what is refused ----------------------------------------------------------------------------------------------


def test_wrong_arguments_are_named():
    model = random_network()
    seen = sensitivity.run(model, COPY, *generators(0), sequences=5)
    for options, message in [
        ({"times": [3]}, "times must hold steps from S = 4 on, got .3."),
        ({"times": []}, "times must hold"),
        ({"sequences": 0}, "batch must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            sensitivity.run(model, COPY, *generators(0), **options)
    for name, value in [("grounding", 2.0), ("method", "authors"), ("cutoff", 1.0), ("residuals", -1)]:
        with pytest.raises(ValueError, match=name):
            sensitivity.measure(model, COPY, seen, **{name: value})
    with pytest.raises(SHAPE_ERRORS, match=r"seen\.states"):
        sensitivity.measure(model[0], COPY, seen)
    with pytest.raises(SHAPE_ERRORS, match=r"seen\.held"):
        sensitivity.measure(model, VariableBinding.repeat_copy(5, 3), seen)
    with pytest.raises(ValueError, match="qualities must hold at least one"):
        sensitivity.stack([])
    with pytest.raises(ValueError, match="sigma must be finite and at least 0, got -1"):
        sensitivity.noisy(model, -1, generators(0, 1))
    with pytest.raises(ValueError, match="generators must be one for each of 2 models, got 1"):
        sensitivity.noisy(model, 0.1, generators(0))
    with pytest.raises(ValueError, match=r"matrices must be some of .* got \['W_ih'\]"):
        sensitivity.noisy(model, 0.1, generators(0, 1), ["W_ih"])
    with pytest.raises(ValueError, match=r"dtype must be a floating-point type, got torch\.int8"):
        sensitivity.rounded(model, torch.int8)
    with pytest.raises(ValueError, match=r"change must name weights of .* got \['W'\]"):
        sensitivity.derivative(lambda net: net.W_hh, model, {"W": model.W_hh})
    with pytest.raises(ValueError, match=r"change\['W_hh'\] must have shape"):
        sensitivity.derivative(lambda net: net.W_hh, model, {"W_hh": model.W_uh})
    for name, value in [("threshold", 0.0), ("threshold", math.inf), ("angles", 0)]:
        with pytest.raises(ValueError, match=name):
            sensitivity.count_margin(model.W_hh, **{name: value})
    for function in (sensitivity.eigenvalue_conditions, sensitivity.count_margin):
        with pytest.raises(ValueError, match="matrix must be finite"):
            function(model.W_hh / 0)


def test_arguments_are_left_as_they_were():
    model = random_network().to(torch.float32)
    seen = sensitivity.run(model, MIXED, *generators(0), sequences=5)
    kept = {name: w.clone() for name, w in (model.weights | {"states": seen.states, "held": seen.held}).items()}
    sensitivity.measure(model, MIXED, seen, 0.3)
    sensitivity.rounded(model, torch.bfloat16)
    sensitivity.derivative(interaction(MIXED, 0.3, "paper"), model, {"W_hh": model.W_hh})
    sensitivity.eigenvalue_conditions(model.W_hh)
    sensitivity.count_margin(model.W_hh, angles=8)
    after = model.weights | {"states": seen.states, "held": seen.held}
    assert all(torch.equal(after[name], w) for name, w in kept.items())
