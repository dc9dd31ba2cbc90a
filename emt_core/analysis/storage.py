"""With which interaction the memories of a trained network are stored, and what a network made of that alone can do.

Source: the mapping between the episodic memory model and Elman networks in arXiv:2310.02430, taken backwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.analysis.memories import VariableMemories
from emt_core.networks import VectorNetwork
from emt_core.networks.vectors import elman
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit, gsemm


@dataclass(frozen=True)
class Stored:
    """Memories Ψ (M, N, K), of the K entries on cycles, and their interaction Φ_G: as ``found`` in W_hh, and as
    ``expected`` of memories that interact by the effective Φ. ``left_out`` (M,): share of the norm of W_hh that does
    not act between memories."""

    memories: Float[Tensor, "M N K"]
    found: Float[Tensor, "M K K"]
    expected: Float[Tensor, "M K K"]
    left_out: Float[Tensor, "M"]


def stored(model: VectorNetwork, task: VariableBinding, memories: VariableMemories) -> Stored:
    """The interaction with which the columns of ``memories`` are stored in the recurrent weights of Elman networks."""
    kept = memories.kept
    psi = memories.basis[:, :, : memories.size][:, :, kept]
    in_weights = gsemm.from_rnn(model.W_hh, psi)
    expected = gsemm.circuit_interaction(psi, circuit.effective_interaction(task)[kept][:, kept])
    return Stored(psi, in_weights.interaction, expected, in_weights.residual)


def rebuilt(
    model: VectorNetwork, memories: Float[Tensor, "M N K"], interaction: Float[Tensor, "M K K"]
) -> VectorNetwork:
    """The Elman networks with W_hh = Ψ (I + Φ_Gᵀ) Ψᵀ made of ``memories`` and their ``interaction`` alone, and with the
    input and output weights of ``model``."""
    psi, own = memories.to(model.W_r.dtype), interaction.mT.to(model.W_r.dtype)
    identity = torch.eye(psi.shape[2], dtype=psi.dtype)
    return elman(model.W_uh, psi @ (identity + own) @ psi.mT, model.W_r)
