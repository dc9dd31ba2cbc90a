"""Repeating tokens: read a sequence, then write it. Source: Csordás, Potts, Manning, Geiger, arXiv:2408.10920."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from emt_core.support.checks import Index, integer
from emt_core.support.random_streams import stream
from emt_core.tasks.sequences import Generators, Sequences, each

PAPER_UNITS = (48, 64, 128, 256, 512, 1024)  #: of the paper's GRUs


@dataclass(frozen=True)
class TokenRepeat:
    """Read a sequence of tokens, then write it. Tokens are 0 … V − 1, V = ``vocabulary``; lengths are uniform in
    ``shortest`` … ``longest``; without ``repeats`` no token comes twice in a sequence.

    Raises:
        ValueError: a number out of range, or too few tokens for a sequence without repeats.
    """

    vocabulary: Index = 30
    shortest: Index = 2
    longest: Index = 9
    repeats: bool = True

    def __post_init__(self) -> None:
        V, shortest = integer("vocabulary", self.vocabulary, 2), integer("shortest", self.shortest, 1)
        L = integer("longest", self.longest, shortest)
        vars(self).update(vocabulary=V, shortest=shortest, longest=L)  # as Python's numbers, whatever they were
        if not self.repeats and L > V:
            raise ValueError(f"longest must be at most vocabulary = {V} without repeats, got {L}")
        if (L + 1) * V**L >= 2**63:  # sequences are numbered in 64 bits
            raise ValueError(f"longest is too long for sequences of {V} tokens to be numbered: {L}")

    def count(self, length: int) -> int:
        """How many sequences of this length there are."""
        return self.vocabulary**length if self.repeats else math.perm(self.vocabulary, length)

    def sample(
        self, batch: int, generators: Generators, avoid: Sequences | None = None, length: int | None = None
    ) -> Sequences:
        """Random sequences, model m's from ``generators[m]`` alone, none of which is in ``avoid`` (M = 1, or as many
        models): those that are, are drawn again until none is left. ``length``: all of this one.

        Raises:
            ValueError: an argument out of range, or ``avoid`` holds all sequences of a length.
        """
        batch, generators = integer("batch", batch, 1), each(generators)
        first, last = (self.shortest, self.longest) if length is None else (integer("length", length, 1),) * 2
        if not self.shortest <= first <= last <= self.longest:
            raise ValueError(f"length must lie in {self.shortest} … {self.longest}, got {length}")
        forbidden = _numbers(self, avoid, len(generators))
        drawn = [self._draw(batch, first, last, *own) for own in zip(generators, forbidden, strict=True)]
        return Sequences(*map(torch.stack, zip(*drawn, strict=True)))

    def validation(self, size: int = 5000, seed: int = 0, share: float | int = 0.2) -> Sequences:
        """A fixed set of different sequences (M = 1), as evenly over the lengths as allows that of no length more than
        ``share`` of all its sequences are taken. Fewer than ``size`` where that leaves no more."""
        size = integer("size", size, 1)
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, got {share}")
        # the stream of the network of this seed, as the published tables have it: here it gives integers, where a
        # network first draws normal numbers
        generator = stream(seed, "network")
        left, sets = size, []
        for length in range(self.shortest, self.longest + 1):  # the shortest first: it has the fewest
            number = min(left // (self.longest + 1 - length), int(share * self.count(length)))
            left -= number
            found = torch.empty(0, dtype=torch.int64)
            while len(found) < number:
                tokens, lengths = self._draw(2 * number, length, length, generator, found)
                found = torch.cat([found, self._keys(tokens, lengths)]).unique()
            found = found[torch.randperm(len(found), generator=generator)[:number]]
            sets.insert(0, (self._tokens(found, length), torch.full((number,), length)))
        return Sequences(*(torch.cat(parts, dim=-1)[None] for parts in zip(*sets, strict=True)))

    def check(self, name: str, sequences: Sequences) -> None:
        """Whether ``sequences`` can be of this task: ValueError names the argument ``name`` otherwise."""
        if sequences.tokens.shape[1] != self.longest:
            raise ValueError(f"{name} must have L = {self.longest} tokens, got {sequences.tokens.shape[1]}")
        if sequences.largest >= self.vocabulary:
            raise ValueError(f"{name} must hold tokens in 0 … {self.vocabulary - 1}, got {sequences.largest}")

    def _draw(self, batch: int, first: int, last: int, generator: torch.Generator, forbidden: Tensor):
        """Tokens (L, B) and lengths (B,), the longest first."""
        place, forbidden = {"generator": generator, "device": generator.device}, forbidden.to(generator.device)
        lengths = torch.randint(first, last + 1, (batch,), **place).sort(descending=True).values
        tokens = self._fill(lengths, generator)
        for _ in range(10_000):
            again = _among(self._keys(tokens, lengths), forbidden)
            if not bool(again.any()):
                return tokens, lengths
            tokens[:, again] = self._fill(lengths[again], generator)
        raise ValueError("avoid must leave sequences of every length to draw, got all of one")

    def _fill(self, lengths: Tensor, generator: torch.Generator) -> Tensor:
        place = {"generator": generator, "device": generator.device}
        if self.repeats:
            tokens = torch.randint(self.vocabulary, (self.longest, len(lengths)), **place)
        else:
            tokens = torch.rand(self.vocabulary, len(lengths), **place).argsort(0)[: self.longest]
        return tokens * (torch.arange(self.longest, device=lengths.device)[:, None] < lengths)

    def _keys(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """A number for each sequence, another for every other: its length, then its tokens as digits."""
        weights = torch.tensor([self.vocabulary**p for p in range(self.longest, -1, -1)], device=tokens.device)
        return lengths * weights[0] + (tokens * weights[1:, None]).sum(0)

    def _tokens(self, keys: Tensor, length: int) -> Tensor:
        digits = [(keys // self.vocabulary ** (self.longest - 1 - p)) % self.vocabulary for p in range(self.longest)]
        return torch.stack(digits) * (torch.arange(self.longest)[:, None] < length)


@lru_cache(maxsize=16)
def _numbers(task: TokenRepeat, avoid: Sequences | None, models: int) -> list[Tensor]:
    """The sorted numbers of the sequences to avoid for each of so many models."""
    if avoid is None:
        return [torch.empty(0, dtype=torch.int64)] * models
    task.check("avoid", avoid)
    if len(avoid.tokens) not in (1, models):
        raise ValueError(f"avoid must hold 1 or {models} models, got {len(avoid.tokens)}")
    keys = [task._keys(*own).unique() for own in zip(avoid.tokens, avoid.lengths, strict=True)]
    return keys * (models // len(keys))


def _among(keys: Tensor, ordered: Tensor) -> Tensor:
    if len(ordered) == 0:
        return torch.zeros_like(keys, dtype=torch.bool)
    return ordered[torch.searchsorted(ordered, keys).clamp_max(len(ordered) - 1)] == keys
