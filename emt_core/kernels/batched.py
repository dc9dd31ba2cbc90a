"""The fast path in plain torch: preallocated buffers, hand-written back-propagation through time, and one large
product per weight gradient. On the CPU it is called for one model at a time; on CUDA for a whole ensemble.

    forward    h_t = tanh(W_hh h_{t−1} + W_uh u_t)            backward    δ_t = (∂L/∂h_t) ⊙ (1 − h_t²)
               o_t = W_r h_t                                  ∂L/∂h_t = W_rᵀ ∂L/∂o_t + W_hhᵀ δ_{t+1}
    gradients  dW_hh = Σ_t δ_t h_{t−1}ᵀ,   dW_uh = Σ_t δ_t u_tᵀ,   dW_r = Σ_t (∂L/∂o_t) h_tᵀ
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emt_core.cells import Elman
from emt_core.kernels.reference import check

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults in PyTorch


class Workspace:
    """Buffers for states and their gradients, kept between calls and grown when a longer sequence comes."""

    def __init__(self) -> None:
        self._buffers: tuple[Tensor, Tensor] | None = None

    def get(self, models: int, length: int, batch: int, hidden: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Two (M, L, B, N) buffers of ``like``'s dtype and device; what they hold is undefined."""
        fits = self._buffers is not None and (
            self._buffers[0].shape[0] == models
            and self._buffers[0].shape[1] >= length
            and self._buffers[0].shape[2:] == (batch, hidden)
            and self._buffers[0].dtype == like.dtype
            and self._buffers[0].device == like.device
        )
        if not fits:
            self._buffers = (
                torch.empty(models, length, batch, hidden, dtype=like.dtype, device=like.device),
                torch.empty(models, length, batch, hidden, dtype=like.dtype, device=like.device),
            )
        return self._buffers[0][:, :length], self._buffers[1][:, :length]


@torch.no_grad()
def loss_and_grad(
    model: Elman,
    inputs: Float[Tensor, "M S B D"],
    targets: Float[Tensor, "M T B D"],
    workspace: Workspace | None = None,
) -> tuple[Float[Tensor, "M"], Float[Tensor, "M"], Elman]:
    """Same contract as :func:`emt_core.kernels.reference.loss_and_grad`."""
    if model.activation != "tanh":
        raise ValueError(f"model.activation must be 'tanh' for the fast kernel, got {model.activation!r}")
    check(model, inputs, targets)
    models, reading, batch, dim = inputs.shape
    horizon, hidden = targets.shape[1], model.hidden
    length = reading + horizon
    h, g = (workspace or Workspace()).get(models, length, batch, hidden, model.W_hh)
    W_uh, W_hh, W_r = model.W_uh, model.W_hh, model.W_r
    W_hh_T = W_hh.mT.contiguous()

    def rows(x: Tensor) -> Tensor:  # time and batch as one axis, for the large products
        return x.reshape(models, -1, x.shape[-1])

    # forward: the input's share of the first S steps in one product, then step by step
    h[:, :reading] = torch.bmm(rows(inputs), W_uh.mT).view(models, reading, batch, hidden)
    h[:, 0].tanh_()
    for t in range(1, length):
        if t < reading:
            h[:, t].baddbmm_(h[:, t - 1], W_hh_T)
        else:
            torch.bmm(h[:, t - 1], W_hh_T, out=h[:, t])
        h[:, t].tanh_()

    written = rows(h[:, reading:])
    target = rows(targets)
    outputs = torch.bmm(written, W_r.mT)
    accuracy = ((outputs * target) > 0).to(outputs.dtype).flatten(1).mean(1)
    error = outputs.sub_(target)
    loss = error.square().flatten(1).mean(1)
    error.mul_(2.0 / (horizon * batch * dim))
    grad_r = torch.bmm(error.mT, written)

    # backward: g becomes δ
    g[:, reading:] = torch.bmm(error, W_r).view(models, horizon, batch, hidden)
    for t in range(length - 1, -1, -1):
        if t < length - 1:
            if t >= reading:
                g[:, t].baddbmm_(g[:, t + 1], W_hh)
            else:
                torch.bmm(g[:, t + 1], W_hh, out=g[:, t])
        torch.ops.aten.tanh_backward.grad_input(g[:, t], h[:, t], grad_input=g[:, t])
    grad_hh = torch.bmm(rows(g[:, 1:]).mT, rows(h[:, :-1]))
    grad_uh = torch.bmm(rows(g[:, :reading]).mT, rows(inputs))
    return loss, accuracy, Elman(grad_uh, grad_hh, grad_r)


@torch.no_grad()
def clip_and_adam(
    weights: Float[Tensor, "M P"],
    moment1: Float[Tensor, "M P"],
    moment2: Float[Tensor, "M P"],
    gradient: Float[Tensor, "M P"],
    loss: Float[Tensor, "M"],
    lr: Float[Tensor, "M 1"],
    l2: Float[Tensor, "M 1"],
    clip: float | int,
    n: int,
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
