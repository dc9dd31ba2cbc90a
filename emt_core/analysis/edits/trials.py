"""Trials of edits: networks in the middle of writing, changes drawn for them, and whether the predicted future came.

A trial has parts that can be replaced one by one: which networks at which time (:func:`running`), what is changed
(:func:`changes`), the basis it is written in, and what is done instead (``instead``: a control, or a step on the way
from a state to the edited one). :meth:`Running.judged` compares any states with any predicted window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emt_core.analysis.edits.basis import (
    Agreement,
    States,
    agreement,
    as_far,
    continuation,
    flip,
    future,
    window,
    write,
)  # fmt: skip
from emt_core.analysis.memories import VariableMemories
from emt_core.networks import VectorNetwork
from emt_core.support.checks import integer
from emt_core.tasks import VariableBinding
from emt_core.tasks.sequences import Generators
from emt_core.theory import circuit

KINDS = ("one entry", "one variable", "all")  #: the kinds of changes, in the order in which they are drawn

#: Another way to move states, a function of the states, the edited states and a generator, as
#: :func:`~emt_core.analysis.edits.basis.random_edit` is
Instead = Callable[[States, States, torch.Generator], States]


@dataclass(frozen=True)
class Running:
    """Networks that have read sequences and written for a while: their states ``h`` and ``held``, what their memories
    should hold then (the last S vectors, oldest first)."""

    task: VariableBinding
    model: VectorNetwork
    h: States
    held: Float[Tensor, "M B SD"]

    def judged(
        self,
        edited: States,
        new: Float[Tensor, "M B SD"],
        horizon: int,
        after: int = 0,
        model: VectorNetwork | None = None,
    ) -> Agreement:
        """What is written from the states ``edited``, against the future of a sequence whose last S vectors are
        ``new``: ``horizon`` steps, of which the first comes ``after`` others that are not looked at. With ``model``
        other networks run on than these."""
        steps = integer("horizon", horizon, 1) + integer("after", after, 0)
        written = future(self.model if model is None else model, edited, steps)
        wanted, unedited = (continuation(self.task, window, steps) for window in (new, self.held))
        return agreement(written[:, after:], wanted[:, after:], unedited[:, after:])


def running(
    task: VariableBinding, model: VectorNetwork, settle: int, sequences: int, generators: Generators
) -> Running:
    """Networks that have read ``sequences`` random sequences each and written ``settle`` steps; network m draws its
    sequences from ``generators[m]``."""
    return reading(task, model, settle, task.inputs(sequences, generators, model.W_r.dtype))


def reading(task: VariableBinding, model: VectorNetwork, settle: int, inputs: Float[Tensor, "M S B D"]) -> Running:
    """Networks that have read these ``inputs`` and written ``settle`` steps."""
    states, _ = model.rollout(inputs, settle)
    sequence = torch.cat([inputs, task.targets(inputs, settle + 1)], dim=1)
    return Running(task, model, states[:, -1], window(sequence, task.history, task.history + settle))


def counterfactual(run: Running, where: Bool[Tensor, "M B SD"], settle: int, generators: Generators) -> Running:
    """The same networks after sequences whose windows differ from those of ``run`` in the entries ``where``, and in
    all that copy the same input: what an edit of these entries imitates.

    ``run`` must be :func:`running` with the same ``settle`` and equal ``generators``, which draw its inputs again.
    """
    task, (_, batch, size) = run.task, run.held.shape
    read = task.inputs(batch, generators, run.held.dtype)
    units = torch.eye(size, dtype=read.dtype).view(1, size, task.history, task.dim).transpose(1, 2)
    sequence = torch.cat([units, task.targets(units, settle + 1)], dim=1)
    reached = window(sequence, task.history, task.history + settle)[0].abs()  # row: an input; column: where it is now
    turned = (where.to(reached) @ reached.mT > 0).unflatten(2, (task.history, task.dim)).transpose(1, 2)
    return reading(task, run.model, settle, torch.where(turned, -read, read))


class Change(NamedTuple):
    """Which contents are replaced, and the signs of the window after that; contents that are not keep theirs."""

    where: Bool[Tensor, "M B SD"]
    new: Float[Tensor, "M B SD"]


def changes(run: Running, generator: torch.Generator) -> dict[str, Change]:
    """For each sequence a change of each kind, among the entries that lie on cycles: the sign of **one entry** turned,
    all entries of **one variable** given random signs (those of the variable in which that entry lies), or **all**."""
    held, kept = run.held, circuit.on_cycle(run.task)
    drawn = torch.randint(int(kept.sum()), held.shape[:2], generator=generator)
    entry = kept.nonzero()[drawn, 0]
    single = torch.nn.functional.one_hot(entry, len(kept)).bool()
    variable = (entry // run.task.dim)[..., None] == torch.arange(len(kept)) // run.task.dim
    signs = 2.0 * torch.randint(2, held.shape, generator=generator) - 1
    return {
        "one entry": Change(single, torch.where(single, -held, held)),
        "one variable": Change(variable & kept, torch.where(variable & kept, signs, held)),
        "all": Change(kept.expand_as(held), torch.where(kept, signs, held)),
    }


def outcomes(
    run: Running,
    memories: VariableMemories,
    generator: torch.Generator,
    horizon: int,
    *,
    after: int = 0,
    kinds: Iterable[str] = KINDS,
    instead: Instead | None = None,
) -> dict[str, Agreement]:
    """How each kind of change comes out when it is written into ``memories`` of the running networks.

    New contents get the mean modulus that the content has over the batch. ``horizon`` and ``after`` are those of
    :meth:`Running.judged`. ``instead`` moves the states in another way; it is judged by what the edit should have done.
    The same ``generator`` draws the changes and what ``instead`` draws, so that two calls with generators of one seed
    make the same changes.
    """
    kinds = tuple(kinds)
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"kinds must be among {KINDS}, got {unknown}")
    drawn, found = changes(run, generator), {}
    size = memories.contents(run.h).abs().mean(1, keepdim=True)
    for kind in kinds:
        where, new = drawn[kind]
        edited = write(run.h, memories, size * new, where)
        if instead is not None:
            edited = instead(run.h, edited, generator)
        found[kind] = run.judged(edited, new, horizon, after)
    return found


def unedited(run: Running, horizon: int) -> Agreement:
    """Whether the networks left alone write what they should: no edit can do better than that."""
    return run.judged(run.h, run.held, horizon)


# --- in a basis that was fitted to states -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """Edits in a fitted basis: how they came out; ``explained`` (M,), R² of the fit on the edited states; and whether
    all entries of the window are copies of entries on cycles, which the prediction takes for granted (``complete``)."""

    outcome: Agreement
    explained: Float[Tensor, "M"]
    complete: bool


def fitted_outcome(
    run: Running,
    memories: VariableMemories,
    generator: torch.Generator,
    horizon: int,
    *,
    wrong: VariableMemories | None = None,
) -> Fitted:
    """How changes of one entry come out in ``memories`` that :func:`emt_core.analysis.memories.fitted_memories` fitted
    to other sequences; their contents are near ±1 and are turned. With ``wrong`` the contents of that basis are turned
    instead, by a move of the same length: a control, judged by what the edit should have done.

    From S·D output steps on, every slot of the window, also one off the cycles, holds plus or minus a value that lives
    on a cycle. The fit gives both slots one direction, so an edit changes both, and so does the prediction.
    """
    kept = circuit.on_cycle(run.task)
    rest = run.h - run.held[:, :, kept].double() @ memories.basis[:, :, : memories.size][:, :, kept].mT
    explained = 1 - rest.square().sum((1, 2)) / run.h.square().sum((1, 2))
    where, new = changes(run, generator)["one entry"]
    new, complete = with_copies(run.held, new, kept)
    edited = flip(run.h, memories, where)
    if wrong is not None:
        edited = as_far(run.h, edited, flip(run.h, wrong, where))
    return Fitted(run.judged(edited, new, horizon), explained, complete)


def with_copies(
    held: Float[Tensor, "M B SD"], new: Float[Tensor, "M B SD"], kept: Bool[Tensor, "SD"]
) -> tuple[Float[Tensor, "M B SD"], bool]:
    """The window ``new`` in which what copied a ``kept`` entry of ``held`` copies it still, and whether every entry of
    ``held`` is such a copy."""
    source = copies(held, kept)
    return new[:, :, kept] @ source.to(new), bool((source != 0).any(0).all())


def copies(held: Float[Tensor, "M B SD"], kept: Bool[Tensor, "SD"]) -> Float[Tensor, "C SD"]:
    """For each entry of the signs ``held`` which of the C ``kept`` ones it copies, +1, or has the opposite sign of, −1,
    in all sequences of all networks. A column of zeros: of none."""
    signs = held.flatten(0, 1).double()
    together = signs[:, kept].mT @ signs  # sums of ±1: exact
    source = torch.where(together.abs() == len(signs), together.sign(), 0.0)
    source = source * ((source != 0).cumsum(0) == 1)  # two kept entries may agree by chance: the first
    source[:, kept] = torch.eye(len(source), dtype=source.dtype)
    return source


# --- two sequences in one state ---------------------------------------------------------------------------------------


def superposed(run: Running, scale: float | int, rounds: int = 1) -> tuple[Float[Tensor, "M"], Float[Tensor, "M"]]:
    """Run on from ``scale`` times the sum of two states, those of sequences 2b and 2b + 1, and look at the last S of
    ``rounds`` · S outputs. Per network: the mean modulus where the two sequences differ over that where they agree (0
    in a linear network), and the share of right signs where they agree."""
    if run.h.shape[1] % 2:
        raise ValueError(f"run must hold an even number of sequences, got {run.h.shape[1]}")
    history, steps = run.task.history, integer("rounds", rounds, 1) * run.task.history
    written = future(run.model, scale * (run.h[:, ::2] + run.h[:, 1::2]), steps)[:, -history:]
    a, b = (continuation(run.task, run.held[:, first::2], steps)[:, -history:] for first in (0, 1))
    agree = a == b

    def mean(x: Tensor, chosen: Tensor) -> Tensor:
        return (x.double() * chosen).sum((1, 2, 3)) / chosen.sum((1, 2, 3))

    modulus = written.abs()
    return mean(modulus, ~agree) / mean(modulus, agree), mean((written * a > 0).double(), agree)
