"""Optimise a loss until it no longer pays: what trains the GRUs that repeat tokens, the interventions and the probes.

One recipe for all of them (arXiv:2408.10920): AdamW at a constant rate with decay 0.1, fresh random batches, no
clipping. The paper takes a fixed number of steps; here a run may also stop when what it is judged by has become flat,
by a rule that the result names.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm.auto import tqdm

from emt_core._checks import integer
from emt_core._files import write_safetensors
from emt_core._running import ctrl_c_sets, one_thread_per_product, quiet

log = logging.getLogger(__name__)

Weights = dict[str, Tensor]


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
            value = float(getattr(self, name))
            if not 0 <= value < math.inf or (name == "lr" and value == 0):
                raise ValueError(
                    f"{name} must be finite and {'positive' if name == 'lr' else 'at least 0'}, got {value}"
                )
            object.__setattr__(self, name, value)

    def flat(self, scores: Float[Tensor, "K"], step: int) -> bool:
        """Whether a model with these scores, the last of them at ``step``, stops."""
        if self.patience == 0 or step < self.least or len(scores) <= self.patience:
            return False
        return bool(scores[-self.patience :].max() <= scores[: -self.patience].max() + self.tolerance)


@dataclass(frozen=True)
class Optimised:
    """``weights`` (M first) as they were at each model's last step, ``steps`` (M,); ``status`` per model: ``"flat"``,
    ``"all steps"``, ``"interrupted"`` or ``"diverged"``. ``scores`` and ``losses`` (K, M) at steps every, 2 every, …
    and the last; a loss is the mean since the last look. NaN after a model's end."""

    weights: Weights
    steps: Int[Tensor, "M"]
    status: tuple[str, ...]
    scores: Float[Tensor, "K M"]
    losses: Float[Tensor, "K M"]


def optimise(
    weights: Weights,
    loss: Callable[[Weights, Sequence[torch.Generator]], Tensor],
    score: Callable[[Weights], Tensor],
    generators: Sequence[torch.Generator],
    recipe: Recipe,
    *,
    checkpoint: Path | None = None,
    checkpoint_every: int = 2000,
    identity: str = "",
    stop: threading.Event | None = None,
    progress: bool = True,
    name: str = "training",
) -> Optimised:
    """Minimise ``loss`` over ``weights``, every tensor with a leading models axis.

    Args:
        loss: weights, and one generator per model to draw a batch with → the loss of each model (M,). Models must not
            depend on each other: the sum is differentiated.
        score: weights → what each model is judged by (M,), from 0 to 1; it must not draw random numbers.
        checkpoint: file to go on from if it is there, written every ``checkpoint_every`` steps, at Ctrl-C and at the
            end; ``identity`` says what it is of, and one of something else is refused.
        stop: once set, or after Ctrl-C, training ends after the step; the result says so.

    Raises:
        ValueError: the checkpoint is damaged or of another run.
    """
    run = _Run(weights, generators, recipe)
    path = Path(checkpoint) if checkpoint is not None else None
    if path is not None and path.exists():
        run.restore(_read(path, identity))
    stop = threading.Event() if stop is None else stop
    bar = tqdm(total=recipe.steps, initial=run.step, unit="step", desc=name, disable=quiet(progress))
    alone = all(
        w.device.type == "cpu" for w in weights.values()
    )  # then bits must not depend on how many cores there are
    with one_thread_per_product(alone), ctrl_c_sets(stop), bar:
        while run.step < recipe.steps and not run.over() and not stop.is_set():
            run.advance(loss)
            if run.step % recipe.every == 0 or run.step == recipe.steps:
                run.look(score)
                bar.set_postfix(score=f"{run.scores[-1].nanmean():.3f}", refresh=False)
            if path is not None and run.step % checkpoint_every == 0:
                write_safetensors(run.tensors(), path, {"run": identity})
            if run.step % 50 == 0:
                bar.update(run.step - bar.n)
        bar.update(run.step - bar.n)
        if path is not None and run.step % checkpoint_every:
            write_safetensors(run.tensors(), path, {"run": identity})
    if stop.is_set():
        log.warning("%s was interrupted; the models are returned as they are", name)
    return run.result()


def steps_done(checkpoint: Path) -> int:
    """Steps in a checkpoint; 0 if it cannot be read."""
    try:
        with safe_open(checkpoint, framework="pt") as file:
            return int(file.get_tensor("step"))
    except (OSError, SafetensorError):
        return 0


class _Run:
    """Weights, optimiser, random numbers and what was seen so far: all that a checkpoint holds."""

    def __init__(self, weights: Weights, generators: Sequence[torch.Generator], recipe: Recipe):
        self.weights = {name: w.detach().clone().requires_grad_() for name, w in weights.items()}
        self.generators, self.recipe, self.step = list(generators), recipe, 0
        models = len(self.generators)
        wrong = [name for name, w in weights.items() if w.shape[0] != models]
        if wrong:
            raise ValueError(f"generators must be one per model ({weights[wrong[0]].shape[0]}), got {models}")
        self.optimiser = torch.optim.AdamW(
            self.weights.values(), lr=recipe.lr, weight_decay=recipe.decay, fused=True
        )  # fmt: skip
        self.ended = torch.full((models,), -1)  # the step, negative while a model goes on
        self.why = torch.zeros(models, dtype=torch.int64)  # index into STATUS
        self.final = {name: w.detach().clone() for name, w in self.weights.items()}
        self.scores: list[Tensor] = []
        self.losses: list[Tensor] = []
        device = next(iter(self.weights.values())).device
        self.sum = torch.zeros(models, dtype=torch.float64, device=device)  # there: a step need not be waited for
        self.count = 0

    def over(self) -> bool:
        return bool((self.ended >= 0).all())

    def advance(self, loss) -> None:
        self.optimiser.zero_grad()
        each = loss(self.weights, self.generators)
        each.sum().backward()
        self.optimiser.step()
        self.sum += each.detach().double()
        self.count += 1
        self.step += 1

    def look(self, score) -> None:
        with torch.no_grad():
            scores = score(self.weights).double().cpu()
        losses, going = (self.sum / self.count).cpu(), self.ended < 0
        self.sum, self.count = torch.zeros_like(self.sum), 0
        self.scores.append(torch.where(going, scores, math.nan))
        self.losses.append(torch.where(going, losses, math.nan))
        seen = torch.stack(self.scores)
        for m in going.nonzero()[:, 0].tolist():
            if not math.isfinite(losses[m]):
                self.end(m, "diverged")
            elif self.recipe.flat(seen[:, m], self.step):
                self.end(m, "flat")
            elif self.step == self.recipe.steps:
                self.end(m, "all steps")

    def end(self, m: int, why: str) -> None:
        self.ended[m], self.why[m] = self.step, STATUS.index(why)
        for name, w in self.weights.items():
            self.final[name][m] = w.detach()[m]

    def tensors(self) -> dict[str, Tensor]:
        state = self.optimiser.state
        tensors = {"step": torch.tensor(self.step), "ended": self.ended, "why": self.why, "sum": self.sum}
        tensors |= {
            "count": torch.tensor(self.count),
            "generators": torch.stack([g.get_state() for g in self.generators]),
        }
        if self.scores:
            tensors |= {"scores": torch.stack(self.scores), "losses": torch.stack(self.losses)}
        for name, w in self.weights.items():
            tensors |= {f"weights.{name}": w, f"final.{name}": self.final[name]}
            tensors |= {f"adam.{name}.{key}": value for key, value in state[w].items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.step, self.count = int(tensors["step"]), int(tensors["count"])
        self.ended, self.why, self.sum = tensors["ended"], tensors["why"], tensors["sum"].to(self.sum.device)
        for generator, stored in zip(self.generators, tensors["generators"], strict=True):
            generator.set_state(stored.clone())  # of a view torch reads other bytes
        if "scores" in tensors:
            self.scores, self.losses = list(tensors["scores"]), list(tensors["losses"])
        with torch.no_grad():
            for name, w in self.weights.items():
                w.copy_(tensors[f"weights.{name}"])
                self.final[name].copy_(tensors[f"final.{name}"])
                keys = [key for key in tensors if key.startswith(f"adam.{name}.")]
                self.optimiser.state[w] = {key.rpartition(".")[2]: tensors[key].to(w.device) for key in keys}

    def result(self) -> Optimised:
        for m in (self.ended < 0).nonzero()[:, 0].tolist():
            self.end(m, "interrupted")
        empty = torch.empty(0, len(self.generators), dtype=torch.float64)
        return Optimised(
            weights=self.final,
            steps=self.ended,
            status=tuple(STATUS[i] for i in self.why.tolist()),
            scores=torch.stack(self.scores) if self.scores else empty,
            losses=torch.stack(self.losses) if self.losses else empty,
        )


STATUS = ("interrupted", "flat", "all steps", "diverged")


def _read(path: Path, identity: str) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("run")
            if found != identity:
                raise ValueError(f"checkpoint {path} is of another run: {found}, not {json.dumps(identity)}")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is damaged or of another kind: {error}") from error
