"""Networks that hear one row of a method and ring on: how well, from rows that they were never given too, and how they
hold their bells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from emt_core.analysis import orbits, phase_bases, spectrum
from emt_core.experiments import jobs
from emt_core.experiments.provenance import number
from emt_core.experiments.table import Line, Swept, about, drive, seeded, takes, under, weights_file
from emt_core.networks import Elman, VectorNetwork, cell_named, save
from emt_core.support import checks
from emt_core.support.random_streams import seeds_of, stream
from emt_core.tasks import ChangeRinging
from emt_core.tasks.change_ringing import Change, Method, right_rows, split_rows, tables
from emt_core.theory import ringing
from emt_core.training import variable_binding

COURSES = (1, 2, 10)  # plain courses of whose rows the share that is right is a column
LEADING = 0.9  # eigenvalues above this modulus count as leading
SETTLED = 6  # courses until orbits are looked for
STARTS, ITERATIONS = 24, 60  # at most, of orbits
HALF = 0.5  # a multiplier from here to 1 keeps much of an error for a course
LATER_LEADS = (1, 2, 4)  # leads after which a basis is tried again

MINIMUS: dict[str, Any] = {"method": "Plain Bob Minimus", "hidden": 64, "steps": 1500, "horizons": (8, 16, 24, 36, 48)}
DOUBLES: dict[str, Any] = {"method": "Plain Bob Doubles", "hidden": 128, "steps": 2500, "horizons": (10, 20, 40, 60)}
MINOR: dict[str, Any] = {"method": "Plain Bob Minor", "hidden": 192, "steps": 3000, "horizons": (12, 24, 60, 90)}
TRIPLES: dict[str, Any] = {"method": "Plain Bob Triples", "hidden": 256, "steps": 3000, "horizons": (14, 28, 84, 126)}
GATED: dict[str, Any] = MINIMUS | {"hidden": 32, "lr": 5e-3, "horizons": (8, 16, 24)}
#: all conditions by name: the fields of a :class:`Ringer` that they set, and how many seeds are trained
CONDITIONS: dict[str, tuple[dict[str, Any], int]] = {
    "minimus elman": (MINIMUS, 5),
    "minimus elman 32": (MINIMUS | {"hidden": 32, "steps": 3000, "lr": 2e-3}, 3),
    "minimus gru": (GATED | {"cell": "gru", "steps": 1200}, 3),
    "minimus lstm": (GATED | {"cell": "lstm", "steps": 1000}, 3),
    "doubles elman": (DOUBLES, 5),
    "doubles gru": (DOUBLES | {"cell": "gru", "hidden": 64, "lr": 4e-3, "steps": 1300}, 2),
    "doubles elman free": (DOUBLES | {"free": True}, 2),
    "minor elman": (MINOR, 3),
    "triples elman": (TRIPLES, 2),
    "cambridge elman": (MINOR | {"method": "Cambridge Surprise Minor", "horizons": (12, 24, 48, 120)}, 3),
}


@dataclass(frozen=True, kw_only=True)
class Ringer(Line):
    """A network that rings ``method``, a title of the tables. ``share`` of all rows are never a start in training; with
    ``free`` contents it is trained on any signs instead of rows. The rest is the recipe of
    :func:`emt_core.training.variable_binding.fit`."""

    method: str
    hidden: int
    seed: int
    steps: int
    cell: str = "elman"
    lr: float | int = 1e-3
    horizons: tuple[int, ...] = (10, 20, 40, 60)
    share: float | int = 0.25
    free: bool = False

    def __post_init__(self) -> None:
        cell_named(self.cell)
        plain: dict[str, Any] = {"seed": seeds_of([self.seed], "seed")[0]}
        plain |= {name: checks.integer(name, getattr(self, name), 1) for name in ("hidden", "steps")}
        plain |= {name: checks.number(name, getattr(self, name), positive=True) for name in ("lr", "share")}
        plain["horizons"] = tuple(checks.integer("horizons", h, 1) for h in self.horizons)
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @property
    def label(self) -> str:
        return f"{self.method.replace(' ', '-').lower()}-{self.cell}-N{self.hidden}-s{self.seed}"


def network(condition: str, seed: int) -> Ringer:
    """A network that is trained under one of the :data:`CONDITIONS`."""
    return Ringer(**under(CONDITIONS, condition)[0], seed=seed)


def starts(method: Method, share: float) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """Rows to start from in training, and those that are held out; the same for every network."""
    return split_rows(method.bells, share, stream(0, "split"))


def rung(model: VectorNetwork, method: Method, rows: tuple[Change, ...]) -> dict[str, float | None]:
    """Of one network (M = 1) that starts from each of ``rows``: shares of right rows in COURSES, and of right signs in
    the first two."""
    task, course = ChangeRinging((method,)), method.lead * method.leads
    inputs = task.encode(torch.tensor(rows))[None, None].to(model.W_r)
    outputs = model.rollout(inputs, max(COURSES) * course)[1][0, 1:]
    wanted = task.encode(torch.tensor(rows)[:, method.sources(len(outputs) + 1)[1:]].transpose(0, 1)).to(outputs)
    right = right_rows(outputs, wanted).double()
    found = {f"course_{c}": number(right[(c - 1) * course : c * course].mean()) for c in COURSES}
    return found | {"signs": number((outputs * wanted > 0)[: 2 * course].double().mean())}


def strength(method: Method) -> np.ndarray:
    """The squared norms of R_k, k = 0 … L − 1: how strong each frequency is in the method's lines; their sum is 1."""
    power = ringing.residues(method).abs().square().sum((1, 2)).numpy()
    return power / power.sum()


def eigenvalues(W_hh: Tensor, method: Method) -> dict[str, float | None]:
    """The leading eigenvalues of one matrix beside the method's frequencies: how many, the largest modulus, how many
    lie next to ±1, their mean distance to the nearest L-th root of unity in rad, and the rank correlation, over k from
    1 on, of the strength of frequency k with how many have k as the nearest."""
    power, values = strength(method), spectrum.eigenvalues(W_hh).numpy()
    L, large = len(power), values[abs(values) > LEADING]
    turns = np.angle(large) / (2 * np.pi) * L
    nearest = np.rint(turns).astype(int)
    counts, k = np.bincount(nearest % L, minlength=L), np.arange(1, (L + 1) // 2)
    found = {
        "leading": float(len(large)), "radius": abs(values).max(), "real": float(counts[0] + counts[L // 2]),
        "angle": abs(turns - nearest).mean() * 2 * np.pi / L if len(large) else np.nan,
        "correlation": spearmanr(power[k], counts[k]).statistic if np.ptp(counts[k]) else np.nan,
    }  # fmt: skip
    return {name: number(value) for name, value in found.items()}


SPECTRUM = ("leading", "radius", "real", "angle", "correlation")


def held(
    model: VectorNetwork, method: Method, heard: tuple[Change, ...], others: tuple[Change, ...], seed: int
) -> dict[str, float | None]:
    """How one network holds its bells in its second lead, means over its phases: R² of the phase's basis on runs from
    other starts, then of the basis of the first phase some leads later and in all other phases; dimensions; and the
    swap edits, on runs from either starts."""
    task, P = ChangeRinging((method,)), method.lead
    count = max((max(LATER_LEADS) + 1) * P, 2 * P + phase_bases.LATER) + 1
    fitted, unseen = (phase_bases.ring(model, task, rows, count) for rows in (heard, others))
    second = range(P, 2 * P)
    bases = [phase_bases.fit(fitted, task, t) for t in second]

    def of_first(times: Iterable[int]) -> Tensor:
        return torch.stack([phase_bases.explained(bases[0], unseen, task, t) for t in times])

    own = [phase_bases.explained(basis, unseen, task, t) for t, basis in zip(second, bases, strict=True)]
    found = {
        "explained": torch.stack(own).mean(),
        "explained_later": of_first(P + leads * P for leads in LATER_LEADS).min(),
        "explained_other": of_first(second[1:]).max(),
        "dimensions": phase_bases.dimensions(bases).float().mean(),
        "dimensions_one": torch.stack([phase_bases.dimensions([basis]) for basis in bases]).float().mean(),
    }
    for name, runs in {"heard": fitted, "held": unseen}.items():
        each = [phase_bases.swap_edits(model, task, fitted, runs, t, stream(seed, "edit")) for t in second]
        for what in phase_bases.STATES:
            found[f"{what.replace(' ', '_')}_{name}"] = torch.stack([shares[what] for shares in each]).mean()
    return {name: number(value) for name, value in found.items()}


def courses(model: VectorNetwork, method: Method, rows: tuple[Change, ...]) -> dict[str, float | None]:
    """The periodic orbits to which one network's states lead after some courses: of how many starts, how many led to
    one and how many orbits there are; the share of them whose least period is a plain course; the largest multiplier's
    modulus, over a course, of the most and of the least stable; and how many of 0.5 to 1 one has, on average."""
    task, course = ChangeRinging((method,)), method.lead * method.leads
    runs = phase_bases.ring(model, task, rows[:STARTS], SETTLED * course + 1)
    found = orbits.find(orbits.step_of(model), runs.states[0, -1], course, iterations=ITERATIONS)
    sure = torch.tensor([status == orbits.Status.CONVERGED for status in found.status], dtype=torch.bool)
    firsts = [int((found.orbit == orbit).nonzero()[0]) for orbit in found.orbit[sure].unique()]
    moduli = found.multipliers[firsts].abs()
    largest, near = moduli.amax(1), ((moduli >= HALF) & (moduli <= 1)).double().sum(1)
    converged = [status == orbits.Status.CONVERGED for status in found.start_status]
    whole = (found.least_period[firsts] == course).double().mean() if firsts else np.nan
    return {
        "orbit_starts": float(len(converged)), "orbit_converged": float(sum(converged)), "orbits": float(len(firsts)),
        "orbits_whole": number(whole), "multiplier_least": number(largest.min()) if firsts else None,
        "multiplier_most": number(largest.max()) if firsts else None,
        "multipliers_near": number(near.mean()) if firsts else None,
    }  # fmt: skip


def measure(model: VectorNetwork, line: Ringer) -> dict[str, float | None]:
    """All of these of one network."""
    method = tables().method(line.method)
    heard, others = starts(method, line.share)
    found = {f"{k}_heard": v for k, v in rung(model, method, heard).items()}
    found |= {f"{k}_held": v for k, v in rung(model, method, others).items()}
    plain = isinstance(model.cell, Elman)
    found |= eigenvalues(model.W_hh[0], method) if plain else dict.fromkeys(SPECTRUM)
    return found | held(model, method, heard, others, line.seed) | courses(model, method, heard)


def train(place: jobs.Place, lines: tuple[Ringer, ...], device: str, checkpoint_every: int) -> list[dict] | None:
    """Train networks that differ in their seed alone, save them, and measure each; None if stopped."""
    first = lines[0]
    method = tables().method(first.method)
    heard = () if first.free else starts(method, first.share)[0]
    course = method.lead * method.leads
    run = variable_binding.fit(
        ChangeRinging((method,), starts=heard, free=first.free), cell=first.cell, hidden=first.hidden,
        seeds=[line.seed for line in lines], steps=first.steps, lr=first.lr, horizons=first.horizons,
        test_horizon=2 * course, checkpoint=place.checkpoint, checkpoint_every=checkpoint_every, device=device,
        stop=place.stop, progress=False,
    )  # fmt: skip
    if place.stop.is_set():
        return None
    rows = []
    for m, line in enumerate(lines):
        save(run.model[m], place.folder / weights_file(line.key), about(line, device, status=run.status[m]))
        said: dict[str, Any] = {
            "status": run.status[m],
            "accuracy": number(run.accuracy[m]),
            "loss": number(run.history.loss[-1, m]),
        }
        rows.append(said | measure(run.model[m].to("cpu"), line))
    return rows


@takes(drive)
def change_ringing(
    out: str | Path,
    *,
    conditions: Iterable[str] = tuple(CONDITIONS),
    seeds: Iterable[int] | None = None,
    checkpoint_every: int = 500,
    **options,
) -> Swept:
    """Networks that hear one row of bells and ring a method on, and how they hold the bells. Without ``seeds`` each
    condition has as many as it says. ``options`` are those of :func:`emt_core.experiments.table.drive`."""
    checkpoint_every = checks.integer("checkpoint_every", checkpoint_every, 1)
    lines = [network(*each) for each in seeded(CONDITIONS, conditions, seeds)]
    return drive(Ringer, lines, out, train, (checkpoint_every,), **options)
