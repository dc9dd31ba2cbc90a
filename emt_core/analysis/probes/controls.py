"""Codes that are known, for what a probe of signs finds in a network's states to be compared with.

That a probe with a hidden layer reads more than a linear one does not yet make the code non-linear. Signs take two
values, and a sum of a few of them takes few: a number 2a + b has the levels −3, −1, 1, 3, at which b is −, +, −, +, and
no linear probe reads b from it. So the networks need a null, :func:`linear_twin`, the same code made linear, and a
probe that finds nothing needs a positive control, :func:`squeezed`, a store that no linear probe reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.support.checks import integer


def linear_part(states: Float[Tensor, "M B N"], signs: Float[Tensor, "M B K"]) -> Float[Tensor, "M B N"]:
    """What least squares with an intercept makes of the states from the signs, per model."""
    x, y = torch.cat([signs, torch.ones_like(signs[..., :1])], dim=2).double(), states.double()
    return (x @ torch.linalg.lstsq(x, y, driver="gelsd").solution).to(states.dtype)


def linear_share(states: Float[Tensor, "M B N"], signs: Float[Tensor, "M B K"]) -> Float[Tensor, "M"]:
    """Share of the states' variance that is linear in the signs, R²; NaN where states do not vary."""
    rest, all_of_it = states - linear_part(states, signs), states - states.mean(1, keepdim=True)
    return 1 - rest.square().sum((1, 2)) / all_of_it.square().sum((1, 2))


def linear_twin(
    states: Float[Tensor, "M B N"], signs: Float[Tensor, "M B K"], generators: Sequence[torch.Generator]
) -> Float[Tensor, "M B N"]:
    """The states with their code made linear: their linear part, and for the rest that of another sequence.

    The rest keeps its distribution but says nothing of the signs. What a probe reads from the twin is what a linear
    code with this much noise lets it read.
    """
    fitted = linear_part(states, signs)
    others = [torch.randperm(states.shape[1], generator=generator) for generator in generators]
    return fitted + torch.stack([rest[order] for rest, order in zip(states - fitted, others, strict=True)])


def squeezed(
    signs: Float[Tensor, "M B K"], units: int, stored: int, noise: float | int, generators: Sequence[torch.Generator]
) -> Float[Tensor, "M B N"]:
    """The first ``stored`` signs in N = ``units`` numbers: one to a number if there are enough, else several share one.

    Signs y₁ … y_k that share a number are v = y₁ + 2 y₁y₂ + … + 2^(k−1) y₁⋯y_k, scaled to variance 1: 2^k equidistant
    levels, one for each combination. Of the signs v correlates with y₁ alone. For k = 2 a threshold in the middle of v
    is right half of the time for either sign, while the level says both. A share ``noise`` of the variance is Gaussian,
    and a random rotation hides which number is which.

    Raises:
        ValueError: ``stored`` is more than there are signs, or ``noise`` no share.
    """
    units, stored = integer("units", units, 1), integer("stored", stored, 1)
    if stored > signs.shape[2]:
        raise ValueError(f"stored must be at most the {signs.shape[2]} signs, got {stored}")
    if not 0 <= noise <= 1:
        raise ValueError(f"noise must lie between 0 and 1, got {noise}")
    levels = signs.new_zeros(*signs.shape[:2], units)
    for n in range(min(units, stored)):
        products = signs[:, :, n:stored:units].cumprod(2)  # y₁, y₁y₂, …
        weights = 2.0 ** torch.arange(products.shape[2], dtype=signs.dtype)
        levels[:, :, n] = products @ (weights / weights.norm())
    codes = []
    for level, generator in zip(levels, generators, strict=True):
        drawn = torch.randn(level.shape, generator=generator, dtype=level.dtype)
        turn, _ = torch.linalg.qr(torch.randn(units, units, generator=generator, dtype=level.dtype))
        codes.append(((1 - noise) ** 0.5 * level + noise**0.5 * drawn) @ turn)
    return torch.stack(codes)
