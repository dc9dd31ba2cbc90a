"""How long memories last: networks under conditions that tell apart what might make them digital, and what is measured
of each once it is trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from emt_core.analysis import horizons, spectrum, stability
from emt_core.analysis.edits.trials import running
from emt_core.analysis.regeneration import regeneration
from emt_core.experiments import jobs, variable_binding
from emt_core.experiments.provenance import number
from emt_core.experiments.table import Swept, drive, takes, under, weights_file
from emt_core.experiments.variable_binding import THRESHOLD, Model
from emt_core.networks import Elman, VectorNetwork, load
from emt_core.support import checks
from emt_core.support.random_streams import stream
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

#: output steps whose accuracy is a column, each the mean of the last WINDOW
STEPS = (50, 200, 1000, 4000, 10_000)
WINDOW = 24
SETTLED, KICK, LATER = 40, 0.2, 400  # output steps, then a kick of so much of the state's norm, and its remains later
SEQUENCES = 128
FLOOR = 20  # output steps of the linear floor that a table gives
MODULI = ("modulus_least", "modulus_mean", "modulus_most")  # of Elman networks without biases
OF_CIRCUITS = (*MODULI, "gain", "ownership")  # of Elman networks
COLUMNS = (*(f"accuracy_{last}" for last in STEPS), "kept", "size", *OF_CIRCUITS)

SHAPES = ((16, 1), (8, 2), (4, 4), (2, 8), (8, 1), (4, 2), (2, 4), (4, 1), (2, 2))  # S and D of repeat copies
#: S and D of random tasks; the first KNOWN were trained before the book stated its rule, the others after it, and so
#: were the repeat copies of UNSEEN
KNOWN, UNSEEN = 8, ((3, 3), (5, 3), (3, 5), (6, 2), (12, 1), (3, 4))
DRAWN = ((4, 4),) * 8 + ((4, 4), (4, 4), (3, 5), (5, 3), (6, 2), (2, 6), (8, 2), (3, 3))
QUICK: dict[str, Any] = {"horizons": (10, 20, 40), "steps": 2000}  # what has no kernel trains for less
PAPERS: dict[str, Any] = {"task": VariableBinding.repeat_copy(8, 8), "hidden": 128}
#: what is otherwise than in repeat copy with S = D = 4 and 64 units
OTHERWISE: dict[str, dict[str, Any]] = {
    "24 units": {"hidden": 24},
    "128 units": {"hidden": 128},
    "horizon 400": {"horizons": (10, 20, 40, 100, 200, 400)},
    "12000 steps": {"steps": 12_000},
    "penalty 1e-4": {"l2": 1e-4},
    "rate 2e-3": {"lr": 2e-3},
    "rate 3e-3": {"lr": 3e-3},
    "rate 3e-4": {"lr": 3e-4, "steps": 12_000},
    "4 x 2 at rate 3e-4": {"task": VariableBinding.repeat_copy(4, 2), "lr": 3e-4, "steps": 12_000},
    "batch 8": {"batch": 8},
    "horizon 40": QUICK,
    **{f"noise {sigma:g}": QUICK | {"noise": sigma} for sigma in (0.003, 0.01, 0.03, 0.1)},
    **{f"8 x 8 with noise {sigma:g}": PAPERS | QUICK | {"noise": sigma, "steps": 8000} for sigma in (0.01, 0.03)},
    "8 x 8 at rate 3e-3": PAPERS | {"lr": 3e-3, "steps": 6000},
}
#: cells, all trained alike on the same tasks
CELLS: dict[str, dict[str, Any]] = {
    "elman": {}, "biased elman": {"start": "biased"}, "gru": {"cell": "gru"}, "lstm": {"cell": "lstm"}
}  # fmt: skip
RANDOM = {f"random {i}": VariableBinding.random(S, D, stream(i, "drawn")) for i, (S, D) in enumerate(DRAWN)}
TASKS = {"repeat copy": VariableBinding.repeat_copy(4, 4)} | {name: RANDOM[name] for name in list(RANDOM)[:3]}
ALIKE: dict[str, Any] = QUICK | {"lr": 3e-3, "steps": 5000}
#: the conditions that compare cells, by name
COMPARED: dict[str, dict[str, Any]] = {
    **{f"{cell} on {task}": ALIKE | {"task": TASKS[task]} | CELLS[cell] for cell in CELLS for task in TASKS},
    **{f"{cell} with noise 0.03": ALIKE | {"noise": 0.03} | CELLS[cell] for cell in ("gru", "lstm")},
    **{f"{cell} on 8 x 8": PAPERS | ALIKE | CELLS[cell] for cell in CELLS},
}
#: all conditions by name: the fields of a :class:`Model` that they set, and the task
CONDITIONS: dict[str, dict[str, Any]] = {
    **{f"repeat copy {S} x {D}": {"task": VariableBinding.repeat_copy(S, D)} for S, D in SHAPES + UNSEEN},
    **{name: {"task": task} for name, task in RANDOM.items()},
    **OTHERWISE,
    **COMPARED,
}
#: what tests the rule
HELD_OUT = (
    *(f"random {i}" for i in range(KNOWN, len(DRAWN))),
    *(f"repeat copy {S} x {D}" for S, D in UNSEEN),
)
USUAL: dict[str, Any] = {
    "task": VariableBinding.repeat_copy(4, 4), "hidden": 64, "steps": 4000, "horizons": (10, 20, 40, 60, 100)
}  # fmt: skip


def network(condition: str, seed: int) -> Model:
    """A network that is trained under one of the :data:`CONDITIONS`."""
    return Model.of(**USUAL | {"l2": 0.0} | under(CONDITIONS, condition), threshold=THRESHOLD, seed=seed)


def measure(model: VectorNetwork, task: VariableBinding, seed: int) -> dict[str, float | None]:
    """What becomes of the memories of one network (M = 1): accuracies at :data:`STEPS`, the median ``kept`` of a kick,
    the state's root mean square ``size``, and of Elman networks the ``gain`` and the ``ownership`` of the cycle that
    restores least and of the one that owns least; without biases also the least, mean and largest modulus of the
    leading eigenvalues, as many as Φ has on the unit circle."""
    steps = sorted({t for last in STEPS for t in range(last - WINDOW + 1, last + 1)})
    right = horizons.accuracy_at(model, task, steps, SEQUENCES, [stream(seed, "lasting")])[0]
    at = torch.tensor(steps)
    found = {f"accuracy_{last}": number(right[(at > last - WINDOW) & (at <= last)].mean()) for last in STEPS}
    h = running(task, model, SETTLED, SEQUENCES, [stream(seed, "lasting")]).h
    kicked = stability.kick(h, KICK, [stream(seed, "kick")])
    found["kept"] = number(stability.distance(model, h, kicked, [LATER]).median())
    found["size"] = number(h.square().mean().sqrt())
    found |= dict.fromkeys(OF_CIRCUITS)
    if not isinstance(model.cell, Elman):
        return found
    if model.cell.b is None:  # with biases the origin need not be a fixed point
        moduli = spectrum.eigenvalues(model.W_hh[0]).abs().sort(descending=True).values[: circuit.effective_rank(task)]
        found |= dict(zip(MODULI, map(number, (moduli.min(), moduli.mean(), moduli.max())), strict=True))
    restored = regeneration(model, task, [stream(seed, "regeneration")])
    return found | {"gain": number(restored.weakest[0]), "ownership": number(restored.best.min())}


def train(place: jobs.Place, models: tuple[Model, ...], device: str, checkpoint_every: int) -> list[dict] | None:
    """Networks and their rows, with :func:`measure`'s columns; None if stopped."""
    rows = variable_binding.train(place, models, device, checkpoint_every, True)
    if rows is None:
        return None
    loaded = [load(place.folder / weights_file(model.key))[0] for model in models]
    return [row | measure(own, model.task, model.seed) for row, own, model in zip(rows, loaded, models, strict=True)]


@takes(drive)
def lasting(
    out: str | Path,
    *,
    conditions: Iterable[str] = tuple(CONDITIONS),
    seeds: Iterable[int] = range(4),
    checkpoint_every: int = 500,
    **options,
) -> Swept:
    """Do memories correct errors? Networks under many conditions, their accuracy to 10,000 output steps, what a kick
    leaves, and where their circuits restore. ``options`` are those of :func:`emt_core.experiments.table.drive`."""
    checkpoint_every = checks.integer("checkpoint_every", checkpoint_every, 1)
    models = [network(*each) for each in itertools.product(conditions, seeds)]
    return drive(Model, models, out, train, (checkpoint_every,), True, **options)
