"""Training an ensemble: every model with its own seed, learning rate, L2 penalty, curriculum and random numbers.

The recipe is the authors' (arXiv:2310.02430 and its code): fresh random batches, mean squared error on the output
phase, gradient norm clipped to 1, Adam with coupled weight decay, and a curriculum over output horizons that goes one
step up whenever a batch's accuracy exceeds a threshold.

On the CPU each model is advanced by itself, one thread a model with single-threaded products; on CUDA all models of one
horizon go through one batched product. So model m of an ensemble equals the same model trained alone, on the CPU bit
for bit, and a run that was interrupted and resumed equals one that was not.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm.auto import tqdm

from emt_core import cells
from emt_core._checks import integer
from emt_core._files import digest, write_safetensors
from emt_core._running import ctrl_c_sets, one_thread_per_product, quiet, throttled
from emt_core.cells import Elman
from emt_core.kernels import fastest
from emt_core.tasks import VariableBinding

log = logging.getLogger(__name__)

# Test batches come from generators that no training seed below this uses. The CPU generator looks at the low 32 bits
# of a seed only, so that a seed of 2^40 would start the stream of seed 0 again.
TEST_SEED = 1 << 31


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

    ``status`` holds, per model, ``"done"``, ``"interrupted at step k"`` or ``"diverged at step k"`` (its weights are
    those before that step). ``accuracy`` (M,) is measured on fresh sequences after training; NaN where a model
    diverged, and for all after Ctrl-C (:func:`evaluate` measures it then).
    ``snapshots`` maps each asked-for step to the weights after that many updates.
    """

    model: Elman
    history: History
    accuracy: Float[Tensor, "M"]
    status: tuple[str, ...]
    snapshots: dict[int, Elman] = field(default_factory=dict)


class _Group:
    """Models that advance together, as flat tensors (G, P): Adam and clipping are one expression for all weights.

    A group has one model on the CPU and all of them on CUDA. Everything that training changes is in here; a checkpoint
    is these tensors and nothing else.
    """

    def __init__(self, places, seeds, task, config, device, start=None):
        self.places = places  # which models of the ensemble
        self.task, self.config = task, config
        self.generators = [torch.Generator(device).manual_seed(s) for s in seeds]
        drawn = cells.init(config["hidden"], task.dim, self.generators)  # also where ``start`` is given: same data then
        start = drawn if start is None else start[places].to(device, torch.float32)
        self.weights = torch.cat([w.flatten(1) for w in (start.W_hh, start.W_uh, start.W_r)], dim=1)
        self.moment1 = torch.zeros_like(self.weights)
        self.moment2 = torch.zeros_like(self.weights)
        self.step = 0
        self.level = [0] * len(places)  # index into the curriculum's horizons
        self.diverged = [-1] * len(places)  # the step at which a model's loss stopped being finite
        self.records: dict[str, Tensor] = {}
        self.snapshots: dict[int, Tensor] = {}
        self.kernel = fastest(device, config["hidden"], task.dim)
        self.workspaces: dict[tuple[int, int], object] = {}

    def column(self, name: str) -> Tensor:
        """One per-model hyper-parameter, (G, 1), to go with the flat weights."""
        values = [self.config[name][m] for m in self.places]
        return torch.tensor(values, dtype=self.weights.dtype, device=self.weights.device)[:, None]

    def model(self, flat: Tensor) -> Elman:
        """Flat weights (G, P) seen as an ensemble."""
        N, D = self.config["hidden"], self.task.dim
        W_hh, W_uh, W_r = flat.split([N * N, N * D, D * N], dim=1)
        return Elman(W_uh=W_uh.unflatten(1, (N, D)), W_hh=W_hh.unflatten(1, (N, N)), W_r=W_r.unflatten(1, (D, N)))

    def record_at(self, every: int, steps: int) -> None:
        """Room for the history up to ``steps``; what a shorter run recorded stays."""
        rows, models = (steps + every - 1) // every, len(self.places)
        for name in ("loss", "accuracy", "horizon"):
            old = self.records.get(name, torch.empty(0, models))
            self.records[name] = torch.cat([old[:rows], torch.full((max(0, rows - len(old)), models), math.nan)])

    def keep_snapshot(self) -> None:
        """Copy the weights if this step is one of those asked for."""
        if self.step in self.config["snapshots"]:
            self.snapshots[self.step] = self.weights.clone()

    def advance(self, until: int, stop: threading.Event, progress) -> None:
        """Train up to step ``until``, or as far as it gets before ``stop`` is set; always whole steps."""
        config, horizons = self.config, self.config["horizons"]
        lr, l2 = self.column("lr"), self.column("l2")
        thresholds = [config["threshold"][m] for m in self.places]
        while self.step < until and not stop.is_set():
            alive = [i for i, at in enumerate(self.diverged) if at < 0]
            levels = list(self.level)  # as they were before this step: whoever goes up in it is not updated twice
            for level in sorted({levels[i] for i in alive}):
                self._update([i for i in alive if levels[i] == level], horizons[level], lr, l2, thresholds)
            self.step += 1
            self.keep_snapshot()
            progress(len(self.places))

    def _update(self, members: list[int], horizon: int, lr: Tensor, l2: Tensor, thresholds: list[float]) -> None:
        """One Adam step for the models ``members``, which all train at ``horizon``."""
        everyone = len(members) == len(self.places)
        pick = slice(None) if everyone else torch.tensor(members, device=self.weights.device)
        weights, moment1, moment2 = self.weights[pick], self.moment1[pick], self.moment2[pick]
        inputs, targets = self.task.sample(self.config["batch"], horizon, [self.generators[i] for i in members])
        workspace = self.workspaces.setdefault((len(members), self.task.history), self.kernel.Workspace())
        loss, accuracy, grads = self.kernel.loss_and_grad(self.model(weights), inputs, targets, workspace)
        grad = torch.cat([g.flatten(1) for g in (grads.W_hh, grads.W_uh, grads.W_r)], dim=1)
        updated = self.kernel.clip_and_adam(
            weights, moment1, moment2, grad, loss, lr[pick], l2[pick], self.config["clip"], self.step + 1
        )
        if not everyone:  # what an index picks is a copy, what a slice picks is not
            self.weights[pick], self.moment1[pick], self.moment2[pick] = weights, moment1, moment2
        losses, accuracies = loss.tolist(), accuracy.tolist()
        row, rest = divmod(self.step, self.config["every"])
        for j, (i, finite) in enumerate(zip(members, updated.tolist(), strict=True)):
            if rest == 0:
                self.records["loss"][row, i] = losses[j]
                self.records["accuracy"][row, i] = accuracies[j]
                self.records["horizon"][row, i] = horizon
            if not finite:  # it keeps its last weights and takes no further part
                self.diverged[i] = self.step
            elif accuracies[j] > thresholds[i] and self.level[i] + 1 < len(self.config["horizons"]):
                self.level[i] += 1

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs, as tensors whose first axis is the models of this group."""
        models = len(self.places)
        out = {"weights": self.weights, "moment1": self.moment1, "moment2": self.moment2}
        out["generators"] = torch.stack([g.get_state() for g in self.generators])
        out["progress"] = torch.tensor([[self.step] * models, self.level, self.diverged]).T
        out |= {f"record.{name}": values.T for name, values in self.records.items()}
        return out | {f"snapshot.{step}": flat for step, flat in self.snapshots.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`tensors`."""
        device = self.weights.device
        for name in ("weights", "moment1", "moment2"):
            setattr(self, name, tensors[name].to(device))
        for generator, state in zip(self.generators, tensors["generators"], strict=True):
            generator.set_state(state.clone())  # of a view torch reads other bytes
        steps, self.level, self.diverged = tensors["progress"].T.tolist()
        self.step = steps[0]
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            if kind == "record":
                self.records[name] = value.T.clone()
            elif kind == "snapshot":
                self.snapshots[int(name)] = value.to(device)


def fit(
    task: VariableBinding,
    *,
    cell: str = "elman",
    hidden: int = 64,
    seeds: Sequence[int] = (0,),
    steps: int = 2000,
    lr: float | int | Sequence[float | int] = 1e-3,
    l2: float | int | Sequence[float | int] = 0.0,
    horizons: Sequence[int] = (10, 20, 40, 60, 100),
    threshold: float | int | Sequence[float | int] = 0.96,
    batch: int = 64,
    clip: float | int = 1.0,
    every: int = 50,
    snapshots: Iterable[int] = (),
    test_horizon: int = 200,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    device: str = "cpu",
    start: Elman | None = None,
    stop: threading.Event | None = None,
    progress: bool = True,
) -> Run:
    """Train one model per seed on ``task``.

    Args:
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
    config = _checked(locals())
    models = len(config["seeds"])
    alone = device == "cpu"
    places = [[m] for m in range(models)] if alone else [list(range(models))]
    if start is not None:
        _check_start(start, models, config["hidden"], task.dim)
    groups = [_Group(p, [config["seeds"][m] for m in p], task, config, device, start) for p in places]
    path = Path(checkpoint) if checkpoint is not None else None
    identity = json.dumps(
        {"triple": task.triple, "history": task.history, "dim": task.dim}
        | {k: v for k, v in config.items() if k != "steps"}
        | ({} if start is None else {"start": [digest(group.weights) for group in groups]}),
        sort_keys=True,
    )
    if path is not None and path.exists():
        _load_checkpoint(path, identity, groups)
    for group in groups:
        if group.step > steps:
            raise ValueError(f"steps must be at least {group.step}, where checkpoint {path} stands, got {steps}")
        group.record_at(config["every"], steps)
        group.keep_snapshot()

    done = sum(g.step * len(g.places) for g in groups)
    name = f"training {models} models"
    bar = tqdm(total=steps * models, initial=done, unit="step", desc=name, disable=quiet(progress))
    stop = threading.Event() if stop is None else stop
    chunk = checkpoint_every if path is not None else steps
    with one_thread_per_product(alone) as workers:
        with ctrl_c_sets(stop), ThreadPoolExecutor(min(workers, len(groups))) as pool, bar:
            update = throttled(bar, models * 10)
            goal = min(g.step for g in groups)
            while goal < steps and not stop.is_set():
                goal = min(goal + chunk, steps)
                _advance(groups, goal, stop, update, pool)
                if path is not None:
                    _save_checkpoint(path, identity, groups)
            update(0, flush=True)
        if stop.is_set():
            log.warning("training was interrupted; the models are returned as they are")
        return _collect(groups, task, config, test_horizon, stop.is_set())


def evaluate(
    model: Elman, task: VariableBinding, *, horizon: int = 200, sequences: int = 640, seeds: Sequence[int] | None = None
) -> Float[Tensor, "M"]:
    """Share of right signs over ``horizon`` output steps on fresh random sequences, per model.

    With S·D bits there are 2^(S·D) sequences: at S = D = 8 a fresh one was certainly never trained on, at S = D = 4
    it may have been. ``seeds`` (default: the model's place) pick the sequences.
    """
    seeds = range(model.models) if seeds is None else seeds
    if model.dim != task.dim:
        raise ValueError(f"task must have dim {model.dim} as the model, got {task.dim}")
    if len(seeds) != model.models or not all(0 <= s < TEST_SEED for s in seeds):
        raise ValueError(f"seeds must be one per model ({model.models}), in 0 … {TEST_SEED - 1}, got {list(seeds)}")
    sequences = integer("sequences", sequences, 1)
    accuracy = []
    for m, seed in enumerate(seeds):  # one model at a time: an ensemble's trajectories would not fit into the cache
        generator = torch.Generator(model.W_hh.device).manual_seed(TEST_SEED + seed)
        inputs, targets = task.sample(sequences, horizon, generator, model.W_hh.dtype)
        h = inputs.new_zeros(1, sequences, model.hidden)
        right = 0.0
        for t in range(task.history + horizon):
            h = cells.step(model[m], h, inputs[:, t] if t < task.history else None)
            if t >= task.history:
                right += ((h @ model[m].W_r.mT * targets[:, t - task.history]) > 0).double().mean().item()
        accuracy.append(right / horizon)
    return torch.tensor(accuracy)


def _check_start(start: Elman, models: int, hidden: int, dim: int) -> None:
    got = (start.models, start.hidden, start.dim)
    if got != (models, hidden, dim):
        raise ValueError(f"start must have {models} models with {hidden} units and dim {dim}, got {got}")
    if start.activation != "tanh":
        raise ValueError(f"start must have activation 'tanh', got {start.activation!r}")
    if not all(w.isfinite().all() for w in (start.W_uh, start.W_hh, start.W_r)):
        raise ValueError("start must have finite weights, got NaN or infinity")


def _checked(arguments: dict) -> dict:
    """The settings that decide a run's numbers, each checked; per-model ones as lists."""
    a = dict(arguments)
    if a["cell"] != "elman":
        raise ValueError(f"cell must be 'elman', got {a['cell']!r}")
    seeds = [integer("seeds", s, 0) for s in a["seeds"]]
    if not seeds:
        raise ValueError("seeds must hold at least one seed, got none")
    if max(seeds) >= TEST_SEED:
        raise ValueError(f"seeds must be below {TEST_SEED}, got {seeds}")
    config: dict = {"cell": a["cell"], "seeds": seeds}
    for name in ("hidden", "steps", "batch", "every", "test_horizon", "checkpoint_every"):
        a[name] = integer(name, a[name], 0 if name == "steps" else 1)
    config |= {name: a[name] for name in ("hidden", "steps", "batch", "every")}
    if not a["clip"] > 0:
        raise ValueError(f"clip must be positive, got {a['clip']}")
    config["clip"] = float(a["clip"])
    for name, positive in (("lr", True), ("l2", False), ("threshold", False)):
        value = a[name]
        values = [float(value)] * len(seeds) if isinstance(value, (int, float)) else [float(v) for v in value]
        if len(values) != len(seeds):
            raise ValueError(f"{name} must be one number or one per seed ({len(seeds)}), got {len(values)}")
        if any(not (v > 0 if positive else v >= 0) or math.isinf(v) for v in values):
            raise ValueError(f"{name} must be finite and {'positive' if positive else 'at least 0'}, got {values}")
        config[name] = values
    config["horizons"] = [integer("horizons", h, 1) for h in a["horizons"]]
    if not config["horizons"]:
        raise ValueError("horizons must hold at least one horizon, got none")
    config["snapshots"] = sorted({integer("snapshots", s, 0) for s in a["snapshots"]})
    if any(s > a["steps"] for s in config["snapshots"]):
        raise ValueError(f"snapshots must lie in 0 … steps = {a['steps']}, got {config['snapshots']}")
    if a["device"] != "cpu" and a["device"].partition(":")[0] != "cuda":
        raise ValueError(f"device must be 'cpu' or a CUDA device, got {a['device']!r}")
    if a["device"] != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device must be 'cpu' where torch finds no CUDA device, got {a['device']!r}")
    return config


def _collect(groups: list[_Group], task: VariableBinding, config: dict, test_horizon: int, interrupted: bool) -> Run:
    """The groups' state as one Run, models in the order of their seeds."""

    def ensemble(flats: list[Tensor]) -> Elman:
        return groups[0].model(torch.cat(flats).clone())

    model = ensemble([g.weights for g in groups])
    for g in groups:  # an update that overflowed at the last step: the next one would have found out
        finite = g.weights.isfinite().all(1).tolist()
        g.diverged = [g.step if at < 0 and not ok else at for at, ok in zip(g.diverged, finite, strict=True)]
    diverged = [at for g in groups for at in g.diverged]
    status = tuple(
        f"diverged at step {at}" if at >= 0 else f"interrupted at step {g.step}" if g.step < config["steps"] else "done"
        for g in groups
        for at in g.diverged
    )
    accuracy = torch.full((model.models,), math.nan)
    whole = [m for m, at in enumerate(diverged) if at < 0]
    if whole and not interrupted:
        seeds = [config["seeds"][m] for m in whole]
        try:
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
        snapshots={
            s: ensemble([g.snapshots[s] for g in groups])
            for s in config["snapshots"]
            if all(s in g.snapshots for g in groups)
        },
    )


def _save_checkpoint(path: Path, identity: str, groups: list[_Group]) -> None:
    tensors = {f"{i}.{name}": t for i, g in enumerate(groups) for name, t in g.tensors().items()}
    write_safetensors(tensors, path, {"run": identity})


def _load_checkpoint(path: Path, identity: str, groups: list[_Group]) -> None:
    stored: list[dict[str, Tensor]] = [{} for _ in groups]
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("run")
            if found is None:
                raise ValueError(f"checkpoint must be a file that fit wrote, {path} is not")
            if found != identity:
                old, new = json.loads(found), json.loads(identity)
                changed = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
                differ = {k: (old.get(k), new.get(k)) for k in changed}
                raise ValueError(f"checkpoint {path} is of another run; (there, here): {differ}")
            names = file.keys()
            if {name.partition(".")[0] for name in names} != {str(i) for i in range(len(groups))}:
                # the CPU trains model by model, CUDA all at once
                raise ValueError(f"checkpoint {path} was written on another kind of device")
            for key in names:
                index, _, name = key.partition(".")
                stored[int(index)][name] = file.get_tensor(key)
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is damaged or of another kind: {error}") from error
    for group, tensors in zip(groups, stored, strict=True):
        if tensors["generators"].shape[1] != group.generators[0].get_state().numel():
            raise ValueError(f"checkpoint {path} was written on another kind of device")
        group.restore(tensors)


def _advance(groups: list[_Group], goal: int, stop: threading.Event, update, pool: ThreadPoolExecutor) -> None:
    """Bring all groups to step ``goal``, or to a common end if ``stop`` is set or one of them fails."""
    futures = [pool.submit(g.advance, goal, stop, update) for g in groups]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    except KeyboardInterrupt:  # from a handler of the program's own
        stop.set()
    if any(future.done() and future.exception() for future in futures):
        stop.set()
    for future in futures:
        future.result()
