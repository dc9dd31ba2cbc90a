"""Edits that are learned on frozen networks that repeat tokens (arXiv:2408.10920, its interventions).

All ask: from the state of a *corrupted* sequence, change the state so that the *original* is written. :func:`fit`
learns one, :func:`edited` applies it to such a case, :func:`exchange` and :func:`replace_token` to any states.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emt_core.analysis.edits import cases
from emt_core.analysis.edits.basis import random_edit
from emt_core.analysis.edits.cases import KINDS, Case
from emt_core.networks import TokenNetwork
from emt_core.networks.cell import rows
from emt_core.support.checks import integer
from emt_core.support.files import digest
from emt_core.support.random_streams import stream, streams
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.tasks.sequences import move
from emt_core.training import scores
from emt_core.training.until_flat import Optimised, Recipe, Weights, optimise

RECIPE = Recipe(steps=60_000, patience=5, least=10_000)
TOWARDS_NONE = 0.001  # loss per coordinate that a linear edit assigns to a variable


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


def exchange(
    edit: LinearEdit,
    h: Float[Tensor, "M B n"],
    source: Float[Tensor, "M B n"],
    variables: Bool[Tensor, "M B K"],
) -> Float[Tensor, "M B n"]:
    """The states with the chosen variables' coordinates taken from ``source``."""
    if variables.shape[2] != edit.variables:
        raise ValueError(f"variables must have K = {edit.variables} entries on its last axis, got {variables.shape[2]}")
    belongs = edit.assignment[:, None] == torch.arange(edit.variables, device=h.device)[:, None]  # (M, K, N)
    return _exchange(edit.rotation, belongs.to(h.dtype), h, source, variables)


def replace_token(
    edit: OnionEdit,
    h: Float[Tensor, "M B n"],
    position: Int[Tensor, "M B"],
    old: Int[Tensor, "M B"],
    new: Int[Tensor, "M B"],
    length: int | None = None,
) -> Float[Tensor, "M B n"]:
    """The states with token ``new`` instead of ``old`` at ``position``, counted from 0. ``length``: positions are known
    to be below it; without it they are looked at, and a GPU is waited for."""
    if length is None:
        if position.numel() and int(position.min()) < 0:
            raise ValueError(f"position must be at least 0, got {int(position.min())}")
        length = int(position.max()) + 1
    sizes = magnitudes(edit, length)
    change = torch.tanh(rows(edit.tokens, new)) - torch.tanh(rows(edit.tokens, old))
    return h + change * rows(sizes, position)


def magnitudes(edit: OnionEdit, length: int) -> Float[Tensor, "M L n"]:
    """g ⊙ γ^p + β p + b at p = 0 … L − 1: by how much a token's embedding is scaled at each position."""
    at = [edit.scale * edit.gamma**p + edit.beta * p + edit.offset for p in range(integer("length", length, 1))]
    return torch.stack(at, dim=1)


def edited(edit: LinearEdit | OnionEdit, model: TokenNetwork, case: Case) -> Float[Tensor, "M B n"]:
    """The states of the case's corrupted sequences, edited so as to write the original ones."""
    h = model.encode(case.corrupted)
    if isinstance(edit, OnionEdit):
        return replace_token(edit, h, *cases.replacement(case))
    return exchange(edit, h, model.encode(case.source), cases.variables(edit.kind, case.changed))


def controls(
    model: TokenNetwork, case: Case, states: Float[Tensor, "M B n"], generator: torch.Generator
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

    edit: LinearEdit | OnionEdit
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
    checkpoint: str | Path | None = None,
    stop: threading.Event | None = None,
    progress: bool = True,
) -> LearnedEdit:
    """Learn one edit per model of ``model``, which stays as it is; teacher-forced in training, judged by what it then
    writes by itself. ``seeds``: one per model.

    Linear edits are learned and judged on the task's longest sequences, onions on all lengths. Assignments to variables
    are drawn in training (Gumbel-softmax, straight through), the most likely ones are the result.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    seeds = scores.seeds_for(model, task, seeds)
    model, device = model.detach(), model.device  # what comes from torch's modules are parameters
    generators = streams(seeds, f"{kind} edit")  # random numbers are the CPU's on every device
    validation = (task.validation() if validation is None else validation).to("cpu")
    task.check("validation", validation)
    length = None if kind == "onion" else task.longest
    judged = validation if length is None else cases.of_length(validation, length)
    case = cases.corrupt(kind, judged.expand(model.models), model.vocabulary, _fresh(model.models)).to(device)
    few = case
    if length is None:
        some = scores.spread(judged, scores.LOOK)
        few = cases.corrupt(kind, some, model.vocabulary, _fresh(model.models)).to(device)
    start, use, finish = _parts(kind, model, task, generators)
    of = [*model.weights.values(), judged.tokens, judged.lengths]

    def loss(weights: Weights, generators: Sequence[torch.Generator]) -> Tensor:
        batch = task.sample(recipe.batch, generators, validation, length)
        states, pressure = use(weights, cases.corrupt(kind, batch, model.vocabulary, generators), generators)
        batch = batch.to(device)
        return scores.cross_entropy(model.logits(states, batch), batch) + pressure

    def score(weights: Weights) -> Tensor:
        right = scores.repeats(model, few.original, edited(finish(weights), model, few))
        return scores.token_accuracy(right, few.original)

    run = optimise(
        start, loss, score, generators, recipe, checkpoint=checkpoint, stop=stop, progress=progress,
        identity={"edit": kind, "task": repr(task), "seeds": seeds, "of": digest(*of)} | model.settings,
        name=f"{kind} edit of {model.hidden} units",
    )  # fmt: skip
    with torch.no_grad():
        edit = finish(run.weights)
        right = scores.repeats(model, case.original, edited(edit, model, case))
    return LearnedEdit(edit, case, right, scores.exact_match(right), run)


def _fresh(models: int) -> list[torch.Generator]:
    return [stream(0, "cases") for _ in range(models)]


def _parts(
    kind: str, model: TokenNetwork, task: TokenRepeat, generators: Sequence[torch.Generator]
) -> tuple[Weights, Callable, Callable]:
    """What is learned; how it is used in training on a case that lies on the CPU, with the pressure it adds to the
    loss; and the edit it makes."""
    models, size, like, device = model.models, model.state_size, model.W_o, model.device

    def normal(*shape: int) -> Tensor:
        return torch.stack([torch.randn(shape, generator=g) for g in generators]).to(like)

    if kind == "onion":
        one = like.new_ones(models, size)
        start = {
            "tokens": normal(model.vocabulary, size),
            "gamma": 0.9 * one,
            "beta": one,
            "scale": one,
            "offset": 0 * one,
        }

        def use(weights: Weights, case: Case, _) -> tuple[Tensor, float]:
            with torch.no_grad():
                h = model.encode(case.corrupted.to(device))
            position, old, new = (move(x, device) for x in cases.replacement(case))
            return replace_token(OnionEdit(**weights), h, position, old, new, task.longest), 0.0

        return start, use, lambda weights: OnionEdit(**{name: w.detach().clone() for name, w in weights.items()})

    variables = task.longest - (kind == "bigram")
    start = {"skew": normal(size, size) * size**-0.5, "logits": like.new_zeros(models, size, variables + 1)}

    def exchanged(weights: Weights, case: Case, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            h = model.encode(case.corrupted.to(device))
            # a partner need not be read twice
            source = h.roll(h.shape[1] // 2, 1) if kind == "unigram" else model.encode(case.source.to(device))
        shape = weights["logits"].shape[1:]
        uniform = move(torch.stack([torch.rand(shape, generator=g) for g in generators]), device)
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-10, 1 - 1e-7)))
        soft = torch.softmax(weights["logits"] + gumbel, dim=2)
        hard = torch.nn.functional.one_hot(soft.argmax(2), variables + 1).to(soft.dtype) + soft - soft.detach()
        changed = move(cases.variables(kind, case.changed), device)
        states = _exchange(_orthogonal(weights["skew"]), hard[:, :, :variables].mT, h, source, changed)
        return states, TOWARDS_NONE * torch.softmax(weights["logits"], 2)[:, :, :variables].sum((1, 2))

    def finish(weights: Weights) -> LinearEdit:
        chosen = weights["logits"].detach().argmax(2)
        assignment = torch.where(chosen == variables, -1, chosen)
        return LinearEdit(kind, _orthogonal(weights["skew"].detach()), assignment, variables)

    return start, exchanged, finish


def _orthogonal(skew: Tensor) -> Tensor:
    """Cayley's map (1 + A)⁻¹(1 − A) of A = X − Xᵀ: every rotation without an eigenvalue −1."""
    A, one = skew - skew.mT, torch.eye(skew.shape[1], dtype=skew.dtype, device=skew.device)
    return torch.linalg.solve_ex(one + A, one - A).result  # 1 + A is never singular: a GPU need not be asked whether


def _exchange(rotation: Tensor, belongs: Tensor, h: Tensor, source: Tensor, variables: Tensor) -> Tensor:
    chosen = variables.to(h.dtype) @ belongs
    return h + (((source - h) @ rotation.mT) * chosen) @ rotation
