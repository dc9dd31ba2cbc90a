"""Readers that know a network's layers: all positions at once, which is linear, or by peeling in any order.

Nothing is trained. What a reader knows, a :class:`Code`, is measured once; :func:`read` reads states with it, and
:func:`distances` says how far apart the tokens of a position are in units of what masks them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.analysis import layers
from emt_core.networks import TokenNetwork
from emt_core.support.checks import integer


class Code(NamedTuple):
    """What is known of the states of sequences of one length: ``layers``, the ``mean`` state, and ``rest``, the
    covariance of what the sum of the layers leaves."""

    layers: Float[Tensor, "M L V n"]
    mean: Float[Tensor, "M n"]
    rest: Float[Tensor, "M n n"]


def measured(
    model: TokenNetwork, length: int, generator: torch.Generator, sequences: int = 256, states: int = 4000
) -> Code:
    """The code of a network: layers from ``sequences`` random sequences, and then the rest from so many ``states``, in
    float64."""
    found, mean = (x.double() for x in layers.layers(model, length, generator, sequences))
    tokens = torch.randint(model.vocabulary, (length, integer("states", states, 1)), generator=generator)
    return Code(found, mean, layers.unexplained(model, found, mean, tokens))


@torch.no_grad()
def drawn(
    model: TokenNetwork, length: int, generator: torch.Generator, sequences: int
) -> tuple[Int[Tensor, "L B"], Float[Tensor, "M B n"]]:
    """Random sequences of one length, and the states they leave."""
    tokens = torch.randint(model.vocabulary, (length, integer("sequences", sequences, 1)), generator=generator)
    return tokens, layers.states(model, tokens)


def read(
    h: Float[Tensor, "M B n"], code: Code, order: list[int] | None = None, *, peeled: bool = True,
    taken: Int[Tensor, "L B"] | None = None,
) -> Int[Tensor, "M L B"]:  # fmt: skip
    """The tokens of states. The reader peels in ``order``, None is 0, 1, …; without ``peeled`` it takes nothing off,
    which is the best linear reader if what masks a token is Gaussian (Fisher's discriminant). ``taken``: tokens to take
    off in place of those read (:func:`emt_core.analysis.layers.peel`)."""
    orders = None if order is None else torch.tensor([order] * len(h), device=h.device)
    return layers.peel(code.layers, code.mean, h, code.rest, peeled, order=orders, taken=taken)


def distances(code: Code, *, peeled: bool) -> Float[Tensor, "M L"]:
    """d_p = √tr C_p Σ_p⁻¹: how far apart the tokens of a position are, in units of what masks them: the rest and the
    layers of all other positions, or ``peeled``, of later ones only. C_p is the covariance of layers over tokens."""
    C = torch.einsum("mpvi,mpvj->mpij", code.layers, code.layers) / code.layers.shape[2]
    upto = C.cumsum(1)
    others = upto[:, -1:] - (upto if peeled else C)
    noise = others + code.rest[:, None]
    return torch.linalg.solve(noise, C).diagonal(dim1=2, dim2=3).sum(2).sqrt()
