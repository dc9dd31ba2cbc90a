"""What a network holds that did not find the whole circuit: measures of its eigenvalues, states and outputs.

Everything is measured in the output phase, on sequences that the caller's generators draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from emt_core.analysis import edits, memories, probes, spectrum
from emt_core.networks import VectorNetwork
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

Generators = Sequence[torch.Generator]


@dataclass(frozen=True)
class Anatomy:
    """Measures of M networks, each (M,)."""

    count: Int[Tensor, "M"]  #: eigenvalues of W_hh of modulus above 0.9
    off_by: Float[Tensor, "M"]  #: see :func:`off_by`
    outside: Float[Tensor, "M"]  #: share of the squared state outside the memories, the basis' reconstruction error
    dimension: Float[Tensor, "M"]  #: of the states, (Σλ)² / Σλ² over the eigenvalues λ of their covariance
    size: Float[Tensor, "M"]  #: root mean square of a unit's activity
    beyond: Float[Tensor, "M"]  #: share of activities of modulus above ½, where tanh begins to saturate


def anatomy(model: VectorNetwork, task: VariableBinding, generators: Generators, sequences: int = 200) -> Anatomy:
    """Measure networks on states of S steps, 2S steps into the output phase."""
    theory = spectrum.eigenvalues(circuit.effective_interaction(task)).numpy()
    h, _, _ = output_phase(model, task, 2 * task.history, sequences, generators)
    flat = h.flatten(1, 2).double()
    centred = flat - flat.mean(1, keepdim=True)
    spread = torch.linalg.eigvalsh(centred.mT @ centred)
    found = memories.variable_memories(model, task, residuals=0)
    learned = spectrum.eigenvalues(model.W_hh)
    return Anatomy(
        count=(learned.abs() > 0.9).sum(1),
        off_by=torch.tensor([off_by(values.numpy(), theory) for values in learned]),
        outside=(flat - flat @ (found.basis @ found.dual).mT).square().sum((1, 2)) / flat.square().sum((1, 2)),
        dimension=spread.sum(1).square() / spread.square().sum(1),
        size=flat.square().mean((1, 2)).sqrt(),
        beyond=(flat.abs() > 0.5).double().mean((1, 2)),
    )


def output_phase(
    model: VectorNetwork, task: VariableBinding, settle: int, sequences: int, generators: Generators
) -> tuple[Float[Tensor, "M S B N"], Float[Tensor, "M S B D"], Float[Tensor, "M S B D"]]:
    """States, outputs and right outputs over S steps, after ``settle`` steps of the output phase."""
    inputs, targets = task.sample(sequences, settle + task.history, generators, model.W_hh.dtype)
    states, outputs = model.rollout(inputs, settle + task.history)
    last = slice(-task.history, None)
    return states[:, last], outputs[:, last], targets[:, last]


def off_by(learned: Complex[np.ndarray, "N"], theory: Complex[np.ndarray, "K"], threshold: float | int = 0.9) -> float:
    """Mean angle in radians between the learned eigenvalues of modulus above ``threshold`` and partners among the
    theory's, each its own, assigned for the least sum; NaN where there are none, or more than the theory has."""
    a, b = (values[np.abs(values) > threshold] for values in (learned, theory))
    if not 0 < len(a) <= len(b):
        return np.nan
    cost = spectrum.angle_between(a[:, None], b[None, :])
    return float(cost[linear_sum_assignment(cost)].mean())


def off_by_chance(count: int, theory: Complex[np.ndarray, "K"], seed: int, draws: int = 100) -> float:
    """What :func:`off_by` is on average for ``count`` eigenvalues on the unit circle at random angles: its null."""
    if not count:
        return np.nan
    angles = np.random.default_rng(seed).uniform(-np.pi, np.pi, (draws, int(count)))
    return float(np.mean([off_by(np.exp(1j * row), theory) for row in angles]))


@dataclass(frozen=True)
class Gain:
    """How the S·D written numbers o depend on the right ones y: o ≈ G y by least squares."""

    G: Float[Tensor, "M SD SD"]
    linear: Float[Tensor, "M"]  #: share of the squared output that G explains
    alone: Float[Tensor, "M"]  #: share that each right number explains by itself, by the diagonal of G

    @property
    def idempotence(self) -> Float[Tensor, "M"]:
        """‖G² − G‖ / ‖G‖, which is 0 for a projection."""
        return (self.G @ self.G - self.G).norm(dim=(1, 2)) / self.G.norm(dim=(1, 2))

    @property
    def alone_if_random(self) -> Float[Tensor, "M"]:
        """What ``alone / linear`` is for a projection of rank r = ‖G‖² in random directions, (r + 2) / (SD + 2)."""
        return (self.G.square().sum((1, 2)) + 2) / (self.G.shape[1] + 2)


def gain(model: VectorNetwork, task: VariableBinding, generators: Generators, sequences: int = 1000) -> Gain:
    """G of each network over S steps, 2S steps into the output phase. The complete circuit has G = I."""
    _, outputs, targets = output_phase(model, task, 2 * task.history, sequences, generators)
    o, y = (v.transpose(1, 2).flatten(2).double() for v in (outputs, targets))  # (M, B, S·D)
    G = torch.linalg.lstsq(y, o, driver="gelsd").solution.mT
    alone = (o * y).mean(1, keepdim=True) * y  # y are signs, so their squares are 1
    total = o.square().sum((1, 2))
    linear, own = (1 - (o - part).square().sum((1, 2)) / total for part in (y @ G.mT, alone))
    return Gain(G, linear, own)


def held(
    model: VectorNetwork, task: VariableBinding, settle: int, sequences: int, generators: Generators
) -> tuple[Float[Tensor, "M B N"], Float[Tensor, "M B SD"]]:
    """States ``settle`` steps into the output phase (0: the inputs have just been read), and the S·D signs that are to
    be in memory then."""
    inputs, targets = task.sample(sequences, settle + 1, generators, model.W_hh.dtype)
    states, _ = model.rollout(inputs, settle)
    signs = edits.window(torch.cat([inputs, targets], dim=1), task.history, task.history + settle)
    return states[:, -1].float(), signs.float()


def signs_read(
    states: Float[Tensor, "M B N"], signs: Float[Tensor, "M B K"]
) -> tuple[Float[Tensor, "M"], Float[Tensor, "M"]]:
    """Share of the signs that a linear probe and one with a hidden layer of 128 units read from states; trained on the
    first half of them, tested on the second."""
    half = states.shape[1] // 2
    parts = states[:, :half], signs[:, :half], states[:, half:], signs[:, half:]
    linear, wide = (probes.sign_probe(*parts, width=width).mean(1) for width in (0, 128))
    return linear, wide
