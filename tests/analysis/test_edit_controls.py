"""Edits that test what the success of the onion edit says: freer ones, misled ones, and one without learning."""

import pytest
import torch
from oracles import generators
from test_learned_edits import TASK, TINY, Hand, V, close, gru, learn, longest, onion_code, random  # noqa: F401

from emt_core.analysis import edits
from emt_core.analysis.edits import OnionEdit, ScaledEdit, cases, learned, measured, replace_token
from emt_core.analysis.edits.cases import corrupt, misled
from emt_core.analysis.edits.measured import MeasuredEdit
from emt_core.networks import GRU, TokenNetwork
from emt_core.training import Recipe
from emt_core.training import scores as judge


def test_scales_that_happen_to_be_powers_make_an_onion():
    """With the same vector for each token, and 0.4 to the power p for all units, both edits are one."""
    tokens, at = random(2, V, 6, seed=1), torch.randint(5, (2, 30), generator=generators(0)[0])
    old, new = (torch.randint(V, (2, 30), generator=generators(seed)[0]) for seed in (1, 2))
    one = torch.ones(2, 6, dtype=torch.float64)
    onion = OnionEdit(tokens, 0.4 * one, 0 * one, one, 0 * one)
    powers = 0.4 ** torch.arange(5, dtype=torch.float64)
    free = ScaledEdit(tokens, powers.expand(2, V, 5))
    h = random(2, 30, 6, seed=4)
    close(replace_token(free, h, at, old, new), replace_token(onion, h, at, old, new))


def test_free_scales_are_each_tokens_own():
    """Where scales depend on token and position, what is added is that of this token at this position."""
    edit = ScaledEdit(random(1, 3, 2, seed=1), torch.arange(12.0, dtype=torch.float64).reshape(1, 3, 4))
    at, old, new = (torch.tensor([[x]]) for x in (2, 0, 1))
    h = torch.zeros(1, 1, 2, dtype=torch.float64)
    e = torch.tanh(edit.tokens[0])
    close(replace_token(edit, h, at, old, new)[0, 0], 6 * e[1] - 2 * e[0])


def test_numbers_that_are_learned():
    """Beside the tokens' vectors the free edit has V L, about as many as the onion's 4 n; a level one has n less."""
    model = TokenNetwork.init(GRU, 3, 8, generators(0))
    count = {
        kind: sum(w[0].numel() for w in learn(kind, model, seeds=[0], steps=2).training.weights.values())
        for kind in ("onion", "level onion", "free scales")
    }
    assert count == {"onion": 3 * 8 + 4 * 8, "level onion": 3 * 8 + 3 * 8, "free scales": 3 * 8 + 3 * 3}


def test_a_level_onion_keeps_its_gamma(gru):  # noqa: F811
    found = learn("level onion", gru, steps=40, lr=0.02)
    assert (found.edit.gamma == 1).all() and (found.training.losses[-1] < found.training.losses[0]).all()


def test_free_scales_are_learned_on_an_onion(monkeypatch):
    """The positive control: on a code with one size for each position the free edit succeeds."""
    hand = Hand("onion", TINY, monkeypatch=monkeypatch)
    recipe = Recipe(steps=150, every=50, lr=0.1, decay=0.0, batch=32, patience=0)
    validation = TINY.validation(1000, share=0.4)
    options = dict(seeds=[0], recipe=recipe, validation=validation, progress=False)
    right = edits.fit("free scales", hand.model, TINY, **options)
    wrong = edits.fit("free scales", hand.model, TINY, misled=True, **options)
    assert right.exact.item() >= 0.85 and wrong.exact.item() < right.exact.item() - 0.2


@pytest.mark.parametrize("kind", edits.KINDS)
def test_a_misled_case_asks_the_same_and_says_other_places(kind):
    original = longest(400, 0, 1) if kind != "onion" else TASK.sample(400, generators(0, 1))
    case = corrupt(kind, original, V, generators(2, 3))
    wrong = misled(case, generators(4, 5))
    for name in ("original", "corrupted", "source", "changed"):
        assert getattr(wrong, name) is getattr(case, name)
    assert torch.equal(wrong.where.sum(1), case.changed.sum(1))  # as many
    assert not (wrong.where & ~original.mask).any()  # within the sequence
    apart = (wrong.where != case.changed).any(1).double().mean()
    assert apart > 0.4 and wrong.told is not None and case.where is case.changed
    if kind == "onion":
        truth, told = cases.replacement(case), cases.replacement(wrong)
        assert torch.equal(truth[1], told[1]) and torch.equal(truth[2], told[2])
        full = original.lengths == TASK.longest
        # where the edit is told to look is uniform, whatever was changed
        share = torch.stack([(told[0][full] == p).double().mean() for p in range(TASK.longest)])
        assert (share - 1 / TASK.longest).abs().max() < 5 * (0.16 / int(full.sum())) ** 0.5


def test_a_models_misled_case_comes_from_its_own_generator():
    case = corrupt("onion", TASK.sample(30, generators(0, 1)), V, generators(2, 3))
    assert torch.equal(misled(case, generators(4, 5)).where[1], misled(case, generators(6, 5)).where[1])


def test_measured_layers_edit_a_sum_of_layers_exactly(monkeypatch):
    """Of a code that is a sum of layers the edit makes the original's state, whatever the layers look like."""
    encode, _ = onion_code()
    monkeypatch.setattr(TokenNetwork, "encode", lambda model, s: encode(s.expand(2).tokens, s.expand(2).mask).float())
    model = TokenNetwork.init(GRU, V, 6, generators(0, 1))
    found = measured.measure(model, TASK, generators(9)[0], sequences=8)
    assert found.layers.shape == (2, 5, 5, V, 6) and not found.layers[:, 1, 2:].any()
    case = corrupt("onion", TASK.sample(50, generators(0, 1)), V, generators(2, 3))
    states = edits.edited(found, model, case)
    close(states, model.encode(case.original), 2e-5)
    told_wrong = edits.edited(found, model, misled(case, generators(6, 7)))
    assert (told_wrong - model.encode(case.original)).abs().amax(2).median() > 0.1


def test_measured_layers_want_the_lengths_they_were_measured_at(gru):  # noqa: F811
    found = MeasuredEdit(measured.measure(gru, TINY, generators(0)[0], sequences=4).layers[:, 1:])
    case = corrupt("onion", TINY.sample(60, generators(0, 1)), 3, generators(2, 3))
    with pytest.raises(ValueError, match=r"layers must be of lengths 1 … 3, got 2 … 3"):
        edits.edited(found, gru, case)


def test_what_is_measured_is_not_trained(gru):  # noqa: F811
    found = learn("measured", gru)
    assert found.training.steps.tolist() == [0, 0] and found.training.losses.isnan().all()
    again = edits.edited(found.edit, gru, found.case)
    assert torch.equal(found.right, judge.repeats(gru, found.case.original, again))
    assert torch.equal(found.training.weights["layers"], found.edit.layers)


# --- as in the authors' code ------------------------------------------------------------------------------------------


def test_any_token_may_be_the_old_one():
    original = TASK.sample(4000, generators(0, 1))
    kept = {}
    for name in ((), ("any token",)):
        case = corrupt("onion", original, V, generators(2, 3), name)
        assert (case.changed.sum(1) == 1).all()
        same = (case.corrupted.tokens == case.original.tokens) | ~case.changed
        kept[name] = float((same.all(1)).double().mean())
    assert kept[()] == 0
    assert abs(kept["any token",] - 1 / V) < 5 * (1 / V / 8000) ** 0.5


def test_coin_swaps_are_of_each_position():
    original = longest(4000, 0, 1)
    swapped = corrupt("unigram", original, V, generators(2, 3), ("coin swaps",)).changed
    length, half = original.tokens.shape[1], 2000
    assert torch.equal(swapped[:, :, :half], swapped[:, :, half:])
    count = swapped[:, :, :half].sum(1)
    # binomial: mean L/2, variance L/4; as many as half in every sequence without it
    assert abs(count.double().mean() - length / 2) < 5 * (length / 4 / count.numel()) ** 0.5
    assert abs(count.double().var() - length / 4) < 0.1 * length / 4
    assert (corrupt("unigram", original, V, generators(2, 3)).changed.sum(1) == length // 2).all()


def test_pressure_on_means_counts_logits():
    """By hand: two coordinates, two variables and none; e^0 = 1 each, so that each belongs to one with 2/3."""
    logits = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    assert abs(learned._pressure(logits, False).item() - 4 / 3) < 1e-6 and learned._pressure(logits, True).item() == 0
    logits = torch.tensor([[[3.0, 1.0, -2.0], [5.0, -1.0, 0.0]]])
    assert learned._pressure(logits, True).item() == 3.0  # mean of four, 2, less the mean of none, -1


def test_what_is_done_as_the_authors_changes_what_is_learned(gru):  # noqa: F811
    for kind, name in (("onion", "any token"), ("unigram", "coin swaps"), ("bigram", "mean pressure")):
        ours, theirs = (learn(kind, gru, steps=3, as_authors=told).training.losses for told in ("", name))
        assert not torch.equal(ours, theirs)
    with pytest.raises(ValueError, match=r"as_authors must be one of .*, got 'all'"):
        learn("onion", gru, as_authors="all")
