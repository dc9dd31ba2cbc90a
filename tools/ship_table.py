"""Copy what the book ships of a finished sweep: its table, and the weights of one cell.

    python -m emt_core.sweep table1 --seeds 5 --out _build/table1
    python -m emt_core.sweep table1 --seeds 2 --hidden 32 --l2 0,0.001,0.1 --out _build/table1
    python -m emt_core.sweep table1 --seeds 2 --l2 0.1 --out _build/table1
    python tools/ship_table.py _build/table1

Writes to book/data: table1.csv, sorted; table1_3_128_0.001.safetensors, all seeds of one cell at threshold 0.98. The
weights are read from the sweep's checkpoints, or trained again if these are gone.
"""

import argparse
import csv
from pathlib import Path

import torch
from results import ROOT, provenance, stop_if_interrupted, write_table

from emt_core import cells, train
from emt_core.grids import Model
from emt_core.tasks import PAPER_TRIPLES

CELL = {"place": 3, "hidden": 128, "l2": 0.001, "threshold": 0.98}
WHOLE = (
    "choice",
    "permutation",
    "signs",
    "history",
    "dim",
    "hidden",
    "seed",
    "steps",
    "batch",
    "every",
    "test_horizon",
)
KINDS = dict.fromkeys((*WHOLE, "test_horizon"), int) | dict.fromkeys(("l2", "threshold", "lr", "clip"), float)


def ship_weights(models: list[Model], folder: Path, out: Path, made_by: dict[str, str]) -> None:
    """The weights of one cell as one ensemble, in the order of the seeds."""
    trained = []
    for model in models:
        run = train.fit(
            model.task,
            hidden=model.hidden,
            seeds=[model.seed],
            steps=model.steps,
            l2=model.l2,
            threshold=model.threshold,
            checkpoint=folder / "work" / f"{model.key}.checkpoint",
        )
        stop_if_interrupted(run)
        trained.append(run.model)
    name = "table1_{place}_{hidden}_{l2:g}.safetensors".format(**CELL)
    seeds = " ".join(str(model.seed) for model in models)
    about = {"seeds": seeds, "threshold": str(CELL["threshold"]), "steps": str(models[0].steps)}
    together = cells.Elman(*(torch.cat([getattr(m, w) for m in trained]) for w in ("W_uh", "W_hh", "W_r")))
    cells.save(together, out / name, made_by | about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the sweep's --out")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "data")
    options = parser.parse_args()

    with (options.folder / "table.csv").open(newline="", encoding="utf8") as file:
        rows = list(csv.DictReader(file))
    models = {Model.of_row(row | {k: kind(row[k]) for k, kind in KINDS.items()}): row for row in rows}
    places = {model: PAPER_TRIPLES.index(model.triple) for model in models}
    ordered = sorted(models, key=lambda m: (places[m], m.hidden, m.l2, m.threshold, m.seed))
    made_by = provenance("python -m emt_core.sweep table1; python tools/ship_table.py " + str(options.folder))
    # each row says on what it was made
    made_by = {name: made_by[name] for name in ("command", "date")}
    write_table(options.out / "table1.csv", [models[m] for m in ordered], made_by)
    print(f"{len(ordered)} rows in {options.out / 'table1.csv'}")

    wanted = (CELL["hidden"], CELL["l2"], CELL["threshold"])
    cell = [m for m in ordered if places[m] == CELL["place"] and (m.hidden, m.l2, m.threshold) == wanted]
    ship_weights(cell, options.folder, options.out, made_by | {"commit": models[cell[0]]["commit"]})


if __name__ == "__main__":
    main()
