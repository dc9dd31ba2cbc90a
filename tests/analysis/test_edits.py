"""Edits of a state: they change what was asked for and nothing else, and in the circuit the future follows exactly."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import SHAPE_ERRORS, codes, decode, generators, same_bits, simulate

from emt_core.analysis import edits
from emt_core.analysis.memories import VariableMemories, variable_memories
from emt_core.networks import Elman, VectorNetwork
from emt_core.networks.exact import linear_rnn
from emt_core.networks.vectors import elman
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

# Contents are of order 1 for ever and a Gaussian basis with half as many units again has a condition number of about
# 10: N·ε·cond² ≈ 1e-12 for one change of basis, and some 30 steps add up to less than this.
EXACT = 1e-10
TASKS = [VariableBinding.repeat_copy(4, 3), *(VariableBinding.random(4, 3, g) for g in generators(0, 1, 2))]


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def circuits(task, seeds, extra=1.5) -> tuple[VectorNetwork, torch.Tensor]:
    """One exact linear circuit per seed, each in a random basis, and these bases (M, N, S·D)."""
    size = task.history * task.dim
    bases = [circuit.random_basis(int(extra * size) + 3, size, g) for g in generators(*seeds)]
    models = [linear_rnn(task, basis) for basis in bases]
    weights = {name: torch.cat([getattr(m, name) for m in models]) for name in ("W_uh", "W_hh", "W_r")}
    return elman(**weights, activation="identity"), torch.stack(bases)


def every_entry(basis, dim) -> VariableMemories:
    """The circuit's own basis, by hand: the entries off every cycle are memories like the others."""
    models, _, size = basis.shape
    labels = tuple(("memory", i // dim + 1, i % dim) for i in range(size))
    kept = torch.ones(size, dtype=torch.bool)
    return VariableMemories(basis, torch.linalg.pinv(basis), labels, kept, (size,) * models, torch.linalg.cond(basis))


def simulated(task, held, horizon) -> torch.Tensor:
    """What follows the contents ``held`` (M, B, S·D), by the scalar simulator: (M, T, B, D)."""
    sources = decode(task.triple, task.dim)
    rows = [[simulate(sources, x.view(task.history, task.dim).tolist(), horizon) for x in batch] for batch in held]
    return torch.tensor(rows, dtype=torch.float64).transpose(1, 2)


def close(a, b) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=EXACT)


# --- what should be held, and what should follow ----------------------------------------------------------------------


@given(codes(), st.integers(0, 99), st.integers(0, 9), st.integers(1, 9))
def test_window_and_continuation_are_those_of_the_simulated_sequence(code, seed, step, horizon):
    task = VariableBinding(*code)
    history = task.history
    inputs = task.inputs(3, generators(seed, seed + 1), torch.float64)
    start = inputs.transpose(1, 2)  # (M, B, S, D)
    sequence = torch.cat([inputs, simulated(task, start.flatten(2), step + horizon)], dim=1)
    held = edits.window(sequence, history, history + step)
    for m in range(2):
        for b in range(3):
            vectors = sequence[m, :, b].tolist()
            assert held[m, b].tolist() == [x for vector in vectors[step : step + history] for x in vector]
    assert torch.equal(edits.continuation(task, held, horizon), sequence[:, history + step :])


def test_wrong_windows_and_horizons_are_named():
    task = VariableBinding.repeat_copy(3, 2)
    sequence = torch.cat(task.sample(4, 5, generators(0)), dim=1)
    for step in (2, 9):
        with pytest.raises(ValueError, match=rf"step must lie in 3 … 8, got {step}"):
            edits.window(sequence, 3, step)
    with pytest.raises(ValueError, match="horizon"):
        edits.continuation(task, edits.window(sequence, 3, 3), 0)
    with pytest.raises(ValueError, match="horizon"):
        edits.future(VectorNetwork.init(Elman, 2, 5, generators(0)), torch.zeros(1, 4, 5), 0)


# --- the edits --------------------------------------------------------------------------------------------------------


@given(codes(), st.integers(0, 999))
def test_write_sets_the_chosen_contents_and_leaves_all_else(code, seed):
    task = VariableBinding(*code)
    model, basis = circuits(task, [seed, seed + 1])
    whole = every_entry(basis, task.dim)
    memories = variable_memories(model, task, 1.0, method="corrected", residuals=2)
    h = random(2, 4, model.hidden, seed=seed)
    values = random(2, 4, memories.size, seed=seed + 1)
    for where in (random(2, 4, memories.size, seed=seed + 2) > 0, None):
        edited = edits.write(h, memories, values, where)
        written = memories.kept if where is None else memories.kept & where
        # entries that the basis lacks are not written; they have contents of their own, which stay
        close(whole.contents(edited), torch.where(written, values, whole.contents(h)))
        change = edited - h
        close(change - whole.contents(change) @ basis.mT, torch.zeros_like(h))


@pytest.mark.parametrize("shape", [(12,), (3, 12), (1, 12), (1, 1, 12), (2, 1, 12), (1, 3, 12)], ids=str)
def test_masks_and_values_are_broadcast(shape):
    model, _ = circuits(TASKS[1], [0, 1])
    memories = variable_memories(model, TASKS[1], 1.0, method="corrected", residuals=0)
    h, where, values = random(2, 3, model.hidden), random(*shape, seed=1) > 0, random(*shape, seed=2)
    edited = edits.write(h, memories, values, where)
    close(edited, edits.write(h, memories, values.expand(2, 3, 12), where.expand(2, 3, 12)))
    for edit in (edits.flip, edits.erase):
        close(edit(h, memories, where), edit(h, memories, where.expand(2, 3, 12)))


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_flip_erase_and_swap_do_what_they_say(task):
    model, basis = circuits(task, [3, 4])
    memories = every_entry(basis, 3)
    h, where = random(2, 5, model.hidden), random(2, 5, 12, seed=1) > 0
    before = memories.contents(h)
    flipped = edits.flip(h, memories, where)
    close(memories.contents(flipped), torch.where(where, -before, before))
    close(edits.flip(flipped, memories, where), h)
    close(memories.contents(edits.erase(h, memories, where)), before.masked_fill(where, 0))
    for first, second in ((1, 4), (3, 2), (2, 2)):
        swapped = edits.swap(h, memories, first, second)
        blocks = list(before.split(3, dim=2))
        blocks[first - 1], blocks[second - 1] = blocks[second - 1], blocks[first - 1]
        close(memories.contents(swapped), torch.cat(blocks, dim=2))
        close(edits.swap(swapped, memories, first, second), h)
        close(edits.swap(h, memories, second, first), swapped)


def test_swap_names_a_variable_that_is_none():
    model, basis = circuits(TASKS[0], [0])
    memories, h = every_entry(basis, 3), random(1, 2, model.hidden)
    for wrong in (0, 5, True):
        with pytest.raises(ValueError, match=r"^first must be"):
            edits.swap(h, memories, wrong, 1)
        with pytest.raises(ValueError, match=r"^second must be"):
            edits.swap(h, memories, 1, wrong)


def test_no_swap_with_an_entry_that_has_no_column():
    kept = torch.tensor([False, True, True, True])
    memories = replace(every_entry(torch.eye(4, dtype=torch.float64)[None], 2), kept=kept)
    with pytest.raises(ValueError, match="second must have the same entries in the basis as first"):
        edits.swap(random(1, 3, 4), memories, 1, 2)


def test_a_mask_of_another_width_is_named():
    memories = every_entry(random(1, 6, 4), 2)
    with pytest.raises(SHAPE_ERRORS, match="where"):
        edits.write(random(1, 3, 6), memories, torch.zeros(4, dtype=torch.float64), torch.ones(5).bool())


def test_float32_states_stay_float32():
    model, basis = circuits(TASKS[1], [0, 1])
    memories = every_entry(basis, 3)
    h, values, where = random(2, 5, model.hidden), random(2, 5, 12, seed=1), random(12, seed=2) > 0
    made = {
        "write": lambda h: edits.write(h, memories, values, where),
        "flip": lambda h: edits.flip(h, memories, where),
        "erase": lambda h: edits.erase(h, memories, where),
        "swap": lambda h: edits.swap(h, memories, 1, 3),
        "transplant": lambda h: edits.transplant(h, memories, memories),
        "random_edit": lambda h: edits.random_edit(h, 2 * h, *generators(0), every_entry(basis[:, :, :9], 3)),
    }
    for name, edit in made.items():
        narrow = edit(h.float())
        assert narrow.dtype == torch.float32, name
        # contents of order 10 that are off by N·ε·cond ≈ 21·6e-8·10
        torch.testing.assert_close(narrow.double(), edit(h), rtol=0, atol=1e-4, msg=name)


# --- the future in the circuit ----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    codes(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["flip", "write", "swap"]),
    st.integers(0, 12),
    st.integers(0, 999),
)
def test_the_circuits_future_follows_every_edit(code, full_rank, by_hand, edit, step, seed):
    (choice, permutation, signs), history, dim = code
    task = VariableBinding((2**dim - 1 if full_rank else choice, permutation, signs), history, dim)
    model, basis = circuits(task, [seed, seed + 1])
    memories = every_entry(basis, dim)
    if not by_hand and (full_rank or edit != "swap"):  # a swap needs both partners
        memories = variable_memories(model, task, 1.0, method="corrected", residuals=0)
    x = random(2, 3, history * dim, seed=seed).sign()
    h = x @ basis.mT  # loaded at once: nothing is written by F meanwhile
    for _ in range(step):
        h = model.step(h)
    inputs = x.unflatten(2, (history, dim)).transpose(1, 2)
    sequence = torch.cat([inputs, simulated(task, x, step + 1)], dim=1)
    held = sequence[:, step : step + history].transpose(1, 2).flatten(2)
    where = random(2, 3, history * dim, seed=seed + 1) > 0
    values = random(2, 3, history * dim, seed=seed + 2).sign()
    if edit == "flip":
        edited, new = edits.flip(h, memories, where), torch.where(where & memories.kept, -held, held)
    elif edit == "write":
        edited = edits.write(h, memories, values, where)
        new = torch.where(where & memories.kept, values, held)
    else:
        first, second = seed % history, (seed // 7) % history
        edited = edits.swap(h, memories, first + 1, second + 1)
        blocks = list(held.split(dim, dim=2))
        blocks[first], blocks[second] = blocks[second], blocks[first]
        new = torch.cat(blocks, dim=2)
    horizon = 2 * history + 3
    written, expected = edits.future(model, edited, horizon), simulated(task, new, horizon)
    close(written, expected)
    unedited = simulated(task, held, horizon)
    result = edits.agreement(written, edits.continuation(task, new, horizon), unedited)
    assert result.exact.all()
    assert (result.signs == 1).all()
    same = (expected == unedited).all(3).all(1)
    assert torch.equal(result.followed.isnan(), same)
    assert (result.followed[~same] == 1).all()


@given(codes(), st.integers(0, 999))
def test_another_circuit_goes_on_with_transplanted_contents(code, seed):
    task = VariableBinding(*code)
    horizon = 2 * task.history + 3
    source_model, source_basis = circuits(task, [seed, seed + 1])
    target_model, target_basis = circuits(task, [seed + 2, seed + 3], extra=2.5)
    source, target = every_entry(source_basis, task.dim), every_entry(target_basis, task.dim)
    x = random(2, 3, source.size, seed=seed).sign()
    outside = random(2, 3, source_model.hidden, seed=seed + 1)
    outside = outside - source.contents(outside) @ source_basis.mT
    moved = edits.transplant(x @ source_basis.mT + outside, source, target)
    close(moved, x @ target_basis.mT)  # what lies outside the memories is not carried
    close(edits.future(target_model, moved, horizon), simulated(task, x, horizon))
    # a target whose contents are of another size, number by number and model by model
    for factor in (random(source.size, seed=seed + 2).exp(), random(2, source.size, seed=seed + 3).exp()):
        wide = factor.expand(2, -1)
        sized = replace(target, basis=target.basis / wide[:, None], dual=target.dual * wide[:, :, None])
        close(edits.transplant(x @ source_basis.mT, source, sized, factor), x @ target_basis.mT)
    close(edits.transplant(x @ source_basis.mT, source, target, 2.5), 2.5 * x @ target_basis.mT)


def test_a_transplant_into_another_tasks_basis_is_refused():
    model, basis = circuits(TASKS[1], [0])
    found = variable_memories(model, TASKS[1], 1.0, method="corrected", residuals=0)
    assert not found.kept.all()
    with pytest.raises(ValueError, match=r"^target must be a basis for the same task"):
        edits.transplant(random(1, 2, model.hidden), every_entry(basis, 3), found)


# --- controls and measures --------------------------------------------------------------------------------------------


def test_as_far_goes_the_way_of_the_one_as_far_as_the_other():
    h, edited, other = random(2, 6, 9), random(2, 6, 9, seed=1), random(2, 6, 9, seed=2)
    other[1, 2] = h[1, 2]
    moved = edits.as_far(h, edited, other) - h
    for m in range(2):
        for b in range(6):
            size, toward = (edited[m, b] - h[m, b]).norm(), other[m, b] - h[m, b]
            if (m, b) == (1, 2):  # nowhere to go
                assert not moved[m, b].any()
            else:
                torch.testing.assert_close(moved[m, b], toward / toward.norm() * size, rtol=0, atol=1e-14)
    assert torch.equal(edits.as_far(h, h, other), h)
    torch.testing.assert_close(edits.as_far(h, edited, edited), edited, rtol=0, atol=1e-14)


def test_a_random_edit_goes_as_far_as_the_edit():
    h, edited = random(2, 6, 9), random(2, 6, 9, seed=1)
    edited[1, 2] = h[1, 2]
    before = torch.get_rng_state()
    control = edits.random_edit(h, edited, *generators(5))
    torch.testing.assert_close((control - h).norm(dim=2), (edited - h).norm(dim=2), rtol=0, atol=1e-14)
    assert torch.equal(control[1, 2], h[1, 2])
    assert same_bits(control, edits.random_edit(h, edited, *generators(5)))
    assert not torch.equal(control, edits.random_edit(h, edited, *generators(6)))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_random_edit_points_everywhere_alike():
    zero = torch.zeros(1, 4000, 3, dtype=torch.float64)
    direction = edits.random_edit(zero, zero + 1, *generators(0))[0] / 3**0.5
    # second moments of a uniform direction are δ/3; their standard errors are at most √(4/45/4000) = 0.005
    close_to = torch.eye(3, dtype=torch.float64) / 3
    torch.testing.assert_close(direction.mT @ direction / 4000, close_to, rtol=0, atol=0.025)
    assert direction.mean(0).abs().max() < 5 * (1 / 3 / 4000) ** 0.5


@pytest.mark.parametrize("method", ["paper", "corrected"])
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_random_edit_outside_is_orthogonal_to_the_memories(task, method):
    model, _ = circuits(task, [0, 1])
    memories = variable_memories(model, task, 1.0, method=method)
    h = random(2, 6, model.hidden)
    edited = edits.erase(h, memories, memories.kept)
    control = edits.random_edit(h, edited, *generators(0), outside=memories)
    torch.testing.assert_close((control - h).norm(dim=2), (edited - h).norm(dim=2), rtol=1e-12, atol=0)
    close((control - h) @ memories.basis[:, :, : memories.size], torch.zeros(2, 6, memories.size).double())
    close(memories.contents(control), memories.contents(h))


def test_a_random_edit_outside_needs_a_free_direction():
    square = every_entry(random(2, 12, 12), 3)
    h = random(2, 4, 12, seed=1)
    with pytest.raises(ValueError, match="outside must leave directions free, got 12 dimensions of 12 units"):
        edits.random_edit(h, 2 * h, *generators(0), outside=square)
    # what the basis lacks is free
    kept = torch.arange(12) > 0
    dual = torch.linalg.pinv(square.basis[:, :, kept])
    some = replace(square, basis=square.basis * kept, dual=torch.cat([0 * dual[:, :1], dual], dim=1), kept=kept)
    control = edits.random_edit(h, 2 * h, *generators(0), outside=some)
    close((control - h) @ some.basis, torch.zeros(2, 4, 12).double())


def test_future_is_the_network_left_to_itself():
    model = VectorNetwork.init(Elman, 3, 7, generators(0, 1)).to(torch.float64)
    h = random(2, 4, 7)
    written = edits.future(model, h, 6)
    assert written.shape == (2, 6, 4, 3)
    for m in range(2):
        state = h[m].numpy()
        for t in range(6):
            state = torch.tanh(torch.from_numpy(state @ model.W_hh[m].numpy().T)).numpy()
            # the map contracts (|W_hh| ≈ 1/√3 and tanh' ≤ 1): rounding does not grow
            torch.testing.assert_close(
                written[m, t], torch.from_numpy(state @ model.W_r[m].numpy().T), rtol=0, atol=1e-13
            )


def test_agreement_by_hand():
    # one model, T = 2, three sequences, D = 2; an output of zero agrees with nothing
    outputs = torch.tensor([[[0.1, -2.0], [3.0, 0.0], [1.0, 1.0]], [[5.0, 1e-9], [1.0, 1.0], [-1.0, 1.0]]])[None]
    predicted = torch.tensor([[[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]])[None]
    plain = edits.agreement(outputs, predicted)
    assert plain.signs.tolist() == [[1.0, 0.75, 0.5]]
    assert plain.exact.tolist() == [[True, False, False]]
    assert plain.followed.tolist() == plain.signs.tolist()  # nothing to compare with: every sign counts
    # the predictions differ in two signs of the first sequence, in none of the second, in three of the third
    unedited = predicted.clone()
    unedited[0, :, 0, 0] *= -1
    unedited[0, :, 2, 0] *= -1
    unedited[0, 0, 2, 1] *= -1
    told = edits.agreement(outputs, predicted, unedited)
    assert torch.equal(told.signs, plain.signs)
    assert torch.equal(told.exact, plain.exact)
    assert told.followed[0, 0] == 1
    assert told.followed[0, 1].isnan()
    assert told.followed[0, 2].item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("shape", [(4, 3, 2), (1, 4, 3, 2), (5, 4, 3, 2)], ids=str)
def test_agreement_takes_one_prediction_for_all_models(shape):
    outputs = random(5, 4, 3, 2)
    predicted, unedited = random(*shape, seed=1).sign(), random(*shape, seed=2).sign()
    result = edits.agreement(outputs, predicted, unedited)
    for m in range(5):
        wanted, other = (p.expand(5, 4, 3, 2)[m] for p in (predicted, unedited))
        for b in range(3):
            right = (outputs[m, :, b].sign() == wanted[:, b]).flatten().tolist()
            changed = (wanted[:, b] != other[:, b]).flatten().tolist()
            assert result.signs[m, b].item() == pytest.approx(sum(right) / 8)
            assert result.exact[m, b].item() == all(right)
            share = sum(r for r, c in zip(right, changed, strict=True) if c) / sum(changed)
            assert result.followed[m, b].item() == pytest.approx(share)


def test_wrong_shapes_are_refused():
    model, basis = circuits(TASKS[0], [0])
    memories, h = every_entry(basis, 3), random(1, 4, model.hidden)
    with pytest.raises((*SHAPE_ERRORS, RuntimeError)):
        edits.write(h, memories, random(1, 4, 11))
    with pytest.raises((*SHAPE_ERRORS, RuntimeError)):
        edits.flip(h, memories, torch.ones(1, 4, 11, dtype=torch.bool))
    with pytest.raises(SHAPE_ERRORS):
        edits.future(model, h[:, :, 1:], 3)
