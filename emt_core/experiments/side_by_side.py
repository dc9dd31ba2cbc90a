"""Networks of every cell that repeat tokens, alike in all but the cell: which recurrence stores how?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emt_core.analysis import edits, factors, layers
from emt_core.experiments import jobs
from emt_core.experiments.provenance import number
from emt_core.experiments.table import Line, Swept, Table, drive, takes, weights_file
from emt_core.experiments.token_repeat import Edit, Repeater, learn, recipe_columns, train
from emt_core.networks import CELLS, Attention, TokenNetwork, load
from emt_core.networks.saving import ATTENTION
from emt_core.support.random_streams import stream
from emt_core.tasks import TokenRepeat
from emt_core.training.until_flat import Recipe

#: cells as usual; one with a start that favours copying; Transformers of one block and of two
NAMES = (*CELLS, "orthogonal elman", ATTENTION, "deep attention")
MATRIX = ("linearattention", "deltanet")  # cells whose memory is a square of numbers
RECIPE = Recipe(steps=6000, lr=3e-3, decay=0.01, batch=256, every=500, patience=0)
EDITS = Recipe(steps=6000, every=500, patience=0)
TASK = TokenRepeat()


def lines_of(
    cells: Iterable[str], sizes: Iterable[int], seeds: Iterable[int], recipe: Recipe = RECIPE
) -> list[Repeater]:
    """A line for each network. Of a cell whose memory is a matrix, the largest square of at most so many numbers is
    taken; embeddings and the layer before the read-out are the same for all cells."""
    same = {"autoregressive": True, "inputs": 64, "between": 128} | recipe_columns(recipe)
    return [
        Repeater(hidden=math.isqrt(size) if name in MATRIX else size, seed=seed, **_named(name), **same)
        for size, name, seed in itertools.product(sizes, cells, seeds)
    ]


def _named(name: str) -> dict[str, Any]:
    """What one of NAMES is."""
    how, _, cell = name.rpartition(" ")
    return {"cell": cell, "blocks": 2} if how == "deep" else {"cell": cell, "recurrent": how}


@takes(drive)
def recurrences(
    out: str | Path,
    *,
    cells: Iterable[str] = NAMES,
    sizes: Iterable[int] = (48, 64, 128),
    seeds: Iterable[int] = range(3),
    recipe: Recipe = RECIPE,
    steps: int | None = None,
    **options,
) -> Swept:
    """Networks that repeat tokens, one cell beside the other: embeddings, a non-linear read-out, task and recipe are
    the same for all. ``options`` are those of :func:`emt_core.experiments.table.drive`."""
    return drive(Repeater, lines_of(cells, sizes, seeds, _with(recipe, steps)), out, train, **options)


def _trained(networks: Path, lines: Iterable[Repeater]) -> dict[Repeater, str]:
    """Those of the networks that the folder has, and the keys of their rows, which another version may have made."""
    rows = Table(networks, Repeater).rows
    return {line: rows[line].get("key", line.key) for line in lines if line in rows}


def _with(recipe: Recipe, steps: int | None) -> Recipe:
    return recipe if steps is None else replace(recipe, steps=steps)


@takes(drive)
def rounded_states(
    out: str | Path,
    *,
    formats: Iterable[str] = ("fp8_e4m3", "fp8_e5m2"),
    hidden: Iterable[int] = (48,),
    seeds: Iterable[int] = range(3),
    cell: str = "gru",
    recipe: Recipe = RECIPE,
    steps: int | None = None,
    **options,
) -> Swept:
    """Networks of one cell whose state is kept in a short format from the first step of training on, and the same ones
    without. ``options`` are those of :func:`emt_core.experiments.table.drive`."""
    usual = lines_of((cell,), hidden, seeds, _with(recipe, steps))
    lines = [replace(line, stored=form) for form in ("", *formats) for line in usual]
    return drive(Repeater, lines, out, train, **options)


@takes(drive)
def recurrence_edits(
    out: str | Path,
    *,
    grus: str | Path,
    kinds: Iterable[str] = edits.KINDS,
    cells: Iterable[str] = NAMES,
    sizes: Iterable[int] = (64,),
    seeds: Iterable[int] = range(1),
    recipe: Recipe = EDITS,
    network_recipe: Recipe = RECIPE,
    steps: int | None = None,
    **options,
) -> Swept:
    """Edits learned on the networks that :func:`recurrences` trained into the folder ``grus``. ``options`` are those of
    :func:`emt_core.experiments.table.drive`."""
    networks, recipe = Path(grus).resolve(), _with(recipe, steps)
    of = _trained(networks, lines_of(cells, sizes, seeds, network_recipe))
    lines = [
        Edit(
            gru=key, intervention=kind, hidden=line.hidden, autoregressive=True, seed=line.seed, cell=line.cell,
            **recipe_columns(recipe),
        )
        for kind, (line, key) in itertools.product(kinds, of.items())
    ]  # fmt: skip
    return drive(Edit, lines, out, learn, (networks, TASK), **options)


@dataclass(frozen=True, kw_only=True)
class Placed(Line):
    """What tells positions apart in the network whose row has the key ``gru``; nothing is learned."""

    cell: str
    hidden: int
    seed: int
    gru: str
    steps: int = 0

    @property
    def label(self) -> str:
        return f"factors-{self.cell}-N{self.hidden}-s{self.seed}"

    def files(self, key: str) -> tuple[str, ...]:
        return ()


def place(place: jobs.Place, lines: tuple[Placed, ...], device: str, networks: Path) -> list[dict]:
    """What :func:`describe` says of networks that differ in their seed alone."""
    return [describe(load(networks / weights_file(line.gru))[0].to(device), int(TASK.longest)) for line in lines]


def describe(model: TokenNetwork | Attention, length: int, sequences: int = 64) -> dict[str, float | int | None]:
    """How many numbers a network has, its layers' overlaps and sizes, and, of one with a cell, what tells positions
    apart: the three factors of :mod:`emt_core.analysis.factors`, and how much of the spectrum does not turn."""
    found, _ = layers.layers(model, length, stream(0, "layers", model.device), 4 * sequences)
    energies, matrix = factors.energies(found), layers.overlap(found)[0]
    row: dict[str, float | int | None] = {
        "state": model.state_size,
        "parameters": sum(w[0].numel() for w in model.weights.values()),
        "separation": number(factors.separation(found)[0]),
        "units": number(factors.unit_overlap(found)[0]),
        "random_units": number(factors.overlap_of_energies(energies, model.vocabulary)[0]),
    }
    row |= _parts(model, length, sequences) if isinstance(model, TokenNetwork) else dict.fromkeys(PARTS)
    row |= {f"size_{p}": number(size) for p, size in enumerate(layers.sizes(found)[0])}
    pairs = itertools.combinations(range(length), 2)
    return row | {f"overlap_{p}_{q}": number(matrix[p, q]) for p, q in pairs}


PARTS = ("first_order", "explained", "positive", *(f"share_{name}" for name in factors.FACTORS))


def _parts(model: TokenNetwork, length: int, sequences: int) -> dict[str, float | None]:
    """The three factors, how far first order goes, and how much of the mean Jacobian's spectrum does not turn."""
    drawn = stream(0, "factors", model.device)
    parts = factors.shares(factors.propagation(model, length, drawn, sequences))
    J = factors.mean_jacobian(model, length, stream(0, "factors", model.device), sequences)
    values = parts.separation[0], parts.explained.mean(), factors.positive_share(J)[0], *parts.by_factor[0]
    return {name: number(value) for name, value in zip(PARTS, values, strict=True)}


@takes(drive)
def recurrence_factors(
    out: str | Path,
    *,
    grus: str | Path,
    cells: Iterable[str] = NAMES,
    sizes: Iterable[int] = (48, 64, 128),
    seeds: Iterable[int] = range(3),
    network_recipe: Recipe = RECIPE,
    **options,
) -> Swept:
    """What tells positions apart in the networks that :func:`recurrences` trained into the folder ``grus``.
    ``options`` are those of :func:`emt_core.experiments.table.drive`."""
    networks = Path(grus).resolve()
    of = _trained(networks, lines_of(cells, sizes, seeds, network_recipe))
    lines = [Placed(gru=key, cell=line.cell, hidden=line.hidden, seed=line.seed) for line, key in of.items()]
    return drive(Placed, lines, out, place, (networks,), files=False, **options)
