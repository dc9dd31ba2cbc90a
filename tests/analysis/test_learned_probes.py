"""Probes that read whole sequences: exact on codes by hand, peeling that is told what was read, and learning."""

import itertools
import logging
import threading
from dataclasses import replace

import pytest
import torch
from oracles import SHAPE_ERRORS, as_tuples, generators, same_bits

from emt_core.analysis import probes
from emt_core.analysis.probes import KINDS, Probe, learned, read, scores
from emt_core.networks import GRU, TokenNetwork, from_torch
from emt_core.networks.tokens import right_tokens
from emt_core.support.random_streams import streams
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.training import Recipe, Status, fit
from emt_core.training import scores as judge

V, L = 5, 4
TASK = TokenRepeat(V, 1, L)


def of_torch(embedding, gru, readout) -> TokenNetwork:
    return TokenNetwork(from_torch(gru), embedding.weight[None], readout.weight[None], readout.bias[None])


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, generator=generators(seed)[0])


def of_models(first) -> torch.Tensor:
    """The same for two models, the second with its units in reverse."""
    return torch.stack([first, first.flip(-1)])


# --- codes by hand ----------------------------------------------------------------------------------------------------

GAMMA, SIZE = 0.4, 7  # more units than tokens


def onion() -> Probe:
    """Reads Σ γ^p e_v with e_v a unit of its own for each token: the largest coordinate is the outermost token."""
    units = torch.eye(V, SIZE)
    one, nothing = torch.ones(2, SIZE), torch.zeros(2, SIZE)
    mlp = {"W1": torch.eye(SIZE).expand(2, -1, -1), "b1": nothing, "W2": of_models(units), "b2": torch.zeros(2, V)}
    layers = {"gamma": GAMMA * one, "beta": nothing, "scale": one, "offset": nothing}
    return Probe("onion", mlp | layers | {"tokens": of_models(units)}, L)


def layered(sequences) -> torch.Tensor:
    """The states that :func:`onion` reads, one token after the other."""
    h = torch.zeros(2, sequences.tokens.shape[2], SIZE)
    for m, b in itertools.product(range(2), range(h.shape[1])):
        for p in range(int(sequences.lengths[m, b])):
            token = int(sequences.tokens[m, p, b])
            h[m, b, token if m == 0 else SIZE - 1 - token] += GAMMA**p
    return h


def blocks(sequences) -> torch.Tensor:
    """A linear code: one unit for each token at each position."""
    one_hot = torch.nn.functional.one_hot(sequences.tokens, V) * sequences.mask[..., None]
    return one_hot.transpose(1, 2).flatten(2).float()


def test_an_onion_is_read_by_peeling():
    probe, sequences = onion(), TASK.sample(200, generators(0, 1))
    h = layered(sequences)
    found = read(probe, h, L)
    assert right_tokens(found, sequences).all() and found.shape == (2, L, 200)
    assert torch.equal(read(probe, h, 2), found[:, :2])
    # layer normalisation makes every layer as large as the first, so that one classifier serves all; the state does not
    # matter as a whole
    assert right_tokens(read(probe, h + 3.0, L), sequences).all()
    # with another factor than the code's the first token is read, and the others are not
    wrong = Probe(
        "onion", probe.weights | {"gamma": torch.full((2, SIZE), 0.1), "scale": torch.full((2, SIZE), 0.5)}, L
    )
    right = right_tokens(read(wrong, h, L), sequences)
    assert right[:, 0].all() and not right.all()


def test_an_onion_is_peeled_one_token_after_the_other():
    """Any weights: what is left is the state less each layer that was read; training, told these tokens, agrees."""
    start = learned._start("onion", TokenNetwork.init(GRU, V, SIZE, generators(0, 1)), L, generators(5, 6))
    probe = Probe("onion", start | {"offset": random(2, SIZE, seed=1), "beta": random(2, SIZE, seed=2)}, L)
    h = random(2, 30, SIZE, seed=4)
    w, left, every, tokens = probe.weights, h, [], []
    for p in range(L):
        for_one = []
        for m in range(2):
            x = (left[m] - left[m].mean(1, keepdim=True)) / (left[m].var(1, correction=0, keepdim=True) + 1e-5).sqrt()
            for_one.append(torch.relu(x @ w["W1"][m].T + w["b1"][m]) @ w["W2"][m].T + w["b2"][m])
        every.append(torch.stack(for_one))
        tokens.append(every[-1].argmax(2))
        at = w["scale"] * w["gamma"] ** p + w["beta"] * p + w["offset"]
        left = left - torch.stack([w["tokens"][m][tokens[-1][m]] * at[m] for m in range(2)])
    tokens = torch.stack(tokens, dim=1)
    assert torch.equal(read(probe, h, L), tokens)
    told = scores(probe, h, Sequences(tokens, torch.full((2, 30), L)))
    torch.testing.assert_close(told, torch.stack(every, dim=1), rtol=1e-4, atol=1e-5)
    assert len(tokens.unique()) > 2


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_linear_code_is_read_at_once(kind):
    sequences = TASK.sample(100, generators(0, 1))
    h, size = blocks(sequences), L * V
    rotation = torch.linalg.qr(random(2, size, size))[0]
    if kind == "linear":
        probe = Probe(kind, {"W": rotation, "b": torch.zeros(2, size)}, L)
    else:
        weights = {"W1": rotation, "b1": torch.full((2, size), -0.5), "W2": torch.eye(size).expand(2, -1, -1)}
        probe = Probe(kind, weights | {"b2": torch.zeros(2, size)}, L)
    h = h @ rotation
    assert right_tokens(read(probe, h, L), sequences).all()
    assert torch.equal(read(probe, h, 3), read(probe, h, L)[:, :3])
    expected = blocks(sequences).unflatten(2, (L, V)).transpose(1, 2)
    expected = expected if kind == "linear" else torch.relu(expected - 0.5)
    torch.testing.assert_close(scores(probe, h, sequences), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["gru", "gru no input"])
def test_a_gru_reads_what_it_would_write(kind):
    model = TokenNetwork.init(GRU, V, SIZE, generators(0, 1), autoregressive=kind == "gru")
    probe, h, sequences = Probe(kind, model.weights, L), random(2, 30, SIZE), TASK.sample(30, generators(2, 3))
    assert torch.equal(read(probe, h, L), model.write(h, L))
    assert same_bits(scores(probe, h, sequences), model.logits(h, sequences))


@pytest.mark.parametrize("kind", KINDS)
def test_each_model_has_a_probe_of_its_own(kind):
    probe = Probe(kind, learned._start(kind, TokenNetwork.init(GRU, V, SIZE, generators(0, 1)), L, generators(5, 6)), L)
    h, sequences = random(2, 20, SIZE), TASK.sample(20, generators(2, 3))
    tokens, every = read(probe, h, L), scores(probe, h, sequences)
    assert tokens.shape == (2, L, 20) and every.shape == (2, L, 20, V)
    for m in range(2):
        own = learned._start(kind, TokenNetwork.init(GRU, V, SIZE, generators(m)), L, generators(5 + m))
        assert all(same_bits(w[0], probe.weights[name][m]) for name, w in own.items())
        alone = Sequences(sequences.tokens[m : m + 1], sequences.lengths[m : m + 1])
        torch.testing.assert_close(scores(Probe(kind, own, L), h[m : m + 1], alone)[0], every[m], rtol=0, atol=1e-5)
        assert torch.equal(read(Probe(kind, own, L), h[m : m + 1], L)[0], tokens[m])


def test_what_training_is_told_does_not_reach_back():
    """The scores at a position do not depend on the true tokens from there on."""
    for kind in KINDS:
        probe = Probe(kind, learned._start(kind, TokenNetwork.init(GRU, V, SIZE, generators(0)), L, generators(5)), L)
        h, sequences = random(1, 9, SIZE), TASK.sample(9, generators(2), length=L)
        for p in range(L):
            others = sequences.tokens.clone()
            others[:, p:] = (others[:, p:] + 1) % V
            a, b = (scores(probe, h, Sequences(tokens, sequences.lengths)) for tokens in (sequences.tokens, others))
            torch.testing.assert_close(a[:, : p + 1], b[:, : p + 1], rtol=0, atol=1e-6)
            told = kind in ("onion", "gru") and p + 1 < L
            assert torch.allclose(a[:, p + 1 :], b[:, p + 1 :]) != told


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gru() -> TokenNetwork:
    """Two GRUs that have hardly learned to repeat."""
    recipe = Recipe(steps=20, lr=0.05, batch=16, every=20, patience=0)
    return fit(TASK, hidden=8, seeds=[0, 1], recipe=recipe, progress=False).model


VALIDATION = TASK.validation(60)


def learn(kind, model, seeds=(0, 1), steps=12, lr=0.05, **options):
    recipe = Recipe(steps=steps, lr=lr, batch=16, every=4, patience=0)
    return probes.fit(kind, model, TASK, seeds=seeds, recipe=recipe, validation=VALIDATION, progress=False, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_of_a_gru_learns_and_leaves_it_alone(kind, gru):
    before = {name: w.clone() for name, w in gru.weights.items()}
    found = learn(kind, gru)
    assert (found.training.losses[-1] < found.training.losses[0]).all()
    assert all(same_bits(w, before[name]) for name, w in gru.weights.items())
    # on the validation sequences, all of them
    assert torch.equal(found.of.tokens, VALIDATION.tokens.expand(2, -1, -1))
    right = right_tokens(read(found.probe, gru.encode(VALIDATION), L), VALIDATION)
    assert torch.equal(found.right, right) and found.exact.tolist() == right.all(1).double().mean(1).tolist()
    assert found.training.scores[-1].tolist() == judge.token_accuracy(right, VALIDATION).tolist()
    for m in range(2):
        alone = learn(kind, gru[m], seeds=[m])
        torch.testing.assert_close(alone.training.losses[:, 0], found.training.losses[:, m], rtol=0, atol=1e-3)


def test_a_linear_code_is_learned_by_the_linear_probe_and_an_onion_by_the_peeling_one(monkeypatch):
    """Both codes have the same size; what is read is the code, as the probe sees no network."""
    task, recipe = TokenRepeat(3, 1, 2), Recipe(steps=80, lr=0.05, batch=32, every=80, patience=0, decay=0)
    model, validation = TokenNetwork.init(GRU, 3, 6, generators(0)), task.validation(100, share=0.4)
    E = random(3, 6, seed=8)

    def linear(_, sequences):
        one_hot = torch.nn.functional.one_hot(sequences.tokens, 3) * sequences.mask[..., None]
        return one_hot.transpose(1, 2).flatten(2).float() @ torch.linalg.qr(random(6, 6))[0]

    def layers(_, sequences):
        return sum(E[sequences.tokens[:, p]] * 0.3**p * sequences.mask[:, p, :, None] for p in range(2))

    for kind, code in (("linear", linear), ("mlp", linear), ("onion", layers)):
        monkeypatch.setattr(TokenNetwork, "encode", code)
        found = probes.fit(kind, model, task, seeds=[0], recipe=recipe, validation=validation, progress=False)
        everything = task.sample(100, generators(1), validation)
        assert right_tokens(read(found.probe, code(None, everything), 2), everything).all(), kind


def test_none_is_trained_on_validation_sequences(gru, monkeypatch):
    drawn, sample = [], TokenRepeat.sample

    def watched(self, *arguments, **options):
        drawn.append(sample(self, *arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(TokenRepeat, "sample", watched)
    learn("linear", gru, steps=5)
    assert len(drawn) == 5
    held = set(as_tuples(VALIDATION))
    assert not any(held & set(as_tuples(each, m)) for each in drawn for m in range(len(each.tokens)))


def test_pytorchs_own_gru_can_be_probed_and_is_not_trained():
    modules = torch.nn.Embedding(V + 2, 8), torch.nn.GRU(8, 8), torch.nn.Linear(8, V)
    for kind in KINDS:
        found = learn(kind, of_torch(*modules), seeds=[0], steps=3)
        assert found.training.losses.isfinite().all()
    assert all(p.grad is None for module in modules for p in module.parameters())


@pytest.mark.parametrize("kind", ["linear", "onion", "gru no input"])
def test_interrupted_and_resumed_is_uninterrupted(kind, gru, tmp_path, monkeypatch, caplog):
    stop, calls, sample = threading.Event(), itertools.count(1), TokenRepeat.sample

    def told(self, *arguments, **options):
        if next(calls) == 7:
            stop.set()
        return sample(self, *arguments, **options)

    options = dict(checkpoint=tmp_path / "probe.checkpoint")
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(TokenRepeat, "sample", told)
        part = learn(kind, gru, stop=stop, **options).training
    assert part.steps.tolist() == [7, 7] and part.status == (Status.INTERRUPTED,) * 2
    for steps in (12, 13, 18):  # as it was asked for, and then made longer, once from between two looks
        resumed, whole = learn(kind, gru, steps=steps, **options), learn(kind, gru, steps=steps)
        assert all(same_bits(resumed.training.weights[name], w) for name, w in whole.training.weights.items())
        assert same_bits(resumed.training.losses, whole.training.losses) and torch.equal(resumed.right, whole.right)
        assert resumed.training.steps.tolist() == [steps] * 2 and resumed.training.status == (Status.DONE,) * 2
    with pytest.raises(ValueError, match=r"^steps must be at least 18, where checkpoint .* stands, got 12$"):
        learn(kind, gru, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_another_probe_is_refused_by_name(kind, gru, tmp_path):
    options = dict(checkpoint=tmp_path / "probe.checkpoint")
    learn(kind, gru, steps=2, **options)
    before = options["checkpoint"].read_bytes()
    for name, wrong in {
        "probe": dict(kind=KINDS[KINDS.index(kind) - 1]),
        "recipe": dict(lr=0.5),
        "seeds": dict(seeds=(0, 2)),
        "of": dict(model=replace(gru, b_o=gru.b_o + 1)),
        "autoregressive": dict(model=replace(gru, autoregressive=False)),
    }.items():
        with pytest.raises(ValueError, match=rf"^checkpoint .* is of another run; \(there, here\): .*'{name}'"):
            learn(**(dict(kind=kind, model=gru, steps=2) | options | wrong))
    assert options["checkpoint"].read_bytes() == before


@pytest.mark.parametrize("kind", ["gru", "gru no input"])
def test_a_gru_that_reads_does_not_start_as_the_gru_of_its_seed(kind, gru):
    studied = TokenNetwork.init(GRU, gru.vocabulary, gru.hidden, generators(0, 1)).weights
    start, again = (learned._start(kind, gru, L, streams([0, 1], f"{kind} probe")) for _ in range(2))
    assert all(same_bits(start[name], again[name]) for name in start)
    for name, w in studied.items():
        apart = (start[name] - w).flatten(1)
        assert (apart != 0).double().mean() > 0.99
        together = torch.stack([start[name].flatten(), w.flatten()])
        assert torch.corrcoef(together)[0, 1].abs() < 5 / w.numel() ** 0.5  # five standard errors of no correlation


@pytest.mark.parametrize("kind", KINDS)
def test_probes_of_double_precision_grus_are_learned_in_double_precision(kind, gru):
    found = learn(kind, gru.to(torch.float64))
    assert {w.dtype for w in found.training.weights.values()} == {torch.float64}


# --- arguments --------------------------------------------------------------------------------------------------------


def test_wrong_arguments_are_named(gru):
    with pytest.raises(ValueError, match=r"^kind must be one of \('linear', .*\), got 'quadratic'"):
        learn("quadratic", gru)
    with pytest.raises(ValueError, match=r"^kind must be one of \('linear', .*\), got 'lineer'"):
        Probe("lineer", {}, L)
    with pytest.raises(ValueError, match=r"^task must have the models' vocabulary of \d tokens, got 7"):
        probes.fit("linear", gru, TokenRepeat(7, 1, L), seeds=[0, 1], progress=False)
    with pytest.raises(ValueError, match=r"^seeds must be one per model \(2\), got 3"):
        learn("linear", gru, seeds=[0, 1, 2])
    with pytest.raises(ValueError, match=r"^seeds must be at least 0, got -1"):
        learn("linear", gru, seeds=[0, -1])
    for kind in KINDS:
        with pytest.raises(ValueError, match=r"^seeds must be below 2147483648, got 2147483648$"):
            learn(kind, gru, seeds=[0, 2**31])
    for kind in KINDS:
        probe = Probe(kind, learned._start(kind, gru, L, generators(0, 1)), L)
        for wrong in (0, L + 1):
            with pytest.raises(ValueError, match=rf"^length must lie in 1 … {L}, got {wrong}"):
                read(probe, random(2, 3, 8), wrong)
        with pytest.raises((*SHAPE_ERRORS, RuntimeError)):
            read(probe, random(2, 3, 9), L)
    with pytest.raises(ValueError, match=rf"^validation must have L = {L} tokens, got {L + 1}"):
        probes.fit("linear", gru, TASK, seeds=[0, 1], validation=TokenRepeat(V, 1, L + 1).validation(9), progress=False)
