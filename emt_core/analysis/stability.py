"""Does a memory correct errors or keep them? Kicks, basins and Lyapunov exponents of networks that run without input.

A memory is *digital* where its contents are attracting periodic orbits: a kick that is small enough dies out, and every
Lyapunov exponent is negative. It is *analog* where they are neutrally stable: as many exponents as there are memories
are zero, a kick stays, and so does every later one, so that the phases drift apart.

All of it takes any network that can run on by itself (:class:`Runs`), M models and B states at once, in the network's
own precision: a distance of ε = 1e-7 times the state (float32; 2e-16 in float64) is rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, SupportsFloat, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.func import jvp

from emt_core.networks.cell import Ensemble
from emt_core.support.checks import Index, integer, number
from emt_core.support.random_streams import stream
from emt_core.tasks.sequences import Generators, each


@runtime_checkable
class Runs(Protocol):
    """A network of vectors, a cell (also that of a network of tokens), or whatever else has a step from the states
    (M, B, n) to the next that treats each of them by itself, however many they are."""

    def step(self, h: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Time:
    """``step``: when it happened, or the last step that was looked at where ``censored``: it had not happened by
    then."""

    step: Int[Tensor, "..."]
    censored: Bool[Tensor, "..."]


@dataclass(frozen=True)
class Basin:
    """``size``: the largest kick found that returns, relative to the state; known to ``resolution``, except where
    ``censored``: the largest one tried returned as well."""

    size: Float[Tensor, "M B Q"]
    censored: Bool[Tensor, "M B Q"]
    resolution: float


def states_at(network: Runs, h: Float[Tensor, "M B n"], steps: Iterable[Index]) -> Iterator[Float[Tensor, "M B n"]]:
    """The states after each of these numbers of steps (ascending, 0 is ``h``), one at a time and without gradients."""
    taken = 0
    for stop in _ascending(steps):
        with torch.no_grad():
            for _ in range(stop - taken):
                h = network.step(h)
        taken = stop
        yield h


def run_on(network: Runs, h: Float[Tensor, "M B n"], steps: Iterable[Index]) -> Float[Tensor, "M T B n"]:
    """The states after each of T numbers of steps (ascending, 0 is ``h``); those between them are not kept."""
    return torch.stack(list(states_at(network, h, steps)), dim=1)


def directions(
    h: Float[Tensor, "M B n"],
    generators: Generators,
    count: Index = 1,
    basis: Float[Tensor, "M n K"] | None = None,
    within: bool = True,
) -> Float[Tensor, "M B Q n"]:
    """Q = ``count`` random unit vectors for each state, uniform on the sphere; with a ``basis`` (columns may be zero or
    depend on each other) uniform on the sphere of its span, or of the span's orthogonal complement (``within=False``).
    Model m draws from ``generators[m]`` alone."""
    models, batch, size = h.shape
    count, drawing = integer("count", count, 1), each(generators)
    if len(drawing) != models:
        raise ValueError(f"generators must be one per model ({models}), got {len(drawing)}")
    shape, wide = (batch * count, size), torch.float64
    drawn = torch.stack([torch.randn(shape, generator=g, dtype=wide, device=g.device) for g in drawing]).to(h.device)
    if basis is not None:
        if basis.shape[:2] != (models, size):
            raise ValueError(f"basis must have shape ({models}, {size}, K), got {tuple(basis.shape)}")
        frame, values, _ = torch.linalg.svd(basis.to(wide), full_matrices=False)
        spans = values > size * torch.finfo(wide).eps * values[:, :1]
        if not ((spans.sum(1) > 0) if within else (spans.sum(1) < size)).all():
            span = "a direction" if within else "a direction outside its span"
            raise ValueError(f"basis must have {span} for every model, got ranks {spans.sum(1).tolist()} of {size}")
        frame = frame * spans[:, None]
        inside = drawn @ frame @ frame.mT
        drawn = inside if within else drawn - inside
    return torch.nn.functional.normalize(drawn, dim=2).unflatten(1, (batch, count)).to(h.dtype)


def kick(
    h: Float[Tensor, "M B n"],
    size: SupportsFloat,
    generators: Generators,
    basis: Float[Tensor, "M n K"] | None = None,
    within: bool = True,
) -> Float[Tensor, "M B n"]:
    """``h`` and a displacement of ``size`` times the norm of each state along one of its :func:`directions`. The whole
    state is kicked: h and c of an LSTM."""
    along = directions(h, generators, 1, basis, within)[:, :, 0]
    return h + number("size", size, False) * h.norm(dim=2, keepdim=True) * along


def distance(
    network: Runs, h: Float[Tensor, "M B n"], kicked: Float[Tensor, "M B n"], steps: Iterable[Index]
) -> Float[Tensor, "M T B"]:
    """‖h'_t − h_t‖ / ‖h_t‖ between the runs from ``kicked`` and from ``h``, after each of T numbers of steps."""
    steps = _ascending(steps)
    runs = zip(states_at(network, h, steps), states_at(network, kicked, steps), strict=True)
    return torch.stack([_apart(own, other) for own, other in runs], dim=1)


def return_time(
    network: Runs,
    h: Float[Tensor, "M B n"],
    kicked: Float[Tensor, "M B n"],
    steps: Index,
    fraction: SupportsFloat = 0.1,
) -> Time:
    """The first step (M, B) from which on, up to ``steps``, the :func:`distance` is at most ``fraction`` of the kick's.
    It is relative: a linear network whose states all decay at one rate never forgets a kick."""
    steps, fraction = integer("steps", steps, 1), number("fraction", fraction, True)
    runs = zip(*(states_at(network, start, range(steps + 1)) for start in (h, kicked)), strict=True)
    allowed = fraction * _apart(h, kicked)
    last = torch.full(h.shape[:2], -1, device=h.device)  # the last step outside
    for t, (own, other) in enumerate(runs):
        last[~(_apart(own, other) <= allowed)] = t  # NaN is outside
    return Time((last + 1).clamp_max(steps), last == steps)


def basin(
    network: Runs,
    h: Float[Tensor, "M B n"],
    directions: Float[Tensor, "M B Q n"],
    steps: Index,
    returned: SupportsFloat = 1e-2,
    largest: SupportsFloat = 2.0,
    bisections: Index = 12,
) -> Basin:
    """How far each state can be kicked along each of its ``directions`` (of any length but 0) and still return: after
    ``steps`` its :func:`distance` is at most ``returned`` times the kick. A kick that is kept never returns, however
    small: the basin of a neutrally stable state is 0.

    By bisection between 0 and ``largest``, which *assumes* that whatever is smaller than a kick that returns does too.
    Where a basin has holes or islands, the result is one of its edges. ``steps`` must suffice for what returns slowly,
    close to the edge. The reference is the run that was not kicked: who comes back to its orbit out of phase has not
    returned.
    """
    returned, largest = number("returned", returned, True), number("largest", largest, True)
    steps, bisections = integer("steps", steps, 1), integer("bisections", bisections, 1)
    if directions.ndim != 4 or (*directions.shape[:2], directions.shape[3]) != h.shape:
        raise ValueError(f"directions must have shape (M, B, Q, n) to go with h, got {tuple(directions.shape)}")
    length = directions.norm(dim=3, keepdim=True)
    if not ((length > 0) & length.isfinite()).all():
        raise ValueError("directions must be finite and none of them zero")
    along = directions / length * h.norm(dim=2)[:, :, None, None]
    (end,) = states_at(network, h, [steps])

    def back(size: Tensor) -> Tensor:
        kicked = h[:, :, None] + size[..., None] * along
        (state,) = states_at(network, kicked.flatten(1, 2), [steps])
        return _apart(end[:, :, None], state.view_as(kicked)) <= returned * size

    low, high = torch.zeros_like(length[..., 0]), torch.full_like(length[..., 0], largest)
    censored = back(high)
    for _ in range(bisections):
        middle = (low + high) / 2
        inside = back(middle)
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return Basin(torch.where(censored, largest, low), censored, largest / 2**bisections)


def lyapunov(
    network: Runs, h: Float[Tensor, "M B n"], steps: Index, count: Index | None = None, warm_up: Index = 0
) -> Float[Tensor, "M B C"]:
    """The C = ``count`` largest Lyapunov exponents (all n if not given) along the runs from ``h``, largest first, in
    natural logarithms per step and float64; −∞ for a direction that one step wipes out.

    The method of Benettin et al., Meccanica 15:9 (1980): an orthonormal frame is moved by the Jacobian of every step
    (as products, by forward-mode differentiation) and made orthonormal again by QR; the exponents are the means of
    ``log |diag R|`` over ``steps``. During ``warm_up`` steps before, state and frame settle, nothing is recorded. The
    mean of T steps is off by O(1/T), of a linear map by O(log κ / T) with κ the condition number of its eigenvectors.
    The frame starts at random, always the same. A network of the library's is run in float64, any other must take it.
    """
    steps, warm_up = integer("steps", steps, 1), integer("warm_up", warm_up, 0)
    models, batch, size = h.shape
    count = size if count is None else integer("count", count, 1)
    if count > size:
        raise ValueError(f"count must be at most n = {size}, got {count}")
    step = (network.to(torch.float64) if isinstance(network, Ensemble) else network).step

    def moved(h: Tensor, frame: Tensor) -> Tensor:
        # every tangent with a copy of its state: more of them in a batch, where vmap would multiply W_hh instead
        tangents = jvp(step, (h.repeat_interleave(count, dim=1),), (frame.mT.flatten(1, 2),))[1]
        return tangents.unflatten(1, (batch, count)).mT

    with torch.no_grad():
        drawn = torch.randn(size, count, dtype=torch.float64, generator=stream(0, "tangents")).to(h.device)
        frame, h = torch.linalg.qr(drawn).Q.expand(models, batch, size, count), h.double()
        total = h.new_zeros(models, batch, count)
        for t in range(-warm_up, steps):
            frame, R = torch.linalg.qr(moved(h, frame))
            h = step(h)
            if t >= 0:
                total += R.diagonal(dim1=2, dim2=3).abs().log()
    return (total / steps).sort(dim=2, descending=True).values


def _ascending(steps: Iterable[Index]) -> list[int]:
    listed = [integer("steps", step, 0) for step in steps]
    if not listed or any(a >= b for a, b in pairwise(listed)):
        raise ValueError(f"steps must be ascending numbers of steps, at least one, got {listed}")
    return listed


def _apart(h: Tensor, other: Tensor) -> Tensor:
    return (other - h).norm(dim=-1) / h.norm(dim=-1)
