"""What a network that rings on must hold, from the method alone: variables under an operator that changes with time.

Row t, as contents x of n places, follows from row 0 by x(t) = A_t x(0), A_t = Π_{t−1} … Π_1 Π_0, where Π_t is the
permutation matrix of change t and Π_{t+P} = Π_t, P the changes of a lead.

*Clock ⊗ variables.* On R^P ⊗ R^n let the clock go on while the change of its phase acts:

    C = Σ_t e_{t+1} e_tᵀ ⊗ Π_t   (t mod P),   h = e_t ⊗ x(t),   row = (Σ_t e_tᵀ ⊗ I) h.

C^P is block diagonal, its block of phase 0 the lead Π = Π_{P−1} … Π_0, the others are similar to it. An eigenvector of
Π, Π v = μ v, and λ with λ^P = μ give Σ_t λ^{−t} e_t ⊗ A_t v, an eigenvector of C: **the eigenvalues of C are all P-th
roots of those of the lead.** Π permutes; a cycle of c places gives exp(2πi k / (P c)), k = 0 … P c − 1. With ``dim``
numbers in each place all is repeated so often.

*The least linear network.* It need not hold all of C. What it must reproduce is A_t, which repeats after L rows of a
plain course, A_t = Σ_k λ_k^t R_k with λ_k = exp(2πi k/L) and R_k = (1/L) Σ_t λ_k^{−t} A_t. A linear network that reads
row 0 once needs rank R_k dimensions with the eigenvalue λ_k, and no others (Gilbert's realisation, 1963: poles of order
one, each as often as its residue's rank). That is at most P·n·dim in all, since the circuit is such a network, and less
where a part of the circuit cannot be read: in Plain Bob all working bells follow one line, R_k = line ⊗ start, of
rank one. If only rows are read, contents always have the same sum; of the directions in which all places have the same,
one is left, at λ = 1, or none if that sum is zero.

*Not linear.* No linear network keeps a clock beside its contents: the clock would have to be multiplied with them,
which the product e_t ⊗ x does. A network with gates can: n·dim contents and a clock that chooses a change for them.
:func:`gated` does so with tanh units alone, 2·dim for each pair of places that a change connects and P for the clock,
which is far less than P·n·dim when P is large. It holds signs, not numbers: its multipliers are near zero. So the
eigenvalues above are what a linear network must have; for others they are one possible answer.
"""

from __future__ import annotations

import cmath
import math

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from emt_core.support.checks import Index, integer, number
from emt_core.tasks.change_ringing import ChangeRinging, Method

ROUNDING = 1e-9  # singular values of residues below this are zero: the others are sums of roots of unity over L


def change_matrices(method: Method) -> Float[Tensor, "P n n"]:
    """Π_0 … Π_{P−1}, float64: (Π x)[p] = x[change[p]]."""
    return torch.nn.functional.one_hot(torch.tensor(method.changes), method.bells).double()


def lead_matrix(method: Method) -> Float[Tensor, "n n"]:
    """Π = Π_{P−1} … Π_0, what a whole lead does."""
    return response(method, method.lead + 1)[-1]


def response(method: Method, count: Index) -> Float[Tensor, "T n n"]:
    """A_0 … A_{T−1}, T = ``count``: row t is A_t times row 0."""
    return torch.nn.functional.one_hot(method.sources(count), method.bells).double()


def interaction_matrix(method: Method, dim: Index = 1) -> Float[Tensor, "K K"]:
    """C, K = P·n·dim, float64: phases outermost, then places, then the ``dim`` numbers of a content."""
    P, n = method.lead, method.bells
    C = torch.zeros(P, n, P, n, dtype=torch.float64)
    for t, change in enumerate(change_matrices(method)):
        C[(t + 1) % P, :, t] += change
    return torch.kron(C.view(P * n, P * n), torch.eye(integer("dim", dim, 1), dtype=torch.float64))


def eigenvalues(method: Method, dim: Index = 1) -> Complex[Tensor, "K"]:
    """Those of C, complex128, in the order of their angle from 0 to 2π: all (P·c)-th roots of unity for each cycle of c
    places under the lead, ``dim`` times."""
    turns = [(k / (method.lead * c)) for c in method.cycles for k in range(method.lead * c)]
    return _roots([turn for turn in sorted(turns) for _ in range(integer("dim", dim, 1))])


def residues(method: Method) -> Complex[Tensor, "L n n"]:
    """R_k, k = 0 … L − 1, L the rows of a plain course: A_t = Σ_k exp(2πi k t / L) R_k."""
    course = response(method, method.lead * method.leads)
    return torch.fft.fft(course, dim=0) / len(course)


def multiplicities(method: Method) -> Int[Tensor, "L"]:
    """The rank of each R_k: how often exp(2πi k/L) is an eigenvalue of the least linear network, for one number in each
    place, whatever it is."""
    return torch.linalg.matrix_rank(residues(method), atol=ROUNDING)


def least_eigenvalues(task: ChangeRinging) -> Complex[Tensor, "K"]:
    """Those of the least linear network that rings the one method of ``task`` from any row, in the order of their
    angle; K is its size.

    The rows' signs span 1 ⊗ s, s the sum of all bells' codes (nothing if s = 0), and all contents whose sum over the
    places is zero, on which R_k is taken here.

    Raises:
        ValueError: more than one method, or more than one way to begin: a linear network then is right on average only.
    """
    if len(task.ways) != 1:
        raise ValueError(f"task must have one method that begins at its first change, got {len(task.ways)} ways")
    (method, _), n = task.ways[0], task.bells
    apart = residues(method) - residues(method).mean(2, keepdim=True)  # R_k on what sums to zero: R_k (I − 1 1ᵀ / n)
    ranks = torch.linalg.matrix_rank(apart, atol=ROUNDING) * task.bits
    ranks[0] += bool(task.encode(torch.arange(n)).view(n, task.bits).sum(0).any())
    return _roots([k / len(ranks) for k, rank in enumerate(ranks.tolist()) for _ in range(rank)])


def clocked(method: Method, dim: Index = 1) -> tuple[Tensor, Tensor, Tensor]:
    """(W_uh, W_hh, W_r) of the linear network with the state e_t ⊗ x: (K, n·dim), (K, K), (n·dim, K), float64. It reads
    row 0 in one step, into phase 0."""
    P, width = method.lead, method.bells * integer("dim", dim, 1)
    eye = torch.eye(width, dtype=torch.float64)
    W_uh = torch.cat([eye, torch.zeros((P - 1) * width, width, dtype=torch.float64)])
    return W_uh, interaction_matrix(method, dim), eye.repeat(1, P)


def gated(method: Method, dim: Index = 1, gain: float | int = 5.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(W_uh, W_hh, W_r, b) of a tanh network that rings signs on by gates: (N, n·dim), (N, N), (n·dim, N), (N,),
    float64, with N = 2·dim·(pairs of places that a change connects) + P.

    For places p, q with change[p] = q in some change there is g_{p,q}(t) = x_q(t) if this is so in change t, else 0, as
    ½(u⁺ + u⁻), u^± = tanh(gain·(x_q ± 2·closed)): with the gate closed the two are opposite signs. Each q goes to one
    p, so x_q(t) = Σ_p g_{p,q}(t), which is read out, and x_p(t+1) = Σ_q g_{p,q}(t) is the next row. The clock has
    one unit for each phase: +1 for the one that it is, −1 for the others. It starts from zero by itself; ``closed`` is
    the one linear function of it that is 0 or 1 as it should be in every phase and before the first.
    """
    gain, dim = number("gain", gain, positive=True), integer("dim", dim, 1)
    lead = method.changes * math.ceil(3 / method.lead)  # ``closed`` does not exist for a clock of two phases
    P, n = len(lead), method.bells
    pairs = sorted({(p, q) for change in lead for p, q in enumerate(change)})
    closed = torch.tensor([[float(change[p] != q) for p, q in pairs] for change in lead]).double()  # (P, pairs)
    bias = closed[0]
    following = closed.roll(-1, 0) - bias
    to_gates = (following + following.sum(0) / (2 - P)) / 2  # 2 w_t − Σ w = following_t, for each t
    content, read, held, _ = _gates(pairs, n, dim, gain)
    gates = _closing(to_gates.T.contiguous(), dim, gain)
    shift = torch.eye(P, dtype=torch.float64).roll(1, 0)
    width = len(content)
    W_hh = torch.zeros(width + P, width + P, dtype=torch.float64)
    W_hh[:width, :width] = content
    W_hh[:width, width:] = gates
    W_hh[width:, width:] = 2 * gain * shift
    W_uh = torch.cat([read, torch.zeros(P, n * dim)])
    W_r = torch.cat([held, torch.zeros(n * dim, P)], dim=1)
    start = torch.full((P,), -0.5, dtype=torch.float64)
    start[0] = 0.5  # no phase yet, or the last one: the first is next
    b = torch.cat([_closing(bias[:, None], dim, gain)[:, 0], gain * 2 * start])
    return W_uh, W_hh, W_r, b


def conducted(bells: Index, dim: Index = 1, gain: float | int = 5.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(W_uh, W_hh, W_r, b) of a tanh network that rings call changes by gates, (N, n·dim + n − 1), (N, N), (n·dim, N),
    (N,), float64, N = 2·dim·(3n − 2): :func:`gated` without its clock. With a call c as
    :class:`emt_core.tasks.call_changes.CallChanges` has it, a pair of places p, q is open if c_p = 1 for q = p + 1, if
    c_q = 1 for q = p − 1, and if neither c_{p−1} nor c_p is 1 for q = p: all linear in the call, of which no two
    neighbours are 1.

    Row t is read out in one way at all times, but where it lies in the state depends on the gates that were open, the
    last change's: one Ψ for each change, whatever the method and the time.
    """
    n, dim, gain = integer("bells", bells, 2), integer("dim", dim, 1), number("gain", gain, positive=True)
    pairs = [(p, q) for p in range(n) for q in (p - 1, p, p + 1) if 0 <= q < n]
    content, read, _, made = _gates(pairs, n, dim, gain)
    at_rest = torch.tensor([[float(p != q)] for p, q in pairs]).double()
    # closed = at rest + call · c: 1 − c of the two places for those that swap, the sum of both c beside one that stays
    call = torch.zeros(len(pairs), n - 1, dtype=torch.float64)
    for i, (p, q) in enumerate(pairs):
        for k in {p - 1, p} & {*range(n - 1)} if p == q else {min(p, q)}:
            call[i, k] = 1 if p == q else -1
    W_uh = torch.cat([read, _closing(call, dim, gain)], 1)
    return W_uh, content, made, _closing(at_rest, dim, gain)[:, 0]


def _gates(pairs: list[tuple[int, int]], n: int, dim: int, gain: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of units u⁺, then u⁻, for each pair (p, q), tanh(gain · (x_q ± 2 closed)), that hold what goes from q to p:
    weights from units to units, and from n · dim contents; those that read x_q, and those that read x_p."""
    place, source = torch.tensor(pairs).T
    gather = torch.nn.functional.one_hot(place, n).double()  # (pairs, n): to which next place a gated content goes
    choose = torch.nn.functional.one_hot(source, n).double()  # whose content a pair gates
    eye, half, both = torch.eye(dim).double(), torch.tensor([[0.5, 0.5]]).double(), torch.ones(2, 1).double()
    held, made = (torch.kron(torch.kron(half, each.T.contiguous()), eye) for each in (choose, gather))
    read = gain * torch.kron(torch.kron(both, choose), eye)
    return read @ made, read, held, made


def _closing(closed: Float[Tensor, "pairs K"], dim: int, gain: float) -> Float[Tensor, "units K"]:
    """Weights of ±2 · gain · ``closed`` into all units of each pair."""
    both = torch.tensor([[2.0], [-2.0]]).double()
    return gain * torch.kron(torch.kron(both, closed), torch.ones(dim, 1).double())


def _roots(turns: list[float]) -> Complex[Tensor, "K"]:
    """exp(2πi turn)."""
    return torch.tensor([cmath.exp(2j * math.pi * turn) for turn in turns], dtype=torch.complex128)
