"""Copy what the book ships of a finished sweep: its table, and the weights of one cell.

    python -m emt_core.experiments.sweeps table1 --seeds 5 --out _build/table1
    python -m emt_core.experiments.sweeps table1 --seeds 2 --hidden 32 --l2 0,0.001,0.1 --out _build/table1
    python -m emt_core.experiments.sweeps table1 --seeds 2 --l2 0.1 --out _build/table1
    python tools/ship_table.py _build/table1

Writes to book/data: table1.csv, sorted; table1_3_128_0.001.safetensors, all seeds of one cell at threshold 0.98. The
weights are read from the sweep's checkpoints, or trained again if these are gone.
"""

import argparse
import csv
from pathlib import Path

import torch
from results import ROOT, provenance, stop_if_interrupted, write_table

from emt_core.networks import cells
from emt_core.training import variable_binding as train
from emt_core.experiments.variable_binding import Model
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


def ship_weights(
    models: list[Model], rows: dict[Model, dict], folder: Path, out: Path, made_by: dict[str, str]
) -> None:
    """The weights of one cell as one ensemble, in the order of the seeds; they must be those of the table's rows."""
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
        if repr(float(run.accuracy[0])) != rows[model]["accuracy"]:
            raise SystemExit(
                f"{model.key}: accuracy {float(run.accuracy[0])!r}, the table says {rows[model]['accuracy']}"
            )
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
    wanted = (CELL["hidden"], CELL["l2"], CELL["threshold"])
    cell = [m for m in ordered if places[m] == CELL["place"] and (m.hidden, m.l2, m.threshold) == wanted]
    if not cell:
        parser.error(f"folder must hold networks of the cell {CELL}, {options.folder}/table.csv has none")
    command = "; ".join(line.strip() for line in __doc__.splitlines() if line.startswith("    python"))
    here = provenance(command)
    ship_weights(cell, models, options.folder, options.out, here)
    rows = [models[m] for m in ordered]
    columns = {"hardware": ("device", "cpu"), "versions": ("python", "torch", "numpy")}
    found = {c: "/".join(sorted({row[c] for row in rows})) for names in columns.values() for c in (*names, "commit")}
    made = {name: ", ".join(f"{c} {found[c]}" for c in names) for name, names in columns.items()}
    write_table(
        options.out / "table1.csv", rows, {"command": command, "date": here["date"], "commit": found["commit"]} | made
    )
    print(f"{len(rows)} rows in {options.out / 'table1.csv'}")


if __name__ == "__main__":
    main()
