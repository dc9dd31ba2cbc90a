"""GRUs that read and write tokens: the same numbers as PyTorch's own modules, values and gradients."""

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits
from safetensors.torch import save_file

from emt_core.networks import cells
from emt_core.training import token_repeat as repeat
from emt_core.networks.cells import GRU
from emt_core.tasks import Sequences, TokenRepeat

N, V = 7, 5
TASK = TokenRepeat(V, 1, 6)
both_variants = pytest.mark.parametrize("autoregressive", [True, False], ids=["autoregressive", "no input"])


def draw(*seeds, autoregressive=True, dtype=torch.float32) -> GRU:
    return cells.gru_init(N, V, generators(*(seeds or (0, 1))), autoregressive).to(dtype)


def twin(model) -> tuple[torch.nn.Embedding, torch.nn.GRU, torch.nn.Linear]:
    """PyTorch's own modules with the weights of a one-model ensemble."""
    dtype = model.W_o.dtype
    embedding = torch.nn.Embedding(model.vocabulary + 2, model.hidden, dtype=dtype)
    gru = torch.nn.GRU(model.hidden, model.hidden, dtype=dtype)
    readout = torch.nn.Linear(model.hidden, model.vocabulary, dtype=dtype)
    mine = [embedding.weight, gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0]
    with torch.no_grad():
        for parameter, w in zip((*mine, readout.weight, readout.bias), model.weights.values(), strict=True):
            parameter.copy_(w[0])
    return embedding, gru, readout


def parameters(modules) -> list[torch.Tensor]:
    return [p for module in modules for p in module.parameters()]


def encoded(modules, tokens) -> torch.Tensor:
    """State (1, 1, N) after one sequence, a list of tokens."""
    embedding, gru, _ = modules
    return gru(embedding(torch.tensor(tokens))[:, None])[1]


def scored(modules, h, inputs) -> torch.Tensor:
    """Scores (L, V) of one sequence that is written from h (1, 1, N) while ``inputs`` are read."""
    embedding, gru, readout = modules
    return readout(gru(embedding(torch.tensor(inputs))[:, None], h)[0])[:, 0]


def one_by_one(sequences, model=0) -> list[list[int]]:
    columns = sequences.tokens[model].T.tolist()
    return [column[:n] for column, n in zip(columns, sequences.lengths[model].tolist(), strict=True)]


def read_while_writing(tokens, autoregressive) -> list[int]:
    return [V, *(tokens[:-1] if autoregressive else [V + 1] * (len(tokens) - 1))]


# --- numbers ----------------------------------------------------------------------------------------------------------


@both_variants
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_values_and_gradients_are_those_of_torchs_modules(autoregressive, dtype):
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    modules = twin(draw(3, dtype=dtype))
    model = cells.gru_of(*modules, autoregressive)
    assert all(w.untyped_storage().data_ptr() == p.untyped_storage().data_ptr()
               for w, p in zip(model.weights.values(), parameters(modules), strict=True))  # fmt: skip
    batch = TASK.sample(11, generators(0))

    h = cells.encode(model, batch)
    scores = cells.logits(model, h, batch)
    loss = repeat.cross_entropy(scores, batch)
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
    torch.testing.assert_close(h, torch.cat(states, dim=1), rtol=0, atol=tolerance)
    expected = torch.nn.functional.cross_entropy(torch.cat(every), torch.tensor(right))
    torch.testing.assert_close(loss[0], expected, rtol=0, atol=tolerance)
    expected.backward()
    for a, p in zip(got, parameters(modules), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=0, atol=tolerance)


def test_each_sequence_is_read_as_if_alone():
    model, batch = draw(), TASK.sample(40, generators(0, 1))
    assert batch.lengths.unique().tolist() == [1, 2, 3, 4, 5, 6]
    h, path = cells.encode(model, batch), cells.trajectory(model, batch)
    assert same_bits(path[:, -1].contiguous(), h)
    for m in range(2):
        for b, tokens in enumerate(one_by_one(batch, m)):
            alone = Sequences(torch.tensor(tokens)[None, :, None], torch.tensor([[len(tokens)]]))
            states = cells.trajectory(model[m], alone)[0, :, 0]
            torch.testing.assert_close(h[m, b], states[-1], rtol=0, atol=1e-6)
            torch.testing.assert_close(path[m, : len(tokens), b], states, rtol=0, atol=1e-6)
            assert (path[m, len(tokens) - 1 :, b] == h[m, b]).all()  # one that is over keeps its last state


def test_one_models_sequences_are_read_by_all():
    model, batch = draw(), TASK.sample(9, generators(0))
    h = cells.encode(model, batch)
    assert same_bits(h, cells.encode(model, batch.expand(2)))
    assert same_bits(cells.logits(model, h, batch), cells.logits(model, h, batch.expand(2)))
    assert torch.equal(cells.writing_inputs(model, batch), cells.writing_inputs(model, batch.expand(2)))


@both_variants
def test_what_is_read_while_writing(autoregressive):
    batch = Sequences(torch.tensor([[[1, 2], [3, 0], [4, 0]]]), torch.tensor([[3, 1]]))
    inputs = cells.writing_inputs(draw(0, autoregressive=autoregressive), batch)
    by_itself = [[[5, 5], [1, 2], [3, 0]]]
    assert inputs.tolist() == (by_itself if autoregressive else [[[5, 5], [6, 6], [6, 6]]])


@both_variants
def test_writing_takes_the_best_token_each_time(autoregressive):
    model = draw(0, 1, 2, autoregressive=autoregressive)
    h = torch.randn(3, 8, N, generator=generators(7)[0])
    written = cells.write(model, h, 6)
    assert written.shape == (3, 6, 8) and not written.requires_grad
    for m in range(3):
        embedding, gru, readout = twin(model[m])
        for b in range(8):
            state, row, tokens = h[m, b].view(1, 1, N), V, []
            for _ in range(6):
                _, state = gru(embedding(torch.tensor([[row]])), state)
                tokens.append(int(readout(state).argmax()))
                row = tokens[-1] if autoregressive else V + 1
            assert written[m, :, b].tolist() == tokens
    assert len(written.unique()) > 2
    # what it writes by itself are the best tokens also when it is told them
    told = Sequences(written, torch.full((3, 8), 6))
    assert torch.equal(cells.logits(model, h, told).argmax(3), written)


def test_gates_are_torchs():
    model = draw(dtype=torch.float64)
    g = generators(3)[0]
    h, inputs = torch.randn(2, 4, N, generator=g, dtype=torch.float64), torch.randint(V + 2, (2, 4), generator=g)
    r, z, n = cells.gru_gates(model, h, inputs)
    for m in range(2):
        x = model.embedding[m][inputs[m]]
        a, b = x @ model.W_ih[m].T + model.b_ih[m], h[m] @ model.W_hh[m].T + model.b_hh[m]
        torch.testing.assert_close(r[m], torch.sigmoid(a[:, :N] + b[:, :N]), rtol=0, atol=1e-14)
        torch.testing.assert_close(z[m], torch.sigmoid(a[:, N : 2 * N] + b[:, N : 2 * N]), rtol=0, atol=1e-14)
        torch.testing.assert_close(n[m], torch.tanh(a[:, 2 * N :] + r[m] * b[:, 2 * N :]), rtol=0, atol=1e-14)
    torch.testing.assert_close(cells.gru_step(model, h, inputs), z * h + (1 - z) * n, rtol=0, atol=1e-14)


def test_right_tokens_by_hand():
    sequences = Sequences(torch.tensor([[[1, 2], [3, 0]]]), torch.tensor([[2, 1]]))
    written = torch.tensor([[[1, 2], [3, 4]], [[0, 1], [3, 0]]])
    right = cells.right_tokens(written, sequences)
    assert right.tolist() == [[[True, True], [True, True]], [[False, False], [True, True]]]
    assert right.all(1).tolist() == [[True, True], [False, False]]  # exact match


# --- weights ----------------------------------------------------------------------------------------------------------


def test_init_draws_each_model_from_its_own_generator():
    before = torch.get_rng_state()
    together, alone = draw(0, 1, 2), draw(1)
    assert all(same_bits(together[1].weights[name], w) for name, w in alone.weights.items())
    assert torch.equal(torch.get_rng_state(), before)


def test_init_is_pytorchs():
    # N(0, 1), and U(−a, a) with variance a²/3: with n draws the standard errors are √(2/n) and 0.9/√n of the variance
    hidden = 100
    model = cells.gru_init(hidden, 300, generators(0))
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


def test_sizes_and_dtype():
    model = draw(dtype=torch.float64)
    assert (model.models, model.hidden, model.vocabulary, model.autoregressive) == (2, N, V, True)
    assert {w.dtype for w in model.weights.values()} == {torch.float64}
    assert model.table.shape == (2, V + 2, 3 * N) and model.b_hn.shape == (2, N)


@both_variants
def test_saved_weights_come_back_bit_for_bit(tmp_path, autoregressive):
    path, model = tmp_path / "deep" / "gru.safetensors", draw(autoregressive=autoregressive)
    model.b_o.requires_grad_()
    cells.save(model, path, {"task": "x", "autoregressive": "overruled"})
    loaded, metadata = cells.load_gru(path)
    assert all(same_bits(w, model.weights[name]) for name, w in loaded.weights.items())
    assert loaded.autoregressive is autoregressive and metadata["task"] == "x"
    assert [p.name for p in path.parent.iterdir()] == ["gru.safetensors"]


def test_loading_something_else_says_what_it_is(tmp_path):
    path = tmp_path / "model.safetensors"
    cells.save(draw(), path)
    with pytest.raises(ValueError, match=r"^path must hold a saved Elman model, .* says cell='gru'"):
        cells.load(path)
    cells.save(cells.init(3, 2, generators(0)), path)
    with pytest.raises(ValueError, match=r"^path must hold a saved GRU model, .* says cell='elman'"):
        cells.load_gru(path)
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"^path must hold a saved GRU model, .* says cell=None"):
        cells.load_gru(path)
    path.write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"^path must hold a saved model, .* cannot be read"):
        cells.load_gru(path)
    with pytest.raises(FileNotFoundError, match="no saved model"):
        cells.load_gru(tmp_path / "nothing")


# --- arguments --------------------------------------------------------------------------------------------------------


def test_wrong_weights_are_named():
    weights = draw().weights
    for name in weights:
        for wrong in (weights[name][:1], weights[name][..., :-1]):
            with pytest.raises(SHAPE_ERRORS, match=name if name != "W_o" else "W_"):
                GRU(**(weights | {name: wrong}))
    with pytest.raises(ValueError, match=r"^hidden must be at least 1, got 0"):
        cells.gru_init(0, 5, generators(0))
    with pytest.raises(ValueError, match=r"^vocabulary must be at least 2, got 1"):
        cells.gru_init(3, 1, generators(0))
    with pytest.raises(ValueError, match=r"^generators must hold at least one torch.Generator, got none"):
        cells.gru_init(3, 5, [])


def test_modules_of_another_kind_are_refused():
    embedding, gru, readout = twin(draw(0))
    for wrong in (dict(num_layers=2), dict(bidirectional=True), dict(bias=False)):
        with pytest.raises(ValueError, match=r"^gru must have one layer, one direction and biases, got GRU"):
            cells.gru_of(embedding, torch.nn.GRU(N, N, **wrong), readout)
    with pytest.raises(ValueError, match=r"^readout must have a bias"):
        cells.gru_of(embedding, gru, torch.nn.Linear(N, V, bias=False))
    with pytest.raises(SHAPE_ERRORS, match="embedding"):  # without the two rows that are no tokens
        cells.gru_of(torch.nn.Embedding(V, N), gru, readout)
    with pytest.raises(SHAPE_ERRORS, match="W_ih"):
        cells.gru_of(embedding, torch.nn.GRU(N + 1, N), readout)


def test_wrong_sequences_are_named():
    model, batch = draw(), TASK.sample(6, generators(0, 1))
    unsorted = Sequences(batch.tokens.flip(2), batch.lengths.flip(1))
    with pytest.raises(ValueError, match=r"^sequences must be sorted by length, the longest first"):
        cells.encode(model, unsorted)
    three = TASK.sample(6, generators(0, 1, 2))
    for function in (cells.encode, cells.writing_inputs):
        with pytest.raises(ValueError, match=r"^sequences must be for 1 or 2 models, got 3"):
            function(model, three)
    beyond = TokenRepeat(V + 3, 1, 6).sample(30, generators(0))
    with pytest.raises(ValueError, match=r"^tokens must lie in 0 … 6, got 0 … 7"):
        cells.encode(model, beyond)
    with pytest.raises(ValueError, match=r"^length must be at least 1, got 0"):
        cells.write(model, cells.encode(model, batch), 0)
    with pytest.raises(SHAPE_ERRORS, match="h"):
        cells.logits(model, torch.zeros(2, 5, N), batch)
    with pytest.raises(SHAPE_ERRORS, match="h"):
        cells.write(model, torch.zeros(2, 5, N + 1), 3)
