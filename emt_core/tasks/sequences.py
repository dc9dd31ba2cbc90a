"""Batches of token sequences of different lengths, one batch per model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator]  #: one per model, or one for a single model


def each(generators: Generators) -> Sequence[torch.Generator]:
    """The generators, at least one of them."""
    listed = [generators] if isinstance(generators, torch.Generator) else generators
    if len(listed) == 0:
        raise ValueError("generators must hold at least one torch.Generator, got none")
    return listed


def move(x: Tensor, device: torch.device | str) -> Tensor:
    """``x`` on ``device``; on the way to a GPU, what that has still to do is not waited for."""
    if x.device.type == "cpu" and torch.device(device).type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


@dataclass(frozen=True, eq=False)
class Sequences:
    """Token sequences, one set per model: ``tokens`` (M, L, B), zero beyond a sequence's end, and ``lengths`` (M, B) in
    descending order, so that the sequences that are still going on at a step come first.

    What is made here is looked at once, on every device; slices, copies elsewhere and expansions of it are right as it
    is. ``largest`` is the largest token, so that nobody need look again to compare it with a vocabulary.

    Raises:
        ValueError: shapes that do not go together, numbers that are no integers, negative tokens, tokens beyond a
            sequence's end, lengths outside 1 … L or out of order.
    """

    tokens: Int[Tensor, "M L B"]
    lengths: Int[Tensor, "M B"]
    largest: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        tokens, lengths = self.tokens, self.lengths
        for name, x, axes in (("tokens", tokens, 3), ("lengths", lengths, 2)):
            if x.ndim != axes or x.is_floating_point() or x.dtype == torch.bool:
                raise ValueError(f"{name} must be integers on {axes} axes, got {x.dtype}, shape {tuple(x.shape)}")
        want = (tokens.shape[0], tokens.shape[2])
        if lengths.shape != want:
            raise ValueError(f"lengths must have shape {want} to go with tokens, got {tuple(lengths.shape)}")
        if tokens.device.type == "meta" or not lengths.numel():
            return
        shortest, longest = int(lengths.min()), int(lengths.max())
        if not 1 <= shortest <= longest <= tokens.shape[1]:
            raise ValueError(f"lengths must lie in 1 … L = {tokens.shape[1]}, got {shortest} … {longest}")
        if bool((lengths[:, 1:] > lengths[:, :-1]).any()):
            raise ValueError("lengths must be in descending order, the longest sequence first")
        if int(tokens.min()) < 0:
            raise ValueError(f"tokens must be at least 0, got {int(tokens.min())}")
        if bool((tokens * ~self.mask).any()):
            raise ValueError("tokens must be zero beyond a sequence's end, got others there")
        object.__setattr__(self, "largest", int(tokens.max()))

    @classmethod
    def of_one_length(cls, tokens: Int[Tensor, "M L B"]) -> Sequences:
        """Sequences all of which have L tokens."""
        return cls(tokens, torch.full_like(tokens[:, 0], tokens.shape[1]))

    def _known(self, tokens: Tensor, lengths: Tensor) -> Sequences:
        """Sequences made of these, which need not be looked at again."""
        known = object.__new__(Sequences)
        vars(known).update(tokens=tokens, lengths=lengths, largest=self.largest)
        return known

    @property
    def mask(self) -> Bool[Tensor, "M L B"]:
        """True where there is a token."""
        return torch.arange(self.tokens.shape[1], device=self.lengths.device)[:, None] < self.lengths[:, None]

    @property
    def active(self) -> Int[Tensor, "M L"]:
        """How many sequences have a token at each step."""
        return self.mask.sum(2)

    def __getitem__(self, batch: slice | Int[Tensor, "K"] | Bool[Tensor, "B"]) -> Sequences:
        """Some sequences of every model; they must still be in order."""
        tokens, lengths = self.tokens[..., batch], self.lengths[..., batch]
        return self._known(tokens, lengths) if isinstance(batch, slice) else Sequences(tokens, lengths)

    def to(self, device: torch.device | str) -> Sequences:
        """The same on another device."""
        return self._known(move(self.tokens, device), move(self.lengths, device))

    def known(self, vocabulary: int, models: int) -> Sequences:
        """These for each of several models, if all tokens are of their vocabulary."""
        if self.largest >= vocabulary:
            raise ValueError(f"sequences must hold tokens in 0 … {vocabulary - 1}, got {self.largest}")
        return self.expand(models)

    def expand(self, models: int) -> Sequences:
        """The sequences of one model for each of several."""
        if self.tokens.shape[0] not in (1, models):
            raise ValueError(f"sequences must be for 1 or {models} models, got {self.tokens.shape[0]}")
        return self._known(self.tokens.expand(models, -1, -1), self.lengths.expand(models, -1))
