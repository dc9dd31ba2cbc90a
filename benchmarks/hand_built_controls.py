"""What do the book's probes and edits find in codes that are known? Positive controls, trained as for the GRUs.

    python benchmarks/hand_built_controls.py [--units 48 --seeds 1 --out book/data/hand_built_controls.csv]

Every probe and every edit of the tables, with the recipe of the tables, on hand-built networks that store in subspaces
or in an onion (emt_core.networks.hand_built). States that are read have a rest of 5 % of their variance, about that of
the GRUs; states that are edited have none, as the onion's own writer does not survive it. Rows are appended, and what
is there is not trained again; an hour or so on one core for one size and seed.
"""

import argparse
import csv
import io
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import torch

from emt_core.analysis import edits, probes
from emt_core.experiments.provenance import made_by
from emt_core.networks import hand_built
from emt_core.tasks import TokenRepeat
from emt_core.training.scores import by_length, by_position

ROOT = Path(__file__).resolve().parent.parent
CODES = {"subspaces": hand_built.subspaces, "onion": hand_built.onion}
PROBES = ("linear", "mlp", "onion")
COLUMNS = ["study", "kind", "code", "units", "seed", "steps", "exact"]
COLUMNS += [f"exact_length_{n}" for n in range(2, 10)] + [f"right_{p}" for p in range(9)]


def line(study: str, kind: str, code: str, units: int, seed: int) -> dict[str, object]:
    """One probe or edit, trained and judged on the held-out sequences."""
    task = TokenRepeat()
    model = CODES[code](units, task.vocabulary, task.longest, rest=0.05 if study == "probe" else 0, seed=seed)
    fit = probes.fit if study == "probe" else edits.fit
    run = fit(kind, model, task, seeds=[seed], progress=False)
    of = run.of if study == "probe" else run.case.original
    row = {"study": study, "kind": kind, "code": code, "units": units, "seed": seed, "steps": int(run.training.steps)}
    row |= {"exact": float(run.exact)}
    row |= {f"exact_length_{n}": round(float(share), 5) for n, share in by_length(run.right, of.lengths).items()}
    return row | {f"right_{p}": round(float(share), 5) for p, share in enumerate(by_position(run.right, of)[0])}


def asked(units: list[int], seeds: int) -> Iterator[tuple[str, str, str, int, int]]:
    """What is trained: each probe and edit on the code that it supposes, and then on the other."""
    for seed, n, matched in itertools.product(range(seeds), units, (True, False)):
        for study, kinds in (("probe", PROBES), ("edit", edits.KINDS)):
            for kind, code in itertools.product(kinds, CODES):
                if ((kind == "onion") == (code == "onion")) == matched:
                    yield study, kind, code, n, seed


def about() -> str:
    """The table's first lines."""
    made = made_by("cpu")
    told = {"command": "python benchmarks/hand_built_controls.py", "date": datetime.now(UTC).strftime("%Y-%m-%d")}
    told |= {"commit": made["commit"], "hardware": f"device {made['device']}, cpu {made['cpu']}"}
    told |= {"versions": ", ".join(f"{name} {made[name]}" for name in ("python", "torch", "numpy"))}
    return "".join(f"# {key}: {value}\n" for key, value in told.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, nargs="+", default=[48])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "data" / "hand_built_controls.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = options.out.read_text(encoding="utf8") if options.out.exists() else about() + ",".join(COLUMNS) + "\n"
    done = list(csv.DictReader(row for row in text.splitlines() if not row.startswith("#")))
    there = {(r["study"], r["kind"], r["code"], int(r["units"]), int(r["seed"])) for r in done}
    for each in asked(options.units, options.seeds):
        if each in there:
            continue
        row = line(*each)
        print(row, flush=True)
        file = io.StringIO()
        csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
        text += file.getvalue()
        options.out.write_text(text, encoding="utf8")


if __name__ == "__main__":
    main()
