"""Networks that read source text of Python letter by letter: do they copy names, those too that they never saw, and
how do they hold the letters?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from emt_core.analysis import copying
from emt_core.experiments import jobs, own_networks
from emt_core.experiments.provenance import number
from emt_core.experiments.table import Line, Swept, drive, seeded, takes, under
from emt_core.networks import Reader, cell_named
from emt_core.support import checks
from emt_core.support.random_streams import seeds_of, stream
from emt_core.tasks.own import OwnTask
from emt_core.tasks.source_text import LETTERS, Source, held_out, standard_library, windows

LENGTHS = range(1, 16)  # of names, each a column
STRANGE = 300  # names of random letters of each length
CONTEXT = 160  # characters that are read before a name's place in the text
CODED = 6  # letters of the names whose code is measured
AMONG, JUDGED = 256, 1000  # names that layers are measured on, and that they are judged by

GRU: dict[str, Any] = {"cell": "gru", "hidden": 192, "steps": 16_000}
#: all conditions by name: the fields of a :class:`Copier` that they set, and how many seeds are trained
CONDITIONS: dict[str, tuple[dict[str, Any], int]] = {
    "gru": (GRU, 2),
    "gru renamed": (GRU | {"renamed": True}, 3),
    "lstm renamed": (GRU | {"cell": "lstm", "hidden": 128, "renamed": True}, 1),
}


@dataclass(frozen=True, kw_only=True)
class Copier(Line):
    """A network that reads windows of ``window`` characters; ``near`` and ``renamed`` are of
    :func:`emt_core.tasks.source_text.windows`, the rest is the recipe of :func:`emt_core.training.own_task.fit`."""

    cell: str
    hidden: int
    seed: int
    steps: int
    near: float | int = 0.75
    renamed: bool = False
    window: int = 80
    inputs: int = 32
    lr: float | int = 3e-3
    batch: int = 128

    def __post_init__(self) -> None:
        cell_named(self.cell)
        plain: dict[str, Any] = {"seed": seeds_of([self.seed], "seed")[0]}
        plain |= {k: checks.integer(k, getattr(self, k), 1) for k in ("hidden", "steps", "window", "inputs", "batch")}
        plain |= {k: checks.number(k, getattr(self, k), positive=k == "lr") for k in ("near", "lr")}
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @property
    def label(self) -> str:
        return f"source-{self.cell}-N{self.hidden}-s{self.seed}"


def network(condition: str, seed: int) -> Copier:
    """A network that is trained under one of the :data:`CONDITIONS`."""
    return Copier(**under(CONDITIONS, condition)[0], seed=seed)


def kinds(source: Source) -> dict[str, list[str]]:
    """Names to ask for: "seen" while learning and "held_out" ones, the latter with their letters in another order
    ("shuffled") and words of random letters as long as they ("random"); none of the last two is a name."""
    draw = stream(0, "names")
    parts: dict[str, list[str]] = {"seen": [], "held_out": []}
    for name in source.names:
        parts["held_out" if held_out(name) else "seen"].append(name)
    shuffled = ["".join(name[i] for i in torch.randperm(len(name), generator=draw)) for name in parts["held_out"]]
    drawn = [torch.randint(len(LETTERS), (len(name),), generator=draw).tolist() for name in parts["held_out"]]
    known = {*source.names, *source.words}
    parts["shuffled"] = [name for name in shuffled if name not in known]
    parts["random"] = [name for letters in drawn if (name := "".join(LETTERS[i] for i in letters)) not in known]
    return parts


def copying_of(model: Reader, source: Source) -> dict[str, float | None]:
    """Shares of names that one network copies: where they stand in the text, and in the scene, per kind; in the scene
    per length too, all kinds but the seen ones together, and names of nothing but random letters."""
    found: dict[str, float | None] = {}
    by_length: dict[int, list[bool]] = {n: [] for n in LENGTHS}
    for kind, names in kinds(source).items():
        if kind in ("seen", "held_out"):
            right = copying.copied(model, *copying.in_place(source, CONTEXT, names)).double()
            found |= {f"place_{kind}": number(right.mean()), f"places_{kind}": float(len(right))}
        right = copying.copied(model, copying.prompted(names), names)
        found |= {f"scene_{kind}": number(right.double().mean()), f"names_{kind}": float(len(names))}
        for name, hit in zip(names, right.tolist(), strict=True):
            if kind != "seen" and len(name) in by_length:
                by_length[len(name)].append(hit)
    found |= {f"length_{n}": sum(hits) / len(hits) if hits else None for n, hits in by_length.items()}
    draw = stream(0, "strange names")
    for n in LENGTHS:
        letters = torch.randint(len(LETTERS), (STRANGE, n), generator=draw).T
        found[f"strange_{n}"] = number(copying.copied(model, *copying.asked(letters)).double().mean())
    return found


def coded(model: Reader, source: Source, seed: int = 0) -> dict[str, float | None]:
    """How one network holds names of CODED letters, of random ones and of words of the text; ``fresh``: random ones in
    a network with other weights, drawn with ``seed``, before any training."""
    network, found = copying.in_a_scene(model), {}
    words = [word for word in (*source.words, *source.names) if len(word) == CODED]
    for kind in ("random", "words"):
        draw = stream(0, "code")
        names = torch.randint(len(LETTERS), (CODED, AMONG + JUDGED), generator=draw)
        if kind == "words":
            order = torch.randperm(len(words), generator=draw)[: AMONG + JUDGED].tolist()
            names = copying.spelled([words[i] for i in order])
        among, judged = names[:, :AMONG], names[:, AMONG:]
        values = copying.code(network, among, judged, draw) | copying.edited(network, among, judged, draw)
        values |= copying.misplaced(network, judged)
        found |= {f"{kind}_{name}": number(value) for name, value in values.items()}
        if kind == "random":
            fresh = copying.code(copying.in_a_scene(untrained(model, seed)), among, judged, draw)
            found |= {f"fresh_{name}": number(value) for name, value in fresh.items()}
    return found


def untrained(model: Reader, seed: int) -> Reader:
    """A network of the same sizes as it is drawn for training."""
    ends = {"vocabulary": model.vocabulary, "inputs": model.cell.inputs}
    return Reader.init(type(model.cell), model.outputs, model.hidden, [stream(seed, "network")], **ends)


def measure(model: Reader, line: Copier) -> dict[str, float | None]:
    """All of these of one network."""
    source = standard_library()
    return copying_of(model, source) | coded(model, source, line.seed)


@lru_cache(maxsize=1)
def to_learn() -> Source:
    """The text without the lines in which a held-out name stands."""
    source = standard_library()
    return source.without(filter(held_out, source.names))


def task(line: Copier) -> OwnTask:
    """What a network of this line is trained on."""
    return windows(to_learn(), line.window, near=line.near, renamed=line.renamed)


def train(place: jobs.Place, lines: Sequence[Copier], device: str, checkpoint_every: int) -> list[dict] | None:
    """As :func:`emt_core.experiments.own_networks.train`; the score is that of predicting characters."""
    given = task(lines[0]), measure, "characters"
    return own_networks.train(place, lines, device, checkpoint_every, *given, inputs=lines[0].inputs)


@takes(drive)
def source_names(
    out: str | Path,
    *,
    conditions: Iterable[str] = tuple(CONDITIONS),
    seeds: Iterable[int] | None = None,
    checkpoint_every: int = 1000,
    **options,
) -> Swept:
    """Networks that read Python's standard library letter by letter, and what they do where a name is said twice.
    Without ``seeds`` each condition has as many as it says. ``options`` are those of
    :func:`emt_core.experiments.table.drive`."""
    checkpoint_every = checks.integer("checkpoint_every", checkpoint_every, 1)
    lines = [network(*each) for each in seeded(CONDITIONS, conditions, seeds)]
    return drive(Copier, lines, out, train, (checkpoint_every,), **options)
