"""An edit without learning: take the measured layer of a token off the state, and add that of the other.

It succeeds wherever states are sums of layers, whatever the layers look like: the measure of what success of a learned
edit says about magnitudes (compare arXiv:2507.08802: an edit that is free enough fits any code).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.analysis.edits import cases
from emt_core.analysis.edits.cases import Case
from emt_core.analysis.layers import layers
from emt_core.networks import TokenNetwork
from emt_core.support.checks import integer
from emt_core.tasks import TokenRepeat


@dataclass(frozen=True)
class MeasuredEdit:
    """``layers`` of each of K lengths, the longest L last; zero at positions beyond a sequence's end."""

    layers: Float[Tensor, "M K L V n"]


def measure(model: TokenNetwork, task: TokenRepeat, generator: torch.Generator, sequences: int = 256) -> MeasuredEdit:
    """The layers of sequences of every length of the task, each token in the same random sequences."""
    lengths = range(task.shortest, task.longest + 1)
    found = model.W_o.new_zeros(model.models, len(lengths), task.longest, model.vocabulary, model.state_size)
    for k, n in enumerate(lengths):
        found[:, k, :n] = layers(model, n, generator, integer("sequences", sequences, 1))[0]
    return MeasuredEdit(found)


@torch.no_grad()
def replaced(edit: MeasuredEdit, h: Float[Tensor, "M B n"], case: Case) -> Float[Tensor, "M B n"]:
    """The states ``h`` of the case's corrupted sequences, h + ℓ(new) − ℓ(old), with the layers ℓ of their length and
    position.

    Raises:
        ValueError: the layers are not of these lengths, or a case has more than one changed position.
    """
    M, K, L = edit.layers.shape[:3]
    shortest, lengths = L - K + 1, case.corrupted.lengths.expand(M, -1)
    if int(lengths.min()) < shortest or int(lengths.max()) > L:
        raise ValueError(f"layers must be of lengths {int(lengths.min())} … {int(lengths.max())}, got {shortest} … {L}")
    position, old, new = cases.replacement(case)
    model_at = torch.arange(M, device=lengths.device)[:, None]
    of_length = edit.layers[model_at, lengths - shortest, position]  # (M, B, V, n)
    change = [of_length.gather(2, v[..., None, None].expand(-1, -1, 1, h.shape[2]))[:, :, 0] for v in (new, old)]
    return h + change[0] - change[1]
