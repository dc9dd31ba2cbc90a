"""Adam with coupled weight decay and a clipped gradient, for each model of an ensemble by itself: the form in torch."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults in PyTorch
Rows = Float[Tensor, "M P"]  #: all weights of a model, their moments or their gradient, in a row
Column = Float[Tensor, "M 1"]  #: one number a model, to go with rows
Each = Float[Tensor, "M"]  #: one number a model


@torch.no_grad()
def clip_and_adam(
    weights: Rows, moment1: Rows, moment2: Rows, gradient: Rows, loss: Each, lr: Column, l2: Column, clip: float, n: int
) -> Bool[Tensor, "M"]:
    """``torch.nn.utils.clip_grad_norm_``, then ``torch.optim.Adam`` with ``weight_decay``, but for each model by itself
    and in place; ``n`` counts the updates from 1.

    Returns which models were updated: one whose ``loss`` or gradient is not finite keeps its weights and moments.
    """
    norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    finite = loss.isfinite() & norm[:, 0].isfinite()
    gradient = gradient * (clip / (norm + 1e-6)).clamp(max=1.0) + l2 * weights
    m = moment1.lerp(gradient, 1 - BETA1)
    v = moment2 * BETA2 + (1 - BETA2) * gradient * gradient
    denominator = v.sqrt() / math.sqrt(1 - BETA2**n) + EPSILON
    new = weights - lr / (1 - BETA1**n) * (m / denominator)
    for old, value in ((weights, new), (moment1, m), (moment2, v)):
        old.copy_(torch.where(finite[:, None], value, old))
    return finite
