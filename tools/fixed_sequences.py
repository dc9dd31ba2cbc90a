"""GRUs and their onion edits, trained on one fixed million of sequences, as the authors do, and not on fresh ones, as
the rest of the book does: does the onion edit's exact match depend on it? Two millions are tried:

- "drawn": drawn like fresh ones, so that every length is as frequent as any other;
- "distinct": drawn like that, but none twice. There are only 720 sequences of two tokens and 26,000 of three to learn
  from, so that these all but disappear; and training goes on for all of the paper's 40,000 and 60,000 steps.

    python tools/fixed_sequences.py

Some two hours on one core. Writes book/data/onion_fixed.csv.
"""

import argparse
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from results import ROOT, provenance, stop_if_interrupted, write_table

from emt_core.analysis import edits as interventions
from emt_core.training import token_repeat as repeat
from emt_core.training.optimise import Recipe
from emt_core.tasks import Sequences, TokenRepeat

SEQUENCES = 1_000_000
RUNS = (("drawn", 64, 3), ("distinct", 48, 5), ("distinct", 64, 5))  # kind, units, seeds
RECIPES = {  # of the GRU and of the edit
    "drawn": (repeat.RECIPE, interventions.RECIPE),
    "distinct": (Recipe(steps=40_000, patience=0), Recipe(steps=60_000, patience=0)),
}


class Drawn(TokenRepeat):
    """Draws, with replacement, from sequences that were drawn once."""

    distinct = False

    def sample(self, batch, generators, avoid=None, length=None):
        if length is not None:
            return super().sample(batch, generators, avoid, length)
        tokens, lengths = pool(self.distinct)
        # the pool is sorted by length, and so is what is drawn
        drawn = [torch.randint(SEQUENCES, (batch,), generator=g).sort().values for g in generators]
        return Sequences(torch.stack([tokens[:, i] for i in drawn]), torch.stack([lengths[i] for i in drawn]))


class Distinct(Drawn):
    """The same, from sequences all of which differ."""

    distinct = True


@lru_cache
def pool(distinct: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (L, SEQUENCES) and lengths (SEQUENCES,), the longest first."""
    task, generator = TokenRepeat(), torch.Generator().manual_seed(99)
    once = task.sample(SEQUENCES, [generator], task.validation())
    tokens, lengths = once.tokens[0], once.lengths[0]
    if not distinct:
        return tokens, lengths
    while True:
        order = torch.randperm(len(lengths), generator=generator)  # in which they came: sample sorts by length
        numbered = torch.cat([lengths[None], tokens]).T[order].contiguous().numpy()
        first = np.unique(numbered, axis=0, return_index=True)[1]
        if len(first) >= SEQUENCES:
            break
        more = task.sample(SEQUENCES // 4, [generator], task.validation())
        tokens, lengths = torch.cat([tokens, more.tokens[0]], 1), torch.cat([lengths, more.lengths[0]])
    kept = order[torch.from_numpy(np.sort(first)[:SEQUENCES])]
    kept = kept[lengths[kept].sort(descending=True, stable=True).indices]
    return tokens[:, kept], lengths[kept]


def row(kind: str, hidden: int, seed: int, folder: Path) -> dict:
    at = {stage: folder / f"{stage}_{kind}_{hidden}_{seed}.checkpoint" for stage in ("gru", "edit")}
    task, (for_gru, for_edit) = (Distinct if kind == "distinct" else Drawn)(), RECIPES[kind]
    run = repeat.fit(task, hidden=hidden, seeds=[seed], recipe=for_gru, checkpoint=at["gru"])
    stop_if_interrupted(run.training[0])
    edit = interventions.fit("onion", run.model, task, seeds=[seed], recipe=for_edit, checkpoint=at["edit"])
    stop_if_interrupted(edit.training)
    found = {"sequences": kind, "hidden": hidden, "autoregressive": "true", "seed": seed}
    found |= {"gru_steps": int(run.training[0].steps), "gru_exact": float(run.exact)}
    found |= {"steps": int(edit.training.steps), "exact": float(edit.exact)}
    lengths = repeat.by_length(edit.right, edit.case.original.lengths)
    found |= {f"exact_length_{n}": round(float(share), 4) for n, share in lengths.items()}
    among = pool(task.distinct)[1].bincount()
    return found | {f"of_length_{n}": int(among[n]) for n in lengths}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "_build" / "fixed_sequences", help="a folder")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "data")
    options = parser.parse_args()
    rows = []
    for kind, hidden, seeds in RUNS:
        for seed in range(seeds):
            rows.append(row(kind, hidden, seed, options.checkpoint))
            print(rows[-1])
    write_table(options.out / "onion_fixed.csv", rows, provenance("python tools/fixed_sequences.py"))


if __name__ == "__main__":
    main()
