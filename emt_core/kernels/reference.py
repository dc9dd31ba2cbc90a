"""The truth: loss, accuracy and gradients by autograd through :func:`emt_core.cells.rollout`. Slow, obviously right."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.cells import Elman, rollout


def loss_and_grad(
    model: Elman, inputs: Float[Tensor, "M S B D"], targets: Float[Tensor, "M T B D"]
) -> tuple[Float[Tensor, "M"], Float[Tensor, "M"], Elman]:
    """Per model: mean squared error on the output phase, share of right signs, and the gradient of the former.

    The loss is a mean over time, batch and dimension, not over models: a model's gradient does not depend on how many
    others share the call.
    """
    check(model, inputs, targets)
    weights = [w.detach().clone().requires_grad_() for w in (model.W_uh, model.W_hh, model.W_r)]
    free = Elman(*weights, activation=model.activation)
    _, outputs = rollout(free, inputs, horizon=targets.shape[1])
    written = outputs[:, inputs.shape[1] :]
    loss = (written - targets).square().mean(dim=(1, 2, 3))
    gradients = torch.autograd.grad(loss.sum(), weights)
    accuracy = ((written * targets) > 0).to(loss.dtype).mean(dim=(1, 2, 3))
    return loss.detach(), accuracy, Elman(*gradients, activation=model.activation)


def check(model: Elman, inputs: Tensor, targets: Tensor) -> None:
    """What every kernel asks of its arguments: at least one step of each phase, and shapes that go together."""
    models, reading, batch, dim = inputs.shape
    if (models, dim) != (model.models, model.dim) or reading < 1:
        raise ValueError(f"inputs must have shape ({model.models}, S ≥ 1, B, {model.dim}), got {tuple(inputs.shape)}")
    horizon = targets.shape[1]
    if tuple(targets.shape) != (models, horizon, batch, dim) or horizon < 1:
        raise ValueError(f"targets must have shape ({models}, T ≥ 1, {batch}, {dim}), got {tuple(targets.shape)}")
