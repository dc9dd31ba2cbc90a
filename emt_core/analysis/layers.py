"""What each position of a sequence leaves in the last state of a network that repeats tokens: its *layer*.

The layer of token v at position p is the mean state over random sequences with v there, less the mean over all tokens
at p. A linear code in the strong sense has layers of different positions in different subspaces. An *onion*
(arXiv:2408.10920) has them in the same directions, an overlap near 1, and is read much better by peeling forwards, from
the largest layer, than backwards (``theory.codes`` has one of each by hand).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.networks import GRU, TokenNetwork
from emt_core.networks.cell import rows
from emt_core.networks.contract import Encodes
from emt_core.support.checks import integer
from emt_core.tasks import Sequences

Layers = Float[Tensor, "M L V n"]  #: the layers of each token at each position
Mean = Float[Tensor, "M n"]  #: the mean state
Tokens = Int[Tensor, "L B"]  #: sequences of one length
#: sequences that are read together: with fewer a call costs more than its numbers, with more they leave the cache
AT_ONCE = 1024


@torch.no_grad()
def layers(
    model: Encodes, length: int, generator: torch.Generator, sequences: int = 256, *,
    shuffle: torch.Generator | None = None, among: Tokens | None = None, put: Int[Tensor, "V"] | None = None,
) -> tuple[Layers, Mean]:  # fmt: skip
    """The layers of all tokens at all positions of sequences of ``length``, and the mean state.
    Every token is put into the same ``sequences`` random sequences, so that a layer differs from its expectation only
    as far as the effect of a token depends on the others. Where random sequences are none that the network knows, they
    are put into those of ``among``; ``put``: which tokens, all if not given.

    ``shuffle`` makes a null: it permutes, at each position, which of these states counts for which token. What layers
    are left are what a mean of so few states gives where tokens do nothing."""
    length, batch = integer("length", length, 1), integer("sequences", sequences, 1)
    if among is None:
        among = torch.randint(model.vocabulary, (length, batch), generator=generator, device=generator.device)
    tokens, batch = among, among.shape[1]
    if len(tokens) != length:
        raise ValueError(f"among must hold sequences of length {length}, got {len(tokens)}")
    each = torch.arange(model.vocabulary, device=tokens.device) if put is None else put
    V, found = len(each), []
    parts = each.split(max(1, AT_ONCE // batch))
    for p in range(length):
        if shuffle is None:
            means = [states(model, _put(tokens, p, some)).unflatten(1, (-1, batch)).mean(2) for some in parts]
            found.append(torch.cat(means, dim=1))
            continue
        every = torch.cat([states(model, _put(tokens, p, some)) for some in parts], dim=1)
        order = torch.randperm(V * batch, generator=shuffle, device=shuffle.device).to(every.device)
        found.append(every[:, order].unflatten(1, (V, batch)).mean(2))
    at = torch.stack(found, dim=1)
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


def between_positions(matrix: Float[Tensor, "M L L"]) -> Float[Tensor, "M"]:
    """Mean of an :func:`overlap` or :func:`alignment` over all pairs of different positions."""
    first, second = torch.triu_indices(matrix.shape[1], matrix.shape[2], 1)
    return matrix[:, first, second].mean(1)


def scaled_by_unit(layers: Layers) -> Float[Tensor, "M"]:
    """How far each token has one direction that positions scale unit by unit, ℓ_p(v) = s_p ⊙ e(v): the share of the
    squares that the best e and s explain, from the first singular value of each unit's table of positions × tokens.
    A unit that only one position uses is such a product whatever it holds: compare with :func:`shuffled` layers."""
    squares = torch.linalg.svdvals(layers.movedim(3, 1)).square()  # (M, n, min(L, V))
    return squares[..., 0].sum(1) / squares.sum((1, 2))


def scaled_by_position(layers: Layers) -> Float[Tensor, "M"]:
    """As :func:`scaled_by_unit` with a single number for each position, ℓ_p(v) = s_p e(v)."""
    squares = torch.linalg.svdvals(layers.flatten(2)).square()
    return squares[:, 0] / squares.sum(1)


def shuffled(layers: Layers, generator: torch.Generator) -> Layers:
    """The same layers with tokens that mean nothing across positions: at each position permuted on its own. What units
    and sizes a position uses stays as it is."""
    drawn = torch.rand(layers.shape[:3], generator=generator, device=generator.device).argsort(2)
    return layers.take_along_dim(drawn.to(layers.device)[..., None], 2)


@torch.no_grad()
def additive_share(model: Encodes, layers: Layers, mean: Mean, tokens: Tokens) -> Float[Tensor, "M"]:
    """Share of the states' variance that the sum of their tokens' layers explains, on the sequences ``tokens``."""
    h, left = _left(model, layers, mean, tokens)
    return 1 - left.square().sum((1, 2)) / (h - h.mean(1, keepdim=True)).square().sum((1, 2))


@torch.no_grad()
def measured(
    model: Encodes, some: Int[Tensor, "K R"], asked: Tokens, generator: torch.Generator, sequences: int = 256
) -> tuple[Layers, Mean, Float[Tensor, "M B n"], Float[Tensor, "M n n"]]:
    """What :func:`peel`, :func:`peeled_both_ways` and :func:`place` must be given of trained networks to read the
    sequences ``asked``: :func:`layers`, mean state, the states of ``asked``, and :func:`unexplained` covariance, which
    is measured on ``some`` other sequences of the same length, K = L."""
    if len(some) != len(asked):
        raise ValueError(f"some must have {len(asked)} positions, as asked has, got {len(some)}")
    found, mean = layers(model, len(asked), generator, sequences)
    return found, mean, states(model, asked), unexplained(model, found, mean, some)


@torch.no_grad()
def unexplained(model: Encodes, layers: Layers, mean: Mean, tokens: Tokens) -> Float[Tensor, "M n n"]:
    """Covariance of what the sum of the layers leaves of the states, in float64: of a small network it may be singular,
    and rounded to float32 it would be no covariance."""
    left = _left(model, layers, mean, tokens)[1].double()
    return left.mT @ left / tokens.shape[1]


def by_size(layers: Layers) -> Int[Tensor, "M L"]:
    """The positions of each network, that of the largest layer first: the order of peeling forwards."""
    return sizes(layers).argsort(dim=1, descending=True, stable=True)


def peel(
    layers: Layers, mean: Mean, h: Float[Tensor, "M B n"], unexplained: Float[Tensor, "M n n"],
    subtract: bool = True, *, order: Int[Tensor, "M L"] | None = None, taken: Tokens | None = None,
) -> Int[Tensor, "M L B"]:  # fmt: skip
    """The tokens that states hold, read with the layers alone: nothing is learned.

    Position after position the token whose layer is nearest to the state is read, and its layer taken off. Near is
    measured against what else is there, the covariance of all layers not yet taken off and of what layers leave
    unexplained (Mahalanobis). Without ``subtract`` nothing is taken off, and all other positions count as noise: this
    is what linear discriminant analysis reads.

    Args:
        order: the positions of each network in the order of reading; None is 0, 1, …, and :func:`by_size` forwards.
        taken: tokens whose layers are taken off in place of those read, −1 where what was read is.

    Raises:
        ValueError: a row of ``order`` is no order of the positions.
    """
    M, L, V, n = layers.shape
    order = torch.arange(L, device=h.device).expand(M, L) if order is None else order
    if order.shape != (M, L) or not (order.sort(1).values == torch.arange(L, device=h.device)).all():
        raise ValueError(f"order must hold, for each of {M} networks, the positions 0 … {L - 1}, got {order.tolist()}")
    at = torch.arange(M, device=h.device)[:, None]
    ordered = layers[at, order].double()
    C = _squares(layers.double())[at, order] / V
    noise = unexplained.double() + 1e-9 * torch.eye(n, dtype=torch.float64, device=h.device)
    left, found = (h - mean[:, None]).double(), []
    for k in range(L):
        others = C[:, k + 1 :].sum(1) if subtract else C.sum(1) - C[:, k]
        whiten = torch.linalg.inv(torch.linalg.cholesky(noise + others)).mT
        found.append(torch.cdist(left @ whiten, ordered[:, k] @ whiten).argmin(2))
        if subtract:
            told = found[-1] if taken is None else taken[order[:, k]]
            left = left - rows(ordered[:, k], torch.where(told < 0, found[-1], told))
    read = torch.stack(found, dim=1)
    return torch.empty_like(read).index_put_((at, order), read)


def peeled_both_ways(
    layers: Layers, mean: Mean, h: Float[Tensor, "M B n"], unexplained: Float[Tensor, "M n n"], tokens: Tokens
) -> Float[Tensor, "M 2 L"]:
    """Share of tokens that :func:`peel` reads right at each position: forwards, the largest layer first, and backwards,
    the smallest first. The layers of an onion overlap, and forwards is far better than backwards."""
    order = by_size(layers)
    read = [peel(layers, mean, h, unexplained, order=way) for way in (order, order.flip(1))]
    return torch.stack([(found == tokens).double().mean(2) for found in read], dim=1)


def place(
    layers: Layers, mean: Mean, h: Float[Tensor, "M B n"], unexplained: Float[Tensor, "M n n"], tokens: Tokens
) -> Float[Tensor, "M 2"]:
    """Where a code lies between subspaces and an onion: the mean overlap of two positions, and how far the accuracy of
    peeling forwards is ahead of that of peeling backwards, mean over positions."""
    forwards, backwards = peeled_both_ways(layers, mean, h, unexplained, tokens).mean(2).T
    return torch.stack([between_positions(overlap(layers)).double(), forwards - backwards], dim=1)


def states(model: Encodes, tokens: Tokens) -> Float[Tensor, "M B n"]:
    """The last states of sequences of one length."""
    return model.encode(Sequences.of_one_length(tokens[None]))


def _put(tokens: Tokens, position: int, each: Int[Tensor, "V"]) -> Int[Tensor, "L VB"]:
    """The same sequences once for each of some tokens, with that one at one position."""
    put = tokens.repeat(1, len(each))
    put[position] = each.repeat_interleave(tokens.shape[1])
    return put


def _left(model: Encodes, layers: Layers, mean: Mean, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The last states, and what the sum of their tokens' layers leaves of them, both (M, B, n)."""
    h = states(model, tokens)
    return h, h - (mean[:, None] + sum(layers[:, p, row] for p, row in enumerate(tokens)))


def dimension(h: Float[Tensor, "M B n"]) -> Float[Tensor, "M"]:
    """Participation ratio (Σλ)² / Σλ² of the eigenvalues λ of the states' covariance."""
    centred = (h - h.mean(1, keepdim=True)).double()
    C = centred.mT @ centred
    return (C.diagonal(dim1=1, dim2=2).sum(1).square() / C.square().sum((1, 2))).to(h.dtype)


@torch.no_grad()
def over_time(
    model: TokenNetwork, length: int, generator: torch.Generator, sequences: int = 256
) -> Float[Tensor, "M L T V n"]:
    """The effect of each token at each position on the state after each of T = 2 ``length`` steps, first of reading,
    then of writing with the true tokens fed back. Those after the last step of reading are what :func:`layers` gives;
    before its token is read an effect is zero."""
    length, batch, V = integer("length", length, 1), integer("sequences", sequences, 1), model.vocabulary
    tokens = torch.randint(V, (length, batch), generator=generator, device=generator.device)
    found = []
    for p in range(length):
        read = Sequences.of_one_length(_put(tokens, p, torch.arange(V, device=tokens.device))[None])
        steps = list(model.trajectory(read).unbind(1))
        for row in model.writing_inputs(read).unbind(1):
            steps.append(model.step(steps[-1], row))
        mean = torch.stack(steps, dim=1).unflatten(2, (V, batch)).mean(3)
        found.append(mean - mean.mean(2, keepdim=True))
    return torch.stack(found, dim=1)


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
