"""Training an ensemble to bind variables: every model with its own seed, rate, L2 penalty, curriculum and data.

The recipe is the authors' (arXiv:2310.02430 and its code): fresh random batches, mean squared error on the output
phase, gradient norm clipped to 1, Adam with coupled weight decay, and a curriculum over output horizons that goes one
step up whenever a batch's accuracy exceeds a threshold. Elman networks are trained by their kernels, networks of any
other cell through autograd.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.networks import VectorNetwork, cell_named
from emt_core.networks.elman import Elman
from emt_core.networks.kernels import adam
from emt_core.networks.kernels.elman import fastest
from emt_core.networks.vectors import loss_and_grad
from emt_core.support.checks import device_of, integer, per_model
from emt_core.support.files import digest
from emt_core.support.random_streams import seeds_of, stream, streams
from emt_core.support.running import one_thread_per_product
from emt_core.tasks import VariableBinding
from emt_core.training import engine
from emt_core.training.engine import Group, Status

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class History:
    """What the training batch showed at steps 0, k, 2k, …; NaN (horizon: 0) where a model did not get that far."""

    steps: Int[Tensor, "K"]
    loss: Float[Tensor, "K M"]
    accuracy: Float[Tensor, "K M"]
    horizon: Int[Tensor, "K M"]


@dataclass(frozen=True)
class Run:
    """What training returned: values with a status. Nothing is dropped: a failed model keeps its place.

    ``status`` (M): done, interrupted, or diverged (the weights are those before that step); ``steps`` (M,) says after
    how many steps. ``accuracy`` (M,) is measured on fresh sequences after training; NaN where a model diverged, and for
    all after Ctrl-C (:func:`evaluate` measures it then). ``snapshots`` maps each asked-for step to the weights after
    that many updates.
    """

    model: VectorNetwork
    history: History
    accuracy: Float[Tensor, "M"]
    status: tuple[Status, ...]
    steps: Int[Tensor, "M"]
    snapshots: dict[int, VectorNetwork] = field(default_factory=dict)


def flat(weights: dict[str, Tensor]) -> Float[Tensor, "M P"]:
    """All weights of a model as one row: clipping and Adam are then one expression."""
    return torch.cat([w.flatten(1) for w in weights.values()], dim=1)


class _Models(Group):
    """Models as flat tensors (G, P), at levels of the curriculum."""

    def __init__(self, places: list[int], task: VariableBinding, config: dict, device: str, start=None) -> None:
        super().__init__(streams([config["seeds"][m] for m in places], "network", device))
        self.places, self.task, self.config = places, task, config  # which models of the ensemble
        # drawn also where ``start`` is given: same data then
        drawn = VectorNetwork.init(cell_named(config["cell"]), task.dim, config["hidden"], self.generators)
        self.like = drawn if start is None else start[places].to(device, torch.float32)
        self.weights = flat(self.like.weights)
        self.moment1, self.moment2 = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.level = [0] * len(places)  # index into the curriculum's horizons
        self.records: dict[str, Tensor] = {}
        self.snapshots: dict[int, Tensor] = {}
        self.loss_and_grad, self.clip_and_adam, self.workspace = _way(self.like, device)
        self.lr, self.l2 = self.column("lr"), self.column("l2")

    def column(self, name: str) -> Tensor:
        """One per-model hyper-parameter, (G, 1), to go with the flat weights."""
        values = [self.config[name][m] for m in self.places]
        return torch.tensor(values, dtype=self.weights.dtype, device=self.weights.device)[:, None]

    def model(self, rows: Tensor) -> VectorNetwork:
        """Flat weights (G, P) seen as an ensemble."""
        shapes = {name: w.shape[1:] for name, w in self.like.weights.items()}
        parts = rows.split([shape.numel() for shape in shapes.values()], dim=1)
        return self.like.with_weights({n: p.unflatten(1, shapes[n]) for n, p in zip(shapes, parts, strict=True)})

    def record_at(self, every: int, steps: int) -> None:
        """Room for the history up to ``steps``; what a shorter run recorded stays."""
        rows = (steps + every - 1) // every
        for name in ("loss", "accuracy", "horizon"):
            old = self.records.get(name, torch.empty(0, self.models))
            self.records[name] = torch.cat([old[:rows], torch.full((max(0, rows - len(old)), self.models), math.nan)])

    def keep_snapshot(self) -> None:
        """Copy the weights if this step is one of those asked for."""
        if self.step in self.config["snapshots"]:
            self.snapshots[self.step] = self.weights.clone()

    def advance(self) -> None:
        alive = [i for i, at in enumerate(self.ended) if at < 0]
        levels = list(self.level)  # as they were before this step: whoever goes up in it is not updated twice
        for level in sorted({levels[i] for i in alive}):
            self._update([i for i in alive if levels[i] == level], self.config["horizons"][level])
        self.step += 1
        self.keep_snapshot()

    def over(self) -> bool:
        return False  # its history and snapshots go on to the end

    def _update(self, members: list[int], horizon: int) -> None:
        """One Adam step for the models ``members``, which all train at ``horizon``."""
        everyone = len(members) == self.models
        pick = slice(None) if everyone else torch.tensor(members, device=self.weights.device)
        weights, moment1, moment2 = self.weights[pick], self.moment1[pick], self.moment2[pick]
        inputs, targets = self.task.sample(self.config["batch"], horizon, [self.generators[i] for i in members])
        network = self.model(weights)
        loss, accuracy, grads = self.loss_and_grad(network, inputs, targets)
        grad = flat({name: grads[name] for name in network.weights})
        updated = self.clip_and_adam(
            weights, moment1, moment2, grad, loss, self.lr[pick], self.l2[pick], self.config["clip"], self.step + 1
        )
        if not everyone:  # what an index picks is a copy, what a slice picks is not
            self.weights[pick], self.moment1[pick], self.moment2[pick] = weights, moment1, moment2
        losses, accuracies = loss.tolist(), accuracy.tolist()
        row, rest = divmod(self.step, self.config["every"])
        for j, (i, finite) in enumerate(zip(members, updated.tolist(), strict=True)):
            if rest == 0:
                for name, value in (("loss", losses[j]), ("accuracy", accuracies[j]), ("horizon", horizon)):
                    self.records[name][row, i] = value
            if not finite:  # it keeps its last weights and takes no further part
                self.end(i, Status.DIVERGED)
            elif accuracies[j] > self.config["threshold"][self.places[i]] and (
                self.level[i] + 1 < len(self.config["horizons"])
            ):
                self.level[i] += 1

    def tensors(self) -> dict[str, Tensor]:
        out = super().tensors() | {"weights": self.weights, "moment1": self.moment1, "moment2": self.moment2}
        out |= {"level": torch.tensor(self.level)} | {f"record.{name}": v.T for name, v in self.records.items()}
        return out | {f"snapshot.{step}": rows for step, rows in self.snapshots.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        super().restore(tensors)
        device = self.weights.device
        for name in ("weights", "moment1", "moment2"):
            setattr(self, name, tensors[name].to(device))
        self.level = tensors["level"].tolist()
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            if kind == "record":
                self.records[name] = value.T.clone()
            elif kind == "snapshot":
                self.snapshots[int(name)] = value.to(device)
        self.record_at(self.config["every"], self.config["steps"])


def _way(network: VectorNetwork, device: str) -> tuple[Callable, Callable, Any]:
    """How such networks get their gradients and are updated: by the kernel of tanh Elman networks, which keeps one
    workspace a group, or by autograd."""
    cell = network.cell
    if not (isinstance(cell, Elman) and cell.activation == "tanh" and cell.b is None):
        return loss_and_grad, adam.clip_and_adam, None
    kernel = fastest(device, network.hidden, network.dim)
    workspace = kernel.Workspace()

    def by_kernel(network: VectorNetwork, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        matrices = network.W_uh, network.W_hh, network.W_r
        loss, accuracy, (d_uh, d_hh, d_r) = kernel.loss_and_grad(*matrices, inputs, targets, workspace)
        return loss, accuracy, {"W_uh": d_uh, "W_hh": d_hh, "W_r": d_r}

    return by_kernel, kernel.clip_and_adam, workspace


def fit(
    task: VariableBinding,
    *,
    cell: str = "elman",
    hidden: int = 64,
    seeds: Sequence[int] = (0,),
    steps: int = 2000,
    lr: SupportsFloat | Iterable[SupportsFloat] = 1e-3,
    l2: SupportsFloat | Iterable[SupportsFloat] = 0.0,
    horizons: Sequence[int] = (10, 20, 40, 60, 100),
    threshold: SupportsFloat | Iterable[SupportsFloat] = 0.96,
    batch: int = 64,
    clip: SupportsFloat = 1.0,
    every: int = 50,
    snapshots: Iterable[int] = (),
    test_horizon: int = 200,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    device: str | torch.device = "cpu",
    start: VectorNetwork | None = None,
    stop: threading.Event | None = None,
    progress: bool = True,
) -> Run:
    """Train one model per seed on ``task``.

    Args:
        cell: a name in :data:`emt_core.networks.CELLS`.
        seeds: one per model; it fixes a model's start and its data.
        lr, l2, threshold: one number for all models or one per model. ``l2`` is added to the gradient after clipping,
            as ``weight_decay`` of ``torch.optim.Adam`` does. ``threshold`` is the batch accuracy above which the
            horizon goes up.
        horizons: the curriculum, in output steps, from first to last.
        every: the history holds every ``every``-th step.
        snapshots: steps at which the weights are kept (0 is the start, ``steps`` the end).
        checkpoint: a file. If it exists, training goes on from it and ends with the same bits as if it had never
            stopped; it must be of the same task and settings (``steps`` may be larger). It is written every
            ``checkpoint_every`` steps, at the end and on Ctrl-C.
        start: weights to start from, one model per seed, instead of those that the seeds draw; the data stay the same.
        stop: setting it, from another thread, ends training as Ctrl-C does.

    Ctrl-C ends training after the current step, writes the checkpoint, and returns the models as they are, with a
    status that says so.

    Raises:
        ValueError: an argument out of range, or a checkpoint that is damaged or of another run; the message names it.
    """
    config, device = _checked(locals()), device_of(device)
    models, alone = len(config["seeds"]), device == "cpu"
    test_horizon, checkpoint_every = (
        integer(name, value, 1)
        for name, value in (("test_horizon", test_horizon), ("checkpoint_every", checkpoint_every))
    )
    if start is not None:
        _check_start(start, models, config, task.dim)
    places = [[m] for m in range(models)] if alone else [list(range(models))]
    groups = [_Models(p, task, config, device, start) for p in places]
    identity = {"triple": task.triple, "history": task.history, "dim": task.dim}
    identity |= {name: value for name, value in config.items() if name != "steps"}
    identity |= {} if start is None else {"start": [digest(group.weights) for group in groups]}
    for group in groups:
        group.record_at(config["every"], config["steps"])
        group.keep_snapshot()
    with one_thread_per_product(alone):
        interrupted = engine.run(
            groups, config["steps"], identity=identity, alone=alone, checkpoint=checkpoint,
            checkpoint_every=checkpoint_every, stop=stop, progress=progress, name=f"training {models} models",
        )  # fmt: skip
        return _collect(groups, task, config, test_horizon, interrupted)


def evaluate(
    model: VectorNetwork,
    task: VariableBinding,
    *,
    horizon: int = 200,
    sequences: int = 640,
    seeds: Sequence[int] | None = None,
) -> Float[Tensor, "M"]:
    """Share of right signs over ``horizon`` output steps on fresh random sequences, per model.

    With S·D bits there are 2^(S·D) sequences: at S = D = 8 a fresh one was certainly never trained on, at S = D = 4
    it may have been. ``seeds`` (default: the model's place) pick the sequences.
    """
    if model.dim != task.dim:
        raise ValueError(f"task must have dim {model.dim} as the model, got {task.dim}")
    seeds = seeds_of(range(model.models) if seeds is None else seeds)
    if len(seeds) != model.models:
        raise ValueError(f"seeds must be one per model ({model.models}), got {seeds}")
    sequences, horizon = integer("sequences", sequences, 1), integer("horizon", horizon, 1)
    accuracy = []
    for m, seed in enumerate(seeds):  # one model at a time: an ensemble's trajectories would not fit into the cache
        network = model[m]
        inputs, targets = task.sample(sequences, horizon, stream(seed, "test", model.device), network.W_r.dtype)
        h = network.cell.zero_state(sequences)
        right = 0.0
        for t in range(task.history + horizon):
            h = network.step(h, inputs[:, t] if t < task.history else None)
            if t >= task.history:
                right += ((network.read_out(h) * targets[:, t - task.history]) > 0).double().mean().item()
        accuracy.append(right / horizon)
    return torch.tensor(accuracy)


def _check_start(start: VectorNetwork, models: int, config: dict, dim: int) -> None:
    got = (start.models, start.hidden, start.dim)
    if got != (models, config["hidden"], dim):
        raise ValueError(f"start must have {models} models with {config['hidden']} units and dim {dim}, got {got}")
    if type(start.cell) is not cell_named(config["cell"]):
        raise ValueError(f"start must have the cell {config['cell']!r}, got {type(start.cell).__name__}")
    if start.settings.get("activation", "tanh") != "tanh":
        raise ValueError(f"start must have activation 'tanh', got {start.settings['activation']!r}")
    if not all(w.isfinite().all() for w in start.weights.values()):
        raise ValueError("start must have finite weights, got NaN or infinity")


def _checked(a: dict) -> dict:
    """The settings that decide a run's numbers, each checked; per-model ones as lists."""
    cell_named(a["cell"])
    config: dict = {"cell": a["cell"], "seeds": seeds_of(a["seeds"])}
    for name in ("hidden", "steps", "batch", "every"):
        config[name] = integer(name, a[name], 0 if name == "steps" else 1)
    config["clip"] = float(a["clip"])
    if not config["clip"] > 0:
        raise ValueError(f"clip must be positive, got {a['clip']}")
    for name, positive in (("lr", True), ("l2", False), ("threshold", False)):
        config[name] = per_model(name, a[name], len(config["seeds"]), positive)
    config["horizons"] = [integer("horizons", h, 1) for h in a["horizons"]]
    if not config["horizons"]:
        raise ValueError("horizons must hold at least one horizon, got none")
    config["snapshots"] = sorted({integer("snapshots", s, 0) for s in a["snapshots"]})
    if any(s > config["steps"] for s in config["snapshots"]):
        raise ValueError(f"snapshots must lie in 0 … steps = {config['steps']}, got {config['snapshots']}")
    return config


def _collect(groups: list[_Models], task: VariableBinding, config: dict, test_horizon: int, interrupted: bool) -> Run:
    """The groups' state as one Run, models in the order of their seeds."""

    def ensemble(parts: list[Tensor]) -> VectorNetwork:
        return groups[0].model(torch.cat(parts).clone())

    model = ensemble([g.weights for g in groups])
    for g in groups:  # an update that overflowed at the last step: the next one would have found out
        for m in (~g.weights.isfinite().all(1)).nonzero()[:, 0].tolist():
            if g.ended[m] < 0:
                g.end(m, Status.DIVERGED)
    status = tuple(s for g in groups for s in g.statuses(config["steps"]))
    accuracy = torch.full((model.models,), math.nan)
    whole = [m for m, s in enumerate(status) if s != Status.DIVERGED]
    if whole and not interrupted:
        try:
            seeds = [config["seeds"][m] for m in whole]
            accuracy[whole] = evaluate(model[whole], task, horizon=test_horizon, seeds=seeds)
        except KeyboardInterrupt:
            log.warning("interrupted: training is complete, its accuracy was not measured")
    records = {name: torch.cat([g.records[name] for g in groups], dim=1) for name in ("loss", "accuracy", "horizon")}
    return Run(
        model=model,
        history=History(
            steps=torch.arange(len(records["loss"])) * config["every"],
            loss=records["loss"],
            accuracy=records["accuracy"],
            horizon=records["horizon"].nan_to_num(0).long(),
        ),
        accuracy=accuracy,
        status=status,
        steps=torch.tensor([step for g in groups for step in g.steps()]),
        snapshots={
            s: ensemble([g.snapshots[s] for g in groups])
            for s in config["snapshots"]
            if all(s in g.snapshots for g in groups)
        },
    )
