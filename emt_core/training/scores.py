"""How well networks repeat: their loss, which tokens are right, and these by position and by length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emt_core.networks import TokenNetwork
from emt_core.networks.contract import Writes
from emt_core.networks.tokens import right_tokens
from emt_core.support.random_streams import seeds_of
from emt_core.tasks import Sequences, TokenRepeat

LOOK = 1000  # validation sequences that a look during training uses


def cross_entropy(scores: Float[Tensor, "M L B V"], sequences: Sequences) -> Float[Tensor, "M"]:
    """Mean over all tokens of the sequences, per model."""
    mask = sequences.mask
    tokens = sequences.tokens.expand(scores.shape[:3])
    each = torch.nn.functional.cross_entropy(scores.flatten(0, 2), tokens.flatten(), reduction="none")
    return (each.view(tokens.shape) * mask).sum((1, 2)) / mask.sum((1, 2))


def repeats(network: Writes, sequences: Sequences, h: Float[Tensor, "M B n"] | None = None) -> Bool[Tensor, "M L B"]:
    """Which tokens are right when the networks write by themselves, from ``h`` if given, else from what they have read.
    True beyond a sequence's end, so that ``.all(1)`` is exact match."""
    with torch.no_grad():
        h = network.encode(sequences) if h is None else h
        return right_tokens(network.write(h, sequences.tokens.shape[1]), sequences)


def exact_match(right: Bool[Tensor, "M L B"]) -> Float[Tensor, "M"]:
    """Share of sequences without a mistake, on the CPU."""
    return right.all(1).double().mean(1).cpu()


def token_accuracy(right: Bool[Tensor, "M L B"], sequences: Sequences) -> Float[Tensor, "M"]:
    """Share of right tokens: what a run is judged by while it goes on, finer than exact match."""
    mask = sequences.mask.expand(right.shape)
    return (right & mask).sum((1, 2)).double() / mask.sum((1, 2))


def seeds_for(model: TokenNetwork, task: TokenRepeat, seeds: Sequence[int]) -> list[int]:
    """The seeds, checked: one for each model that is studied; and that ``task`` is one that the models can read."""
    if task.vocabulary != model.vocabulary:
        raise ValueError(f"task must have the models' vocabulary of {model.vocabulary} tokens, got {task.vocabulary}")
    if len(seeds) != model.models:
        raise ValueError(f"seeds must be one per model ({model.models}), got {len(seeds)}")
    return seeds_of(seeds)


def spread(sequences: Sequences, size: int) -> Sequences:
    """``size`` of the sequences or up to twice as many, evenly spread over their order, and so over their lengths."""
    return sequences[:: max(1, sequences.tokens.shape[2] // size)]


def by_position(right: Bool[Tensor, "M L B"], sequences: Sequences) -> Float[Tensor, "M L"]:
    """Share of right tokens at each position, among the sequences that have one there."""
    mask = sequences.mask.expand(right.shape)
    return (right & mask).sum(2).double() / mask.sum(2)


def by_length(right: Bool[Tensor, "M L B"], lengths: Int[Tensor, "*M B"]) -> dict[int, Float[Tensor, "M"]]:
    """Exact match per length."""
    whole, lengths = right.all(1), lengths.expand(right.shape[0], -1)
    return {n: (whole & (lengths == n)).sum(1).double() / (lengths == n).sum(1) for n in lengths.unique().tolist()}
