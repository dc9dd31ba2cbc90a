"""The variable-binding circuit that the theory expects, from a task alone: no training, no plots.

Source: arXiv:2310.02430, the section on the linear circuit. With variable memories Ψ = [Ψ_1 … Ψ_S] (N × S·D, oldest
first) and dual basis Ψ*, Ψ*Ψ = I, the state is h(t) = Ψ x(t), x the last S vectors of the sequence, and

    W_hh = Ψ Φ Ψ*,   W_uh = Ψ_S,   W_r = Ψ_S*,   Φ = [0 I 0 … 0; …; 0 … 0 I; F].
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emt_core.tasks import VariableBinding


def interaction_matrix(task: VariableBinding) -> Float[Tensor, "SD SD"]:
    """Φ, (S·D, S·D), float64: the first S − 1 block rows shift each variable one place down, the last one is F."""
    S, D = task.history, task.dim
    phi = torch.zeros(S * D, S * D, dtype=torch.float64)
    phi[: (S - 1) * D, D:] = torch.eye((S - 1) * D, dtype=torch.float64)
    phi[(S - 1) * D :] = task.operator
    return phi


def on_cycle(task: VariableBinding) -> Bool[Tensor, "SD"]:
    """Which entries of the history lie on a cycle of Φ, that is, are read again and again for ever.

    Every row of Φ holds one ±1: entry i takes its next value from entry s(i). As many steps of s as there are entries
    lead from anywhere onto a cycle, and together reach all of every cycle. This equals the paper's rule (deleting row
    and column i lowers the number of eigenvalues of modulus > 0.8) without its rounding: the eigenvalues of a nilpotent
    block of size n are computed as ε^(1/n), which passes 0.8 at n ≈ 160.
    """
    successor = interaction_matrix(task).abs().argmax(1)
    reached = torch.arange(len(successor))
    for _ in successor:
        reached = successor[reached]
    return torch.zeros(len(successor), dtype=torch.bool).index_fill(0, reached, True)


def kept_by_deletion(task: VariableBinding, modulus: float = 0.8) -> Bool[Tensor, "SD"]:
    """The paper's rule for the effective Φ (arXiv:2310.02430): entry i is kept if deleting row and column i lowers the
    number of eigenvalues whose modulus exceeds ``modulus``. The slow check of :func:`on_cycle`."""
    phi = interaction_matrix(task)

    def large(matrix: Tensor) -> int:
        return int((torch.linalg.eigvals(matrix).abs() > modulus).sum()) if len(matrix) else 0

    rest = [[j for j in range(len(phi)) if j != i] for i in range(len(phi))]
    return torch.tensor([large(phi[keep][:, keep]) < large(phi) for keep in rest])


def effective_interaction(task: VariableBinding) -> Float[Tensor, "SD SD"]:
    """Effective Φ: rows and columns of the entries off every cycle are zeroed; same shape as Φ.
    Its rank, the task's effective rank, is the number of eigenvalues on the unit circle. An entry that is zeroed may
    still carry outputs; it forgets them after at most S·D steps."""
    keep = on_cycle(task).double()
    return keep[:, None] * interaction_matrix(task) * keep


def effective_rank(task: VariableBinding) -> int:
    """How many entries of the history lie on a cycle."""
    return int(on_cycle(task).sum())


def cycles(task: VariableBinding) -> tuple[tuple[tuple[int, ...], int], ...]:
    """The cycles of Φ, each as its entries and its sign: (i, s(i), s(s(i)), …) from its least entry i on, where entry i
    takes its next value from entry s(i), and −1 where an odd number of signs is turned on the way round."""
    phi = interaction_matrix(task)
    source = phi.abs().argmax(1).tolist()
    left, found = set(on_cycle(task).nonzero()[:, 0].tolist()), []
    while left:
        entries = [min(left)]
        while (following := source[entries[-1]]) != entries[0]:
            entries.append(following)
        sign = math.prod(int(phi[i, source[i]]) for i in entries)
        found.append((tuple(entries), sign))
        left -= set(entries)
    return tuple(found)


def period(task: VariableBinding) -> int:
    """The steps after which every sequence of the task repeats once the forgotten entries are gone: the least common
    multiple of the lengths of its cycles, each taken twice where the cycle's sign is −1."""
    return math.lcm(*(len(entries) if sign > 0 else 2 * len(entries) for entries, sign in cycles(task)))


def random_basis(hidden: int, size: int, generator: torch.Generator, orthonormal: bool = False) -> Float[Tensor, "N K"]:
    """K = ``size`` independent columns in N = ``hidden`` dimensions, float64: Gaussian, or orthonormal on request."""
    if not 1 <= size <= hidden:
        raise ValueError(f"size must lie in 1 … hidden = {hidden} for independent columns, got {size}")
    gaussian = torch.randn(hidden, size, dtype=torch.float64, generator=generator) / hidden**0.5
    return torch.linalg.qr(gaussian).Q if orthonormal else gaussian


def local_basis(hidden: int, size: int, generator: torch.Generator) -> Float[Tensor, "N K"]:
    """K = ``size`` orthonormal columns in N = ``hidden`` dimensions, float64, each of which has N // K units to itself
    and uses them equally, with random signs."""
    if not 1 <= size <= hidden:
        raise ValueError(f"size must lie in 1 … hidden = {hidden} for units of its own, got {size}")
    own = hidden // size
    signs = 1 - 2 * torch.randint(2, (size, own), generator=generator).double()
    basis = torch.zeros(hidden, size, dtype=torch.float64)
    basis[: size * own] = torch.block_diag(*signs[..., None]) / own**0.5
    return basis


def writing_matrix(task: VariableBinding) -> Float[Tensor, "SD SD"]:
    """What the linear circuit's memories hold after reading S inputs one by one, as a matrix acting on those inputs.

    Input k enters the newest block and Φ acts on it S − k times: block column k is Φ^(S−k) E_S, E_S the last D columns
    of the identity. Were reading exact, this would be the identity.
    """
    S, D = task.history, task.dim
    phi = interaction_matrix(task)
    column = torch.eye(S * D, dtype=torch.float64)[:, -D:]
    columns = [column]
    for _ in range(S - 1):
        columns.insert(0, phi @ columns[0])
    return torch.cat(columns, dim=1)


def writing_gap(task: VariableBinding) -> Float[Tensor, "SD SD"]:
    """How far reading is from exact: :func:`writing_matrix` − I. A gap in the theory that the paper does not mention.
    F acts during the input phase too, and adds its output to what is being written. The gap is zero iff F reads only
    the oldest block, which stays empty until the input phase is over (repeat copy)."""
    return writing_matrix(task) - torch.eye(task.history * task.dim, dtype=torch.float64)


def linear_floor(task: VariableBinding, horizon: int) -> float:
    """The least mean squared error over ``horizon`` output steps that any linear time-invariant network can reach.

    The target is x(S+m) = Σ_l A(m, l) u(l), with independent random signs u. A linear time-invariant network that
    starts at zero writes Σ_l G(S+m−l) u(l): one D × D response G(n) for each lag n. Its error is least where G(n) is
    the mean of the A(m, l) of that lag, and is then their variance. Zero iff such a network can solve the task exactly.
    """
    S, D = task.history, task.dim
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon}")
    # what x(S+m) is made of: the response of the targets to each single input entry
    unit = torch.eye(S * D, dtype=torch.float64).view(1, S * D, S, D).transpose(1, 2)
    A = task.targets(unit, horizon)[0].view(horizon, S, D, D)  # (m, l, input entry, output entry)
    lag = torch.arange(horizon)[:, None] - torch.arange(S) + S - 1
    A, lag = A.flatten(0, 1), lag.flatten()
    mean = torch.zeros(int(lag.max()) + 1, D, D, dtype=torch.float64).index_add(0, lag, A)
    mean /= lag.bincount()[:, None, None]
    return float((A - mean[lag]).square().sum() / (horizon * D))
