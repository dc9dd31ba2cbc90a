"""Networks that learn a task of your own: any cell, on whatever a function samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks import Reader, cell_named
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.support.checks import device_of, integer
from emt_core.support.files import digest
from emt_core.support.random_streams import seeds_of, streams
from emt_core.support.running import one_thread_per_product
from emt_core.tasks.own import Inputs, OwnTask, Wanted
from emt_core.tasks.sequences import move
from emt_core.training.engine import Status
from emt_core.training.until_flat import Optimised, Recipe, Weights, optimise

BATCH = 128  # sequences that judge at once

#: never flat: on many tasks the loss stays where it is for long before it falls
RECIPE = Recipe(steps=4000, lr=2e-3, decay=0.01, batch=128, every=200, patience=0)


@dataclass(frozen=True)
class OwnRun:
    """Trained networks. ``score`` (M,): how well they do on sequences that are drawn for this alone (:func:`score`);
    ``untrained`` (M,): how well the same networks did before; ``constant``: how well the best answer does that does not
    depend on what was read."""

    model: Reader
    score: Float[Tensor, "M"]
    untrained: Float[Tensor, "M"]
    constant: float
    training: Optimised

    @property
    def status(self) -> tuple[Status, ...]:
        return self.training.status

    @property
    def losses(self) -> Float[Tensor, "K M"]:
        """Mean loss since the last look, at steps every, 2 every, … and the last."""
        return self.training.losses


def fit(
    task: OwnTask,
    *,
    cell: str = "gru",
    hidden: int = 48,
    seeds: Sequence[int] = (0,),
    recipe: Recipe = RECIPE,
    steps: int | None = None,
    lr: float | None = None,
    batch: int | None = None,
    inputs: int | None = None,
    between: int = 0,
    held_out: int = 1024,
    device: str | torch.device = "cpu",
    **running: Any,
) -> OwnRun:
    """Train one network per seed; seed s is the same alone and among others, on the CPU bit for bit. There ``draw`` may
    be called from several threads at once.

    Args:
        cell: a name in :data:`emt_core.networks.CELLS`.
        steps, lr, batch: if given, in the place of the recipe's.
        inputs: numbers in the embedding of a token (default: ``hidden``); vectors bring their own.
        between: numbers in a layer before the read-out, see :meth:`emt_core.networks.Reader.init`.
        held_out: how many sequences judge the models, the same for all, from random numbers that no training uses. Of a
            task with few different sequences many of these have been trained on. Counted in whole batches of 128.
        running: ``checkpoint``, ``checkpoint_every``, ``stop`` and ``progress``, see
            :func:`emt_core.training.engine.run`.

    Raises:
        ValueError: an argument out of range, a ``draw`` that does not do what :class:`emt_core.tasks.OwnTask` asks of
            it, or a checkpoint that is damaged or of another run; the message names it.
    """
    hidden, seeds, device = integer("hidden", hidden, 1), seeds_of(seeds), device_of(device)
    given = {"steps": steps, "lr": lr, "batch": batch}
    recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})  # type: ignore
    judges, generators = _judges(task, integer("held_out", held_out, 1), 0, device), streams(seeds, "network")
    ends: dict[str, Any] = {"vocabulary": int(task.vocabulary or 0), "inputs": inputs, "between": between}
    if task.vocabulary is None:
        if inputs is not None:
            raise ValueError(f"inputs must be None where vectors are read, which bring their own size, got {inputs}")
        ends["inputs"] = judges.batches[0][0].shape[3]
    outputs = judges.batches[0][1].shape[3] if task.classes is None else int(task.classes)
    start = Reader.init(cell_named(cell), outputs, hidden, generators, **ends).to(device)

    def minimised(weights: Weights, generators: Sequence[torch.Generator]) -> Tensor:
        read, wanted = (move(x, device) for x in task.sample(recipe.batch, generators))
        return loss(start.with_weights(weights), read, wanted)

    def judged(weights: Weights) -> Tensor:
        return _judged(start.with_weights(weights), judges)

    identity: dict[str, Any] = {"task": digest(*(x for batch in judges.batches for x in batch))}
    identity |= {"classes": task.classes, "cell": cell, "hidden": hidden, "seeds": seeds} | ends
    running |= {"identity": identity, "apart": device == "cpu", "name": f"{cell} of {hidden} units"}
    with one_thread_per_product(device == "cpu"):
        untrained = _judged(start, judges)
        weights, undecayed = start.weights, start.cell.undecayed
        run = optimise(weights, minimised, judged, generators, recipe, undecayed=undecayed, **running)
        model = start.with_weights(run.weights)
        return OwnRun(model, _judged(model, judges), untrained, judges.constant, run)


def loss(model: Reader, inputs: Inputs, targets: Wanted) -> Float[Tensor, "M"]:
    """What is minimised, per model: mean cross entropy over all that is asked, or mean squared error."""
    said = model.says(inputs, targets.shape[1])
    if targets.is_floating_point():
        check_shapes(" to go with the model", targets=(targets, tuple(said.shape)))
        return (said - targets).square().mean((1, 2, 3))
    each = torch.nn.functional.cross_entropy(said.flatten(0, 2), targets.flatten(), ignore_index=-1, reduction="none")
    return each.view(targets.shape).sum((1, 2)) / (targets >= 0).sum((1, 2))


def score(model: Reader, task: OwnTask, *, sequences: int = 1024, seed: int = 0) -> Float[Tensor, "M"]:
    """How well trained networks do on ``task``, theirs or another of the same kind, say with longer sequences. The
    share of right answers, or of the targets' variance that is explained, 1 − Σ‖o − y‖² / Σ‖y − ȳ‖²: 1 is perfect,
    0 as good as always to say the mean. By default on the sequences that :func:`fit` judges by."""
    if task.classes not in (None, model.outputs):
        raise ValueError(f"task must have the models' {model.outputs} classes, got {task.classes}")
    with one_thread_per_product(model.device.type == "cpu"):
        return _judged(model, _judges(task, integer("sequences", sequences, 1), seed, model.device))


class _Judges(NamedTuple):
    """Batches of inputs and targets (M = 1), how much an answer can lose on all of them (how many are asked, or the sum
    of squares around the mean), and the score of the best constant answer."""

    batches: list[tuple[Tensor, Tensor]]
    whole: float
    constant: float


def _judges(task: OwnTask, sequences: int, seed: int, device: str | torch.device) -> _Judges:
    """At least so many sequences; ValueError if the same random numbers give others, or nothing to be learned."""
    once, again = (
        [task.sample(BATCH, generator) for _ in range(-(-sequences // BATCH))]
        for generator in streams([seed] * 2, "test")
    )
    pairs = [pair for both in zip(once, again, strict=True) for pair in zip(*both, strict=True)]
    if not all(torch.equal(a, b) for a, b in pairs):
        raise ValueError("draw must take all its random numbers from the generator, got others from the same generator")
    batches = [(move(read, device), move(wanted, device)) for read, wanted in once]
    if task.classes is not None:
        answers = torch.cat([wanted[wanted >= 0] for _, wanted in once])
        return _Judges(batches, len(answers), (answers.bincount().max() / len(answers)).item())
    values = torch.cat([wanted.flatten(0, 2) for _, wanted in once]).double()
    if bool((values == values[0]).all()):
        raise ValueError(f"draw must return targets that differ, got {values[0].tolist()} everywhere")
    return _Judges(batches, (values - values.mean(0)).square().sum().item(), 0.0)


@torch.no_grad()
def _judged(model: Reader, judges: _Judges) -> Float[Tensor, "M"]:
    """The score of each model, each by itself: sums of several at once may be rounded otherwise."""
    found = torch.zeros(model.models, dtype=torch.float64)
    for m in range(model.models):
        for read, wanted in judges.batches:
            said = model[m].says(read, wanted.shape[1])
            if wanted.is_floating_point():
                check_shapes(" to go with the model", targets=(wanted, tuple(said.shape)))
                found[m] += (said.double() - wanted).square().sum().cpu()
            else:
                found[m] += ((said.argmax(3) != wanted) & (wanted >= 0)).sum().cpu()
    return 1 - found / judges.whole
