"""Networks with weights written down, not learned: the theory's circuit, and a GSEMM as a network."""

from __future__ import annotations

from typing import SupportsFloat

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks.vectors import VectorNetwork, elman
from emt_core.support.checks import number
from emt_core.tasks import VariableBinding
from emt_core.theory.circuit import interaction_matrix


def linear_rnn(task: VariableBinding, basis: Float[Tensor, "N SD"] | None = None) -> VectorNetwork:
    """The exact linear RNN (M = 1, activation identity, float64) whose variable memories are the columns of ``basis``.
    ``basis`` (N, S·D) needs independent columns and may be far from orthogonal; the standard basis if not given."""
    size, D = task.history * task.dim, task.dim
    basis = torch.eye(size, dtype=torch.float64) if basis is None else basis
    if basis.shape[1] != size:
        raise ValueError(f"basis must have S·D = {size} columns, got shape {tuple(basis.shape)}")
    if not basis.isfinite().all():
        raise ValueError("basis must be finite, got NaN or infinite entries")
    basis = basis.double()
    rank = int(torch.linalg.matrix_rank(basis))
    if rank < size:
        raise ValueError(f"basis must have independent columns, got rank {rank} of {size}")
    dual = torch.linalg.pinv(basis)
    W_hh = basis @ interaction_matrix(task) @ dual
    return elman(basis[None, :, -D:], W_hh[None], dual[None, -D:], activation="identity")


def tanh_rnn(
    task: VariableBinding, basis: Float[Tensor, "N SD"] | None = None, gain: SupportsFloat = 1.0
) -> VectorNetwork:
    """The same circuit with tanh, and W_hh ``gain`` times as large: at the origin all eigenvalues that Φ has on the
    unit circle have this modulus."""
    linear = linear_rnn(task, basis)
    return elman(linear.W_uh, number("gain", gain, True) * linear.W_hh, linear.W_r)


def to_rnn(
    Xi: Float[Tensor, "N K"],
    Phi_G: Float[Tensor, "K K"],
    W_uh: Float[Tensor, "N D"] | None = None,
    W_r: Float[Tensor, "D N"] | None = None,
) -> VectorNetwork:
    """The Elman network (M = 1, tanh, dtype of ``Xi``) with W_hh = Ξ (I + Φ_Gᵀ) Ξᵀ.
    By default it has one input and one output for each memory: W_uh = Ξ, W_r = Ξ†."""
    if tuple(Phi_G.shape) != (Xi.shape[1],) * 2:
        raise ValueError(f"Phi_G must have shape {(Xi.shape[1],) * 2} to go with Xi, got {tuple(Phi_G.shape)}")
    W_hh = Xi @ (torch.eye(Xi.shape[1], dtype=Xi.dtype) + Phi_G.mT.to(Xi.dtype)) @ Xi.mT
    W_uh = Xi if W_uh is None else W_uh.to(Xi.dtype)
    W_r = torch.linalg.pinv(Xi) if W_r is None else W_r.to(Xi.dtype)
    return elman(W_uh[None], W_hh[None], W_r[None])
