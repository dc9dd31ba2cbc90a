"""GRUs of 64 units and their onion edits, trained on one fixed million of sequences, as the authors do, and not on
fresh ones, as the rest of the book does: does the onion edit's exact match depend on it? Some 20 minutes on one core.

    python tools/fixed_sequences.py

Writes book/data/onion_fixed.csv.
"""

import argparse
from functools import lru_cache
from pathlib import Path

import torch
from results import ROOT, provenance, stop_if_interrupted, write_table

from emt_core import interventions, repeat
from emt_core.tasks import Sequences, TokenRepeat

SEQUENCES = 1_000_000
HIDDEN = 64


class Fixed(TokenRepeat):
    """Draws, with replacement, from sequences that were drawn once."""

    def sample(self, batch, generators, avoid=None, length=None):
        if length is not None:
            return super().sample(batch, generators, avoid, length)
        tokens, lengths = pool()
        # the pool is sorted by length, and so is what is drawn
        drawn = [torch.randint(SEQUENCES, (batch,), generator=g).sort().values for g in generators]
        return Sequences(torch.stack([tokens[:, i] for i in drawn]), torch.stack([lengths[i] for i in drawn]))


@lru_cache
def pool() -> tuple[torch.Tensor, torch.Tensor]:
    task = TokenRepeat()
    once = task.sample(SEQUENCES, [torch.Generator().manual_seed(99)], task.validation())
    return once.tokens[0], once.lengths[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "_build" / "fixed_sequences", help="a folder")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "data")
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        at = {name: options.checkpoint / f"{name}_{seed}.checkpoint" for name in ("gru", "edit")}
        run = repeat.fit(Fixed(), hidden=HIDDEN, seeds=[seed], checkpoint=at["gru"])
        stop_if_interrupted(run.training[0])
        edit = interventions.fit("onion", run.model, Fixed(), seeds=[seed], checkpoint=at["edit"])
        stop_if_interrupted(edit.training)
        row = {"hidden": HIDDEN, "autoregressive": "true", "seed": seed, "sequences": SEQUENCES}
        row |= {"gru_steps": int(run.training[0].steps), "gru_exact": float(run.exact)}
        rows.append(row | {"steps": int(edit.training.steps), "exact": float(edit.exact)})
        print(rows[-1])
    command = f"python tools/fixed_sequences.py --seeds {options.seeds}"
    write_table(options.out / "onion_fixed.csv", rows, provenance(command))


if __name__ == "__main__":
    main()
