"""Why the layers of different positions lie apart in the last state: what was written, a rotation, or a routing.

To first order the layer of token v at position p is ℓ_p(v) = P_p w_p(v). The *write* w_p(v) is the effect of the token
on the state right after it was read; the *propagation* P_p is the mean, over sequences, of the product of the Jacobians
∂h'/∂h of all later steps, P_{L−1} = I. A polar decomposition parts the propagation,

    P_p = s_p U_p H_p,    U_p orthogonal: the *rotation*;  H_p, of size one: the *routing*;  s_p: the size.

The phases of a circuit or of a complex state-space model are rotations. Gates that keep some units and clear others,
and rates of decay that differ, are routings. Sizes part no directions: the overlap of layers does not see them, and an
onion has little else. Both factors depend on the units in which a state is written, as the overlap does. A rotation
here is whatever moves what is kept into other directions: a shear has one too, though none of its eigenvalues turns, so
that phases must be looked for in the spectrum as well (:func:`mean_jacobian`, :func:`positive_share`).

*Ill-determined rotations.* A direction that P_p clears has no rotation; one is needed where the routing is replaced by
one that keeps it. There U_p turns as little as it can. With P_p / s_p = A Σ Bᵀ, k = σ² / (σ² + τ²) of each singular
value σ and K their diagonal, U_p is the orthogonal matrix nearest to A K Bᵀ + A (1 − K) AᵀB (1 − K) Bᵀ: as P_p turns
what it keeps (k near 1, to order (τ/σ)²), and near to the identity what it clears. H_p is U_pᵀ P_p / s_p,
symmetric and positive where P_p keeps, and the product is exact everywhere. τ is FAINT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations, product

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp, vmap
from torch.nn.functional import normalize

from emt_core.analysis.layers import Layers, between_positions, overlap, sizes
from emt_core.analysis.spectrum import eigenvalues
from emt_core.networks import TokenNetwork
from emt_core.support.checks import integer, number

FACTORS = ("write", "rotation", "routing")  #: what can tell positions apart
FAINT = 0.03  # τ: singular values of P_p / s_p far below this are cleared directions
CHUNK = 64  # rows of Jacobians that are made at once: each needs the memory of all steps


@dataclass(frozen=True)
class Propagation:
    """Writes w, propagations P, and, of the same sequences, the layers as :func:`~emt_core.analysis.layers.layers`
    measures them."""

    writes: Float[Tensor, "M L V n"]
    P: Float[Tensor, "M L n n"]
    measured: Float[Tensor, "M L V n"]

    @property
    def layers(self) -> Layers:
        """P_p w_p(v), the layers to first order."""
        return self.writes @ self.P.mT

    @property
    def explained(self) -> Float[Tensor, "M L"]:
        """Share of the measured layers' squares at each position that the first order explains; below 0 where it is
        worse than nothing."""
        missed = (self.measured - self.layers).square().sum((2, 3))
        return 1 - missed / self.measured.square().sum((2, 3))


@dataclass(frozen=True)
class Shares:
    """What parts the layers of different positions. ``by_factor``, in the order of FACTORS, adds up to ``separation``,
    that of the first-order layers; a factor that hides what others part has a share below 0. ``explained`` is that of
    :class:`Propagation`. ``sizes`` are those of the first-order layers, with the size of the write, in units of the
    largest. NaN where a position leaves nothing."""

    separation: Float[Tensor, "M"]
    by_factor: Float[Tensor, "M 3"]
    explained: Float[Tensor, "M L"]
    sizes: Float[Tensor, "M L"]


@torch.no_grad()
def propagation(model: TokenNetwork, length: int, generator: torch.Generator, sequences: int = 64) -> Propagation:
    """Writes and propagations of networks that read ``length`` tokens, over so many random sequences, the same for all
    tokens, positions and models. The Jacobians are exact, by autograd through ``model.step``."""
    tokens = _drawn(model, length, generator, sequences)
    V, batch = model.vocabulary, tokens.shape[2]
    every = torch.arange(V, device=tokens.device).repeat_interleave(batch).expand(model.models, -1)
    h, writes, measured = model.cell.zero_state(batch), [], []
    for p in range(length):
        put = model.step(h.repeat(1, V, 1), every)
        writes.append(put.unflatten(1, (V, batch)).mean(2))
        for row in tokens[:, p + 1 :].unbind(1):
            put = model.step(put, row.repeat(1, V))
        measured.append(put.unflatten(1, (V, batch)).mean(2))
        h = model.step(h, tokens[:, p])

    def last(nudges: Float[Tensor, "M L n"]) -> Float[Tensor, "M n"]:
        """The mean last state, if something is added to all states after each step."""
        h = model.cell.zero_state(batch)
        for row, nudge in zip(tokens.unbind(1), nudges.unbind(1), strict=True):
            h = model.step(h, row) + nudge[:, None]
        return h.mean(1)

    P = _jacobian(last, h.new_zeros(model.models, length, h.shape[2]))
    w, found = torch.stack(writes, dim=1), torch.stack(measured, dim=1)
    return Propagation(w - w.mean(2, keepdim=True), P, found - found.mean(2, keepdim=True))


@torch.no_grad()
def mean_jacobian(
    model: TokenNetwork, length: int, generator: torch.Generator, sequences: int = 64
) -> Float[Tensor, "M n n"]:
    """Mean of ∂h'/∂h over the steps 1 … L − 1 of reading random sequences: all but the first, which reads into a state
    that holds nothing."""
    tokens, states = _drawn(model, length, generator, sequences), []
    h = model.cell.zero_state(tokens.shape[2])
    for row in tokens[:, :-1].unbind(1):
        h = model.step(h, row)
        states.append(h)
    before, read = torch.cat(states, dim=1), tokens[:, 1:].flatten(1)
    return _jacobian(lambda nudge: model.step(before + nudge[:, None], read).mean(1), torch.zeros_like(h[:, 0]))


def positive_share(
    matrix: Float[Tensor, "M n n"], above: float | int = 0.0, degrees: float | int = 10.0
) -> Float[Tensor, "M"]:
    """Share of the eigenvalues' weight, their squared modulus, that lies within so many ``degrees`` of the positive
    real axis, of those with a modulus larger than ``above``. 1: nothing turns; NaN: there are none."""
    above, degrees = number("above", above, positive=False), number("degrees", degrees, positive=False)
    values = eigenvalues(matrix)
    weight = values.abs().square() * (values.abs() > above)
    near = values.angle().abs() <= degrees * torch.pi / 180
    return (weight * near).sum(1) / weight.sum(1)


def polar(P: Float[Tensor, "*batch n n"]) -> tuple[Float[Tensor, "*batch n n"], Float[Tensor, "*batch n n"]]:
    """U and H of P = U H, where singular values of about 1 are those that count: see the module."""
    A, sigma, Bh = torch.linalg.svd(P)
    keep = sigma.square() / (sigma.square() + FAINT**2)
    clear = 1 - keep
    least = clear[..., :, None] * (Bh @ A).mT * clear[..., None, :]  # AᵀB between cleared directions
    left, _, right = torch.linalg.svd(torch.diag_embed(keep) + least)
    U = A @ left @ right @ Bh
    return U, U.mT @ P


def separation(layers: Layers) -> Float[Tensor, "M"]:
    """How far the layers of different positions lie apart: 1 less their mean overlap. 0: all in the same directions, in
    the same proportions; 1: orthogonal subspaces."""
    return 1 - between_positions(overlap(layers))


def shares(found: Propagation) -> Shares:
    """How much of the separation of the layers each of FACTORS makes: its Shapley value, the mean, over the orders in
    which the factors can come, of what it adds to the separation when it joins those before it. In float64.

    A factor is absent where all positions have the same one:

        write      what all positions write, each with the same size, taken together: the mean of the covariances over
                   tokens, which no signs cancel
        rotation   none. Any rotation that all positions share leaves the overlaps as they are, so that it need not be a
                   mean, which does not exist where phases go all the way round
        routing    the mean of H_p; s_p is such that what all write together has the same size before and after H_p

    With none of them all layers are the same, and nothing is apart: the shares add up to the separation. Two factors
    that do the same, as gates that keep the units that were written, have equal shares.
    """
    w = found.writes.double()
    w = w * _scale(1 / sizes(w))
    together = w.flatten(1, 2)[:, None].expand(-1, w.shape[1], -1, -1)
    P = found.P.double()
    P = P * _scale(sizes(together) / sizes(together @ P.mT))
    U, H = polar(P)
    mean = H.mean(1, keepdim=True).expand_as(H)
    none = torch.eye(U.shape[-1], dtype=U.dtype, device=U.device).expand_as(U)
    apart: dict[tuple[bool, ...], Tensor] = {
        (write, rotation, routing): separation(
            (w if write else together) @ (H if routing else mean).mT @ (U if rotation else none).mT
        )
        for write, rotation, routing in product((False, True), repeat=3)
    }
    by_factor = torch.zeros(len(w), 3, dtype=w.dtype, device=w.device)
    orders = list(permutations(range(3)))
    for order in orders:
        present = [False] * 3
        for factor in order:
            before = apart[tuple(present)]
            present[factor] = True
            by_factor[:, factor] += (apart[tuple(present)] - before) / len(orders)
    size = sizes(found.layers.double())
    return Shares(apart[True, True, True], by_factor, found.explained.double(), size / size.amax(1, keepdim=True))


def energies(layers: Layers) -> Float[Tensor, "M L n"]:
    """Mean square of the layers in each unit, over tokens."""
    return layers.square().mean(2)


def unit_overlap(layers: Layers) -> Float[Tensor, "M"]:
    """How far different positions use the same units: the mean cosine of their :func:`energies`."""
    unit = normalize(energies(layers), dim=2)
    return between_positions(unit @ unit.mT)


def overlap_of_energies(energies: Float[Tensor, "M L n"], tokens: int) -> Float[Tensor, "M"]:
    """The mean overlap of layers with these energies e_pi in unit i that are random otherwise: in each unit, at each
    position, the numbers of the ``tokens`` = V tokens have a random direction among those of mean zero. The cosine of
    two such directions has mean 0 and variance 1 / (V − 1), so that with independent positions the covariances have
    E tr(C_p C_q) = Σ_i e_pi e_qi and E ‖C_p‖² = Σ_i e_pi² + Σ_{i≠j} e_pi e_pj / (V − 1). Given is the ratio of these
    means; signs drawn token by token, whose mean is not zero, would have V in place of V − 1."""
    V, squares = integer("tokens", tokens, 2), energies.square().sum(2)
    norm = (squares + (energies.sum(2).square() - squares) / (V - 1)).sqrt()
    return between_positions(energies @ energies.mT / (norm[:, :, None] * norm[:, None]))


def _scale(factor: Float[Tensor, "M L"]) -> Float[Tensor, "M L 1 1"]:
    """One number a position; nothing stays nothing."""
    return factor.nan_to_num(0, 0, 0)[..., None, None]


def _drawn(model: TokenNetwork, length: int, generator: torch.Generator, sequences: int) -> Tensor:
    """Random tokens (M, L, B), drawn as :func:`~emt_core.analysis.layers.layers` draws them."""
    shape = integer("length", length, 2), integer("sequences", sequences, 1)
    tokens = torch.randint(model.vocabulary, shape, generator=generator, device=generator.device)
    return tokens.expand(model.models, -1, -1)


def _jacobian(function: Callable[[Tensor], Tensor], at: Float[Tensor, "M *batch n"]) -> Float[Tensor, "M *batch n n"]:
    """∂ function(x)_i / ∂x_j of each model, at ``at``; no model sees the others."""
    value, pull = vjp(function, at)[:2]
    rows = torch.eye(value.shape[1], dtype=at.dtype, device=at.device)[:, None].expand(-1, len(at), -1)
    return vmap(lambda row: pull(row)[0], chunk_size=CHUNK)(rows).movedim(0, -2)
