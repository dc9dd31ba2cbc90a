"""The fast path in plain torch: preallocated buffers, hand-written back-propagation through time, and one large
product per weight gradient. On the CPU it is called for one model at a time; on CUDA for a whole ensemble.

    forward    h_t = tanh(W_hh h_{t−1} + W_uh u_t)            backward    δ_t = (∂L/∂h_t) ⊙ (1 − h_t²)
               o_t = W_r h_t                                  ∂L/∂h_t = W_rᵀ ∂L/∂o_t + W_hhᵀ δ_{t+1}
    gradients  dW_hh = Σ_t δ_t h_{t−1}ᵀ,   dW_uh = Σ_t δ_t u_tᵀ,   dW_r = Σ_t (∂L/∂o_t) h_tᵀ
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from emt_core.networks.kernels.adam import clip_and_adam
from emt_core.networks.kernels.shapes import Inputs, LossAndGrad, Recurrent, Targets, WayIn, WayOut, Workspace, check

__all__ = ["Workspace", "clip_and_adam", "loss_and_grad"]


@torch.no_grad()
def loss_and_grad(
    W_uh: WayIn, W_hh: Recurrent, W_r: WayOut, inputs: Inputs, targets: Targets, workspace: Workspace | None = None
) -> LossAndGrad:
    """What every kernel of Elman networks computes. Per model: mean squared error over the T output steps that follow
    S inputs, share of right signs, and the gradient of the former, as autograd finds it in
    :func:`emt_core.networks.vectors.loss_and_grad`, the truth beside the kernels.

    The loss is a mean over time, batch and dimension, not over models: a model's gradient does not depend on how many
    others share the call. Buffers for states and δ lie in ``workspace``.
    """
    check(W_uh, W_hh, W_r, inputs, targets)
    models, reading, batch, dim = inputs.shape
    horizon, hidden = targets.shape[1], W_hh.shape[1]
    length = reading + horizon
    size = 2, models, length, batch, hidden
    h, g = (workspace or Workspace()).get(math.prod(size), W_hh).view(size)
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
    return loss, accuracy, (grad_uh, grad_hh, grad_r)
