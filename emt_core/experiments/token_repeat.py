"""Networks that repeat tokens, and the edits and probes that are learned on each: as lines of grids and as jobs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emt_core.analysis import edits, layers, probes
from emt_core.experiments import jobs
from emt_core.experiments.provenance import made_by, number
from emt_core.experiments.table import Line, Swept, Table, drive, set_aside_if_damaged, takes, weights_file
from emt_core.networks import GRU, TokenNetwork, cell_named, load, save
from emt_core.support.checks import integer
from emt_core.support.files import read_safetensors, write_safetensors
from emt_core.support.random_streams import seeds_of, stream
from emt_core.support.running import one_thread_per_product
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.tasks.fixed_pool import FixedPool
from emt_core.training import token_repeat
from emt_core.training.scores import by_length, by_position, repeats
from emt_core.training.until_flat import Optimised, Recipe

VARIANTS = ("autoregressive", "no input")
SEQUENCES = ("fresh", "drawn", "distinct")  # what to learn from; the last two are FixedPool's
SEEN = 1000  # random sequences on which a network's states are described


@dataclass(frozen=True, kw_only=True)
class Repeater(Line):
    """A network: its cell, its size, its task and its recipe."""

    hidden: int
    autoregressive: bool
    seed: int
    vocabulary: int = 30
    shortest: int = 2
    longest: int = 9
    repeats: bool = True
    sequences: str = "fresh"
    most_steps: int = 40_000
    lr: float | int = 1e-3
    decay: float | int = 0.1
    batch: int = 256
    every: int = 1000
    patience: int = 10
    tolerance: float | int = 0.002
    least: int = 15_000
    cell: str = "gru"

    length = "most_steps"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", integer("hidden", self.hidden, 1))
        object.__setattr__(self, "seed", seeds_of([self.seed], "seed")[0])
        if not isinstance(self.autoregressive, bool):
            raise ValueError(f"autoregressive must be True or False, got {self.autoregressive!r}")
        if self.sequences not in SEQUENCES:
            raise ValueError(f"sequences must be one of {SEQUENCES}, got {self.sequences!r}")
        cell_named(self.cell)
        for name, value in (_task_columns(self.task) | _recipe_columns(self.recipe)).items():  # checked and plain now
            object.__setattr__(self, name, value)

    @property
    def task(self) -> TokenRepeat:
        numbers = (self.vocabulary, self.shortest, self.longest, self.repeats)
        return TokenRepeat(*numbers) if self.sequences == "fresh" else FixedPool(*numbers, self.sequences == "distinct")

    @property
    def recipe(self) -> Recipe:
        names = ("lr", "decay", "batch", "every", "patience", "tolerance", "least")
        return Recipe(self.most_steps, **{name: getattr(self, name) for name in names})

    @property
    def label(self) -> str:
        return f"{self.cell}-N{self.hidden}-{'ar' if self.autoregressive else 'ni'}-s{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Study(Repeater):
    """What is learned on the network, mostly a GRU, whose row has the key ``gru``; it shares the network's seed."""

    most_steps: int = 60_000
    patience: int = 5
    least: int = 10_000
    gru: str

    @property
    def alike(self) -> Study:
        return replace(self, seed=0, gru="")


@dataclass(frozen=True, kw_only=True)
class Edit(Study):
    """An edit, of a kind of :mod:`emt_core.analysis.edits`."""

    intervention: str

    what = "intervention"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_kind(self.intervention, edits.KINDS)

    @property
    def label(self) -> str:
        return f"intervention-{self.intervention}-{super().label}"


@dataclass(frozen=True, kw_only=True)
class Probe(Study):
    """A probe, of a kind of :mod:`emt_core.analysis.probes`."""

    probe: str

    what = "probe"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_kind(self.probe, probes.KINDS)

    @property
    def label(self) -> str:
        return f"probe-{self.probe.replace(' ', '-')}-{super().label}"


def _check_kind(kind: str, kinds: Sequence[str]) -> None:
    if kind not in kinds:
        raise ValueError(f"kind must be one of {kinds}, got {kind!r}")


def _task_columns(task: TokenRepeat) -> dict[str, Any]:
    columns = asdict(task)
    distinct = columns.pop("distinct", None)
    return columns | {"sequences": SEQUENCES[0 if distinct is None else 1 + distinct]}


def _recipe_columns(recipe: Recipe) -> dict[str, Any]:
    return {"most_steps" if name == "steps" else name: value for name, value in asdict(recipe).items()}


# --- jobs -------------------------------------------------------------------------------------------------------------


def train(place: jobs.Place, lines: tuple[Repeater, ...], device: str) -> list[dict] | None:
    """Train networks that differ in their seed alone, and save them; a row for each, or None if stopped."""
    first = lines[0]
    with one_thread_per_product():  # one job per core; and bits must not depend on how many cores there are
        set_aside_if_damaged(place.checkpoint)
        run = token_repeat.fit(
            first.task, cell=first.cell, hidden=first.hidden, seeds=[line.seed for line in lines],
            autoregressive=first.autoregressive, recipe=first.recipe, device=device, checkpoint=place.checkpoint,
            stop=place.stop, progress=False,
        )  # fmt: skip
        if place.stop.is_set():
            return None
        validation = first.task.validation().to(device)
        found = _scores(repeats(run.model, validation), validation, run.training)
        rows = _rows(place, lines, device, found, _layers(run.model, first.task))
        for m, row in enumerate(rows):
            about = lines[m].columns() | made_by(device) | {"exact": row["exact"]}
            save(run.model[m], place.folder / weights_file(row["key"]), {k: str(v) for k, v in about.items()})
        return rows


def learn(place: jobs.Place, lines: tuple[Study, ...], device: str, networks: Path) -> list[dict] | None:
    """Learn the same on networks that differ in their seed alone, and save it; a row for each, or None if stopped.
    ``networks`` is the folder of the sweep that trained them."""
    first = lines[0]
    with one_thread_per_product():
        set_aside_if_damaged(place.checkpoint)
        every = [_load(networks, line.gru) for line in lines]
        together = {name: torch.cat([one.weights[name] for one in every]) for name in every[0].weights}
        model = every[0].with_weights(together).to(device)
        options = dict(
            seeds=[line.seed for line in lines], recipe=first.recipe, checkpoint=place.checkpoint, stop=place.stop,
            progress=False,
        )  # fmt: skip
        if isinstance(first, Edit):
            edit = edits.fit(first.intervention, model, first.task, **options)
            run, right, of = edit.training, edit.right, edit.case.original
        else:
            probe = probes.fit(first.probe, model, first.task, **options)  # type: ignore[attr-defined]
            run, right, of = probe.training, probe.right, probe.of
        if place.stop.is_set():
            return None
        more = _controls(model, edit) if isinstance(first, Edit) else [{} for _ in lines]
        rows = _rows(place, lines, device, _scores(right, of, run), more)
        for m, row in enumerate(rows):
            about = {k: str(v) for k, v in (lines[m].columns() | made_by(device)).items()}
            one = {name: w[m : m + 1] for name, w in run.weights.items()}
            write_safetensors(one, place.folder / weights_file(row["key"]), about)
        return rows


def _load(folder: Path, key: str) -> TokenNetwork:
    path = folder / weights_file(key)
    try:
        return load(path)[0]
    except FileNotFoundError:
        what = f"run onion-gru with --out {folder} and the same sizes, variants, seeds and steps first"
        raise FileNotFoundError(f"no trained GRU at {path}: {what}") from None


def _rows(place: jobs.Place, lines: Sequence[Line], device: str, *measured: list[dict]) -> list[dict]:
    seconds, rows = place.seconds() / len(lines), [line.columns() for line in lines]
    for found in measured:
        rows = [row | more for row, more in zip(rows, found, strict=True)]
    return [row | {"seconds": seconds} | made_by(device) | {"key": line.key} for row, line in zip(rows, lines, strict=True)]


def _scores(right: Tensor, sequences: Sequences, run: Optimised) -> list[dict]:
    """Per model: exact match, right tokens at each position, exact match per length, and how training ended."""
    exact, at = right.all(1).double().mean(1), by_position(right, sequences)
    lengths = by_length(right, sequences.lengths)
    return [
        {
            "steps": int(run.steps[m]),
            "status": run.status[m],
            "exact": number(exact[m]),
            "loss": number(run.losses[run.losses[:, m].isfinite().nonzero()[-1:, 0], m].mean()),
        }
        | {f"right_{p}": number(at[m, p]) for p in range(at.shape[1])}
        | {f"exact_length_{n}": number(value[m]) for n, value in lengths.items()}
        for m in range(len(exact))
    ]


def _layers(model: TokenNetwork, task: TokenRepeat) -> list[dict]:
    """Per model: what positions leave in the last state of the longest sequences (:mod:`emt_core.analysis.layers`), and
    of a GRU the update gate while each is read."""
    length, generator = int(task.longest), stream(0, "layers", model.device)
    found, mean = layers.layers(model, length, generator)
    tokens = torch.randint(model.vocabulary, (length, SEEN), generator=generator, device=generator.device)
    h = layers.states(model, tokens)
    values = {"dimension": layers.dimension(h), "additive": layers.additive_share(model, found, mean, tokens)}
    for name, matrix in {"overlap": layers.overlap(found), "alignment": layers.alignment(found)}.items():
        values[f"{name}_next"] = matrix.diagonal(1, 1, 2).mean(1)
        values[f"{name}_any"] = torch.stack([m[*torch.triu_indices(length, length, 1)].mean() for m in matrix])
    sizes = layers.sizes(found)
    values |= {f"size_{p}": sizes[:, p] for p in range(length)}
    if isinstance(model.cell, GRU):
        z = layers.gates(model, tokens).mean((2, 3))
        values |= {f"z_{p}": z[:, p] for p in range(length)}
    return [{name: number(value[m]) for name, value in values.items()} for m in range(model.models)]


def _controls(model: TokenNetwork, run: edits.LearnedEdit) -> list[dict]:
    """Per model: exact match of the controls, and of the edit by the position that was changed, where only one was."""
    found = edits.controls(model, run.case, edits.edited(run.edit, model, run.case), stream(0, "random edit"))
    columns = {name.replace(" ", "_"): right.all(1).double().mean(1) for name, right in found.items()}
    changed, whole = run.case.changed, run.right.all(1)[:, None]
    if bool((changed.sum(1) == 1).all()):
        share = (changed & whole).sum(2).double() / changed.sum(2)
        columns |= {f"exact_changed_{p}": share[:, p] for p in range(share.shape[1])}
    return [{name: number(value[m]) for name, value in columns.items()} for m in range(model.models)]


def saved(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights of a saved edit or probe, and what the file says of it."""
    return read_safetensors(Path(path), "path")


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
    recipe: Recipe = token_repeat.RECIPE,
    steps: int | None = None,
    patience: int | None = None,
    **options,
) -> Swept:
    """GRUs that repeat tokens (arXiv:2408.10920), with their weights. ``steps`` and ``patience``, if given, stand in
    the place of the recipe's; ``options`` are those of :func:`emt_core.experiments.table.drive`."""
    lines = _repeaters(hidden, variants, seeds, cell, task, _with(recipe, steps, patience))
    return _drive(Repeater, lines, out, train, **options)


@takes(drive)
def _studies(
    kind: Callable[..., Study],
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
    steps: int | None = None,
    patience: int | None = None,
    gru_recipe: Recipe = token_repeat.RECIPE,
    gru_steps: int | None = None,
    gru_patience: int | None = None,
    **options,
) -> Swept:
    networks = Path(grus).resolve()
    trained, learned = Table(networks, Repeater).rows, _recipe_columns(_with(recipe, steps, patience))
    lines = []
    for name, of in itertools.product(
        kinds, _repeaters(hidden, variants, seeds, cell, task, _with(gru_recipe, gru_steps, gru_patience))
    ):
        key = trained[of]["key"] if of in trained else of.key  # an older version's rows have other keys
        on = {"hidden": of.hidden, "autoregressive": of.autoregressive, "seed": of.seed, "cell": cell}
        lines.append(kind(**{kind.what: name}, **on, **_task_columns(task), **learned, gru=key))
    return _drive(kind, lines, out, learn, (networks,), **options)


@takes(_studies)
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
    return _studies(Edit, kinds, recipe, out, grus, **options)


@takes(_studies)
def onion_probes(
    out: str | Path,
    *,
    grus: str | Path,
    kinds: Iterable[str] = probes.KINDS,
    recipe: Recipe = probes.RECIPE,
    **options,
) -> Swept:
    """Probes of the same networks; see :func:`onion_interventions`."""
    return _studies(Probe, kinds, recipe, out, grus, **options)


def fixed_sequences(out: str | Path, **options) -> Swept:
    """Are onion edits worse if they and their GRUs learn from a fixed million of sequences, as the authors', and not
    from fresh ones? GRUs in the folder ``out/gru``, their edits in ``out``."""
    raise NotImplementedError


def _with(recipe: Recipe, steps: int | None, patience: int | None) -> Recipe:
    given = {"steps": steps, "patience": patience}
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


def _repeaters(hidden, variants, seeds, cell: str, task: TokenRepeat, recipe: Recipe) -> list[Repeater]:
    grid = list(itertools.product(hidden, variants, seeds))
    wrong = [variant for _, variant, _ in grid if variant not in VARIANTS]
    if wrong:
        raise ValueError(f"variants must be among {VARIANTS}, got {wrong[0]!r}")
    same = {"cell": cell} | _task_columns(task) | _recipe_columns(recipe)
    return [Repeater(hidden=N, autoregressive=v == VARIANTS[0], seed=seed, **same) for N, v, seed in grid]


def _drive(kind: type[Repeater], lines: list, out, function: Callable, arguments: tuple = (), **options) -> Swept:
    if str(options.get("device", "cpu")).startswith("cpu") and options.get("group") not in (None, 1):
        one = "1 on the CPU, where every network is trained by itself"
        raise ValueError(f"group must be {one}, got {options['group']}")
    return drive(kind, lines, out, function, arguments, **options)
