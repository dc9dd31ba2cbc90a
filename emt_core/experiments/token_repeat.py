"""GRUs that repeat tokens, and what is learned about each, as lines of a grid and as jobs: what the sweeps
``onion-gru``, ``onion-interventions`` and ``onion-probes`` of :mod:`emt_core.experiments.sweeps` are built on."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from emt_core.analysis import edits as interventions
from emt_core.analysis import layers, probes
from emt_core.experiments import jobs
from emt_core.experiments.variable_binding import made_by, number, set_aside_if_damaged
from emt_core.networks import cells
from emt_core.networks.cells import GRU
from emt_core.support.checks import integer
from emt_core.support.files import write_safetensors
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.training import optimise
from emt_core.training import token_repeat as repeat
from emt_core.training.optimise import Optimised, Recipe

SEEN = 1000  # random sequences on which a GRU's states are described


@dataclass(frozen=True)
class Repeater:
    """Everything that decides a GRU's numbers."""

    hidden: int
    autoregressive: bool
    seed: int
    task: TokenRepeat = field(default_factory=TokenRepeat)
    recipe: Recipe = repeat.RECIPE

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", integer("hidden", self.hidden, 1))
        object.__setattr__(self, "seed", integer("seed", self.seed, 0))
        if not isinstance(self.autoregressive, bool):
            raise ValueError(f"autoregressive must be True or False, got {self.autoregressive!r}")

    @property
    def key(self) -> str:
        """A name for files."""
        variant = "ar" if self.autoregressive else "ni"
        return f"gru-N{self.hidden}-{variant}-s{self.seed}-{_digest(asdict(self))}"

    @property
    def without_seed(self) -> Repeater:
        """The same for all that may be trained together."""
        return replace(self, seed=0)

    def columns(self) -> dict:
        """The GRU as the first columns of its row."""
        first = {"hidden": self.hidden, "autoregressive": self.autoregressive, "seed": self.seed}
        return first | asdict(self.task) | _recipe_columns(self.recipe)


@dataclass(frozen=True)
class Study:
    """An edit (a kind of :mod:`emt_core.analysis.edits`) or a probe (of :mod:`emt_core.analysis.probes`), learned on a GRU. Its
    random numbers start from the GRU's seed."""

    what: str  # "intervention" or "probe"
    kind: str
    gru: Repeater
    recipe: Recipe

    def __post_init__(self) -> None:
        kinds = {"intervention": interventions.KINDS, "probe": probes.KINDS}.get(self.what)
        if kinds is None:
            raise ValueError(f"what must be 'intervention' or 'probe', got {self.what!r}")
        if self.kind not in kinds:
            raise ValueError(f"kind must be one of {kinds}, got {self.kind!r}")

    @property
    def seed(self) -> int:
        return self.gru.seed

    @property
    def key(self) -> str:
        variant = "ar" if self.gru.autoregressive else "ni"
        kind = self.kind.replace(" ", "-")
        return f"{self.what}-{kind}-N{self.gru.hidden}-{variant}-s{self.seed}-{_digest(asdict(self))}"

    @property
    def without_seed(self) -> Study:
        return replace(self, gru=self.gru.without_seed)

    def columns(self) -> dict:
        gru = {"hidden": self.gru.hidden, "autoregressive": self.gru.autoregressive, "seed": self.seed}
        return {self.what: self.kind} | gru | _recipe_columns(self.recipe) | {"gru": self.gru.key}


def _digest(fields: dict) -> str:
    return hashlib.sha256(repr(fields).encode()).hexdigest()[:10]


def _recipe_columns(recipe: Recipe) -> dict:
    return {"most_steps" if name == "steps" else name: value for name, value in asdict(recipe).items()}


def group_key(items: Sequence[Repeater] | Sequence[Study], device: str) -> str:
    """A name for the files of a job: on the CPU its one item's, elsewhere one that names all of them."""
    first = items[0].key
    return first if device == "cpu" else f"{first}-x{len(items)}-{_digest({'keys': [item.key for item in items]})}"


def weights_file(item: Repeater | Study) -> str:
    return f"weights/{item.key}.safetensors"


# --- jobs -------------------------------------------------------------------------------------------------------------


def train_repeaters(place: jobs.Place, items: tuple[Repeater, ...], device: str) -> list[dict] | None:
    """Train GRUs that differ in their seed alone, and save them; a row for each, or None if stopped."""
    _begin(place)
    first = items[0]
    run = repeat.fit(
        first.task, hidden=first.hidden, seeds=[item.seed for item in items], autoregressive=first.autoregressive,
        recipe=first.recipe, device=device, checkpoint=place.checkpoint, stop=place.stop, progress=False,
    )  # fmt: skip
    if place.stop.is_set():
        return None
    validation = first.task.validation().to(device)
    right = repeat.repeats(run.model, validation)
    found = _measures(right, validation, run.training[0])
    measured = [row | more for row, more in zip(found, _layer_columns(run.model, first.task), strict=True)]
    for m, item in enumerate(items):
        text = {name: str(value) for name, value in (item.columns() | made_by(device)).items()}
        cells.save(run.model[m], place.folder / weights_file(item), text | {"exact": str(measured[m]["exact"])})
    return _rows(place, items, measured, device)


def learn(place: jobs.Place, items: tuple[Study, ...], grus: Path, device: str) -> list[dict] | None:
    """Learn the same on GRUs that differ in their seed alone, and save it; a row for each, or None if stopped. ``grus``
    is the folder of the sweep that trained them."""
    _begin(place)
    first = items[0]
    every = [_load(grus, item.gru) for item in items]
    weights = {name: torch.cat([gru.weights[name] for gru in every]) for name in every[0].weights}
    model = GRU(**weights, autoregressive=first.gru.autoregressive).to(device)
    options = dict(
        seeds=[item.seed for item in items], recipe=first.recipe, checkpoint=place.checkpoint, stop=place.stop,
        progress=False,
    )  # fmt: skip
    module = interventions if first.what == "intervention" else probes
    run = module.fit(first.kind, model, first.gru.task, **options)
    if place.stop.is_set():
        return None
    of = run.case.original if first.what == "intervention" else run.of
    measured = _measures(run.right, of, run.training)
    if first.what == "intervention":
        others = _control_columns(model, run)
        measured = [row | {name: values[m] for name, values in others.items()} for m, row in enumerate(measured)]
    for m, item in enumerate(items):
        one = {name: w[m : m + 1] for name, w in run.training.weights.items()}
        text = {name: str(value) for name, value in (item.columns() | made_by(device)).items()}
        write_safetensors(one, place.folder / weights_file(item), text)
    return _rows(place, items, measured, device)


def _begin(place: jobs.Place) -> None:
    torch.set_num_threads(1)  # one job per core; and bits must not depend on how many cores there are
    if multiprocessing.parent_process() is not None:  # whoever is waiting for this process says what was interrupted
        logging.getLogger(optimise.__name__).setLevel(logging.ERROR)
    set_aside_if_damaged(place.checkpoint)


def _load(folder: Path, item: Repeater) -> GRU:
    try:
        return cells.load_gru(folder / weights_file(item))[0]
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no trained GRU at {folder / weights_file(item)}: run onion-gru with --out {folder} and the same sizes, "
            "variants, seeds and steps first"
        ) from None


def _measures(right: Tensor, sequences: Sequences, run: Optimised) -> list[dict]:
    """Per model: exact match, right tokens at each position, exact match per length, and how training ended."""
    exact, at = right.all(1).double().mean(1), repeat.by_position(right, sequences)
    lengths = repeat.by_length(right, sequences.lengths)
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


def _layer_columns(model: GRU, task: TokenRepeat) -> list[dict]:
    """Per model: what positions leave in the last state of the longest sequences (:mod:`emt_core.analysis.layers`), and the
    update gate while each is read."""
    length, generator = int(task.longest), torch.Generator(model.W_o.device).manual_seed(0)
    found, mean = layers.layers(model, length, generator)
    tokens = torch.randint(model.vocabulary, (length, SEEN), generator=generator, device=generator.device)
    h = layers.states(model, tokens)
    values = {"dimension": layers.dimension(h), "additive": layers.additive_share(model, found, mean, tokens)}
    for name, matrix in {"overlap": layers.overlap(found), "alignment": layers.alignment(found)}.items():
        values[f"{name}_next"] = matrix.diagonal(1, 1, 2).mean(1)
        values[f"{name}_any"] = torch.stack([m[*torch.triu_indices(length, length, 1)].mean() for m in matrix])
    size, z = layers.sizes(found), layers.gates(model, tokens)
    values |= {f"size_{p}": size[:, p] for p in range(length)} | {f"z_{p}": z[:, p].mean((1, 2)) for p in range(length)}
    return [{name: number(value[m]) for name, value in values.items()} for m in range(model.models)]


def _control_columns(model: GRU, run: interventions.LearnedEdit) -> dict[str, list]:
    """Exact match of the controls, and of the edit by the position that was changed (where only one was)."""
    states = interventions.edited(run.edit, model, run.case)
    generator = torch.Generator().manual_seed(0)
    found = interventions.controls(model, run.case, states, generator)
    columns = {name.replace(" ", "_"): r.all(1).double().mean(1).tolist() for name, r in found.items()}
    changed, whole = run.case.changed, run.right.all(1)[:, None]
    if bool((changed.sum(1) == 1).all()):
        share = (changed & whole).sum(2).double() / changed.sum(2)
        columns |= {f"exact_changed_{p}": [*map(number, share[:, p])] for p in range(share.shape[1])}
    return columns


def _rows(place: jobs.Place, items: Sequence, measured: list[dict], device: str) -> list[dict]:
    seconds = place.seconds() / len(items)
    return [
        item.columns() | row | {"seconds": seconds} | made_by(device) | {"key": item.key}
        for item, row in zip(items, measured, strict=True)
    ]


def saved(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights of a saved edit or probe, and what the file says of it."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
