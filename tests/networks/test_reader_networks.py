"""Networks that say something at every step: PyTorch's own numbers and gradients, and what is refused."""

from dataclasses import replace

import pytest
import torch
from oracles import OF_TORCH, SHAPE_ERRORS, generators, torch_recurrence

from emt_core.analysis import layers
from emt_core.networks import CELLS, GRU, Reader, load, save, to_torch
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.training.own_task import loss

N, C, T, B = 6, 3, 5, 4
KINDS = {"tokens": {"vocabulary": 5, "inputs": 2}, "vectors": {"inputs": 2}}

each_kind = pytest.mark.parametrize("what", KINDS)
each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
each_of_torch = pytest.mark.parametrize("cell", OF_TORCH.values(), ids=OF_TORCH)
layers_between = pytest.mark.parametrize("between", [0, 9])


def drawn(what, cell=GRU, *seeds, **options) -> Reader:
    return Reader.init(cell, C, N, generators(*(seeds or (0, 1))), **KINDS[what], **options)


def read(what, models=2, seed=5) -> torch.Tensor:
    (generator,) = generators(seed)
    if what == "tokens":
        return torch.randint(5, (models, T, B), generator=generator)
    return torch.randn(models, T, B, 2, generator=generator)


@each_of_torch
@each_kind
@layers_between
@pytest.mark.parametrize("targets", ["classes", "numbers"])
def test_values_and_gradients_are_torchs(what, cell, between, targets):
    model = drawn(what, cell, 3, between=between).to(torch.float64)
    inputs = read(what, 1) if what == "tokens" else read(what, 1).double()
    leaves = {name: w.clone().requires_grad_() for name, w in model.weights.items()}
    own = model.with_weights(leaves)
    module = to_torch(model.cell)
    outside = leaves.keys() - model.cell.weights.keys()
    ends = {name: leaves[name][0].detach().clone().requires_grad_() for name in outside}
    rows = ends["embedding"][inputs[0]] if what == "tokens" else inputs[0]
    visible, last = torch_recurrence(module, rows, torch.zeros(B, model.state_size, dtype=torch.float64))
    y = (visible @ ends["W_m"].T + ends["b_m"]).relu() if between else visible
    said = y @ ends["W_out"].T + ends["b_out"]
    torch.testing.assert_close(own.says(inputs)[0], said, rtol=0, atol=1e-13)
    torch.testing.assert_close(own.encode(inputs)[0], last, rtol=0, atol=1e-13)
    torch.testing.assert_close(own.says(inputs, 2)[0], said[-2:], rtol=0, atol=1e-13)
    if targets == "classes":
        wanted = torch.tensor([[0, 2, -1, 1], [-1, -1, 0, 2]])
        want = torch.nn.functional.cross_entropy(said[-2:].flatten(0, 1), wanted.flatten(), ignore_index=-1)
    else:
        wanted = torch.randn(2, B, C, generator=generators(8)[0], dtype=torch.float64)
        want = torch.nn.functional.mse_loss(said[-2:], wanted)
    got = loss(own, inputs, wanted[None])
    assert got.item() == pytest.approx(want.item(), rel=1e-13)
    got.sum().backward()
    want.backward()
    for name, w in ends.items():
        torch.testing.assert_close(leaves[name].grad[0], w.grad, rtol=0, atol=1e-13, msg=name)
    theirs = {name: w.grad for name, w in module.named_parameters()}
    keys = {"W_hh": "weight_hh_l0", "W_ih": "weight_ih_l0", "W_uh": "weight_ih_l0", "b_hh": "bias_hh_l0"}
    for name, key in keys.items():
        if name in leaves:
            torch.testing.assert_close(leaves[name].grad[0], theirs[key], rtol=0, atol=1e-13, msg=name)


@each_cell
@each_kind
def test_a_trajectory_is_step_after_step(what, cell):
    model, inputs = drawn(what, cell).to(torch.float64), read(what)
    h, states = model.cell.zero_state(B), model.trajectory(inputs)
    for t in range(T):
        h = model.step(h, inputs[:, t].double() if what == "vectors" else inputs[:, t])
        torch.testing.assert_close(states[:, t], h, rtol=0, atol=1e-12)  # scans sum in another order
    torch.testing.assert_close(model.read_out(h), model.says(inputs)[:, -1], rtol=0, atol=1e-12)
    assert torch.equal(model.step(h), model.cell.step(h))  # without an input
    later = model.encode(inputs[:, 2:], model.encode(inputs[:, :2]))
    torch.testing.assert_close(later, states[:, -1], rtol=0, atol=1e-12)


@each_kind
def test_one_batch_may_serve_all_models(what):
    model, inputs = drawn(what), read(what, 1)
    assert torch.equal(model.says(inputs), model.says(inputs.expand(2, *inputs.shape[1:])))


def test_sequences_of_several_lengths_keep_their_last_state():
    model = drawn("tokens")
    sequences = TokenRepeat(5, 1, T).sample(20, generators(7, 8))
    states = model.encode(sequences)
    for m in range(2):
        for b, length in enumerate(sequences.lengths[m].tolist()):
            own = model[m].encode(sequences.tokens[m : m + 1, :length, b : b + 1])
            torch.testing.assert_close(states[m, b], own[0, 0], rtol=0, atol=1e-6)


def test_its_layers_can_be_asked_for():
    found, _ = layers.layers(drawn("tokens"), T, *generators(7), sequences=8)
    assert found.shape == (2, T, 5, N) and (layers.sizes(found) > 0).all()


@each_cell
@each_kind
@layers_between
def test_a_saved_reader_comes_back(tmp_path, what, cell, between):
    model = drawn(what, cell, between=between)
    save(model, tmp_path / "reader.safetensors", {"note": "mine", "autoregressive": "true"})
    again, about = load(tmp_path / "reader.safetensors")
    assert type(again) is Reader and again == model and about["note"] == "mine"
    assert model[1].models == 1 and model[1].vocabulary == model.vocabulary == KINDS[what].get("vocabulary", 0)
    assert model.outputs == C


def test_every_model_is_drawn_by_its_generator():
    for what in KINDS:
        assert drawn(what, GRU, 0, 1, between=4)[1] == drawn(what, GRU, 1, between=4)


@layers_between
def test_a_writer_writes_what_the_reader_says(between):
    """Reading three tokens, then 4 once and 3 from then on, is what a network that writes does by itself."""
    model = drawn("tokens", between=between)
    sequences = torch.randint(C, (2, 4, 30), generator=generators(6)[0])
    asks = torch.full((2, 4, 30), 3)
    asks[:, 0] = 4
    said = model.says(torch.cat([sequences, asks], 1), 4).argmax(3)
    writer = model.writer(go=4, blank=3)
    assert writer.vocabulary == C and not writer.autoregressive
    assert torch.equal(writer.write(writer.encode(Sequences.of_one_length(sequences)), 4), said)
    assert len(said.unique()) > 1


def test_wrong_arguments_are_named():
    tokens, vectors = drawn("tokens"), drawn("vectors")
    with pytest.raises(ValueError, match=r"^inputs must hold tokens in 0 … 4, got 5"):
        tokens.encode(read("tokens") + 1)
    with pytest.raises(ValueError, match=r"^tokens must be at least 0, got -1"):
        tokens.encode(read("tokens") - 1)
    with pytest.raises(SHAPE_ERRORS, match="tokens"):
        tokens.encode(read("vectors"))
    with pytest.raises(SHAPE_ERRORS, match="start"):
        tokens.encode(read("tokens"), torch.zeros(2, 1, N))
    for bad in (read("vectors")[..., :1], read("vectors", 3)):
        with pytest.raises(
            ValueError, match=r"^inputs must be vectors, shape \(2, T, B, 2\), got torch.float32, shape"
        ):
            vectors.encode(bad)
    with pytest.raises(ValueError, match=r"^inputs must be vectors, shape \(2, T, B, 2\), got tokens"):
        vectors.encode(Sequences.of_one_length(read("tokens")))
    with pytest.raises(ValueError, match=r"^inputs must be given where vectors are read"):
        Reader.init(GRU, C, N, generators(0))
    with pytest.raises(ValueError, match=r"^outputs must be at least 1, got 0"):
        Reader.init(GRU, 0, N, generators(0), inputs=2)
    with pytest.raises(ValueError, match=r"^model must read the 3 tokens that it writes, got a vocabulary of 0"):
        vectors.writer(0, 1)
    with pytest.raises(ValueError, match=r"^blank must be a token in 0 … 4, got 5"):
        tokens.writer(4, 5)
    with pytest.raises(ValueError, match=r"^W_m and b_m must both be given or neither, got b_m alone"):
        replace(tokens, b_m=torch.zeros(2, N))
    with pytest.raises(SHAPE_ERRORS, match="W_out"):
        replace(tokens, W_out=torch.zeros(2, C, N + 1))
    with pytest.raises(SHAPE_ERRORS, match="embedding"):
        replace(tokens, embedding=torch.zeros(2, 5, 3))
