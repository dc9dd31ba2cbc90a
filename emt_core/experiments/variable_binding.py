"""Networks that bind variables, as lines of grids and as jobs: the table of arXiv:2310.02430, and what else the book
ships of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emt_core.analysis import spectrum
from emt_core.experiments import jobs
from emt_core.experiments.provenance import number
from emt_core.experiments.table import Line, Swept, about, drive, takes, weights_file
from emt_core.networks import Elman, VectorNetwork, cell_named, save
from emt_core.support import checks
from emt_core.support.files import write_safetensors
from emt_core.support.random_streams import seeds_of, streams
from emt_core.tasks import PAPER_TRIPLES, VariableBinding
from emt_core.theory import circuit
from emt_core.training import Run, variable_binding


@dataclass(frozen=True, kw_only=True)
class Model(Line):
    """A network. ``choice`` … ``dim`` are its task's; from ``lr`` on, the recipe of
    :func:`emt_core.training.variable_binding.fit`. ``start`` is one of ``RECURRENT_STARTS`` of an Elman
    network, and the eigenvalues of its W_hh are looked at every ``look`` steps, unless that is 0. A value out of range
    raises ValueError."""

    cell: str = "elman"
    choice: int
    permutation: int
    signs: int
    history: int
    dim: int
    hidden: int
    l2: float | int
    threshold: float | int
    seed: int
    steps: int
    lr: float | int = 1e-3
    batch: int = 64
    clip: float | int = 1.0
    horizons: tuple[int, ...] = (10, 20, 40, 60, 100)
    every: int = 50
    test_horizon: int = 200
    start: str = "uniform"
    look: int = 0
    noise: float | int = 0.0

    def __post_init__(self) -> None:
        task = self.task  # checks its numbers
        plain: dict[str, Any] = dict(zip(("choice", "permutation", "signs"), task.triple, strict=True))
        plain |= {"history": int(task.history), "dim": int(task.dim), "seed": seeds_of([self.seed], "seed")[0]}
        for name, least in {"hidden": 1, "steps": 1, "batch": 1, "every": 1, "test_horizon": 1, "look": 0}.items():
            plain[name] = checks.integer(name, getattr(self, name), least)
        plain["horizons"] = tuple(checks.integer("horizons", h, 1) for h in self.horizons)
        for name in ("l2", "threshold", "lr", "noise"):
            plain[name] = checks.number(name, getattr(self, name), positive=name == "lr")
        plain["clip"] = float(self.clip)
        if not plain["clip"] > 0:
            raise ValueError(f"clip must be positive, got {self.clip}")
        if cell_named(self.cell) is not Elman and (self.start, self.look) != ("uniform", 0):
            raise ValueError(f"cell must be 'elman' for a start or a look, got {self.cell!r}")
        for name, value in plain.items():  # stored as plain numbers: equal models hash equal, 0 and 0.0 are one
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, task: VariableBinding, **settings: Any) -> Model:
        """A network for ``task``."""
        choice, permutation, signs = task.triple
        of = {"choice": choice, "permutation": permutation, "signs": signs, "history": task.history, "dim": task.dim}
        return cls(**of | settings)

    @property
    def triple(self) -> tuple[int, int, int]:
        return self.choice, self.permutation, self.signs

    @property
    def task(self) -> VariableBinding:
        return VariableBinding(self.triple, self.history, self.dim)

    @property
    def label(self) -> str:
        task = f"S{self.history}D{self.dim}-{self.choice:x}-{self.permutation}-{self.signs}"
        return f"{self.cell}-{task}-N{self.hidden}-L{self.l2:g}-T{self.threshold:g}-s{self.seed}"

    @property
    def alike(self) -> Model:
        return replace(self, seed=0, l2=0.0, threshold=0.0, lr=1.0)

    @property
    def extends(self) -> bool:
        """False with looks, since the checkpoint of a shorter run has no room for those of a longer one."""
        return not self.look

    def files(self, key: str) -> tuple[str, ...]:
        return (weights_file(key), film_file(key)) if self.look else (weights_file(key),)


def film_file(key: str) -> str:
    """Where the eigenvalues at all looks are, ``real`` and ``imag`` (K, N), with the ``steps`` and the ``loss``."""
    return f"weights/{key}.film.safetensors"


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
    names = ("hidden", "l2", "threshold", "seed")
    return [
        Model.of(task, **dict(zip(names, values, strict=True)), steps=steps, **recipe)
        for task, *values in itertools.product(tasks, hidden, l2, threshold, list(seeds))
    ]


# --- one job: some models in one call of fit --------------------------------------------------------------------------


def train(
    place: jobs.Place, models: tuple[Model, ...], device: str, checkpoint_every: int, weights: bool
) -> list[dict] | None:
    """Train models that differ in seed, l2, threshold and lr alone; what is measured of each, None if stopped."""
    first, seeds = models[0], [m.seed for m in models]
    shared = ("cell", "hidden", "steps", "batch", "clip", "noise", "horizons", "every", "test_horizon")
    settings: dict[str, Any] = {name: getattr(first, name) for name in shared}
    settings |= {name: [getattr(m, name) for m in models] for name in ("lr", "l2", "threshold")}
    run = variable_binding.fit(
        first.task, **settings, seeds=seeds, start=None if first.start == "uniform" else _start(first, seeds),
        snapshots=range(0, first.steps + 1, first.look) if first.look else (), checkpoint=place.checkpoint,
        checkpoint_every=checkpoint_every, device=device, stop=place.stop, progress=False,
    )  # fmt: skip
    if place.stop.is_set():
        return None
    for m, model in enumerate(models if weights else ()):
        said = about(model, device, status=run.status[m])
        save(run.model[m], place.folder / weights_file(model.key), said)
        if model.look:
            write_safetensors(_film(run, m), place.folder / film_file(model.key), said)
    return [_measures(run, m, model) for m, model in enumerate(models)]


def _start(model: Model, seeds: Sequence[int]) -> VectorNetwork:
    generators = streams(seeds, "network")  # the data are the same as without it
    drawn = VectorNetwork.init(Elman, model.dim, model.hidden, generators)
    return replace(drawn, cell=drawn.cell.started(model.start, generators))  # type: ignore[attr-defined]


def _measures(run: Run, m: int, model: Model) -> dict:
    """What the table says of model ``m``: None where there is no number."""
    loss = run.history.loss[:, m].double()
    recorded = loss[~loss.isnan()]  # after a divergence nothing is recorded
    found = {
        "status": run.status[m],
        "accuracy": number(run.accuracy[m]),
        **_spectrum(run, m, model),
        "loss": number(recorded[-10:].mean()),
        "horizon": int(run.history.horizon[:, m].max()),
        "ended": int(run.steps[m]),
        "last_loss": number(loss[-1]),
    }
    if model.look:
        looks, phi = sorted(run.snapshots), circuit.effective_interaction(model.task)
        good = spectrum.spectral_error(torch.stack([run.snapshots[s].W_hh[m] for s in looks]), phi).matched.tolist()
        # the first look at which the counts agree with the theory's, and the first from which on they always do
        found["first_step"] = next((s for s, ok in zip(looks, good, strict=True) if ok), None)
        found["found"] = next((s for i, s in enumerate(looks) if all(good[i:])), None)
    return found


def _spectrum(run: Run, m: int, model: Model) -> dict:
    """An Elman network's eigenvalues beside the theory's; nothing of other cells."""
    names = ("eigenvalues_learned", "eigenvalues_theory", "matched", "error_optimal", "error_greedy")
    if not isinstance(run.model.cell, Elman):
        return dict.fromkeys(names)
    W_hh, phi = run.model.W_hh[m], circuit.effective_interaction(model.task)
    best, greedy = (spectrum.spectral_error(W_hh, phi, matching=how) for how in ("optimal", "greedy"))
    counts = best.counts.tolist()
    return dict(zip(names, (*counts, bool(best.matched), number(best.error), number(greedy.error)), strict=True))


def _film(run: Run, m: int) -> dict[str, Tensor]:
    steps = sorted(run.snapshots)
    frames = torch.stack([spectrum.eigenvalues(run.snapshots[s].W_hh[m]) for s in steps]).to(torch.complex64)
    loss = torch.tensor(np.interp(steps, run.history.steps, run.history.loss[:, m]))
    return {"real": frames.real, "imag": frames.imag, "steps": torch.tensor(steps), "loss": loss}


# --- sweeps -----------------------------------------------------------------------------------------------------------


@takes(drive)
def sweep(
    models: Iterable[Model], out: str | Path, *, checkpoint_every: int = 500, weights: bool = False, **options
) -> Swept:
    """Train the models that ``out`` has no row of yet, and write ``out/table.csv``.

    Args:
        checkpoint_every: steps. What a killed worker loses is at most the time since its last checkpoint.
        weights: also save each network in ``out/weights``.
        options: those of :func:`emt_core.experiments.table.drive`, with its errors.
    """
    checkpoint_every = checks.integer("checkpoint_every", checkpoint_every, 1)
    return drive(Model, models, out, train, (checkpoint_every, weights), weights, **options)


@takes(sweep)
def table1(
    out: str | Path,
    *,
    tasks: Iterable[int] = (0, 1, 2, 3),
    hidden: Iterable[int] = (64, 128),
    l2: Iterable[float | int] = (0.0, 0.001),
    threshold: Iterable[float | int] = (0.9, 0.98),
    seeds: Iterable[int] = range(20),
    steps: int = 20_000,
    cell: str = "elman",
    **options,
) -> Swept:
    """The networks of the table of arXiv:2310.02430: ``tasks`` are places in ``PAPER_TRIPLES``, S = D = 8.
    ``options`` are those of :func:`sweep`."""
    places = [checks.integer("tasks", place, 0) for place in tasks]
    if any(place >= len(PAPER_TRIPLES) for place in places):
        raise ValueError(f"tasks must be places in PAPER_TRIPLES, 0 … {len(PAPER_TRIPLES) - 1}, got {places}")
    bindings = [VariableBinding(PAPER_TRIPLES[place], 8, 8) for place in places]
    models = grid(bindings, hidden=hidden, l2=l2, threshold=threshold, seeds=seeds, steps=steps, cell=cell)
    return sweep(models, out, **options)


THRESHOLD = 0.96  # of all that follows
#: (task of PAPER_TRIPLES, units, L2 penalty, seeds, steps) at the paper's size; seed 0 of the first is repeat_copy's
FULL_SIZE = {
    "circuits": [(0, 128, 0.0, range(1, 4), 20_000), *((place, 128, 0.0, range(4), 10_000) for place in (1, 2, 3))],
    "failures": [
        (0, 64, 0.0, range(2), 20_000),
        (0, 64, 0.001, range(2), 20_000),
        (1, 64, 0.001, range(2), 20_000),
        (0, 128, 0.001, range(2), 20_000),
        (0, 64, 0.1, range(2), 20_000),
        (2, 128, 0.1, range(2), 20_000),
    ],
}


def full_size(place: int, hidden: int, l2: float | int, seeds: Iterable[int], steps: int) -> list[Model]:
    """The networks of a line of :data:`FULL_SIZE`."""
    task = VariableBinding(PAPER_TRIPLES[place], 8, 8)
    return grid([task], hidden=[hidden], l2=[l2], threshold=[THRESHOLD], seeds=seeds, steps=steps)


@takes(sweep)
def circuits(out: str | Path, **options) -> Swept:
    """Cells of the paper's table in which training finds the circuit, with their weights."""
    models = itertools.chain(*(full_size(*cell) for cell in FULL_SIZE["circuits"]))
    return sweep(models, out, **options | {"weights": True})


@takes(sweep)
def failures(out: str | Path, **options) -> Swept:
    """Cells of the paper's table in which mostly it does not, with their weights."""
    models = itertools.chain(*(full_size(*cell) for cell in FULL_SIZE["failures"]))
    return sweep(models, out, **options | {"weights": True})


@takes(sweep)
def repeat_copy(out: str | Path, *, seeds: Iterable[int] = range(8), steps: int = 20_000, **options) -> Swept:
    """Repeat copy at the paper's size with 128 units: weights, and eigenvalues every 500 steps."""
    task = [VariableBinding.repeat_copy(8, 8)]
    models = grid(task, hidden=[128], l2=[0.0], threshold=[THRESHOLD], seeds=seeds, steps=steps, look=500)
    return sweep(models, out, **options | {"weights": True})


SMALL: dict[str, Any] = {"task": VariableBinding.repeat_copy(4, 4), "hidden": 32, "horizons": (10, 20), "look": 50}
#: what differs from a small network as the authors would train it
CONDITIONS: dict[str, dict[str, Any]] = {
    "as the authors": {},
    "orthogonal start": {"start": "orthogonal"},
    "identity start": {"start": "identity"},
    "small start": {"start": "small"},
    "rate 3e-4": {"lr": 3e-4},
    "rate 3e-3": {"lr": 3e-3},
    "rate 1e-2": {"lr": 1e-2},
    "no curriculum": {"horizons": (20,)},
    "short horizon only": {"horizons": (10,)},
    "no clipping": {"clip": math.inf},
    "64 units": {"hidden": 64},
    "another task": {"task": VariableBinding((616, 5, 5), 4, 4)},
}


def small(condition: str, seed: int, steps: int = 2000) -> Model:
    """A small network, trained under one of the :data:`CONDITIONS`."""
    return Model.of(**SMALL | CONDITIONS[condition], l2=0.0, threshold=THRESHOLD, seed=seed, steps=steps)


@takes(sweep)
def emergence(out: str | Path, *, seeds: Iterable[int] = range(16), steps: int = 2000, **options) -> Swept:
    """Small networks from many starts and with many settings: when does the circuit appear, if it does?"""
    return sweep([small(each, seed, steps) for each in CONDITIONS for seed in seeds], out, **options)
