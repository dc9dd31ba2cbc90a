"""Networks that read and write tokens: the same numbers as PyTorch's own modules, values and gradients."""

import pytest
import torch
from oracles import OF_TORCH, SHAPE_ERRORS, generators, same_bits, torch_recurrence

from emt_core.networks import CELLS, GRU, Elman, TokenNetwork, from_torch, load, save, to_torch
from emt_core.networks.cell import rows
from emt_core.networks.tokens import right_tokens
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.training.scores import cross_entropy

N, V = 7, 5
TASK = TokenRepeat(V, 1, 6)
each_cell = pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS)
each_of_torch = pytest.mark.parametrize("kind", OF_TORCH.values(), ids=OF_TORCH)
both_variants = pytest.mark.parametrize("autoregressive", [True, False], ids=["autoregressive", "no input"])


def draw(*seeds, kind=GRU, autoregressive=True, dtype=torch.float32) -> TokenNetwork:
    return TokenNetwork.init(kind, V, N, generators(*(seeds or (0, 1))), autoregressive).to(dtype)


def twin(model) -> tuple[torch.nn.Embedding, torch.nn.RNNBase, torch.nn.Linear]:
    """PyTorch's own modules with the weights of a one-model ensemble."""
    dtype = model.W_o.dtype
    embedding = torch.nn.Embedding(model.vocabulary + 2, model.hidden, dtype=dtype)
    readout = torch.nn.Linear(model.hidden, model.vocabulary, dtype=dtype)
    with torch.no_grad():
        embedding.weight.copy_(model.embedding[0])
        readout.weight.copy_(model.W_o[0])
        readout.bias.copy_(model.b_o[0])
    return embedding, to_torch(model.cell), readout


def network_of(modules, autoregressive) -> TokenNetwork:
    """The network whose weights these modules have."""
    embedding, cell, readout = modules
    ends = embedding.weight[None], readout.weight[None], readout.bias[None]
    return TokenNetwork(from_torch(cell), *ends, autoregressive)


def parameters(modules) -> list[torch.Tensor]:
    return [p for module in modules for p in module.parameters()]


def encoded(modules, tokens) -> torch.Tensor:
    """The whole state (1, n) after one sequence, a list of tokens."""
    embedding, cell, _ = modules
    zero = embedding.weight.new_zeros(1, from_torch(cell).state_size)
    return torch_recurrence(cell, embedding(torch.tensor(tokens))[:, None], zero)[1]


def scored(modules, h, inputs) -> torch.Tensor:
    """Scores (L, V) of one sequence that is written from h (1, n) while ``inputs`` are read."""
    embedding, cell, readout = modules
    return readout(torch_recurrence(cell, embedding(torch.tensor(inputs))[:, None], h)[0])[:, 0]


def one_by_one(sequences, model=0) -> list[list[int]]:
    columns = sequences.tokens[model].T.tolist()
    return [column[:n] for column, n in zip(columns, sequences.lengths[model].tolist(), strict=True)]


def read_while_writing(tokens, autoregressive) -> list[int]:
    return [V, *(tokens[:-1] if autoregressive else [V + 1] * (len(tokens) - 1))]


# --- numbers ----------------------------------------------------------------------------------------------------------


@each_of_torch
@both_variants
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_values_and_gradients_are_those_of_torchs_modules(kind, autoregressive, dtype):
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    modules = twin(draw(3, kind=kind, dtype=dtype))
    model = network_of(modules, autoregressive)
    names = ["W_uh", "W_hh"] if kind is Elman else ["W_ih", "W_hh", "b_ih", "b_hh"]
    theirs = [p for p in parameters(modules) if kind is not Elman or p.shape != (N,)]  # its bias is the sum of two
    for name, p in zip(["embedding", *names, "W_o", "b_o"], theirs, strict=True):
        assert model.weights[name].untyped_storage().data_ptr() == p.untyped_storage().data_ptr(), name
    batch = TASK.sample(11, generators(0))

    h = model.encode(batch)
    scores = model.logits(h, batch)
    loss = cross_entropy(scores, batch)
    loss.sum().backward()
    got = [p.grad.clone() for p in parameters(modules)]

    for p in parameters(modules):
        p.grad = None
    states, every, right = [], [], []
    for b, tokens in enumerate(one_by_one(batch)):
        states.append(encoded(modules, tokens))
        every.append(scored(modules, states[-1], read_while_writing(tokens, autoregressive)))
        right += tokens
        torch.testing.assert_close(scores[0, : len(tokens), b], every[-1], rtol=0, atol=tolerance)
    torch.testing.assert_close(h[0], torch.cat(states), rtol=0, atol=tolerance)
    expected = torch.nn.functional.cross_entropy(torch.cat(every), torch.tensor(right))
    torch.testing.assert_close(loss[0], expected, rtol=0, atol=tolerance)
    expected.backward()
    for a, p in zip(got, parameters(modules), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=0, atol=tolerance)


@each_cell
def test_each_sequence_is_read_as_if_alone(kind):
    model, batch = draw(kind=kind), TASK.sample(40, generators(0, 1))
    assert batch.lengths.unique().tolist() == [1, 2, 3, 4, 5, 6]
    h, path = model.encode(batch), model.trajectory(batch)
    assert same_bits(path[:, -1].contiguous(), h)
    for m in range(2):
        for b, tokens in enumerate(one_by_one(batch, m)):
            alone = Sequences(torch.tensor(tokens)[None, :, None], torch.tensor([[len(tokens)]]))
            states = model[m].trajectory(alone)[0, :, 0]
            torch.testing.assert_close(h[m, b], states[-1], rtol=0, atol=1e-6)
            torch.testing.assert_close(path[m, : len(tokens), b], states, rtol=0, atol=1e-6)
            assert (path[m, len(tokens) - 1 :, b] == h[m, b]).all()  # one that is over keeps its last state


@each_cell
def test_one_models_sequences_are_read_by_all(kind):
    model, batch = draw(kind=kind), TASK.sample(9, generators(0))
    h = model.encode(batch)
    assert same_bits(h, model.encode(batch.expand(2)))
    assert same_bits(model.logits(h, batch), model.logits(h, batch.expand(2)))
    assert torch.equal(model.writing_inputs(batch), model.writing_inputs(batch.expand(2)))


@both_variants
def test_what_is_read_while_writing(autoregressive):
    batch = Sequences(torch.tensor([[[1, 2], [3, 0], [4, 0]]]), torch.tensor([[3, 1]]))
    inputs = draw(0, autoregressive=autoregressive).writing_inputs(batch)
    by_itself = [[[5, 5], [1, 2], [3, 0]]]
    assert inputs.tolist() == (by_itself if autoregressive else [[[5, 5], [6, 6], [6, 6]]])


@each_of_torch
@both_variants
def test_writing_takes_the_best_token_each_time(kind, autoregressive):
    model = draw(0, 1, 2, kind=kind, autoregressive=autoregressive)
    h = torch.randn(3, 8, model.state_size, generator=generators(7)[0])
    written = model.write(h, 6)
    assert written.shape == (3, 6, 8) and not written.requires_grad
    for m in range(3):
        embedding, cell, readout = twin(model[m])
        for b in range(8):
            state, row, tokens = h[m, b][None], V, []
            for _ in range(6):
                out, state = torch_recurrence(cell, embedding(torch.tensor([[row]])), state)
                tokens.append(int(readout(out).argmax()))
                row = tokens[-1] if autoregressive else V + 1
            assert written[m, :, b].tolist() == tokens
    assert len(written.unique()) > 2
    # what it writes by itself are the best tokens also when it is told them
    told = Sequences(written, torch.full((3, 8), 6))
    assert torch.equal(model.logits(h, told).argmax(3), written)


def test_gates_are_torchs():
    model = draw(dtype=torch.float64)
    cell, g = model.cell, generators(3)[0]
    h, inputs = torch.randn(2, 4, N, generator=g, dtype=torch.float64), torch.randint(V + 2, (2, 4), generator=g)
    r, z, n = model.cell.gates(h, rows(model.embedding, inputs))
    for m in range(2):
        x = model.embedding[m][inputs[m]]
        a, b = x @ cell.W_ih[m].T + cell.b_ih[m], h[m] @ cell.W_hh[m].T + cell.b_hh[m]
        torch.testing.assert_close(r[m], torch.sigmoid(a[:, :N] + b[:, :N]), rtol=0, atol=1e-14)
        torch.testing.assert_close(z[m], torch.sigmoid(a[:, N : 2 * N] + b[:, N : 2 * N]), rtol=0, atol=1e-14)
        torch.testing.assert_close(n[m], torch.tanh(a[:, 2 * N :] + r[m] * b[:, 2 * N :]), rtol=0, atol=1e-14)
    torch.testing.assert_close(model.step(h, inputs), z * h + (1 - z) * n, rtol=0, atol=1e-14)


def test_right_tokens_by_hand():
    sequences = Sequences(torch.tensor([[[1, 2], [3, 0]]]), torch.tensor([[2, 1]]))
    written = torch.tensor([[[1, 2], [3, 4]], [[0, 1], [3, 0]]])
    right = right_tokens(written, sequences)
    assert right.tolist() == [[[True, True], [True, True]], [[False, False], [True, True]]]
    assert right.all(1).tolist() == [[True, True], [False, False]]  # exact match


# --- weights ----------------------------------------------------------------------------------------------------------


@each_cell
def test_init_draws_each_model_from_its_own_generator(kind):
    before = torch.get_rng_state()
    together, alone = draw(0, 1, 2, kind=kind), draw(1, kind=kind)
    assert all(same_bits(together[1].weights[name], w) for name, w in alone.weights.items())
    assert torch.equal(torch.get_rng_state(), before)


@each_of_torch
def test_init_is_pytorchs(kind):
    # N(0, 1), and U(−a, a) with variance a²/3: with n draws the standard errors are √(2/n) and 0.9/√n of the variance
    hidden = 100
    model = TokenNetwork.init(kind, 300, hidden, generators(0))
    assert model.embedding.var().item() == pytest.approx(1, rel=5 * (2 / 30_200) ** 0.5)
    for name, w in model.weights.items():
        assert w.dtype == torch.float32
        if name != "embedding":
            assert w.abs().max() <= hidden**-0.5
            assert w.var().item() == pytest.approx(1 / hidden / 3, rel=5 * 0.9 / w.numel() ** 0.5)


@pytest.mark.parametrize(
    ("index", "chosen"), [(1, [1]), (-1, [2]), (slice(1, None), [1, 2]), ([2, 0], [2, 0]), ((0, 2), [0, 2])], ids=str
)
def test_indexing_picks_models(index, chosen):
    model = draw(0, 1, 2, autoregressive=False)
    picked = model[index]
    assert picked.models == len(chosen) and not picked.autoregressive
    for name, w in model.weights.items():
        assert torch.equal(picked.weights[name], w[chosen])


@each_cell
def test_sizes_and_dtype(kind):
    model = draw(kind=kind, dtype=torch.float64)
    assert (model.models, model.hidden, model.vocabulary, model.autoregressive) == (2, N, V, True)
    assert {w.dtype for w in model.weights.values()} == {torch.float64}
    assert model.state_size == model.cell.state_size and model.embedding.shape == (2, V + 2, N)
    assert list(model.weights) == ["embedding", *model.cell.weights, "W_o", "b_o"]


# --- arguments --------------------------------------------------------------------------------------------------------


@each_cell
def test_wrong_weights_are_named(kind):
    model = draw(kind=kind)
    for name in ("embedding", "W_o", "b_o"):
        for wrong in (model.weights[name][:1], model.weights[name][..., :-1]):
            with pytest.raises(SHAPE_ERRORS, match=name if name != "W_o" else "W_"):
                model.with_weights(model.weights | {name: wrong})
    for name, w in model.cell.weights.items():
        for wrong in (w[:1], w[..., :-1]):
            named = "|".join(model.weights)
            with pytest.raises(SHAPE_ERRORS, match=rf"parameter '({named})'|^({named}) must have shape"):
                model.with_weights(model.weights | {name: wrong})
    with pytest.raises(ValueError, match=r"^hidden must be at least 1, got 0"):
        TokenNetwork.init(kind, 5, 0, generators(0))
    with pytest.raises(ValueError, match=r"^vocabulary must be at least 2, got 1"):
        TokenNetwork.init(kind, 1, 3, generators(0))
    with pytest.raises(ValueError, match=r"^generators must hold at least one torch.Generator, got none"):
        TokenNetwork.init(kind, 5, 3, [])


def test_a_gru_names_its_wrong_weights():
    model = draw()
    for name in ("W_ih", "W_hh", "b_ih", "b_hh"):
        for wrong in (model.weights[name][:1], model.weights[name][:, :-1]):
            with pytest.raises(SHAPE_ERRORS, match=name):
                model.with_weights(model.weights | {name: wrong})


@each_of_torch
def test_modules_that_do_not_go_together_are_refused(kind):
    embedding, cell, readout = twin(draw(0, kind=kind))
    with pytest.raises(SHAPE_ERRORS, match="embedding"):  # without the two rows that are no tokens
        network_of((torch.nn.Embedding(V, N), cell, readout), True)
    for wrong in (kind.module(N + 1, N), kind.module(N, N + 1)):
        with pytest.raises(SHAPE_ERRORS, match=r"W_ih|W_uh|embedding|W_o"):
            network_of((embedding, wrong, readout), True)


@each_cell
def test_wrong_sequences_are_named(kind):
    model, batch = draw(kind=kind), TASK.sample(6, generators(0, 1))
    h = model.encode(batch)
    three = TASK.sample(6, generators(0, 1, 2))
    beyond = TokenRepeat(V + 3, 1, 6).sample(30, generators(0))
    assert beyond.largest == V + 2
    last = Sequences(torch.full((1, 6, 6), V), torch.full((1, 6), 6))  # the row that starts the writing is no token
    for function in (model.encode, model.trajectory, model.writing_inputs, lambda s: model.logits(h, s)):
        with pytest.raises(ValueError, match=r"^sequences must be for 1 or 2 models, got 3"):
            function(three)
        for wrong in (beyond, last):
            message = rf"^sequences must hold tokens in 0 … {V - 1}, got {wrong.largest}$"
            with pytest.raises(ValueError, match=message):
                function(wrong)
    fitting = Sequences(torch.full((1, 6, 6), V - 1), torch.full((1, 6), 6))
    assert model.logits(model.encode(fitting), fitting).isfinite().all()
    with pytest.raises(ValueError, match=r"^length must be at least 1, got 0"):
        model.write(h, 0)
    errors = SHAPE_ERRORS if kind is GRU else (*SHAPE_ERRORS, RuntimeError)  # the GRU's kernel looks for itself
    with pytest.raises(errors, match="h"):
        model.logits(torch.zeros(2, 5, model.state_size), batch)
    with pytest.raises(errors, match="h"):
        model.write(torch.zeros(2, 5, model.state_size + 1), 3)


# --- a layer before the read-out --------------------------------------------------------------------------------------


@both_variants
def test_a_layer_before_the_read_out_is_torchs_own(autoregressive):
    """relu(W_m h + b_m) and then W_o, as nn.Linear and nn.ReLU in turn; embeddings of their own size."""
    drawn = TokenNetwork.init(GRU, V, N, generators(0, 1), autoregressive, inputs=3, between=11).to(torch.float64)
    assert drawn.embedding.shape == (2, V + 2, 3) and drawn.W_o.shape == (2, V, 11) and drawn.cell.inputs == 3
    h = torch.randn(2, 4, 6, N, dtype=torch.float64, generator=generators(2)[0])
    found = drawn.read_out(h)
    for m in range(2):
        layer, last = torch.nn.Linear(N, 11).double(), torch.nn.Linear(11, V).double()
        for module, (W, b) in ((layer, (drawn.W_m, drawn.b_m)), (last, (drawn.W_o, drawn.b_o))):
            module.load_state_dict({"weight": W[m], "bias": b[m]})
        torch.testing.assert_close(found[m], last(layer(h[m]).relu()), rtol=0, atol=1e-14)


def test_a_layer_before_the_read_out_is_drawn_last_and_saved(tmp_path):
    """What is drawn before it is what a network without it draws, and K = 11 units see N = 7 numbers."""
    plain, model = draw(3), TokenNetwork.init(GRU, V, N, generators(3), between=11)
    assert all(same_bits(plain.cell.weights[name], w) for name, w in model.cell.weights.items())
    assert model.W_m.abs().max() <= N**-0.5 and model.W_o.abs().max() <= 11**-0.5
    save(model, tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors")[0] == model
    with pytest.raises(ValueError, match=r"^W_m and b_m must both be given or neither, got W_m alone"):
        TokenNetwork(plain.cell, plain.embedding, model.W_o, plain.b_o, W_m=model.W_m)
    with pytest.raises(SHAPE_ERRORS, match=r"W_o|W_m"):
        TokenNetwork(plain.cell, plain.embedding, plain.W_o, plain.b_o, W_m=model.W_m, b_m=model.b_m)
