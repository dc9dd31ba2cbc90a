"""Training on a task of one's own: it learns, a seed is a seed, and no bit is lost on the way."""

import itertools
import threading
from dataclasses import replace

import pytest
import torch
from oracles import OF_TORCH, generators, same_bits, torch_recurrence

from emt_core.networks import CELLS, Reader, load, save, to_torch
from emt_core.tasks import OwnTask
from emt_core.training import OwnRun, Recipe, Status, fit, own_task
from emt_core.training.engine import steps_done

L, V = 3, 4  # sequences of three of four tokens
N = 6


def reversal(batch, generator):
    """Read, then write backwards: token 4 starts the writing, and 5 goes on with it."""
    tokens = torch.randint(V, (L, batch), generator=generator)
    asks = torch.full((L, batch), V + 1)
    asks[0] = V
    return torch.cat([tokens, asks]), tokens.flip(0)


def delayed(batch, generator):
    """One of three items, then distractors 3 and 4 for one to five steps, then a cue, and what is said before counts
    for nothing."""
    item = torch.randint(3, (1, batch), generator=generator)
    delay = torch.randint(1, 6, (), generator=generator).item()
    distractors = torch.randint(3, 5, (delay, batch), generator=generator)
    nothing = torch.full((delay, batch), -1)
    return torch.cat([item, distractors, torch.full_like(item, 5)]), torch.cat([nothing, item])


def parity(batch, generator):
    """A label at the end."""
    bits = torch.randint(2, (4, batch), generator=generator)
    return bits, bits.sum(0, keepdim=True) % 2


def adding(batch, generator):
    """The adding problem of Hochreiter and Schmidhuber (1997): the sum of the two numbers that are marked."""
    numbers = torch.rand(6, batch, generator=generator)
    marks = torch.zeros(6, batch).scatter_(0, torch.rand(6, batch, generator=generator).argsort(0)[:2], 1.0)
    return torch.stack([numbers, marks], 2), (numbers * marks).sum(0)[None, :, None]


def waves(batch, generator):
    """A frequency comes in, a sine and a cosine go out."""
    frequency = 0.2 + 0.4 * torch.rand(batch, generator=generator)
    phase = torch.arange(10.0)[:, None] * frequency
    return frequency.expand(10, -1)[..., None], torch.stack([phase.sin(), phase.cos()], 2)


TASKS = {
    "reversal": OwnTask(reversal, vocabulary=V + 2, classes=V),
    "delayed recall": OwnTask(delayed, vocabulary=6, classes=3),
    "parity": OwnTask(parity, vocabulary=2, classes=2),
    "adding": OwnTask(adding),
    "waves": OwnTask(waves),
}
RECIPE = Recipe(steps=6, lr=0.01, batch=8, every=4, patience=0)
each_cell = pytest.mark.parametrize("cell", CELLS)
each_task = pytest.mark.parametrize("name", TASKS)


def train(name, **options) -> OwnRun:
    settings = dict(hidden=N, seeds=[3, 0], recipe=RECIPE, held_out=128, progress=False)
    return fit(TASKS[name], **(settings | options))


def assert_same(a: OwnRun, b: OwnRun, models: slice = slice(None)) -> None:
    """Every bit of ``a`` agrees with models ``models`` of ``b``."""
    for name, w in a.model.weights.items():
        assert same_bits(w, b.model.weights[name][models]), name
    assert same_bits(a.score, b.score[models]) and same_bits(a.untrained, b.untrained[models])
    assert a.constant == b.constant and a.status == b.status[models]
    assert same_bits(a.losses, b.losses[:, models].contiguous())
    assert same_bits(a.training.scores, b.training.scores[:, models].contiguous())


# --- it learns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "steps", "least"),
    [("reversal", 100, 0.95), ("delayed recall", 50, 0.97), ("parity", 100, 0.95), ("adding", 150, 0.8),
     ("waves", 100, 0.95)],
)  # fmt: skip
def test_it_learns_far_beyond_chance(name, steps, least):
    """Two seeds of a small GRU, against the same networks untrained and the best constant answer."""
    recipe = Recipe(steps=steps, lr=0.01, batch=64, every=25, patience=0)
    run = fit(TASKS[name], hidden=24, seeds=[0, 1], recipe=recipe, held_out=256, progress=False)
    assert (run.score > least).all(), run.score
    assert (run.untrained < 0.7).all() and run.constant < 0.6
    assert run.status == (Status.DONE,) * 2 and (run.losses[-1] < 0.3 * run.losses[0]).all()
    fresh = own_task.score(run.model, TASKS[name], seed=1, sequences=256)  # other sequences, the same answer
    torch.testing.assert_close(fresh, run.score, rtol=0, atol=0.03)


@each_cell
@each_task
def test_every_cell_takes_a_step(name, cell):
    run, again = train(name, cell=cell, steps=1), train(name, cell=cell, steps=2)
    assert type(run.model) is Reader and type(run.model.cell) is CELLS[cell] and run.status == (Status.DONE,) * 2
    assert run.losses.isfinite().all() and run.score.isfinite().all() and (run.score <= 1).all()
    for weight, w in again.model.weights.items():
        assert w.isfinite().all() and not w.requires_grad
        assert not torch.equal(w, run.model.weights[weight]) or weight == "b_m", weight


def test_a_layer_between_lets_a_linear_recurrence_see_parity():
    """The state of this cell is a weighted sum of what was read, of which parity is no linear function."""
    options = dict(cell="lru", hidden=16, seeds=[0], steps=150, lr=0.01, batch=64)
    linear, between = (train("parity", between=between, **options).score.item() for between in (0, 16))
    assert between > 0.95 > linear + 0.1


# --- what is minimised, and what is counted ---------------------------------------------------------------------------


@pytest.mark.parametrize("cell", OF_TORCH)
@pytest.mark.parametrize("name", ["delayed recall", "adding"])
def test_it_is_torchs_own_module_with_adamw(name, cell):
    """Ten steps of one model."""
    recipe = Recipe(steps=10, lr=0.01, decay=0.1, batch=16, every=1, patience=0)
    run = train(name, cell=cell, seeds=[5], recipe=recipe)
    task, own = TASKS[name], generators(5)
    sizes = {"vocabulary": 6} if task.vocabulary else {"inputs": 2}
    start = Reader.init(CELLS[cell], task.classes or 1, N, own, **sizes)
    outside = start.weights.keys() - start.cell.weights.keys()
    ends = {key: start.weights[key][0].clone().requires_grad_() for key in outside}
    module = to_torch(start.cell)
    for key, w in module.named_parameters():  # biases that the cell lacks stay zero
        w.requires_grad_("bias" not in key or any(own_name[0] == "b" for own_name in start.cell.weights))
    learned = [*ends.values(), *(w for w in module.parameters() if w.requires_grad)]
    adamw = torch.optim.AdamW(learned, 0.01, weight_decay=0.1)
    for step in range(10):
        inputs, targets = task.draw(16, own[0])
        read = ends["embedding"][inputs] if task.vocabulary else inputs
        visible, _ = torch_recurrence(module, read, torch.zeros(16, start.state_size))
        said = (visible @ ends["W_out"].T + ends["b_out"])[-len(targets) :]
        if task.classes:
            want = torch.nn.functional.cross_entropy(said.flatten(0, 1), targets.flatten(), ignore_index=-1)
        else:
            want = torch.nn.functional.mse_loss(said, targets)
        adamw.zero_grad()
        want.backward()
        adamw.step()
        # float32: sums in another order, relative 1e-6 each, of which AdamW makes much where gradients are tiny
        assert run.losses[step].item() == pytest.approx(want.item(), rel=1e-4)
    for key, w in ends.items():
        torch.testing.assert_close(run.model.weights[key][0], w.detach(), rtol=0, atol=1e-3, msg=key)


@each_task
def test_scores_are_counted_one_by_one(name):
    run, task = train(name, seeds=[3]), TASKS[name]
    generator = torch.Generator().manual_seed(2**31)  # "test"
    inputs, targets = task.draw(128, generator)
    said = run.model.says(inputs[None])[0, -len(targets) :]
    if task.classes:
        asked = [place for place in itertools.product(range(len(targets)), range(128)) if targets[place] >= 0]
        right = [int(said[place].argmax()) == int(targets[place]) for place in asked]
        assert run.score.item() == pytest.approx(sum(right) / len(right), abs=1e-12)
        counts = [(targets == c).sum().item() for c in range(task.classes)]
        assert run.constant == pytest.approx(max(counts) / len(right), rel=1e-6)
    else:
        y, o = targets.double().flatten(0, 1).numpy(), said.detach().double().flatten(0, 1).numpy()
        want = 1 - ((o - y) ** 2).sum() / (y.var(0) * len(y)).sum()
        assert run.score.item() == pytest.approx(want, rel=1e-9) and run.constant == 0
    assert same_bits(own_task.score(run.model, task, sequences=100), run.score)
    assert run.training.scores[-1].item() == run.score.item()
    before = Reader.init(CELLS["gru"], run.model.outputs, N, generators(3), **sizes(run.model))
    assert own_task.score(before, task, sequences=128).item() == run.untrained.item()


def sizes(model: Reader) -> dict:
    return {"vocabulary": model.vocabulary} if model.vocabulary else {"inputs": model.cell.inputs}


def test_a_model_is_asked_for_longer_sequences_too():
    def longer(batch, generator):
        bits = torch.randint(2, (12, batch), generator=generator)
        return bits, bits.sum(0, keepdim=True) % 2

    run = train("parity", steps=20)
    assert own_task.score(run.model, OwnTask(longer, 2, 2)).shape == (2,)
    with pytest.raises(ValueError, match=r"^task must have the models' 2 classes, got 3"):
        own_task.score(run.model, TASKS["delayed recall"])
    with pytest.raises(ValueError, match=r"^sequences must be at least 1, got 0"):
        own_task.score(run.model, TASKS["parity"], sequences=0)


# --- no bit is lost ---------------------------------------------------------------------------------------------------


@each_cell
@pytest.mark.parametrize("name", ["delayed recall", "waves"])
def test_a_seed_is_the_same_alone_and_among_others(name, cell):
    together = train(name, cell=cell)
    for m, seed in enumerate((3, 0)):
        assert_same(train(name, cell=cell, seeds=[seed]), together, slice(m, m + 1))


@each_task
def test_a_run_in_two_parts_is_the_run_in_one(name, tmp_path):
    options = dict(checkpoint=tmp_path / "run", checkpoint_every=2)
    train(name, steps=3, **options)
    assert steps_done(options["checkpoint"]) == 2 * 3
    assert_same(train(name, **options), train(name))


def test_interrupted_and_resumed_is_uninterrupted(tmp_path):
    stop, calls = threading.Event(), itertools.count()

    def told(batch, generator):
        if next(calls) == 2 + 5:  # two batches judge
            stop.set()
        return parity(batch, generator)

    task, options = OwnTask(told, 2, 2), dict(hidden=N, seeds=[3], recipe=replace(RECIPE, steps=20), progress=False)
    options |= dict(held_out=128, checkpoint=tmp_path / "run")
    part = fit(task, stop=stop, **options)
    assert part.status == (Status.INTERRUPTED,) and part.training.steps.tolist() == [6]
    whole = fit(TASKS["parity"], **options)  # a function of another name that draws the same is the same task
    assert_same(whole, train("parity", seeds=[3], steps=20))


def test_a_failure_of_the_function_ends_every_seed():
    calls = itertools.count()

    def fails(batch, generator):
        if next(calls) == 9:
            raise OSError("a failure")
        return parity(batch, generator)

    with pytest.raises(OSError, match="a failure"):
        fit(OwnTask(fails, 2, 2), hidden=N, seeds=[0, 1], steps=100_000, held_out=128, progress=False)


@pytest.mark.parametrize(
    ("what", "other"),
    [("task", "reversal"), ("hidden", 7), ("seeds", [3, 1]), ("cell", "lstm"), ("inputs", 3), ("between", 2),
     ("recipe", {"lr": 0.02})],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path, what, other):
    options = dict(checkpoint=tmp_path / "run", steps=2)
    train("parity", **options)
    changed = other if what == "recipe" else {what: other}
    name = changed.pop("task", "parity")
    with pytest.raises(ValueError, match=rf"^checkpoint .*run is of another run; \(there, here\): .*'{what}'"):
        train(name, **(options | changed))


def test_what_was_trained_is_saved_and_loaded(tmp_path):
    run = train("reversal")
    save(run.model, tmp_path / "mine.safetensors")
    assert load(tmp_path / "mine.safetensors")[0] == run.model


# --- what is refused --------------------------------------------------------------------------------------------------


def test_numbers_from_elsewhere_are_noticed():
    def careless(batch, generator):
        bits = torch.randint(2, (4, batch))
        return bits, bits[:1]

    with pytest.raises(ValueError, match=r"^draw must take all its random numbers from the generator, got others from"):
        fit(OwnTask(careless, 2, 2), progress=False)


def test_what_changes_during_training_is_refused():
    sizes = iter([2] * 3 + [3])

    def grows(batch, generator):
        return torch.rand(4, batch, next(sizes), generator=generator), torch.rand(1, batch, 1, generator=generator)

    with pytest.raises(ValueError, match=r"^inputs must be vectors, shape \(1, T, B, 2\), got .*shape \(1, 4, 8, 3\)"):
        fit(OwnTask(grows), hidden=N, recipe=RECIPE, held_out=128, progress=False)
    widths = iter([1] * 3 + [2])

    def widens(batch, generator):
        return torch.rand(4, batch, 2, generator=generator), torch.rand(1, batch, next(widths), generator=generator)

    with pytest.raises(ValueError, match=r"^targets must have shape \(1, 1, 8, 1\) to go with the model, got .* 2\)"):
        fit(OwnTask(widens), hidden=N, recipe=RECIPE, held_out=128, progress=False)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"^cell must be one of .*, got 'perceptron'"):
        train("parity", cell="perceptron")
    with pytest.raises(ValueError, match=r"^hidden must be at least 1, got 0"):
        train("parity", hidden=0)
    with pytest.raises(ValueError, match=r"^seeds must hold at least one seed, got none"):
        train("parity", seeds=[])
    with pytest.raises(ValueError, match=r"^steps must be at least 1, got 0"):
        train("parity", steps=0)
    with pytest.raises(ValueError, match=r"^lr must be finite and positive, got -1.0"):
        train("parity", lr=-1.0)
    with pytest.raises(ValueError, match=r"^held_out must be at least 1, got 0"):
        train("parity", held_out=0)
    with pytest.raises(ValueError, match=r"^inputs must be None where vectors are read, .* got 4"):
        train("adding", inputs=4)
    with pytest.raises(ValueError, match=r"^device must be 'cpu' or a CUDA device, got 'abacus'"):
        train("parity", device="abacus")
    flat = OwnTask(lambda batch, g: (torch.rand(3, batch, 1, generator=g), torch.full((1, batch, 2), 0.5)))
    with pytest.raises(ValueError, match=r"^draw must return targets that differ, got \[0.5, 0.5\] everywhere"):
        fit(flat, progress=False)
