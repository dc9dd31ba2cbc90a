"""GRUs that repeat tokens: what is minimised, what is counted, and that training learns it."""

import itertools
import logging
import os
import signal
import threading
from dataclasses import replace

import pytest
import torch
from oracles import SHAPE_ERRORS, as_tuples, generators, same_bits

from emt_core import training
from emt_core.networks import GRU, TokenNetwork
from emt_core.networks.tokens import right_tokens
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.training import Optimised, Recipe, Repeaters, Status
from emt_core.training import scores as judge
from emt_core.training.engine import steps_done

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
    got = judge.cross_entropy(scores, sequences)
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
        tokens, at, whole = (f(right, chosen) for f in (judge.token_accuracy, judge.by_position, lambda r, _: r.all(1)))
        lengths = judge.by_length(right, chosen.lengths)
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
    at = judge.by_position(torch.ones(1, 5, 10, dtype=torch.bool), sequences)
    assert at[0, :2].tolist() == [1, 1] and at[0, 2:].isnan().all()
    assert judge.by_length(torch.ones(1, 5, 10, dtype=torch.bool), sequences.lengths)[2].tolist() == [1]


def test_repeats_compares_what_is_written_from_what_was_read():
    model, sequences = TokenNetwork.init(GRU, 4, 6, generators(0, 1)), TASK.sample(30, generators(2, 3))
    right = judge.repeats(model, sequences)
    written = model.write(model.encode(sequences), 5)
    for m in range(2):
        for b, tokens in enumerate(columns(sequences, m)):
            assert right[m, : len(tokens), b].tolist() == [
                w == t for w, t in zip(written[m, :, b].tolist(), tokens, strict=False)
            ]
            assert right[m, len(tokens) :, b].all()
    assert 0 < right.double().mean() < 1
    h = torch.randn(2, 30, 6, generator=generators(9)[0])  # from another state
    assert torch.equal(judge.repeats(model, sequences, h), right_tokens(model.write(h, 5), sequences))
    model.cell.W_hh.requires_grad_()
    assert torch.equal(judge.repeats(model, sequences), right)


@pytest.mark.parametrize(("size", "kept"), [(1000, 40), (40, 40), (20, 20), (13, 14), (1, 1)])
def test_spread_takes_evenly(size, kept):
    sequences = TASK.validation(40)
    assert sequences.tokens.shape[2] == 40
    some = judge.spread(sequences, size)
    step = max(1, 40 // size)
    assert some.tokens.shape[2] == kept and torch.equal(some.tokens, sequences.tokens[..., ::step])
    assert size < 10 or len(some.lengths.unique()) == len(sequences.lengths.unique())


# --- training ---------------------------------------------------------------------------------------------------------


def fit(**options) -> Repeaters:
    settings = dict(hidden=6, seeds=[0, 1, 2], recipe=RECIPE, progress=False)
    return training.fit(options.pop("task", TASK), **(settings | options))


def same(a: Repeaters, b: Repeaters) -> bool:
    x, y = a.training, b.training
    return (
        a.model.weights.keys() == b.model.weights.keys() == x.weights.keys() == y.weights.keys() == set(WEIGHTS)
        and all(same_bits(w, b.model.weights[name]) for name, w in a.model.weights.items())
        and all(same_bits(w, y.weights[name]) and same_bits(w, a.model.weights[name]) for name, w in x.weights.items())
        and same_bits(a.exact, b.exact)
        and a.status == b.status == x.status == y.status
        and all(same_bits(getattr(x, name), getattr(y, name)) for name in ("steps", "scores", "losses"))
    )


def model(found: Repeaters, m: int) -> Repeaters:
    """Model m of several, as if it had been alone: without looks that others alone had."""
    run, looks = found.training, int((~found.training.scores[:, m].isnan()).sum())
    assert run.scores[looks:, m].isnan().all() and run.losses[looks:, m].isnan().all()
    columns = (x[:looks, m : m + 1].contiguous() for x in (run.scores, run.losses))
    weights = {name: w[m : m + 1] for name, w in run.weights.items()}
    own = Optimised(weights, run.steps[m : m + 1], run.status[m : m + 1], *columns)
    return Repeaters(found.model[m], found.exact[m : m + 1], own)


@pytest.mark.parametrize("autoregressive", [True, False], ids=["autoregressive", "no input"])
def test_it_learns_to_repeat(autoregressive):
    task = TokenRepeat(3, 1, 2)
    recipe = Recipe(steps=60, lr=0.1, batch=32, every=20, patience=0)
    found = fit(task=task, hidden=10, seeds=[0], recipe=recipe, autoregressive=autoregressive)
    assert found.training.losses[0] > 0.4 and found.training.losses[-1] < 0.02
    assert judge.repeats(found.model, task.sample(100, generators(9), task.validation())).all()
    assert found.model.autoregressive is autoregressive and not found.model.cell.W_hh.requires_grad


def test_a_seed_is_the_same_alone_and_among_others():
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    together = fit()
    for m, seed in enumerate((0, 1, 2)):
        assert same(fit(seeds=[seed]), model(together, m))
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads


def test_exact_is_of_all_validation_sequences_and_none_is_trained_on(monkeypatch):
    validation, drawn, sample = TASK.validation(200, share=0.4), [], TokenRepeat.sample

    def watched(self, *arguments, **options):
        drawn.append(sample(self, *arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(TokenRepeat, "sample", watched)
    found = fit(validation=validation)
    assert len(drawn) == 3 * RECIPE.steps and {each.tokens.shape for each in drawn} == {(1, 5, 8)}
    assert not set(as_tuples(validation)) & {s for each in drawn for s in as_tuples(each)}
    right = judge.repeats(found.model, validation)
    assert found.exact.tolist() == right.all(1).double().mean(1).tolist()
    assert found.training.scores[-1].tolist() == judge.token_accuracy(right, validation).tolist()


def test_the_loss_is_that_of_the_first_batch():
    """What a step of the recipe is, by hand."""
    own = generators(3)
    start = TokenNetwork.init(GRU, 4, 6, own)
    batch = TASK.sample(8, own, TASK.validation())
    weights = {name: w.clone().requires_grad_() for name, w in start.weights.items()}
    assert set(weights) == set(WEIGHTS)
    model = start.with_weights(weights)
    loss = judge.cross_entropy(model.logits(model.encode(batch), batch), batch)
    loss.sum().backward()
    optimiser = torch.optim.AdamW(weights.values(), lr=0.01, weight_decay=0.1)
    optimiser.step()
    found = fit(seeds=[3], recipe=replace(RECIPE, steps=1, every=1))
    assert found.training.losses.item() == pytest.approx(loss.item(), rel=1e-6)
    for name in WEIGHTS:
        torch.testing.assert_close(found.model.weights[name], weights[name].detach(), rtol=1e-5, atol=1e-6)


def test_one_interruption_ends_every_seed(monkeypatch):
    calls, sample = itertools.count(1), TokenRepeat.sample

    def told(self, *arguments, **options):
        if next(calls) == 9:
            os.kill(os.getpid(), signal.SIGINT)
        return sample(self, *arguments, **options)

    monkeypatch.setattr(TokenRepeat, "sample", told)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run = fit(recipe=Recipe(steps=100_000, batch=8))
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.status == run.training.status == (Status.INTERRUPTED,) * 3
    assert (run.training.steps < 100_000).all() and run.training.steps.sum() < 30


def test_one_failure_ends_every_seed(monkeypatch):
    calls, sample = itertools.count(1), TokenRepeat.sample

    def fails(self, *arguments, **options):
        if next(calls) == 9:
            raise OSError("a failure")
        return sample(self, *arguments, **options)

    monkeypatch.setattr(TokenRepeat, "sample", fails)
    with pytest.raises(OSError, match="a failure"):
        fit(seeds=[0, 1], recipe=Recipe(steps=100_000, batch=8))


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
    assert part.training.steps.tolist() == [7] and part.status == (Status.INTERRUPTED,)
    assert steps_done(options["checkpoint"]) == 7
    assert same(fit(**options), fit(seeds=[5]))
    assert next(calls) == 7 + 5 + 12 + 1  # it went on, and did not start again


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("hidden", 7), ("seeds", [6]), ("seeds", [5, 6]), ("autoregressive", False), ("cell", "elman"),
        ("task", TokenRepeat(4, 1, 4)), ("validation", TASK.validation(20, seed=5)), ("recipe", replace(RECIPE, lr=1)),
        ("recipe", replace(RECIPE, batch=9)),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path, name, other):
    options = dict(seeds=[5], checkpoint=tmp_path / "run")
    fit(**options)
    before = options["checkpoint"].read_bytes()
    with pytest.raises(ValueError, match=rf"^checkpoint .*run is of another run; \(there, here\): .*'{name}'"):
        fit(**(options | {name: other}))
    assert options["checkpoint"].read_bytes() == before


# Of the three seeds one is flat at step 45 and one at 30; the other goes on to the end, between two looks of the rule.
LONGER = Recipe(steps=53, lr=0.05, batch=8, every=5, patience=4, tolerance=0.02, least=0)


FEW = TASK.validation(100)


@pytest.fixture(scope="module")
def whole() -> Repeaters:
    return fit(recipe=LONGER, validation=FEW)


@pytest.mark.parametrize(("first", "checkpoint_every"), [(1, 2000), (25, 8), (30, 2000), (38, 8), (51, 8)])
def test_a_run_made_longer_is_the_longer_run(tmp_path, first, checkpoint_every, whole):
    path = tmp_path / "run"
    assert whole.training.steps.tolist() == [45, 53, 30]
    assert whole.status == (Status.FLAT, Status.DONE, Status.FLAT)
    options = dict(recipe=LONGER, validation=FEW, checkpoint=path, checkpoint_every=checkpoint_every)
    shorter = fit(**options, steps=first)
    assert shorter.training.steps.tolist() == [min(first, at) for at in whole.training.steps.tolist()]
    assert steps_done(path) == shorter.training.steps.sum()
    assert same(shorter, fit(recipe=LONGER, validation=FEW, steps=first))
    assert same(fit(**options), whole)
    assert steps_done(path) == whole.training.steps.sum()
    assert same(fit(**options), whole)  # nothing left to do: read back from the file
    with pytest.raises(ValueError, match=r"^steps must be at least 53, where checkpoint .*run stands, got 52$"):
        fit(**options, steps=52)


def test_steps_take_the_place_of_the_recipes():
    assert same(fit(steps=7), fit(recipe=replace(RECIPE, steps=7)))
    with pytest.raises(ValueError, match=r"^steps must be at least 1, got 0"):
        fit(steps=0)


def test_several_seeds_are_interrupted_and_resumed_in_one_checkpoint(tmp_path, monkeypatch):
    stop, calls, sample = threading.Event(), itertools.count(1), TokenRepeat.sample

    def told(self, *arguments, **options):
        if next(calls) == 20:
            stop.set()
        return sample(self, *arguments, **options)

    path = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(TokenRepeat, "sample", told)
        part = fit(stop=stop, checkpoint=path, checkpoint_every=4)
    assert Status.INTERRUPTED in part.status and steps_done(path) == part.training.steps.sum() < 36
    for m, steps in enumerate(part.training.steps.tolist()):  # each as it was after its last whole step
        alone = fit(seeds=[m], steps=max(1, steps)).model
        assert steps == 0 or all(same_bits(w, part.model[m].weights[name]) for name, w in alone.weights.items())
    assert same(fit(checkpoint=path, checkpoint_every=4), fit())


@pytest.mark.parametrize("device", [torch.device("cpu"), "cpu:0", torch.device("cpu", 0)], ids=repr)
def test_the_cpu_has_several_names(device, tmp_path):
    whole = fit()
    assert same(fit(device=device, checkpoint=tmp_path / "run"), whole)
    assert same(fit(checkpoint=tmp_path / "run"), whole)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"^seeds must hold at least one seed, got none"):
        fit(seeds=[])
    with pytest.raises(ValueError, match=r"^seeds must be at least 0, got -1"):
        fit(seeds=[-1])
    with pytest.raises(ValueError, match=r"^seeds must be below 2147483648, got 2147483648"):
        fit(seeds=[0, 2**31])
    with pytest.raises(ValueError, match=r"^hidden must be at least 1, got 0"):
        fit(hidden=0)
    with pytest.raises(ValueError, match=r"^validation must have L = 5 tokens, got 4"):
        fit(validation=TokenRepeat(4, 1, 4).validation(10))
    with pytest.raises(ValueError, match=r"^validation must hold tokens in 0 … 3, got 4"):
        fit(validation=TokenRepeat(5, 1, 5).validation(100))
    with pytest.raises(ValueError, match=r"^device must be 'cpu' or a CUDA device, got 'abacus'"):
        fit(device="abacus")
    with pytest.raises(ValueError, match=r"^cell must be one of .*, got 'perceptron'"):
        fit(cell="perceptron")
    with pytest.raises(ValueError, match=r"^task must be a VariableBinding, .* or an OwnTask, got str"):
        training.fit.__wrapped__("repeat")  # behind the tests' check of types
    with pytest.raises(SHAPE_ERRORS, match="hidden"):
        fit(hidden=6.0)
