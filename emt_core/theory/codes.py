"""One sequence stored three ways, by hand: in subspaces, as an onion, and between the two.

A state is the sum of one layer for each position, h = Σ_p ℓ_p(v_p). Every layer is the same embedding, γ times as large
as the one before, written into a window of D coordinates; from one position to the next the window moves on by k:

    coordinate j of ℓ_p(v) = γ^p times coordinate j mod D of e(v), for p k ≤ j < p k + D.

k = D: subspaces, each position in coordinates of its own. k = 0: an onion (``theory.onion``), all positions in the same
coordinates, and a position is a magnitude. In between the windows overlap, and what two of them share, they share token
by token. V is the vocabulary, L the length, N = D + (L − 1) k.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from emt_core.support.checks import integer


def layers(embedding: Float[Tensor, "V D"], length: int, shift: int, gamma: float | int) -> Float[Tensor, "L V N"]:
    """The layers of all tokens at all positions. The mean of the embedding is taken off, so that each position's layers
    have mean zero over tokens, as those measured in a network (``analysis.layers``) do.

    ``shift`` is k, from 0 to D. ``gamma`` is the size of a layer relative to the one before, above 0 and at most 1; at
    1 all layers are equally large.
    """
    length, shift, D = integer("length", length, 1), integer("shift", shift, 0), embedding.shape[1]
    if shift > D:
        raise ValueError(f"shift must be at most the embedding's {D} dimensions, got {shift}")
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma must lie above 0 and be at most 1, got {gamma}")
    e = embedding - embedding.mean(0)
    written = e.new_zeros(length, len(e), D + (length - 1) * shift)
    for p in range(length):
        window = p * shift + torch.arange(D)
        written[p][:, window] = gamma**p * e[:, window % D]
    return written


def states(layers: Float[Tensor, "L V N"], tokens: Int64[Tensor, "L B"]) -> Float[Tensor, "B N"]:
    """h = Σ_p ℓ_p(token_p), the state of each sequence."""
    if len(layers) != len(tokens):
        raise ValueError(f"tokens must have {len(layers)} positions, as the layers have, got {len(tokens)}")
    return torch.stack([layer[row] for layer, row in zip(layers, tokens, strict=True)]).sum(0)
