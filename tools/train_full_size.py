"""Train the paper's four tasks at its size, S = D = 8, and write the weights that the book ships of them.

    python tools/train_full_size.py circuits --checkpoint _build/full_size
    python tools/train_full_size.py failures --checkpoint _build/full_size

`circuits` are cells of the paper's table in which training finds the circuit; `failures` are mostly cells where the
paper prints a dash. Writes to book/data: a row per network in full_size_<set>.csv, and the weights of each cell, every
seed of it whatever became of it, as <set>_<task>_<units>_<L2>.safetensors. One to five minutes a network on one core;
Ctrl-C loses nothing, the same command goes on where it stopped.
"""

import argparse
from pathlib import Path

from results import ROOT, provenance, stop_if_interrupted, write_table

from emt_core.analysis import spectrum
from emt_core.networks import cells
from emt_core.theory import circuit
from emt_core.training import variable_binding as train
from emt_core.tasks import PAPER_TRIPLES, VariableBinding

THRESHOLD = 0.96
# (task of PAPER_TRIPLES, units, L2 penalty, seeds, steps); seed 0 of repeat copy is repeat_copy.safetensors
SETS = {
    "circuits": [
        (0, 128, 0.0, range(1, 4), 20_000),
        (1, 128, 0.0, range(4), 10_000),
        (2, 128, 0.0, range(4), 10_000),
        (3, 128, 0.0, range(4), 10_000),
    ],
    "failures": [
        (0, 64, 0.0, range(2), 20_000),
        (0, 64, 0.001, range(2), 20_000),
        (1, 64, 0.001, range(2), 20_000),
        (0, 128, 0.001, range(2), 20_000),
        (0, 64, 0.1, range(2), 20_000),
        (2, 128, 0.1, range(2), 20_000),
    ],
}


def rows(task: VariableBinding, run: train.Run, hidden: int, l2: float, seeds: range, steps: int) -> list[dict]:
    """One line of the table for each network."""
    match = spectrum.spectral_error(run.model.W_hh, circuit.effective_interaction(task))
    return [
        {
            "triple": " ".join(map(str, task.triple)),
            "hidden": hidden,
            "l2": l2,
            "threshold": THRESHOLD,
            "seed": seed,
            "steps": steps,
            "count": int(match.counts[m, 0]),
            "rank": int(match.counts[m, 1]),
            "error": f"{float(match.error[m]):.6f}",
            "accuracy": f"{float(run.accuracy[m]):.5f}",
            "loss": f"{float(run.history.loss[-1, m]):.5f}",
            "horizon": int(run.history.horizon[-1, m]),
            "status": run.status[m],
        }
        for m, seed in enumerate(seeds)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=SETS, help="which cells of the table")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the cells to train now (default: all)")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder for the checkpoints")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "data")
    options = parser.parse_args()

    table, made_by = [], provenance(f"python tools/train_full_size.py {options.set} --checkpoint {options.checkpoint}")
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = range(len(SETS[options.set])) if options.only is None else options.only
    for number in chosen:
        place, hidden, l2, seeds, steps = SETS[options.set][number]
        task = VariableBinding(PAPER_TRIPLES[place], 8, 8)
        name = f"{options.set}_{place}_{hidden}_{l2:g}.safetensors"
        settings = dict(hidden=hidden, l2=l2, seeds=seeds, steps=steps, threshold=THRESHOLD)
        run = train.fit(task, checkpoint=options.checkpoint / name, **settings)
        stop_if_interrupted(run)
        cells.save(run.model, options.out / name, {**made_by, "seeds": " ".join(map(str, seeds)), "steps": str(steps)})
        table += rows(task, run, hidden, l2, seeds, steps)
        print(*table[-len(seeds) :], sep="\n", flush=True)

    if options.only is None:  # the table is written whole; what is trained already costs seconds
        write_table(options.out / f"full_size_{options.set}.csv", table, made_by)


if __name__ == "__main__":
    main()
