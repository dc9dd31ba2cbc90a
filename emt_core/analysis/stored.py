"""The episodic memory in a trained network: its variable memories, with which interaction they are stored, and the
network that is made of nothing else.

Source: arXiv:2310.02430, which maps a GSEMM of memories Ξ and interaction Φ_G to W_hh = Ξ (I + Φ_Gᵀ) Ξᵀ. Here the way
leads back, with the variable memories Ψ of :mod:`emt_core.analysis.memories` as Ξ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.analysis.memories import variable_memories
from emt_core.networks import VectorNetwork
from emt_core.networks.exact import to_rnn
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit, gsemm


@dataclass(frozen=True)
class Stored:
    """What :func:`found_in` finds, float64, for the K entries on cycles: ``memories`` Ψ (M, N, K), the interaction as
    ``found`` in the weights and as ``expected`` of a circuit with these memories, both (M, K, K), and ``residual`` (M),
    the share of the norm of W_hh that does not act between memories."""

    memories: Float[Tensor, "M N K"]
    found: Float[Tensor, "M K K"]
    expected: Float[Tensor, "M K K"]
    residual: Float[Tensor, "M"]


def found_in(model: VectorNetwork, task: VariableBinding, grounding: float | int = 0.25) -> Stored:
    """The variable memories of ``model``, by the paper's recursion, and with which interaction Φ_G they are stored.

    Args:
        grounding: α in [0, 1], as in :func:`~emt_core.analysis.memories.variable_memories`.

    Raises:
        ValueError: the memories are not independent.
    """
    basis = variable_memories(model, task, grounding, residuals=0)
    psi = basis.basis[:, :, basis.kept]
    found = gsemm.from_rnn(model.to("cpu", torch.float64).W_hh, psi)
    expected = gsemm.stored_interaction(_phi(task).expand(len(psi), -1, -1), psi)
    return Stored(psi, found.interaction, expected, found.residual)


def rebuilt(model: VectorNetwork, memories: Float[Tensor, "N K"], interaction: Float[Tensor, "K K"]) -> VectorNetwork:
    """One network of these memories and their interaction alone, with the input and output weights of ``model`` (M = 1)
    and its dtype; any other M is an error."""
    if model.models != 1:
        raise ValueError(f"model must hold one network, got {model.models}")
    return to_rnn(memories.to(model.W_hh.dtype), interaction, model.W_uh[0], model.W_r[0])


def with_random_memories(
    model: VectorNetwork, task: VariableBinding, memories: Float[Tensor, "N K"], generator: torch.Generator
) -> tuple[Float[Tensor, "N K"], Float[Tensor, "K K"]]:
    """A control: ``memories`` with all but those of the newest variable replaced by random directions, orthonormal and
    orthogonal to the newest, to W_uh and to W_rᵀ; and the interaction that is expected of them.

    Raises:
        ValueError: ``model`` holds more than one network, or too few units for so many directions.
    """
    if model.models != 1:
        raise ValueError(f"model must hold one network, got {model.models}")
    new = int(circuit.on_cycle(task)[-task.dim :].sum())  # memories of the newest variable, the last columns
    older, newest = memories.shape[1] - new, memories[:, memories.shape[1] - new :].double()
    taken = torch.cat([newest, model.W_uh[0].double(), model.W_r[0].double().mT], dim=1)
    if older + taken.shape[1] > model.hidden:
        raise ValueError(f"model must have {older + taken.shape[1]} units or more, got {model.hidden}")
    drawn = torch.randn(model.hidden, older, dtype=torch.float64, generator=generator)
    free = torch.linalg.qr(drawn - taken @ torch.linalg.pinv(taken) @ drawn).Q
    made_up = torch.cat([free, newest], dim=1)
    return made_up, gsemm.stored_interaction(_phi(task), made_up)


def _phi(task: VariableBinding) -> Float[Tensor, "K K"]:
    """Φ between the entries on cycles."""
    kept = circuit.on_cycle(task)
    return circuit.interaction_matrix(task)[kept][:, kept]
