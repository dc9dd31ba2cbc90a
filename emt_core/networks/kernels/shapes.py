"""What the kernels share: the shapes of what those of Elman networks take and return, and memory."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

WayIn = Float[Tensor, "M N D"]  #: W_uh
Recurrent = Float[Tensor, "M N N"]  #: W_hh
WayOut = Float[Tensor, "M D N"]  #: W_r
Inputs = Float[Tensor, "M S B D"]
Targets = Float[Tensor, "M T B D"]
Matrices = tuple[WayIn, Recurrent, WayOut]  #: W_uh, W_hh, W_r, always in this order
LossAndGrad = tuple[Float[Tensor, "M"], Float[Tensor, "M"], Matrices]  #: loss, accuracy and gradient, per model


def check_shapes(beside: str, **wanted: tuple[Tensor | None, tuple[int, ...]]) -> None:
    """ValueError that names the first of some tensors, if any, whose shape is not the one wanted ``beside`` others."""
    for name, (x, shape) in wanted.items():
        if x is not None and tuple(x.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}{beside}, got {tuple(x.shape)}")


def check(W_uh: Tensor, W_hh: Tensor, W_r: Tensor, inputs: Tensor, targets: Tensor) -> None:
    """At least one step of each phase, and shapes that go together; ValueError names the argument otherwise."""
    models, hidden, dim = W_uh.shape
    beside = f" to go with W_uh {tuple(W_uh.shape)}"
    check_shapes(beside, W_hh=(W_hh, (models, hidden, hidden)), W_r=(W_r, (models, dim, hidden)))
    (_, reading, batch, _), horizon = inputs.shape, targets.shape[1]
    if tuple(inputs.shape) != (models, reading, batch, dim) or reading < 1:
        raise ValueError(f"inputs must have shape ({models}, S ≥ 1, B, {dim}), got {tuple(inputs.shape)}")
    if tuple(targets.shape) != (models, horizon, batch, dim) or horizon < 1:
        raise ValueError(f"targets must have shape ({models}, T ≥ 1, {batch}, {dim}), got {tuple(targets.shape)}")


class Workspace:
    """Memory kept between calls, and grown when more is asked for."""

    def __init__(self) -> None:
        self._numbers = torch.empty(0)

    @property
    def bytes(self) -> int:
        """How much it holds."""
        return self._numbers.numel() * self._numbers.element_size()

    def get(self, size: int, like: Tensor) -> Tensor:
        """``size`` numbers of ``like``'s dtype and device, aligned to 64 bytes as all memory that torch asks for; what
        they hold is undefined."""
        if self._numbers.numel() < size or (self._numbers.dtype, self._numbers.device) != (like.dtype, like.device):
            self._numbers = torch.empty(0)  # the old memory goes before the new one comes
            self._numbers = torch.empty(size, dtype=like.dtype, device=like.device)
        return self._numbers[:size]
