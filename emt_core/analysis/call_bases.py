"""How networks hold bells whose changes are called: Ψ_c, one basis for each change c that was called last.

A network that rings a method by itself keeps the bells in a basis that goes with its clock
(:mod:`emt_core.analysis.phase_bases`). One whose changes are called needs no clock; but where a step moves contents by
opening gates, as :func:`emt_core.theory.ringing.conducted` does, the state that it leaves depends on the gates:

    h = Ψ_c x + k_c,

c the last change, whatever the method and the time. Ψ and k are fitted to states of some runs and judged on others'. A
state may also depend on changes before the last one (:func:`by_history`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.analysis.edits import random_edit
from emt_core.analysis.phase_bases import Rung, explained, fit, swapped
from emt_core.networks import Reader
from emt_core.support.checks import Index, integer
from emt_core.tasks.call_changes import CallChanges, rung
from emt_core.tasks.change_ringing import Change, right_rows

#: states to go on from: what is asked, and its controls
STATES = ("edit", "another change's basis", "random", "nothing", "swapped from the start")
#: what is done with a state before the next change is called, see :func:`next_rows`
REWRITTEN = ("as it is", "alike", "as met", "as never met", "directions as met", "constant as met")

Bases = Sequence[Float[Tensor, "M E n"]]  #: Ψᵀ, and below it k, of each change


@dataclass(frozen=True)
class Called:
    """Runs of M networks over B sequences: what they read (``inputs``), the ``states`` after it, the ``rows`` that
    these should hold, and the ``changes`` that were called, change k before row k + 1."""

    inputs: Float[Tensor, "T B I"]
    states: Float[Tensor, "M T B n"]
    rows: Int[Tensor, "T B bells"]
    changes: Int[Tensor, "K B bells"]


@torch.no_grad()
def ring(network: Reader, task: CallChanges, starts: Int[Tensor, "B n"], changes: Int[Tensor, "K B n"]) -> Called:
    """Hear the rows ``starts``, then be called the changes; in float64."""
    inputs = task.inputs(starts, changes, torch.float64)
    return Called(inputs, network.to(torch.float64).trajectory(inputs[None]), rung(starts, changes), changes)


def right(network: Reader, task: CallChanges, run: Called) -> Float[Tensor, "M K"]:
    """The share of the runs that are right in every sign, row by row from row 1 on."""
    said = network.to(torch.float64).read_out(run.states[:, 1:])
    return right_rows(said, task.signs.encode(run.rows[1:], torch.float64).expand_as(said)).double().mean(2)


def after(run: Called, change: Change, first: Index = 1) -> Rung:
    """All states at rows t ≥ ``first`` whose last change was this one, as one batch.

    Raises:
        ValueError: there are none. So do all functions that fit to them.
    """
    first = integer("first", first, 1)
    here = (run.changes[first - 1 :] == torch.tensor(change)).all(-1)  # (rows, B)
    if not here.any():
        raise ValueError(f"change must be called after row {first - 1} of these runs, got {change}")
    return Rung(run.states[:, first:][:, here][:, None], run.rows[first:][here][None])


def bases(run: Called, task: CallChanges, changes: Sequence[Change], first: Index = 1) -> list[Float[Tensor, "M E n"]]:
    """Ψ_cᵀ, and below it k_c, of each change, as :func:`emt_core.analysis.phase_bases.fit` has them."""
    return [fit(after(run, change, first), task.signs, 0) for change in changes]


def centred(basis: Float[Tensor, "M E n"], states: Rung, task: CallChanges) -> Float[Tensor, "M E n"]:
    """The same Ψ with the constant that fits these states best: judged so, a Ψ is not blamed for its constant."""
    x, h = task.signs.encode(states.rows[0], torch.float64), states.states[:, 0]
    return torch.cat([basis[:, :-1], h.mean(1, keepdim=True) - x.mean(0) @ basis[:, None, :-1]], 1)


def one_basis(run: Called, task: CallChanges, changes: Sequence[Change], first: Index = 1) -> Float[Tensor, "M E n"]:
    """One Ψᵀ for all changes, each of which adds a constant of its own to the state: fitted to states and rows less
    their means after each change. The last row, the constant, is zero: see :func:`centred`."""
    parts = [after(run, change, first) for change in changes]
    h = torch.cat([p.states[:, 0] - p.states[:, 0].mean(1, keepdim=True) for p in parts], 1)
    signs = [task.signs.encode(p.rows[0], torch.float64) for p in parts]
    x = torch.cat([each - each.mean(0) for each in signs])
    basis = torch.linalg.lstsq(x.expand(len(h), -1, -1), h, driver="gelsd").solution
    return torch.nn.functional.pad(basis, (0, 0, 0, 1))


def shared(
    fitted: Called, others: Called, task: CallChanges, changes: Sequence[Change], first: Index = 1
) -> dict[str, Float[Tensor, "M"]]:
    """How much changes share: R² on the runs ``others`` of bases that are fitted to ``fitted``, means over at least two
    changes, of the ``other`` change's basis that serves best, and of ``one`` for all; both with the constants that fit
    the judged states best. A change's own basis is that of :func:`by_history` with depth 1."""
    each, one = bases(fitted, task, changes, first), one_basis(fitted, task, changes, first)
    parts = [after(others, change, first) for change in changes]

    def judged(basis: Tensor, part: Rung) -> Tensor:
        return explained(centred(basis, part, task), part, task.signs, 0)

    other = [
        torch.stack([judged(basis, part) for i, basis in enumerate(each) if i != j]).amax(0)
        for j, part in enumerate(parts)
    ]
    found = {"other": other, "one": [judged(one, part) for part in parts]}
    return {name: torch.stack(values).mean(0) for name, values in found.items()}


def by_history(
    fitted: Called, others: Called, task: CallChanges, depth: Index, first: Index = 1, least: Index = 50
) -> tuple[Float[Tensor, "M"], float]:
    """R² on ``others`` of a basis for each history, the last ``depth`` changes in their order, a mean over histories;
    and the share of these states that it covers: histories that came fewer than ``least`` times in either are left out.

    Raises:
        ValueError: ``first`` is below ``depth``, or no history came so often.
    """
    depth, first, least = integer("depth", depth, 1), integer("first", first, 1), integer("least", least, 2)
    if first < depth:
        raise ValueError(f"first must be at least depth = {depth}, got {first}")
    known, judged = (_histories(run, depth, first) for run in (fitted, others))
    often = [h for h in judged if h in known and min(_count(known[h]), _count(judged[h])) >= least]
    if not often:
        raise ValueError(f"least must be met by some history of {depth} changes, got {least}")
    values = [explained(fit(known[h], task.signs, 0), judged[h], task.signs, 0) for h in often]
    covered, everyone = (sum(_count(judged[h]) for h in some) for some in (often, judged))
    return torch.stack(values).mean(0), covered / everyone


def _histories(run: Called, depth: int, first: int) -> dict[tuple[int, ...], Rung]:
    """States at rows from ``first`` on by their last ``depth`` changes, the very last one first, as one batch each."""
    steps = len(run.rows) - first
    last = torch.cat([run.changes[first - 1 - k :][:steps] for k in range(depth)], -1)  # (rows, B, depth · bells)
    found, which = last.flatten(0, 1).unique(dim=0, return_inverse=True)
    states, rows = run.states[:, first:].flatten(1, 2), run.rows[first:].flatten(0, 1)
    each = [which == i for i in range(len(found))]
    return {tuple(h): Rung(states[:, at][:, None], rows[at][None]) for h, at in zip(found.tolist(), each, strict=True)}


def _count(states: Rung) -> int:
    return states.rows.shape[1]


@torch.no_grad()
def swap_edits(
    network: Reader,
    task: CallChanges,
    fitted: Bases,
    changes: Sequence[Change],
    run: Called,
    t: Index,
    count: Index,
    generator: torch.Generator,
) -> dict[str, Float[Tensor, "M"]]:
    """Swap two bells at row t of the runs, through the basis of the change that was called last, then go on with the
    same calls. Of each of STATES, the share of the ``count`` rows that follow that are right in every sign, for the
    bells as swapped.

    The basis of another change, drawn at random, is no control of every mechanism: if all are read in one way, as in
    :func:`emt_core.theory.ringing.conducted`, it serves as well.

    Raises:
        ValueError: row t + count is none of the runs, fewer than two changes, or the last change is none of them.
    """
    count = integer("count", count, 1)
    which = _last(run, changes, t, count)
    network, h, row = network.to(torch.float64), run.states[:, t], run.rows[t]
    new = swapped(row, generator)
    x, wanted = (task.signs.encode(rows, torch.float64) for rows in (row, new))
    every = torch.stack([(wanted - x) @ basis[:, :-1] for basis in fitted])  # (changes, M, B, n)
    wrong = (which + torch.randint(1, len(changes), which.shape, generator=generator)) % len(changes)
    at = torch.arange(len(which))
    edit, other = (every[index, :, at].transpose(0, 1) for index in (which, wrong))
    source = rung(torch.arange(row.shape[1]).expand_as(row), run.changes[:t])[t]
    begun = torch.empty_like(new).scatter_(1, source, new)
    starts = {
        "edit": h + edit,
        "another change's basis": h + other,
        "random": random_edit(h, h + edit, generator),
        "nothing": h,
        "swapped from the start": ring(network, task, begun, run.changes[:t]).states[:, t],
    }
    shares = torch.zeros(len(starts), network.models, dtype=torch.float64)
    states, rows = torch.cat([*starts.values()], 1), rung(new, run.changes[t : t + count])
    for k in range(1, count + 1):
        states = network.step(states, run.inputs[t + k].repeat(len(starts), 1).expand(network.models, -1, -1))
        said = network.read_out(states).unflatten(1, (len(starts), -1))  # (M, STATES, B, D)
        shares += right_rows(said, task.signs.encode(rows[k], torch.float64).expand_as(said)).double().mean(2).T
    return dict(zip(starts, shares / count, strict=True))


@torch.no_grad()
def next_rows(
    network: Reader,
    task: CallChanges,
    fitted: Bases,
    changes: Sequence[Change],
    run: Called,
    t: Index,
    met: Collection[tuple[Change, ...]],
) -> tuple[dict[str, Float[Tensor, "C C"]], Int[Tensor, "C C"]]:
    """Call each change next, from the states at row t of one network's runs, of those only that are right there. For
    each pair (last change, next change) the share of the rows rung that are right in every sign, NaN where there is
    none, for each of REWRITTEN; and how many states each share is of. Pairs in ``met`` were called in training.

    Before the next change the state is rewritten as Ψ x + k, x the row that it holds: "alike" with the last change's
    own Ψ and k, which should change little; "as met" with those of every other change that has met the next one, and
    "as never met" with those of every other that has not (means over these); and with Ψ alone, or k alone, of the
    former. If a step works from the basis of one change to that of the next, and was learned for pairs of them, "as
    met" is right after any change.

    Raises:
        ValueError: more networks than one, row t is none of the runs, or the last change is none of ``changes``.
    """
    if network.models != 1:
        raise ValueError(f"network must be one network, got {network.models}")
    which = _last(run, changes, t, 0)
    network, row, h = network.to(torch.float64), run.rows[t], run.states[0, t]
    sure = right_rows(network.read_out(run.states[:, t])[0], task.signs.encode(row, torch.float64))
    C, B = len(changes), len(row)
    psi, k = (torch.cat([basis[:, part] for basis in fitted]) for part in (slice(-1), slice(-1, None)))
    held = task.signs.encode(row, torch.float64) @ psi  # (C, B, n): Ψ_c x
    mine = torch.arange(B)
    states = torch.cat([h[None], held + k, held + k[which].transpose(0, 1), held[which, mine] + k])
    shares = {name: torch.full((C, C), torch.nan, dtype=torch.float64) for name in REWRITTEN}
    cases = torch.stack([(sure & (which == i)).sum() for i in range(C)])[:, None].expand(-1, C)
    for j, then in enumerate(changes):
        call = torch.tensor(then).expand_as(row)
        read = task.inputs(row, call[None], torch.float64)[1].repeat(len(states), 1)[None]
        said = network.read_out(network.step(states.flatten(0, 1)[None], read))[0].unflatten(0, (-1, B))
        hits = right_rows(said, task.signs.encode(row.gather(1, call), torch.float64).expand_as(said)).double()
        own, whole, directions, constants = hits.split([1, C, C, C])
        friend = torch.tensor([(change, then) in met for change in changes])
        for i in range(C):
            here, other = sure & (which == i), torch.arange(C) != i
            if here.any():
                shares["as it is"][i, j] = own[0, here].mean()
                shares["alike"][i, j] = whole[i, here].mean()
                shares["as met"][i, j] = whole[friend & other][:, here].mean()
                shares["as never met"][i, j] = whole[~friend & other][:, here].mean()
                shares["directions as met"][i, j] = directions[friend & other][:, here].mean()
                shares["constant as met"][i, j] = constants[friend & other][:, here].mean()
    return shares, cases


def _last(run: Called, changes: Sequence[Change], t: Index, more: int) -> Int[Tensor, "B"]:
    """Which of the changes was called before row t, of runs that have ``more`` rows after it."""
    t, last = integer("t", t, 1), len(run.rows) - 1
    if t + more > last or len(changes) < 2:
        raise ValueError(f"t must be at most {last - more} and changes at least two, got {t} and {len(changes)}")
    known = torch.stack([(run.changes[t - 1] == torch.tensor(c)).all(-1) for c in changes])
    if not known.any(0).all():
        raise ValueError(f"changes must have every one that is called before row {t}, got {changes}")
    return known.int().argmax(0)
