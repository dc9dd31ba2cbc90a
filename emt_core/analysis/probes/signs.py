"""Probes that read signs from states, linearly or with one hidden layer.

A probe says what *is there to be read*, not what the network uses; for that see :mod:`emt_core.analysis.edits`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.support.checks import integer
from emt_core.support.random_streams import stream


def sign_probe(
    states: Float[Tensor, "M B N"],
    signs: Float[Tensor, "M B K"],
    test_states: Float[Tensor, "M C N"],
    test_signs: Float[Tensor, "M C K"],
    *,
    width: int = 0,
    steps: int = 400,
    lr: float = 0.02,
    decay: float = 1e-4,
    seed: int = 0,
) -> Float[Tensor, "M K"]:
    """Train one probe per model to read K signs ±1 from its states, and return the share of right test signs.

    ``width`` 0 is a linear probe with bias; otherwise one hidden layer of ``width`` ReLU units, with the linear probe
    beside it, so that it can represent whatever the linear one can. States are standardised with the training set's
    mean and deviation. Logistic loss, AdamW with ``decay`` on the whole set, ``steps`` steps at a rate that falls from
    ``lr`` to zero as a cosine. Compare probes on test states only: a wide probe can learn its training set by heart.
    """
    width, steps = integer("width", width, 0), integer("steps", steps, 1)
    for name, x, y in (("signs", states, signs), ("test_signs", test_states, test_signs)):
        if x.shape[:2] != y.shape[:2]:
            want = (*x.shape[:2], "K")
            raise ValueError(f"{name} must have shape {want} to go with its states, got {tuple(y.shape)}")
        if not (y.abs() == 1).all():
            raise ValueError(f"{name} must be -1 or 1 throughout")
    if states.shape[1] < 2:
        raise ValueError(f"states must hold at least 2 sequences, got {states.shape[1]}")
    for name, a, b in (("test_states", states, test_states), ("test_signs", signs, test_signs)):
        if (a.shape[0], a.shape[2]) != (b.shape[0], b.shape[2]):
            raise ValueError(f"{name} must have shape {(a.shape[0], 'C', a.shape[2])}, got {tuple(b.shape)}")
    # a unit that hardly moves is not blown up: its deviation would be the rounding of its mean
    floor = 1e-6 * states.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
    mean, deviation = states.mean(1, keepdim=True), states.std(1, keepdim=True).maximum(floor)
    x, test_x = (states - mean) / deviation, (test_states - mean) / deviation
    (models, _, inputs), outputs, generator = x.shape, signs.shape[2], stream(seed, "sign probe")

    def draw(*shape: int, scale: float) -> Tensor:
        drawn = (torch.randn(shape, generator=generator) * scale).to(x.dtype)
        return drawn.expand(models, *shape).clone().requires_grad_()

    weights = [draw(inputs, outputs, scale=0.0), draw(1, outputs, scale=0.0)]
    if width:
        weights += [draw(inputs, width, scale=inputs**-0.5), draw(1, width, scale=0.5), draw(width, outputs, scale=0.0)]

    def read(v: Tensor) -> Tensor:
        linear = v @ weights[0] + weights[1]
        return linear + torch.relu(v @ weights[2] + weights[3]) @ weights[4] if width else linear

    optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        # a sum over models: each has its own gradient, as if it were trained alone
        torch.nn.functional.softplus(-read(x) * signs).mean((1, 2)).sum().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return (read(test_x) * test_signs > 0).to(x.dtype).mean(1)
