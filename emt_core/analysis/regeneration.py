"""Where a circuit restores what it carries: *repeaters*, and the gain of a cycle.

A variable memory is a sum over units. As its content passes through tanh, its amplitude a becomes A(a), and the
*elasticity* d log A / d log a says how an error of the amplitude fares: 1, it is kept; below 1, it shrinks. In the
mean-field theory of one step, z = Σ_k a_k x_k Z_k with signs x_k:

- K memories that share all units as random directions do: for Gaussian Z, E[Z tanh(a Z + r)] = a E[Z²] E[sech² z]
  (Stein's lemma). Every amplitude is multiplied by the same number. Only the length of the state is restored, not the
  ratios of its K contents: elasticity 1, whatever the gain, but for a K-th of what restores the length.
- A memory alone in its units, a from each: A = tanh(a), elasticity a sech²(a) / tanh(a), near 0 where it saturates.

The errors of a content return each time it has gone round its cycle of Φ, so that the *gain* of a cycle is the product
of the elasticities on it. One repeater is enough for a whole cycle, and :func:`with_repeaters` gives a network some.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsFloat

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emt_core.analysis.edits.basis import window
from emt_core.analysis.memories import VariableMemories, fitted_memories
from emt_core.networks import Elman, VectorNetwork
from emt_core.networks.vectors import elman
from emt_core.support.checks import Index, integer, number
from emt_core.tasks import VariableBinding
from emt_core.tasks.sequences import Generators
from emt_core.theory import circuit

OWNED, RESTORED = 0.5, 0.95  # of a repeater: its least ownership, and the largest gain of its cycle


@dataclass(frozen=True)
class Regeneration:
    """Of each entry of the history (oldest block first; NaN where it lies on no cycle) ``elasticity``, ``ownership``,
    the share of the squared drive of the memory's units that is its own (1: it has units to itself; 3/K and less: it
    shares them all with K others), and ``drive``, the largest that it gives a unit.
    Of each cycle of Φ, in the order of :func:`emt_core.theory.circuit.cycles`, ``gain``, the product of elasticities,
    and ``best``, the largest ownership on it."""

    elasticity: Float[Tensor, "M SD"]
    ownership: Float[Tensor, "M SD"]
    drive: Float[Tensor, "M SD"]
    gain: Float[Tensor, "M C"]
    best: Float[Tensor, "M C"]

    @property
    def weakest(self) -> Float[Tensor, "M"]:
        """The gain of the cycle that restores least: at 1 it keeps errors, below 1 no cycle does."""
        return self.gain.max(1).values

    @property
    def repeated(self) -> Bool[Tensor, "M"]:
        """Whether every cycle has a repeater: a memory to which at least half of its units' drive belongs, and a gain
        below 0.95. Below 1 alone is not enough: where memories that share units saturate, it may lie there as well, and
        what is restored is not the contents."""
        return (self.best.min(1).values >= OWNED) & (self.weakest < RESTORED)


def regeneration(
    model: VectorNetwork, task: VariableBinding, generators: Generators, after: Index = 40, sequences: Index = 2048
) -> Regeneration:
    """What tanh does to each memory of Elman networks, in the states after ``after`` output steps, in float64.

    The drives z = W_hh h(t − 1) and the states h = tanh(z + b) are fitted by the contents, with
    :func:`~emt_core.analysis.memories.fitted_memories`: z ≈ Σ_k Z_k x_k and h ≈ Σ_k H_k x_k. The amplitude of memory
    k read along its own pattern is A(α) = H_kᵀ E[x_k tanh(z + b + (α − 1) Z_k x_k)] / ‖H_k‖², so that A(1) = 1, and its
    elasticity A′(1) = H_kᵀ E[1 − h²] Z_k / ‖H_k‖². A mean over contents: it is exact where 1 − h² does not depend on
    them. With biases b a part of drives and states does not depend on contents: both are then fitted around their
    means. The two signs of a content have slopes of their own there, whose mean the elasticity is.

    Raises:
        ValueError: the networks are no tanh Elman networks; fewer sequences than memories, or with biases no more.
    """
    biased = _check(model, biases=True).b is not None
    after, wide = integer("after", after, 2), model.to("cpu", torch.float64)
    inputs, targets = task.sample(integer("sequences", sequences, 1), after, generators, torch.float64)
    with torch.no_grad():
        states, _ = wide.rollout(inputs, after)
    h, z = states[:, -1], states[:, -2] @ wide.W_hh.mT
    held = window(torch.cat([inputs, targets], 1), task.history, task.history + after)
    parts = h, z
    if biased:
        integer("sequences", sequences, int(circuit.on_cycle(task).sum()) + 1)  # a mean takes one
        parts, held = (h - h.mean(1, keepdim=True), z - z.mean(1, keepdim=True)), held - held.mean(1, keepdim=True)
    H, Z = (fitted_memories(part, held, task)[0].basis for part in parts)
    slope = (1 - h.square()).mean(1)[..., None]
    power = Z.square()
    off_cycle = torch.zeros(H.shape[2]).masked_fill(~circuit.on_cycle(task), math.nan)
    elasticity = (H * slope * Z).sum(1) / H.square().sum(1) + off_cycle
    ownership = (power.square() / power.sum(2, keepdim=True)).nan_to_num(0).sum(1) / power.sum(1) + off_cycle
    loops = [list(entries) for entries, _ in circuit.cycles(task)]
    return Regeneration(
        elasticity,
        ownership,
        Z.abs().max(1).values + off_cycle,
        torch.stack([elasticity[:, loop].prod(1) for loop in loops], 1),
        torch.stack([ownership[:, loop].max(1).values for loop in loops], 1),
    )


def with_repeaters(
    model: VectorNetwork, memories: VariableMemories, outputs: Sequence[int], drive: SupportsFloat = 2.0
) -> VectorNetwork:
    """The networks with one unit more for each of these ``outputs``, float64: a repeater on its way into the newest
    memory. ``memories`` are subspaces of states whose contents are near ±1, such as those of
    :func:`~emt_core.analysis.memories.fitted_memories`.

    Whatever a step would write as content c of entry j of the newest memory, Ψ_j c, is taken off the other units (by I
    − Ψ_j Ψ_j*) and drives the new unit with ``drive`` · c instead. The next step and the read-out find Ψ_j times the
    unit's state / tanh(``drive``) in its place: ±1 for ±1, and for 1 + ε only 1 + e ε, with e = a sech²(a) / tanh(a) at
    the drive a. A small drive is the control: the same wiring, and e → 1.
    """
    _check(model)
    drive, D = number("drive", drive, True), model.dim
    if not outputs or len({*outputs}) < len(outputs) or not all(0 <= j < D for j in outputs):
        raise ValueError(f"outputs must be different numbers in 0 … D − 1 = {D - 1}, at least one, got {list(outputs)}")
    newest = [memories.size - D + j for j in outputs]
    if not memories.kept[newest].all():
        raise ValueError(f"outputs must be those whose newest entry lies on a cycle of the task, got {list(outputs)}")
    wide = model.to(torch.float64)
    basis, dual = memories.basis[:, :, newest].to(wide.W_r), memories.dual[:, newest].to(wide.W_r)
    split = torch.cat([torch.eye(model.hidden).to(wide.W_r) - basis @ dual, drive * dual], 1)  # old units, then new
    merged = torch.cat([torch.eye(model.hidden).to(wide.W_r).expand_as(wide.W_hh), basis / math.tanh(drive)], 2)
    return elman(split @ wide.W_uh, split @ wide.W_hh @ merged, wide.W_r @ merged)


def _check(model: VectorNetwork, biases: bool = False) -> Elman:
    cell = model.cell
    if not isinstance(cell, Elman) or cell.activation != "tanh" or (cell.b is not None and not biases):
        without = "" if biases else " without biases"
        raise ValueError(f"model must be a tanh Elman network{without}, got {model.settings}")
    return cell
