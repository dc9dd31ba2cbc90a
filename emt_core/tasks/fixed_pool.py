"""Repeating tokens from a fixed million of sequences, as the authors of arXiv:2408.10920 train, not from fresh ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from emt_core.support.random_streams import stream
from emt_core.tasks.sequences import Generators, Sequences, each
from emt_core.tasks.token_repeat import TokenRepeat

SIZE = 1_000_000  #: sequences in a pool
SEED = 99  #: the seed that draws a pool


@dataclass(frozen=True)
class FixedPool(TokenRepeat):
    """Draws, with replacement, from :data:`SIZE` sequences that were drawn once, none of them for validation: every
    length is as frequent as any other. With ``distinct`` none of them comes twice, so that short sequences, of which
    there are few, all but disappear."""

    distinct: bool = False

    def sample(
        self, batch: int, generators: Generators, avoid: Sequences | None = None, length: int | None = None
    ) -> Sequences:
        """As :meth:`emt_core.tasks.token_repeat.TokenRepeat.sample`; fresh ones where all are of one ``length``."""
        if length is not None:
            return super().sample(batch, generators, avoid, length)
        tokens, lengths = pool(self)
        # the pool is sorted by length, and so is what is drawn
        drawn = [torch.randint(len(lengths), (batch,), generator=g).sort().values for g in each(generators)]
        return Sequences(torch.stack([tokens[:, i] for i in drawn]), torch.stack([lengths[i] for i in drawn]))


@lru_cache(maxsize=2)
def pool(task: FixedPool) -> tuple[Int[Tensor, "L K"], Int[Tensor, "K"]]:
    """All sequences of ``task`` and their lengths, the longest first."""
    fresh = TokenRepeat(task.vocabulary, task.shortest, task.longest, task.repeats)
    generator, avoid = stream(SEED, "network"), fresh.validation()  # the stream of the published table
    once = fresh.sample(SIZE, [generator], avoid)
    tokens, lengths = once.tokens[0], once.lengths[0]
    if not task.distinct:
        return tokens, lengths
    while True:
        order = torch.randperm(len(lengths), generator=generator)  # in which they came: sample sorts by length
        numbered = torch.cat([lengths[None], tokens]).T[order].contiguous().numpy()
        first = np.unique(numbered, axis=0, return_index=True)[1]
        if len(first) >= SIZE:
            break
        more = fresh.sample(max(1, SIZE // 4), [generator], avoid)
        tokens, lengths = torch.cat([tokens, more.tokens[0]], 1), torch.cat([lengths, more.lengths[0]])
    kept = order[torch.from_numpy(np.sort(first)[:SIZE])]
    kept = kept[lengths[kept].sort(descending=True, stable=True).indices]
    return tokens[:, kept], lengths[kept]
