"""Networks that hear a row and are called every change: do they ring methods that they were never called, and how do
they hold their bells?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emt_core.analysis import call_bases
from emt_core.experiments import jobs
from emt_core.experiments.provenance import number
from emt_core.experiments.table import Line, Swept, about, drive, seeded, takes, under, weights_file
from emt_core.networks import Reader, cell_named, save
from emt_core.support import checks
from emt_core.support.random_streams import seeds_of, stream
from emt_core.tasks.call_changes import CallChanges, called, changes_of, pairs_of
from emt_core.tasks.change_ringing import Method, split_rows, tables
from emt_core.training import own_task
from emt_core.training.until_flat import Recipe

HELD = 0.25  #: of the methods, and of the rows to begin with, are held out
COURSE = 60  # changes of most plain courses of Minor, of whose rows the share that is right is a column
COURSES = (1, 10)
FITTED, JUDGED = 12, 6  # starts of each method that bases are fitted to, and that networks are judged by
FIRST, EDITED = 12, 24  # rows from which states count, and at which bells are swapped
WALKS = ("random", "pairs", "treble")  # changes that follow no method, see walks
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
        plain["lr"] = checks.number("lr", self.lr, positive=True)
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @property
    def label(self) -> str:
        return f"call-changes-{self.cell}-N{self.hidden}-s{self.seed}"

    @property
    def alike(self) -> CallRinger:
        return replace(self, seed=0)


def network(condition: str, seed: int) -> CallRinger:
    """A network that is trained under one of the :data:`CONDITIONS`."""
    return CallRinger(**under(CONDITIONS, condition)[0], seed=seed)


@lru_cache(maxsize=4)
def split_methods(bells: int) -> tuple[tuple[Method, ...], tuple[Method, ...]]:
    """The true methods of the tables on so many bells, those of equal changes once, in two parts at random: to be
    trained on, and held out, which is HELD of them."""
    found: dict[Any, Method] = {}
    for method in tables().methods:
        if method.bells == bells and method.true:
            found.setdefault(method.changes, method)
    every = sorted(found.values(), key=lambda method: method.title)
    order = torch.randperm(len(every), generator=stream(0, "methods")).tolist()
    held = round(HELD * len(every))
    return tuple(every[i] for i in sorted(order[held:])), tuple(every[i] for i in sorted(order[:held]))


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
    starts = torch.tensor(split_rows(bells, HELD, stream(0, "split"))[part])
    return starts[torch.randint(len(starts), changes.shape[1:2], generator=draw)], changes


def walks(kind: str, methods: Sequence[Method], batch: int, count: int, draw: torch.Generator) -> Tensor:
    """(count, batch, n) changes drawn at random from those of the methods: any of them ("random"); one that follows the
    last one somewhere in these methods ("pairs"); or one that moves the bell that begins in the first place as most of
    these methods do, the treble's path ("treble")."""
    every = changes_of(methods)
    if kind == "treble":
        paths = Counter(tuple((m.rows(m.lead + 1) == 0).int().argmax(1).tolist()) for m in methods)
        path = pairwise(paths.most_common(1)[0][0])
        may = torch.tensor([[change[new] == old for change in every] for old, new in path])
    else:
        met = pairs_of(methods)
        may = torch.tensor([[kind == "random" or (a, b) in met for b in every] for a in every])
    at: list[Tensor] = []
    for t in range(count):
        if kind == "treble":
            weights = may[t % len(may)].expand(batch, -1)
        else:
            weights = may[at[-1]] if at else may.any(0).expand(batch, -1)
        at.append(torch.multinomial(weights.double(), 1, generator=draw)[:, 0])
    return torch.tensor(every)[torch.stack(at)]


def measure(model: Reader, line: CallRinger) -> dict[str, float | None]:
    """Shares of right rows of one network in COURSES, from rows held out, with each of KINDS of calls; R² of bases that
    are fitted to trained methods from trained rows, on methods and rows held out; the swap edits there; and single
    changes after those that they met in training, and after others."""
    task, found = CallChanges(split_methods(line.bells)[0]), {}
    for kind in KINDS:
        each = JUDGED // 3 if kind == "trained" else JUDGED  # about as many runs: there are three times as many methods
        run = call_bases.ring(model, task, *calls(line.bells, kind, 1, each, max(COURSES) * COURSE))
        right = call_bases.right(model, task, run)[0]
        found |= {f"{kind}_course_{c}": right[(c - 1) * COURSE : c * COURSE].mean() for c in COURSES}
    changes = sorted({*changes_of(task.methods)} & {*changes_of(split_methods(line.bells)[1])})
    fitted = call_bases.ring(model, task, *calls(line.bells, "trained", 0, FITTED, COURSE))
    others = call_bases.ring(model, task, *calls(line.bells, "held_out", 1, JUDGED, COURSE + EDITED))
    held = call_bases.how_held(fitted, others, task, changes, FIRST)
    found |= {f"explained_{name}": value[0] for name, value in held.items()}
    bases = call_bases.bases(fitted, task, changes, FIRST)
    edits = call_bases.swap_edits(model, task, bases, changes, others, EDITED, stream(line.seed, "edit"))
    found |= {name.replace(" ", "_").replace("'", ""): value[0] for name, value in edits.items()}
    steps = [
        call_bases.next_rows(model, task, bases, changes, others, t, pairs_of(task.methods))
        for t in range(EDITED, EDITED + max(method.lead for method in task.methods))
    ]
    found |= {f"pair_{name.replace(' ', '_')}": torch.stack([s[name][0] for s in steps]).nanmean() for name in steps[0]}
    return {name: number(value) for name, value in found.items()}


def train(place: jobs.Place, lines: Sequence[CallRinger], device: str, checkpoint_every: int) -> list[dict] | None:
    """Train networks that differ in their seed alone, save them, and measure each; None if stopped."""
    first = lines[0]
    recipe = Recipe(steps=first.steps, lr=first.lr, decay=0.01, batch=first.batch, every=500, patience=0)
    heard = split_rows(first.bells, HELD, stream(0, "split"))[0]
    run = own_task.fit(
        CallChanges(split_methods(first.bells)[0], first.rows, heard).task, cell=first.cell, hidden=first.hidden,
        seeds=[line.seed for line in lines], recipe=recipe, held_out=512, checkpoint=place.checkpoint,
        checkpoint_every=checkpoint_every, device=device, stop=place.stop, progress=False,
    )  # fmt: skip
    if place.stop.is_set():
        return None
    rows = []
    for m, line in enumerate(lines):
        model = run.model[m].to("cpu")
        save(model, place.folder / weights_file(line.key), about(line, device, status=run.status[m]))
        said: dict[str, Any] = {"status": run.status[m], "explained": number(run.score[m])}
        rows.append(said | {"loss": number(run.losses[-1, m])} | measure(model, line))
    return rows


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
