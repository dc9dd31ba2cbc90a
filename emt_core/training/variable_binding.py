"""Training an ensemble to bind variables: every model with its own seed, rate, L2 penalty, curriculum and data.

The recipe is the authors' (arXiv:2310.02430 and its code): fresh random batches, mean squared error on the output
phase, gradient norm clipped to 1, Adam with coupled weight decay, and a curriculum over output horizons that goes one
step up whenever a batch's accuracy exceeds a threshold. Elman networks are trained by a kernel where one fits; where
none does, and with any other cell, autograd does it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, SupportsFloat

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.networks import VectorNetwork, cell_named
from emt_core.networks.elman import Elman
from emt_core.networks.kernels import adam
from emt_core.networks.kernels.elman import fastest
from emt_core.networks.vectors import loss_and_grad
from emt_core.support.checks import device_of, integer, number, per_model
from emt_core.support.files import digest
from emt_core.support.random_streams import seeds_of, stream, streams
from emt_core.support.running import one_thread_per_product
from emt_core.tasks import ChangeRinging, VariableBinding
from emt_core.training import engine
from emt_core.training.engine import Group, Status

log = logging.getLogger(__name__)
SMALL = 64  # units up to which models share a thread


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
    """Models as flat tensors (G, P), at levels of the curriculum; ``places`` says which models of the ensemble."""

    kept = ("weights", "moment1", "moment2")

    def __init__(
        self, places: list[int], task: VariableBinding | ChangeRinging, config: dict, device: str,
        start: VectorNetwork | None, kernel: ModuleType | None,
    ) -> None:  # fmt: skip
        generators = streams([config["seeds"][m] for m in places], "network", device)
        super().__init__(generators, "record.loss", "record.accuracy", "record.horizon")
        self.task, self.config, self.threshold = task, config, [config["threshold"][m] for m in places]
        # drawn also where ``start`` is given: same data then
        drawn = VectorNetwork.init(cell_named(config["cell"]), task.dim, config["hidden"], self.generators)
        self.like = drawn if start is None else start[places].to(device, torch.float32)
        self.weights = flat(self.like.weights)
        self.ensemble = self.model(self.weights)  # views, so that it is always what the updates left
        self.moment1, self.moment2 = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.level = [0] * len(places)  # index into the curriculum's horizons
        self.snapshots: dict[int, Tensor] = {}
        self.keep_snapshot()
        self.noise = config["noise"]
        self.loss_and_grad, self.clip_and_adam, self.workspace = _way(kernel)
        self.lr, self.l2 = (self.weights.new_tensor([[config[name][m]] for m in places]) for name in ("lr", "l2"))

    def model(self, rows: Tensor) -> VectorNetwork:
        """Flat weights (G, P) seen as an ensemble."""
        shapes = {name: w.shape[1:] for name, w in self.like.weights.items()}
        parts = rows.split([shape.numel() for shape in shapes.values()], dim=1)
        return self.like.with_weights({n: p.unflatten(1, shapes[n]) for n, p in zip(shapes, parts, strict=True)})

    def keep_snapshot(self) -> None:
        """Copy the weights if this step is one of those asked for."""
        if self.step in self.config["snapshots"]:
            self.snapshots[self.step] = self.weights.clone()

    def advance(self) -> None:
        if self.step % self.config["every"] == 0:
            for rows in self.records.values():
                rows.append(torch.full((self.models,), math.nan))
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
        drawing, batch = [self.generators[i] for i in members], self.config["batch"]
        inputs, targets = self.task.sample(batch, horizon, drawing)
        network, noise = self.ensemble if everyone else self.model(weights), None
        if self.noise:
            shape = (inputs.shape[1] + horizon, batch, network.state_size)
            noise = self.noise * torch.stack([torch.randn(shape, generator=g, device=g.device) for g in drawing])
        loss, accuracy, grads = self.loss_and_grad(network, inputs, targets, noise)
        grad = flat({name: grads[name] for name in network.weights})
        updated = self.clip_and_adam(
            weights, moment1, moment2, grad, loss, self.lr[pick], self.l2[pick], self.config["clip"], self.step + 1
        )
        if not everyone:  # what an index picks is a copy, what a slice picks is not
            self.weights[pick], self.moment1[pick], self.moment2[pick] = weights, moment1, moment2
        top = len(self.config["horizons"]) - 1
        for i, finite, *seen in zip(members, updated.tolist(), loss.tolist(), accuracy.tolist(), strict=True):
            if self.step % self.config["every"] == 0:
                for rows, value in zip(self.records.values(), (*seen, horizon), strict=True):
                    rows[-1][i] = value
            if not finite:  # it keeps its last weights and takes no further part
                self.end(i, Status.DIVERGED)
            elif seen[1] > self.threshold[i]:
                self.level[i] = min(self.level[i] + 1, top)

    def tensors(self) -> dict[str, Tensor]:
        out = super().tensors() | {"level": torch.tensor(self.level)}
        return out | {f"snapshot.{step}": rows for step, rows in self.snapshots.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        super().restore(tensors)
        self.ensemble, self.level = self.model(self.weights), tensors["level"].tolist()
        for key in [key for key in tensors if key.startswith("snapshot.")]:
            self.snapshots[int(key.removeprefix("snapshot."))] = tensors[key].to(self.weights.device)
        for rows in self.records.values():
            del rows[math.ceil(self.step / self.config["every"]) :]  # which older versions filled up to the last step


def _way(kernel: ModuleType | None) -> tuple[Callable, Callable, Any]:
    """How a group gets its gradients and is updated: by a kernel, which keeps one workspace a group, or by autograd."""
    if kernel is None:
        return loss_and_grad, adam.clip_and_adam, None
    workspace = kernel.Workspace()

    def by_kernel(
        network: VectorNetwork, inputs: Tensor, targets: Tensor, noise: None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        matrices = network.W_uh, network.W_hh, network.W_r
        loss, accuracy, (d_uh, d_hh, d_r) = kernel.loss_and_grad(*matrices, inputs, targets, workspace)
        return loss, accuracy, {"W_uh": d_uh, "W_hh": d_hh, "W_r": d_r}

    return by_kernel, kernel.clip_and_adam, workspace


def fit(
    task: VariableBinding | ChangeRinging,
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
    noise: SupportsFloat = 0.0,
    every: int = 50,
    snapshots: Iterable[int] = (),
    test_horizon: int = 200,
    device: str | torch.device = "cpu",
    start: VectorNetwork | None = None,
    **running: Any,
) -> Run:
    """Train one model per seed on ``task``, in which operators act on variables: the same all the time, or by a method.

    Args:
        cell: a name in :data:`emt_core.networks.CELLS`.
        seeds: one per model; it fixes a model's start and its data.
        lr, l2, threshold: one number for all models or one per model. ``l2`` is added to the gradient after clipping,
            as ``weight_decay`` of ``torch.optim.Adam`` does. ``threshold`` is the batch accuracy above which the
            horizon goes up.
        horizons: the curriculum, in output steps, from first to last.
        noise: standard deviation of the normal noise that is added to every number of the state after each step, while
            training only.
        every: the history holds every ``every``-th step.
        snapshots: steps at which the weights are kept (0 is the start, ``steps`` the end).
        start: weights to start from, one model per seed, instead of those that the seeds draw; the data stay the same.
        running: ``checkpoint``, ``checkpoint_every``, ``stop`` and ``progress``, see
            :func:`emt_core.training.engine.run`.

    Raises:
        ValueError: an argument out of range, or a checkpoint that is damaged or of another run; the message names it.
    """
    config, device = _checked(locals()), device_of(device)
    models, alone, test_horizon = len(config["seeds"]), device == "cpu", integer("test_horizon", test_horizon, 1)
    if start is not None:
        _check_start(start, models, config, task.dim)
    kernel = _kernel(config, task.dim, device, start)
    size = _group_size(models, config["hidden"], kernel) if alone else models
    places = [list(range(m, min(m + size, models))) for m in range(0, models, size)]
    groups = [_Models(p, task, config, device, start, kernel) for p in places]
    identity: dict[str, Any] = dict(task.identity)
    identity |= {name: value for name, value in config.items() if name != "steps"}
    if not config["noise"]:
        del identity["noise"]  # as in the checkpoints that are older than it
    identity |= {} if start is None else {"start": [digest(group.weights) for group in groups]}
    running |= {"identity": identity, "alone": alone, "name": f"training {models} models"}
    with one_thread_per_product(alone):
        interrupted = engine.run(groups, config["steps"], **running)
        return _collect(groups, task, config, test_horizon, interrupted)


def evaluate(
    model: VectorNetwork,
    task: VariableBinding | ChangeRinging,
    *,
    horizon: int = 200,
    sequences: int = 640,
    seeds: Sequence[int] | None = None,
    zero_is_plus: bool = False,
) -> Float[Tensor, "M"]:
    """Share of right signs over ``horizon`` output steps on fresh random sequences, per model.

    An output of exactly zero has no sign and counts as wrong; with ``zero_is_plus`` it counts as +1, as in the
    evaluation by the authors of arXiv:2310.02430 (``evaluate.py`` of emt_variable_binding). A network that writes
    nothing but zeros is then right wherever +1 is wanted.

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
                written, wanted = network.read_out(h), targets[:, t - task.history]
                hit = written * wanted > 0
                if zero_is_plus:
                    hit |= (written == 0) & (wanted > 0)
                right += hit.double().mean().item()
        accuracy.append(right / horizon)
    return torch.tensor(accuracy)


def _kernel(config: dict, dim: int, device: str, start: VectorNetwork | None) -> ModuleType | None:
    """The kernel of tanh Elman networks without biases, if there is one that fits; it knows no noise."""
    cell = None if start is None else start.cell
    biased = isinstance(cell, Elman) and cell.b is not None
    fits = cell_named(config["cell"]) is Elman and not biased and config["noise"] == 0
    return fastest(device, config["hidden"], dim) if fits else None


def _group_size(models: int, hidden: int, kernel: ModuleType | None) -> int:
    """How many models a thread of the CPU trains in turn. Small networks spend more of a step in Python, one thread at
    a time, than in the kernel, so up to four share what there is of it: the same numbers, as a kernel treats each model
    by itself. Autograd's products of several models are not bit for bit those of one. Never by the number of cores: a
    checkpoint holds groups, and another machine may go on."""
    threads = 2 if hidden <= SMALL / 2 else 4  # that are kept busy, where there are so many cores
    return min(4, max(1, models // threads)) if kernel is not None and hidden <= SMALL else 1


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
    config: dict = {"cell": a["cell"], "seeds": seeds_of(a["seeds"]), "clip": float(a["clip"])}
    config |= {name: integer(name, a[name], int(name != "steps")) for name in ("hidden", "steps", "batch", "every")}
    if not config["clip"] > 0:
        raise ValueError(f"clip must be positive, got {a['clip']}")
    config["noise"] = number("noise", a["noise"], False)
    for name in ("lr", "l2", "threshold"):
        config[name] = per_model(name, a[name], len(config["seeds"]), positive=name == "lr")
    config["horizons"] = [integer("horizons", h, 1) for h in a["horizons"]]
    if not config["horizons"]:
        raise ValueError("horizons must hold at least one horizon, got none")
    config["snapshots"] = sorted({integer("snapshots", s, 0) for s in a["snapshots"]})
    if any(s > config["steps"] for s in config["snapshots"]):
        raise ValueError(f"snapshots must lie in 0 … steps = {config['steps']}, got {config['snapshots']}")
    return config


def _collect(
    groups: list[_Models], task: VariableBinding | ChangeRinging, config: dict, test_horizon: int, interrupted: bool
) -> Run:
    """The groups' state as one Run, models in the order of their seeds."""

    def ensemble(parts: list[Tensor]) -> VectorNetwork:
        return groups[0].model(torch.cat(parts))

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
    at = torch.arange(0, config["steps"], config["every"])
    loss, right, horizon = (engine.recorded(groups, name, len(at)) for name in groups[0].records)
    history = History(at, loss.float(), right.float(), horizon.nan_to_num(0).long())
    there = [s for s in config["snapshots"] if all(s in g.snapshots for g in groups)]
    snapshots = {s: ensemble([g.snapshots[s] for g in groups]) for s in there}
    return Run(model, history, accuracy, status, torch.tensor([n for g in groups for n in g.steps()]), snapshots)
