"""Networks that hear a row and are called every change: do they ring methods that they were never called, and how do
they hold their bells?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emt_core.analysis import call_bases
from emt_core.experiments import jobs, own_networks
from emt_core.experiments.provenance import number
from emt_core.experiments.table import Line, Swept, drive, seeded, takes, under
from emt_core.networks import Reader, cell_named
from emt_core.support import checks
from emt_core.support.random_streams import seeds_of, stream
from emt_core.tasks.call_changes import CallChanges, called, changes_of, stretches_of
from emt_core.tasks.change_ringing import Change, Method, split_rows, tables

HELD = 0.25  #: of the methods, and of the rows to begin with, are held out
COUNT = 60  # rows of a block, the share of which that is right is a column
BLOCKS = {"first": 1, "tenth": 10}
FITTED, JUDGED = 12, 6  # starts of each method that bases are fitted to, and that networks are judged by
FIRST, EDITED = 12, 24  # rows from which states count, and from which bells are swapped, for a lead
DEPTHS, LEAST = (1, 2, 3, 4), 50  # last changes that a basis goes with, and states without which there is none
WALKS = ("random", "unrepeated", "pairs")  # changes that follow no method, see walks
KINDS = ("trained", "held_out", *WALKS)

ELMAN: dict[str, Any] = {"cell": "elman", "hidden": 192, "steps": 6000, "lr": 2e-3}
GATED: dict[str, Any] = {"hidden": 96, "steps": 3000, "lr": 3e-3}
#: all conditions by name: the fields of a :class:`CallRinger` that they set, and how many seeds are trained
CONDITIONS: dict[str, tuple[dict[str, Any], int]] = {
    "called elman": (ELMAN, 3),
    "called gru": (GATED | {"cell": "gru"}, 3),
    "called lstm": (GATED | {"cell": "lstm"}, 3),
}


@dataclass(frozen=True, kw_only=True)
class CallRinger(Line):
    """A network that learns methods on ``bells`` bells, ``rows`` rows of each sequence; the rest is the recipe of
    :func:`emt_core.training.own_task.fit`."""

    cell: str
    hidden: int
    seed: int
    steps: int
    bells: int = 6
    rows: int = 37
    lr: float | int = 1e-3
    batch: int = 128

    def __post_init__(self) -> None:
        cell_named(self.cell)
        plain: dict[str, Any] = {"seed": seeds_of([self.seed], "seed")[0]}
        plain |= {k: checks.integer(k, getattr(self, k), 1) for k in ("hidden", "steps", "bells", "rows", "batch")}
        checks.integer("rows", self.rows, 2)
        plain["lr"] = checks.number("lr", self.lr, positive=True)
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @property
    def label(self) -> str:
        return f"call-changes-{self.cell}-N{self.hidden}-s{self.seed}"


def network(condition: str, seed: int) -> CallRinger:
    """A network that is trained under one of the :data:`CONDITIONS`."""
    return CallRinger(**under(CONDITIONS, condition)[0], seed=seed)


@lru_cache(maxsize=4)
def split_methods(bells: int) -> tuple[tuple[Method, ...], tuple[Method, ...]]:
    """The true methods of the tables on so many bells, in two parts at random: to be trained on, and held out, which is
    HELD of them. Of methods that are one another, begun at another change of the lead, the first counts. What is new
    about those held out is the order of their changes, over stretches that grow with how long one looks: pairs and most
    triples of changes come in other methods, too."""
    found: dict[tuple[Change, ...], Method] = {}
    for method in tables().methods:
        if method.bells == bells and method.true:
            begun = min(method.changes[t:] + method.changes[:t] for t in range(method.lead))
            found.setdefault(begun, method)
    every = sorted(found.values(), key=lambda method: method.title)
    order = torch.randperm(len(every), generator=stream(0, "methods")).tolist()
    held = round(HELD * len(every))
    return tuple(every[i] for i in sorted(order[held:])), tuple(every[i] for i in sorted(order[:held]))


def starts(bells: int) -> tuple[Tensor, Tensor]:
    """Rows to begin with in training, and those that are held out (B, n); the same for every network."""
    heard, held = split_rows(bells, HELD, stream(0, "split"))
    return torch.tensor(heard), torch.tensor(held)


def calls(bells: int, kind: str, part: int, each: int, count: int) -> tuple[Tensor, Tensor]:
    """Rows to begin with, of the ``part`` of them that is trained on (0) or held out (1), and ``count`` changes: of
    each method of a kind from the beginning of its lead, ``each`` times, or as many :func:`walks`."""
    trained, held = split_methods(bells)
    draw = stream(0, f"calls {kind} {part}")
    if kind in WALKS:
        changes = walks(kind, trained, each * len(held), count, draw)
    else:
        methods = held if kind == "held_out" else trained
        changes = torch.stack([called(method, count) for method in methods for _ in range(each)], dim=1)
    rows = starts(bells)[part]
    return rows[torch.randint(len(rows), changes.shape[1:2], generator=draw)], changes


def walks(kind: str, methods: Sequence[Method], batch: int, count: int, draw: torch.Generator) -> Tensor:
    """(count, batch, n) changes drawn at random from those of the methods: any of them ("random"); any but the last one
    ("unrepeated"), since no true method calls a change twice in a row; or any that follows the last one somewhere in
    these methods ("pairs")."""
    every, met = changes_of(methods), stretches_of(methods, 2)
    ways = {"random": lambda a, b: True, "unrepeated": lambda a, b: a != b, "pairs": lambda a, b: (a, b) in met}
    may = torch.tensor([[ways[kind](a, b) for b in every] for a in every]).double()
    at = [torch.randint(len(every), (batch,), generator=draw)]
    for _ in range(count - 1):
        at.append(torch.multinomial(may[at[-1]], 1, generator=draw)[:, 0])
    return torch.tensor(every)[torch.stack(at)]


def pair_steps(model: Reader, task: CallChanges, bases: call_bases.Bases, run: call_bases.Called) -> dict[str, Tensor]:
    """Single changes after others, at the rows of a lead from EDITED on: shares of right rows after changes that they
    have met, also rewritten alike, which is to change little; after themselves; and after changes that they have never
    met, themselves left out, with each of the rewritten states, over the pairs for which all of these are defined."""
    changes, met = changes_of(task.methods), stretches_of(task.methods, 2)
    hits = {name: torch.zeros(len(changes), len(changes), dtype=torch.float64) for name in call_bases.REWRITTEN}
    cases = {name: torch.zeros_like(values) for name, values in hits.items()}
    for t in lead_from(task):
        shares, count = call_bases.next_rows(model, task, bases, changes, run, t, met)
        for name, share in shares.items():
            hits[name] += share.nan_to_num() * count
            cases[name] += share.isfinite() * count
    known = torch.tensor([[(a, b) in met for b in changes] for a in changes])
    twice = torch.eye(len(changes), dtype=torch.bool)
    defined = torch.stack([count > 0 for count in cases.values()]).all(0)

    def mean(name: str, pairs: Tensor) -> Tensor:
        return hits[name][pairs].sum() / cases[name][pairs].sum()

    found = {"met": mean("as it is", known), "met_alike": mean("alike", known), "repeated": mean("as it is", twice)}
    never = ~known & ~twice & defined
    found |= {f"never_met_{name.replace(' ', '_')}": mean(name, never) for name in call_bases.REWRITTEN}
    return found | {"never_met": never.sum().double()}


def lead_from(task: CallChanges) -> range:
    """The rows of a longest lead from EDITED on: all phases of all methods."""
    return range(EDITED, EDITED + max(method.lead for method in task.methods))


def measure(model: Reader, line: CallRinger) -> dict[str, float | None]:
    """Of one network, from starts held out: shares of right rows in BLOCKS with each of KINDS of calls; R² of bases
    that are fitted to runs of trained methods from trained starts, on methods held out; the swap edits there; and
    :func:`pair_steps`."""
    task = CallChanges(split_methods(line.bells)[0])
    changes, found = changes_of(task.methods), {}
    for kind in KINDS:
        each = JUDGED // 3 if kind == "trained" else JUDGED  # about as many runs: there are three times as many methods
        run = call_bases.ring(model, task, *calls(line.bells, kind, 1, each, max(BLOCKS.values()) * COUNT))
        right = call_bases.right(model, task, run)[0]
        found |= {f"{kind}_{name}": right[(c - 1) * COUNT : c * COUNT].mean() for name, c in BLOCKS.items()}
    rows = lead_from(task)
    fitted = call_bases.ring(model, task, *calls(line.bells, "trained", 0, FITTED, COUNT))
    others = call_bases.ring(model, task, *calls(line.bells, "held_out", 1, JUDGED, rows.stop + COUNT))
    shared = call_bases.shared(fitted, others, task, changes, FIRST)
    found |= {f"explained_{name}": value[0] for name, value in shared.items()}
    for depth in DEPTHS:
        found[f"explained_{depth}"] = call_bases.by_history(fitted, others, task, depth, FIRST, LEAST)[0][0]
    bases, draw = call_bases.bases(fitted, task, changes, FIRST), stream(line.seed, "edit")
    edits = [call_bases.swap_edits(model, task, bases, changes, others, t, COUNT, draw) for t in rows]
    for name in call_bases.STATES:
        found[name.replace(" ", "_").replace("'", "")] = torch.stack([each[name][0] for each in edits]).mean()
    found |= {f"pair_{name}": value for name, value in pair_steps(model, task, bases, others).items()}
    return {name: number(value) for name, value in found.items()}


def train(place: jobs.Place, lines: Sequence[CallRinger], device: str, checkpoint_every: int) -> list[dict] | None:
    """As :func:`emt_core.experiments.own_networks.train`; the score is the share of the signs' variance explained."""
    first = lines[0]
    heard = tuple(map(tuple, starts(first.bells)[0].tolist()))
    task = CallChanges(split_methods(first.bells)[0], first.rows, heard).task
    return own_networks.train(place, lines, device, checkpoint_every, task, measure)


@takes(drive)
def call_changes(
    out: str | Path,
    *,
    conditions: Iterable[str] = tuple(CONDITIONS),
    seeds: Iterable[int] | None = None,
    checkpoint_every: int = 500,
    **options,
) -> Swept:
    """Networks that hear one row of six bells and are called each change, and what they do with the calls of methods
    that they were never called. Without ``seeds`` each condition has as many as it says. ``options`` are those of
    :func:`emt_core.experiments.table.drive`."""
    checkpoint_every = checks.integer("checkpoint_every", checkpoint_every, 1)
    lines = [network(*each) for each in seeded(CONDITIONS, conditions, seeds)]
    return drive(CallRinger, lines, out, train, (checkpoint_every,), **options)
