"""Fixed points and periodic orbits of any map F: zeros of r(h) = F^k(h) − h, and their multipliers.

Each start descends by Levenberg–Marquardt steps δ = −(JᵀJ + λI)⁻¹ Jᵀ r, J the Jacobian of r. One singular value
decomposition of J gives δ for all λ of a ladder, λ = 0 (Newton's step, the shortest one where J is singular) among
them, each with and without its geodesic acceleration, and the start takes the one that lowers ‖r‖ most, until none
does. JᵀJ is never made: its condition is the square of J's, by a multiplier μ close to 1 already ``1 / |1 − μ|``.
The order of convergence is 3 at a zero without a multiplier 1.

Sources: Sussillo & Barak 2013, Neural Computation 25, 626 (zeros and slow points of networks, by gradient descent on
‖r‖²/2); Transtrum & Sethna 2012, arXiv:1201.5885 (the acceleration, which follows a valley's bend).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Int
from scipy.linalg import schur
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.func import vjp, vmap

from emt_core.analysis import spectrum
from emt_core.networks.cell import Cell, Network
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.support.checks import Index, integer, number
from emt_core.support.running import one_thread_per_product

Step = Callable[[Tensor], Tensor]  #: F: (B, n) -> (B, n), float64, each row by itself

LADDER = (0.0, *(10.0**p for p in range(-12, 5)))  # λ, in units of the largest singular value of J squared, at least 1
NEUTRAL = 1e-12  # singular values below this, in units of the largest, at least 1, are rounding: no step goes that way
ROUNDING = torch.finfo(torch.float64).eps  # of |h|: a step that lowers ‖r‖ by less lowers nothing
FLAT = 1e-4  # largest slope of ‖r‖ at a slow point; states and r have one unit, so that a slope has none
CHUNK = 64  # rows of Jacobians that are made at once: each needs the memory of a step


class Status(StrEnum):
    """What became of a start."""

    CONVERGED = "converged"  # ‖r‖ is at most ``tolerance``
    SLOW = "slow"  # a slow point: ‖r‖ is larger, at most ``slow``, and least: its slope ‖Jᵀ r‖ / ‖r‖ is at most 1e-4
    FAILED = "failed"  # neither: ‖r‖ is least where it is large, iterations ran out, or something is not finite


@dataclass(frozen=True)
class Orbits:
    """The K distinct states to which B starts led, converged ones before slow ones, then in the order of their entries.
    Starts that failed have no state here; ``start_status`` and ``of_start`` count them.

    ``residual`` is ‖F^k(h) − h‖, the 2-norm, of that very ``state``, ``jacobian`` that of F^k there, ``multipliers``
    its eigenvalues, the largest modulus first, and ``iterations`` how many led from a start to that very state.
    ``least_period`` is the least divisor p of k with F^p(h) within ``merge`` of h. States that are on one orbit, one
    within ``merge`` of F^j of the other, have the same number in ``orbit``: 0, 1, …, in the order of their first ones.
    ``of_start`` says which state a start led to, −1 if it failed, and ``start_status`` what became of it by itself.
    """

    state: Float[Tensor, "K n"]
    residual: Float[Tensor, "K"]
    multipliers: Complex[Tensor, "K n"]
    status: tuple[Status, ...]
    jacobian: Float[Tensor, "K n n"]
    iterations: Int[Tensor, "K"]
    least_period: Int[Tensor, "K"]
    orbit: Int[Tensor, "K"]
    of_start: Int[Tensor, "B"]
    start_status: tuple[Status, ...]


def find(
    step: Step, starts: Float[Tensor, "B n"], period: Index = 1, *, tolerance: float | int = 1e-10,
    slow: float | int = 1e-2, iterations: Index = 100, merge: float | int = 1e-6,
) -> Orbits:  # fmt: skip
    """Zeros and slow points of F^k(h) − h, k = ``period``, near ``starts``. In float64; what is found lies on the CPU,
    and is the same, bit for bit, in whatever order the starts come. No starts, or none that is finite: K = 0.

    Args:
        step: F, in operations of torch that ``vmap`` and autograd know; float64, each row by itself.
        tolerance: largest ‖F^k(h) − h‖ of a zero. Below it a start goes on until a step is shorter than ``merge`` / 4
            or rounding ends it, so that all starts that lead to one zero end within ``merge`` of it.
            Far out, where gates saturate, ‖r‖ may be as small with no zero near: a GRU comes to no state beyond ±1.
        slow: largest ‖F^k(h) − h‖ of a slow point; 1e-2 is the speed q = ‖r‖²/2 = 5e-5 of Sussillo & Barak.
        merge: states closer than this are the same, as are those joined by a chain of such; the one of the least
            residual is kept. Of a continuum of zeros as many are found as there are starts that lead to it.

    Raises:
        ValueError: an argument out of range, or ``step`` does not return float64 of the shape that it is given.
    """
    period, iterations = integer("period", period, 1), integer("iterations", iterations, 0)
    tolerance, merge = number("tolerance", tolerance, positive=True), number("merge", merge, positive=True)
    slow = number("slow", slow, positive=False)
    if starts.ndim != 2 or starts.shape[1] < 1 or not starts.is_floating_point():
        raise ValueError(f"starts must be real, of shape (B, n) with n ≥ 1, got {starts.dtype}, {tuple(starts.shape)}")
    given, kinds = starts.detach().double(), list(Status)
    finite = given.isfinite().all(1)
    with torch.no_grad(), one_thread_per_product(given.device.type == "cpu"):
        # sorted, since a product may round a row by its place in the batch; and two zeros that differ in sign made one
        h, same = torch.unique(given[finite] + 0.0, dim=0, return_inverse=True)
        taken = torch.zeros(len(h), dtype=torch.long, device=h.device)
        for end, left, active in islice(_descents(step, h, period, tolerance, merge / 4), iterations + 1):
            h, r, taken = end, left, taken + active
        jacobian, images = _jacobian(step, h, period), _images(step, h, period)
    residual = r.norm(dim=1)
    least = ((r[:, None] @ jacobian)[:, 0] - r).norm(dim=1) <= FLAT * residual  # Jᵀr, with J = jacobian − I
    kind = torch.where(residual <= tolerance, 0, torch.where((residual <= slow) & least, 1, 2)).cpu()
    h, residual, jacobian, taken = h.cpu(), residual.cpu(), jacobian.cpu(), taken.cpu()
    chosen, member = _distinct(h, residual, kind, merge)
    of_start, start_kind = torch.full((2, len(given)), -1)
    of_start[finite.cpu()], start_kind[finite.cpu()] = member[same.cpu()], kind[same.cpu()]
    multipliers = spectrum.eigenvalues(jacobian[chosen])
    largest = multipliers.abs().argsort(dim=1, descending=True, stable=True)
    return Orbits(
        h[chosen], residual[chosen], multipliers.gather(1, largest), tuple(kinds[i] for i in kind[chosen]),
        jacobian[chosen], taken[chosen], *_courses(h[chosen], [image.cpu()[chosen] for image in images], merge),
        of_start, tuple(kinds[i] for i in start_kind),
    )  # fmt: skip


def step_of(network: Network | Cell, m: Index = 0, x: Float[Tensor, "I"] | None = None) -> Step:
    """F of model ``m`` of a network or cell, in float64: one step that reads ``x``, the same each time, or nothing. The
    state is all of the cell's (LSTM: h, then c). What a token network reads is a row of its ``embedding``."""
    cell = network.cell if isinstance(network, Network) else network
    if (m := integer("m", m, 0)) >= cell.models:
        raise ValueError(f"m must be below the number of models, {cell.models}, got {m}")
    check_shapes(" to go with the cell", x=(x, (cell.inputs,)))
    cell = cell[m].detach().to(torch.float64)
    read = None if x is None else x.detach().to(cell.device, torch.float64)
    return lambda h: cell.step(h[None], None if read is None else read.expand(1, len(h), -1))[0]


class Directions(NamedTuple):
    """Orthonormal bases of the invariant subspaces of a Jacobian: of the directions in which a small distance from the
    orbit dies out (modulus of the multiplier below 1), remains (about 1), and grows. s + c + u = n."""

    stable: Float[Tensor, "n s"]
    neutral: Float[Tensor, "n c"]
    unstable: Float[Tensor, "n u"]


def directions(found: Orbits, k: Index, neutral: float | int = 1e-3) -> Directions:
    """The subspaces at state ``k``, by ordered real Schur forms, which need no eigenvectors: a Jacobian may lack some.
    ``neutral`` is the largest ``||μ| − 1|`` of a multiplier that counts as neither stable nor unstable."""
    if (k := integer("k", k, 0)) >= len(found.state):
        raise ValueError(f"k must be below the number of states, {len(found.state)}, got {k}")
    width, J = number("neutral", neutral, positive=False), found.jacobian[k].numpy()

    def basis(wanted: Callable[[float], bool]) -> Tensor:
        _, Z, count = schur(J, output="real", sort=lambda re, im=0.0: wanted(abs(re + 1j * im) - 1))
        return torch.from_numpy(Z[:, :count].copy())

    return Directions(basis(lambda d: d < -width), basis(lambda d: abs(d) <= width), basis(lambda d: d > width))


def _descents(
    step: Step, h: Float[Tensor, "B n"], period: int, tolerance: float, short: float
) -> Iterator[tuple[Float[Tensor, "B n"], Float[Tensor, "B n"], Bool[Tensor, "B"]]]:
    """States, r, and which states the iteration was for, before the first iteration and after each, until all ended."""
    r, active = _residual(step, h, period), torch.zeros(len(h), dtype=torch.bool, device=h.device)
    yield h, r, active
    active = r.isfinite().all(1)
    while active.any():
        h, r, at = h.clone(), r.clone(), active.nonzero()[:, 0]
        J = _jacobian(step, h[at], period) - torch.eye(h.shape[1]).to(h)
        U, s, Vh = torch.linalg.svd(J.nan_to_num(0.0, 0.0, 0.0))  # no step is taken but one that lowers ‖r‖
        top = s[:, :1].clamp_min(1)
        s = torch.where(s > NEUTRAL * top, s, torch.inf)[:, None]  # as good as no step that way
        gain = 1 / (s + top.square()[:, :, None] * h.new_tensor(LADDER)[:, None] / s)
        moves = -(gain * (r[at, None] @ U)) @ Vh
        left = _residual(step, h[at, None] + moves, period)
        bend = left - r[at, None] - moves @ J.mT  # half the second derivative of r along each move
        moves = torch.cat([moves, moves - (gain * (bend @ U)) @ Vh], dim=1)
        left = torch.cat([left, _residual(step, h[at, None] + moves[:, len(LADDER) :], period)], dim=1)
        size, best = left.norm(dim=2).nan_to_num(torch.inf).min(1)
        best = best[:, None, None].expand(-1, 1, h.shape[1])
        move, left = moves.gather(1, best)[:, 0], left.gather(1, best)[:, 0]
        lower = size < r[at].norm(dim=1) - ROUNDING * h[at].norm(dim=1)
        h[at], r[at] = torch.where(lower[:, None], h[at] + move, h[at]), torch.where(lower[:, None], left, r[at])
        yield h, r, active
        arrived = (size <= tolerance) & (move.norm(dim=1) <= short)
        active = active.index_fill(0, at[~lower | arrived], False)


def _residual(step: Step, h: Float[Tensor, "*batch n"], period: int) -> Float[Tensor, "*batch n"]:
    """r(h)."""
    flat = h.reshape(-1, h.shape[-1])
    return (_images(step, flat, period)[-1] - flat).view_as(h)


def _images(step: Step, h: Float[Tensor, "B n"], period: int) -> list[Float[Tensor, "B n"]]:
    """F(h), …, F^k(h)."""
    images = [h]
    for _ in range(period if len(h) else 0):  # vmap and others refuse batches of none
        images.append(new := step(images[-1]))
        if (new.dtype, new.shape) != (h.dtype, h.shape):
            want = f"{h.dtype}, {tuple(h.shape)}, as it is given"
            raise ValueError(f"step must return {want}, got {new.dtype}, {tuple(new.shape)}")
    return images[1:] if len(h) else [h] * period


def _jacobian(step: Step, h: Float[Tensor, "B n"], period: int) -> Float[Tensor, "B n n"]:
    """The Jacobian of F^k, by the chain rule from an orbit's end to its start: a product's rows, times the Jacobian of
    one step, are what reverse mode makes of them, of all states at once since each is stepped by itself."""
    rows = torch.eye(h.shape[1]).to(h)[:, None].expand(-1, len(h), -1)
    for at in reversed([h, *_images(step, h, period - 1)]) if len(h) else []:
        (rows,) = vmap(vjp(step, at)[1], chunk_size=CHUNK)(rows)
    return rows.transpose(0, 1)


def _near(a: Float[Tensor, "K n"], b: Float[Tensor, "L n"], merge: float) -> Bool[np.ndarray, "K L"]:
    """Which are within ``merge`` of each other; by differences, since by products equals would be √ε apart."""
    return (torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") <= merge).numpy()


def _distinct(
    h: Float[Tensor, "B n"], residual: Float[Tensor, "B"], kind: Int[Tensor, "B"], merge: float
) -> tuple[Int[Tensor, "K"], Int[Tensor, "B"]]:
    """Which ends of descents are kept, in the order of the results, and which of these each end is, −1 if it failed."""
    ends = (kind < 2).nonzero()[:, 0].numpy()
    _, group = connected_components(_near(h[ends], h[ends], merge), directed=False)
    entries = h[ends].T.flip(0).numpy()  # np.lexsort's last key decides first
    ranked = np.lexsort((*entries, residual[ends]))
    kept = ranked[np.unique(group[ranked], return_index=True)[1]]  # the first of each group, in the groups' order
    order = np.lexsort((*entries[:, kept], kind[ends][kept]))
    member = torch.full((len(h),), -1)
    member[ends] = torch.from_numpy(order.argsort()[group])
    return torch.from_numpy(ends[kept[order]]), member


def _courses(
    h: Float[Tensor, "K n"], images: list[Float[Tensor, "K n"]], merge: float
) -> tuple[Int[Tensor, "K"], Int[Tensor, "K"]]:
    """Least periods and orbits' numbers of states, from F(h) … F^k(h)."""
    least = torch.full((len(h),), len(images))
    for p in reversed([p for p in range(1, len(images)) if len(images) % p == 0]):
        least[(images[p - 1] - h).norm(dim=1) <= merge] = p
    linked = np.logical_or.reduce([_near(image, h, merge) for image in images])
    return least, torch.from_numpy(connected_components(linked, directed=False)[1]).long()
