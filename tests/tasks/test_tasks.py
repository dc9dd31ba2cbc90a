"""Variable-binding tasks: every triple means what the paper's text says, and sampling follows it for ever."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import PAPER, SHAPE_ERRORS, codes, decode, generators, is_valid, needs_a_gpu, simulate

from emt_core.tasks import VariableBinding


def operator_of(triple, history, dim) -> torch.Tensor:
    F = torch.zeros(dim, history * dim, dtype=torch.float64)
    for k, (p, sign) in enumerate(decode(triple, dim)):
        F[k, p] = sign
    return F


@pytest.mark.parametrize("triple", PAPER, ids=str)
def test_operator_of_the_papers_tasks(triple):
    assert torch.equal(VariableBinding(triple, 8, 8).operator, operator_of(triple, 8, 8))


@given(codes(max_history=9, max_dim=9))
def test_operator_of_any_task(code):
    assert torch.equal(VariableBinding(*code).operator, operator_of(*code))


def test_operator_by_hand():
    # S = D = 2, entries 1 and 2 chosen, digit 0 = 1 swaps them, output 1 is negated: (x0, x1) ← (h2, −h1)
    task = VariableBinding((0b0110, 1, 0b10), 2, 2)
    assert task.operator.tolist() == [[0, 0, 1, 0], [0, -1, 0, 0]]


@pytest.mark.parametrize(("history", "dim"), [(1, 1), (3, 1), (1, 2), (2, 2), (1, 3), (2, 3)], ids=str)
def test_every_integer_triple_is_decoded_or_refused_and_count_counts_them(history, dim):
    operators = set()
    # one beyond each range, so that too large integers are among them
    for triple in product(range(2 ** (history * dim) + 1), range(dim**dim + 1), range(2**dim + 1)):
        if is_valid(triple, history, dim):
            task = VariableBinding(triple, history, dim)
            operators.add(tuple(task.operator.flatten().tolist()))
            assert VariableBinding.from_operator(task.operator) == task
        else:
            with pytest.raises(ValueError, match="triple"):
                VariableBinding(triple, history, dim)
    assert len(operators) == VariableBinding.count(history, dim)


@given(codes(max_history=9, max_dim=9))
def test_from_operator_is_the_inverse(code):
    task = VariableBinding(*code)
    assert VariableBinding.from_operator(task.operator) == task
    assert VariableBinding.from_operator(task.operator.float()) == task


def test_repeat_copy_is_the_papers_first_task():
    assert VariableBinding.repeat_copy(8, 8).triple == (255, 0, 0)


def test_a_task_of_numpy_integers_is_the_same_task():
    plain = VariableBinding((255, 0, 0), 8, 8)
    other = VariableBinding(tuple(np.array([255, 0, 0])), np.int64(8), np.int32(8))
    assert other == plain
    assert hash(other) == hash(plain)
    assert all(type(value) is int for value in (*other.triple, other.history, other.dim))


@pytest.mark.parametrize(
    ("triple", "message"),
    [
        ((7, 0, 0), "exactly dim = 2 bits"),
        ((1, 0, 0), "exactly dim = 2 bits"),
        ((0b10001, 0, 0), "fit into history·dim = 4 bits"),
        ((-3, 0, 0), "choice.* at least 0"),
        ((3, 2, 0), "digit 1 in base 2 must be below dim − 1 = 1"),
        ((3, 4, 0), "at most dim = 2 digits"),
        ((3, -1, 0), "permutation.* at least 0"),
        ((3, 0, 4), r"signs.* below 2\^dim = 4"),
        ((3, 0, -1), "signs.* at least 0"),
        ((3.0, 0, 0), "choice.* integer"),
        ((3, 0.5, 0), "permutation.* integer"),
        ((3, 0, "0"), "signs.* integer"),
        ((3, True, 0), "permutation.* integer"),
        ((3, 0), "three integers"),
        ("300", "three integers"),
    ],
    ids=str,
)
def test_wrong_triple_is_refused_with_its_rule(triple, message):
    with pytest.raises(ValueError, match=message):
        VariableBinding(triple, 2, 2)


@pytest.mark.parametrize("permutation", [1, 2, 10**6])
def test_one_dimension_has_no_permutation_but_zero(permutation):
    with pytest.raises(ValueError, match="permutation"):
        VariableBinding((2, permutation, 0), 3, 1)


@pytest.mark.parametrize(("history", "dim", "name"), [(0, 2, "history"), (2, 0, "dim"), (-1, 2, "history")])
def test_wrong_sizes_are_named(history, dim, name):
    with pytest.raises(ValueError, match=name):
        VariableBinding((3, 0, 0), history, dim)
    with pytest.raises(ValueError, match=name):
        VariableBinding.random(history, dim, torch.Generator())
    with pytest.raises(ValueError, match=name):
        VariableBinding.count(history, dim)
    with pytest.raises(ValueError, match=name):
        VariableBinding.repeat_copy(history, dim)


@pytest.mark.parametrize(
    "operator",
    [
        pytest.param(torch.zeros(2, 4), id="empty-row"),
        pytest.param(torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 0]]), id="two-in-a-row"),
        pytest.param(torch.tensor([[1.0, 0, 0, 0], [-1, 0, 0, 0]]), id="two-in-a-column"),
        pytest.param(torch.tensor([[0.5, 0, 0, 0], [0, 1, 0, 0]]), id="not-a-sign"),
        pytest.param(torch.tensor([[torch.nan, 0, 0, 0], [0, 1, 0, 0]]), id="nan"),
        pytest.param(torch.eye(2, 3), id="width-not-a-multiple"),
        pytest.param(torch.zeros(2, 0), id="no-history"),
    ],
)
def test_an_operator_of_no_task_is_refused(operator):
    with pytest.raises(ValueError, match="operator"):
        VariableBinding.from_operator(operator)


def test_random_draws_every_task_equally_often():
    generator = torch.Generator().manual_seed(0)
    draws, kinds = 2400, VariableBinding.count(2, 2)
    assert kinds == 48
    counts: dict[tuple, int] = {}
    for _ in range(draws):
        triple = VariableBinding.random(2, 2, generator).triple
        counts[triple] = counts.get(triple, 0) + 1
    # binomial: 50 ± 7 a task; five deviations for the largest of 48
    assert len(counts) == kinds
    assert all(abs(n - draws / kinds) < 35 for n in counts.values())


def test_random_depends_on_its_generator_alone():
    before = torch.get_rng_state()
    a, b = (VariableBinding.random(5, 4, torch.Generator().manual_seed(3)) for _ in range(2))
    assert a == b
    assert torch.equal(torch.get_rng_state(), before)


@given(
    codes(), st.integers(1, 3), st.integers(1, 5), st.integers(1, 25), st.sampled_from([torch.float32, torch.float64])
)
def test_targets_follow_the_task(code, models, batch, horizon, dtype):
    task = VariableBinding(*code)
    inputs, targets = task.sample(batch, horizon, generators(*range(models)), dtype)
    assert inputs.shape == (models, task.history, batch, task.dim)
    assert targets.shape == (models, horizon, batch, task.dim)
    assert inputs.dtype == targets.dtype == dtype
    assert set(inputs.unique().tolist()) <= {-1.0, 1.0}
    sources = decode(task.triple, task.dim)
    for m in range(models):
        for b in range(batch):
            assert targets[m, :, b].tolist() == simulate(sources, inputs[m, :, b].tolist(), horizon)


def test_targets_of_any_numbers_and_of_a_long_horizon():
    task = VariableBinding(PAPER[2], 8, 8)
    inputs = torch.randn(2, 8, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = task.targets(inputs.transpose(0, 1).contiguous().transpose(0, 1), 500)  # not contiguous
    sources = decode(task.triple, 8)
    assert targets[1, :, 2].tolist() == simulate(sources, inputs[1, :, 2].tolist(), 500)
    assert torch.equal(task.targets(inputs, 7), targets[:, :7])


def test_a_model_sees_the_same_whoever_trains_beside_it():
    task = VariableBinding.repeat_copy(3, 5)
    together = [task.sample(7, 4, gens) for gens in [generators(1, 2, 3)] for _ in range(2)]
    alone = [task.sample(7, 4, gen) for gen in generators(2) for _ in range(2)]
    for (u, x), (v, y) in zip(together, alone, strict=True):
        assert torch.equal(u[1:2], v)
        assert torch.equal(x[1:2], y)
    assert not torch.equal(together[0][0], together[1][0])  # fresh at every call


@pytest.mark.parametrize(
    "device",
    ["meta", pytest.param("cuda", marks=needs_a_gpu)],
)
def test_targets_stay_on_the_device_of_the_inputs(device):
    # "meta" has shapes and no numbers: anything left on the CPU would be refused when the two meet
    task = VariableBinding.repeat_copy(3, 2)
    targets = task.targets(torch.empty(1, 3, 4, 2, device=device), 5)
    assert targets.device.type == device
    assert targets.shape == (1, 5, 4, 2)


def test_sampling_refuses_what_it_cannot_do():
    task = VariableBinding.repeat_copy(3, 2)
    with pytest.raises(ValueError, match="batch"):
        task.inputs(0, torch.Generator())
    with pytest.raises(ValueError, match="generators"):
        task.inputs(1, [])
    with pytest.raises(ValueError, match="dtype"):
        task.inputs(1, torch.Generator(), torch.int64)
    with pytest.raises(ValueError, match="horizon"):
        task.sample(1, 0, torch.Generator())
    with pytest.raises(SHAPE_ERRORS, match="inputs"):
        task.targets(torch.ones(1, 2, 1, 2), 1)
