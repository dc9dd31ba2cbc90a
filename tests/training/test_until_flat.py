"""Training until it no longer pays: PyTorch's AdamW, a rule that can be read off the scores, and no bit lost."""

import itertools
import json
import logging
import math
import threading
from dataclasses import asdict, replace

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from emt_core.training import Optimised, Recipe, Status
from emt_core.training.engine import steps_done
from emt_core.training.until_flat import optimise

RECIPE = Recipe(steps=30, lr=0.05, decay=0.1, batch=4, every=7, patience=0, least=0)
SEEDS = (3, 4, 5)


def start(*seeds) -> dict[str, torch.Tensor]:
    """An oblique linear map and a bias to learn, from per-model generators of their own."""
    found = [(torch.randn(2, 3, generator=g), torch.randn(2, generator=g)) for g in generators(*seeds)]
    return {"W": torch.stack([W for W, _ in found]), "b": torch.stack([b for _, b in found])}


def error(weights, x) -> torch.Tensor:
    """Mean squared error (M,) of learning to reverse and double."""
    read = x @ weights["W"].mT + weights["b"][:, None]
    return (read - 2 * x.flip(2)[..., :2]).square().mean((1, 2))


def loss(weights, own) -> torch.Tensor:
    return error(weights, torch.stack([torch.randn(RECIPE.batch, 3, generator=g) for g in own]))


def score(weights) -> torch.Tensor:
    return 1 / (1 + error(weights, torch.randn(1, 50, 3, generator=generators(99)[0])))


def run(seeds=SEEDS, recipe=RECIPE, loss=loss, score=score, **options) -> Optimised:
    return optimise(start(*seeds), loss, score, generators(*seeds), recipe, **({"progress": False} | options))


def same(a: Optimised, b: Optimised) -> bool:
    return (
        all(same_bits(a.weights[name], w) for name, w in b.weights.items())
        and all(same_bits(getattr(a, name), getattr(b, name)) for name in ("steps", "scores", "losses"))
        and a.status == b.status
    )


def model(found: Optimised, m: int) -> Optimised:
    """Model m of an ensemble, as if it had been alone."""
    weights = {name: w[m : m + 1] for name, w in found.weights.items()}
    columns = (x[:, m : m + 1].contiguous() for x in (found.scores, found.losses))
    return Optimised(weights, found.steps[m : m + 1], found.status[m : m + 1], *columns)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_it_is_torchs_adamw():
    found = run()
    for m, seed in enumerate(SEEDS):
        weights = {name: w.clone().requires_grad_() for name, w in start(seed).items()}
        optimiser = torch.optim.AdamW(weights.values(), lr=0.05, weight_decay=0.1, fused=False, foreach=False)
        own, losses, scores = generators(seed), [], []
        for step in range(1, 31):
            optimiser.zero_grad()
            each = loss(weights, own).sum()
            each.backward()
            optimiser.step()
            losses.append(each.item())
            if step % 7 == 0 or step == 30:
                scores.append(score(weights).item())
        # a few roundings a step, relative to a step of at most about lr
        for name, w in weights.items():
            torch.testing.assert_close(found.weights[name][m], w[0].detach(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.scores[:, m], torch.tensor(scores).double(), rtol=1e-5, atol=1e-6)
        means = [
            sum(part) / len(part) for part in (losses[:7], losses[7:14], losses[14:21], losses[21:28], losses[28:])
        ]
        torch.testing.assert_close(found.losses[:, m], torch.tensor(means).double(), rtol=1e-5, atol=1e-6)
    assert found.steps.tolist() == [30] * 3 and found.status == (Status.DONE,) * 3
    assert not any(w.requires_grad for w in found.weights.values())


def test_decay_leaves_alone_what_is_named():
    """A weight that the loss ignores moves by decay alone: (1 − rate · decay) a step, or not at all."""

    def of_W(weights, own):
        return loss({"W": weights["W"], "b": torch.zeros_like(weights["b"])}, own) + 0 * weights["b"].sum(1)

    before, shrunk = start(*SEEDS)["b"], (1 - RECIPE.lr * RECIPE.decay) ** RECIPE.steps
    usual, spared = run(loss=of_W), run(loss=of_W, undecayed=("b",))
    torch.testing.assert_close(usual.weights["b"], shrunk * before, rtol=30 * 2**-23, atol=0)
    assert same_bits(spared.weights["b"], before) and same_bits(spared.weights["W"], usual.weights["W"])


def test_a_model_is_the_same_alone_and_among_others():
    together = run()
    for m, seed in enumerate(SEEDS):
        alone, among = run((seed,)), model(together, m)
        # not bit for bit: PyTorch's fused AdamW rounds the last few numbers of an array in another way than the others
        for name, w in alone.weights.items():
            torch.testing.assert_close(among.weights[name], w, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(among.scores, alone.scores, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(among.losses, alone.losses, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("patience", [0, 1])
def test_models_trained_apart_are_those_trained_alone_bit_for_bit(patience):
    recipe = replace(RECIPE, steps=100, patience=patience, tolerance=0.01)
    apart = run(recipe=recipe, apart=True)
    assert apart.scores.shape == apart.losses.shape == (15, 3)
    assert len(apart.steps.unique()) == (3 if patience else 1)
    for m, seed in enumerate(SEEDS):
        alone, among = run((seed,), recipe), model(apart, m)
        looks = len(alone.scores)  # one that ended early has none of the others' later looks
        assert among.scores[looks:].isnan().all() and among.losses[looks:].isnan().all()
        assert same(replace(among, scores=among.scores[:looks], losses=among.losses[:looks]), alone)


def test_what_is_given_is_left_as_it_is():
    weights, own = start(*SEEDS), generators(*SEEDS)
    copies, before = {name: w.clone() for name, w in weights.items()}, torch.get_rng_state()
    optimise(weights, loss, score, own, RECIPE, progress=False)
    assert all(same_bits(weights[name], w) and not weights[name].requires_grad for name, w in copies.items())
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_that_the_loss_ignores_stay():
    found = run(loss=lambda weights, own: loss({**weights, "b": 0 * weights["b"].detach()}, own))
    assert same_bits(found.weights["b"], start(*SEEDS)["b"])


# --- the end ----------------------------------------------------------------------------------------------------------


def flat_by_hand(recipe, scores, step) -> bool:
    if recipe.patience == 0 or step < recipe.least:
        return False
    before, late = scores[: len(scores) - recipe.patience], scores[len(scores) - recipe.patience :]
    return len(scores) > recipe.patience and not any(s > max(before) + recipe.tolerance for s in late)


def test_flat_is_what_the_recipe_says():
    flats = 0
    for patience, tolerance, least in itertools.product((0, 1, 2, 3), (0.0, 0.25), (0, 30)):
        recipe = Recipe(steps=100, every=10, patience=patience, tolerance=tolerance, least=least)
        for length in range(1, 6):
            for scores in itertools.product((0.0, 0.25, 0.5), repeat=length):
                got = recipe.flat(torch.tensor(scores).double(), 10 * length)
                assert got == flat_by_hand(recipe, scores, 10 * length), (recipe, scores)
                flats += got
    assert flats > 100


def seen(*per_model):
    """Scores that are given, not computed: one list for each model."""
    columns = zip(*per_model, strict=True)
    return lambda weights: torch.tensor(next(columns))


def test_a_model_that_ends_early_keeps_its_weights():
    recipe = replace(RECIPE, steps=42, patience=2, tolerance=0.01)
    rising = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    found = run(recipe=recipe, score=seen([0.5, 0.505, 0.5, 0.9, 0.9, 0.9], rising, [0.1, 0.2, 0.3, 0.2, 0.3, 0.9]))
    assert found.steps.tolist() == [21, 42, 35]
    assert found.status == (Status.FLAT, Status.DONE, Status.FLAT)
    assert found.scores[:, 0].isnan().tolist() == [False] * 3 + [True] * 3
    assert found.losses.isnan().tolist() == found.scores.isnan().tolist()
    for m, steps in enumerate((21, 42, 35)):
        shorter = run(recipe=replace(recipe, steps=steps, patience=0))
        assert all(same_bits(found.weights[name][m], w[m]) for name, w in shorter.weights.items())
        assert torch.equal(found.losses[: steps // 7, m], shorter.losses[:, m])


def test_nothing_is_done_when_all_models_have_ended():
    done = []

    def counted(weights, own):
        done.append(1)
        return loss(weights, own)

    recipe = replace(RECIPE, steps=1000, patience=1, least=20)
    found = run(recipe=recipe, loss=counted, score=lambda weights: torch.full((3,), 0.5))
    assert found.steps.tolist() == [21] * 3 and found.status == (Status.FLAT,) * 3 and len(done) == 21


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_that_diverges_says_so_and_harms_no_other(bad):
    calls = itertools.count(1)

    def sometimes(weights, own):
        each = loss(weights, own)
        return each * torch.tensor([1.0, bad if next(calls) == 10 else 1.0, 1.0])

    found = run(loss=sometimes)
    assert found.status == (Status.DONE, Status.DIVERGED, Status.DONE) and found.steps.tolist() == [30, 14, 30]
    assert not found.losses[1, 1].isfinite() and found.losses[2:, 1].isnan().all()
    for m in (0, 2):
        assert same(model(run(), m), model(found, m))


# --- going on ---------------------------------------------------------------------------------------------------------


def interrupted_after(step: int, **options) -> Optimised:
    """The run, told to stop while it is at ``step``."""
    stop, calls = threading.Event(), itertools.count(1)

    def told(weights, own):
        if next(calls) == step:
            stop.set()
        return loss(weights, own)

    return run(loss=told, stop=stop, **options)


def never(weights, own):
    raise AssertionError("there is nothing left to train")


@pytest.mark.parametrize("first", [1, 6, 7, 8, 20, 29])
def test_interrupted_and_resumed_is_uninterrupted(first, tmp_path, caplog):
    options = dict(checkpoint=tmp_path / "run.checkpoint", identity={"which": "this one"})
    with caplog.at_level(logging.WARNING):
        part = interrupted_after(first, name="this run", **options)
    assert part.steps.tolist() == [first] * 3 and part.status == (Status.INTERRUPTED,) * 3
    assert part.scores.shape == part.losses.shape == (first // 7, 3)
    assert "this run was interrupted" in caplog.text
    assert steps_done(options["checkpoint"]) == 3 * first
    if first < 20:
        interrupted_after(5, **options)
        assert steps_done(options["checkpoint"]) == 3 * (first + 5)
    whole = run()
    assert same(run(**options), whole)
    assert same(run(loss=never, **options), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["run.checkpoint"]


@pytest.mark.parametrize("every", [1, 7, 10])
def test_killed_and_resumed_is_uninterrupted(every, tmp_path):
    """A checkpoint while it runs is as good as one at its end."""
    calls = itertools.count(1)

    def dies(weights, own):
        if next(calls) == 25:
            raise MemoryError
        return loss(weights, own)

    options = dict(checkpoint=tmp_path / "run.checkpoint", checkpoint_every=every)
    with pytest.raises(MemoryError):
        run(loss=dies, **options)
    assert steps_done(options["checkpoint"]) == 3 * (24 // every * every)
    assert same(run(**options), run())


def test_an_ensemble_resumes_with_those_that_had_ended(tmp_path):
    recipe = replace(RECIPE, steps=42, patience=2, tolerance=0.01)
    scores = [0.5] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.1, 0.2, 0.3, 0.2, 0.3, 0.9]
    options = dict(checkpoint=tmp_path / "run.checkpoint", recipe=recipe)
    part = interrupted_after(24, score=seen(*scores), **options)
    assert part.status == (Status.FLAT, Status.INTERRUPTED, Status.INTERRUPTED) and part.steps.tolist() == [21, 24, 24]
    late = [column[3:] for column in scores]
    assert same(run(score=seen(*late), **options), run(recipe=recipe, score=seen(*scores)))


def test_told_to_stop_before_the_first_step(tmp_path):
    stop = threading.Event()
    stop.set()
    found = run(stop=stop, checkpoint=tmp_path / "run.checkpoint")
    assert found.steps.tolist() == [0] * 3 and found.status == (Status.INTERRUPTED,) * 3
    assert found.scores.shape == found.losses.shape == (0, 3)
    assert all(same_bits(w, start(*SEEDS)[name]) for name, w in found.weights.items())


# Model by model: one is flat at step 91, one at 56, and the third goes on. All: at 77, 56 and 91.
LONGER = replace(RECIPE, steps=140, patience=1, tolerance=0.01)
CUTS = [1, 6, 7, 50, 56, 60, 91, 100, 139, 140]
OTHERS = (3, 4, 6)
each_way = pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])


@each_way
@pytest.mark.parametrize("first", CUTS)
def test_a_run_made_longer_is_the_longer_run(first, apart, tmp_path):
    whole = run(OTHERS, LONGER, apart=apart)
    assert whole.steps.tolist() == [91, 56, 140] and whole.status == (Status.FLAT, Status.FLAT, Status.DONE)
    options = dict(apart=apart, checkpoint=tmp_path / "run.checkpoint", checkpoint_every=25)
    shorter = run(OTHERS, replace(LONGER, steps=first), **options)
    # the last look, between two of the rule's, is no part of the longer run, and may see nobody's end in it
    assert same(shorter, run(OTHERS, replace(LONGER, steps=first), apart=apart))
    assert same(run(OTHERS, LONGER, **options), whole)
    assert same(run(OTHERS, LONGER, loss=never, **options), whole)


@each_way
def test_a_run_made_longer_again_and_again_is_the_longest_run(apart, tmp_path):
    options = dict(apart=apart, checkpoint=tmp_path / "run.checkpoint")
    for steps in (13, 14, 14, 30, 71, 140):
        found = run(OTHERS, replace(LONGER, steps=steps), **options)
        assert found.steps.tolist() == [min(steps, at) for at in (91, 56, 140)]
    assert same(found, run(OTHERS, LONGER, apart=apart))


@each_way
@pytest.mark.parametrize("first", [91, 100])
def test_nothing_is_done_to_make_flat_models_longer(first, apart, tmp_path):
    recipe = replace(LONGER, patience=2, tolerance=0.05)
    options = dict(apart=apart, checkpoint=tmp_path / "run.checkpoint")
    shorter = run(OTHERS, replace(recipe, steps=first), **options)
    assert shorter.steps.tolist() == [77, 56, 91] and shorter.status == (Status.FLAT,) * 3
    longer = run(OTHERS, recipe, loss=never, score=never, **options)
    assert same(longer, shorter) and same(longer, run(OTHERS, recipe, apart=apart))


@each_way
def test_steps_done_are_those_of_all_models(apart, tmp_path):
    path = tmp_path / "run.checkpoint"
    run(OTHERS, replace(LONGER, steps=30), apart=apart, checkpoint=path)
    assert steps_done(path) == 90
    run(OTHERS, LONGER, apart=apart, checkpoint=path)
    # models that share a group share its steps: those that have ended are taken along
    assert steps_done(path) == (91 + 56 + 140 if apart else 3 * 140)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.checkpoint"
    run(checkpoint=path, identity={"which": "one", "of": [1, 2]})
    before = path.read_bytes()
    message = r"^checkpoint .*run\.checkpoint is of another run; \(there, here\): \{'which': \('one', 'two'\)\}$"
    with pytest.raises(ValueError, match=message):
        run(checkpoint=path, identity={"which": "two", "of": [1, 2]})
    with pytest.raises(ValueError, match=r"is of another run; .*'of': \(\[1, 2\], None\)\}$"):
        run(checkpoint=path, identity={"which": "one"})
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", [name for name in asdict(RECIPE) if name != "steps"])
def test_a_checkpoint_of_another_recipe_is_refused(name, tmp_path):
    path = tmp_path / "run.checkpoint"
    run(checkpoint=path)
    other = replace(RECIPE, **{name: getattr(RECIPE, name) + 1})
    with pytest.raises(ValueError, match=rf"^checkpoint .*run\.checkpoint is of another run; .*recipe.*'{name}'"):
        run(recipe=other, checkpoint=path)


@each_way
def test_a_checkpoint_further_on_is_refused(apart, tmp_path):
    path = tmp_path / "run.checkpoint"
    run(apart=apart, checkpoint=path)
    before = path.read_bytes()
    message = r"^steps must be at least 30, where checkpoint .*run\.checkpoint stands, got 29$"
    with pytest.raises(ValueError, match=message):
        run(recipe=replace(RECIPE, steps=29), apart=apart, checkpoint=path)
    assert path.read_bytes() == before


@each_way
def test_a_checkpoint_of_another_kind_of_device_is_refused(apart, tmp_path):
    """The CPU trains networks model by model, CUDA all at once: what one wrote the other cannot go on with."""
    path = tmp_path / "run.checkpoint"
    run(apart=apart, checkpoint=path)
    before, message = path.read_bytes(), r"^checkpoint .*run\.checkpoint was written on another kind of device"
    with pytest.raises(ValueError, match=message):
        run(apart=not apart, checkpoint=path)
    assert path.read_bytes() == before
    tensors = load_file(path)  # a generator of CUDA has 16 bytes of state
    short = {name: t[:, :16].contiguous() if name.endswith("generators") else t for name, t in tensors.items()}
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    path.unlink()  # the tensors may be mapped from it
    save_file(short, path, metadata)
    with pytest.raises(ValueError, match=message):
        run(apart=apart, checkpoint=path)


@pytest.mark.parametrize("content", ["empty", "half", "text", "foreign"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "run.checkpoint"
    run(checkpoint=path)
    whole = path.read_bytes()
    if content == "foreign":
        save_file({"weight": torch.ones(2)}, path)
    else:
        path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "text": b"a,b\n" * 100}[content])
    before = path.read_bytes()
    foreign, damaged = "checkpoint must be a file that training wrote, .*", r"checkpoint .*run\.checkpoint is damaged"
    with pytest.raises(ValueError, match="^" + (foreign if content == "foreign" else damaged)):
        run(checkpoint=path)
    assert path.read_bytes() == before
    assert steps_done(path) == 0
    assert steps_done(tmp_path / "nothing") == 0


def test_a_checkpoint_holds_tensors_alone(tmp_path):
    run(checkpoint=tmp_path / "run.checkpoint")
    tensors = load_file(tmp_path / "run.checkpoint")  # safetensors: never a pickle
    # the looks of the rule, and not the last one between two of them
    assert tensors["0.steps"].tolist() == [30] * 3 and tensors["0.scores"].shape == (3, 4)
    held = {"weights.W", "final.W", "adam.W.exp_avg", "adam.W.exp_avg_sq", "adam.W.step", "generators", "ended", "why"}
    assert {f"0.{name}" for name in held} <= set(tensors)
    run(checkpoint=tmp_path / "apart", apart=True)
    assert {name[0] for name in load_file(tmp_path / "apart")} == {"0", "1", "2"}


def test_a_status_is_one_of_the_enumeration():
    assert list(Status) == ["done", "flat", "diverged", "interrupted"] and issubclass(Status, str)
    for recipe in (RECIPE, LONGER):
        assert all(type(status) is Status for status in run(recipe=recipe).status)
    assert f"{Status.FLAT}" == "flat" and json.loads(json.dumps([Status.DONE])) == ["done"]


# --- arguments --------------------------------------------------------------------------------------------------------


def test_the_recipe_is_the_papers():
    recipe = Recipe()
    assert (recipe.steps, recipe.lr, recipe.decay, recipe.batch) == (40_000, 1e-3, 0.1, 256)
    assert Recipe(lr=1, decay=0) == Recipe(lr=1.0, decay=0.0) and hash(Recipe(lr=1)) == hash(Recipe(lr=1.0))
    assert repr(Recipe(lr=1)) == repr(Recipe(lr=1.0))  # names checkpoints and files


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0), ("batch", 1), ("every", 0), ("patience", -1), ("least", -1), ("lr", 0.0), ("lr", math.nan),
        ("lr", math.inf), ("decay", -0.1), ("tolerance", -1), ("tolerance", math.nan),
    ],
)  # fmt: skip
def test_a_recipe_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*, got {value}"):
        Recipe(**{name: value})


def test_wrong_arguments_are_named():
    with pytest.raises(SHAPE_ERRORS, match="steps"):
        Recipe(steps=10.0)
    with pytest.raises(ValueError, match=r"^generators must be one per model \(3\), got 2"):
        optimise(start(*SEEDS), loss, score, generators(0, 1), RECIPE, progress=False)
