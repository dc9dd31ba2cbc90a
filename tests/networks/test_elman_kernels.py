"""The fast kernel against the reference, and the reference against torch.nn.RNN and finite differences."""

import logging
import math
import re
import shutil
import weakref

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits, torch_twin

from emt_core.networks import Elman, VectorNetwork, vectors
from emt_core.networks.kernels import adam, compiled, shapes
from emt_core.networks.kernels import elman_native as native
from emt_core.networks.kernels.elman import fastest

WEIGHTS = ("W_uh", "W_hh", "W_r")
# M, S, T, B, N, D: nothing but ones, odd sizes, one step of either phase, many models, more inputs than hidden units
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (1, 3, 7, 5, 9, 3),
    (4, 3, 7, 5, 9, 3),
    (3, 1, 11, 3, 13, 1),
    (2, 9, 1, 7, 5, 7),
    (17, 2, 3, 1, 3, 2),
]


def problem(models, reading, horizon, batch, hidden, dim, dtype=torch.float64):
    """W_uh, W_hh, W_r, inputs and targets: what every kernel takes."""
    model = VectorNetwork.init(Elman, dim, hidden, generators(*range(models))).to(dtype)
    g = torch.Generator().manual_seed(99)
    inputs = torch.randn(models, reading, batch, dim, generator=g, dtype=torch.float64).sign().to(dtype)
    targets = torch.randn(models, horizon, batch, dim, generator=g, dtype=torch.float64).to(dtype)
    return *(getattr(model, name) for name in WEIGHTS), inputs, targets


def assert_same(got, want, dtype):
    """Loss, accuracy and the three gradients agree.

    Both sum the same at most ~1,000 products of numbers of order 1, in another order: √1000·ε ≈ 30 ε expected, 1000 ε
    allowed, relative to the largest entry. The accuracy is a count; only a product at the edge of 0 could change it.
    """
    tolerance = 1000 * torch.finfo(dtype).eps
    torch.testing.assert_close(got[0], want[0], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(got[1], want[1], rtol=0, atol=4 * torch.finfo(dtype).eps)
    for name, a, b in zip(WEIGHTS, got[2], want[2], strict=True):
        torch.testing.assert_close(
            a, b, rtol=0, atol=tolerance * (b.abs().max().item() + 0.1), msg=lambda m, n=name: f"{n}: {m}"
        )


RUNS_HERE = {"avx512": ["avx512", "avx2"]}.get(compiled.instruction_set(), [compiled.instruction_set()])


@pytest.fixture(params=RUNS_HERE)
def on_each_set(request, monkeypatch):
    """:mod:`native` on each instruction set that this machine has and that setup.py compiles for it."""
    if native.library(request.param) is None:
        assert shutil.which("c++") is None, "the kernel is not compiled though there is a compiler: pip install -e ."
        pytest.skip("no C++ compiler here")
    monkeypatch.setattr(native, "instruction_set", lambda: request.param)


def truth(*arguments):
    """What every kernel must give, by autograd."""
    *matrices, inputs, targets = arguments
    loss, accuracy, grads = vectors.loss_and_grad(vectors.elman(*matrices), inputs, targets)
    return loss, accuracy, tuple(grads[name] for name in WEIGHTS)


class NaNWorkspace(shapes.Workspace):
    """A workspace that is full of NaN at every call: what is read before it is written would show."""

    def get(self, size, like):
        self.numbers = super().get(size, like).fill_(torch.nan)
        return self.numbers


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reference_is_torch_nn_rnn_with_autograd(shape):
    *matrices, inputs, targets = problem(*shape)
    loss, accuracy, grads = truth(*matrices, inputs, targets)
    model = vectors.elman(*matrices)
    for m in range(model.models):
        rnn, readout = torch_twin(model[m])
        padded = torch.cat([inputs[m], torch.zeros_like(targets[m])])
        outputs = readout(rnn(padded)[0])[inputs.shape[1] :]
        expected = torch.nn.functional.mse_loss(outputs, targets[m])
        expected.backward()
        right = (outputs.sign() == targets[m].sign()).double().mean()
        twin = rnn.weight_ih_l0.grad[None], rnn.weight_hh_l0.grad[None], readout.weight.grad[None]
        assert_same(
            (loss[m : m + 1], accuracy[m : m + 1], [grad[m : m + 1] for grad in grads]),
            (expected[None], right[None], twin),
            torch.float64,
        )


def test_reference_gradient_is_the_finite_difference():
    arguments = problem(2, 3, 5, 3, 5, 2)
    _, _, grads = truth(*arguments)
    step = 1e-6  # central differences: error step² ≈ 1e-12 from the cubic term, ε/step ≈ 1e-10 from rounding
    for which, grad in enumerate(grads):
        for place in [(0, 0, 0), (1, 1, 1), (1, 0, 1)]:
            sides = []
            for sign in (1, -1):
                moved = [x.clone() for x in arguments]
                moved[which][place] += sign * step
                sides.append(truth(*moved)[0][place[0]])
            assert grad[place].item() == pytest.approx(((sides[0] - sides[1]) / (2 * step)).item(), abs=1e-8)


# every remainder of a tile in rows (batch, hidden) and in vectors (hidden), and the paper's size
NATIVE_SHAPES = [
    *SHAPES,
    *[(1, 2, 5, batch, hidden, 3) for batch in (1, 2, 6, 7, 11) for hidden in (8, 16, 31, 33, 50, 64, 65)],
    (1, 8, 100, 64, 128, 8),
]


@pytest.mark.parametrize("shape", NATIVE_SHAPES, ids=str)
def test_compiled_gradients_are_within_1e_5_of_float64(on_each_set, shape):
    arguments = problem(*shape, torch.float32)
    got = native.loss_and_grad(*arguments, NaNWorkspace())
    assert all(x.dtype == torch.float32 for x in (got[0], got[1], *got[2]))
    want = truth(*(x.double() for x in arguments))
    torch.testing.assert_close(got[0].double(), want[0], rtol=1e-6, atol=1e-12)
    near_zero = 2 / arguments[-1][0].numel()  # rounding may turn the sign of an output or two
    torch.testing.assert_close(got[1].double(), want[1], rtol=0, atol=near_zero)
    for name, a, b in zip(WEIGHTS, got[2], want[2], strict=True):
        assert (a.double() - b).norm() <= 1e-5 * b.norm(), name


def test_compiled_tanh_is_tanh(on_each_set):
    """Seen through a network of one unit: loss = tanh(tanh(x))². Each tanh is within 2 ε, so is its share in the
    square; a product, the square and the conversion round once each: 8 ε is enough."""
    one, zero = torch.ones(1, 1, 1), torch.zeros(1, 1, 1, 1)
    # h > 1 + ε/2 would show as a loss above tanh(1)²; from 1e-6 on the square is no denormal number
    x = torch.cat([torch.logspace(-6, 1.5, 997), torch.tensor([100.0, 3e38, torch.inf])])
    x = torch.cat([x, -x])
    for value in x:
        loss, _, _ = native.loss_and_grad(value.view(1, 1, 1), one, one, one[None], zero)
        want = value.double().tanh().tanh().square()
        assert abs(loss[0].double() - want) <= 8 * torch.finfo(torch.float32).eps * want, value
    loss, _, _ = native.loss_and_grad(one * torch.nan, one, one, one[None], zero)
    assert loss.isnan()


def test_compiled_models_do_not_depend_on_their_neighbours(on_each_set):
    arguments = problem(4, 3, 7, 5, 9, 3, torch.float32)
    together = native.loss_and_grad(*arguments)
    for m in range(4):
        alone = native.loss_and_grad(*(x[m : m + 1] for x in arguments), NaNWorkspace())
        assert same_bits(alone[0], together[0][m : m + 1])
        assert all(same_bits(a, b[m : m + 1]) for a, b in zip(alone[2], together[2], strict=True))


@pytest.mark.parametrize("kernel", [adam, native], ids=["adam", "native"])
def test_clip_and_adam_is_torchs(kernel):
    if kernel is native and native.library(compiled.instruction_set()) is None:
        pytest.skip("no compiled kernel here")
    g = torch.Generator().manual_seed(0)
    lr, l2, size = torch.tensor([[1e-3], [1e-2]]), torch.tensor([[0.0], [0.1]]), 37
    weights = torch.randn(2, size, generator=g)
    twins = [torch.nn.Parameter(w.clone()) for w in weights]
    optimisers = [
        torch.optim.Adam([w], lr=a.item(), weight_decay=b.item()) for w, a, b in zip(twins, lr, l2, strict=True)
    ]
    m, v = torch.zeros(2, size), torch.zeros(2, size)
    for n in range(1, 30):
        gradient = torch.randn(2, size, generator=g) * (0.01 if n % 2 else 1)  # below the clipping norm, and above
        updated = kernel.clip_and_adam(weights, m, v, gradient, torch.ones(2), lr, l2, 1.0, n)
        assert updated.tolist() == [True, True]
        for twin, optimiser, row in zip(twins, optimisers, gradient, strict=True):
            twin.grad = row.clone()
            torch.nn.utils.clip_grad_norm_([twin], 1.0)
            optimiser.step()
    # 29 steps of at most about lr, each with a few roundings relative to the step and one relative to the weight
    torch.testing.assert_close(weights, torch.stack([t.detach() for t in twins]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", [adam, native], ids=["adam", "native"])
def test_a_model_that_is_not_finite_is_left_alone(kernel):
    if kernel is native and native.library(compiled.instruction_set()) is None:
        pytest.skip("no compiled kernel here")
    weights, m, v = torch.ones(4, 9), torch.zeros(4, 9), torch.zeros(4, 9)
    gradient = torch.ones(4, 9)
    gradient[1, 3], gradient[2, 4] = torch.nan, torch.inf
    loss = torch.tensor([torch.nan, 1.0, 1.0, 1.0])
    lr, l2 = torch.full((4, 1), 0.1), torch.zeros(4, 1)
    assert kernel.clip_and_adam(weights, m, v, gradient, loss, lr, l2, 1.0, 1).tolist() == [False] * 3 + [True]
    for x, start in ((weights, 1), (m, 0), (v, 0)):
        assert torch.equal(x[:3], torch.full((3, 9), float(start)))
        assert (x[3] != start).all()


def test_the_compiled_kernel_is_the_fastest_where_there_is_one(on_each_set):
    assert fastest("cpu", 7, 2) is native and fastest(torch.device("cpu"), 1000, 100) is native


def test_without_the_compiled_kernel_there_is_none_and_the_log_says_so_once(monkeypatch, caplog):
    native.library.cache_clear()
    for module in (compiled, native):
        monkeypatch.setattr(module, "instruction_set", lambda: "none")
    with caplog.at_level(logging.WARNING):
        assert fastest("cpu", 7, 2) is None
        assert fastest("cpu", 7, 2) is None
    assert [r.message for r in caplog.records if "fast CPU kernel" in r.message] == [
        "the fast CPU kernel was not compiled for none: training uses torch, several times slower"
    ]
    assert fastest("cuda", 1000, 2) is None  # larger than the Triton kernels take, or no Triton at all
    with pytest.raises(RuntimeError, match="not compiled here"):
        native.loss_and_grad(*problem(1, 1, 1, 1, 1, 1, torch.float32))


def test_compiled_kernel_refuses_what_it_cannot_read(on_each_set):
    with pytest.raises(ValueError, match="W_uh must be float32 on the CPU"):
        native.loss_and_grad(*problem(1, 1, 1, 1, 1, 1, torch.float64))
    rows = [torch.ones(2, 3) for _ in range(4)]
    column = torch.ones(2, 1)
    with pytest.raises(ValueError, match="moment1 must be contiguous"):
        native.clip_and_adam(rows[0], torch.ones(3, 2).T, rows[2], rows[3], torch.ones(2), column, column, 1.0, 1)


def non_contiguous(x: torch.Tensor) -> torch.Tensor:
    """The same numbers with every other entry of memory skipped and the axes stored in reverse."""
    wide = torch.full((*x.shape[::-1], 2), torch.nan, dtype=x.dtype)
    wide[..., 0] = x.permute(*reversed(range(x.ndim)))
    y = wide[..., 0].permute(*reversed(range(x.ndim)))
    assert torch.equal(x, y)
    assert x.numel() == 1 or not y.is_contiguous()
    return y


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES[1:4], ids=str)
def test_non_contiguous_arguments_change_nothing(shape, dtype):
    arguments = problem(*shape, dtype)
    assert_same(truth(*map(non_contiguous, arguments)), truth(*arguments), dtype)


def test_compiled_kernel_takes_non_contiguous_arguments(on_each_set):
    arguments = problem(*SHAPES[2], torch.float32)
    got = native.loss_and_grad(*map(non_contiguous, arguments))
    want = native.loss_and_grad(*arguments)
    assert same_bits(got[0], want[0])
    assert all(same_bits(a, b) for a, b in zip(got[2], want[2], strict=True))


# --- workspaces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("models", [1, 3])
def test_a_workspace_serves_other_lengths_and_sizes(on_each_set, models):
    workspace = NaNWorkspace()
    for shape in [(models, 3, 9, 5, 7, 2), (models, 3, 2, 5, 7, 2), (models, 3, 14, 5, 7, 2), (models, 3, 4, 3, 5, 2)]:
        arguments = problem(*shape, torch.float32)
        assert_same(native.loss_and_grad(*arguments, workspace), truth(*arguments), torch.float32)


def test_what_a_workspace_held_before_does_not_change_a_bit(on_each_set):
    # training alone, in an ensemble and after a resume reuse buffers of different lengths
    arguments = problem(1, 3, 5, 5, 7, 3, torch.float32)
    used = shapes.Workspace()
    native.loss_and_grad(*problem(1, 3, 20, 5, 7, 3, torch.float32), used)
    loss, accuracy, grads = native.loss_and_grad(*arguments, used)
    fresh = native.loss_and_grad(*arguments)
    assert same_bits(loss, fresh[0]) and same_bits(accuracy, fresh[1])
    assert all(same_bits(a, b) for a, b in zip(grads, fresh[2], strict=True))


# models, length, batch, hidden: models that go up the curriculum one by one, and sizes that fit into each other's
SIZES = [(models, length, 4, 6) for models in range(7, 0, -1) for length in (18, 28, 48, 68)]
SIZES += [(1, 200, 4, 6), (3, 68, 5, 7), (12, 2, 4, 6), (7, 68, 4, 6)]


def test_a_workspace_is_no_larger_than_the_largest_use_of_it():
    workspace, like, most = shapes.Workspace(), torch.empty(0), 0
    assert workspace.bytes == 0
    for size in [math.prod(each) for each in SIZES * 2] + [100, 7, 3000, 1, 2999, 512]:
        most = max(most, 4 * size)
        memory = workspace.get(size, like)
        assert workspace.bytes == most  # it grows to what is asked for, and then stays
        assert memory.shape == (size,) and memory.dtype == torch.float32
        assert memory.data_ptr() % 64 == 0  # as the compiled kernels need it
    assert most == 4 * 7 * 68 * 4 * 6


def test_a_workspace_is_kept_and_cut_to_size():
    workspace, like = shapes.Workspace(), torch.empty(0)
    large = workspace.get(2400, like).data_ptr()
    for size in (2, 1, 2400, 2399):
        assert workspace.get(size, like).data_ptr() == large
    assert workspace.bytes == 4 * 2400
    assert workspace.get(48, like.double()).dtype == torch.float64  # and another dtype is another memory
    assert workspace.bytes == 8 * 48
    assert workspace.get(24, torch.empty(0, device="meta")).device.type == "meta"


def test_a_workspace_lets_go_of_the_old_memory_before_it_takes_the_new(monkeypatch):
    workspace, like, alive = shapes.Workspace(), torch.empty(0), []
    old = weakref.ref(workspace.get(400, like)._base)
    assert old() is not None

    def empty(size, *arguments, real=torch.empty, **options):
        alive.append((size, old() is not None))
        return real(size, *arguments, **options)

    monkeypatch.setattr(torch, "empty", empty)
    workspace.get(800, like)
    assert alive[-1] == (800, False)


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [truth, native.loss_and_grad], ids=["truth", "native"])
def test_arguments_are_left_alone(kernel):
    if kernel is native.loss_and_grad and native.library(compiled.instruction_set()) is None:
        pytest.skip("no compiled kernel here")
    arguments = problem(2, 3, 4, 3, 5, 2, torch.float32)
    before = [x.clone() for x in arguments]
    kernel(*arguments)
    for old, new in zip(before, arguments, strict=True):
        assert torch.equal(old, new)
        assert not new.requires_grad


def test_wrong_arguments_are_named(on_each_set):
    *matrices, inputs, targets = problem(2, 3, 4, 3, 5, 2, torch.float32)
    with pytest.raises(ValueError, match=r"^inputs must have shape \(2, S ≥ 1, B, 2\), got \(2, 0, 3, 2\)"):
        native.loss_and_grad(*matrices, inputs[:, :0], targets)
    with pytest.raises(ValueError, match=r"^targets must have shape \(2, T ≥ 1, 3, 2\), got \(2, 0, 3, 2\)"):
        native.loss_and_grad(*matrices, inputs, targets[:, :0])
    with pytest.raises(SHAPE_ERRORS, match="targets"):
        native.loss_and_grad(*matrices, inputs, targets[:, :, :1])  # would broadcast
    with pytest.raises(SHAPE_ERRORS, match="inputs"):
        native.loss_and_grad(*(w[:1] for w in matrices), inputs, targets)
    for place, name in enumerate(WEIGHTS):
        wrong = [w[:, :-1] if at == place else w for at, w in enumerate(matrices)]
        with pytest.raises(SHAPE_ERRORS, match=r"W_" if name == "W_uh" else name):
            native.loss_and_grad(*wrong, inputs, targets)


def test_what_shapes_must_be_is_said_also_where_types_are_not_checked():
    *matrices, inputs, targets = problem(2, 3, 4, 3, 5, 2)
    good = dict(zip((*WEIGHTS, "inputs", "targets"), (*matrices, inputs, targets), strict=True))
    shapes.check(**good)
    for name, wrong in [
        ("W_hh", good["W_hh"][:, :-1]),
        ("W_hh", good["W_hh"][:1]),
        ("W_r", good["W_r"].mT),
        ("W_r", good["W_r"][:1]),
        ("inputs", inputs[..., :1]),
        ("inputs", inputs[:1]),
        ("inputs", inputs[:, :0]),
        ("targets", targets[:, :, :1]),
        ("targets", targets[..., :1]),
        ("targets", targets[:1]),
        ("targets", targets[:, :0]),
    ]:
        got = re.escape(str(tuple(wrong.shape)))
        with pytest.raises(ValueError, match=rf"^{name} must have shape \(2, .*\), got {got}$"):
            shapes.check(**good | {name: wrong})
