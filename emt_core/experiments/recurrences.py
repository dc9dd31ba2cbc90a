"""Networks of every cell that repeat tokens, alike in all but the cell: which recurrence stores how?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from emt_core.analysis import edits
from emt_core.experiments.table import Swept, Table, drive, takes
from emt_core.experiments.token_repeat import Edit, Repeater, learn, recipe_columns, train
from emt_core.networks import CELLS
from emt_core.tasks import TokenRepeat
from emt_core.training.until_flat import Recipe

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
        Repeater(hidden=math.isqrt(size) if cell in MATRIX else size, seed=seed, cell=cell, **same)
        for size, cell, seed in itertools.product(sizes, cells, seeds)
    ]


@takes(drive)
def recurrences(
    out: str | Path,
    *,
    cells: Iterable[str] = tuple(CELLS),
    sizes: Iterable[int] = (48, 64, 128),
    seeds: Iterable[int] = range(3),
    recipe: Recipe = RECIPE,
    steps: int | None = None,
    **options,
) -> Swept:
    """Networks that repeat tokens, one cell beside the other: embeddings, a non-linear read-out, task and recipe are
    the same for all. ``options`` are those of :func:`emt_core.experiments.table.drive`."""
    return drive(Repeater, lines_of(cells, sizes, seeds, _with(recipe, steps)), out, train, **options)


def _with(recipe: Recipe, steps: int | None) -> Recipe:
    return recipe if steps is None else replace(recipe, steps=steps)


@takes(drive)
def recurrence_edits(
    out: str | Path,
    *,
    grus: str | Path,
    kinds: Iterable[str] = edits.KINDS,
    cells: Iterable[str] = tuple(CELLS),
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
    of = [line for line in lines_of(cells, sizes, seeds, network_recipe) if line in Table(networks, Repeater).rows]
    lines = [
        Edit(
            gru=line.key, intervention=kind, hidden=line.hidden, autoregressive=True, seed=line.seed, cell=line.cell,
            **recipe_columns(recipe),
        )
        for kind, line in itertools.product(kinds, of)
    ]  # fmt: skip
    return drive(Edit, lines, out, learn, (networks, TASK), **options)
