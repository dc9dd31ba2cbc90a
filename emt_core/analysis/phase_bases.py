"""Bells held in variables whose basis goes with the clock: Ψ_t by least squares, what it explains, and two bells
swapped by an edit.

At row t of a method the state of a network that holds its bells linearly is

    h(t) = Ψ_t x(t) + c_t,

x(t) the row's signs, and Ψ_t the same again P changes later, P the changes of a lead. In the circuit
e_t ⊗ x, Ψ_t = e_t ⊗ I. Here Ψ_t and c_t are fitted to states at row t of runs from some starts, and judged on states of
runs from others. An edit writes another row x': h + Ψ_t (x' − x). It is compared with the same edit through the basis
of another phase, with a random change of equal size, with no edit, and with the state of a run in which the bells were
swapped from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.analysis.edits import random_edit
from emt_core.networks import VectorNetwork
from emt_core.support.checks import Index, integer, number
from emt_core.tasks.change_ringing import Change, ChangeRinging, right_rows

#: states to go on from: what is asked, and its controls; ``written`` is Ψ_t x' + c_t, all of the state
STATES = ("edit", "other phase", "random", "nothing", "written", "swapped from the start")
LATER = 3  # changes between the phase of an edit and that of its control


@dataclass(frozen=True)
class Rung:
    """Runs of M networks from B rows: ``states`` at row t = 0 … T − 1, and the ``rows`` that they should hold."""

    states: Float[Tensor, "M T B n"]
    rows: Int[Tensor, "T B bells"]


def ring(network: VectorNetwork, task: ChangeRinging, starts: Sequence[Change], count: Index) -> Rung:
    """Read each of ``starts``, then ring on: T = ``count`` rows in all, in float64.

    Raises:
        ValueError: no starts, a task of more than one method or phase to begin with, or one that hears several rows.
    """
    if len(task.ways) != 1 or task.heard != 1:
        raise ValueError(f"task must be one method, one row heard, got {len(task.ways)} ways and {task.heard} rows")
    if not starts:
        raise ValueError("starts must be at least one row, got none")
    method, count = task.methods[0], integer("count", count, 1)
    rows = torch.tensor(starts)[:, method.sources(count)].transpose(0, 1)
    inputs = task.encode(rows[:1], torch.float64).expand(network.models, -1, -1, -1)
    return Rung(network.to(torch.float64).rollout(inputs, count - 1)[0], rows)


def fit(rung: Rung, task: ChangeRinging, t: Index) -> Float[Tensor, "M E n"]:
    """Ψ_tᵀ and below it c_t, E = D + 1, by least squares: of all Ψ that fit best, the least. Rows of bells do not fill
    all D directions: their signs have the same sum over the places, and Ψ does nothing to what they have in common."""
    x, h = task.encode(rung.rows[t], torch.float64), rung.states[:, t]
    mean, middle = x.mean(0), h.mean(1, keepdim=True)
    basis = torch.linalg.lstsq((x - mean).expand(len(h), -1, -1), h - middle, driver="gelsd").solution
    return torch.cat([basis, middle - mean[None] @ basis], 1)


def explained(basis: Float[Tensor, "M E n"], rung: Rung, task: ChangeRinging, t: Index) -> Float[Tensor, "M"]:
    """R²: one less the part of the variance of the states at row t that the basis leaves. It may be negative."""
    h = rung.states[:, t]
    off = (h - written(basis, task, rung.rows[t])).square().sum((1, 2))
    return 1 - off / (h - h.mean(1, keepdim=True)).square().sum((1, 2))


def dimensions(bases: Sequence[Float[Tensor, "M E n"]], share: float | int = 0.95) -> Int[Tensor, "M"]:
    """How many directions hold this share of the squared size of all Ψ together, the constants left out."""
    if not 0 < number("share", share, positive=True) <= 1:
        raise ValueError(f"share must be at most 1, got {share}")
    values = torch.linalg.svdvals(torch.cat([basis[:, :-1] for basis in bases], 1)).square()
    return ((values / values.sum(1, keepdim=True)).cumsum(1) < share - 1e-12).sum(1) + 1


def swapped(rows: Int[Tensor, "B bells"], generator: torch.Generator) -> Int[Tensor, "B bells"]:
    """Two bells, drawn for each row, in each other's place."""
    pair = torch.rand(rows.shape, generator=generator).argsort(1)[:, :2]
    return rows.scatter(1, pair, rows.gather(1, pair.flip(1)))


def swap_edits(
    network: VectorNetwork, task: ChangeRinging, fitted: Rung, others: Rung, t: Index, generator: torch.Generator
) -> dict[str, Float[Tensor, "M"]]:
    """Swap two bells at row t of the runs ``others`` through the basis of the runs ``fitted``, then ring on for a plain
    course. Of each of STATES, the share of its rows that are right in every sign, for the bells as swapped.

    Raises:
        ValueError: the runs end before row t + LATER.
    """
    t = integer("t", t, 1)
    if min(len(fitted.rows), len(others.rows)) <= t + LATER:
        raise ValueError(f"t must be below {min(len(fitted.rows), len(others.rows)) - LATER}, got {t}")
    basis, other = fit(fitted, task, t), fit(fitted, task, t + LATER)
    network, h, row = network.to(torch.float64), others.states[:, t], others.rows[t]
    new = swapped(row, generator)
    change = task.encode(new, torch.float64) - task.encode(row, torch.float64)
    edit = change @ basis[:, :-1]
    made = ring(network, task, [tuple(each) for each in begun(task, new, t).tolist()], t + 1)
    starts = {
        "edit": h + edit,
        "other phase": h + change @ other[:, :-1],
        "random": random_edit(h, h + edit, generator),
        "nothing": h,
        "written": written(basis, task, new),
        "swapped from the start": made.states[:, t],
    }
    right = ring_on(network, task, torch.cat([*starts.values()], 1), new.repeat(len(starts), 1), t)
    return dict(zip(starts, right.unflatten(1, (len(starts), -1)).mean(2).T, strict=True))


def ring_on(
    network: VectorNetwork, task: ChangeRinging, h: Float[Tensor, "M B n"], rows: Int[Tensor, "B bells"], t: Index
) -> Float[Tensor, "M B"]:
    """Of the rows of the next plain course, the share that is right in every sign, from states ``h`` that should hold
    ``rows`` at row t of a run."""
    method, network = task.methods[0], network.to(torch.float64)
    source = method.sources(method.lead * method.leads + 1, integer("t", t, 0) % method.lead)[1:]
    right = torch.zeros(h.shape[:2], dtype=torch.float64)
    for then in task.encode(rows[:, source], torch.float64).transpose(0, 1):
        h = network.step(h)
        right += right_rows(network.read_out(h), then.expand(network.models, -1, -1))
    return right / len(source)


def begun(task: ChangeRinging, rows: Int[Tensor, "B bells"], t: Index) -> Int[Tensor, "B bells"]:
    """Row 0 of the runs that come to ``rows`` at row t."""
    source = task.methods[0].sources(integer("t", t, 0) + 1)[-1]
    return torch.empty_like(rows).scatter_(1, source.expand_as(rows), rows)


def written(basis: Float[Tensor, "M E n"], task: ChangeRinging, rows: Int[Tensor, "B bells"]) -> Float[Tensor, "M B n"]:
    """Ψ_t x + c_t, the states that hold these rows according to a basis."""
    return _signs(task, rows) @ basis


def _signs(task: ChangeRinging, rows: Int[Tensor, "B bells"]) -> Float[Tensor, "B E"]:
    """Rows as signs, and a one for the constant."""
    return torch.nn.functional.pad(task.encode(rows, torch.float64), (0, 1), value=1.0)
