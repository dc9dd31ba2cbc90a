"""Edits that are known to be right, on networks whose code is known: what a learned edit could find at best.

For the codes of :mod:`emt_core.networks.hand_built` the parameters of a linear or an onion edit can be written down. An
edit that is learned on the same network and fails has not been learned; it says nothing of the form.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.analysis.edits.cases import LINEAR
from emt_core.analysis.edits.learned import LinearEdit, OnionEdit
from emt_core.networks import TokenNetwork
from emt_core.networks.hand_built import Storing


def linear(model: TokenNetwork, kind: str) -> LinearEdit:
    """The unigram or bigram edit of networks that store in subspaces: rotated coordinates of which each position has
    its own, and its variable too; a bigram edit's variable k has those of position k, its last one those of L − 1, too.

    Raises:
        ValueError: another kind, or layers of two positions share directions.
    """
    if kind not in LINEAR:
        raise ValueError(f"kind must be one of {LINEAR}, got {kind!r}")
    M, L, _, N = _layers(model).shape
    variables = L - (kind == "bigram")
    rotation = torch.eye(N + 1).repeat(M, 1, 1)
    belongs = torch.full((M, N + 1), -1)
    for m, own in enumerate(_layers(model)):
        bases = [_directions(layer) for layer in own]
        spanned = torch.cat(bases)
        if (spanned @ spanned.mT - torch.eye(len(spanned))).abs().max() > 1e-4:
            raise ValueError("model must store positions in orthogonal subspaces, got layers that overlap")
        left = torch.linalg.svd(spanned).Vh[len(spanned) :]  # what no position uses
        rotation[m, :N, :N] = torch.cat([spanned, left])
        counts = torch.tensor([len(basis) for basis in bases])
        belongs[m, : len(spanned)] = torch.arange(L).clamp(max=variables - 1).repeat_interleave(counts)
    return LinearEdit(kind, rotation, belongs, variables)


def onion(model: TokenNetwork) -> OnionEdit:
    """The onion edit of networks whose layers are powers of one factor a unit, ℓ_p(v) = γ^p ⊙ e(v).

    Raises:
        ValueError: layers are no such powers.
    """
    layers = _layers(model)
    first = layers[:, 0]
    # by least squares over tokens and positions; a unit that no token uses has a factor of zero
    inner, outer = layers[:, 1:].flatten(1, 2), layers[:, :-1].flatten(1, 2)
    gamma = (inner * outer).sum(1) / outer.square().sum(1).clamp_min(1e-12)
    powers = torch.stack([first * gamma[:, None] ** p for p in range(layers.shape[1])], dim=1)
    if (powers - layers).abs().max() > 1e-3 * layers.abs().max():
        raise ValueError("model must store layers that are powers of one factor a unit, got others")
    scale = 2 * first.abs().amax((1, 2))  # the edit's tokens are tanh's, below 1
    clock = first.new_zeros(len(first), 1)
    tokens = torch.cat([torch.atanh(first / scale[:, None, None]), clock[:, None].expand(-1, first.shape[1], 1)], dim=2)
    of_units = [gamma, torch.zeros_like(gamma), scale[:, None].expand_as(gamma), torch.zeros_like(gamma)]
    return OnionEdit(tokens, *(torch.cat([x, clock], dim=1) for x in of_units))


def _layers(model: TokenNetwork) -> Float[Tensor, "M L V N"]:
    if not isinstance(model.cell, Storing):
        raise ValueError(f"model must have the cell 'storing', got {type(model.cell).__name__}")
    return model.cell.layers


def _directions(layer: Float[Tensor, "V N"]) -> Float[Tensor, "D N"]:
    """An orthonormal basis of the directions that the tokens of one position use."""
    _, sizes, directions = torch.linalg.svd(layer, full_matrices=False)
    return directions[sizes > 1e-4 * sizes[0]]
