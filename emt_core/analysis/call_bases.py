"""How networks hold bells whose changes are called: Ψ_c, one basis for each change c that was called last.

A network that rings a method by itself keeps the bells in a basis that goes with its clock
(:mod:`emt_core.analysis.phase_bases`). One whose changes are called needs no clock; but where a step moves contents by
opening gates, as :func:`emt_core.theory.ringing.conducted` does, the state that it leaves depends on the gates:

    h = Ψ_c x + k_c,

c the last change, whatever the method and the time. Ψ and k are fitted to states of some runs and judged on others'.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.analysis.phase_bases import Rung, explained, fit, swapped, written
from emt_core.networks import Reader
from emt_core.support.checks import Index, integer
from emt_core.tasks.call_changes import CallChanges, rung
from emt_core.tasks.change_ringing import Change, right_rows

#: states to go on from: what is asked, and its controls
STATES = ("edit", "another change's basis", "random", "nothing", "swapped from the start")
#: pairs of changes, one after the other, and what the state is rewritten as before the second: see :func:`next_rows`
PAIRS = ("met", "never met", "rewritten alike", "rewritten as met", "rewritten as never met")


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
    """All states at rows t ≥ ``first`` whose last change was this one, as one batch."""
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


def how_held(
    fitted: Called, others: Called, task: CallChanges, changes: Sequence[Change], first: Index = 1
) -> dict[str, Float[Tensor, "M"]]:
    """R² on the runs ``others`` of bases that are fitted to ``fitted``, means over changes: of each change's ``own``
    basis, of those of all ``other`` changes, and of ``one`` for all, every one with the constant that fits best."""
    each, one = bases(fitted, task, changes, first), one_basis(fitted, task, changes, first)
    parts = [after(others, change, first) for change in changes]

    def judged(basis: Tensor, part: Rung) -> Tensor:
        return explained(centred(basis, part, task), part, task.signs, 0)

    pairs = [(b, p, i == j) for i, b in enumerate(each) for j, p in enumerate(parts)]
    return {
        "own": torch.stack([judged(b, p) for b, p, same in pairs if same]).mean(0),
        "other": torch.stack([judged(b, p) for b, p, same in pairs if not same]).mean(0),
        "one": torch.stack([judged(one, p) for p in parts]).mean(0),
    }


@torch.no_grad()
def swap_edits(
    network: Reader,
    task: CallChanges,
    fitted: Sequence[Float[Tensor, "M E n"]],
    changes: Sequence[Change],
    run: Called,
    t: Index,
    generator: torch.Generator,
) -> dict[str, Float[Tensor, "M"]]:
    """Swap two bells at row t of the runs, through the basis of the change that was called last, then go on with the
    same calls to the end. Of each of STATES, the share of the rows that follow that are right in every sign, for the
    bells as swapped.

    Raises:
        ValueError: t is not the number of a row after the first that others follow, fewer than two changes, or the last
            change is none of them.
    """
    t, last = integer("t", t, 1), len(run.rows) - 1
    if t >= last or len(changes) < 2:
        raise ValueError(f"t must be below {last} and changes at least two, got {t} and {len(changes)}")
    network, h, row = network.to(torch.float64), run.states[:, t], run.rows[t]
    new = swapped(row, generator)
    x, wanted = (task.signs.encode(rows, torch.float64) for rows in (row, new))
    known = torch.stack([(run.changes[t - 1] == torch.tensor(c)).all(-1) for c in changes])
    if not known.any(0).all():
        raise ValueError(f"changes must have every one that is called before row {t}, got {changes}")
    which = known.int().argmax(0)  # (B,)
    every = torch.stack([(wanted - x) @ basis[:, :-1] for basis in fitted])  # (changes, M, B, n)
    at = torch.arange(len(which))
    edit, other = (every[index, :, at].transpose(0, 1) for index in (which, (which + 1) % len(changes)))
    along = torch.randn(h.shape, generator=generator, dtype=h.dtype)
    source = rung(torch.arange(row.shape[1]).expand_as(row), run.changes[:t])[t]
    begun = torch.empty_like(new).scatter_(1, source, new)
    starts = {
        "edit": h + edit,
        "another change's basis": h + other,
        "random": h + along * (edit.norm(dim=2, keepdim=True) / along.norm(dim=2, keepdim=True)),
        "nothing": h,
        "swapped from the start": ring(network, task, begun, run.changes[:t]).states[:, t],
    }
    right = torch.zeros(len(starts), network.models, dtype=torch.float64)
    states, rows = torch.cat([*starts.values()], 1), rung(new, run.changes[t:])
    for k in range(t + 1, last + 1):
        states = network.step(states, run.inputs[k].repeat(len(starts), 1).expand(network.models, -1, -1))
        said = network.read_out(states).unflatten(1, (len(starts), -1))  # (M, STATES, B, D)
        right += right_rows(said, task.signs.encode(rows[k - t], torch.float64).expand_as(said)).double().mean(2).T
    return dict(zip(starts, right / (last - t), strict=True))


@torch.no_grad()
def next_rows(
    network: Reader,
    task: CallChanges,
    fitted: Sequence[Float[Tensor, "M E n"]],
    changes: Sequence[Change],
    run: Called,
    t: Index,
    met: Collection[tuple[Change, Change]],
) -> dict[str, Float[Tensor, "M"]]:
    """Call each change next, from the states at row t of the runs. Of each of PAIRS, the share of the rows rung that
    are right in every sign; "met" are pairs (last change, next change) that were called in training, the others not.

    The last three are of pairs that never met. Before the next change the state is rewritten as Ψ_c x + k_c, x the row
    that it should hold: with the last change's own Ψ and k; with those of every other change that has met the next one;
    and with those of every other that has not. If a step works between bases, from that of one change to that of the
    next, and was learned for pairs of them, the second sets it right and the others do not. NaN where there are none.
    """
    t, network = integer("t", t, 1), network.to(torch.float64)
    row, each = run.rows[t], [written(basis, task.signs, run.rows[t]) for basis in fitted]
    last = [(run.changes[t - 1] == torch.tensor(c)).all(-1) for c in changes]
    found: dict[str, list[Tensor]] = {name: [row.new_zeros(network.models, 0)] for name in PAIRS}
    for after in changes:
        call = torch.tensor(after).expand_as(row)
        read = task.inputs(row, call[None], torch.float64)[1].expand(network.models, -1, -1)
        wanted = task.signs.encode(rung(row, call[None])[1], torch.float64).expand(network.models, -1, -1)

        def rings(h: Tensor, where: Tensor, read: Tensor = read, wanted: Tensor = wanted) -> Tensor:
            return right_rows(network.read_out(network.step(h, read)), wanted)[:, where]

        for i, (before, where) in enumerate(zip(changes, last, strict=True)):
            known = (before, after) in met
            found["met" if known else "never met"].append(rings(run.states[:, t], where))
            if not known:
                found["rewritten alike"].append(rings(each[i], where))
            for j, other in enumerate(changes):
                if not known and j != i:
                    kind = "met" if (other, after) in met else "never met"
                    found[f"rewritten as {kind}"].append(rings(each[j], where))
    return {name: torch.cat(parts, 1).double().mean(1) for name, parts in found.items()}
