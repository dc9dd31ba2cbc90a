"""Learned edits: exact on codes that are what they suppose, and learned on such codes; cases ask what they should."""

import itertools
import logging
import math
import threading
from dataclasses import replace

import pytest
import torch
from oracles import SHAPE_ERRORS, as_tuples, generators, same_bits

from emt_core.analysis import edits
from emt_core.analysis.edits import LinearEdit, OnionEdit, cases, edited, exchange, learned, replace_token
from emt_core.analysis.edits.cases import corrupt
from emt_core.networks import GRU, TokenNetwork, from_torch
from emt_core.networks.cell import rows
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.training import Recipe, Status, fit
from emt_core.training import scores as judge

V, L = 4, 5
TASK = TokenRepeat(V, 1, L)


def of_torch(embedding, gru, readout) -> TokenNetwork:
    return TokenNetwork(from_torch(gru), embedding.weight[None], readout.weight[None], readout.bias[None])


def random(*shape, seed=0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=generators(seed)[0])


def rotations(models, size, dtype=torch.float64) -> torch.Tensor:
    return torch.linalg.qr(random(models, size, size, seed=77))[0].to(dtype)


def longest(batch, *seeds, task=TASK) -> Sequences:
    return task.sample(batch, generators(*seeds), length=task.longest)


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


# --- codes by hand ----------------------------------------------------------------------------------------------------


def blocks(kind, tokens, vocabulary=V) -> torch.Tensor:
    """(M, B, N) one-hot blocks, one for each variable, oldest first: tokens (M, L, B), or pairs of neighbours."""
    one_hot = torch.nn.functional.one_hot
    if kind == "unigram":
        values = one_hot(tokens, vocabulary)
    else:
        values = one_hot(tokens[:, :-1] * vocabulary + tokens[:, 1:], vocabulary**2)
    return values.transpose(1, 2).flatten(2).double()


def linear_code(kind, models=2, spare=3, seed=0):
    """Sequences → states R⁻¹ (blocks, rest), and the edit that knows R and which coordinate belongs to which block."""
    variables, width = (L, V) if kind == "unigram" else (L - 1, V**2)
    size = variables * width + spare
    R = rotations(models, size)
    rest = random(models, 1, spare, seed=seed)

    def encode(tokens) -> torch.Tensor:
        held = blocks(kind, tokens)
        return torch.cat([held, rest.expand(-1, held.shape[1], -1)], dim=2) @ R

    assignment = torch.cat([torch.arange(variables).repeat_interleave(width), torch.full((spare,), -1)])
    return encode, LinearEdit(kind, R, assignment.expand(models, -1), variables)


def onion_code(models=2, size=6):
    """Sequences of any length → sums of layers, and the edit that knows them."""
    edit = OnionEdit(
        random(models, V, size, seed=1), random(models, size, seed=2).sigmoid(), random(models, size, seed=3),
        random(models, size, seed=4), random(models, size, seed=5),
    )  # fmt: skip
    base = random(models, 1, size, seed=6)

    def encode(tokens, mask=None) -> torch.Tensor:
        h = base.expand(-1, tokens.shape[2], -1)
        for p in range(tokens.shape[1]):
            at = edit.scale * edit.gamma**p + edit.beta * p + edit.offset
            layer = (
                torch.stack([torch.tanh(e)[i] for e, i in zip(edit.tokens, tokens[:, p], strict=True)]) * at[:, None]
            )
            h = h + (layer if mask is None else layer * mask[:, p, :, None])
        return h

    return encode, edit


@pytest.mark.parametrize("kind", ["unigram", "bigram"])
def test_exchange_of_a_linear_code_is_exact(kind):
    encode, edit = linear_code(kind)
    ours, theirs = (longest(12, *seeds).tokens for seeds in ((0, 1), (2, 3)))
    h, source = encode(ours), encode(theirs)
    none, every = (torch.full((2, 12, edit.variables), x) for x in (False, True))
    close(exchange(edit, h, source, none), h)
    close(exchange(edit, h, source, every), source)  # what belongs to none is the same in both
    chosen = torch.rand(2, 12, edit.variables, generator=generators(8)[0]) < 0.5
    width = (h.shape[2] - 3) // edit.variables
    new = (exchange(edit, h, source, chosen) @ edit.rotation.mT)[..., :-3].unflatten(2, (edit.variables, width))
    held, others = (blocks(kind, x).unflatten(2, (edit.variables, width)) for x in (ours, theirs))
    close(new, torch.where(chosen[..., None], others, held))


def test_exchange_leaves_coordinates_of_no_variable():
    encode, edit = linear_code("unigram")
    h = encode(longest(6, 0, 1).tokens)
    every = torch.ones(2, 6, L, dtype=torch.bool)
    moved = exchange(edit, h, h + random(*h.shape, seed=4), every)
    close((moved @ edit.rotation.mT)[..., -3:], (h @ edit.rotation.mT)[..., -3:])


def test_replacing_a_token_of_an_onion_is_exact():
    encode, edit = onion_code()
    tokens = longest(40, 0, 1).tokens
    g = generators(5)[0]
    at, new = torch.randint(L, (2, 40), generator=g), torch.randint(V, (2, 40), generator=g)
    wanted = tokens.scatter(1, at[:, None], new[:, None])
    old = tokens.gather(1, at[:, None])[:, 0]
    close(replace_token(edit, encode(tokens), at, old, new), encode(wanted))
    back = replace_token(edit, encode(wanted), at, new, old)
    close(back, encode(tokens))


def test_magnitudes_by_hand():
    edit = OnionEdit(random(1, V, 2), *(torch.tensor([x]) for x in ([0.5, 2.0], [1.0, 0.0], [3.0, 1.0], [0.0, -1.0])))
    assert edits.magnitudes(edit, 3).tolist() == [[[3.0, 0.0], [2.5, 1.0], [2.75, 3.0]]]


def test_rows_are_each_models_own():
    table, chosen = random(3, V, 2), torch.randint(V, (3, 7), generator=generators(0)[0])
    got = rows(table, chosen)
    assert all(torch.equal(got[m, b], table[m, chosen[m, b]]) for m in range(3) for b in range(7))


# --- cases ------------------------------------------------------------------------------------------------------------


def as_lists(sequences, model) -> list[list[int]]:
    return sequences.tokens[model].T.tolist()


def test_unigram_cases_swap_half_of_the_positions_with_a_partner():
    original = longest(10, 0, 1)
    case = corrupt("unigram", original, V, generators(2, 3))
    assert case.original.tokens is original.tokens or torch.equal(case.original.tokens, original.tokens)
    for m in range(2):
        first, now, source = (as_lists(s, m) for s in (case.original, case.corrupted, case.source))
        swaps = case.changed[m].T.tolist()
        for b in range(10):
            partner = (b + 5) % 10
            assert swaps[b] == swaps[partner] and sum(swaps[b]) == L // 2
            assert now[b] == [first[partner if swap else b][p] for p, swap in enumerate(swaps[b])]
            assert source[b] == now[partner]
            # the partner's corrupted state holds at these positions what the original had
            assert all(source[b][p] == first[b][p] for p, swap in enumerate(swaps[b]) if swap)
    assert all((s.lengths == L).all() and s.tokens.shape == (2, L, 10) for s in (case.corrupted, case.source))


@pytest.mark.parametrize("kind", ["bigram", "onion"])
def test_other_cases_hold_one_other_token(kind):
    original = longest(300, 0, 1) if kind == "bigram" else TASK.sample(300, generators(0, 1))
    case = corrupt(kind, original, V, generators(2, 3))
    places, shifts = [], []
    for m in range(2):
        first, now, source = (as_lists(s, m) for s in (case.original, case.corrupted, case.source))
        for b, n in enumerate(original.lengths[m].tolist()):
            differ = [p for p in range(L) if first[b][p] != now[b][p]]
            assert case.changed[m, :, b].nonzero()[:, 0].tolist() == differ
            (at,) = differ
            assert at < n and now[b][at] in range(V)
            places.append(at / n)
            shifts.append((now[b][at] - first[b][at]) % V)
            if kind == "bigram":
                near = [p for p in (at - 1, at, at + 1) if 0 <= p < L]
                assert all(source[b][p] == first[b][p] for p in near)
    assert set(shifts) == set(range(1, V)) and min(places) == 0 and max(places) == 0.8
    if kind == "onion":
        assert case.source is case.corrupted
    else:  # elsewhere the source is random: as the original in one of four
        far = torch.ones(2, L, 300, dtype=torch.bool)
        for q in (-1, 0, 1):
            moved = case.changed.roll(q, 1)
            if q:
                moved[:, 0 if q == 1 else -1] = False
            far &= ~moved
        same = (case.source.tokens == case.original.tokens)[far].double()
        assert same.mean().item() == pytest.approx(1 / V, abs=5 * (1 / V * (1 - 1 / V) / len(same)) ** 0.5)
    assert all(torch.equal(s.lengths, original.lengths) for s in (case.corrupted, case.source))


@pytest.mark.parametrize("kind", edits.KINDS)
def test_every_position_is_changed_as_often(kind):
    changed = corrupt(kind, longest(4000, 0), V, generators(1)).changed[0].double().mean(1)
    share = 2 / 5 if kind == "unigram" else 1 / 5
    sequences = 2000 if kind == "unigram" else 4000  # partners share their positions
    assert (changed - share).abs().max() < 5 * (share * (1 - share) / sequences) ** 0.5


@pytest.mark.parametrize("kind", edits.KINDS)
def test_a_models_case_comes_from_its_own_generator(kind):
    original = longest(8, 0, 1, 2)
    together = corrupt(kind, original, V, generators(5, 6, 7))
    before = torch.get_rng_state()
    for m in range(3):
        own = Sequences(original.tokens[m : m + 1], original.lengths[m : m + 1])
        alone = corrupt(kind, own, V, generators(5 + m))
        assert torch.equal(alone.corrupted.tokens[0], together.corrupted.tokens[m])
        assert torch.equal(alone.source.tokens[0], together.source.tokens[m])
        assert torch.equal(alone.changed[0], together.changed[m])
    assert torch.equal(torch.get_rng_state(), before)
    one = corrupt(kind, longest(8, 0), V, generators(5, 5))  # one set for two models
    assert torch.equal(one.corrupted.tokens[0], one.corrupted.tokens[1]) and one.original.tokens.shape[0] == 2


# --- what an edit does to a case --------------------------------------------------------------------------------------


class Hand:
    """A network by hand, in place of the GRU in all that ``emt_core`` does with it: it encodes a sequence exactly as an
    edit supposes, and scores and writes what nearest-neighbour decoding of that code reads."""

    def __init__(self, kind, task, models=1, spare=2, monkeypatch=None):
        V, L = task.vocabulary, task.longest
        self.kind, self.V, self.L = kind, V, L
        size = {"unigram": L * V + spare, "bigram": (L - 1) * V**2 + spare, "onion": 6}[kind]
        self.R = rotations(models, size, torch.float32)
        self.E = random(models, V, size, seed=3, dtype=torch.float32)
        self.model = TokenNetwork.init(GRU, V, size, generators(*range(models)))  # only its sizes matter
        for name, instead in {
            "encode": lambda model, sequences: self.encode(model, sequences),
            "logits": lambda model, h, sequences: self.scores(h, sequences.tokens),
            "write": lambda model, h, length: self.write(model, h, length),
        }.items():
            monkeypatch.setattr(TokenNetwork, name, instead)

    def encode(self, model, sequences) -> torch.Tensor:
        sequences = sequences.expand(len(self.R))
        if self.kind == "onion":
            h = 0
            for p in range(self.L):
                layer = rows(self.E, sequences.tokens[:, p]) * 0.4**p
                h = h + layer * sequences.mask[:, p, :, None]
            return h
        held = blocks(self.kind, sequences.tokens, self.V).float()
        return torch.nn.functional.pad(held, (0, self.R.shape[1] - held.shape[2]), value=0.7) @ self.R

    def scores(self, h, tokens=None) -> torch.Tensor:
        """(M, L, B, V); for the onion, peeling with the true tokens, else with those that are read."""
        if self.kind == "onion":
            found = []
            for p in range(self.L):
                found.append(-8 * torch.cdist(h, self.E).square())
                read = found[-1].argmax(2) if tokens is None else tokens.expand(len(self.R), -1, -1)[:, p]
                h = (h - rows(self.E, read)) / 0.4
            return torch.stack(found, dim=1)
        x = h @ self.R.mT
        if self.kind == "unigram":
            return 6 * x[..., : self.L * self.V].unflatten(2, (self.L, self.V)).transpose(1, 2)
        pairs = x[..., : (self.L - 1) * self.V**2].unflatten(2, (self.L - 1, self.V, self.V)).transpose(1, 2)
        return 6 * torch.cat([pairs.sum(4), pairs[:, -1:].sum(3)], dim=1)

    def write(self, model, h, length) -> torch.Tensor:
        return self.scores(h)[:, :length].argmax(3)

    def true_edit(self) -> LinearEdit:
        variables = self.L if self.kind == "unigram" else self.L - 1
        width = self.V if self.kind == "unigram" else self.V**2
        assignment = torch.full(self.R.shape[:2], -1)
        assignment[:, : variables * width] = torch.arange(variables).repeat_interleave(width)
        return LinearEdit(self.kind, self.R, assignment, variables)


@pytest.mark.parametrize("kind", ["unigram", "bigram"])
def test_the_right_linear_edit_makes_the_originals_state(kind, monkeypatch):
    hand = Hand(kind, TASK, models=2, monkeypatch=monkeypatch)
    case = corrupt(kind, longest(16, 0, 1), V, generators(2, 3))
    states = edited(hand.true_edit(), hand.model, case)
    close(states, hand.encode(None, case.original), 1e-5)
    assert judge.repeats(hand.model, case.original, states).all()
    before = judge.repeats(hand.model, case.original, hand.encode(None, case.corrupted))
    assert torch.equal(before, case.original.tokens == case.corrupted.tokens)


def test_the_right_onion_edit_makes_the_originals_state(monkeypatch):
    encode, edit = onion_code()
    monkeypatch.setattr(TokenNetwork, "encode", lambda model, sequences: encode(sequences.tokens, sequences.mask))
    case = corrupt("onion", TASK.sample(50, generators(0, 1)), V, generators(2, 3))
    close(
        edited(edit, TokenNetwork.init(GRU, V, 6, generators(0, 1)), case),
        encode(case.original.tokens, case.original.mask),
    )


def test_linear_edits_take_what_the_source_holds(gru):
    case = corrupt("bigram", TINY.sample(8, generators(0, 1), length=3), gru.vocabulary, generators(2, 3))
    everything = torch.zeros(2, gru.hidden, dtype=torch.int64)
    rotation = torch.eye(gru.hidden).expand(2, -1, -1)
    for kind in ("unigram", "bigram"):
        all_in_0 = LinearEdit(kind, rotation, everything, 3 - (kind == "bigram"))
        first = replace(case, source=case.original, changed=case.changed | True)
        close(edited(all_in_0, gru, first), gru.encode(case.original), 1e-6)


def test_controls_are_what_they_say(monkeypatch):
    hand = Hand("unigram", TASK, models=2, monkeypatch=monkeypatch)
    case = corrupt("unigram", longest(64, 0, 1), V, generators(2, 3))
    h = hand.encode(None, case.corrupted)
    states, seen, random_edit = edited(hand.true_edit(), hand.model, case), [], edits.random_edit
    monkeypatch.setattr(learned, "random_edit", lambda *given: seen.append(random_edit(*given)) or seen[-1])
    found = edits.controls(hand.model, case, states, generators(9)[0])
    assert set(found) == {"no edit", "random", "oracle"}
    assert found["oracle"].all()
    assert torch.equal(found["no edit"], case.original.tokens == case.corrupted.tokens)
    # as far from the corrupted state as the edited one is, in a direction of its own for each
    (moved,) = seen
    close((moved - h).norm(dim=2), (states - h).norm(dim=2), 1e-5)
    assert torch.equal(found["random"], judge.repeats(hand.model, case.original, moved))
    cosine = torch.nn.functional.cosine_similarity(moved - h, states - h, dim=2)
    assert cosine.mean().abs() < 0.1 and found["random"].all(1).double().mean() < 0.3


# --- learning ---------------------------------------------------------------------------------------------------------

TINY = TokenRepeat(3, 1, 3)
NO_DECAY = dict(lr=0.1, decay=0.0, batch=32, patience=0)


@pytest.mark.parametrize(
    ("kind", "steps", "exact"), [("unigram", 100, 1.0), ("bigram", 60, 1.0), ("onion", 100, 0.85)], ids=str
)
def test_an_edit_is_learned_on_a_code_that_is_as_it_supposes(kind, steps, exact, monkeypatch):
    hand = Hand(kind, TINY, spare=0, monkeypatch=monkeypatch)
    recipe = Recipe(steps=steps, every=steps // 4, **NO_DECAY)
    validation = TINY.validation(1000, share=0.4)
    found = edits.fit(kind, hand.model, TINY, seeds=[0], recipe=recipe, validation=validation, progress=False)
    assert found.training.losses[-1] < 0.4 * found.training.losses[0]
    assert found.exact.item() >= exact
    # it is the edit that says so
    states = edited(found.edit, hand.model, found.case)
    assert torch.equal(found.right, judge.repeats(hand.model, found.case.original, states))
    assert found.exact.tolist() == found.right.all(1).double().mean(1).tolist()
    none = edits.controls(hand.model, found.case, states, generators(0)[0])["no edit"]
    assert none.all(1).double().mean() < 0.6 * exact
    if kind != "onion":
        R = found.edit.rotation
        close(R @ R.mT, torch.eye(R.shape[1])[None], 1e-5)
        assert set(found.edit.assignment.flatten().tolist()) <= set(range(-1, found.edit.variables))
        assert found.edit.variables == {"unigram": 3, "bigram": 2}[kind]


def test_a_code_of_another_kind_is_not_edited(monkeypatch):
    """Half of the tokens of an onion cannot be taken from coordinates of their own."""
    hand = Hand("onion", TINY, monkeypatch=monkeypatch)
    recipe = Recipe(steps=60, every=20, **NO_DECAY)
    validation = TINY.validation(1000, share=0.4)
    found = edits.fit("unigram", hand.model, TINY, seeds=[0], recipe=recipe, validation=validation, progress=False)
    assert found.exact < 0.5


@pytest.fixture(scope="module")
def gru() -> TokenNetwork:
    """Two GRUs that have hardly learned to repeat."""
    recipe = Recipe(steps=20, lr=0.05, batch=16, every=20, patience=0)
    return fit(TINY, hidden=8, seeds=[0, 1], recipe=recipe, progress=False).model


def learn(kind, model, seeds=(0, 1), steps=12, lr=0.05, **options):
    recipe = Recipe(steps=steps, lr=lr, batch=16, every=4, patience=0)
    validation = TINY.validation(1000, share=0.4)
    return edits.fit(kind, model, TINY, seeds=seeds, recipe=recipe, validation=validation, progress=False, **options)


@pytest.mark.parametrize("kind", edits.KINDS)
def test_an_edit_of_a_gru_learns_and_leaves_it_alone(kind, gru):
    before = {name: w.clone() for name, w in gru.weights.items()}
    found = learn(kind, gru)
    if kind != "unigram":  # which is learned on linear codes, and not in a dozen steps
        assert (found.training.losses[-1] < found.training.losses[0]).all()
    assert all(same_bits(w, before[name]) for name, w in gru.weights.items())
    assert found.right.shape == (2, *found.case.original.tokens.shape[1:])
    lengths = found.case.original.lengths
    assert (lengths == 3).all() if kind != "onion" else set(lengths.flatten().tolist()) == {1, 2, 3}
    # each model has an edit of its own, of its own seed; bmm and AdamW may round otherwise in an ensemble
    for m in range(2):
        alone = learn(kind, gru[m], seeds=[m])
        close(alone.training.losses[0], found.training.losses[0, m : m + 1], 1e-5)
        assert torch.equal(alone.case.corrupted.tokens[0], found.case.corrupted.tokens[m])


def test_none_is_trained_on_validation_sequences(gru, monkeypatch):
    drawn, sample = [], TokenRepeat.sample

    def watched(self, *arguments, **options):
        drawn.append(sample(self, *arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(TokenRepeat, "sample", watched)
    validation = TINY.validation(1000, share=0.4)
    for kind in edits.KINDS:
        learn(kind, gru, steps=3)
    assert len(drawn) == 9
    held = set(as_tuples(validation))
    assert not any(held & set(as_tuples(each, m)) for each in drawn for m in range(len(each.tokens)))


def test_pytorchs_own_gru_can_be_edited_and_is_not_trained():
    modules = torch.nn.Embedding(5, 8), torch.nn.GRU(8, 8), torch.nn.Linear(8, 3)
    model = of_torch(*modules)
    for kind in edits.KINDS:
        found = learn(kind, model, seeds=[0], steps=3)
        assert found.training.losses.isfinite().all() and not found.right.requires_grad
    assert all(p.grad is None for module in modules for p in module.parameters())


@pytest.mark.parametrize("kind", edits.KINDS)
def test_interrupted_and_resumed_is_uninterrupted(kind, gru, tmp_path, monkeypatch, caplog):
    stop, calls, sample = threading.Event(), itertools.count(1), TokenRepeat.sample

    def told(self, *arguments, **options):
        if next(calls) == 7:
            stop.set()
        return sample(self, *arguments, **options)

    options = dict(checkpoint=tmp_path / "edit.checkpoint")
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


@pytest.mark.parametrize("kind", edits.KINDS)
def test_a_checkpoint_of_another_edit_is_refused_by_name(kind, gru, tmp_path):
    options = dict(checkpoint=tmp_path / "edit.checkpoint")
    learn(kind, gru, steps=2, **options)
    before = options["checkpoint"].read_bytes()
    other = edits.KINDS[edits.KINDS.index(kind) - 1]
    for name, wrong in {
        "edit": dict(kind=other),
        "recipe": dict(lr=0.5),
        "seeds": dict(seeds=(0, 2)),
        "of": dict(model=replace(gru, b_o=gru.b_o + 1)),
        "autoregressive": dict(model=replace(gru, autoregressive=False)),
    }.items():
        with pytest.raises(ValueError, match=rf"^checkpoint .* is of another run; \(there, here\): .*'{name}'"):
            learn(**(dict(kind=kind, model=gru, steps=2) | options | wrong))
    assert options["checkpoint"].read_bytes() == before


def test_cayleys_map_gives_rotations():
    R = learned._orthogonal(random(3, 5, 5))
    close(R @ R.mT, torch.eye(5, dtype=torch.float64).expand(3, -1, -1))
    close(torch.linalg.det(R), torch.ones(3, dtype=torch.float64))
    x = 0.25  # X − Xᵀ = (0 2x; −2x 0): a rotation by 2 arctan 2x
    angle = 2 * math.atan(2 * x)
    turned = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    close(
        learned._orthogonal(torch.tensor([[[0, x], [-x, 0]]], dtype=torch.float64)),
        torch.tensor([turned], dtype=torch.float64),
    )


# --- arguments --------------------------------------------------------------------------------------------------------


def test_wrong_arguments_are_named(gru):
    with pytest.raises(ValueError, match=r"^kind must be one of \('unigram', .*'measured'\), got 'trigram'"):
        corrupt("trigram", longest(4, 0), V, generators(0))
    with pytest.raises(ValueError, match=r"^kind must be one of"):
        learn("trigram", gru)
    mixed = TASK.sample(20, generators(0))
    for kind in ("unigram", "bigram"):
        with pytest.raises(ValueError, match=rf"^original must hold sequences of length 5 alone for '{kind}'"):
            corrupt(kind, mixed, V, generators(0))
    with pytest.raises(ValueError, match=r"^original must hold an even number of sequences to swap, got 5"):
        corrupt("unigram", longest(5, 0), V, generators(0))
    with pytest.raises(ValueError, match=r"^seeds must be one per model \(2\), got 1"):
        learn("onion", gru, seeds=[0])
    with pytest.raises(ValueError, match=r"^seeds must be at least 0, got -1"):
        learn("onion", gru, seeds=[0, -1])
    for kind in edits.KINDS:
        with pytest.raises(ValueError, match=r"^seeds must be below 2147483648, got 2147483648$"):
            learn(kind, gru, seeds=[0, 2**31])
    with pytest.raises(ValueError, match=r"^validation must have L = 3 tokens, got 4"):
        edits.fit("onion", gru, TINY, seeds=[0, 1], validation=TokenRepeat(3, 1, 4).validation(9), progress=False)
    encode, edit = linear_code("unigram")
    h = encode(longest(6, 0, 1).tokens)
    with pytest.raises(ValueError, match=r"^variables must have K = 5 entries on its last axis, got 4"):
        exchange(edit, h, h, torch.ones(2, 6, 4, dtype=torch.bool))
    with pytest.raises(SHAPE_ERRORS):
        exchange(edit, h, h[:, :5], torch.ones(2, 6, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"^length must be at least 1, got 0"):
        edits.magnitudes(onion_code()[1], 0)
    with pytest.raises(ValueError, match=r"^kind must be one of \('unigram', 'bigram'\), got 'onion'"):
        cases.variables("onion", torch.ones(1, 5, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"^case must have one changed position in each sequence"):
        cases.replacement(corrupt("unigram", longest(4, 0), V, generators(0)))
    one = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^position must be at least 0, got -1"):
        replace_token(onion_code()[1], h[:, :3], one - 1, one, one)
    with pytest.raises(ValueError, match=r"^task must have the models' vocabulary of \d tokens, got 7"):
        edits.fit("onion", gru, TokenRepeat(7, 1, 3), seeds=[0, 1], progress=False)


@pytest.mark.parametrize("kind", edits.KINDS)
def test_edits_of_double_precision_grus_are_learned_in_double_precision(kind, gru):
    found = learn(kind, gru.to(torch.float64))
    assert {w.dtype for w in found.training.weights.values()} == {torch.float64}


def test_too_few_of_the_longest_sequences_are_an_error(gru):
    some = TINY.validation(1000, share=0.4)
    assert (cases.of_length(some, 3).lengths == 3).all()
    assert cases.of_length(some, 3).tokens.shape[2] == 10
    short = some[(some.lengths[0] < 3).nonzero()[:, 0]]
    with pytest.raises(ValueError, match=r"^sequences must hold at least 2 of length 3, got 0"):
        edits.fit("unigram", gru, TINY, seeds=[0, 1], validation=short, progress=False)
