"""Edits of a state, what they should do, and what they did.

First half: edits in a basis of variable memories. The theory (arXiv:2310.02430) says that the state is h = Ψ c + rest
and that only the contents c matter for the output: whoever writes other contents into Ψ changes the future of the
sequence as Φ does. An edit is a function from states (M, B, N) to states; what to compare with is ``task.targets`` of
the edited window of the sequence.

Second half: edits that are learned on a frozen GRU that repeats tokens (arXiv:2408.10920, its interventions). All
ask: from the state of a *corrupted* sequence, change the state so that the *original* is written. :func:`fit` learns
one, :func:`edited` applies it to such a case (:mod:`emt_core.cases`), :func:`exchange` and :func:`replace_token` to
any states.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emt_core import cases, cells, repeat
from emt_core._checks import integer
from emt_core._files import digest
from emt_core.cases import KINDS, Case
from emt_core.cells import GRU, Elman
from emt_core.memories import VariableMemories
from emt_core.optimise import Optimised, Recipe, Weights, optimise
from emt_core.tasks import Sequences, TokenRepeat, VariableBinding, move


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
    h: Float[Tensor, "M B N"],
    memories: VariableMemories,
    values: Float[Tensor, "*#M *#B SD"],
    where: Bool[Tensor, "*#M *#B SD"] | None = None,
) -> Float[Tensor, "M B N"]:
    """The states with contents ``values`` in the memories chosen by ``where`` (all if not given): h + Ψ (values − Ψ*h).

    What lies outside these memories is left as it is. Columns that the basis lacks are not written.
    """
    for name, given in (("values", values), ("where", where)):
        if given is not None and given.shape[-1] != memories.size:
            raise ValueError(f"{name} must have S·D = {memories.size} entries on its last axis, got {given.shape[-1]}")
    change = values.to(h.dtype) - memories.contents(h).to(h.dtype)
    if where is not None:
        change = change * where
    return h + change @ memories.basis[:, :, : memories.size].mT.to(h.dtype)


def flip(h: Float[Tensor, "M B N"], memories: VariableMemories, where: Bool[Tensor, "*#M *#B SD"]) -> Tensor:
    """The states with the sign of the chosen contents turned."""
    return write(h, memories, -memories.contents(h), where)


def erase(h: Float[Tensor, "M B N"], memories: VariableMemories, where: Bool[Tensor, "*#M *#B SD"]) -> Tensor:
    """The states with zero in the chosen memories."""
    return write(h, memories, torch.zeros_like(memories.contents(h)), where)


def swap(h: Float[Tensor, "M B N"], memories: VariableMemories, first: int, second: int) -> Tensor:
    """The states with the contents of two variables exchanged; variables count 1 (oldest) … S (newest).

    Both must have a column in the basis for the same entries: there is nowhere to put what has none.
    """
    history = len({k for kind, k, _ in memories.labels if kind == "memory"})
    for name, k in (("first", first), ("second", second)):
        if integer(name, k, 1) > history:
            raise ValueError(f"{name} must be a variable from 1 to {history}, got {k}")
    kept = memories.kept.view(history, -1).tolist()
    if kept[first - 1] != kept[second - 1]:
        raise ValueError(
            f"second must have the same entries in the basis as first, got {kept[second - 1]}, "
            f"and {kept[first - 1]} for first"
        )
    order = list(range(history))
    order[first - 1], order[second - 1] = order[second - 1], order[first - 1]
    contents = memories.contents(h)
    return write(h, memories, contents.unflatten(-1, (history, -1))[..., order, :].flatten(-2))


def transplant(
    h: Float[Tensor, "M B N"],
    source: VariableMemories,
    target: VariableMemories,
    scale: Float[Tensor, "M SD"] | Float[Tensor, "SD"] | float | int = 1.0,
) -> Float[Tensor, "M B P"]:
    """States of other networks that hold in ``target`` what ``h`` holds in ``source``: Ψ_t (scale Ψ_s*h).

    ``scale`` makes up for another size of contents, number by number. What lies outside the memories is not carried.
    """
    if source.kept.tolist() != target.kept.tolist():
        raise ValueError("target must be a basis for the same task as source, got other columns kept")
    contents = source.contents(h)
    if isinstance(scale, Tensor):
        scale = scale[..., None, :]
    return ((scale * contents) @ target.basis[:, :, : target.size].mT).to(h.dtype)


def random_edit(
    h: Float[Tensor, "M B N"],
    edited: Float[Tensor, "M B N"],
    generator: torch.Generator,
    outside: VariableMemories | None = None,
) -> Float[Tensor, "M B N"]:
    """A control: ``h`` moved as far as ``edited`` is from it, in a uniformly random direction.

    With ``outside`` the direction is orthogonal to all columns of these memories, and changes none of their contents.
    """
    direction = torch.randn(h.shape, generator=generator, dtype=torch.float64, device=generator.device).to(h.device)
    if outside is not None:
        columns, rows = outside.basis[:, :, : outside.size], outside.dual[:, : outside.size]
        span = torch.cat([columns, rows.mT], dim=2)
        used = int(torch.linalg.matrix_rank(span, rtol=1e-9).max())
        if used >= span.shape[1]:
            raise ValueError(
                f"outside must leave directions free, got {used} dimensions of {span.shape[1]} units in use"
            )
        direction = direction - direction @ (span @ torch.linalg.pinv(span, rtol=1e-9)).mT
    size = (edited - h).norm(dim=-1, keepdim=True)
    return h + (direction / direction.norm(dim=-1, keepdim=True)).to(h) * size


def future(model: Elman, h: Float[Tensor, "M B N"], horizon: int) -> Float[Tensor, "M T B D"]:
    """The outputs of the T = ``horizon`` steps after the states ``h``, without input."""
    nothing = h.new_zeros(model.models, 0, h.shape[1], model.dim)
    return cells.rollout(model, nothing, integer("horizon", horizon, 1), h)[1]


@dataclass(frozen=True)
class Agreement:
    """Outputs against a prediction, for each model and sequence: ``signs``, the share of signs that agree; ``exact``,
    whether all do; ``followed``, the share among the signs in which the prediction differs from that for the unedited
    state (NaN where it does not differ)."""

    signs: Float[Tensor, "M B"]
    exact: Bool[Tensor, "M B"]
    followed: Float[Tensor, "M B"]


def agreement(
    outputs: Float[Tensor, "M T B D"],
    predicted: Float[Tensor, "*#M T B D"],
    unedited: Float[Tensor, "*#M T B D"] | None = None,
) -> Agreement:
    """Compare signs over all T steps; an output of exactly zero agrees with nothing."""
    right = outputs * predicted > 0
    changed = torch.ones_like(right) if unedited is None else (predicted * unedited < 0).expand_as(right)
    count = changed.sum((1, 3))
    followed = (right & changed).sum((1, 3)).double() / count
    return Agreement(right.double().mean((1, 3)), right.all(3).all(1), followed)


# --- learned edits of a GRU that repeats tokens -----------------------------------------------------------------------

RECIPE = Recipe(steps=60_000, patience=5, least=10_000)
TOWARDS_NONE = 0.001  # loss per coordinate that a linear edit assigns to a variable


@dataclass(frozen=True)
class LinearEdit:
    """The hypothesis that variables lie in subspaces: new coordinates R h, R orthogonal, each of which belongs to one
    of K variables, or to none (−1). ``kind`` "unigram": variable k is the token at position k; "bigram": the tokens at
    k and k + 1."""

    kind: str
    rotation: Float[Tensor, "M N N"]
    assignment: Int[Tensor, "M N"]
    variables: int


@dataclass(frozen=True)
class OnionEdit:
    """The hypothesis that a position is a magnitude: token v at position p, from 0, adds
    tanh(e_v) ⊙ (g ⊙ γ^p + β p + b) to the state. ``tokens`` are the e, ``scale`` is g, ``offset`` is b."""

    tokens: Float[Tensor, "M V N"]
    gamma: Float[Tensor, "M N"]
    beta: Float[Tensor, "M N"]
    scale: Float[Tensor, "M N"]
    offset: Float[Tensor, "M N"]


def exchange(
    edit: LinearEdit,
    h: Float[Tensor, "M B N"],
    source: Float[Tensor, "M B N"],
    variables: Bool[Tensor, "M B K"],
) -> Float[Tensor, "M B N"]:
    """The states with the chosen variables' coordinates taken from ``source``."""
    if variables.shape[2] != edit.variables:
        raise ValueError(f"variables must have K = {edit.variables} entries on its last axis, got {variables.shape[2]}")
    belongs = edit.assignment[:, None] == torch.arange(edit.variables, device=h.device)[:, None]  # (M, K, N)
    return _exchange(edit.rotation, belongs.to(h.dtype), h, source, variables)


def replace_token(
    edit: OnionEdit,
    h: Float[Tensor, "M B N"],
    position: Int[Tensor, "M B"],
    old: Int[Tensor, "M B"],
    new: Int[Tensor, "M B"],
    length: int | None = None,
) -> Float[Tensor, "M B N"]:
    """The states with token ``new`` instead of ``old`` at ``position``, counted from 0. ``length``: positions are known
    to be below it; without it they are looked at, and a GPU is waited for."""
    if length is None:
        if position.numel() and int(position.min()) < 0:
            raise ValueError(f"position must be at least 0, got {int(position.min())}")
        length = int(position.max()) + 1
    sizes = magnitudes(edit, length)
    change = torch.tanh(rows(edit.tokens, new)) - torch.tanh(rows(edit.tokens, old))
    return h + change * rows(sizes, position)


def magnitudes(edit: OnionEdit, length: int) -> Float[Tensor, "M L N"]:
    """g ⊙ γ^p + β p + b at p = 0 … L − 1: by how much a token's embedding is scaled at each position."""
    at = [edit.scale * edit.gamma**p + edit.beta * p + edit.offset for p in range(integer("length", length, 1))]
    return torch.stack(at, dim=1)


def edited(edit: LinearEdit | OnionEdit, model: GRU, case: Case) -> Float[Tensor, "M B N"]:
    """The states of the case's corrupted sequences, edited so as to write the original ones."""
    h = cells.encode(model, case.corrupted)
    if isinstance(edit, OnionEdit):
        return replace_token(edit, h, *cases.replacement(case))
    return exchange(edit, h, cells.encode(model, case.source), cases.variables(edit.kind, case.changed))


def controls(
    model: GRU, case: Case, states: Float[Tensor, "M B N"], generator: torch.Generator
) -> dict[str, Bool[Tensor, "M L B"]]:
    """Which of the original's tokens are written from other states than the edited ones, ``states``: "no edit", a
    "random" edit of equal norm in each state, and the "oracle", the state of the original itself."""
    h = cells.encode(model, case.corrupted)
    others = {"no edit": h, "random": random_edit(h, states, generator), "oracle": cells.encode(model, case.original)}
    return {name: repeat.repeats(model, case.original, state) for name, state in others.items()}


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
    model: GRU,
    task: TokenRepeat,
    *,
    seeds: Sequence[int],
    recipe: Recipe = RECIPE,
    validation: Sequences | None = None,
    checkpoint: Path | None = None,
    stop: threading.Event | None = None,
    progress: bool = True,
) -> LearnedEdit:
    """Learn one edit per model of ``model``, which stays as it is; teacher-forced in training, judged by what the GRU
    then writes by itself. ``seeds``: one per model.

    Linear edits are learned and judged on the task's longest sequences, onions on all lengths. Assignments to variables
    are drawn in training (Gumbel-softmax, straight through), the most likely ones are the result.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    seeds = repeat.seeds_for(model, task, seeds)
    model = replace(model, **{name: w.detach() for name, w in model.weights.items()})  # gru_of's are parameters
    device = model.W_o.device
    generators = [torch.Generator().manual_seed(s) for s in seeds]  # random numbers are the CPU's on every device
    validation = (task.validation() if validation is None else validation).to("cpu")
    length = None if kind == "onion" else task.longest
    judged = validation if length is None else cases.of_length(validation, length)
    case = cases.corrupt(kind, judged.expand(model.models), model.vocabulary, _fresh(model.models)).to(device)
    few = case
    if length is None:
        some = repeat.spread(judged, repeat.LOOK)
        few = cases.corrupt(kind, some, model.vocabulary, _fresh(model.models)).to(device)
    start, use, finish = _parts(kind, model, task, generators)
    of = [*model.weights.values(), judged.tokens, judged.lengths]

    def loss(weights: Weights, generators: Sequence[torch.Generator]) -> Tensor:
        batch = task.sample(recipe.batch, generators, validation, length)
        states, pressure = use(weights, cases.corrupt(kind, batch, model.vocabulary, generators), generators)
        batch = batch.to(device)
        return repeat.cross_entropy(cells.logits(model, states, batch), batch) + pressure

    def score(weights: Weights) -> Tensor:
        right = repeat.repeats(model, few.original, edited(finish(weights), model, few))
        return repeat.token_accuracy(right, few.original)

    run = optimise(
        start, loss, score, generators, recipe, checkpoint=checkpoint, stop=stop, progress=progress,
        identity=f"{kind} {task} {seeds} {recipe} {model.autoregressive} {digest(*of)}",
        name=f"{kind} edit of N = {model.hidden}",
    )  # fmt: skip
    with torch.no_grad():
        edit = finish(run.weights)
        right = repeat.repeats(model, case.original, edited(edit, model, case))
    return LearnedEdit(edit, case, right, right.all(1).double().mean(1).cpu(), run)


def _fresh(models: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(0) for _ in range(models)]


def _parts(
    kind: str, model: GRU, task: TokenRepeat, generators: Sequence[torch.Generator]
) -> tuple[Weights, Callable, Callable]:
    """What is learned; how it is used in training on a case that lies on the CPU, with the pressure it adds to the
    loss; and the edit it makes."""
    models, hidden, like, device = model.models, model.hidden, model.W_o, model.W_o.device

    def normal(*shape: int) -> Tensor:
        return torch.stack([torch.randn(shape, generator=g) for g in generators]).to(like)

    if kind == "onion":
        one = like.new_ones(models, hidden)
        start = {
            "tokens": normal(model.vocabulary, hidden),
            "gamma": 0.9 * one,
            "beta": one,
            "scale": one,
            "offset": 0 * one,
        }

        def use(weights: Weights, case: Case, _) -> tuple[Tensor, float]:
            with torch.no_grad():
                h = cells.encode(model, case.corrupted.to(device))
            which = [move(x, device) for x in cases.replacement(case)]
            return replace_token(OnionEdit(**weights), h, *which, length=task.longest), 0.0

        return start, use, lambda weights: OnionEdit(**{name: w.detach().clone() for name, w in weights.items()})

    variables = task.longest - (kind == "bigram")
    start = {"skew": normal(hidden, hidden) * hidden**-0.5, "logits": like.new_zeros(models, hidden, variables + 1)}

    def use(weights: Weights, case: Case, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            h = cells.encode(model, case.corrupted.to(device))
            # a partner need not be read twice
            source = h.roll(h.shape[1] // 2, 1) if kind == "unigram" else cells.encode(model, case.source.to(device))
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

    return start, use, finish


def _orthogonal(skew: Tensor) -> Tensor:
    """Cayley's map (1 + A)⁻¹(1 − A) of A = X − Xᵀ: every rotation without an eigenvalue −1."""
    A, one = skew - skew.mT, torch.eye(skew.shape[1], dtype=skew.dtype, device=skew.device)
    return torch.linalg.solve_ex(one + A, one - A).result  # 1 + A is never singular: a GPU need not be asked whether


def _exchange(rotation: Tensor, belongs: Tensor, h: Tensor, source: Tensor, variables: Tensor) -> Tensor:
    chosen = variables.to(h.dtype) @ belongs
    return h + (((source - h) @ rotation.mT) * chosen) @ rotation


def rows(table: Float[Tensor, "M K N"], chosen: Int[Tensor, "M B"]) -> Float[Tensor, "M B N"]:
    """Rows of each model's table."""
    return torch.stack([rows[i] for rows, i in zip(table, chosen, strict=True)])
