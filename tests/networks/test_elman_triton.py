"""The Triton kernels without a GPU: their numbers under Triton's interpreter, their size as compiled for sm_90.

Whether Triton interprets or compiles is settled when it is imported, so the interpreter has a process of its own:
:func:`compute` runs there once and writes down what every case gave; the tests compare.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import hopper
import pytest
import torch
from oracles import SHAPE_ERRORS, generators, needs_a_gpu, same_bits
from safetensors.torch import load_file, save_file
from test_elman_kernels import WEIGHTS, NaNWorkspace, assert_same, non_contiguous, problem
from test_elman_kernels import truth as by_autograd

from emt_core.networks import Elman, VectorNetwork
from emt_core.tasks import VariableBinding
from emt_core.training import variable_binding as train

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.xdist_group("triton")  # one process computes for all tests of this file

# M, S, T, B, N, D: ones, odd sizes, one step of either phase, many models; then tiles that N, D or the batch overflow
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (1, 3, 7, 5, 9, 3),
    (3, 3, 7, 5, 9, 3),
    (3, 1, 11, 3, 13, 1),
    (2, 9, 1, 7, 5, 7),
    (7, 2, 3, 1, 3, 2),
    (1, 2, 41, 3, 6, 8),
    (1, 2, 3, 67, 17, 5),
    (2, 2, 3, 5, 70, 8),
    (1, 2, 3, 17, 128, 33),
]
TILED = SHAPES[7]  # a batch of 67: five tiles of 16, or two of 64 where there are models enough
RUN = dict(task=VariableBinding.repeat_copy(2, 2), hidden=5, seeds=[0, 1], steps=4, batch=3, horizons=(3,), every=1)
RUN |= dict(test_horizon=1, progress=False)


def problem32(*shape):
    return problem(*shape, torch.float32)


def compute(path: str) -> None:
    """Every case under Triton's interpreter, where whatever ``torch.empty`` returns is full of NaN."""
    from emt_core.networks.kernels import elman_triton as triton_elman

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory and torch.empty(1).isnan()
    out: dict[str, torch.Tensor] = {}

    def keep(name: str, loss, accuracy, grads) -> None:
        values = {"loss": loss, "accuracy": accuracy} | dict(zip(WEIGHTS, grads, strict=True))
        out.update({f"{name}.{key}": value.contiguous() for key, value in values.items()})

    for shape in SHAPES:
        keep(str(shape), *triton_elman.loss_and_grad(*problem32(*shape)))
    arguments = problem32(*SHAPES[2])
    keep("scattered", *triton_elman.loss_and_grad(*map(non_contiguous, arguments)))
    triton_elman.loss_and_grad(*arguments)
    for value, given in zip(problem32(*SHAPES[2]), arguments, strict=True):
        assert torch.equal(value, given)  # arguments are left alone
    workspace = NaNWorkspace()
    triton_elman.loss_and_grad(*problem32(3, 3, 9, 5, 9, 3), workspace)
    keep("workspace", *triton_elman.loss_and_grad(*arguments, workspace))

    triton_elman.PROCESSORS = 0  # as if there were models enough for large tiles
    keep("large tiles", *triton_elman.loss_and_grad(*problem32(*TILED)))
    one = torch.ones(1, 1, 1), torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    x = torch.cat([torch.linspace(-10, 10, 200), torch.linspace(-0.6, 0.6, 100), torch.tensor([0.0, 1e-30, 50, -1e4])])
    workspace = NaNWorkspace()
    triton_elman.loss_and_grad(*one, x.view(1, 1, -1, 1), torch.ones(1, 1, len(x), 1), workspace)
    out |= {"tanh.x": x, "tanh.y": workspace.numbers[: len(x)].clone()}

    # as training calls it
    train.fastest = lambda *_: triton_elman
    run = train.fit(**RUN)
    out |= {"run.W_hh": run.model.W_hh.contiguous(), "run.loss": run.history.loss}
    save_file(out, path)


@pytest.fixture(scope="module")
def triton_elman(tmp_path_factory):
    """The module as a GPU machine sees it: its kernels compile, here into a cache of their own."""
    pytest.importorskip("triton", reason="Triton is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield importlib.import_module("emt_core.networks.kernels.elman_triton")


@pytest.fixture(scope="module")
def interpreted(triton_elman, tmp_path_factory):
    """What :func:`compute` wrote, by name."""
    path = tmp_path_factory.mktemp("triton") / "computed.safetensors"
    # conftest first: its hook checks shapes and types there as it does here
    command = [sys.executable, "-c", f"import conftest, test_elman_triton as t; t.compute({str(path)!r})"]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True)
    if "only 0-dimensional arrays can be converted" in done.stderr:
        pytest.skip("the interpreter of this version of Triton does not go with NumPy >= 2.4")
    assert done.returncode == 0, done.stdout + done.stderr
    return load_file(path)


def result(interpreted, name: str):
    """(loss, accuracy, gradients) of a case, as loss_and_grad returned them."""
    loss, accuracy, *grads = (interpreted[f"{name}.{key}"] for key in ("loss", "accuracy", *WEIGHTS))
    return loss, accuracy, grads


def truth(arguments):
    """The reference in float64 on the same float32 numbers, rounded to float32 at the end."""
    loss, accuracy, grads = by_autograd(*(x.double() for x in arguments))
    return loss.float(), accuracy.float(), [grad.float() for grad in grads]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels_are_the_reference(interpreted, shape):
    assert_same(result(interpreted, str(shape)), truth(problem32(*shape)), torch.float32)


@pytest.mark.parametrize("case", ["scattered", "workspace"])
def test_strides_and_what_a_workspace_held_change_nothing(interpreted, case):
    for key in ("loss", "accuracy", *WEIGHTS):
        assert same_bits(interpreted[f"{case}.{key}"], interpreted[f"{SHAPES[2]}.{key}"])


def test_the_tile_of_the_batch_does_not_matter(interpreted, triton_elman):
    M, _, _, B, N, D = TILED
    assert triton_elman._plan(N, D, B, M)["forward"][1]["BT"] == 16
    assert triton_elman._plan(N, D, B, 1000)["forward"][1]["BT"] == 64
    assert_same(result(interpreted, "large tiles"), truth(problem32(*TILED)), torch.float32)


def test_tanh_is_good_to_the_last_places(interpreted):
    x, y = interpreted["tanh.x"], interpreted["tanh.y"]
    want = x.double().tanh()
    # far from 0: three roundings (exp, division, subtraction) of at most one unit in the last place of 1
    unit = torch.finfo(torch.float32).eps * want.abs()
    assert ((y - want).abs() <= 3 * unit).all()


@pytest.mark.parametrize("models", [132, 60, 20])
@pytest.mark.parametrize("hidden", [64, 128])
def test_compiled_for_hopper_nothing_is_spilled(triton_elman, hidden, models):
    used = hopper.resources(triton_elman, hidden, 8, 64, models)
    assert set(used) == {"forward", "readout", "backward", "grad_hh", "grad_uh", "grad_r"}
    for name, kernel in used.items():
        assert (kernel["stored"], kernel["loaded"]) == (0, 0), f"{name}: {kernel}"
        assert 0 < kernel["registers"] <= 255
        assert kernel["shared"] <= 227 * 1024, f"{name}: {kernel}"


def test_the_largest_model_fits(triton_elman):
    plan = triton_elman._plan(triton_elman.MAX_HIDDEN, triton_elman.MAX_DIM, 64, 1000)
    for name in ("forward", "backward"):
        assert hopper.compiled(*plan[name])["shared"] <= 227 * 1024


@needs_a_gpu
def test_kernels_on_a_gpu_are_the_reference(triton_elman):
    for shape in [*SHAPES, (3, 8, 20, 64, 128, 8), (140, 8, 5, 64, 64, 8)]:
        arguments = problem32(*shape)
        on_gpu = [x.cuda() for x in arguments]
        loss, accuracy, grads = triton_elman.loss_and_grad(*on_gpu)
        again = triton_elman.loss_and_grad(*on_gpu)
        assert all(same_bits(a, b) for a, b in zip(grads, again[2], strict=True))
        want = truth(arguments)
        # on the matrix unit an output within 1e-6 of 0 may fall on the other side of it
        torch.testing.assert_close(accuracy.cpu(), want[1], rtol=0, atol=2 / arguments[-1][0].numel())
        assert_same((loss.cpu(), want[1], [grad.cpu() for grad in grads]), want, torch.float32)


def test_what_the_kernels_cannot_do_is_named(triton_elman):
    *matrices, inputs, targets = problem32(2, 3, 4, 3, 5, 2)
    with pytest.raises(ValueError, match=r"^W_hh must be torch\.float32 on a CUDA device, got .* on cpu"):
        triton_elman.loss_and_grad(*matrices, inputs, targets)
    with pytest.raises(ValueError, match=r"^W_hh must be .* got torch\.float64"):
        triton_elman.loss_and_grad(*(w.double() for w in matrices), inputs, targets)
    with pytest.raises(ValueError, match="inputs"):
        triton_elman.loss_and_grad(*matrices, inputs[:, :0], targets)
    with pytest.raises(SHAPE_ERRORS, match="targets"):
        triton_elman.loss_and_grad(*matrices, inputs, targets[:, :, :1])  # would broadcast
    for hidden, dim in [(129, 2), (5, 65)]:
        large = VectorNetwork.init(Elman, dim, hidden, generators(0))
        matrices = [getattr(large, name) for name in WEIGHTS]
        with pytest.raises(ValueError, match=rf"^W_uh must have N ≤ 128 and D ≤ 64 .* got \(1, {hidden}, {dim}\)"):
            triton_elman.loss_and_grad(*matrices, torch.zeros(1, 1, 1, dim), torch.zeros(1, 1, 1, dim))


def test_training_with_the_kernels_is_training(interpreted):
    """Four steps of two networks, as with the kernels for the CPU: updates of at most lr, gradients alike to 1e-5."""
    run = train.fit(**RUN)
    torch.testing.assert_close(interpreted["run.W_hh"], run.model.W_hh, rtol=0, atol=1e-5)
    torch.testing.assert_close(interpreted["run.loss"], run.history.loss, rtol=1e-5, atol=1e-6)


def test_without_triton_the_import_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "emt_core.networks.kernels.elman_triton", raising=False)
    with pytest.raises(ImportError, match="pip install triton"):
        importlib.import_module("emt_core.networks.kernels.elman_triton")
