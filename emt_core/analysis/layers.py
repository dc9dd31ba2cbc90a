"""What each position of a sequence leaves in the last state of a network that repeats tokens: its *layer*.

The layer of token v at position p is the mean state over random sequences with v there, less the mean over all tokens
at p. A linear code in the strong sense has layers of different positions in different subspaces; an onion
(arXiv:2408.10920) has them in the same subspace, one direction per token, and only their size tells them apart.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.networks import GRU, TokenNetwork
from emt_core.networks.cell import rows
from emt_core.support.checks import integer
from emt_core.tasks import Sequences

Layers = Float[Tensor, "M L V n"]  #: of each token at each position
Mean = Float[Tensor, "M n"]  #: state
Tokens = Int[Tensor, "L B"]  #: sequences of one length


@torch.no_grad()
def layers(model: TokenNetwork, length: int, generator: torch.Generator, sequences: int = 256) -> tuple[Layers, Mean]:
    """The layers of all tokens at all positions of sequences of ``length``, and the mean state.
    Every token is put into the same ``sequences`` random sequences, so that a layer differs from its expectation only
    as far as the effect of a token depends on the others."""
    length, batch = integer("length", length, 1), integer("sequences", sequences, 1)
    tokens = torch.randint(model.vocabulary, (length, batch), generator=generator, device=generator.device)
    means = []
    for p in range(length):
        for v in range(model.vocabulary):
            put = tokens.clone()
            put[p] = v
            means.append(model.encode(Sequences.of_one_length(put[None])).mean(1))
    at = torch.stack(means, dim=1).unflatten(1, (length, model.vocabulary))
    middle = at.mean(2, keepdim=True)
    return at - middle, middle[:, :, 0].mean(1)


def sizes(layers: Layers) -> Float[Tensor, "M L"]:
    """Root mean square length of a layer at each position."""
    return layers.square().sum(3).mean(2).sqrt()


def overlap(layers: Layers) -> Float[Tensor, "M L L"]:
    """How far two positions use the same directions: tr(C_p C_q) / (‖C_p‖ ‖C_q‖) of the covariances over tokens. 1: the
    same directions in the same proportions; 0: orthogonal subspaces."""
    return _cosines(_squares(layers).flatten(2))


def alignment(layers: Layers) -> Float[Tensor, "M L L"]:
    """How far a token has the same direction at two positions: the cosine of the two positions' layers, all tokens
    together. 1: one direction per token, scaled; 0: unrelated."""
    return _cosines(layers.flatten(2))


@torch.no_grad()
def additive_share(model: TokenNetwork, layers: Layers, mean: Mean, tokens: Tokens) -> Float[Tensor, "M"]:
    """Share of the states' variance that the sum of their tokens' layers explains, on the sequences ``tokens``."""
    h, left = _left(model, layers, mean, tokens)
    return 1 - left.square().sum((1, 2)) / (h - h.mean(1, keepdim=True)).square().sum((1, 2))


@torch.no_grad()
def unexplained(model: TokenNetwork, layers: Layers, mean: Mean, tokens: Tokens) -> Float[Tensor, "M n n"]:
    """Covariance of what the sum of the layers leaves of the states."""
    left = _left(model, layers, mean, tokens)[1]
    return left.mT @ left / tokens.shape[1]


def peel(
    layers: Layers, mean: Mean, h: Float[Tensor, "M B n"], unexplained: Float[Tensor, "M n n"], subtract: bool = True
) -> Int[Tensor, "M L B"]:
    """The tokens that states hold, read with the layers alone: nothing is learned.

    At p = 0, 1, … the token whose layer is nearest to the state is read, and its layer taken off. Near is measured
    against what else is there, the covariance of all layers further inside and of what layers leave unexplained
    (Mahalanobis). Without ``subtract`` nothing is taken off, and all other positions count as noise: this is what
    linear discriminant analysis reads.
    """
    C = _squares(layers).double() / layers.shape[2]
    noise = unexplained.double() + 1e-9 * torch.eye(h.shape[2], dtype=torch.float64, device=h.device)
    left, found = (h - mean[:, None]).double(), []
    for p in range(layers.shape[1]):
        others = C[:, p + 1 :].sum(1) if subtract else C.sum(1) - C[:, p]
        whiten = torch.linalg.inv(torch.linalg.cholesky(noise + others)).mT
        found.append(torch.cdist(left @ whiten, layers[:, p].double() @ whiten).argmin(2))
        if subtract:
            left = left - rows(layers[:, p].double(), found[-1])
    return torch.stack(found, dim=1)


def states(model: TokenNetwork, tokens: Tokens) -> Float[Tensor, "M B n"]:
    """The last states of sequences of one length."""
    return model.encode(Sequences.of_one_length(tokens[None]))


def _left(model: TokenNetwork, layers: Layers, mean: Mean, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The last states, and what the sum of their tokens' layers leaves of them, both (M, B, n)."""
    h = states(model, tokens)
    return h, h - (mean[:, None] + sum(layers[:, p, row] for p, row in enumerate(tokens)))


def dimension(h: Float[Tensor, "M B n"]) -> Float[Tensor, "M"]:
    """Participation ratio (Σλ)² / Σλ² of the eigenvalues λ of the states' covariance."""
    centred = (h - h.mean(1, keepdim=True)).double()
    C = centred.mT @ centred
    return (C.diagonal(dim1=1, dim2=2).sum(1).square() / C.square().sum((1, 2))).to(h.dtype)


@torch.no_grad()
def gates(model: TokenNetwork, tokens: Tokens) -> Float[Tensor, "M L B N"]:
    """The update gate z of a GRU, the share of the old state that is kept, while each token is read."""
    if not isinstance(model.cell, GRU):
        raise ValueError(f"model must have the cell 'gru', got {type(model.cell).__name__}")
    h, found = model.cell.zero_state(tokens.shape[1]), []
    for row in tokens:
        x = rows(model.embedding, row.expand(model.models, -1))
        found.append(model.cell.gates(h, x)[1])
        h = model.cell.step(h, x)
    return torch.stack(found, dim=1)


def _squares(layers: Layers) -> Float[Tensor, "M L n n"]:
    """The covariances over tokens, times V."""
    return torch.einsum("mpvi,mpvj->mpij", layers, layers)


def _cosines(x: Float[Tensor, "M L K"]) -> Float[Tensor, "M L L"]:
    unit = x / x.norm(dim=2, keepdim=True)
    return unit @ unit.mT
