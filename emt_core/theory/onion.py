"""Onions: a sequence stored as one sum, each position at its own order of magnitude, and read by peeling.

A token at position p, counted from 0, adds γ^p e(token) to the state. What is largest is the first token; take it away
and divide by γ, and what is largest is the second. Csordás et al. (2024, arXiv:2408.10920) find that small GRUs that
repeat sequences store them so. Here the code is written by hand: when is peeling exact, and how many layers does a
number format hold? (``training.onion_toy`` learns it.) V is the vocabulary, L the length, N the state's size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from emt_core.support.checks import integer
from emt_core.support.random_streams import stream

#: The number formats that a state may be stored in, from the widest.
FORMATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class Onion:
    """One vector per token, and the factor γ from each layer to the next."""

    embedding: Float[Tensor, "V N"]
    gamma: float | int

    def __post_init__(self) -> None:
        if self.embedding.ndim != 2 or len(self.embedding) < 2 or not self.embedding.isfinite().all():
            raise ValueError(f"embedding must be finite, (V, N) with V >= 2, got shape {tuple(self.embedding.shape)}")
        if not 0 < self.gamma < 1:
            raise ValueError(f"gamma must lie between 0 and 1, got {self.gamma}")


def hand_built(vocabulary: int, dim: int, gamma: float | int | None = None, kind: str = "grid", seed: int = 0) -> Onion:
    """An onion with an explicit embedding in float64; ``gamma`` None is :func:`exact_gamma_bound`. ``kind``: "grid",
    the first V of m^N lattice points in [−1, 1]^N, m as small as possible (m = 2: each coordinate is a binary number);
    "circle", V points of the unit circle, N = 2; "one-hot", N ≥ V; "random", unit vectors, ``seed``."""
    v, n = integer("vocabulary", vocabulary, 2), integer("dim", dim, 1)
    if kind == "grid":
        side = next(m for m in itertools.count(2) if m**n >= v)
        digits = [[token // side**i % side for i in range(n)] for token in range(v)]
        embedding = 2 * torch.tensor(digits, dtype=torch.float64) / (side - 1) - 1
    elif kind == "circle" and n == 2:
        angle = 2 * math.pi * torch.arange(v, dtype=torch.float64) / v
        embedding = torch.stack([angle.cos(), angle.sin()], 1)
    elif kind == "one-hot" and n >= v:
        embedding = torch.eye(v, n, dtype=torch.float64)
    elif kind == "random":
        drawn = torch.randn(v, n, dtype=torch.float64, generator=stream(seed, "embedding"))
        embedding = drawn / drawn.norm(dim=1, keepdim=True)
    else:
        known = 'kind must be "grid", "circle" (dim 2), "one-hot" (dim at least vocabulary) or "random"'
        raise ValueError(f"{known}, got {kind!r} with vocabulary {v} and dim {n}")
    return Onion(embedding, exact_gamma_bound(embedding) if gamma is None else gamma)


def encode(
    onion: Onion, tokens: Int64[Tensor, "L B"], lengths: Int64[Tensor, "B"] | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "B N"]:  # fmt: skip
    """h = Σ_p γ^p e(token_p) over the first ``lengths`` tokens of each sequence (None: over all).
    ``dtype``, one of :data:`FORMATS`: each layer is rounded to that format, and the state after each sum, as in a
    network that keeps its state so. The result is that state, in the embedding's own dtype."""
    mask, e = _mask(lengths, *tokens.shape), onion.embedding
    used = tokens[mask]
    if used.numel() and (used.min() < 0 or used.max() >= len(e)):
        raise ValueError(f"tokens must lie in 0 … {len(e) - 1}, got {int(used.min())} … {int(used.max())}")
    stored = e.dtype if dtype is None else dtype
    significand(stored)
    h = torch.zeros_like(e[:1]).expand(tokens.shape[1], -1)
    for p, (token, there) in enumerate(zip(tokens, mask, strict=True)):
        layer = onion.gamma**p * e[token.where(there, 0)] * there[:, None]
        h = (h + layer.to(stored).to(e.dtype)).to(stored).to(e.dtype)
    return h


def peel(
    onion: Onion, h: Float[Tensor, "B N"], length: int, lengths: Int64[Tensor, "B"] | None = None,
    readout: tuple[Float[Tensor, "N V"], Float[Tensor, "V"]] | None = None,
) -> tuple[Int64[Tensor, "L B"], Float[Tensor, "R B N"]]:  # fmt: skip
    """Find the nearest embedding, take it away, divide by γ, repeat; a wrong token spoils those after it.
    Returns the tokens, zero beyond a sequence's end, and what was left before each peel and after the last (R = L + 1):
    (h − Σ_{s<p} γ^s e_s) / γ^p. With a ``readout``, weights and bias, the largest logit is taken, not the nearest."""
    mask, e = _mask(lengths, integer("length", length, 0), len(h)), onion.embedding
    if h.shape[1:] != e.shape[1:]:
        raise ValueError(f"h must have shape (B, {e.shape[1]}) to go with the embedding, got {tuple(h.shape)}")
    # the nearest is the largest logit of a linear read-out too: |r − e|² = |r|² − 2 (⟨r, e⟩ − |e|²/2)
    weights, bias = (e.T, -e.square().sum(1) / 2) if readout is None else readout
    tokens, residuals = torch.zeros_like(mask, dtype=torch.int64), [h]
    for p, there in enumerate(mask):
        found = (residuals[p] @ weights + bias).argmax(1)
        tokens[p] = found * there
        residuals.append((residuals[p] - e[found] * there[:, None]) / onion.gamma)
    return tokens, torch.stack(residuals)


def decode(onion: Onion, h: Float[Tensor, "B N"], length: int, lengths: Int64[Tensor, "B"] | None = None) -> Tensor:
    """The tokens (L, B) that :func:`peel` finds."""
    return peel(onion, h, length, lengths)[0]


def exact_gamma_bound(embedding: Float[Tensor, "V N"], length: int | None = None) -> float:
    """The γ up to which peeling reads all sequences right, of any length or of at most ``length`` tokens.

    Where token a is to be peeled, the state is e_a + ρ, with ρ = Σ_{k≥1} γ^k e_{s_k} the layers below. b is farther off
    exactly if ⟨ρ, e_b − e_a⟩ < ‖e_b − e_a‖² / 2. Over all that may follow, the left side reaches (γ + γ² + …) m_ab,
    m_ab = max_v ⟨e_v, e_b − e_a⟩. With x the least ‖e_b − e_a‖² / (2 m_ab) over pairs with m_ab > 0:

    - any length: γ ≤ x / (1 + x). At the bound every finite ρ stays below it; beyond, some long sequence fails.
    - at most L tokens: γ + … + γ^(L−1) < x; at the bound, two tokens tie. Infinite for L = 1.

    For any linear read-out the first is at most 1/2, and V^(−1/N) unless the embedding is flat: chapter Onions.
    """
    e = embedding.double()
    inner = e @ e.T
    most = (inner[:, None] - inner).amax(2).clamp_min(1e-300)  # m, both orders of each pair
    squared = torch.cdist(e, e, compute_mode="donot_use_mm_for_euclid_dist").square()
    x = float((squared / (2 * most)).fill_diagonal_(math.inf).min())
    if length is None:
        return x / (1 + x)
    low, high = 0.0, 1.0 if integer("length", length, 1) > 1 else math.inf
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if sum(middle**k for k in range(1, length)) <= x else (low, middle)
    return high if length == 1 else low


def significand(dtype: torch.dtype) -> int:
    """Significant bits t of a format, the hidden one counted: neighbours are 2^(1−t) apart between 1 and 2."""
    if dtype not in FORMATS:
        raise ValueError(f"dtype must be one of {[str(d).removeprefix('torch.') for d in FORMATS]}, got {dtype}")
    return 1 - round(math.log2(torch.finfo(dtype).eps))


def layer_bound(onion: Onion, dtype: torch.dtype) -> dict[str, int]:
    """How many layers a state in ``dtype`` holds, by four arguments. E is the largest entry of the embedding; half(x) =
    2^(⌊log2 x⌋ − t), and at least s/2, half the distance of neighbours at x, with s the smallest positive number; δ is
    the least distance of two tokens, δ∞ the same measured by the largest coordinate.

    - "sure": all sequences of up to so many tokens are read right, if peeled exactly. Writing errs by at most
      r = Σ_p half(E γ^p) + (L − 1) half(H) in a coordinate, H the largest sum. For γ up to the exact bound, the layers
      below leave at least γ^(L−1) δ/2 of half the distance to another token; so √N r < γ^(L−1) δ/2. Else 0.
    - "significand": a rule of thumb. Two last layers differ by γ^(L−1) δ∞, and beside an entry E (1 + … + γ^(L−1)) it
      must be more than the distance of neighbours: about t / log2(1/γ) layers.
    - "exponent": no longer sequence can be read, as γ^(L−1) E ≤ s/2 is rounded to zero.
    - "counting": no decoder reads all longer sequences, as V^L exceeds the 2^(bits·N) states.
    """
    t, info = significand(dtype), torch.finfo(dtype)
    e, gamma, smallest = onion.embedding.double(), onion.gamma, info.smallest_normal * info.eps
    E, delta, delta_inf = float(e.abs().max()), *(float(torch.pdist(e, p).min()) for p in (2, math.inf))
    exact = gamma <= exact_gamma_bound(e) * (1 + 4e-16)

    def half(x: float) -> float:
        return max(2.0 ** (math.floor(math.log2(x)) - t), smallest / 2) if x > 0 else 0.0

    def writing(n: int) -> float:
        layers = [E * gamma**p for p in range(n)]
        off = sum(map(half, layers))
        return off + (n - 1) * half((sum(layers) + off) * (1 + 2.0**-t) ** n)

    def longest(holds: Callable[[int], bool]) -> int:
        return next(n for n in itertools.count() if not holds(n + 1))

    return {
        "sure": longest(lambda n: exact and e.shape[1] ** 0.5 * writing(n) < gamma ** (n - 1) * delta / 2),
        "significand": longest(lambda n: gamma ** (n - 1) * delta_inf > 2 * half(E * (1 - gamma**n) / (1 - gamma))),
        "exponent": longest(lambda n: gamma ** (n - 1) * E > smallest / 2),
        "counting": math.floor(info.bits * e.shape[1] / math.log2(len(e)) + 1e-9),
    }


def layers_that_survive(
    onion: Onion, dtype: torch.dtype, *, share: float | int = 1.0, sequences: int = 1000, seed: int = 0, most: int = 200
) -> int:
    """The breakdown point, measured: the largest L, at most ``most``, so that of random sequences of 1, 2, …, L tokens
    at least ``share`` are read right as a whole after storage in ``dtype``."""
    if not 0 < share <= 1:
        raise ValueError(f"share must lie above 0 and be at most 1, got {share}")
    shape = integer("most", most, 1), integer("sequences", sequences, 1)
    tokens = torch.randint(len(onion.embedding), shape, generator=stream(seed, "sequences"))
    for length in range(1, most + 1):
        read = decode(onion, encode(onion, tokens[:length], dtype=dtype), length)
        if (read == tokens[:length]).all(0).double().mean() < share:
            return length - 1
    return most


def _mask(lengths: Tensor | None, length: int, batch: int) -> Tensor:
    """(L, B), True where a sequence has a token."""
    if lengths is None:
        return torch.ones(length, batch, dtype=torch.bool)
    if lengths.shape != (batch,) or (batch and (lengths.min() < 0 or lengths.max() > length)):
        raise ValueError(f"lengths must hold {batch} numbers in 0 … {length}, got {lengths.tolist()}")
    return torch.arange(length)[:, None] < lengths
