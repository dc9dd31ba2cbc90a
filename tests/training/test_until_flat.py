"""Training until it no longer pays: PyTorch's AdamW, a rule that can be read off the scores, and no bit lost."""

import itertools
import logging
import math
import threading
from dataclasses import replace

import pytest
import torch
from oracles import SHAPE_ERRORS, generators, same_bits
from safetensors.torch import load_file, save_file

from emt_core.training.optimise import optimise, Optimised, Recipe, steps_done

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
    assert found.steps.tolist() == [30] * 3 and found.status == ("all steps",) * 3
    assert not any(w.requires_grad for w in found.weights.values())


def test_a_model_is_the_same_alone_and_among_others():
    together = run()
    for m, seed in enumerate(SEEDS):
        alone, among = run((seed,)), model(together, m)
        # not bit for bit: PyTorch's fused AdamW rounds the last few numbers of an array in another way than the others
        for name, w in alone.weights.items():
            torch.testing.assert_close(among.weights[name], w, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(among.scores, alone.scores, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(among.losses, alone.losses, rtol=1e-5, atol=1e-6)


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
    assert found.status == ("flat", "all steps", "flat")
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
    assert found.steps.tolist() == [21] * 3 and found.status == ("flat",) * 3 and len(done) == 21


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_that_diverges_says_so_and_harms_no_other(bad):
    calls = itertools.count(1)

    def sometimes(weights, own):
        each = loss(weights, own)
        return each * torch.tensor([1.0, bad if next(calls) == 10 else 1.0, 1.0])

    found = run(loss=sometimes)
    assert found.status == ("all steps", "diverged", "all steps") and found.steps.tolist() == [30, 14, 30]
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
    options = dict(checkpoint=tmp_path / "run.checkpoint", identity="this one")
    with caplog.at_level(logging.WARNING):
        part = interrupted_after(first, name="this run", **options)
    assert part.steps.tolist() == [first] * 3 and part.status == ("interrupted",) * 3
    assert part.scores.shape == part.losses.shape == (first // 7, 3)
    assert "this run was interrupted" in caplog.text
    assert steps_done(options["checkpoint"]) == first
    if first < 20:
        interrupted_after(5, **options)
        assert steps_done(options["checkpoint"]) == first + 5
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
    assert steps_done(options["checkpoint"]) == 24 // every * every
    assert same(run(**options), run())


def test_an_ensemble_resumes_with_those_that_had_ended(tmp_path):
    recipe = replace(RECIPE, steps=42, patience=2, tolerance=0.01)
    scores = [0.5] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.1, 0.2, 0.3, 0.2, 0.3, 0.9]
    options = dict(checkpoint=tmp_path / "run.checkpoint", recipe=recipe)
    part = interrupted_after(24, score=seen(*scores), **options)
    assert part.status == ("flat", "interrupted", "interrupted") and part.steps.tolist() == [21, 24, 24]
    late = [column[3:] for column in scores]
    assert same(run(score=seen(*late), **options), run(recipe=recipe, score=seen(*scores)))


def test_told_to_stop_before_the_first_step(tmp_path):
    stop = threading.Event()
    stop.set()
    found = run(stop=stop, checkpoint=tmp_path / "run.checkpoint")
    assert found.steps.tolist() == [0] * 3 and found.status == ("interrupted",) * 3
    assert found.scores.shape == found.losses.shape == (0, 3)
    assert all(same_bits(w, start(*SEEDS)[name]) for name, w in found.weights.items())


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.checkpoint"
    run(checkpoint=path, identity="one")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"^checkpoint .*run\.checkpoint is of another run: one, not .*two"):
        run(checkpoint=path, identity="two")
    assert path.read_bytes() == before


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
    with pytest.raises(ValueError, match=r"^checkpoint .*run\.checkpoint is (damaged|of another run)"):
        run(checkpoint=path)
    assert path.read_bytes() == before
    assert steps_done(path) == 0
    assert steps_done(tmp_path / "nothing") == 0


def test_a_checkpoint_holds_tensors_alone(tmp_path):
    run(checkpoint=tmp_path / "run.checkpoint")
    tensors = load_file(tmp_path / "run.checkpoint")  # safetensors: never a pickle
    assert int(tensors["step"]) == 30 and tensors["scores"].shape == (5, 3)
    assert {"weights.W", "final.W", "adam.W.exp_avg", "adam.W.exp_avg_sq", "adam.W.step"} <= set(tensors)


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
