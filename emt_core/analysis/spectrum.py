"""Eigenvalues that keep their size, and how far a learned spectrum is from the theory's.

Source: the table of arXiv:2310.02430. The spectral error is the mean absolute difference of the arguments (radians) of
eigenvalues of modulus above a threshold, matched one to one. The authors match greedily, in the order in which the
eigenvalues are returned; that depends on the order and can only be worse than the best assignment, used here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Inexact, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@dataclass(frozen=True)
class SpectralMatch:
    """``counts`` (…, 2), … the batch shape: eigenvalues above the threshold on either side; ``matched``: the counts are
    equal, both matrices finite; ``error``: mean absolute angle of partners in radians, NaN where not matched."""

    matched: Bool[Tensor, "..."]
    error: Float[Tensor, "..."]
    counts: Int[Tensor, "... 2"]


def eigenvalues(matrix: Inexact[Tensor, "... N N"]) -> Complex[Tensor, "... N"]:
    """Eigenvalues in complex128 of real or complex matrices of any dtype; NaN for a matrix that is not finite."""
    finite = matrix.isfinite().all(-1).all(-1)
    wide = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    values = torch.linalg.eigvals(torch.where(finite[..., None, None], wide, 0.0).cpu())
    values[~finite.cpu()] = complex(float("nan"), float("nan"))
    return values


def angle_between(a: Complex[np.ndarray, "..."], b: Complex[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Absolute difference of two arguments on the circle, in [0, π]; exactly zero for equal numbers."""
    # not angle(a·b̄): with fused multiply-add the imaginary part of z·z̄ is a rounding residue, not zero
    gap = np.abs(np.angle(a) - np.angle(b))
    return np.minimum(gap, 2 * np.pi - gap)


def match_optimal(
    learned: Complex[np.ndarray, "K"], theory: Complex[np.ndarray, "K"]
) -> tuple[Int[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """The one-to-one assignment of least total angle: partner of each ``learned`` in ``theory``, and the angles."""
    cost = _angles(learned, theory)
    rows, partner = linear_sum_assignment(cost)
    return partner, cost[rows, partner]


def match_greedy(
    learned: Complex[np.ndarray, "K"], theory: Complex[np.ndarray, "K"]
) -> tuple[Int[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """The paper's matching, for comparison: each ``learned`` value, in the order given, takes the nearest one left."""
    cost = _angles(learned, theory)
    partner = np.empty(len(learned), dtype=int)
    for i in range(len(learned)):
        partner[i] = cost[i].argmin()
        cost[i + 1 :, partner[i]] = np.inf
    return partner, cost[np.arange(len(learned)), partner]


def _angles(learned: np.ndarray, theory: np.ndarray) -> np.ndarray:
    if len(learned) != len(theory):
        raise ValueError(f"learned and theory must have equally many eigenvalues, got {len(learned)} and {len(theory)}")
    return angle_between(learned[:, None], theory[None, :])


def spectral_error(
    learned: Inexact[Tensor, "*#batch N N"],
    theory: Inexact[Tensor, "*#batch K K"],
    threshold: float | int = 0.9,
    matching: str = "optimal",
) -> SpectralMatch:
    """Compare the eigenvalues of modulus above ``threshold`` of each ``learned`` matrix (W_hh) with those of ``theory``
    (the effective Φ; one for all, or one each).

    Symmetric in the two, and exactly zero between a matrix and itself, with ``matching="optimal"``; ``"greedy"`` is the
    paper's variant. Two spectra that both have no eigenvalue above the threshold match with error 0. The threshold is
    positive: an eigenvalue that is zero is computed as a rounding residue with an argument of its own, and where k of
    them share one eigenvector, as for entries of Φ off every cycle, that residue may be as large as ε^(1/k).
    """
    if matching not in ("optimal", "greedy"):
        raise ValueError(f"matching must be 'optimal' or 'greedy', got {matching!r}")
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    for name, matrices in (("learned", learned), ("theory", theory)):
        if matrices.ndim < 2 or matrices.shape[-1] != matrices.shape[-2]:
            raise ValueError(f"{name} must hold square matrices, got shape {tuple(matrices.shape)}")
    try:
        batch = torch.broadcast_shapes(learned.shape[:-2], theory.shape[:-2])
    except RuntimeError:
        shapes = f"{tuple(learned.shape)} and {tuple(theory.shape)}"
        raise ValueError(f"learned and theory must have batch shapes that broadcast, got {shapes}") from None
    match = match_optimal if matching == "optimal" else match_greedy
    left, right = (values.expand(*batch, -1).numpy() for values in (eigenvalues(learned), eigenvalues(theory)))
    error, counts = torch.full(batch, torch.nan, dtype=torch.float64), torch.zeros(*batch, 2, dtype=torch.long)
    matched = torch.zeros(batch, dtype=torch.bool)
    for place in np.ndindex(*batch):
        a, b = left[place], right[place]
        finite = np.isfinite(a).all() and np.isfinite(b).all()
        a, b = a[np.abs(a) > threshold], b[np.abs(b) > threshold]  # NaN is above nothing: counted as none
        counts[place] = torch.tensor([len(a), len(b)])
        if finite and len(a) == len(b):
            matched[place], error[place] = True, match(a, b)[1].mean() if len(a) else 0.0
    return SpectralMatch(matched, error, counts)
