"""Algorithm 1: exact where the theory says so, corrected everywhere, and honest about what it dropped."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import PAPER, codes, generators

from emt_core.analysis.memories import fitted_memories, variable_memories
from emt_core.networks import Elman, VectorNetwork
from emt_core.networks.exact import linear_rnn
from emt_core.networks.vectors import elman
from emt_core.support.random_streams import stream
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

EPSILON = torch.finfo(torch.float64).eps
# Ψ* W_hh Ψ: sums of N products whose factors are off by ε·cond(Ψ); N·ε·cond² ≈ 1e-12 for cond ≈ 10
EXACT = 1e-10


def linear(task, seed=0, extra=1.5, orthonormal=False) -> VectorNetwork:
    size = task.history * task.dim
    generator = torch.Generator().manual_seed(seed)
    return linear_rnn(task, circuit.random_basis(int(size * extra) + 1, size, generator, orthonormal))


def draw(hidden: int, dim: int, own: list[torch.Generator]) -> VectorNetwork:
    return VectorNetwork.init(Elman, dim, hidden, own)


def off_by(memories, model, task) -> float:
    """Largest entry by which W_hh in the basis differs from the effective Φ."""
    phi = memories.interaction(model.W_hh)[:, : memories.size, : memories.size]
    return (phi - circuit.effective_interaction(task)).abs().max().item()


@pytest.mark.parametrize("grounding", [0, 0.3, 1.0], ids=lambda a: f"grounding-{a}")
@pytest.mark.parametrize("triple", PAPER, ids=str)
def test_the_papers_algorithm_is_exact_on_its_tasks_in_an_orthonormal_basis(triple, grounding):
    task = VariableBinding(triple, 8, 8)
    model = linear(task, orthonormal=True)
    assert off_by(variable_memories(model, task, grounding), model, task) < EXACT


def test_the_papers_algorithm_is_not_exact_in_an_oblique_basis():
    task = VariableBinding.repeat_copy(8, 8)
    model = linear(task)
    assert off_by(variable_memories(model, task, grounding=0.0), model, task) > 0.1


@settings(max_examples=25)
@given(codes(), st.integers(0, 999), st.sampled_from([1.2, 1.5, 3.0]), st.booleans())
def test_the_corrected_recursion_is_exact_for_every_task_and_basis(code, seed, extra, orthonormal):
    task = VariableBinding(*code)
    model = linear(task, seed, extra, orthonormal)
    memories = variable_memories(model, task, grounding=1, method="corrected")
    assert off_by(memories, model, task) < EXACT
    assert memories.rank == (task.history * task.dim,)


def of_condition(condition, hidden, size, generator, shape="even") -> torch.Tensor:
    """A basis between random orthonormal ones, whose singular values fall evenly from 1 to 1/condition, or lie at the
    two ends."""
    left, right = (torch.randn(n, size, dtype=torch.float64, generator=generator) for n in (hidden, size))
    sizes = torch.full((size,), 1 / condition if shape == "one large" else 1.0, dtype=torch.float64)
    if shape == "even":
        sizes = torch.logspace(0, -math.log10(condition), size, dtype=torch.float64)
    elif size > 1:
        sizes[0], sizes[-1] = 1, 1 / condition
    return torch.linalg.qr(left)[0] * sizes @ torch.linalg.qr(right)[0].mT


@settings(max_examples=60)
@given(
    codes(), st.floats(0, 7.5), st.sampled_from(["even", "one small", "one large"]), st.sampled_from([0, 1, 10]),
    st.integers(0, 999),
)  # fmt: skip
def test_the_recovered_interaction_is_off_by_no_more_than_the_condition_says(code, power, shape, extra, seed):
    task = VariableBinding(*code)
    size, (generator,) = task.history * task.dim, generators(seed)
    model = linear_rnn(task, of_condition(10**power, size + extra, size, generator, shape))
    memories = variable_memories(model, task, grounding=1, method="corrected", cutoff=0)
    (condition,) = memories.condition.tolist()
    allowed = 10 * model.hidden * EPSILON * condition**2
    assert off_by(memories, model, task) < allowed
    if size > 1:  # itself known as well as the columns are
        assert condition == pytest.approx(10**power, rel=max(allowed, 1e-12))


def test_the_error_grows_with_the_square_of_the_condition():
    task, errors, found = VariableBinding.repeat_copy(3, 2), [], []
    for power in range(1, 8):
        bases = [of_condition(10**power, 10, 6, g) for g in generators(*range(10))]
        models = [linear_rnn(task, basis) for basis in bases]
        memories = [variable_memories(m, task, grounding=1, method="corrected", cutoff=0) for m in models]
        errors.append(np.median([off_by(*pair, task) for pair in zip(memories, models, strict=True)]))
        found.append(np.median([m.condition.item() for m in memories]))
    slope = np.polyfit(np.log(found), np.log(errors), 1)[0]
    assert slope == pytest.approx(2, abs=0.25)
    assert errors[-1] > 1e-6  # a basis of full rank is not enough for Φ to be exact


def test_the_condition_is_that_of_the_columns_that_are_inverted():
    task = VariableBinding(PAPER[1], 8, 8)
    model = draw(70, 8, generators(0, 1))
    for method in ("paper", "corrected"):
        memories = variable_memories(model, task, 1.0, method=method, residuals=3)
        assert memories.condition.shape == (2,) and memories.condition.dtype == torch.float64
        if method == "paper":  # those that are kept, normalised
            wanted = np.linalg.cond(memories.basis[:, :, :64][:, :, memories.kept].numpy())
        else:  # all of them, by hand
            wide, F, blocks = model.to(torch.float64), task.operator.split(8, dim=1), [model.W_uh.double()]
            for k in range(7, 0, -1):
                blocks.insert(0, wide.W_hh @ blocks[0] - wide.W_uh @ F[k])
            wanted = np.linalg.cond(torch.cat(blocks, dim=2).numpy())
        assert (wanted > 2).all()
        np.testing.assert_allclose(memories.condition.numpy(), wanted, rtol=1e-12 * wanted.max())


def test_the_cut_off_bites_where_the_condition_says():
    task = VariableBinding.repeat_copy(2, 2)
    for condition in (1e2, 1e4):
        model = linear_rnn(task, of_condition(condition, 7, 4, generators(0)[0], "one small"))
        for cutoff in (1e-5, 1e-3, 1e-1):
            memories = variable_memories(model, task, 1.0, method="corrected", cutoff=cutoff)
            assert memories.rank == (4 - (condition > 1 / cutoff),)
            assert memories.condition.item() == pytest.approx(condition, rel=1e-6)  # of all columns, cut off or not


def test_columns_that_depend_on_each_other_have_no_condition():
    task = VariableBinding.repeat_copy(2, 2)
    for method in ("paper", "corrected"):
        few = variable_memories(draw(3, 2, generators(0, 1)), task, method=method)  # four columns, three units
        assert few.condition.tolist() == [math.inf] * 2
        model = draw(9, 2, generators(0))
        nothing = replace(model, cell=replace(model.cell, W_uh=0 * model.W_uh))
        assert variable_memories(nothing, task, 1.0, method=method).condition.tolist() == [math.inf]
    forgetful = replace(model, cell=replace(model.cell, W_hh=0 * model.W_hh))
    assert variable_memories(forgetful, task, 1.0, method="paper").condition.tolist() == [math.inf]


@pytest.mark.parametrize("triple", PAPER, ids=str)
def test_the_corrected_recursion_on_the_papers_tasks_in_a_square_basis(triple):
    # as many hidden units as memories: the hardest full-rank case (condition numbers in the hundreds)
    task = VariableBinding(triple, 8, 8)
    basis = circuit.random_basis(64, 64, torch.Generator().manual_seed(1))
    model = linear_rnn(task, basis)
    memories = variable_memories(model, task, grounding=1, method="corrected")
    assert off_by(memories, model, task) < EXACT
    kept = memories.kept
    torch.testing.assert_close(memories.basis[0, :, :64][:, kept], basis[:, kept], rtol=0, atol=EXACT)


@pytest.mark.parametrize("method", ["paper", "corrected"])
def test_contents_are_what_the_circuit_carries(method):
    task = VariableBinding(PAPER[1], 8, 8)
    model = linear(task, orthonormal=True)
    memories = variable_memories(model, task, grounding=1, method=method)
    x = torch.randn(5, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    basis = circuit.random_basis(model.hidden, 64, torch.Generator().manual_seed(0), orthonormal=True)
    torch.testing.assert_close(memories.contents((x @ basis.T)[None]), (x * memories.kept)[None], rtol=0, atol=EXACT)
    states, _ = model.rollout(task.inputs(5, generators(0), torch.float64), horizon=3)
    contents = memories.contents(states)
    assert contents.shape == (1, 11, 5, 64)
    torch.testing.assert_close(contents[:, 4], memories.contents(states[:, 4]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("method", ["paper", "corrected"])
@pytest.mark.parametrize("grounding", [0.0, 1.0], ids=["readout", "input"])
def test_basis_and_dual_are_inverse_on_what_is_kept(method, grounding):
    task = VariableBinding(PAPER[2], 8, 8)
    model = VectorNetwork.init(Elman, 8, 100, generators(0, 1))  # untrained weights: nothing about them is special
    memories = variable_memories(model, task, grounding, method=method, cutoff=0)
    keep = torch.cat([memories.kept, torch.ones(100 - 36, dtype=torch.bool)])
    assert memories.basis.shape == (2, 100, 64 + 64)
    assert memories.dual.shape == (2, 64 + 64, 100)
    gram = memories.dual @ memories.basis
    scale = memories.dual.abs().max() * memories.basis.abs().max()
    # a pseudo-inverse of condition c is exact to c·ε; c is below 1e8 here
    assert (gram - torch.diag(keep.double())).abs().max() < 1e-7 * scale.clamp_min(1)
    assert (memories.basis[:, :, ~keep] == 0).all()
    assert (memories.dual[:, ~keep] == 0).all()


def test_columns_are_normalised_by_the_paper_and_not_by_the_correction():
    task = VariableBinding(PAPER[1], 8, 8)
    model = linear(task)
    kept = circuit.on_cycle(task)
    norms = variable_memories(model, task).basis[0, :, :64].norm(dim=0)
    torch.testing.assert_close(norms, kept.double(), rtol=0, atol=1e-14)
    corrected = variable_memories(model, task, 1.0, method="corrected").basis[0]
    torch.testing.assert_close(corrected[:, 63], model.W_uh[0, :, 7], rtol=0, atol=1e-15)


def test_grounding_mixes_the_input_and_the_read_out_side():
    task = VariableBinding.repeat_copy(3, 2)
    model = VectorNetwork.init(Elman, 2, 9, generators(4)).to(torch.float64)
    for grounding in (0.0, 0.25, 1.0):
        newest = grounding * model.W_uh[0] + (1 - grounding) * torch.linalg.pinv(model.W_r[0])
        basis = variable_memories(model, task, grounding).basis[0]
        for k, block in ((3, newest), (2, model.W_hh[0] @ newest), (1, model.W_hh[0] @ model.W_hh[0] @ newest)):
            expected = block / block.norm(dim=0)
            torch.testing.assert_close(basis[:, 2 * k - 2 : 2 * k], expected, rtol=0, atol=1e-13)


def test_labels_name_every_column():
    task = VariableBinding.repeat_copy(2, 3)
    memories = variable_memories(VectorNetwork.init(Elman, 3, 8, generators(0)), task)
    assert memories.labels[:4] == (("memory", 1, 0), ("memory", 1, 1), ("memory", 1, 2), ("memory", 2, 0))
    assert memories.labels[6:] == (("residual", 0, 0), ("residual", 1, 0))
    assert len(memories.labels) == memories.basis.shape[2]


def test_residuals_are_the_leading_principal_components():
    task = VariableBinding.repeat_copy(2, 2)
    model = VectorNetwork.init(Elman, 2, 9, generators(0)).to(torch.float64)
    memories = variable_memories(model, task)
    basis, dual = memories.basis[0, :, :4], memories.dual[0, :4]
    inputs = task.inputs(256, stream(0, "residuals"), torch.float64)
    states = model.rollout(inputs, horizon=4)[0].flatten(0, 2)
    residual = states - states @ dual.T @ basis.T
    strength = torch.linalg.svdvals(residual)
    components = memories.basis[0, :, 4:]
    torch.testing.assert_close(components.T @ components, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close((residual @ components).norm(dim=0), strength[:5], rtol=1e-9, atol=1e-9)
    # fewer of them are the first of them
    for count in (0, 1, 3):
        some = variable_memories(model, task, residuals=count)
        torch.testing.assert_close(some.basis, memories.basis[:, :, : 4 + count], rtol=0, atol=1e-12)
        torch.testing.assert_close(some.dual, memories.dual[:, : 4 + count], rtol=0, atol=1e-12)


def test_a_model_has_the_same_memories_alone_and_in_an_ensemble():
    task = VariableBinding(PAPER[3], 8, 8)
    models = VectorNetwork.init(Elman, 8, 70, generators(0, 1, 2))
    together, alone = variable_memories(models, task), variable_memories(models[1], task)
    torch.testing.assert_close(together.basis[1:2, :, :64], alone.basis[:, :, :64], rtol=0, atol=1e-12)
    assert together.rank[1:2] == alone.rank
    assert together.basis.dtype == torch.float64


def test_the_cut_off_shows_in_the_rank():
    task = VariableBinding.repeat_copy(2, 2)
    basis = torch.eye(6, 4, dtype=torch.float64) @ torch.diag(torch.tensor([1.0, 1.0, 1.0, 1e-4], dtype=torch.float64))
    model = linear_rnn(task, basis)
    assert variable_memories(model, task, 1.0, method="corrected").rank == (4,)
    assert variable_memories(model, task, 1.0, method="corrected", cutoff=1e-3).rank == (3,)


def test_more_memories_than_hidden_units_are_reported_not_hidden():
    task = VariableBinding.repeat_copy(4, 2)
    for method in ("paper", "corrected"):
        memories = variable_memories(VectorNetwork.init(Elman, 2, 5, generators(0)), task, method=method, cutoff=1e-12)
        assert memories.basis.shape == (1, 5, 8)  # no room for residuals
        assert memories.rank == (5,)


def test_the_simulated_run_is_the_generators_choice():
    task = VariableBinding.repeat_copy(2, 2)
    model = VectorNetwork.init(Elman, 2, 9, generators(0))
    a, b, c = (variable_memories(model, task, generator=g) for g in (None, stream(0, "residuals"), *generators(1)))
    assert torch.equal(a.basis, b.basis)
    assert not torch.equal(a.basis, c.basis)


def test_wrong_arguments_are_named():
    task = VariableBinding.repeat_copy(2, 2)
    model = VectorNetwork.init(Elman, 2, 9, generators(0, 1))
    for name, value in [
        ("grounding", -0.1),
        ("grounding", 1.1),
        ("grounding", float("nan")),
        ("method", "authors"),
        ("cutoff", 1.0),
        ("cutoff", -1e-3),
        ("cutoff", float("nan")),
        ("residuals", -1),
        ("residuals", 6),
    ]:
        with pytest.raises(ValueError, match=name):
            variable_memories(model, task, **{name: value})
    with pytest.raises(ValueError, match="task must have dim 2"):
        variable_memories(model, VariableBinding.repeat_copy(2, 3))
    W_hh = model.W_hh.clone()
    W_hh[1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"model must have finite weights.* \[1\]"):
        variable_memories(elman(model.W_uh, W_hh, model.W_r), task)


# --- subspaces fitted to data -------------------------------------------------------------------------------------


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(codes(max_history=4, max_dim=4), st.integers(0, 999))
def test_the_fit_finds_the_circuits_basis_in_its_states(code, seed):
    task = VariableBinding(*code)
    size, kept = task.history * task.dim, circuit.on_cycle(task)
    bases = torch.stack([circuit.random_basis(int(size * 1.5) + 1, size, g) for g in generators(seed, seed + 1)])
    # after S·D steps an entry off every cycle is a copy of one on a cycle, which is a copy of what it was at first
    power = torch.linalg.matrix_power(circuit.interaction_matrix(task), size)
    held = random(2, 4 * size + 10, size, seed=seed) @ power.T
    memories, explained = fitted_memories(held @ bases.mT, held, task)
    copies = power[:, kept] @ torch.linalg.inv(power[kept][:, kept])
    torch.testing.assert_close(memories.basis[:, :, kept], bases @ copies, rtol=0, atol=EXACT)
    torch.testing.assert_close(explained, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(memories.contents(held @ bases.mT), held * kept, rtol=0, atol=EXACT)
    gram = torch.diag(kept.double()).expand(2, -1, -1)
    torch.testing.assert_close(memories.dual @ memories.basis, gram, rtol=0, atol=EXACT)
    assert memories.rank == (int(kept.sum()),) * 2


def test_the_fit_is_that_of_numpy():
    task = VariableBinding((0b0110, 1, 0b10), 2, 2)  # the entry 2 copies itself, 0 copies it, 1 and 3 are each other
    kept = circuit.on_cycle(task)
    assert 0 < kept.sum() < 4
    states, held = random(3, 20, 7) + 1, random(3, 20, 4, seed=1)
    memories, explained = fitted_memories(states, held, task)
    assert explained.shape == (3,)
    for m in range(3):
        h, x = states[m].numpy(), held[m, :, kept].numpy()
        columns = np.linalg.lstsq(x, h, rcond=None)[0].T
        share = 1 - ((h - x @ columns.T) ** 2).sum() / (h**2).sum()
        # Gaussian data: condition numbers of order 1
        np.testing.assert_allclose(memories.basis[m, :, kept].numpy(), columns, rtol=0, atol=1e-13)
        np.testing.assert_allclose(memories.dual[m, kept].numpy(), np.linalg.pinv(columns), rtol=0, atol=1e-12)
        assert memories.condition[m].item() == pytest.approx(np.linalg.cond(columns), rel=1e-12)
        assert explained[m].item() == pytest.approx(share, abs=1e-13)
        assert 0 < share < 0.9
    assert (memories.basis[:, :, ~kept] == 0).all()
    assert (memories.dual[:, ~kept] == 0).all()
    assert torch.equal(memories.kept, kept)


def test_the_fit_names_its_columns_as_the_algorithm_does():
    task = VariableBinding(PAPER[1], 8, 8)
    model = VectorNetwork.init(Elman, 8, 70, generators(0))
    memories, _ = fitted_memories(random(1, 99, 70).float(), random(1, 99, 64, seed=1).sign().float(), task)
    assert memories.labels == variable_memories(model, task, residuals=0).labels
    assert memories.basis.shape == (1, 70, 64)
    assert memories.basis.dtype == memories.dual.dtype == memories.condition.dtype == torch.float64
    assert memories.condition.shape == (1,) and type(memories.rank[0]) is int


def test_a_fit_needs_as_many_sequences_as_columns():
    task = VariableBinding((0b0110, 1, 0b10), 2, 2)
    count = circuit.effective_rank(task)
    states, held = random(2, count, 7), random(2, count, 4, seed=1)
    _, explained = fitted_memories(states, held, task)  # as many equations as unknowns: everything is explained
    torch.testing.assert_close(explained, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=f"states must hold at least {count} sequences for the fit, got {count - 1}"):
        fitted_memories(states[:, 1:], held[:, 1:], task)


def test_chosen_bases_are_those_of_the_chosen_networks():
    task = VariableBinding.repeat_copy(3, 2)
    models = draw(9, 2, generators(0, 1, 2))
    memories = variable_memories(models, task, residuals=1)
    chosen, alone = memories[[2, 0]], variable_memories(models[[2, 0]], task, residuals=1)
    torch.testing.assert_close(chosen.basis, alone.basis)
    torch.testing.assert_close(chosen.dual, alone.dual)
    torch.testing.assert_close(chosen.condition, alone.condition)
    assert chosen.rank == alone.rank and chosen.labels == memories.labels
