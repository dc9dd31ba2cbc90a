"""Sequences recalled by a GSEMM: its memories in a cycle, the way between them, recall from a cue, dwell times.

Source: Karuvally, Sejnowski, Siegelmann, ICML 2023, for the model; the dwell time is derived in the book's chapter on
origins. Times are in the unit of ``T_f``, which is 1 here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.support.checks import integer, number
from emt_core.theory import gsemm
from emt_core.theory.gsemm import GSEMM


def sequence(memories: Float[Tensor, "*S Nf Nh"], power: int = 1, *, gain: float | int = 5.0, **options: Any) -> GSEMM:
    """The system that goes round the columns of ``memories``, signs ±1, in order; with S sets of memories, S systems.

    σ_f = tanh(gain·v), nearly a sign; σ_h = max(v / Nf, 0)^power, and for power 1 v / Nf without the max, so that a
    recalled memory drives its neuron with 1. ``options`` are other fields of :class:`GSEMM`, such as ``T_d``.
    """
    scale = 1 / memories.shape[-2]
    sigma_h = gsemm.identity(scale) if integer("power", power, 1) == 1 else gsemm.rectified(power, scale)
    return GSEMM(memories, gsemm.cyclic(memories.shape[-1]), gsemm.tanh(gain), sigma_h, **options)


def closed_path(memories: Float[Tensor, "Nf Nh"], points: int = 16) -> tuple[Float[Tensor, "P Nf"], Float[Tensor, "P"]]:
    """States on the straight lines 1 → 2 → … → Nh → 1 through the memories, and where on that way they are.
    There are P = points·Nh + 1 of them; a whole number from 1 to Nh + 1 is a memory."""
    along = torch.arange(integer("points", points, 1), dtype=torch.float64)[:, None] / points
    legs = [(1 - along) * here + along * there for here, there in zip(memories.T, memories.roll(-1, 1).T, strict=True)]
    states = torch.cat([*legs, memories[:, :1].T])
    return states, 1 + torch.arange(len(states), dtype=torch.float64) / points


def recall(system: GSEMM, flipped: float | int = 0.0, generators: Sequence[torch.Generator] = ()) -> Float[Tensor, "S"]:
    """Share of the memories, all of them signs, that follow in order 1, 2, 3, … when the state starts in memory 1; for
    each of S systems, 1 if ``system`` is a single one.

    The delays start at zero. The integration goes on in pieces of 120, and with a system it ends when every memory has
    been visited, when one comes out of order, when a piece visits none that the one before had not, or after a piece
    for every four memories. Close to the capacity a small error decides which memory is next, so that ``rtol`` is 1e-4:
    looser ones have sent some systems another way than precise ones do.

    Args:
        flipped: each sign of the start is turned with this probability, by the generator of its system, one for each.
    """
    if not 0 <= flipped <= 1:
        raise ValueError(f"flipped must lie in [0, 1], got {flipped}")
    memories = system.memories if system.memories.ndim == 3 else system.memories[None]
    systems, features, count = memories.shape
    V_f, V_d = memories[:, None, :, 0].clone(), torch.zeros(systems, 1, features, dtype=torch.float64)
    if flipped:
        if len(generators) != systems:
            raise ValueError(f"generators must be one for each of {systems} systems, got {len(generators)}")
        drawn = [torch.rand(1, features, generator=g, dtype=torch.float64) for g in generators]
        V_f = V_f * (1 - 2 * (torch.stack(drawn) < flipped).double())
    seen: list[list[Tensor]] = [[] for _ in range(systems)]
    right, visited, going = [0] * systems, [0] * systems, list(range(systems))
    piece = torch.arange(0, 120.5, 0.5, dtype=torch.float64)
    for _ in range(math.ceil(count / 4)):
        some = replace(system, memories=memories[going])
        run = gsemm.simulate(some, V_f[going], piece, V_d=V_d[going], rtol=1e-4, atol=1e-6)
        V_f[going], V_d[going] = run.V_f[-1], run.V_d[-1]
        for s, overlap in zip(list(going), gsemm.overlaps(some, run.V_f)[:, :, 0].unbind(1), strict=True):
            seen[s].append(overlap)
            so_far, before = torch.cat(seen[s]), visited[s]
            right[s], visited[s] = gsemm.recalled(so_far), len(gsemm.visits(so_far))
            if right[s] >= count or visited[s] > right[s] or visited[s] == before:
                going.remove(s)
        if not going:
            break
    return torch.tensor(right, dtype=torch.float64).clamp_max(count) / count


def hold_limit(gain: float | int) -> float:
    """θ(g) = √(1 − 1/g) − artanh(√(1 − 1/g)) / g: how large a_c·m may grow before δ = tanh(g·δ) − a_c·m loses the
    solution that holds the state in its memory. g > 1."""
    if not gain > 1:
        raise ValueError(f"gain must be above 1, or no state holds itself, got {gain}")
    root = math.sqrt(1 - 1 / gain)
    return root - math.atanh(root) / gain


def first_dwell(gain: float | int, a_c: float | int) -> float:
    """The time in the first of two orthogonal memories over T_d, as T_d → ∞: −ln(1 − θ/a_c); infinite where the
    delays never fill so far, a_c ≤ :func:`least_interaction`."""
    if number("a_c", a_c, positive=False) <= least_interaction(gain):
        return math.inf
    return -math.log(1 - hold_limit(gain) / a_c)


def least_interaction(gain: float | int) -> float:
    """a_c* = θ(g) / √(1 − 1/g), the interaction that must be exceeded for the state to leave: its delays fill to
    √(1 − 1/g) before the hold is lost, not to 1."""
    return hold_limit(gain) / math.sqrt(1 - 1 / gain)
