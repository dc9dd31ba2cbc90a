"""AdamW until it no longer pays: what trains networks that repeat tokens, edits and probes.

One recipe for all of them (arXiv:2408.10920): AdamW at a constant rate with decay 0.1, fresh random batches, no
clipping. The paper takes a fixed number of steps; here a run may also stop when what it is judged by has become flat,
by a rule that the result names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.support.checks import integer, number
from emt_core.support.running import one_thread_per_product
from emt_core.training import engine
from emt_core.training.engine import Group, Status

Weights = dict[str, Tensor]
Loss = Callable[[Weights, Sequence[torch.Generator]], Tensor]
Score = Callable[[Weights], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How long to train, and how. A model is looked at every ``every`` steps. It stops after ``steps`` of them, or
    when it is flat: at least ``least`` steps are done, and its best score in the last ``patience`` looks is not above
    the best before them by more than ``tolerance``. ``patience`` 0: never before ``steps``."""

    steps: int = 40_000
    lr: float | int = 1e-3
    decay: float | int = 0.1
    batch: int = 256
    every: int = 1000
    patience: int = 10
    tolerance: float | int = 0.002
    least: int = 15_000

    def __post_init__(self) -> None:
        for name, minimum in (("steps", 1), ("batch", 2), ("every", 1), ("patience", 0), ("least", 0)):
            object.__setattr__(self, name, integer(name, getattr(self, name), minimum))
        for name in ("lr", "decay", "tolerance"):
            object.__setattr__(self, name, number(name, getattr(self, name), positive=name == "lr"))

    def flat(self, scores: Float[Tensor, "K"], step: int) -> bool:
        """Whether a model with these scores, the last of them at ``step``, stops."""
        if self.patience == 0 or step < self.least or len(scores) <= self.patience:
            return False
        return bool(scores[-self.patience :].max() <= scores[: -self.patience].max() + self.tolerance)


@dataclass(frozen=True)
class Optimised:
    """``weights`` (M first) as they were at each model's last step, ``steps`` (M,); ``status`` per model. ``scores``
    and ``losses`` (K, M) at steps every, 2 every, … and the last; a loss is the mean since the last look. NaN after a
    model's end."""

    weights: Weights
    steps: Int[Tensor, "M"]
    status: tuple[Status, ...]
    scores: Float[Tensor, "K M"]
    losses: Float[Tensor, "K M"]


def untouched(models: int, weights: Weights | None = None) -> Optimised:
    """What :func:`optimise` returns of models of which nothing is to be learned."""
    unknown = torch.full((1, models), torch.nan, dtype=torch.float64)
    steps = torch.zeros(models, dtype=torch.int64)
    return Optimised(weights or {}, steps, (Status.DONE,) * models, unknown, unknown)


def optimise(
    weights: Weights,
    loss: Loss,
    score: Score,
    generators: Sequence[torch.Generator],
    recipe: Recipe,
    *,
    identity: dict[str, Any] | None = None,
    apart: bool = False,
    undecayed: Collection[str] = (),
    **running: Any,
) -> Optimised:
    """Minimise ``loss`` over ``weights``, every tensor with a leading models axis.

    Args:
        loss: weights, and one generator per model to draw a batch with → the loss of each model (M,). Models must not
            depend on each other: the sum is differentiated.
        score: weights → what each model is judged by (M,), from 0 to 1; it must not draw random numbers.
        identity: what else decides the numbers: a checkpoint of something else is refused.
        apart: train the models one by one, side by side; ``loss`` and ``score`` must then take any of them.
        undecayed: names of the weights that the recipe's decay leaves alone.
        running: ``checkpoint``, ``checkpoint_every``, ``stop``, ``progress`` and ``name``, see
            :func:`emt_core.training.engine.run`.
    """
    models = len(generators)
    wrong = [name for name, w in weights.items() if w.shape[0] != models]
    if wrong:
        raise ValueError(f"generators must be one per model ({weights[wrong[0]].shape[0]}), got {models}")
    parts = [slice(m, m + 1) for m in range(models)] if apart else [slice(models)]
    groups = [
        _Models({name: w[p] for name, w in weights.items()}, generators[p], loss, score, recipe, undecayed)
        for p in parts
    ]
    alone = all(w.device.type == "cpu" for w in weights.values())  # bits must not depend on how many cores there are
    decides = {name: value for name, value in asdict(recipe).items() if name != "steps"}
    with one_thread_per_product(alone):
        engine.run(groups, recipe.steps, identity=(identity or {}) | {"recipe": decides}, alone=alone, **running)
        return _together(groups, recipe)


class _Models(Group):
    """Weights, AdamW, and ``sum``, the losses since the last look."""

    kept = ("sum",)

    def __init__(
        self, weights: Weights, generators: Sequence[torch.Generator], loss: Loss, score: Score, recipe: Recipe,
        undecayed: Collection[str],
    ) -> None:  # fmt: skip
        super().__init__(generators, "scores", "losses")
        self.weights = {name: w.detach().clone().requires_grad_() for name, w in weights.items()}
        self.loss, self.score, self.recipe = loss, score, recipe
        parts = {decay: [w for n, w in self.weights.items() if (n in undecayed) is not bool(decay)] for decay in (1, 0)}
        groups = [{"params": ws, "weight_decay": decay * recipe.decay} for decay, ws in parts.items() if ws]
        self.optimiser = torch.optim.AdamW(groups, recipe.lr, fused=True)
        self.final = {name: w.detach().clone() for name, w in self.weights.items()}  # of those that have ended
        device = next(iter(self.weights.values())).device
        self.sum = torch.zeros(self.models, dtype=torch.float64, device=device)  # there: a step need not be waited for

    @property
    def note(self) -> str:
        scores = self.records["scores"]
        return f"score {scores[-1].nanmean():.3f}" if scores else ""

    def advance(self) -> None:
        self.optimiser.zero_grad()
        each = self.loss(self.weights, self.generators)
        each.sum().backward()
        self.optimiser.step()
        self.sum += each.detach().double()
        self.step += 1
        if self.step % self.recipe.every == 0:
            self.look()
            self.sum = torch.zeros_like(self.sum)

    def look(self) -> None:
        """Score the models that go on, and end those that have become flat, or are no numbers any more."""
        with torch.no_grad():
            scores = self.score(self.weights).double().cpu()
        losses = (self.sum / (self.step % self.recipe.every or self.recipe.every)).cpu()
        going = torch.tensor(self.ended) < 0
        for name, values in (("scores", scores), ("losses", losses)):
            self.records[name].append(torch.where(going, values, math.nan))
        seen = torch.stack(self.records["scores"])
        for m in going.nonzero()[:, 0].tolist():
            if not math.isfinite(losses[m]):
                self.end(m, Status.DIVERGED)
            elif self.recipe.flat(seen[:, m], self.step):
                self.end(m, Status.FLAT)

    def end(self, m: int, why: Status) -> None:
        super().end(m, why)
        self.keep(m)

    def keep(self, m: int) -> None:
        """Make the weights of a model, as they are, its final ones."""
        for name, w in self.weights.items():
            self.final[name][m] = w.detach()[m]

    def tensors(self) -> dict[str, Tensor]:
        tensors = super().tensors()
        for name, w in self.weights.items():
            tensors |= {f"weights.{name}": w, f"final.{name}": self.final[name]}
            tensors |= {f"adam.{name}.{key}": value for key, value in self.optimiser.state[w].items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        super().restore(tensors)
        with torch.no_grad():
            for name, w in self.weights.items():
                w.copy_(tensors[f"weights.{name}"])
                self.final[name].copy_(tensors[f"final.{name}"])
                keys = [key for key in tensors if key.startswith(f"adam.{name}.")]
                self.optimiser.state[w] = {key.rpartition(".")[2]: tensors[key].to(w.device) for key in keys}


def _together(groups: list[_Models], recipe: Recipe) -> Optimised:
    """What became of the models of all groups."""
    for group in groups:
        if group.step == recipe.steps and group.step % recipe.every and not group.over():
            group.look()  # the last one, between two of the rule's
        for m in [m for m, at in enumerate(group.ended) if at < 0]:
            group.keep(m)
    looks = max(len(group.records["scores"]) for group in groups)
    return Optimised(
        weights={name: torch.cat([group.final[name] for group in groups]) for name in groups[0].final},
        steps=torch.tensor([step for group in groups for step in group.steps()]),
        status=tuple(status for group in groups for status in group.statuses(recipe.steps)),
        scores=engine.recorded(groups, "scores", looks),
        losses=engine.recorded(groups, "losses", looks),
    )
