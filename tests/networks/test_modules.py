"""Networks as plain torch modules: the same numbers, and forward hooks that see and edit every step."""

import copy

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits

from emt_core.networks import (
    CELLS,
    GRU,
    Attention,
    TokenNetwork,
    VectorNetwork,
    run_with_cache,
    run_with_hooks,
    to_module,
)
from emt_core.networks.hand_built import onion
from emt_core.networks.hooks import names
from emt_core.networks.lstm import LSTM
from emt_core.networks.modules import CellModule
from emt_core.networks.rounded import Rounded
from emt_core.networks.stacked import Stacked
from emt_core.tasks import Sequences

N, V, B, L, K = 7, 5, 6, 5, 4
each_cell = pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)


def draw(kind=GRU, models=1, autoregressive=True, between=0) -> TokenNetwork:
    drawn = TokenNetwork.init(kind, V, N, generators(*range(models)), autoregressive, between=between)
    return drawn.to(torch.float64)


def vectors(kind=GRU, models=1) -> VectorNetwork:
    return VectorNetwork.init(kind, 3, N, generators(*range(models))).to(torch.float64)


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generators(seed)[0])


def some() -> torch.Tensor:
    """Tokens (B, L)."""
    return torch.randint(V, (B, L), generator=generators(3)[0])


def read(tokens) -> Sequences:
    return Sequences.of_one_length(tokens.T[None])


def close(a, b) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


# --- numbers ----------------------------------------------------------------------------------------------------------


@each_cell
@pytest.mark.parametrize(("autoregressive", "between"), [(True, 0), (False, 4)], ids=["autoregressive", "no input"])
def test_scores_are_the_networks(kind, autoregressive, between):
    model, tokens = draw(kind, 1, autoregressive, between), some()
    scores = to_module(model)(tokens, K)
    written = model.write(h := model.encode(read(tokens)), K)
    assert scores.shape == (B, K, V) and torch.equal(scores.argmax(2).T, written[0])
    close(scores.transpose(0, 1), model.logits(h, Sequences.of_one_length(written))[0])
    assert to_module(model)(tokens).shape == (B, L, V)


@each_cell
def test_outputs_are_the_networks(kind):
    model, made = vectors(kind), to_module(vectors(kind))
    for inputs in (random(1, L, B, 3), random(1, 0, B, 3)):
        close(made(inputs[0].transpose(0, 1), K).transpose(0, 1), model.rollout(inputs, K)[1][0])


@each_cell
def test_a_step_is_the_cells(kind):
    cell, made = draw(kind).cell, to_module(draw(kind).cell)
    h, x = random(B, cell.state_size), random(B, N, seed=1)
    assert same_bits(made(h, x), cell.step(h[None], x[None])[0]) and same_bits(made(h), cell.step(h[None])[0])
    assert made.as_cell() == cell


def test_cells_around_cells_are_modules_as_well():
    """Names of weights with a dot in them become names that a module can have."""
    stacked, rounded = Stacked((draw(GRU).cell, draw(LSTM).cell)), Rounded(draw(GRU).cell, "bf16")
    for cell in (stacked, rounded):
        made, h, x = to_module(cell), random(B, cell.state_size), random(B, N, seed=1)
        assert same_bits(made(h, x), cell.step(h[None], x[None])[0]) and made.as_cell() == cell
    assert "W_hh_0" in to_module(stacked).state_dict()


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weights_have_names_and_are_copies():
    model = draw(GRU, between=4)
    made = to_module(model)
    cell = [f"cell.{name}" for name in ("W_ih", "W_hh", "b_ih", "b_hh")]
    ends = ["read_out.0.weight", "read_out.0.bias", "read_out.2.weight", "read_out.2.bias"]
    assert sorted(made.state_dict()) == sorted([*cell, "embedding.weight", *ends])
    assert list(to_module(vectors()).state_dict()) == [*cell, "read_out.weight"]
    before = {name: w.clone() for name, w in model.weights.items()}
    with torch.no_grad():
        for p in made.parameters():
            assert p.requires_grad and p.is_leaf
            p.add_(1)
    assert all(same_bits(w, model.weights[name]) for name, w in before.items())
    changed = made.as_network()
    assert all(same_bits(changed.weights[name].detach(), w + 1) for name, w in before.items())


@pytest.mark.parametrize("make", [draw, vectors])
def test_there_and_back(make, tmp_path):
    model, other = make(), make(models=2)[1]
    made, another = to_module(model), to_module(other)
    assert made.as_network() == model != other
    torch.save(made.state_dict(), tmp_path / "weights.pt")
    another.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert another.as_network() == model
    copied = copy.deepcopy(made).float()
    assert copied.as_network() == model.to(torch.float32) and made.as_network() == model


@each_cell
def test_gradients_are_the_networks(kind):
    model, tokens = draw(kind), some()
    made = to_module(model)
    scores = made(tokens, K)
    (scores * (weight := random(B, K, V, seed=5))).sum().backward()
    own = model.with_weights({name: w.clone().requires_grad_() for name, w in model.weights.items()})
    told = Sequences.of_one_length(scores.argmax(2).T[None])
    (own.logits(own.encode(read(tokens)), told)[0] * weight.transpose(0, 1)).sum().backward()
    found = {name.split(".")[1]: p.grad for name, p in made.named_parameters() if name.startswith("cell.")}
    for name, w in own.cell.weights.items():
        torch.testing.assert_close(found[name], w.grad[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(made.embedding.weight.grad, own.embedding.grad[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(made.read_out.weight.grad, own.W_o.grad[0], rtol=1e-10, atol=1e-12)


# --- hooks ------------------------------------------------------------------------------------------------------------


@each_cell
def test_forward_hooks_see_every_step(kind):
    model, tokens = draw(kind), some()
    made, seen = to_module(model), {name: [] for name in names(model.cell)}
    for name, values in seen.items():
        made.cell.get_submodule(name).register_forward_hook(lambda m, args, value, values=values: values.append(value))
    made(tokens, K)
    for name, values in run_with_cache(model, read(tokens), K)[1].items():
        assert len(seen[name]) == L + K
        close(torch.stack(seen[name]), values[0])


@pytest.mark.parametrize("kind", [GRU, LSTM])
@pytest.mark.parametrize("step", [2, L + 1])
def test_an_edit_by_a_forward_hook_is_that_of_run_with_hooks(kind, step):
    model, tokens = draw(kind), some()
    for name in names(model.cell):
        made, by, count = to_module(model), random(B, N, seed=4), iter(range(L + K))

        def edit(module, args, value, by=by, count=count):
            return value + by if next(count) == step else None

        plain = made(tokens, K)
        made.cell.get_submodule(name).register_forward_hook(edit)
        scores = made(tokens, K)
        hook = {name: lambda value, t, by=by: value + by if t == step else value}
        written, cache = run_with_hooks(model, read(tokens), hook, K)
        assert torch.equal(scores.argmax(2).T, written[0]) and not torch.equal(scores, plain)
        h = torch.cat([cache["h"], cache["c"]], dim=3) if kind is LSTM else cache["h"]
        close(scores.transpose(0, 1), model.read_out(h)[0, L:])


# --- arguments --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_a_module_is_refused():
    for model in (draw(models=2), draw(models=2).cell, vectors(models=2)):
        with pytest.raises(ValueError, match=r"^model must have one model, got 2: choose one, as in model\[0\]$"):
            to_module(model)
    with pytest.raises(ValueError, match=r"^model must be .* that reads step by step, got HandBuilt$"):
        to_module(onion(16, V, 3))
    with pytest.raises(SHAPE_ERRORS, match=r"model"):
        to_module(Attention.init(V, 8, generators(0)))


def test_wrong_inputs_are_named():
    made, tokens = to_module(draw()), some()
    for wrong, got in ((tokens + 1, "1 … 5"), (tokens - 1, "-1 … 3")):
        with pytest.raises(ValueError, match=rf"^tokens must lie in 0 … 4, got {got}$"):
            made(wrong, K)
    with pytest.raises(ValueError, match=r"^tokens must have shape \(B, L ≥ 1\), got \(6, 0\)"):
        made(tokens[:, :0], K)
    with pytest.raises(ValueError, match=r"^writing must be at least 1, got 0"):
        made(tokens, 0)
    with pytest.raises(ValueError, match=r"^inputs must have shape \(B, S ≥ 1, 3\), got \(6, 5, 4\)"):
        to_module(vectors())(random(B, L, 4))
    assert isinstance(to_module(draw().cell), CellModule)
