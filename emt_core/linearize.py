"""Jacobians of the state update by autograd: the linear map that a network is, close to a state."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.func import jacrev, vmap

from emt_core import cells
from emt_core.cells import Elman


def jacobian(model: Elman, h: Float[Tensor, "M N"] | None = None) -> Float[Tensor, "M N N"]:
    """∂h_{t+1}/∂h_t of the autonomous update at the states ``h`` (M, N); at the origin if not given.

    The origin is a fixed point of a bias-free Elman network, and its Jacobian there is W_hh (tanh′(0) = 1).
    """
    if h is None:
        h = model.W_hh.new_zeros(model.models, model.hidden)
    if tuple(h.shape) != (model.models, model.hidden):
        raise ValueError(f"h must have shape {(model.models, model.hidden)}, got {tuple(h.shape)}")

    def update(W_uh: Tensor, W_hh: Tensor, W_r: Tensor, state: Tensor) -> Tensor:
        alone = Elman(W_uh[None], W_hh[None], W_r[None], activation=model.activation)
        return cells.step(alone, state[None, None])[0, 0]

    return vmap(jacrev(update, argnums=3))(model.W_uh, model.W_hh, model.W_r, h)
