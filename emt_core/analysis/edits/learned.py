"""Edits that are learned on frozen networks that repeat tokens (arXiv:2408.10920, its interventions).

All ask: from the state of a *corrupted* sequence, change the state so that the *original* is written. :func:`fit`
learns one, :func:`edited` applies it to such a case, :func:`exchange` and :func:`replace_token` to any states. The
paper's are a unigram, a bigram and an onion edit. Two more test what the success of the onion edit says: one whose γ
is 1 (a *level* onion: scales are linear in the position), and one whose scales are free of any order; and
:mod:`~emt_core.analysis.edits.measured` is one without learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emt_core.analysis.edits import cases, measured
from emt_core.analysis.edits.basis import random_edit
from emt_core.analysis.edits.cases import AUTHORS, FREER, KINDS, Case
from emt_core.analysis.edits.measured import MeasuredEdit
from emt_core.networks import TokenNetwork
from emt_core.networks.cell import rows
from emt_core.support.checks import integer
from emt_core.support.files import digest
from emt_core.support.random_streams import stream, streams
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.tasks.sequences import move
from emt_core.training import scores
from emt_core.training.until_flat import Optimised, Recipe, Weights, optimise, untouched

RECIPE = Recipe(steps=60_000, patience=5, least=10_000)
TOWARDS_NONE = 0.001  # loss per coordinate that a linear edit assigns to a variable

States = Float[Tensor, "M B n"]  #: whole states, for each model and sequence
Tokens = Int[Tensor, "M B"]  #: one token for each model and sequence


@dataclass(frozen=True)
class LinearEdit:
    """The hypothesis that variables lie in subspaces: new coordinates R h, R orthogonal, each of which belongs to one
    of K variables, or to none (−1). ``kind`` "unigram": variable k is the token at position k; "bigram": the tokens at
    k and k + 1."""

    kind: str
    rotation: Float[Tensor, "M n n"]
    assignment: Int[Tensor, "M n"]
    variables: int


@dataclass(frozen=True)
class OnionEdit:
    """The hypothesis that a position is a magnitude: token v at position p, from 0, adds
    tanh(e_v) ⊙ (g ⊙ γ^p + β p + b) to the state. ``tokens`` are the e, ``scale`` is g, ``offset`` is b."""

    tokens: Float[Tensor, "M V n"]
    gamma: Float[Tensor, "M n"]
    beta: Float[Tensor, "M n"]
    scale: Float[Tensor, "M n"]
    offset: Float[Tensor, "M n"]


@dataclass(frozen=True)
class ScaledEdit:
    """As many numbers as an onion edit, and no order of magnitudes: token v at position p adds tanh(e_v) times a number
    of its own. ``tokens`` are the e, ``scales`` the numbers."""

    tokens: Float[Tensor, "M V n"]
    scales: Float[Tensor, "M V L"]


Edit = LinearEdit | OnionEdit | ScaledEdit | MeasuredEdit


def exchange(edit: LinearEdit, h: States, source: States, variables: Bool[Tensor, "M B K"]) -> States:
    """The states with the chosen variables' coordinates taken from ``source``."""
    if variables.shape[2] != edit.variables:
        raise ValueError(f"variables must have K = {edit.variables} entries on its last axis, got {variables.shape[2]}")
    belongs = edit.assignment[:, None] == torch.arange(edit.variables, device=h.device)[:, None]  # (M, K, N)
    return _exchange(edit.rotation, belongs.to(h.dtype), h, source, variables)


def replace_token(
    edit: OnionEdit | ScaledEdit, h: States, position: Tokens, old: Tokens, new: Tokens, length: int | None = None
) -> States:
    """The states (M, B, n) with token ``new`` instead of ``old`` at ``position``, counted from 0. ``length``: positions
    are known to be below it; without it they are looked at, and a GPU is waited for."""
    if isinstance(edit, ScaledEdit):
        added = (torch.tanh(rows(edit.tokens, v)) * _scale(edit, v, position) for v in (new, old))
        return h + next(added) - next(added)
    if length is None:
        if position.numel() and int(position.min()) < 0:
            raise ValueError(f"position must be at least 0, got {int(position.min())}")
        length = int(position.max()) + 1
    return h + onion_change(edit, position, old, new, length)


def onion_change(edit: OnionEdit, position: Tokens, old: Tokens, new: Tokens, length: int) -> States:
    """(tanh e_new − tanh e_old) ⊙ (g ⊙ γ^p + β p + b), p < length."""
    e = torch.tanh(rows(edit.tokens, new)) - torch.tanh(rows(edit.tokens, old))
    return e * rows(magnitudes(edit, length), position)


def magnitudes(edit: OnionEdit, length: int) -> Float[Tensor, "M L n"]:
    """g ⊙ γ^p + β p + b at p = 0 … L − 1: by how much a token's embedding is scaled at each position."""
    at = [edit.scale * edit.gamma**p + edit.beta * p + edit.offset for p in range(integer("length", length, 1))]
    return torch.stack(at, dim=1)


def _scale(edit: ScaledEdit, tokens: Tensor, position: Tensor) -> Float[Tensor, "M B 1"]:
    return rows(edit.scales, tokens).gather(2, position[..., None])


def edited(edit: Edit, model: TokenNetwork, case: Case) -> States:
    """The states of the case's corrupted sequences, edited so as to write the original ones."""
    h = model.encode(case.corrupted)
    if isinstance(edit, LinearEdit):
        return exchange(edit, h, model.encode(case.source), cases.variables(edit.kind, case.where))
    if isinstance(edit, MeasuredEdit):
        return measured.replaced(edit, h, case)
    return replace_token(edit, h, *cases.replacement(case))


def controls(
    model: TokenNetwork, case: Case, states: States, generator: torch.Generator
) -> dict[str, Bool[Tensor, "M L B"]]:
    """Which of the original's tokens are written from other states than the edited ones, ``states``: "no edit", a
    "random" edit of equal norm in each state, and the "oracle", the state of the original itself."""
    h = model.encode(case.corrupted)
    others = {"no edit": h, "random": random_edit(h, states, generator), "oracle": model.encode(case.original)}
    return {name: scores.repeats(model, case.original, state) for name, state in others.items()}


@dataclass(frozen=True)
class LearnedEdit:
    """An edit and what came of it on validation sequences: ``case``, the ``right`` tokens, and ``exact`` (M,), the
    share of originals that are written without a mistake."""

    edit: Edit
    case: Case
    right: Bool[Tensor, "M L B"]
    exact: Float[Tensor, "M"]
    training: Optimised


def fit(
    kind: str,
    model: TokenNetwork,
    task: TokenRepeat,
    *,
    seeds: Sequence[int],
    recipe: Recipe = RECIPE,
    validation: Sequences | None = None,
    misled: bool = False,
    as_authors: str = "",
    **running: Any,
) -> LearnedEdit:
    """Learn one edit per model of ``model``, which stays as it is; teacher-forced in training, judged by what it then
    writes by itself. ``seeds``: one per model.

    Linear edits are learned and judged on the task's longest sequences, onions on all lengths. Assignments to variables
    are drawn in training (Gumbel-softmax, straight through), the most likely ones are the result.

    Args:
        kind: one of KINDS, the paper's, or of FREER.
        misled: a null, positions are told wrong (:func:`~emt_core.analysis.edits.cases.misled`).
        as_authors: one thing that is done as in the authors' public code and not as here, of cases.AUTHORS. "any token"
            and "coin swaps" are of :func:`~emt_core.analysis.edits.cases.corrupt`; with "mean pressure" the loss of a
            linear edit has 0.001 times the mean logit of variables less that of none, and not 0.001 for each
            coordinate that is expected to belong to a variable.
        running: ``checkpoint``, ``checkpoint_every``, ``stop`` and ``progress``, see
            :func:`emt_core.training.engine.run`.
    """
    if kind not in KINDS + FREER:
        raise ValueError(f"kind must be one of {KINDS + FREER}, got {kind!r}")
    if as_authors and as_authors not in AUTHORS:
        raise ValueError(f"as_authors must be one of {AUTHORS}, got {as_authors!r}")
    seeds = scores.seeds_for(model, task, seeds)
    model, device = model.detach(), model.device  # what comes from torch's modules are parameters
    generators = streams(seeds, f"{kind} edit")  # random numbers are the CPU's on every device
    validation = (task.validation() if validation is None else validation).to("cpu")
    task.check("validation", validation)
    length = task.longest if kind in cases.LINEAR else None
    judged = validation if length is None else cases.of_length(validation, length)

    def corrupt(sequences: Sequences, generators: Sequence[torch.Generator]) -> Case:
        case = cases.corrupt(kind, sequences, model.vocabulary, generators, {as_authors})
        return cases.misled(case, generators) if misled else case

    def asked(sequences: Sequences) -> Case:
        return corrupt(sequences, streams([0] * model.models, "cases")).to(device)

    case = asked(judged)
    few = asked(scores.spread(judged, scores.LOOK)) if length is None else case
    encode = torch.no_grad()(model.encode)

    def loss(weights: Weights, generators: Sequence[torch.Generator]) -> Tensor:
        batch = task.sample(recipe.batch, generators, validation, length)
        case = corrupt(batch, generators)
        h, batch = encode(case.corrupted.to(device)), batch.to(device)
        if length is None:
            position, old, new = (move(x, device) for x in cases.replacement(case))
            edit = _edit(kind, weights)
            assert isinstance(edit, OnionEdit | ScaledEdit)
            states = replace_token(edit, h, position, old, new, task.longest)
            return scores.cross_entropy(model.logits(states, batch), batch)
        # a partner need not be read twice
        source = h.roll(h.shape[1] // 2, 1) if kind == "unigram" else encode(case.source.to(device))
        belongs = _drawn(weights["logits"], generators)
        chosen = move(cases.variables(kind, case.where), device)
        states = _exchange(_orthogonal(weights["skew"]), belongs, h, source, chosen)
        pressure = _pressure(weights["logits"], as_authors == "mean pressure")
        return scores.cross_entropy(model.logits(states, batch), batch) + TOWARDS_NONE * pressure

    def right(edit: Edit, case: Case) -> Bool[Tensor, "M L B"]:
        return scores.repeats(model, case.original, edited(edit, model, case))

    def score(weights: Weights) -> Tensor:
        return scores.token_accuracy(right(_edit(kind, weights), few), few.original)

    identity = {"edit": kind, "task": repr(task), "seeds": seeds} | model.settings
    identity |= ({"misled": True} if misled else {}) | ({"as_authors": as_authors} if as_authors else {})
    identity |= {"of": digest(*model.weights.values(), judged.tokens, judged.lengths)}
    running |= {"identity": identity, "name": f"{kind} edit of {model.hidden} units"}
    if kind == "measured":
        run = untouched(model.models, vars(measured.measure(model, task, stream(0, "measured edit", device))))
    else:
        run = optimise(_start(kind, model, task, generators), loss, score, generators, recipe, **running)
    with torch.no_grad():
        edit = _edit(kind, run.weights)
        found = right(edit, case)
    return LearnedEdit(edit, case, found, scores.exact_match(found), run)


def _start(kind: str, model: TokenNetwork, task: TokenRepeat, generators: Sequence[torch.Generator]) -> Weights:
    """What is learned, as it begins."""
    size, one = model.state_size, model.W_o.new_ones(model.models, model.state_size)
    shape = (size, size) if kind in cases.LINEAR else (model.vocabulary, size)
    normal = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(one)
    if kind == "free scales":
        return {"tokens": normal, "scales": one.new_ones(model.models, model.vocabulary, task.longest)}
    if kind in ("onion", "level onion"):
        powers = {"gamma": 0.9 * one} if kind == "onion" else {}
        return {"tokens": normal, **powers, "beta": one, "scale": one, "offset": 0 * one}
    variables = task.longest - (kind == "bigram")
    return {"skew": normal * size**-0.5, "logits": one.new_zeros(model.models, size, variables + 1)}


def _edit(kind: str, weights: Weights) -> Edit:
    """The edit that the weights make."""
    if kind in ("free scales", "measured"):
        return ScaledEdit(**weights) if kind == "free scales" else MeasuredEdit(**weights)
    if kind in ("onion", "level onion"):
        return OnionEdit(**{"gamma": torch.ones_like(weights["beta"])} | weights)
    chosen, variables = weights["logits"].argmax(2), weights["logits"].shape[2] - 1
    return LinearEdit(kind, _orthogonal(weights["skew"]), torch.where(chosen == variables, -1, chosen), variables)


def _drawn(logits: Tensor, generators: Sequence[torch.Generator]) -> Float[Tensor, "M K n"]:
    """Which coordinate belongs to which variable: Gumbel-softmax, straight through."""
    uniform = torch.stack([torch.rand(logits.shape[1:], generator=g) for g in generators])
    gumbel = -torch.log(-torch.log(move(uniform, logits.device).clamp(1e-10, 1 - 1e-7)))
    soft = torch.softmax(logits + gumbel, dim=2)
    hard = torch.nn.functional.one_hot(soft.argmax(2), logits.shape[2]).to(soft.dtype) + soft - soft.detach()
    return hard[:, :, :-1].mT


def _pressure(logits: Float[Tensor, "M n K"], of_means: bool) -> Float[Tensor, "M"]:
    """What holds coordinates back from variables, the last column being none: how many are expected to belong to one,
    or by how much the mean logit of variables exceeds that of none."""
    if of_means:
        return logits[:, :, :-1].mean((1, 2)) - logits[:, :, -1].mean(1)
    return torch.softmax(logits, 2)[:, :, :-1].sum((1, 2))


def _orthogonal(skew: Tensor) -> Tensor:
    """Cayley's map (1 + A)⁻¹(1 − A) of A = X − Xᵀ: every rotation without an eigenvalue −1."""
    A, one = skew - skew.mT, torch.eye(skew.shape[1], dtype=skew.dtype, device=skew.device)
    return torch.linalg.solve_ex(one + A, one - A).result  # 1 + A is never singular: a GPU need not be asked whether


def _exchange(rotation: Tensor, belongs: Tensor, h: Tensor, source: Tensor, variables: Tensor) -> Tensor:
    chosen = variables.to(h.dtype) @ belongs
    return h + (((source - h) @ rotation.mT) * chosen) @ rotation
