"""Train small networks from many starts and with many settings: when does the circuit appear, if it does?

    python tools/train_emergence.py --checkpoint _build/emergence

Writes book/data/emergence.csv, one row per network, with everything that is needed to train that network again. About a
quarter of an hour on one core; Ctrl-C loses nothing, the same command goes on where it stopped.
"""

import argparse
import math
from pathlib import Path

import torch
from results import ROOT, provenance, stop_if_interrupted, write_table

from emt_core.analysis import spectrum
from emt_core.networks import cells
from emt_core.theory import circuit
from emt_core.training import variable_binding as train
from emt_core.tasks import VariableBinding

SEEDS, STEPS, LOOK = range(16), 2000, 50
BASE = {"triple": (15, 0, 0), "hidden": 32, "start": "uniform", "lr": 1e-3, "clip": 1.0, "horizons": (10, 20)}
CONDITIONS = {
    "as the authors": {},
    "orthogonal start": {"start": "orthogonal"},
    "identity start": {"start": "identity"},
    "small start": {"start": "small"},
    "rate 3e-4": {"lr": 3e-4},
    "rate 3e-3": {"lr": 3e-3},
    "rate 1e-2": {"lr": 1e-2},
    "no curriculum": {"horizons": (20,)},
    "short horizon only": {"horizons": (10,)},
    "no clipping": {"clip": math.inf},
    "64 units": {"hidden": 64},
    "another task": {"triple": (616, 5, 5)},
}


def rows(condition: str, settings: dict, checkpoint: Path) -> list[dict]:
    """Train one condition's networks; a line of the table for each."""
    task = VariableBinding(settings["triple"], 4, 4)
    phi = circuit.effective_interaction(task)
    own = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    run = train.fit(
        task,
        hidden=settings["hidden"],
        seeds=SEEDS,
        steps=STEPS,
        lr=settings["lr"],
        clip=settings["clip"],
        horizons=settings["horizons"],
        snapshots=range(0, STEPS + 1, LOOK),
        start=cells.init(settings["hidden"], 4, own, settings["start"]),
        checkpoint=checkpoint,
    )
    stop_if_interrupted(run)
    looks = sorted(run.snapshots)
    matched = torch.stack([spectrum.spectral_error(run.snapshots[s].W_hh, phi).matched for s in looks])
    final = spectrum.spectral_error(run.model.W_hh, phi)
    return [
        {
            "condition": condition,
            "seed": seed,
            **{k: " ".join(map(str, v)) if isinstance(v, tuple) else v for k, v in settings.items()},
            "steps": STEPS,
            # first look from which on the counts agree at every later look
            "found": next((s for i, s in enumerate(looks) if matched[i:, m].all()), ""),
            "count": int(final.counts[m, 0]),
            "rank": int(final.counts[m, 1]),
            "error": f"{float(final.error[m]):.6f}",
            "accuracy": f"{float(run.accuracy[m]):.5f}",
            "loss": f"{float(run.history.loss[-1, m]):.6f}",
            "status": run.status[m],
        }
        for m, seed in enumerate(SEEDS)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder for the checkpoints")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "data")
    options = parser.parse_args()
    table = []
    for number, (condition, changes) in enumerate(CONDITIONS.items()):
        table += rows(condition, BASE | changes, options.checkpoint / f"{number}.safetensors")
    made_by = provenance(f"python tools/train_emergence.py --checkpoint {options.checkpoint}")
    write_table(options.out / "emergence.csv", table, made_by)


if __name__ == "__main__":
    main()
