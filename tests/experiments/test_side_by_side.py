"""Sweeps over cells: what is the same for all of them, and that rows are what a fit by itself finds."""

from dataclasses import replace

from oracles import same_bits

from emt_core.analysis import edits, factors
from emt_core.experiments import recurrence_edits, recurrence_factors, recurrences
from emt_core.experiments.side_by_side import MATRIX, NAMES, lines_of
from emt_core.networks import load
from emt_core.tasks import TokenRepeat
from emt_core.training import Recipe, token_repeat

SHORT = Recipe(steps=6, lr=3e-3, decay=0.01, batch=32, every=3, patience=0)


def test_all_but_the_cell_is_the_same():
    lines = lines_of(NAMES, (64,), range(2))
    assert len(lines) == 2 * len(NAMES) and len({line.key for line in lines}) == len(lines)
    assert len({(line.inputs, line.between, line.recipe, line.autoregressive) for line in lines}) == 1
    assert all(line.hidden == (8 if line.cell in MATRIX else 64) for line in lines)
    assert {line.hidden for line in lines_of(MATRIX, (48,), [0])} == {6}  # the largest square of at most 48 numbers
    assert [(line.cell, line.recurrent) for line in lines_of(("orthogonal elman",), (9,), [0])] == [
        ("elman", "orthogonal")
    ]


def test_a_row_is_what_a_fit_finds_and_edits_follow(tmp_path):
    options = dict(cells=("lru", "decay"), sizes=(12,), seeds=(3,), workers=1, progress=False)
    swept = recurrences(tmp_path / "networks", recipe=SHORT, **options)
    assert not swept.missing and [row["cell"] for row in swept.rows] == ["lru", "decay"]
    for row in swept.rows:
        alone = token_repeat.fit(
            TokenRepeat(), cell=row["cell"], hidden=12, seeds=[3], inputs=64, between=128, recipe=SHORT, progress=False
        )
        saved = load(tmp_path / "networks" / "weights" / f"{row['key']}.safetensors")[0]
        assert all(same_bits(w, saved.weights[name]) for name, w in alone.model.weights.items())
        assert row["exact"] == float(f"{float(alone.exact[0]):.6g}") and row["inputs"] == 64 and row["between"] == 128
    few = Recipe(steps=2, every=1, batch=16, patience=0)
    edited = recurrence_edits(
        tmp_path / "edits", grus=tmp_path / "networks", recipe=few, network_recipe=SHORT, **options
    )
    assert not edited.missing
    assert [(row["intervention"], row["cell"]) for row in edited.rows] == [
        (kind, cell) for kind in edits.KINDS for cell in ("lru", "decay")
    ]
    assert all(0 <= row["exact"] <= row["oracle"] <= 1 for row in edited.rows)


def test_what_tells_positions_apart_is_measured_of_every_kind_of_network(tmp_path):
    """Networks with a cell have all columns; with attention there are no steps, and so no factors."""
    options = dict(cells=("gru", "attention"), sizes=(8,), seeds=(0,), workers=1, progress=False)
    short = replace(SHORT, steps=2, every=1)
    assert not recurrences(tmp_path / "networks", recipe=short, **options).missing
    found = recurrence_factors(tmp_path / "factors", grus=tmp_path / "networks", network_recipe=short, **options)
    gru, attention = found.rows
    assert not found.missing and (gru["state"], attention["state"]) == (8, 8)
    parts = [gru[f"share_{name}"] for name in factors.FACTORS]
    assert abs(sum(parts) - gru["first_order"]) < 1e-5  # columns are rounded
    apart = [gru[f"overlap_{p}_{q}"] for p in range(9) for q in range(p + 1, 9)]
    assert abs(1 - sum(apart) / len(apart) - gru["separation"]) < 1e-5
    assert attention["share_write"] is None and 0 <= attention["separation"] <= 1
