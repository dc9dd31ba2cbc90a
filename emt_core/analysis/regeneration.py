"""Where a circuit restores what it carries: *repeaters*, and the gain of a cycle.

A variable memory is a sum over units. As its content passes through tanh, its amplitude a becomes A(a), and the
*elasticity* d log A / d log a says how an error of the amplitude fares: 1, it is kept; below 1, it shrinks. In the
mean-field theory of one step, z = Σ_k a_k x_k Z_k with signs x_k:

- K memories that share all units as random directions do: for Gaussian Z, E[Z tanh(a Z + r)] = a E[Z²] E[sech² z]
  (Stein's lemma). Every amplitude is multiplied by the same number. Only the length of the state is restored, not the
  ratios of its K contents: elasticity 1, whatever the gain.
- A memory alone in its units, a from each: A = tanh(a), elasticity a sech²(a) / tanh(a), near 0 where it saturates.

The errors of a content return each time it has gone round its cycle of Φ, so that the *gain* of a cycle is the product
of the elasticities on it. One repeater is enough for a whole cycle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.analysis.memories import fitted_memories
from emt_core.networks import Elman, VectorNetwork
from emt_core.support.checks import Index, integer
from emt_core.tasks import VariableBinding
from emt_core.tasks.sequences import Generators
from emt_core.theory import circuit


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
        """The gain of the cycle that restores least: 1 keeps errors, below 1 all contents are restored."""
        return self.gain.max(1).values


def regeneration(
    model: VectorNetwork, task: VariableBinding, generators: Generators, after: Index = 40, sequences: Index = 2048
) -> Regeneration:
    """What tanh does to each memory of Elman networks, in the states after ``after`` output steps, in float64.

    The drives z = W_hh h(t − 1) and the states h = tanh(z) are fitted by the contents (:func:`fitted_memories`), z ≈
    Σ_k Z_k x_k and h ≈ Σ_k H_k x_k. The amplitude of memory k read along its own pattern is A(α) = H_kᵀ E[x_k tanh(z +
    (α − 1) Z_k x_k)] / ‖H_k‖², so that A(1) = 1, and its elasticity A′(1) = H_kᵀ E[1 − h²] Z_k / ‖H_k‖². A mean over
    contents: it is exact where 1 − h² does not depend on them.

    Raises:
        ValueError: the networks are no tanh Elman networks; fewer sequences than memories.
    """
    cell = model.cell
    if not isinstance(cell, Elman) or cell.activation != "tanh" or cell.b is not None:
        raise ValueError(f"model must be a tanh Elman network without biases, got {model.settings}")
    after, wide = integer("after", after, 2), model.to("cpu", torch.float64)
    inputs, targets = task.sample(integer("sequences", sequences, 1), after, generators, torch.float64)
    with torch.no_grad():
        states, _ = wide.rollout(inputs, after)
    h, z = states[:, -1], states[:, -2] @ wide.W_hh.mT
    held = torch.cat([inputs, targets], 1)[:, -task.history :].transpose(1, 2).flatten(2)
    H, Z = (fitted_memories(part, held, task)[0].basis for part in (h, z))
    slope = (1 - h.square()).mean(1)[..., None]
    power = Z.square()
    off = torch.zeros(H.shape[2]).masked_fill(~circuit.on_cycle(task), math.nan)
    elasticity = (H * slope * Z).sum(1) / H.square().sum(1) + off
    ownership = (power.square() / power.sum(2, keepdim=True)).nan_to_num(0).sum(1) / power.sum(1) + off
    loops = [list(entries) for entries, _ in circuit.cycles(task)]
    return Regeneration(
        elasticity,
        ownership,
        Z.abs().max(1).values + off,
        torch.stack([elasticity[:, loop].prod(1) for loop in loops], 1),
        torch.stack([ownership[:, loop].max(1).values for loop in loops], 1),
    )
