"""What a linear recurrence stores, in closed form: h ← A h + w(token) leaves, a steps after a token, A^a w(token).

So the spectrum of A decides the code. Eigenvalues between 0 and 1 leave each token the same direction at every age, at
falling size: an onion (``theory.onion``), with the newest token outermost. Eigenvalues on the unit circle turn what was
written at full size, and if the writes fill few of the directions, every age has some of its own: subspaces. Here are
the geometry of both, how often noise lets them be read, how many bits they need, and one memory of each kind by hand.

V is the vocabulary, L the length, n the state's size; position p, from 0, has age a = L − 1 − p. Of an eigenvalue
λ = ρ exp(iθ), ρ is the modulus and θ the phase, in radians a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from emt_core.support.checks import integer, number
from emt_core.theory.codes import states

MOST = 2**16  #: sequences that are counted out, at most


@dataclass(frozen=True)
class Geometry:
    """What ``analysis.layers`` measures of layers, under the same names."""

    sizes: Float[Tensor, "L"]
    overlap: Float[Tensor, "L L"]
    alignment: Float[Tensor, "L L"]
    scaled_by_unit: float


@dataclass(frozen=True)
class Memory:
    """h ← A h + w(token), from h = 0: the matrix, and what each token writes."""

    A: Float[Tensor, "n n"]
    writes: Float[Tensor, "V n"]

    def __post_init__(self) -> None:
        if self.writes.ndim != 2 or len(self.writes) < 2 or self.A.shape != (self.writes.shape[1],) * 2:
            shapes = f"{tuple(self.A.shape)} and {tuple(self.writes.shape)}"
            raise ValueError(f"A must be (n, n) and writes (V, n) with V >= 2, got {shapes}")


def layers(A: Float[Tensor, "n n"], writes: Float[Tensor, "V n"], length: int) -> Float[Tensor, "L V n"]:
    """The layers A^a (w(v) − mean over tokens of w) of all tokens v at all positions, as ``analysis.layers`` measures
    them: exactly so, as the effect of a token does not depend on the others."""
    return written(A, writes - writes.mean(0), length)


def written(A: Float[Tensor, "n n"], writes: Float[Tensor, "V n"], length: int) -> Float[Tensor, "L V n"]:
    """A^a w(v), with what all tokens have in common: what a state is the sum of, and :func:`decode` takes off."""
    found = [writes]
    for _ in range(integer("length", length, 1) - 1):
        found.append(found[-1] @ A.T)
    return torch.stack(found[::-1])


def diagonal(modulus: Float[Tensor, "K"], phase: Float[Tensor, "P"]) -> Float[Tensor, "n n"]:
    """A of K independent modes, of which the first P turn and the others fade: n = K + P. The state holds the P real
    parts, the P imaginary ones, then the others, as ``networks.diagonal.LRU`` does. Its eigenvalues are
    ρ exp(±iθ) and the other ρ, which may be negative."""
    P = _turning(modulus, phase)
    real, i = torch.cat([modulus[:P] * phase.cos()] * 2 + [modulus[P:]]), torch.arange(P)
    A = torch.diag(real)
    A[i, i + P], A[i + P, i] = -modulus[:P] * phase.sin(), modulus[:P] * phase.sin()
    return A


def geometry(A: Float[Tensor, "n n"], C: Float[Tensor, "n n"], length: int) -> Geometry:
    """The geometry of the layers of any A, for writes with covariance C over tokens (divided by V). With
    C_p = A^a C (A^a)ᵀ at position p, of age a, and q of age b, exactly:

        sizes_p = √tr C_p,   overlap_pq = tr(C_p C_q) / (‖C_p‖ ‖C_q‖),
        alignment_pq = tr(A^a C (A^b)ᵀ) / (sizes_p sizes_q),

    and ``scaled_by_unit`` is the share of the largest eigenvalues of the units' tables (A^a C (A^b)ᵀ)_ii over a and b.
    """
    powers = _powers(A, length)
    moved = powers @ C
    covariances = (moved @ powers.mT).flatten(1)
    return _of_units(torch.einsum("pij,qij->ipq", moved, powers), covariances @ covariances.T)


def isotropic(modulus: Float[Tensor, "K"], phase: Float[Tensor, "P"], length: int) -> Geometry:
    """The geometry of :func:`diagonal` modes whose writes have covariance I, exactly, from the eigenvalues alone. With
    sums over all n of them, conjugates both counted:

        sizes_p² = Σ ρ^2a,   alignment_pq = Σ Re λ^a conj(λ)^b / (sizes_p sizes_q),
        overlap_pq = Σ ρ^2(a+b) / √(Σ ρ^4a Σ ρ^4b).

    The overlap does not see the phases: writes that fill all directions still fill them when turned. At one modulus it
    is 1, and only the alignment tells positions apart."""
    kernels, P = _kernels(modulus, phase, length), _turning(modulus, phase)
    units = torch.cat([kernels[:P], kernels])
    squares = units.diagonal(dim1=1, dim2=2)  # ρ^2a of each unit
    return _of_units(units, squares.T @ squares)


def tied(modulus: Float[Tensor, "K"], phase: Float[Tensor, "P"], length: int) -> Geometry:
    """The same where a token writes one number into all K modes, into the real parts of those that turn. Exactly, with
    sums over the K modes: sizes and alignment as for :func:`isotropic`, overlap = alignment², ``scaled_by_unit`` 1.

    It holds too, but for the unit of size, if the state is D such groups of modes, one for each number of an embedding,
    whatever the embedding is. So layers are orthogonal if Σ Re λ^a conj(λ)^b = 0: at unit modulus, if the phases'
    Fourier transform is zero at the lag a − b."""
    inner = _kernels(modulus, phase, length).sum(0)
    alignment = _cosines(inner)
    return Geometry(inner.diagonal().sqrt(), alignment.square(), alignment, 1.0)


def exact_of_ml_bounds(
    layers: Float[Tensor, "L V n"], tokens: Int64[Tensor, "L B"], sigma: float | int
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """Between which bounds the probability lies that the nearest of all V^L states is that of the sequence itself, once
    Gaussian noise of standard deviation ``sigma`` is added to each number of its state. Two states at distance d are
    confused with probability Q(d / 2σ), the normal tail. From below: one less the sum of it over all other sequences,
    or 0 (union bound); from above: one less its largest. Ties are taken to be broken at random.

    Nearest is most likely, so the mean of the upper bound over all sequences holds for every decoder of sequences that
    are equally likely. The mean over random ``tokens`` estimates either, with standard error std / √B.

    Raises:
        ValueError: there are more than :data:`MOST` sequences.
    """
    L, V, n = layers.shape
    if V**L > MOST:
        raise ValueError(f"layers must allow at most {MOST} sequences, got {V}^{L}")
    _check_tokens(tokens, V)
    sigma, every = number("sigma", sigma, positive=True), layers.new_zeros(1, n)
    for layer in layers:
        every = (every[:, None] + layer).flatten(0, 1)
    own = (tokens * V ** torch.arange(L - 1, -1, -1)[:, None]).sum(0)
    below, above = [], []
    for h, at in zip(*(x.split(max(1, 2**22 // V**L)) for x in (states(layers, tokens), own)), strict=True):
        confused = _tail(_distances(h, every) / (2 * sigma))
        confused[torch.arange(len(h)), at] = 0
        below.append((1 - confused.sum(1)).clamp_min(0))
        above.append(1 - confused.amax(1))
    return torch.cat(below), torch.cat(above)


def exact_of_peeling_bounds(
    layers: Float[Tensor, "L V n"], tokens: Int64[Tensor, "L B"], sigma: float | int, order: Sequence[int] | None = None
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """The same for :func:`decode`, which reads position after position in an ``order`` (None: newest first), each time
    the nearest layer, and takes it off. Any length will do.

    All are read right exactly if each would be with all before it taken off truly. Then what is left is ℓ_p(v) + ρ,
    ρ the sum of the sequence's layers not yet read, and noise, and token b is nearer than v with probability
    Q((‖d‖/2 − ⟨ρ, d⟩/‖d‖) / σ), d = ℓ_p(b) − ℓ_p(v). From below: one less the sum over positions and b; from above:
    one less the largest. For every sequence the first is at least 1 − L (V − 1) Q(:func:`slack` / σ)."""
    _check_tokens(tokens, layers.shape[1])
    sigma, rest = number("sigma", sigma, positive=True), states(layers, tokens)
    union, worst = rest.new_zeros(len(rest)), rest.new_zeros(len(rest))
    for p in _order(order, len(layers)):
        own = layers[p][tokens[p]]
        rest, d = rest - own, layers[p] - own[:, None]
        far = d.norm(dim=2)
        reach = torch.einsum("bi,bvi->bv", rest, d) / far.clamp_min(1e-300)
        wrong = _tail((far / 2 - reach) / sigma).scatter(1, tokens[p][:, None], 0)
        union, worst = union + wrong.sum(1), torch.maximum(worst, wrong.amax(1))
    return (1 - union).clamp_min(0), 1 - worst


def slack(layers: Float[Tensor, "L V n"], order: Sequence[int] | None = None) -> float:
    """By what norm any state may be off so that :func:`decode` still reads all tokens right: the least over positions
    and pairs of tokens of ‖d‖/2 − Σ_q max_u ⟨ℓ_q(u), d⟩ / ‖d‖, q over positions not yet read. Any smaller error is
    harmless, and one of that norm ties two tokens. At or below 0 some sequence is tied or read wrong without error.
    In ``formats.fixed(bits, largest)``, √n largest / (2^bits − 1) below the slack is enough."""
    found, order = math.inf, _order(order, len(layers))
    for k, p in enumerate(order):
        d = layers[p][:, None] - layers[p]
        far = d.norm(dim=2)
        reach = torch.einsum("qui,abi->quab", layers[order[k + 1 :]], d).amax(1).sum(0) / far.clamp_min(1e-300)
        found = min(found, float((far / 2 - reach).fill_diagonal_(math.inf).min()))
    return found


def capacity(n: int, bits: float | int, vocabulary: int) -> int:
    """The longest sequences of which n numbers of ``bits`` bits can hold all: V^L ≤ 2^(n bits). Of longer ones, no
    decoder reads more than a share 2^(n bits) / V^L."""
    held = integer("n", n, 1) * number("bits", bits, positive=True)
    return math.floor(held / math.log2(integer("vocabulary", vocabulary, 2)) + 1e-9)


def bits_to_peel(
    memory: Memory, length: int, order: Sequence[int] | None = None, every_step: bool = False
) -> float | int:
    """Significant bits t, the hidden one counted (``formats.mantissa(t - 1)``), that suffice for :func:`decode` to read
    all sequences of a length from a state that is rounded once, or after ``every_step``. Infinite where the
    :func:`slack` is not positive.

    Rounding to nearest moves a number by at most 2^−t of it, as long as the format's range allows, hence a state by at
    most 2^−t H. Here H² = Σ_pq max ⟨ℓ_p(u), ℓ_q(v)⟩ over pairs of tokens, u = v where p = q, and 0 where negative,
    bounds its square. Rounded once, 2^−t H < slack suffices. At every step errors E add up to at most 2^−t G (H + E),
    G = Σ_a ‖A^a‖, which is below the slack if 2^t > G (H + slack) / slack.

    Phases cost few bits, about ½ log2 L (3/2 log2 L at every step), but many numbers; for onions see
    :func:`mantissa_for`."""
    stored = written(memory.A, memory.writes, length)
    inner = torch.einsum("pui,qvi->pquv", stored, stored)
    most = inner.amax((2, 3)).clamp_min(0)
    most.diagonal().copy_(stored.square().sum(2).amax(1))
    H, left = float(most.sum().sqrt()), slack(stored, order)
    if left <= 0:
        return math.inf
    G = float(torch.linalg.matrix_norm(_powers(memory.A, length), 2).sum())
    return max(1, math.floor(math.log2(G * (H + left) / left if every_step else H / left)) + 1)


def mantissa_for(length: int, gamma: float | int, margin: float | int) -> int:
    """Significant bits t, the hidden one counted, that suffice to peel an onion of L layers, each γ times the one
    before: the least t with 2^−t < margin γ^(L−1), that is, just above (L − 1) log2(1/γ) + log2(1/margin).

    ``margin`` is δ / 2H: half the least distance of two tokens in the largest layer, over the largest norm of a state,
    at most max ‖e‖ / (1 − γ). For γ up to ``onion.exact_gamma_bound`` each peel then has a :func:`slack` of at least
    γ^(L−1) δ/2, and rounding the state once moves it by at most 2^−t H. One layer more costs log2(1/γ) bits."""
    needed = (integer("length", length, 1) - 1) * _octaves(gamma) - math.log2(number("margin", margin, positive=True))
    return max(1, math.floor(needed) + 1)


def layers_of_mantissa(bits: int, gamma: float | int, margin: float | int) -> int:
    """The most layers for which :func:`mantissa_for` asks for no more than ``bits``."""
    left = integer("bits", bits, 1) + math.log2(number("margin", margin, positive=True))
    return max(0, math.ceil(left / _octaves(gamma)))


def layers_of_exponent(largest: float | int, smallest: float | int, gamma: float | int) -> int:
    """How many layers, from one whose largest entry is ``largest`` on, are not rounded to zero if each is stored alone
    in a format whose least positive number is ``smallest``: γ^(L−1) largest > smallest / 2. At best ``largest`` is the
    format's largest number."""
    top, bottom = number("largest", largest, positive=True), number("smallest", smallest, positive=True)
    return max(0, math.ceil((math.log2(top) - math.log2(bottom) + 1) / _octaves(gamma)))


def positions_of_phases(bits: int, pairs: int = 1) -> int:
    """How many positions of a single token ``pairs`` = K of :func:`tied` modes tell apart for sure, whose phases are
    2π/L, 2·2π/L, …, K·2π/L, after rounding to t = ``bits`` significant bits: the largest L.

    Two layers of norm s whose alignment is c are s √((1 − c)/2) from halfway, and rounding moves one by at most 2^−t s.
    Neighbours come first into doubt, with (1 − c)/2 = Σ_k sin²(πk/L) / K. So L ≈ π 2^t for one pair and π K 2^t / √3
    for many, where more are told apart as a rule, since errors seldom all point at a neighbour. This is a matter of
    resolution: to hold L tokens at once takes K ≥ L/2 pairs (:func:`phase_memory`)."""
    t, K = integer("bits", bits, 1), integer("pairs", pairs, 1)
    low, high = 2 * K + 1, math.ceil(math.pi * K * 2**t) + 1  # all alignments are −1/2K; sin x ≤ x
    while high - low > 1:
        L = (low + high) // 2
        apart = sum(math.sin(math.pi * k / L) ** 2 for k in range(1, K + 1)) > K * 4.0**-t * (1 + 1e-12)
        low, high = (L, high) if apart else (low, L)
    return low


def phase_memory(embedding: Float[Tensor, "V D"], length: int) -> Memory:
    """L positions in orthogonal subspaces by phases alone: K = ⌈L/2⌉ pairs of modes for each of the D numbers, with the
    phases π/2K, 3π/2K, …, (2K − 1)π/2K. A is orthogonal, and for :func:`tied` writes Σ_k cos((2k − 1)πτ/2K) =
    sin(πτ) / 2 sin(πτ/2K) is 0 at every lag τ from 1 to 2K − 1. n = 2KD, which is LD if L is even. Layers are as long,
    and as far apart, as rows of the embedding."""
    K, D = (integer("length", length, 1) + 1) // 2, embedding.shape[1]
    phase = math.pi * (2 * torch.arange(K, dtype=embedding.dtype) + 1) / (2 * K)
    A = diagonal(torch.ones(K * D, dtype=embedding.dtype), phase.repeat_interleave(D))
    return Memory(A, torch.cat([embedding.repeat(1, K) / K**0.5, torch.zeros_like(embedding).repeat(1, K)], dim=1))


def positive_memory(embedding: Float[Tensor, "V n"], decay: Float[Tensor, "n"]) -> Memory:
    """An onion whose numbers fade each at its own rate, ``decay`` strictly between 0 and 1. With one rate γ for all, it
    is ``onion.Onion(embedding, γ)`` of the sequence read backwards."""
    if not ((decay > 0) & (decay < 1)).all():
        raise ValueError(f"decay must lie between 0 and 1, got {decay.tolist()}")
    return Memory(torch.diag(decay), embedding)


def encode(
    memory: Memory, tokens: Int64[Tensor, "L B"], rounding: Callable[[Tensor], Tensor] | None = None
) -> Float[Tensor, "B n"]:
    """The state of each sequence; ``rounding`` is applied to it after every step."""
    _check_tokens(tokens, len(memory.writes))
    h = memory.writes.new_zeros(tokens.shape[1], memory.A.shape[0])
    for row in tokens:
        h = h @ memory.A.T + memory.writes[row]
        h = h if rounding is None else rounding(h)
    return h


def decode(
    memory: Memory, h: Float[Tensor, "B n"], length: int, order: Sequence[int] | None = None
) -> Int64[Tensor, "L B"]:
    """The tokens of states, position after position in ``order`` (None: newest first, the outermost of an onion): the
    nearest layer is read, and taken off. Where layers are orthogonal, what is taken off makes no difference: every
    position is then read linearly, and in any order."""
    stored = written(memory.A, memory.writes, length)
    read = torch.zeros(length, len(h), dtype=torch.int64)
    for p in _order(order, length):
        read[p] = _distances(h, stored[p]).argmin(1)
        h = h - stored[p][read[p]]
    return read


def _powers(A: Tensor, length: int) -> Float[Tensor, "L n n"]:
    """A^(L−1), …, A, 1: one for each position."""
    found = [torch.eye(len(A), dtype=A.dtype)]
    for _ in range(integer("length", length, 1) - 1):
        found.append(A @ found[-1])
    return torch.stack(found[::-1])


def _turning(modulus: Tensor, phase: Tensor) -> int:
    if len(phase) > len(modulus):
        raise ValueError(f"phase must have at most one number per modulus ({len(modulus)}), got {len(phase)}")
    return len(phase)


def _kernels(modulus: Tensor, phase: Tensor, length: int) -> Float[Tensor, "K L L"]:
    """Re λ^a conj(λ)^b of each mode."""
    turn = torch.cat([phase, phase.new_zeros(len(modulus) - _turning(modulus, phase))])
    ages = torch.arange(integer("length", length, 1) - 1, -1, -1)
    faded = modulus[:, None] ** ages
    return faded[:, :, None] * faded[:, None] * torch.cos(turn[:, None, None] * (ages[:, None] - ages))


def _of_units(units: Float[Tensor, "n L L"], covariances: Float[Tensor, "L L"]) -> Geometry:
    """From inner products of positions: of each unit's numbers over tokens, and of the covariances."""
    inner = units.sum(0)
    share = float(torch.linalg.eigvalsh(units)[:, -1].sum() / inner.trace())
    return Geometry(inner.diagonal().sqrt(), _cosines(covariances), _cosines(inner), share)


def _cosines(inner: Float[Tensor, "L L"]) -> Float[Tensor, "L L"]:
    size = inner.diagonal().sqrt()
    return inner / (size[:, None] * size)


def _tail(x: Tensor) -> Tensor:
    """Q(x): how often a standard normal number exceeds x."""
    return torch.special.erfc(x / 2**0.5) / 2


def _distances(h: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(h, others, compute_mode="donot_use_mm_for_euclid_dist")


def _check_tokens(tokens: Tensor, vocabulary: int) -> None:
    if tokens.numel() and (tokens.min() < 0 or tokens.max() >= vocabulary):
        raise ValueError(f"tokens must lie in 0 … {vocabulary - 1}, got {int(tokens.min())} … {int(tokens.max())}")


def _order(order: Sequence[int] | None, length: int) -> list[int]:
    found = list(range(length))[::-1] if order is None else list(order)
    if sorted(found) != list(range(length)):
        raise ValueError(f"order must hold the positions 0 … {length - 1}, got {found}")
    return found


def _octaves(gamma: float | int) -> float:
    """By how many factors of two a layer is smaller than the one before."""
    if not 0 < gamma < 1:
        raise ValueError(f"gamma must lie between 0 and 1, got {gamma}")
    return -math.log2(gamma)
