"""What every kernel of Elman networks asks of its arguments."""

from __future__ import annotations

from torch import Tensor

Matrices = tuple[Tensor, Tensor, Tensor]  #: W_uh (M, N, D), W_hh (M, N, N), W_r (M, D, N), always in this order


def check(W_uh: Tensor, W_hh: Tensor, W_r: Tensor, inputs: Tensor, targets: Tensor) -> None:
    """At least one step of each phase, and shapes that go together; ValueError names the argument otherwise."""
    models, hidden, dim = W_uh.shape
    for name, w, want in (("W_hh", W_hh, (models, hidden, hidden)), ("W_r", W_r, (models, dim, hidden))):
        if tuple(w.shape) != want:
            raise ValueError(f"{name} must have shape {want} to go with W_uh {tuple(W_uh.shape)}, got {tuple(w.shape)}")
    (_, reading, batch, _), horizon = inputs.shape, targets.shape[1]
    if tuple(inputs.shape) != (models, reading, batch, dim) or reading < 1:
        raise ValueError(f"inputs must have shape ({models}, S ≥ 1, B, {dim}), got {tuple(inputs.shape)}")
    if tuple(targets.shape) != (models, horizon, batch, dim) or horizon < 1:
        raise ValueError(f"targets must have shape ({models}, T ≥ 1, {batch}, {dim}), got {tuple(targets.shape)}")
