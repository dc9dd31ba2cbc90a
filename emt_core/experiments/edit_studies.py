"""Two studies of why learned edits succeed: from which sequences they are learned, and what else would succeed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from emt_core.analysis import edits
from emt_core.experiments.table import Swept, drive, takes
from emt_core.experiments.token_repeat import VARIANTS, Edit, onion_gru, onion_interventions, studies
from emt_core.tasks import TokenRepeat
from emt_core.tasks.fixed_pool import FixedPool
from emt_core.training import token_repeat
from emt_core.training.until_flat import Recipe

# distinct, units, seeds, and the recipes of the GRU and of the edit
FIXED = (
    (False, (64,), 3, token_repeat.RECIPE, edits.RECIPE),
    (True, (48, 64), 5, Recipe(steps=40_000, patience=0), Recipe(steps=60_000, patience=0)),
)


@takes(drive)
def fixed_sequences(out: str | Path, **options) -> Swept:
    """Onion edits and their GRUs, which are in the folder ``out/gru``, learned from one fixed million of sequences as
    the authors' are, and not from fresh ones."""
    grus = Path(out) / "gru"
    for distinct, hidden, seeds, gru_recipe, recipe in FIXED:
        same = dict(hidden=hidden, variants=VARIANTS[:1], seeds=range(seeds), task=FixedPool(distinct=distinct))
        swept = onion_gru(grus, recipe=gru_recipe, **same, **options)
        if not swept.missing:
            more = dict(grus=grus, kinds=("onion",), recipe=recipe, gru_recipe=gru_recipe)
            swept = onion_interventions(out, **more, **same, **options)
        if swept.missing:
            break
    return swept


# the weights of the networks that learned, the edits of them, and whether these are told wrong positions
CONTROLS = (
    ("all", edits.KINDS + edits.FREER, False),
    ("all", edits.KINDS, True),
    ("read-out", edits.KINDS, False),
    ("nothing", edits.KINDS, False),
)


@takes(drive)
def edit_controls(
    out: str | Path,
    *,
    hidden: Iterable[int] = (48, 64),
    variants: Iterable[str] = VARIANTS[:1],
    seeds: Iterable[int] = range(3),
    task: TokenRepeat = TokenRepeat(),  # noqa: B008
    recipe: Recipe = edits.RECIPE,
    gru_recipe: Recipe = token_repeat.RECIPE,
    **options,
) -> Swept:
    """What the success of an edit says: the paper's edits and freer ones on trained networks; with positions told
    wrong; and on random networks of which the read-out alone was trained, or nothing (compare arXiv:2507.08802). The
    networks are in the folder ``out/gru``. ``options``: those of :func:`emt_core.experiments.table.drive`."""
    grus = Path(out) / "gru"
    for learns, kinds, misled in CONTROLS:
        same = dict(hidden=hidden, variants=variants, seeds=seeds, task=task, learns=learns)
        swept = onion_gru(grus, recipe=gru_recipe, **same, **options)
        if not swept.missing:
            more = dict(gru_recipe=gru_recipe, same={"misled": misled})
            swept = studies(Edit, kinds, recipe, out, grus, **more, **same, **options)
        if swept.missing:
            break
    return swept
