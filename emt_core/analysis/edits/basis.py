"""Edits in a basis of variable memories, what they should do, and what they did.

The theory (arXiv:2310.02430) says that the state is h = Ψ c + rest and that only the contents c matter for the output:
whoever writes other contents into Ψ changes the future of the sequence as Φ does. An edit is a function from states
(M, B, N) to states; what to compare with is ``task.targets`` of the edited window of the sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emt_core.analysis.memories import VariableMemories
from emt_core.networks import VectorNetwork
from emt_core.support.checks import integer
from emt_core.tasks import VariableBinding

States = Float[Tensor, "M B N"]  #: states of the hidden units, for each model and sequence
Where = Bool[Tensor, "*#batch SD"]  #: which memories, oldest block first; for all, for each sequence (M, B), or between
Outputs = Float[Tensor, "*#M T B D"]  #: outputs of T steps; M = 1 serves all models


def window(sequence: Float[Tensor, "M L B D"], history: int, step: int) -> Float[Tensor, "M B SD"]:
    """What the memories should hold after ``step`` steps of ``sequence`` (inputs, then targets): its last S vectors,
    oldest first, one row for each sequence of the batch."""
    if not history <= step <= sequence.shape[1]:
        raise ValueError(f"step must lie in {history} … {sequence.shape[1]}, got {step}")
    return sequence[:, step - history : step].transpose(1, 2).flatten(2)


def continuation(task: VariableBinding, held: Float[Tensor, "M B SD"], horizon: int) -> Float[Tensor, "M T B D"]:
    """The next T = ``horizon`` vectors of a sequence whose last S are ``held``: the future as Φ predicts it."""
    return task.targets(held.unflatten(2, (task.history, task.dim)).transpose(1, 2), horizon)


def write(
    h: States, memories: VariableMemories, values: Float[Tensor, "*#batch SD"], where: Where | None = None
) -> States:
    """The states (M, B, N) with contents ``values`` in the memories chosen by ``where`` (all if not given), both up to
    (M, B, S·D): h + Ψ (values − Ψ*h).

    What lies outside these memories is left as it is. Columns that the basis lacks are not written.
    """
    for name, given in (("values", values), ("where", where)):
        if given is not None and given.shape[-1] != memories.size:
            raise ValueError(f"{name} must have S·D = {memories.size} entries on its last axis, got {given.shape[-1]}")
    change = values.to(h.dtype) - memories.contents(h).to(h.dtype)
    if where is not None:
        change = change * where
    return h + change @ memories.basis[:, :, : memories.size].mT.to(h.dtype)


def flip(h: States, memories: VariableMemories, where: Where) -> States:
    """The states with the sign of the chosen contents turned."""
    return write(h, memories, -memories.contents(h), where)


def erase(h: States, memories: VariableMemories, where: Where) -> States:
    """The states with zero in the chosen memories."""
    return write(h, memories, torch.zeros_like(memories.contents(h)), where)


def swap(h: States, memories: VariableMemories, first: int, second: int) -> States:
    """The states with the contents of two variables exchanged; variables count 1 (oldest) … S (newest).
    Both must have a column in the basis for the same entries: there is nowhere to put what has none."""
    history = max(k for kind, k, _ in memories.labels if kind == "memory")
    for name, k in (("first", first), ("second", second)):
        if integer(name, k, 1) > history:
            raise ValueError(f"{name} must be a variable from 1 to {history}, got {k}")
    kept = memories.kept.view(history, -1).tolist()
    if kept[first - 1] != kept[second - 1]:
        got = f"{kept[second - 1]}, and {kept[first - 1]} for first"
        raise ValueError(f"second must have the same entries in the basis as first, got {got}")
    contents = memories.contents(h).unflatten(-1, (history, -1))
    contents[..., [first - 1, second - 1], :] = contents[..., [second - 1, first - 1], :]
    return write(h, memories, contents.flatten(-2))


def transplant(
    h: States, source: VariableMemories, target: VariableMemories, scale: Float[Tensor, "*M SD"] | float | int = 1.0
) -> Float[Tensor, "M B P"]:
    """States of other networks that hold in ``target`` what ``h`` holds in ``source``: Ψ_t (scale Ψ_s*h).
    ``scale`` makes up for another size of contents, number by number. What lies outside the memories is not carried."""
    if source.kept.tolist() != target.kept.tolist():
        raise ValueError("target must be a basis for the same task as source, got other columns kept")
    scale = scale[..., None, :] if isinstance(scale, Tensor) else scale
    return ((scale * source.contents(h)) @ target.basis[:, :, : target.size].mT).to(h.dtype)


def as_far(h: States, edited: States, other: States) -> States:
    """``h`` moved towards ``other``, as far as ``edited`` is from it; not at all where ``other`` is ``h``."""
    size, toward = (edited - h).norm(dim=-1, keepdim=True), other - h
    return h + toward / toward.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(toward.dtype).tiny) * size


def random_edit(
    h: States, edited: States, generator: torch.Generator, outside: VariableMemories | None = None
) -> States:
    """A control: ``h`` moved as far as ``edited`` is from it, in a uniformly random direction. With ``outside`` the
    direction is orthogonal to all columns of these memories, and changes none of their contents."""
    direction = torch.randn(h.shape, generator=generator, dtype=torch.float64, device=generator.device).to(h.device)
    if outside is not None:
        span = torch.cat([outside.basis[:, :, : outside.size], outside.dual[:, : outside.size].mT], dim=2)
        used, units = int(torch.linalg.matrix_rank(span, rtol=1e-9).max()), span.shape[1]
        if used >= units:
            raise ValueError(f"outside must leave directions free, got {used} dimensions of {units} units in use")
        direction = direction - direction @ (span @ torch.linalg.pinv(span, rtol=1e-9)).mT
    size = (edited - h).norm(dim=-1, keepdim=True)
    return h + (direction / direction.norm(dim=-1, keepdim=True)).to(h) * size


def future(model: VectorNetwork, h: States, horizon: int) -> Float[Tensor, "M T B D"]:
    """The outputs of the T = ``horizon`` steps after the states ``h``, without input."""
    nothing = h.new_zeros(model.models, 0, h.shape[1], model.dim)
    return model.rollout(nothing, integer("horizon", horizon, 1), h)[1]


@dataclass(frozen=True)
class Agreement:
    """Outputs against a prediction, for each model and sequence: ``signs``, the share of signs that agree; ``exact``,
    whether all do; ``followed``, the share among the signs in which the prediction differs from that for the unedited
    state (NaN where it does not differ)."""

    signs: Float[Tensor, "M B"]
    exact: Bool[Tensor, "M B"]
    followed: Float[Tensor, "M B"]


def agreement(outputs: Float[Tensor, "M T B D"], predicted: Outputs, unedited: Outputs | None = None) -> Agreement:
    """Compare signs over all T steps; an output of exactly zero agrees with nothing."""
    right = outputs * predicted > 0
    changed = torch.ones_like(right) if unedited is None else (predicted * unedited < 0).expand_as(right)
    followed = (right & changed).sum((1, 3)).double() / changed.sum((1, 3))
    return Agreement(right.double().mean((1, 3)), right.all(3).all(1), followed)
