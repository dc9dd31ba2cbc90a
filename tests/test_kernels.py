"""The fast kernel against the reference, and the reference against torch.nn.RNN and finite differences."""

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits, torch_twin

from emt_core import cells
from emt_core.cells import Elman
from emt_core.kernels import batched, reference

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
    model = cells.init(hidden, dim, generators(*range(models))).to(dtype)
    g = torch.Generator().manual_seed(99)
    inputs = torch.randn(models, reading, batch, dim, generator=g, dtype=torch.float64).sign().to(dtype)
    targets = torch.randn(models, horizon, batch, dim, generator=g, dtype=torch.float64).to(dtype)
    return model, inputs, targets


def assert_same(got, want, dtype):
    """Loss, accuracy and the three gradients agree.

    Both sum the same at most ~1,000 products of numbers of order 1, in another order: √1000·ε ≈ 30 ε expected, 1000 ε
    allowed, relative to the largest entry. The accuracy is a count; only a product at the edge of 0 could change it.
    """
    tolerance = 1000 * torch.finfo(dtype).eps
    torch.testing.assert_close(got[0], want[0], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(got[1], want[1], rtol=0, atol=4 * torch.finfo(dtype).eps)
    for name in WEIGHTS:
        a, b = getattr(got[2], name), getattr(want[2], name)
        torch.testing.assert_close(
            a, b, rtol=0, atol=tolerance * (b.abs().max().item() + 0.1), msg=lambda m, n=name: f"{n}: {m}"
        )


class NaNWorkspace(batched.Workspace):
    """A workspace that is full of NaN at every call: what is read before it is written would show."""

    def get(self, models, length, batch, hidden, like):
        buffers = super().get(models, length, batch, hidden, like)
        for buffer in self._buffers:
            buffer.fill_(torch.nan)
        return buffers


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reference_is_torch_nn_rnn_with_autograd(shape):
    model, inputs, targets = problem(*shape)
    loss, accuracy, grads = reference.loss_and_grad(model, inputs, targets)
    for m in range(model.models):
        rnn, readout = torch_twin(model[m])
        padded = torch.cat([inputs[m], torch.zeros_like(targets[m])])
        outputs = readout(rnn(padded)[0])[inputs.shape[1] :]
        expected = torch.nn.functional.mse_loss(outputs, targets[m])
        expected.backward()
        right = (outputs.sign() == targets[m].sign()).double().mean()
        twin = Elman(rnn.weight_ih_l0.grad[None], rnn.weight_hh_l0.grad[None], readout.weight.grad[None])
        assert_same(
            (loss[m : m + 1], accuracy[m : m + 1], grads[m]), (expected[None], right[None], twin), torch.float64
        )


def test_reference_gradient_is_the_finite_difference():
    model, inputs, targets = problem(2, 3, 5, 3, 5, 2)
    _, _, grads = reference.loss_and_grad(model, inputs, targets)
    step = 1e-6  # central differences: error step² ≈ 1e-12 from the cubic term, ε/step ≈ 1e-10 from rounding
    for name in WEIGHTS:
        for place in [(0, 0, 0), (1, 1, 1), (1, 0, 1)]:
            sides = []
            for sign in (1, -1):
                weights = {n: getattr(model, n).clone() for n in WEIGHTS}
                weights[name][place] += sign * step
                sides.append(reference.loss_and_grad(Elman(**weights), inputs, targets)[0][place[0]])
            assert getattr(grads, name)[place].item() == pytest.approx(
                ((sides[0] - sides[1]) / (2 * step)).item(), abs=1e-8
            )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fast_path_is_the_reference(shape, dtype):
    model, inputs, targets = problem(*shape, dtype)
    want = reference.loss_and_grad(model, inputs, targets)
    got = batched.loss_and_grad(model, inputs, targets, NaNWorkspace())
    assert all(x.dtype == dtype for x in (got[0], got[1], got[2].W_hh))
    assert_same(got, want, dtype)


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
@pytest.mark.parametrize("kernel", [reference, batched], ids=["reference", "batched"])
def test_non_contiguous_arguments_change_nothing(kernel, shape, dtype):
    model, inputs, targets = problem(*shape, dtype)
    want = reference.loss_and_grad(model, inputs, targets)
    scattered = Elman(*(non_contiguous(getattr(model, name)) for name in WEIGHTS))
    assert_same(kernel.loss_and_grad(scattered, non_contiguous(inputs), non_contiguous(targets)), want, dtype)


@pytest.mark.parametrize("models", [1, 3])
def test_a_workspace_serves_other_lengths_and_sizes(models):
    workspace = NaNWorkspace()
    for shape in [(models, 3, 9, 5, 7, 2), (models, 3, 2, 5, 7, 2), (models, 3, 14, 5, 7, 2), (models, 3, 4, 3, 5, 2)]:
        for dtype in (torch.float64, torch.float32):
            arguments = problem(*shape, dtype)
            assert_same(batched.loss_and_grad(*arguments, workspace), reference.loss_and_grad(*arguments), dtype)


def test_what_a_workspace_held_before_does_not_change_a_bit():
    # training alone, in an ensemble and after a resume reuse buffers of different lengths
    arguments = problem(1, 3, 5, 5, 7, 3, torch.float32)
    used = batched.Workspace()
    batched.loss_and_grad(*problem(1, 3, 20, 5, 7, 3, torch.float32), used)
    for a, b in zip(batched.loss_and_grad(*arguments, used), batched.loss_and_grad(*arguments), strict=True):
        if isinstance(a, Elman):
            assert all(same_bits(getattr(a, n), getattr(b, n)) for n in WEIGHTS)
        else:
            assert same_bits(a, b)


@pytest.mark.parametrize("kernel", [reference, batched], ids=["reference", "batched"])
def test_arguments_are_left_alone(kernel):
    model, inputs, targets = problem(2, 3, 4, 3, 5, 2)
    before = [x.clone() for x in (model.W_uh, model.W_hh, model.W_r, inputs, targets)]
    kernel.loss_and_grad(model, inputs, targets)
    for old, new in zip(before, (model.W_uh, model.W_hh, model.W_r, inputs, targets), strict=True):
        assert torch.equal(old, new)
        assert not new.requires_grad


@pytest.mark.parametrize("kernel", [reference, batched], ids=["reference", "batched"])
def test_wrong_arguments_are_named(kernel):
    model, inputs, targets = problem(2, 3, 4, 3, 5, 2)
    with pytest.raises(ValueError, match="inputs"):
        kernel.loss_and_grad(model, inputs[:, :0], targets)
    with pytest.raises(ValueError, match="targets"):
        kernel.loss_and_grad(model, inputs, targets[:, :0])
    with pytest.raises(SHAPE_ERRORS, match="targets"):
        kernel.loss_and_grad(model, inputs, targets[:, :, :1])  # would broadcast
    with pytest.raises(SHAPE_ERRORS, match="inputs"):
        kernel.loss_and_grad(model[0], inputs, targets)


def test_the_fast_path_knows_tanh_only():
    model, inputs, targets = problem(1, 1, 1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"model\.activation"):
        batched.loss_and_grad(Elman(model.W_uh, model.W_hh, model.W_r, "identity"), inputs, targets)
