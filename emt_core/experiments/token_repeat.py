"""Networks that repeat tokens, and the edits and probes that are learned on each: as lines of grids and as jobs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from emt_core.analysis import edits, probes
from emt_core.experiments import jobs, measures
from emt_core.experiments.table import Line, Swept, Table, about, drive, takes, weights_file
from emt_core.networks import TokenNetwork, cell_named, load, save, together
from emt_core.networks.elman import RECURRENT_STARTS
from emt_core.networks.rounded import unrounded
from emt_core.networks.saving import ATTENTION
from emt_core.support.checks import integer
from emt_core.support.files import write_safetensors
from emt_core.support.formats import format_of
from emt_core.support.random_streams import seeds_of
from emt_core.tasks import TokenRepeat
from emt_core.tasks.fixed_pool import FixedPool
from emt_core.training import token_repeat
from emt_core.training.scores import repeats
from emt_core.training.until_flat import Recipe

VARIANTS = ("autoregressive", "no input")
SEQUENCES = ("fresh", "drawn", "distinct")  # what to learn from; the last two are FixedPool's
LEARNS = {"all": None, "read-out": ("W_o", "b_o"), "nothing": ()}  # the weights of a network that are trained


@dataclass(frozen=True, kw_only=True)
class Learned(Line):
    """What a network and a study of it have in common: the network's cell, size, variant and seed, and how long and how
    it was learned."""

    hidden: int
    autoregressive: bool
    seed: int
    cell: str = "gru"
    most_steps: int = 40_000
    lr: float | int = 1e-3
    decay: float | int = 0.1
    batch: int = 256
    every: int = 1000
    patience: int = 10
    tolerance: float | int = 0.002
    least: int = 15_000

    length = "most_steps"

    def __post_init__(self) -> None:
        plain = {"hidden": integer("hidden", self.hidden, 1), "seed": seeds_of([self.seed], "seed")[0]}
        if not isinstance(self.autoregressive, bool):
            raise ValueError(f"autoregressive must be True or False, got {self.autoregressive!r}")
        if self.cell != ATTENTION:
            cell_named(self.cell)
        for name, value in (plain | recipe_columns(self.recipe)).items():  # checked and plain numbers there
            object.__setattr__(self, name, value)

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.most_steps, *(getattr(self, f.name) for f in fields(Recipe)[1:]))

    @property
    def label(self) -> str:
        return f"{self.cell}-N{self.hidden}-{'ar' if self.autoregressive else 'ni'}-s{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Repeater(Learned):
    """A network, with its task."""

    vocabulary: int = 30
    shortest: int = 2
    longest: int = 9
    repeats: bool = True
    sequences: str = "fresh"
    learns: str = "all"
    inputs: int = 0
    between: int = 0
    stored: str = ""
    recurrent: str = ""
    blocks: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recurrent and (self.cell != "elman" or self.recurrent not in RECURRENT_STARTS):
            raise ValueError(f"recurrent must be '' or a start of 'elman', got {self.recurrent!r} for {self.cell!r}")
        if self.stored:
            format_of(self.stored)
        # numbers in an embedding (0: as many as units), numbers in a layer before the read-out, a Transformer's blocks
        for name, least in (("inputs", 0), ("between", 0), ("blocks", 1)):
            object.__setattr__(self, name, integer(name, getattr(self, name), least))
        if self.learns not in LEARNS:
            raise ValueError(f"learns must be one of {tuple(LEARNS)}, got {self.learns!r}")
        if self.sequences not in SEQUENCES:
            raise ValueError(f"sequences must be one of {SEQUENCES}, got {self.sequences!r}")
        for name, value in _task_columns(self.task).items():
            object.__setattr__(self, name, value)

    @property
    def task(self) -> TokenRepeat:
        numbers = (self.vocabulary, self.shortest, self.longest, self.repeats)
        return TokenRepeat(*numbers) if self.sequences == "fresh" else FixedPool(*numbers, self.sequences == "distinct")


@dataclass(frozen=True, kw_only=True)
class Study(Learned):
    """What is learned on the network, mostly a GRU, whose row has the key ``gru``; it shares the network's seed."""

    most_steps: int = 60_000
    patience: int = 5
    least: int = 10_000
    gru: str

    what = ""  # the column of its kind
    kinds: ClassVar[Sequence[str]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in self.kinds:
            raise ValueError(f"kind must be one of {self.kinds}, got {self.kind!r}")

    @property
    def kind(self) -> str:
        return getattr(self, self.what)

    @property
    def alike(self) -> Study:
        return replace(self, seed=0, gru="")

    @property
    def label(self) -> str:
        return f"{self.what}-{self.kind.replace(' ', '-')}-{super().label}"


@dataclass(frozen=True, kw_only=True)
class Edit(Study):
    """An edit, of a kind of :mod:`emt_core.analysis.edits`; ``misled`` if positions were told wrong, ``as_authors``
    what was done as in the authors' code."""

    intervention: str
    misled: bool = False
    as_authors: str = ""
    what, kinds = "intervention", edits.KINDS + edits.FREER


@dataclass(frozen=True, kw_only=True)
class Probe(Study):
    """A probe, of a kind of :mod:`emt_core.analysis.probes`."""

    probe: str
    what, kinds = "probe", probes.KINDS


def _task_columns(task: TokenRepeat) -> dict[str, Any]:
    columns = asdict(task)
    distinct = columns.pop("distinct", None)
    return columns | {"sequences": SEQUENCES[0 if distinct is None else 1 + distinct]}


def recipe_columns(recipe: Recipe) -> dict[str, Any]:
    return {"most_steps" if name == "steps" else name: value for name, value in asdict(recipe).items()}


# --- jobs -------------------------------------------------------------------------------------------------------------


def train(place: jobs.Place, lines: tuple[Repeater, ...], device: str) -> list[dict] | None:
    """Train networks that differ in their seed alone, and save them; what is measured of each, None if stopped."""
    first = lines[0]
    run = token_repeat.fit(
        first.task, cell=first.cell, hidden=first.hidden, seeds=[line.seed for line in lines],
        autoregressive=first.autoregressive, recipe=first.recipe, learns=LEARNS[first.learns], device=device,
        inputs=first.inputs or None, between=first.between, stored=first.stored, recurrent=first.recurrent,
        blocks=first.blocks,
        checkpoint=place.checkpoint, stop=place.stop, progress=False,
    )  # fmt: skip
    if place.stop.is_set():
        return None
    validation = first.task.validation().to(device)
    found = measures.scores(repeats(run.model, validation), validation, run.training)
    rows = [row | more for row, more in zip(found, measures.stored(run.model, first.task), strict=True)]
    for m, line in enumerate(lines):
        said = about(line, device, exact=rows[m]["exact"])
        save(unrounded(run.model[m]), place.folder / weights_file(line.key), said)
    return rows


def learn(
    place: jobs.Place, lines: tuple[Study, ...], device: str, networks: Path, task: TokenRepeat
) -> list[dict] | None:
    """Learn the same on networks that differ in their seed alone, and save it; what is measured of each, None if
    stopped. ``networks`` is the folder of the sweep that trained them, ``task`` what they do."""
    first, model = lines[0], together(_load(networks, line.gru) for line in lines).to(device)
    options: dict[str, Any] = {"seeds": [line.seed for line in lines], "recipe": first.recipe, "progress": False}
    options |= {"checkpoint": place.checkpoint, "stop": place.stop}
    if isinstance(first, Edit):
        options |= {"misled": first.misled, "as_authors": first.as_authors}
    run = (edits.fit if isinstance(first, Edit) else probes.fit)(first.kind, model, task, **options)
    if place.stop.is_set():
        return None
    if isinstance(run, edits.LearnedEdit):
        scores = measures.scores(run.right, run.case.original, run.training)
        rows = [row | more for row, more in zip(scores, measures.controls(model, run), strict=True)]
    else:
        rows = measures.scores(run.right, run.of, run.training)
    for m, line in enumerate(lines):
        one = {name: w[m : m + 1] for name, w in run.training.weights.items()}
        write_safetensors(one, place.folder / weights_file(line.key), about(line, device))
    return rows


def _load(folder: Path, key: str) -> TokenNetwork:
    path = folder / weights_file(key)
    try:
        return load(path)[0]
    except FileNotFoundError:
        what = f"run onion-gru with --out {folder} and the same sizes, variants, seeds and steps first"
        raise FileNotFoundError(f"no trained GRU at {path}: {what}") from None


# --- sweeps -----------------------------------------------------------------------------------------------------------


@takes(drive)
def onion_gru(
    out: str | Path,
    *,
    hidden: Iterable[int] = (48, 64),
    variants: Iterable[str] = VARIANTS,
    seeds: Iterable[int] = range(5),
    cell: str = "gru",
    task: TokenRepeat = TokenRepeat(),  # noqa: B008
    learns: str = "all",
    recipe: Recipe = token_repeat.RECIPE,
    steps: int | None = None,
    patience: int | None = None,
    **options,
) -> Swept:
    """GRUs that repeat tokens (arXiv:2408.10920), with their weights. ``learns`` says which of the weights are trained.
    ``steps`` and ``patience``, if given, stand in the place of the recipe's; ``options`` are those of
    :func:`emt_core.experiments.table.drive`."""
    lines = _repeaters(hidden, variants, seeds, cell, task, _with(recipe, steps, patience), learns)
    return drive(Repeater, lines, out, train, **options)


@takes(drive)
def studies(
    kind: type[Study],
    kinds: Iterable[str],
    recipe: Recipe,
    out: str | Path,
    grus: str | Path,
    *,
    hidden: Iterable[int] = (48, 64),
    variants: Iterable[str] = VARIANTS,
    seeds: Iterable[int] = range(5),
    cell: str = "gru",
    task: TokenRepeat = TokenRepeat(),  # noqa: B008
    learns: str = "all",
    same: Mapping[str, Any] = MappingProxyType({}),
    steps: int | None = None,
    patience: int | None = None,
    gru_recipe: Recipe = token_repeat.RECIPE,
    gru_steps: int | None = None,
    gru_patience: int | None = None,
    **options,
) -> Swept:
    networks, recipe = Path(grus).resolve(), _with(recipe, steps, patience)
    of = _repeaters(hidden, variants, seeds, cell, task, _with(gru_recipe, gru_steps, gru_patience), learns)
    rows, shared = Table(networks, Repeater).rows, ("hidden", "autoregressive", "seed", "cell")
    keys = {line: rows[line]["key"] if line in rows else line.key for line in of}  # older versions had other keys
    make: Callable = kind
    lines = [
        make(
            **{"gru": keys[line], kind.what: name},
            **{k: getattr(line, k) for k in shared},
            **recipe_columns(recipe),
            **same,
        )
        for name, line in itertools.product(kinds, of)
    ]
    return drive(kind, lines, out, learn, (networks, task), **options)


@takes(studies)
def onion_interventions(
    out: str | Path,
    *,
    grus: str | Path,
    kinds: Iterable[str] = edits.KINDS,
    recipe: Recipe = edits.RECIPE,
    **options,
) -> Swept:
    """Edits learned on the networks that :func:`onion_gru` trained into the folder ``grus``, by whatever version.
    ``options``: those of :func:`onion_gru`; ``recipe``, ``steps`` and ``patience`` are of the edits, ``gru_recipe``,
    ``gru_steps`` and ``gru_patience`` must be those of the networks."""
    return studies(Edit, kinds, recipe, out, grus, **options)


@takes(studies)
def onion_probes(
    out: str | Path,
    *,
    grus: str | Path,
    kinds: Iterable[str] = probes.KINDS,
    recipe: Recipe = probes.RECIPE,
    **options,
) -> Swept:
    """Probes of the same networks; see :func:`onion_interventions`."""
    return studies(Probe, kinds, recipe, out, grus, **options)


def _with(recipe: Recipe, steps: int | None, patience: int | None) -> Recipe:
    return replace(recipe, **{k: v for k, v in (("steps", steps), ("patience", patience)) if v is not None})


def _repeaters(
    hidden, variants, seeds, cell: str, task: TokenRepeat, recipe: Recipe, learns: str = "all"
) -> list[Repeater]:
    grid = list(itertools.product(hidden, variants, seeds))
    wrong = [variant for _, variant, _ in grid if variant not in VARIANTS]
    if wrong:
        raise ValueError(f"variants must be among {VARIANTS}, got {wrong[0]!r}")
    same = {"cell": cell, "learns": learns} | _task_columns(task) | recipe_columns(recipe)
    return [Repeater(hidden=N, autoregressive=v == VARIANTS[0], seed=seed, **same) for N, v, seed in grid]
