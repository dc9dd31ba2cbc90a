"""Transformers that repeat tokens: the same numbers as PyTorch's own, and nothing passes where nothing should."""

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits

from emt_core.networks.attention import Attention, attention
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.training.scores import cross_entropy

V, N, L, D = 5, 6, 7, 8
TASK = TokenRepeat(V, 1, L)
both_states = pytest.mark.parametrize("summary", [True, False], ids=["summary", "all"])
both_variants = pytest.mark.parametrize("autoregressive", [True, False], ids=["autoregressive", "no input"])
# some twenty steps in turn, each rounded to 6e-8 or 1e-16 of numbers up to about 5: 6e-6 and 1e-14 if all add up
TOLERANCE = {torch.float32: 6e-6, torch.float64: 1e-13}


def draw(*seeds, autoregressive=True, summary=True, blocks=2, heads=2, dtype=torch.float64) -> Attention:
    """Networks whose biases and gains are random as well, so that each of them has an effect."""
    sizes = {"summary": summary, "longest": L, "width": D, "blocks": blocks, "heads": heads}
    model = Attention.init(V, N, generators(*(seeds or (0, 1))), autoregressive, **sizes).to(dtype)
    noise = generators(99)[0]
    moved = {
        name: w + 0.3 * torch.randn(w.shape[1:], generator=noise, dtype=torch.float64).to(dtype)
        for name, w in model.weights.items()
    }
    return model.with_weights(moved)


def twin(model, part) -> torch.nn.TransformerEncoder:
    """PyTorch's own module with the weights of the reader or the writer of a one-model ensemble."""
    blocks = model.W_qkv.shape[2]
    made = {"dim_feedforward": 4 * D, "dropout": 0.0, "batch_first": True, "norm_first": True, "dtype": model.W_o.dtype}
    layer = torch.nn.TransformerEncoderLayer(D, model.heads, **made)
    norm = torch.nn.LayerNorm(D, dtype=model.W_o.dtype)
    encoder = torch.nn.TransformerEncoder(layer, blocks, norm, enable_nested_tensor=False)
    names = {
        "self_attn.in_proj_weight": "W_qkv", "self_attn.in_proj_bias": "b_qkv", "self_attn.out_proj.weight": "W_att",
        "self_attn.out_proj.bias": "b_att", "linear1.weight": "W_up", "linear1.bias": "b_up",
        "linear2.weight": "W_down", "linear2.bias": "b_down",
    }  # fmt: skip
    state = {"norm.weight": model.gain[0, part, -1], "norm.bias": model.shift[0, part, -1]}
    for k in range(blocks):
        state |= {f"layers.{k}.{theirs}": model.weights[ours][0, part, k] for theirs, ours in names.items()}
        for i in range(2):
            state[f"layers.{k}.norm{i + 1}.weight"] = model.gain[0, part, 2 * k + i]
            state[f"layers.{k}.norm{i + 1}.bias"] = model.shift[0, part, 2 * k + i]
    encoder.load_state_dict(state)
    return encoder


def through(encoder, x) -> torch.Tensor:
    """What the module makes of one sequence (T, D), each position seeing those up to it."""
    later = torch.nn.Transformer.generate_square_subsequent_mask(len(x), dtype=x.dtype)
    return encoder(x[None], mask=later)[0]


def one_by_one(sequences, model=0) -> list[list[int]]:
    columns = sequences.tokens[model].T.tolist()
    return [column[:n] for column, n in zip(columns, sequences.lengths[model].tolist(), strict=True)]


def states(model, seed=5, batch=6) -> torch.Tensor:
    g = generators(seed)[0]
    return torch.randn(model.models, batch, model.state_size, generator=g, dtype=torch.float64).to(model.W_o.dtype)


# --- numbers ----------------------------------------------------------------------------------------------------------


@both_states
@both_variants
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("blocks", [1, 2])
def test_values_are_those_of_torchs_modules(summary, autoregressive, dtype, blocks):
    model = draw(3, summary=summary, autoregressive=autoregressive, blocks=blocks, dtype=dtype)
    reader, writer, batch = twin(model, 0), twin(model, 1), TASK.sample(20, generators(0))
    h = model.encode(batch)
    scores = model.logits(h, batch)
    embedding, W_h, W_m, W_o = model.embedding[0], model.W_h[0], model.W_m[0], model.W_o[0]
    near = {"rtol": 0, "atol": TOLERANCE[dtype]}
    for b, tokens in enumerate(one_by_one(batch)):
        read = [*tokens, V] if summary else tokens
        y = through(reader, embedding[read] + model.read_at[0, : len(read)]) @ W_h.T
        state = y[-1:] if summary else torch.cat([y, y.new_zeros(L - len(y), N)])
        torch.testing.assert_close(h[0, b], state.flatten(), **near)
        inputs = [V, *(tokens[:-1] if autoregressive else [V + 1] * (len(tokens) - 1))]
        x = torch.cat([state @ W_m.T, embedding[inputs]])
        written = through(writer, x + model.write_at[0, : len(x)])[len(state) :] @ W_o.T + model.b_o[0]
        torch.testing.assert_close(scores[0, : len(tokens), b], written, **near)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_torchs(heads):
    qkv = torch.randn(2, 3, 5, 3 * D, generator=generators(0)[0], dtype=torch.float64)
    module = torch.nn.MultiheadAttention(D, heads, batch_first=True, dtype=torch.float64)
    eye = torch.eye(D, dtype=torch.float64)
    module.load_state_dict({
        "in_proj_weight": eye.repeat(3, 1), "in_proj_bias": torch.zeros(3 * D),
        "out_proj.weight": eye, "out_proj.bias": torch.zeros(D),
    })  # fmt: skip
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    for own, found in zip(qkv, attention(qkv, heads), strict=True):
        # the module multiplies queries, keys and values by the identity
        want, _ = module(*own.chunk(3, dim=2), attn_mask=later)
        torch.testing.assert_close(found, want, rtol=0, atol=1e-14)


@both_states
@both_variants
def test_models_together_are_as_alone(summary, autoregressive):
    model = draw(0, 1, 2, summary=summary, autoregressive=autoregressive, dtype=torch.float32)
    batch = TASK.sample(30, generators(0, 1, 2))
    h = model.encode(batch)
    scores, written = model.logits(h, batch), model.write(h, L)
    for m in range(3):
        own = Sequences(batch.tokens[m : m + 1], batch.lengths[m : m + 1])
        alone = model[m].encode(own)
        torch.testing.assert_close(h[m], alone[0], rtol=0, atol=TOLERANCE[torch.float32])
        torch.testing.assert_close(scores[m], model[m].logits(alone, own)[0], rtol=0, atol=TOLERANCE[torch.float32])
        assert torch.equal(written[m], model[m].write(alone, L)[0])
    assert not torch.equal(written[0], written[1])


@both_states
@both_variants
def test_writing_takes_the_best_token_each_time(summary, autoregressive):
    model = draw(0, 1, 2, summary=summary, autoregressive=autoregressive)
    h = states(model)
    written = model.write(h, L)
    assert written.shape == (3, L, 6) and not written.requires_grad and len(written.unique()) > 2
    told = Sequences.of_one_length(written)
    scores = model.logits(h, told)
    assert torch.equal(scores.argmax(3), written)
    for length in range(1, L):  # step by step: scores are the same however far the writing is told
        short = Sequences.of_one_length(written[:, :length])
        torch.testing.assert_close(model.logits(h, short), scores[:, :length], rtol=0, atol=1e-13)
        assert torch.equal(model.write(h, length), written[:, :length])


# --- what passes, and what does not -----------------------------------------------------------------------------------


@both_states
def test_each_sequence_is_read_as_if_alone(summary):
    model, batch = draw(summary=summary), TASK.sample(40, generators(0, 1))
    assert batch.lengths.unique().tolist() == list(range(1, L + 1))
    h = model.encode(batch)
    for m in range(2):
        for b, tokens in enumerate(one_by_one(batch, m)):
            alone = Sequences(torch.tensor(tokens)[None, :, None], torch.tensor([[len(tokens)]]))
            torch.testing.assert_close(h[m, b], model[m].encode(alone)[0, 0], rtol=0, atol=1e-13)
            assert summary or (h[m, b, len(tokens) * N :] == 0).all()


def test_a_token_changes_what_is_at_and_after_its_position_alone():
    """Each position's output is a part of the state, where nothing is summed up."""
    model = draw(summary=False)
    tokens = torch.randint(V, (2, L, 6), generator=generators(0)[0])
    h = model.encode(Sequences.of_one_length(tokens)).unflatten(2, (L, N))
    for p in range(L):
        other = tokens.clone()
        other[:, p] = (other[:, p] + 1) % V
        moved = (model.encode(Sequences.of_one_length(other)).unflatten(2, (L, N)) - h).abs().amax(3)
        assert (moved[:, :, :p] == 0).all() and (moved[:, :, p:] > 1e-6).all()


@both_states
def test_what_is_written_changes_only_what_comes_after_it(summary):
    model, no_input = (draw(summary=summary, autoregressive=yes) for yes in (True, False))
    h, tokens = states(model), torch.randint(V, (2, L, 6), generator=generators(0)[0])
    scores = model.logits(h, Sequences.of_one_length(tokens))
    for p in range(L):
        other = tokens.clone()
        other[:, p] = (other[:, p] + 1) % V
        moved = (model.logits(h, Sequences.of_one_length(other)) - scores).abs().amax(3)
        assert (moved[:, : p + 1] == 0).all() and (moved[:, p + 1 :] > 1e-6).all()
    other = Sequences.of_one_length((tokens + 1) % V)
    assert same_bits(no_input.logits(h, Sequences.of_one_length(tokens)), no_input.logits(h, other))


def test_a_summary_has_seen_every_token_and_is_all_that_the_writer_gets():
    model = draw()
    tokens = torch.randint(V, (2, L, 6), generator=generators(0)[0])
    h = model.encode(Sequences.of_one_length(tokens))
    assert h.shape == (2, 6, N) == (2, 6, model.state_size)
    for p in range(L):
        other = tokens.clone()
        other[:, p] = (other[:, p] + 1) % V
        assert ((model.encode(Sequences.of_one_length(other)) - h).abs().amax(2) > 1e-6).all()
    # the network remembers nothing else: with the same state, whatever was read last, it writes the same
    written = model.write(h, L)
    model.encode(TASK.sample(6, generators(5, 6)))
    assert torch.equal(model.write(h.clone(), L), written)
    swapped = h.flip(1)  # and with another's state what the other writes
    assert torch.equal(model.write(swapped, L), written.flip(2)) and not torch.equal(written, written.flip(2))


@both_states
@both_variants
def test_gradients_are_finite_and_reach_every_weight(summary, autoregressive):
    model = draw(summary=summary, autoregressive=autoregressive, dtype=torch.float32)
    model = model.with_weights({name: w.detach().requires_grad_() for name, w in model.weights.items()})
    batch = TASK.sample(50, generators(0, 1))
    cross_entropy(model.logits(model.encode(batch), batch), batch).sum().backward()
    for name, w in model.weights.items():
        assert w.grad.isfinite().all(), name
        read = w.grad[:, : V + 1] if name == "embedding" else w.grad  # row V + 1 is read without input only
        assert (read != 0).double().mean() > 0.5, name  # all but units that are at rest


@both_states
def test_the_gradient_of_a_loss_is_its_slope(summary):
    model, batch = draw(summary=summary), TASK.sample(10, generators(0, 1))
    g = generators(8)[0]
    towards = {name: torch.randn(w.shape, generator=g, dtype=w.dtype) for name, w in model.weights.items()}
    weights = {name: w.detach().requires_grad_() for name, w in model.weights.items()}

    def loss(along: float, weights=weights):
        moved = model.with_weights({name: w + along * towards[name] for name, w in weights.items()})
        return cross_entropy(moved.logits(moved.encode(batch), batch), batch).sum()

    found = torch.autograd.grad(loss(0.0), list(weights.values()))
    slope = sum((a * b).sum() for a, b in zip(found, towards.values(), strict=True))
    step = 1e-6  # of its square the central difference is wrong, and of rounding by 1e-16 / step
    with torch.no_grad():
        want = (loss(step) - loss(-step)) / (2 * step)
    torch.testing.assert_close(slope, want, rtol=1e-6, atol=1e-8)


# --- weights and arguments --------------------------------------------------------------------------------------------


@both_states
def test_init_draws_each_model_from_its_own_generator(summary):
    before = torch.get_rng_state()
    together, alone = (Attention.init(V, N, generators(*s), summary=summary) for s in ((0, 1, 2), (1,)))
    assert all(same_bits(together[1].weights[name], w) for name, w in alone.weights.items())
    assert torch.equal(torch.get_rng_state(), before)


def test_init_is_as_documented():
    # N(0, 0.01), and U(−a, a) with variance a²/3, which n draws give to √(2/n) and 0.9/√n of it
    model = Attention.init(30, 48, generators(0), blocks=2)
    for name, w in model.weights.items():
        assert w.dtype == torch.float32
        if name in ("embedding", "read_at", "write_at"):
            assert w.var().item() == pytest.approx(0.01, rel=5 * (2 / w.numel()) ** 0.5)
        elif name.startswith("W"):
            bound = w.shape[-1] ** -0.5
            assert w.abs().max() <= bound
            assert w.var().item() == pytest.approx(bound**2 / 3, rel=5 * 0.9 / w.numel() ** 0.5)
        else:
            assert (w == (name == "gain")).all()


@both_states
def test_sizes_and_settings(summary):
    model = draw(summary=summary, autoregressive=False)
    assert (model.models, model.vocabulary, model.hidden, model.longest) == (2, V, N, L)
    assert model.state_size == (N if summary else L * N)
    assert model.settings == {"autoregressive": False, "summary": summary, "heads": 2}
    assert {w.dtype for w in model.weights.values()} == {torch.float64}
    assert model.with_weights(model.weights) == model != model.with_weights({"W_h": 2 * model.W_h})
    assert Attention(**model.weights, **model.settings) == model
    picked = model[[1]]
    assert picked.models == 1 and torch.equal(picked.W_up, model.W_up[1:]) and picked.settings == model.settings


@both_states
def test_one_models_sequences_are_read_by_all(summary):
    model, batch = draw(summary=summary), TASK.sample(9, generators(0))
    h = model.encode(batch)
    assert same_bits(h, model.encode(batch.expand(2)))
    assert same_bits(model.logits(h, batch), model.logits(h, batch.expand(2)))
    few = Sequences(batch.tokens.int(), batch.lengths.int())
    assert same_bits(h, model.encode(few)) and same_bits(model.logits(h, batch), model.logits(h, few))


@both_states
def test_wrong_weights_are_named(summary):
    model = draw(summary=summary)
    named = "|".join(model.weights)
    for name, w in model.weights.items():
        for wrong in (w[:1], w[..., :-1], w[0], w[:, :0]):
            with pytest.raises(SHAPE_ERRORS, match=rf"parameter '({named})'|^({named}) (and W_qkv )?must have "):
                model.with_weights({name: wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vocabulary": 1}, "vocabulary must be at least 2, got 1"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"longest": 0}, "longest must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"heads": 3}, "heads must divide the width 64, got 3"),
        ({"generators": []}, "generators must hold at least one torch.Generator, got none"),
    ],
    ids=str,
)
def test_wrong_sizes_are_named(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Attention.init(**{"vocabulary": V, "hidden": N, "generators": generators(0)} | wrong)


@both_states
def test_wrong_sequences_and_states_are_named(summary):
    model, batch = draw(summary=summary), TASK.sample(6, generators(0, 1))
    h = model.encode(batch)
    three = TASK.sample(6, generators(0, 1, 2))
    last = Sequences.of_one_length(torch.full((1, L, 6), V))  # the row that starts the writing is no token
    long = TokenRepeat(V, 1, L + 1).sample(6, generators(0))
    wrong = {
        "for 1 or 2 models, got 3": three, f"hold tokens in 0 … {V - 1}, got {V}": last,
        f"have L of at most {L}, got {L + 1}": long,
    }  # fmt: skip
    for message, sequences in wrong.items():
        for function in (model.encode, model.writing_inputs, lambda s: model.logits(h, s)):
            with pytest.raises(ValueError, match=f"^sequences must (be )?{message}"):
                function(sequences)
    fitting = Sequences.of_one_length(torch.full((1, L, 6), V - 1))
    assert model.logits(model.encode(fitting), fitting).isfinite().all()
    for length, message in ((0, "at least 1, got 0"), (L + 1, f"at most {L}, got {L + 1}")):
        with pytest.raises(ValueError, match=f"^length must be {message}"):
            model.write(h, length)
    for other in (h[:1], h[:, :5], h[..., :-1]):
        with pytest.raises(SHAPE_ERRORS, match=r"^h must have shape"):
            model.logits(other, batch)
    with pytest.raises(SHAPE_ERRORS, match=r"^h must have shape"):
        model.write(h[..., :-1], 3)
