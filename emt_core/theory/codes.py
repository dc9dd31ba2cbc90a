"""One sequence stored three ways, by hand: in subspaces, as an onion, and between the two.

A state is the sum of one layer for each position, h = Σ_p ℓ_p(v_p). The D dimensions of an embedding e are repeated in
L + 1 blocks: one that all positions share, and one of its own for each position,

    ℓ_p(v) = γ^p (√s e(v) in the shared block, √(1 − s) e(v) in block p).

s = 0: subspaces, each position in its own. s = 1: an onion (``theory.onion``), one direction per token, a position is a
magnitude. In between, layers of different positions overlap by s². V is the vocabulary, L the length, N = (L + 1) D.
"""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor

from emt_core.support.checks import integer


def layers(
    embedding: Float[Tensor, "V D"], length: int, shared: float | int, gamma: float | int
) -> Float[Tensor, "L V N"]:
    """The layers of all tokens at all positions. The mean of the embedding is taken off, so that each position's layers
    have mean zero over tokens, as those measured in a network (``analysis.layers``) do.

    ``shared`` is s, from 0 to 1: every two positions have overlap s² and alignment s. ``gamma`` is the size of a layer
    relative to the one before, above 0 and at most 1; at 1 all layers are equally large.
    """
    length = integer("length", length, 1)
    if not 0 <= shared <= 1:
        raise ValueError(f"shared must lie in 0 … 1, got {shared}")
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma must lie above 0 and be at most 1, got {gamma}")
    e = embedding - embedding.mean(0)
    blocks = e.new_zeros(length, len(e), length + 1, e.shape[1])
    for p in range(length):
        blocks[p, :, 0] = gamma**p * shared**0.5 * e
        blocks[p, :, p + 1] = gamma**p * (1 - shared) ** 0.5 * e
    return blocks.flatten(2)


def states(layers: Float[Tensor, "L V N"], tokens: Int64[Tensor, "L B"]) -> Float[Tensor, "B N"]:
    """h = Σ_p ℓ_p(token_p), the state of each sequence."""
    if len(layers) != len(tokens):
        raise ValueError(f"tokens must have {len(layers)} positions, as the layers have, got {len(tokens)}")
    return sum((layer[row] for layer, row in zip(layers, tokens, strict=True)), layers.new_zeros(()))
