"""Three studies of why learned edits succeed: from which sequences they are learned, what else would succeed, and what
the details of the recipe do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emt_core.analysis import edits
from emt_core.experiments.table import Swept, drive, takes
from emt_core.experiments.token_repeat import VARIANTS, Edit, onion_gru, studies
from emt_core.tasks import TokenRepeat
from emt_core.tasks.fixed_pool import FixedPool
from emt_core.training import token_repeat
from emt_core.training.until_flat import Recipe


@dataclass(frozen=True)
class _Stage:
    """Some edits of some networks: what is asked for of these, the edits' kinds and recipe, the fields that their lines
    have in common, and the networks' recipe."""

    networks: Mapping[str, Any]
    kinds: tuple[str, ...]
    recipe: Recipe
    same: Mapping[str, Any] = field(default_factory=dict)
    of: Recipe = token_repeat.RECIPE


@takes(drive)
def _in_turn(
    out: str | Path,
    stages: Iterable[_Stage],
    *,
    hidden: Iterable[int] = (48, 64),
    variants: Iterable[str] = VARIANTS[:1],
    seeds: Iterable[int] = range(3),
    task: TokenRepeat = TokenRepeat(),  # noqa: B008
    **options,
) -> Swept:
    """Networks into ``out/gru`` and their edits into ``out``, until a stage is not finished. A stage says what is
    otherwise of its networks."""
    grus, networks = Path(out) / "gru", {"hidden": hidden, "variants": variants, "seeds": seeds, "task": task}
    for stage in stages:
        asked = {**networks, **stage.networks}
        swept = onion_gru(grus, recipe=stage.of, **asked, **options)
        if not swept.missing:
            more = {"gru_recipe": stage.of, "same": stage.same}
            swept = studies(Edit, stage.kinds, stage.recipe, out, grus, **more, **asked, **options)
        if swept.missing:
            break
    return swept


# distinct, units, seeds, and the recipes of the GRU and of the edit
FIXED = (
    (False, (64,), 3, token_repeat.RECIPE, edits.RECIPE),
    (True, (48, 64), 5, Recipe(steps=40_000, patience=0), Recipe(steps=60_000, patience=0)),
)


@takes(drive)
def fixed_sequences(out: str | Path, **options) -> Swept:
    """Onion edits and their GRUs, which are in the folder ``out/gru``, learned from one fixed million of sequences as
    the authors' are, and not from fresh ones."""
    stages = [
        _Stage(
            {"hidden": hidden, "seeds": range(seeds), "task": FixedPool(distinct=distinct)}, ("onion",), recipe, of=gru
        )
        for distinct, hidden, seeds, gru, recipe in FIXED
    ]
    return _in_turn(out, stages, **options)


# the weights of the networks that learned, the edits of them, and whether these are told wrong positions
CONTROLS = (
    ("all", edits.KINDS + edits.FREER, False),
    ("all", edits.KINDS, True),
    ("read-out", edits.KINDS, False),
    ("nothing", edits.KINDS, False),
)


@takes(_in_turn)
def edit_controls(
    out: str | Path, *, recipe: Recipe = edits.RECIPE, gru_recipe: Recipe = token_repeat.RECIPE, **options
) -> Swept:
    """What the success of an edit says: the paper's edits and freer ones on trained networks; with positions told
    wrong; and on random networks of which the read-out alone was trained, or nothing (compare arXiv:2507.08802). The
    networks are in the folder ``out/gru``. ``options``: which networks, and those of
    :func:`emt_core.experiments.table.drive`."""
    stages = [
        _Stage({"learns": learns}, kinds, recipe, {"misled": misled}, gru_recipe) for learns, kinds, misled in CONTROLS
    ]
    return _in_turn(out, stages, **options)


# edits, and what is done otherwise with them: as in the authors' code, or with that patience
PROTOCOLS = (
    (edits.KINDS, {}, None),
    (("bigram", "onion"), {"as_authors": "any token"}, None),
    (("unigram",), {"as_authors": "coin swaps"}, None),
    (("unigram", "bigram"), {"as_authors": "mean pressure"}, None),
    (edits.KINDS, {}, 0),
)


@takes(_in_turn)
def edit_protocols(
    out: str | Path,
    *,
    hidden: Iterable[int] = (48,),
    recipe: Recipe = edits.RECIPE,
    gru_recipe: Recipe = token_repeat.RECIPE,
    **options,
) -> Swept:
    """What the differences between this recipe for edits and that of the paper's public code do, one at a time: how
    cases are drawn, the pressure on linear edits, and that a run stops when it no longer improves. The networks are in
    the folder ``out/gru``. ``options``: which networks, and those of :func:`emt_core.experiments.table.drive`."""
    stages = [
        _Stage({}, kinds, recipe if patience is None else replace(recipe, patience=patience), same, gru_recipe)
        for kinds, same, patience in PROTOCOLS
    ]
    return _in_turn(out, stages, hidden=hidden, **options)
