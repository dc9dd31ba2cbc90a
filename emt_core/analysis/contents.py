"""Whether variable memories hold what they should, and how far W_hh in their basis is from what theory expects."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emt_core.analysis.edits.basis import window
from emt_core.analysis.memories import VariableMemories
from emt_core.networks import VectorNetwork
from emt_core.support.checks import integer
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit


def agreement(
    model: VectorNetwork,
    task: VariableBinding,
    memories: VariableMemories,
    horizon: int,
    generator: torch.Generator,
    sequences: int = 200,
) -> Float[Tensor, "M T SD"]:
    """Share of random sequences, the same for all networks, in which a content has the sign of the value that its
    variable should have then. T = ``horizon`` + 1 times: from the end of the input phase, t = S, to t = S + horizon.
    Entries that the basis lacks have no content and agree with nothing."""
    horizon, history = integer("horizon", horizon, 0), task.history
    inputs, targets = task.sample(sequences, max(horizon, 1), generator, model.W_r.dtype)
    states, _ = model.rollout(inputs.expand(model.models, -1, -1, -1), horizon)
    sequence = torch.cat([inputs, targets], dim=1)
    held = torch.stack([window(sequence, history, t) for t in range(history, history + horizon + 1)], dim=1)
    return (memories.contents(states[:, history - 1 :]) * held > 0).double().mean(2)


def free_columns(task: VariableBinding) -> Bool[Tensor, "SD"]:
    """The columns of the effective Φ that the paper's recursion does not make by construction: it makes the others by
    ψ_{k−1} ∝ W_hh ψ_k, but these are of entries whose older neighbour is left out, or that are the oldest."""
    kept = circuit.on_cycle(task)
    return kept & ~torch.cat([torch.zeros(task.dim, dtype=torch.bool), kept[: -task.dim]])


def free_cosines(model: VectorNetwork, task: VariableBinding, memories: VariableMemories) -> Float[Tensor, "M F"]:
    """Cosine of each of the F :func:`free_columns` of Ψ* W_hh Ψ with that of the effective Φ; no scale counts."""
    free = free_columns(task)
    found = memories.interaction(model.W_hh)[:, : memories.size, : memories.size][:, :, free]
    wanted = circuit.effective_interaction(task).to(found.dtype)[:, free].expand_as(found)
    return torch.nn.functional.cosine_similarity(found, wanted, dim=1)


def units_per_memory(memories: VariableMemories) -> Float[Tensor, "M K"]:
    """On how many hidden units each memory that the basis has lies: the participation ratio (Σ ψ²)² / Σ ψ⁴ of its
    column, 1 on a single unit, N if all have their parts alike, about (N + 2) / 3 in a random direction."""
    columns = memories.basis[:, :, : memories.size][:, :, memories.kept]
    return columns.square().sum(1).square() / columns.pow(4).sum(1)


def interaction_error(model: VectorNetwork, task: VariableBinding, memories: VariableMemories) -> Float[Tensor, "M"]:
    """Distance of Ψ* W_hh Ψ from the effective Φ, in norm, relative to that of Φ; residual directions are left out."""
    phi = circuit.effective_interaction(task)
    found = memories.interaction(model.W_hh)[:, : memories.size, : memories.size]
    return (found - phi).norm(dim=(1, 2)) / phi.norm()
