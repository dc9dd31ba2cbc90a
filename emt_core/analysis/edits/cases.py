"""What an edit of a network that repeats tokens is asked: which sequences are corrupted, where (arXiv:2408.10920)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from emt_core.tasks.sequences import Sequences, move

LINEAR = ("unigram", "bigram")  # of edits that exchange coordinates
KINDS = (*LINEAR, "onion")  # of the paper's edits
FREER = ("level onion", "free scales", "measured")  # of edits that test what an onion's success says, asked the same
AUTHORS = ("any token", "coin swaps", "mean pressure")  # what the authors' public code does otherwise


@dataclass(frozen=True)
class Case:
    """What an edit is asked: ``corrupted`` sequences whose states are to be changed so that ``original`` ones are
    written. A linear edit takes coordinates from the states of ``source``. ``changed`` (M, L, B): which
    positions were replaced; ``told``: which ones the edit is told, where that is not the truth (:func:`misled`)."""

    original: Sequences
    corrupted: Sequences
    source: Sequences
    changed: Bool[Tensor, "M L B"]
    told: Bool[Tensor, "M L B"] | None = None

    @property
    def where(self) -> Bool[Tensor, "M L B"]:
        """The positions that an edit is told."""
        return self.changed if self.told is None else self.told

    def to(self, device: torch.device | str) -> Case:
        original, corrupted, source = (s.to(device) for s in (self.original, self.corrupted, self.source))
        told = None if self.told is None else move(self.told, device)
        return Case(original, corrupted, source, move(self.changed, device), told)


def corrupt(
    kind: str,
    original: Sequences,
    vocabulary: int,
    generators: Sequence[torch.Generator],
    as_authors: Collection[str] = (),
) -> Case:
    """A case for each sequence, drawn at random.

    "unigram": sequence b and its partner, half a batch away, have swapped half of their positions, rounded down; each
    is the other's source. "bigram": one position holds another token; the source has the original's tokens there and
    beside it, and random ones elsewhere. "onion": one position holds another token. Linear edits want one length.
    New tokens are any of the vocabulary, so that they may repeat others.

    ``as_authors`` names what is done as in the authors' public code: with "any token" the new token may be the old one,
    with "coin swaps" every position is swapped with probability one half.

    Raises:
        ValueError: an unknown kind, sequences of several lengths for a linear edit, or an odd number of them to swap.
    """
    if kind not in KINDS + FREER:
        raise ValueError(f"kind must be one of {KINDS + FREER}, got {kind!r}")
    linear = kind in LINEAR
    original = original.expand(len(generators))
    tokens, lengths = original.tokens, original.lengths
    _, length, batch = tokens.shape
    if linear and not bool((lengths == length).all()):
        raise ValueError(f"original must hold sequences of length {length} alone for {kind!r}, got shorter ones too")
    draws = [{"generator": g, "device": g.device} for g in generators]
    if kind == "unigram":
        if batch % 2:
            raise ValueError(f"original must hold an even number of sequences to swap, got {batch}")
        half = batch // 2
        drawn = torch.stack([torch.rand(length, half, **d) for d in draws])
        swapped = drawn < 0.5 if "coin swaps" in as_authors else drawn.argsort(1) < length // 2
        changed = swapped.repeat(1, 1, 2)
        corrupted = Sequences(torch.where(changed, tokens.roll(half, 2), tokens), lengths)
        return Case(original, corrupted, Sequences(corrupted.tokens.roll(half, 2), lengths), changed)
    places = torch.arange(length, device=tokens.device)[:, None]
    at = torch.stack([(torch.rand(batch, **d) * n).long() for d, n in zip(draws, lengths, strict=True)])
    # from 1 to V − 1 places further on, so that it is another token
    least = int("any token" not in as_authors)
    shift = torch.stack([torch.randint(least, vocabulary, (batch,), **d) for d in draws])
    changed = places == at[:, None]
    corrupted = Sequences(torch.where(changed, (tokens + shift[:, None]) % vocabulary, tokens), lengths)
    if not linear:
        return Case(original, corrupted, corrupted, changed)
    elsewhere = torch.stack([torch.randint(vocabulary, (length, batch), **d) for d in draws])
    near = (places - at[:, None]).abs() <= 1
    return Case(original, corrupted, Sequences(torch.where(near, tokens, elsewhere), lengths), changed)


def misled(case: Case, generators: Sequence[torch.Generator]) -> Case:
    """The same case with the edit told wrong: the changed positions are permuted at random within each sequence. What
    an edit learns from such cases owes nothing to where tokens stand."""
    mask = case.original.mask.expand(case.changed.shape)
    draws = [torch.rand(mask.shape[1:], generator=g, device=g.device) for g in generators]
    order = torch.stack(draws).masked_fill(~mask, 2.0).argsort(1)  # what is beyond a sequence's end stays there
    return replace(case, told=case.changed.gather(1, order))


def variables(kind: str, changed: Bool[Tensor, "M L B"]) -> Bool[Tensor, "M B K"]:
    """The variables of a linear edit, "unigram" or "bigram", that hold a changed position."""
    if kind not in LINEAR:
        raise ValueError(f"kind must be one of {LINEAR}, got {kind!r}")
    changed = changed.transpose(1, 2)
    return changed if kind == "unigram" else changed[..., 1:] | changed[..., :-1]


def replacement(case: Case) -> tuple[Int[Tensor, "M B"], Int[Tensor, "M B"], Int[Tensor, "M B"]]:
    """Position as the edit is told, token that is there, token that should be: of cases with one changed position."""
    if not bool((case.changed.sum(1) == 1).all()):
        raise ValueError("case must have one changed position in each sequence, got others")
    at = case.changed.int().argmax(1)
    old, new = (s.tokens.gather(1, at[:, None])[:, 0] for s in (case.corrupted, case.original))
    return case.where.int().argmax(1), old, new


def of_length(sequences: Sequences, length: int) -> Sequences:
    """Those of this length, an even number of them."""
    chosen = (sequences.lengths == length).all(0).nonzero()[:, 0]
    if len(chosen) < 2:
        raise ValueError(f"sequences must hold at least 2 of length {length}, got {len(chosen)}")
    return sequences[chosen[: len(chosen) // 2 * 2]]
