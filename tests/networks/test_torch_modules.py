"""Cells from PyTorch's modules and back: one computes what the other does, and they learn alike."""

import pytest
import torch
from oracles import OF_TORCH, generators, same_bits, torch_recurrence

from emt_core.networks import Elman, from_torch, to_torch

I, N, B, STEPS = 4, 6, 5, 7  # noqa: E741
MODULES = {name: {} for name in OF_TORCH} | {"elman, relu": {"nonlinearity": "relu"}}
MODULES |= {f"{name}, no bias": settings | {"bias": False} for name, settings in MODULES.items()}
each_module = pytest.mark.parametrize(("name", "settings"), MODULES.items(), ids=MODULES)
each_cell = pytest.mark.parametrize("kind", OF_TORCH.values(), ids=OF_TORCH)
each_dtype = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=["float32", "float64"]
)


def module_of(name, settings, dtype=torch.float32) -> torch.nn.RNNBase:
    """PyTorch's module with weights of another size than it draws: biases and gates that matter."""
    module = OF_TORCH[name.partition(",")[0]].module(I, N, dtype=dtype, **settings)
    g = generators(3)[0]
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * 0.4)
    return module


def problem(cell, dtype, seed=0):
    """What is read, where from, and how much each state matters to the loss."""
    g = generators(seed)[0]
    shapes = (STEPS, B, I), (B, cell.state_size), (STEPS, B, N)
    return (torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for shape in shapes)


def run(cell, inputs, h) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``torch_recurrence``, by the step of a cell (M = 1)."""
    h, written = h[None], []
    for x in inputs:
        h = cell.step(h, x[None])
        written.append(cell.visible(h)[0])
    return torch.stack(written), h[0]


@each_module
@each_dtype
def test_a_cell_computes_what_its_module_does_and_learns_as_it_does(name, settings, dtype, tolerance):
    module = module_of(name, settings, dtype)
    cell = from_torch(module)
    assert type(cell) is OF_TORCH[name.partition(",")[0]] and (cell.models, cell.inputs, cell.hidden) == (1, I, N)
    inputs, h, weight = problem(cell, dtype)
    found = []
    for way in (lambda: run(cell, inputs, h), lambda: torch_recurrence(module, inputs, h)):
        written, last = way()
        loss = (written * weight).sum() / weight.numel() + last.square().mean()
        grads = torch.autograd.grad(loss, list(module.parameters()))  # the cell's weights are the module's
        found.append({"written": written.detach(), "last": last.detach()} | dict(enumerate(grads)))
    assert len(found[0]) == 2 + len(list(module.parameters()))
    for key, mine in found[0].items():
        theirs = found[1][key]
        assert mine.dtype == dtype and theirs.abs().max() > 1e-3
        torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance)


@each_module
def test_weights_are_shared_where_the_cell_has_the_same_ones(name, settings):
    module = module_of(name, settings)
    cell = from_torch(module)
    shared = {name for name, w in cell.weights.items() if w.data_ptr() in {p.data_ptr() for p in module.parameters()}}
    biases = {key for key in cell.weights if key.startswith("b")}
    own = biases if isinstance(cell, Elman) or not module.bias else set()  # a sum of two, or zeros
    assert shared == cell.weights.keys() - own
    for w in cell.weights.values():
        assert w.requires_grad == (w.data_ptr() in {p.data_ptr() for p in module.parameters()} or module.bias)
    with torch.no_grad():
        module.weight_hh_l0[1, 2] = 7
    assert cell.weights["W_hh"][0, 1, 2] == 7


def test_without_biases_an_elman_cell_has_none_and_with_them_their_sum():
    module = module_of("elman", {})
    assert torch.equal(from_torch(module).b[0], module.bias_ih_l0 + module.bias_hh_l0)
    assert from_torch(module_of("elman", {"bias": False})).b is None
    for nonlinearity in ("tanh", "relu"):
        assert from_torch(module_of("elman", {"nonlinearity": nonlinearity})).activation == nonlinearity


@each_cell
@each_dtype
def test_a_module_computes_what_its_cell_does(kind, dtype, tolerance):
    cell = kind.init(I, N, generators(0, 1, 2)).to(dtype)
    for m in range(3):
        module = to_torch(cell[m])
        assert type(module) is kind.module and {p.dtype for p in module.parameters()} == {dtype}
        inputs, h, _ = problem(cell, dtype, seed=m)
        for mine, theirs in zip(run(cell[m], inputs, h), torch_recurrence(module, inputs, h), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance)


@each_module
def test_there_and_back_is_the_same_cell_with_weights_of_its_own(name, settings):
    cell = from_torch(module_of(name, settings)).detach()
    module = to_torch(cell)
    back = from_torch(module)
    assert type(back) is type(cell) and back.settings == cell.settings
    for key, w in back.weights.items():
        mine = cell.weights.get(key, torch.zeros_like(w))  # an Elman cell without a bias comes back with one of zeros
        assert same_bits(w, mine) and w.data_ptr() != mine.data_ptr()
    assert all(p.requires_grad for p in module.parameters())
    before = {key: w.clone() for key, w in cell.weights.items()}
    with torch.no_grad():
        for p in module.parameters():
            p.add_(1)
    assert all(torch.equal(w, before[key]) for key, w in cell.weights.items())


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_an_elman_cells_activation_and_bias_become_the_modules(activation):
    g = generators(1)[0]
    W_uh, W_hh, b = (torch.randn(1, *shape, generator=g) for shape in ((N, I), (N, N), (N,)))
    for bias in (None, b):
        cell = Elman(W_uh=W_uh, W_hh=W_hh, b=bias, activation=activation)
        module = to_torch(cell)
        assert module.nonlinearity == activation
        inputs, h, _ = problem(cell, torch.float32)
        for mine, theirs in zip(run(cell, inputs, h), torch_recurrence(module, inputs, h), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


# --- what has no counterpart --------------------------------------------------------------------------------------


@each_cell
@pytest.mark.parametrize("layers", [1, 3])
def test_a_layer_that_reads_backwards_is_refused(kind, layers):
    with pytest.raises(ValueError, match=r"^module must have bidirectional = False, got True: .* pass functions$"):
        from_torch(kind.module(I, N, layers, bidirectional=True))


def test_a_projection_is_refused():
    projecting = [kind for kind in OF_TORCH.values() if kind.module is torch.nn.LSTM]  # the only module that has one
    for kind in projecting:
        with pytest.raises(ValueError, match=r"^module must have proj_size = 0, got 3: pass functions$"):
            from_torch(kind.module(I, N, proj_size=3))
    module = torch.nn.GRU(I, N)
    module.proj_size = 3
    with pytest.raises(ValueError, match=r"^module must have proj_size = 0, got 3"):
        from_torch(module)


def test_a_module_that_drops_out_is_refused_until_it_only_computes():
    module = torch.nn.GRU(I, N, 2, dropout=0.5)
    with pytest.raises(ValueError, match=r"^module must not drop out, got dropout = 0.5 in training: call module.eval"):
        from_torch(module)
    assert from_torch(module.eval()).state_size == 2 * N


def test_other_modules_are_refused():
    kinds = [kind.module.__name__ for kind in OF_TORCH.values()]
    known = ", ".join(f"torch.nn.{name}{end}" for end in ("", "Cell") for name in kinds)
    for other in (torch.nn.Linear(I, N), torch.nn.Identity(), torch.nn.TransformerEncoderLayer(4, 2)):
        with pytest.raises(ValueError, match=rf"^module must be one of {known}, got {type(other).__name__}: pass .*"):
            from_torch(other)


@each_cell
def test_cells_that_are_not_one_model_are_refused(kind):
    cell = kind.init(I, N, generators(0, 1))
    with pytest.raises(ValueError, match=r"^cell must have one model, got 2: choose one, as in cell\[0\]$"):
        to_torch(cell)
    with pytest.raises(ValueError, match=r"^cell must have one model, got 0"):
        to_torch(cell[:0])


def test_cells_that_torch_has_no_module_for_are_refused():
    cell = Elman.init(I, N, generators(0))
    linear = Elman(W_hh=cell.W_hh, W_uh=cell.W_uh, activation="identity")
    with pytest.raises(ValueError, match=r"^cell.activation must be 'tanh' or 'relu' for torch.nn.RNN, got 'identity'"):
        to_torch(linear)

    class Own(Elman):
        module = None

    with pytest.raises(ValueError, match=r"^cell must be one that torch has a module for, got Own$"):
        to_torch(Own(W_hh=cell.W_hh, W_uh=cell.W_uh))
