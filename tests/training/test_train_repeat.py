"""GRUs that repeat tokens: what is minimised, what is counted, and that training learns it."""

import itertools
import logging
import os
import signal
import threading
from dataclasses import replace

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits

from emt_core.networks import cells
from emt_core.training import token_repeat as repeat
from emt_core.training.optimise import Recipe
from emt_core.tasks import Sequences, TokenRepeat

TASK = TokenRepeat(4, 1, 5)
RECIPE = Recipe(steps=12, lr=0.01, batch=8, every=5, patience=0)
WEIGHTS = ("embedding", "W_ih", "W_hh", "b_ih", "b_hh", "W_o", "b_o")


def columns(sequences, model=0):
    """Each sequence's tokens, without what is beyond its end."""
    found = sequences.tokens[model].T.tolist()
    return [tokens[:n] for tokens, n in zip(found, sequences.lengths[model].tolist(), strict=True)]


def random_right(models, sequences, seed=0) -> torch.Tensor:
    """As if some tokens had been written right; True beyond the end, as the library has it."""
    shape = (models, *sequences.tokens.shape[1:])
    return (torch.rand(shape, generator=generators(seed)[0]) < 0.8) | ~sequences.mask


# --- what is minimised, and what is counted ---------------------------------------------------------------------------


@pytest.mark.parametrize("for_all", [False, True], ids=["own sequences", "one set for all"])
def test_cross_entropy_is_torchs_over_the_tokens_that_are_there(for_all):
    sequences = TASK.sample(9, generators(*((0,) if for_all else (0, 1, 2))))
    scores = torch.randn(3, 5, 9, 4, generator=generators(7)[0], dtype=torch.float64, requires_grad=True)
    got = repeat.cross_entropy(scores, sequences)
    for m in range(3):
        own = 0 if for_all else m
        target = torch.where(sequences.mask[own], sequences.tokens[own], -100)
        want = torch.nn.functional.cross_entropy(scores[m].flatten(0, 1), target.flatten(), ignore_index=-100)
        torch.testing.assert_close(got[m], want, rtol=1e-14, atol=0)
    got.sum().backward()
    assert not scores.grad[~sequences.mask.expand(3, 5, 9)].any()


def test_shares_are_counted_one_by_one():
    sequences = TASK.sample(40, generators(0, 1))
    for chosen, models in ((sequences, 2), (Sequences(sequences.tokens[:1], sequences.lengths[:1]), 3)):
        right = random_right(models, chosen)
        tokens, at, whole = (
            f(right, chosen) for f in (repeat.token_accuracy, repeat.by_position, lambda r, _: r.all(1))
        )
        lengths = repeat.by_length(right, chosen.lengths)
        assert list(lengths) == [1, 2, 3, 4, 5]
        for m in range(models):
            own = chosen.lengths[min(m, len(chosen.lengths) - 1)].tolist()
            said = [right[m, :n, b].tolist() for b, n in enumerate(own)]
            every = [x for each in said for x in each]
            assert tokens[m].item() == pytest.approx(sum(every) / len(every))
            assert whole[m].tolist() == [all(each) for each in said]
            for p in range(5):
                there = [each[p] for each in said if len(each) > p]
                assert at[m, p].item() == pytest.approx(sum(there) / len(there))
            for n, share in lengths.items():
                of = [all(each) for each in said if len(each) == n]
                assert share[m].item() == pytest.approx(sum(of) / len(of))


def test_a_position_that_no_sequence_has_is_no_number():
    sequences = TASK.sample(10, generators(0), length=2)
    at = repeat.by_position(torch.ones(1, 5, 10, dtype=torch.bool), sequences)
    assert at[0, :2].tolist() == [1, 1] and at[0, 2:].isnan().all()
    assert repeat.by_length(torch.ones(1, 5, 10, dtype=torch.bool), sequences.lengths)[2].tolist() == [1]


def test_repeats_compares_what_is_written_from_what_was_read():
    model, sequences = cells.gru_init(6, 4, generators(0, 1)), TASK.sample(30, generators(2, 3))
    right = repeat.repeats(model, sequences)
    written = cells.write(model, cells.encode(model, sequences), 5)
    for m in range(2):
        for b, tokens in enumerate(columns(sequences, m)):
            assert right[m, : len(tokens), b].tolist() == [
                w == t for w, t in zip(written[m, :, b].tolist(), tokens, strict=False)
            ]
            assert right[m, len(tokens) :, b].all()
    assert 0 < right.double().mean() < 1
    h = torch.randn(2, 30, 6, generator=generators(9)[0])  # from another state
    assert torch.equal(repeat.repeats(model, sequences, h), cells.right_tokens(cells.write(model, h, 5), sequences))
    model.W_hh.requires_grad_()
    assert torch.equal(repeat.repeats(model, sequences), right)


@pytest.mark.parametrize(("size", "kept"), [(1000, 40), (40, 40), (20, 20), (13, 14), (1, 1)])
def test_spread_takes_evenly(size, kept):
    sequences = TASK.validation(40)
    assert sequences.tokens.shape[2] == 40
    some = repeat.spread(sequences, size)
    step = max(1, 40 // size)
    assert some.tokens.shape[2] == kept and torch.equal(some.tokens, sequences.tokens[..., ::step])
    assert size < 10 or len(some.lengths.unique()) == len(sequences.lengths.unique())


# --- training ---------------------------------------------------------------------------------------------------------


def fit(**options) -> repeat.Repeaters:
    settings = dict(hidden=6, seeds=[0, 1, 2], recipe=RECIPE, progress=False)
    return repeat.fit(options.pop("task", TASK), **(settings | options))


def same(a: repeat.Repeaters, b: repeat.Repeaters) -> bool:
    return (
        all(same_bits(getattr(a.model, name), getattr(b.model, name)) for name in WEIGHTS)
        and same_bits(a.exact, b.exact)
        and all(
            x.status == y.status and same_bits(x.scores, y.scores) and same_bits(x.losses, y.losses)
            for x, y in zip(a.training, b.training, strict=True)
        )
    )


@pytest.mark.parametrize("autoregressive", [True, False], ids=["autoregressive", "no input"])
def test_it_learns_to_repeat(autoregressive):
    task = TokenRepeat(3, 1, 2)
    recipe = Recipe(steps=60, lr=0.1, batch=32, every=20, patience=0)
    found = fit(task=task, hidden=10, seeds=[0], recipe=recipe, autoregressive=autoregressive)
    (training,) = found.training
    assert training.losses[0] > 0.4 and training.losses[-1] < 0.02
    assert repeat.repeats(found.model, task.sample(100, generators(9), task.validation())).all()
    assert found.model.autoregressive is autoregressive and not found.model.W_hh.requires_grad


def test_a_seed_is_the_same_alone_and_among_others():
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    together = fit()
    for m, seed in enumerate((0, 1, 2)):
        alone = fit(seeds=[seed])
        assert all(same_bits(getattr(alone.model, name), getattr(together.model[m], name)) for name in WEIGHTS)
        assert alone.exact.item() == together.exact[m].item()
        assert same_bits(alone.training[0].losses, together.training[m].losses)
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads


def test_exact_is_of_all_validation_sequences_and_none_is_trained_on(monkeypatch):
    validation, drawn, sample = TASK.validation(200, share=0.4), [], TokenRepeat.sample

    def watched(self, *arguments, **options):
        drawn.append(sample(self, *arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(TokenRepeat, "sample", watched)
    found = fit(validation=validation)
    assert len(drawn) == 3 * RECIPE.steps and {each.tokens.shape for each in drawn} == {(1, 5, 8)}
    assert not any(TASK.contains(each, validation).any() for each in drawn)
    right = repeat.repeats(found.model, validation)
    assert found.exact.tolist() == right.all(1).double().mean(1).tolist()
    assert [t.scores[-1].item() for t in found.training] == repeat.token_accuracy(right, validation).tolist()


def test_the_loss_is_that_of_the_first_batch():
    """What a step of the recipe is, by hand."""
    own = generators(3)
    start = cells.gru_init(6, 4, own)
    batch = TASK.sample(8, own, TASK.validation())
    weights = {name: getattr(start, name).clone().requires_grad_() for name in WEIGHTS}
    model = replace(start, **weights)
    loss = repeat.cross_entropy(cells.logits(model, cells.encode(model, batch), batch), batch)
    loss.sum().backward()
    optimiser = torch.optim.AdamW(weights.values(), lr=0.01, weight_decay=0.1)
    optimiser.step()
    found = fit(seeds=[3], recipe=replace(RECIPE, steps=1, every=1))
    assert found.training[0].losses.item() == pytest.approx(loss.item(), rel=1e-6)
    for name in WEIGHTS:
        torch.testing.assert_close(getattr(found.model, name), weights[name].detach(), rtol=1e-5, atol=1e-6)


def test_one_interruption_ends_every_seed(monkeypatch):
    calls, sample = itertools.count(1), TokenRepeat.sample

    def told(self, *arguments, **options):
        if next(calls) == 9:
            os.kill(os.getpid(), signal.SIGINT)
        return sample(self, *arguments, **options)

    monkeypatch.setattr(TokenRepeat, "sample", told)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run = repeat.fit(TASK, hidden=6, seeds=[0, 1, 2], recipe=Recipe(steps=100_000, batch=8), progress=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [r.status for r in run.training] == [("interrupted",)] * 3


def test_one_failure_ends_every_seed(monkeypatch):
    calls, sample = itertools.count(1), TokenRepeat.sample

    def fails(self, *arguments, **options):
        if next(calls) == 9:
            raise OSError("a failure")
        return sample(self, *arguments, **options)

    monkeypatch.setattr(TokenRepeat, "sample", fails)
    with pytest.raises(OSError, match="a failure"):
        repeat.fit(TASK, hidden=6, seeds=[0, 1], recipe=Recipe(steps=100_000, batch=8), progress=False)


def test_interrupted_and_resumed_is_uninterrupted(tmp_path, monkeypatch, caplog):
    stop, calls, sample = threading.Event(), itertools.count(1), TokenRepeat.sample

    def told(self, *arguments, **options):
        if next(calls) == 7:
            stop.set()
        return sample(self, *arguments, **options)

    options = dict(seeds=[5], checkpoint=tmp_path / "gru.checkpoint")
    monkeypatch.setattr(TokenRepeat, "sample", told)
    with caplog.at_level(logging.WARNING):
        part = fit(stop=stop, **options)
    assert part.training[0].steps.tolist() == [7] and part.training[0].status == ("interrupted",)
    assert same(fit(**options), fit(seeds=[5]))
    assert next(calls) == 7 + 5 + 12 + 1  # it went on, and did not start again
    others = [dict(hidden=7), dict(seeds=[6]), dict(autoregressive=False), dict(task=TokenRepeat(4, 1, 4))]
    for other in (*others, dict(validation=TASK.validation(20, seed=5))):
        with pytest.raises(ValueError, match="is of another run"):
            fit(**(options | other))


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"^seeds must hold at least one seed, got none"):
        fit(seeds=[])
    with pytest.raises(ValueError, match=r"^seeds must be at least 0, got -1"):
        fit(seeds=[-1])
    with pytest.raises(ValueError, match=r"^hidden must be at least 1, got 0"):
        fit(hidden=0)
    with pytest.raises(ValueError, match=r"^seeds must be one for a checkpoint on the CPU, got \[0, 1, 2\]"):
        fit(checkpoint=tmp_path / "x")
    with pytest.raises(ValueError, match=r"^sequences must have L = 5 tokens, got 4"):
        fit(validation=TokenRepeat(4, 1, 4).validation(10))
    with pytest.raises(SHAPE_ERRORS, match="hidden"):
        fit(hidden=6.0)
