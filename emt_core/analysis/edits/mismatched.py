"""Bases that a test of a fitted basis must tell from it: they have its span, or nearly so, and wrong directions in it.

Each asks another question. Directions with **wrong labels** carry variables, but not those that they are named after:
would any variable's direction do? Directions **mixed** at random carry no variable alone: does the span do? And a fit
to **shuffled** sequences is the same least squares on variables that have nothing to do with the states: does a fit
with so many parameters find directions that work whatever it is fitted to? (As h ≈ Ψx is solved by Ψ = h x⁺, its
columns too are combinations of states, and lie in the span that states have.)
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emt_core.analysis.edits.trials import copies
from emt_core.analysis.memories import VariableMemories
from emt_core.tasks.sequences import Generators, each


def relabelled(memories: VariableMemories) -> VariableMemories:
    """``memories`` without residuals, each direction under the next kept entry's name, the last under the first's."""
    size, kept = memories.size, memories.kept
    order = torch.arange(size)
    order[kept] = order[kept].roll(1)
    basis, dual = memories.basis[:, :, order], memories.dual[:, order]
    return replace(memories, basis=basis, dual=dual, labels=memories.labels[:size])


def relabelled_window(held: Float[Tensor, "M B SD"], kept: Bool[Tensor, "SD"]) -> Float[Tensor, "M B SD"]:
    """What the contents ``held`` say when they are written under the names of :func:`relabelled`, copies included."""
    return held[:, :, kept].roll(-1, 2) @ copies(held, kept).to(held)


def mixed(memories: VariableMemories, generators: Generators) -> VariableMemories:
    """``memories`` without residuals, with random directions of their span, one draw for each network: Ψ Q, with Q a
    random rotation or reflection of the kept columns."""
    size, kept = memories.size, memories.kept
    count = int(kept.sum())
    draws = [torch.randn(count, count, generator=g, dtype=torch.float64) for g in each(generators)]
    Q = torch.linalg.qr(torch.stack(draws)).Q.to(memories.basis)
    basis, dual = memories.basis[:, :, :size].clone(), memories.dual[:, :size].clone()
    basis[:, :, kept] = basis[:, :, kept] @ Q
    dual[:, kept] = Q.mT @ dual[:, kept]
    return replace(memories, basis=basis, dual=dual, labels=memories.labels[:size])


def shuffled(held: Float[Tensor, "M B SD"], generators: Generators) -> Float[Tensor, "M B SD"]:
    """The windows of each network in random order, for :func:`emt_core.analysis.memories.fitted_memories`: whatever a
    fit finds then, it is not what the network made of its sequences."""
    orders = [torch.randperm(held.shape[1], generator=g) for g in each(generators)]
    return torch.stack([own[order] for own, order in zip(held, orders, strict=True)])
