"""Sweeps over cells: what is the same for all of them, and that rows are what a fit by itself finds."""

from oracles import same_bits

from emt_core.analysis import edits
from emt_core.experiments import recurrence_edits, recurrences
from emt_core.experiments.recurrences import MATRIX, lines_of
from emt_core.networks import CELLS, load
from emt_core.tasks import TokenRepeat
from emt_core.training import Recipe, token_repeat

SHORT = Recipe(steps=6, lr=3e-3, decay=0.01, batch=32, every=3, patience=0)


def test_all_but_the_cell_is_the_same():
    lines = lines_of(tuple(CELLS), (48, 64), range(2))
    assert len(lines) == 4 * len(CELLS) and len({line.key for line in lines}) == len(lines)
    assert len({(line.inputs, line.between, line.recipe, line.autoregressive) for line in lines}) == 1
    for line in lines:
        assert line.hidden**2 <= 64 < (line.hidden + 2) ** 2 if line.cell in MATRIX else line.hidden in (48, 64)


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
