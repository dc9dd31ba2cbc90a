"""Copy what the book ships of the sweeps over GRUs that repeat tokens: their tables, and a few of the small weights.

    python -m emt_core.experiments.sweeps onion-gru --variants autoregressive --seeds 5 --out _build/onion/gru
    python -m emt_core.experiments.sweeps onion-gru --hidden 48,64 --variants "no input" --seeds 3 --out _build/onion/gru
    python -m emt_core.experiments.sweeps onion-gru --hidden 128 --variants "no input" --seeds 1 --out _build/onion/gru
    python -m emt_core.experiments.sweeps onion-gru --hidden 128 --variants autoregressive --seeds 2 --out _build/onion/gru
    python -m emt_core.experiments.sweeps onion-gru --hidden 256 --variants autoregressive --seeds 1 --out _build/onion/gru
    (onion-interventions and onion-probes likewise, with --grus _build/onion/gru; for 128 units --kinds linear,onion of
    the probes, for 256 --kinds unigram,onion of the edits; and some edits again with --patience 0)
    python tools/ship_onions.py _build/onion

Writes to book/data: onion_gru.csv, onion_interventions.csv, onion_probes.csv; and of the first seed with 48 and 64
units the GRUs of both variants and the autoregressive one's edits and probes (gru_…, edit_…, probe_… .safetensors).
"""

import argparse
import csv
import shutil
from pathlib import Path

from results import ROOT, provenance, write_table

SHIPPED = 200_000  # bytes, at most, of a file of weights
FOLDERS = {"gru": "gru", "interventions": "edit", "probes": "probe"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what holds the sweeps' folders gru, interventions and probes")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "data")
    options = parser.parse_args()
    command = "see tools/ship_onions.py: " + " ".join(
        line.strip() for line in __doc__.splitlines() if line[:4] == "    "
    )
    for name, prefix in FOLDERS.items():
        folder = options.folder / name
        with (folder / "table.csv").open(newline="", encoding="utf8") as file:
            rows = list(csv.DictReader(file))
        kind = {"interventions": "intervention", "probes": "probe"}.get(name)
        rows.sort(key=lambda r: (int(r["hidden"]), r["autoregressive"] != "true", r.get(kind, ""), int(r["seed"])))
        for row in rows:
            ship(row, kind, folder, prefix, options.out)
        write_table(options.out / f"onion_{name}.csv", rows, made_by(rows, command))
        print(f"{len(rows)} rows in {options.out / f'onion_{name}.csv'}")


def ship(row: dict, kind: str | None, folder: Path, prefix: str, out: Path) -> None:
    """The weights of a row, if they are among those that the book ships."""
    ar = row["autoregressive"] == "true"
    if row["patience"] == "0":  # learned a second time, with all steps
        return
    if int(row["hidden"]) > 64 or row["seed"] != "0" or (kind and not ar) or row.get(kind, "").startswith("gru"):
        return
    parts = [prefix, *([row[kind]] if kind else []), row["hidden"], "ar" if ar else "ni", row["seed"]]
    weights = folder / "weights" / f"{row['key']}.safetensors"
    if weights.stat().st_size > SHIPPED:
        raise SystemExit(f"{weights} holds {weights.stat().st_size} bytes, more than {SHIPPED}")
    shutil.copy(weights, out / f"{'_'.join(parts)}.safetensors")


def made_by(rows: list[dict], command: str) -> dict[str, str]:
    columns = {"hardware": ("device", "cpu"), "versions": ("python", "torch", "numpy")}
    found = {c: "/".join(sorted({row[c] for row in rows})) for names in columns.values() for c in (*names, "commit")}
    made = {name: ", ".join(f"{c} {found[c]}" for c in names) for name, names in columns.items()}
    return {"command": command, "date": provenance(command)["date"], "commit": found["commit"]} | made


if __name__ == "__main__":
    main()
