"""Networks to be trained as data, and the job that trains some of them: what :mod:`emt_core.experiments.sweeps` is built on."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import multiprocessing
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from emt_core.analysis import spectrum
from emt_core.experiments import jobs
from emt_core.networks import cells
from emt_core.support.checks import integer
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit
from emt_core.training import variable_binding as train


@dataclass(frozen=True)
class Model:
    """Everything that decides a network's numbers: a line of the grid. From ``lr`` on, the recipe of
    :func:`emt_core.training.variable_binding.fit`.

    Raises:
        ValueError: a value out of range.
    """

    triple: tuple[int, int, int]
    history: int
    dim: int
    hidden: int
    l2: float | int
    threshold: float | int
    seed: int
    steps: int
    cell: str = "elman"
    lr: float | int = 1e-3
    batch: int = 64
    clip: float | int = 1.0
    horizons: tuple[int, ...] = (10, 20, 40, 60, 100)
    every: int = 50
    test_horizon: int = 200

    def __post_init__(self) -> None:
        # stored as plain numbers, so that equal models compare and hash equal: 0 and 0.0 are one
        for name in ("hidden", "steps", "batch", "every", "test_horizon"):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1))
        object.__setattr__(self, "seed", integer("seed", self.seed, 0))
        task = self.task  # checks these three
        for name in ("triple", "history", "dim"):
            object.__setattr__(self, name, getattr(task, name))
        object.__setattr__(self, "horizons", tuple(integer("horizons", h, 1) for h in self.horizons))
        for name in ("l2", "threshold", "lr", "clip"):
            value = float(getattr(self, name))
            object.__setattr__(self, name, value)
            if not 0 <= value < math.inf or (value == 0 and name in ("lr", "clip")):
                at_least = "positive" if name in ("lr", "clip") else "at least 0"
                raise ValueError(f"{name} must be finite and {at_least}, got {value}")

    @property
    def task(self) -> VariableBinding:
        return VariableBinding(self.triple, self.history, self.dim)

    @property
    def key(self) -> str:
        """A name for files."""
        return group_key([self])

    def columns(self) -> dict:
        """The model as the first columns of its row."""
        choice, permutation, signs = self.triple
        row = {"cell": self.cell, "choice": choice, "permutation": permutation, "signs": signs}
        rest = {k: v for k, v in asdict(self).items() if k not in ("cell", "triple")}
        return row | rest | {"horizons": " ".join(map(str, self.horizons))}

    @classmethod
    def of_row(cls, row: dict) -> Model:
        """The inverse of :meth:`columns`."""
        named = {f.name: row[f.name] for f in fields(cls) if f.name not in ("triple", "horizons")}
        triple = (row["choice"], row["permutation"], row["signs"])
        return cls(triple=triple, horizons=tuple(map(int, row["horizons"].split())), **named)


def group_key(models: Sequence[Model], device: str = "") -> str:
    m = models[0]
    last = f"x{len(models)}" if len(models) > 1 else f"L{m.l2:g}-T{m.threshold:g}-s{m.seed}"
    numbers = json.dumps([asdict(each) for each in models] + [device], sort_keys=True)
    choice, permutation, signs = m.triple
    name = f"{m.cell}-S{m.history}D{m.dim}-{choice:x}-{permutation}-{signs}-N{m.hidden}-{last}"
    return f"{name[:150]}-{hashlib.sha256(numbers.encode()).hexdigest()[:12]}"


def grid(
    tasks: Iterable[VariableBinding],
    *,
    hidden: Iterable[int],
    l2: Iterable[float | int],
    threshold: Iterable[float | int],
    seeds: Iterable[int],
    steps: int,
    **recipe,
) -> list[Model]:
    """All combinations, in the order of the arguments; ``recipe``: further fields of :class:`Model`."""
    return [
        Model(task.triple, task.history, task.dim, N, penalty, level, seed, steps, **recipe)
        for task, N, penalty, level, seed in itertools.product(tasks, hidden, l2, threshold, seeds)
    ]


# --- one job: some models in one call of fit --------------------------------------------------------------------------


def train_group(
    place: jobs.Place, models: tuple[Model, ...], device: str, checkpoint_every: int, weights: bool
) -> list[dict] | None:
    """Train models that differ in seed, l2, threshold and lr alone; a row for each, or None if stopped.

    A damaged checkpoint is set aside and training starts again; one of other settings is a ValueError.
    """
    torch.set_num_threads(1)  # one job per core; and bits must not depend on how many cores there are
    if multiprocessing.parent_process() is not None:  # whoever is waiting for this process says what was interrupted
        logging.getLogger(train.__name__).setLevel(logging.ERROR)
    first, task = models[0], models[0].task
    set_aside_if_damaged(place.checkpoint)
    shared = ("cell", "hidden", "steps", "batch", "clip", "horizons", "every", "test_horizon")
    run = train.fit(
        task,
        **{name: getattr(first, name) for name in shared},
        **{name: [getattr(m, name) for m in models] for name in ("lr", "l2", "threshold")},
        seeds=[m.seed for m in models],
        checkpoint=place.checkpoint,
        checkpoint_every=checkpoint_every,
        device=device,
        stop=place.stop,
        progress=False,
    )
    if place.stop.is_set():
        return None
    rows = [model.columns() | _measures(run, m, task) for m, model in enumerate(models)]
    made = made_by(device)
    if weights:
        for m, model in enumerate(models):
            text = {name: str(value) for name, value in (model.columns() | made).items() if name != "cell"}
            cells.save(run.model[m], place.folder / weights_file(model), text | {"status": run.status[m]})
    seconds = place.seconds() / len(models)
    return [row | {"seconds": seconds} | made for row in rows]


def _measures(run: train.Run, m: int, task: VariableBinding) -> dict:
    """What the table says of model ``m``: None where there is no number."""
    W_hh, phi = run.model.W_hh[m], circuit.effective_interaction(task)
    optimal = spectrum.spectral_error(W_hh, phi)
    greedy = spectrum.spectral_error(W_hh, phi, matching="greedy")
    loss = run.history.loss[:, m].double()
    loss = loss[~loss.isnan()]  # after a divergence nothing is recorded
    return {
        "status": run.status[m],
        "accuracy": number(run.accuracy[m]),
        "eigenvalues_learned": int(optimal.counts[0]),
        "eigenvalues_theory": int(optimal.counts[1]),
        "matched": bool(optimal.matched),
        "error_optimal": number(optimal.error),
        "error_greedy": number(greedy.error),
        "loss": number(loss[-10:].mean()),
        "horizon": int(run.history.horizon[:, m].max()),
    }


def number(value: torch.Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def weights_file(model: Model) -> str:
    return f"weights/{model.key}.safetensors"


def set_aside_if_damaged(checkpoint: Path) -> None:
    if not checkpoint.exists():
        return
    checkpoint.open("rb").close()  # what may not be read is no damage: OSError with the path
    try:
        with safe_open(checkpoint, framework="pt"):
            pass
    except SafetensorError as error:
        jobs.set_aside(checkpoint, error)


def steps_done(checkpoint: Path) -> int:
    """Model-steps in a checkpoint of :func:`emt_core.training.variable_binding.fit`; 0 if it cannot be read."""
    try:
        with safe_open(checkpoint, framework="pt") as file:
            names = file.keys()
            return sum(int(file.get_tensor(name)[:, 0].sum()) for name in names if name.endswith(".progress"))
    except (OSError, SafetensorError):
        return 0


@lru_cache
def made_by(device: str) -> dict[str, str]:
    """Versions and hardware, as columns."""
    root, commit = Path(__file__).resolve().parent.parent, ""
    if (root / ".git").exists():  # not an installed copy within some other repository
        git = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        commit = git.stdout.strip()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gpu = "" if device == "cpu" else f" {torch.cuda.get_device_name(device)}"
    return {
        "device": device + gpu,
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "commit": commit,
    }
