"""How far the privileged basis depends on what goes into it: its knobs, noise in the weights, their number format.

An open question of arXiv:2310.02430. The basis is used for three things: to find Φ in the weights, to read what a state
holds, and to change it. :func:`measure` judges all three for one choice of the knobs, :func:`stack` makes a curve of
several. Noise is in the weights that the basis is computed from; the states are those of the network as it is, so that
what is lost is lost by the analysis. Beside what is measured stand exact derivatives (:func:`derivative`), bounds that
hold for changes of any size (:func:`pseudo_inverse_bound`, :func:`interaction_bound`) and, for the eigenvalues,
:func:`eigenvalue_conditions` and :func:`count_margin`.

W and Ψ are before, W' and Ψ' after a change δW = W' − W; ‖·‖₂ is the spectral norm, ‖·‖_F that of Frobenius.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.autograd import forward_ad

from emt_core.analysis import contents
from emt_core.analysis.edits import basis as edits
from emt_core.analysis.memories import variable_memories
from emt_core.networks import VectorNetwork
from emt_core.networks.cell import Generators
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.support.checks import integer, number
from emt_core.tasks import VariableBinding
from emt_core.tasks.sequences import each
from emt_core.theory import circuit

MATRICES = ("W_uh", "W_hh", "W_r")  #: what the basis is computed from


@dataclass(frozen=True)
class Run:
    """What networks did at T times, and what their states should hold then: the last S vectors of the sequence."""

    model: VectorNetwork
    states: Float[Tensor, "M T B N"]
    held: Float[Tensor, "T B SD"]


@dataclass(frozen=True)
class Quality:
    """Of each network's basis (…, M), … the choices that :func:`stack` put together.

    Φ: ``phi_error``, ‖Ψ*WΨ − Φ‖_F over ‖Φ‖_F of the effective Φ, and ``largest``, the entry furthest off. Both see how
    long columns are; ``free_cosine`` does not: the mean cosine of the columns that the paper's recursion leaves free
    and Φ's. Contents: ``signs``, the share with the right sign (by chance 0.5), and ``correlation`` with the ±1
    that they stand for, over the sequences, without centring; means over kept entries and times. Edits: one is turned
    in each state; ``followed`` is the share that changes of the signs that should in the 2S steps after it, 0 if
    nothing happens. ``condition`` and ``rank`` are those of :class:`~emt_core.analysis.memories.VariableMemories`.
    """

    phi_error: Float[Tensor, "*V M"]
    largest: Float[Tensor, "*V M"]
    free_cosine: Float[Tensor, "*V M"]
    signs: Float[Tensor, "*V M"]
    correlation: Float[Tensor, "*V M"]
    followed: Float[Tensor, "*V M"]
    condition: Float[Tensor, "*V M"]
    rank: Int[Tensor, "*V M"]


def run(
    model: VectorNetwork,
    task: VariableBinding,
    generator: torch.Generator,
    sequences: int = 128,
    times: Collection[int] | None = None,
) -> Run:
    """Let networks run on random sequences, the same for all, and look at them after ``times`` steps (default: 2S … 4S;
    the input phase ends at S)."""
    S = task.history
    times = range(2 * S, 4 * S + 1) if times is None else times
    if not times or min(times) < S:
        raise ValueError(f"times must hold steps from S = {S} on, got {list(times)}")
    inputs, targets = task.sample(sequences, max(max(times) - S, 1), generator, model.W_r.dtype)
    states, _ = model.rollout(inputs.expand(model.models, -1, -1, -1), max(times) - S)
    sequence = torch.cat([inputs, targets], dim=1)
    held = torch.cat([edits.window(sequence, S, t) for t in times])
    return Run(model, states[:, [t - 1 for t in times]], held)


def measure(
    model: VectorNetwork,
    task: VariableBinding,
    seen: Run,
    grounding: float | int = 0.0,
    *,
    method: str = "paper",
    cutoff: float | int = 1e-6,
    residuals: int = 0,
) -> Quality:
    """How good the basis of ``model`` is: for Φ in its own weights, and for the states of the networks ``seen``, which
    may have other weights. The knobs are those of :func:`~emt_core.analysis.memories.variable_memories`."""
    found = variable_memories(model, task, grounding, method=method, cutoff=cutoff, residuals=residuals)
    states = (model.models, *seen.states.shape[1:3], model.hidden)
    wanted = {"seen.states": (seen.states, states), "seen.held": (seen.held, (*states[1:3], found.size))}
    check_shapes(" to go with model and task", **wanted)
    interaction = found.interaction(model.W_hh)[:, : found.size, : found.size]
    read, held = found.contents(seen.states)[..., found.kept], seen.held[..., found.kept].double()

    # each sequence has one entry turned in its last state, all entries in turn
    h, now, horizon = seen.states[:, -1], seen.held[-1:], 2 * task.history
    entries, sequence = found.kept.nonzero()[:, 0], torch.arange(h.shape[1])
    turned = torch.zeros(now.shape[1:], dtype=torch.bool)
    turned[sequence, entries[sequence % len(entries)]] = True
    outputs = edits.future(seen.model, edits.flip(h, found, turned), horizon)
    before, after = (edits.continuation(task, x, horizon) for x in (now, torch.where(turned, -now, now)))

    return Quality(
        phi_error=contents.interaction_error(model, task, found),
        largest=(interaction - circuit.effective_interaction(task)).abs().amax((1, 2)),
        free_cosine=contents.free_cosines(model, task, found).mean(1),
        signs=(read * held > 0).double().mean((1, 2, 3)),
        correlation=torch.cosine_similarity(read, held[None], dim=2).mean((1, 2)),
        followed=edits.agreement(outputs, after, before).followed.mean(1),
        condition=found.condition,
        rank=torch.tensor(found.rank),
    )


def stack(qualities: Iterable[Quality]) -> Quality:
    """Several along a new first axis, in their order: a curve over the values of a knob, or draws of noise."""
    listed = list(qualities)
    if not listed:
        raise ValueError("qualities must hold at least one, got none")
    return Quality(*(torch.stack([getattr(q, f.name) for q in listed]) for f in fields(Quality)))


def noisy(
    model: VectorNetwork, sigma: float | int, generators: Generators, matrices: Collection[str] = MATRICES
) -> VectorNetwork:
    """The networks in float64 with Gaussian noise on ``matrices``, ``sigma`` times the root mean square of each. One
    generator a model, which draws the same noise whatever ``sigma`` is and whichever matrices get it."""
    sigma, drawn, wide = number("sigma", sigma, positive=False), each(generators), model.to(torch.float64)
    if unknown := set(matrices) - set(MATRICES):
        raise ValueError(f"matrices must be some of {MATRICES}, got {sorted(unknown)}")
    if len(drawn) != model.models:
        raise ValueError(f"generators must be one for each of {model.models} models, got {len(drawn)}")
    weights = dict(wide.weights)
    for name in MATRICES:
        w = weights[name]
        noise = torch.stack([torch.randn(w.shape[1:], dtype=w.dtype, generator=g) for g in drawn])
        if name in matrices:
            weights[name] = w + sigma * w.square().mean((1, 2), keepdim=True).sqrt() * noise
    return wide.with_weights(weights)


def rounded(model: VectorNetwork, dtype: torch.dtype) -> VectorNetwork:
    """The networks, in the dtype that they had, after their weights went through ``dtype``."""
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating-point type, got {dtype}")
    return model.to(dtype).to(model.W_r.dtype)


def derivative(
    function: Callable[[VectorNetwork], Tensor], model: VectorNetwork, change: dict[str, Tensor]
) -> Float[Tensor, "..."]:
    """What a small ``change`` of some weights, by name, does to ``function`` of the networks: its derivative in that
    direction, in float64, by forward mode; of the corrected recursion, δΨ_{k−1} = δW Ψ_k + W δΨ_k − δΨ_S F_k. Exact
    through the whole algorithm while the cut-off leaves out no column."""
    wide = model.to(torch.float64)
    if unknown := change.keys() - wide.weights.keys():
        raise ValueError(f"change must name weights of {sorted(wide.weights)}, got {sorted(unknown)}")
    wanted = {f"change[{name!r}]": (d, tuple(wide.weights[name].shape)) for name, d in change.items()}
    check_shapes(" as the weights", **wanted)
    with forward_ad.dual_level():
        moving = {name: forward_ad.make_dual(wide.weights[name], d.double()) for name, d in change.items()}
        value = function(wide.with_weights(wide.weights | moving))
        tangent = forward_ad.unpack_dual(value).tangent
    return torch.zeros_like(value) if tangent is None else tangent  # None: these weights do not enter


def pseudo_inverse_bound(matrix: Float[Tensor, "M A B"], size: Float[Tensor, "M"]) -> Float[Tensor, "M"]:
    """How far A† can move, in ‖·‖_F, if A moves by ``size`` = ‖δA‖_F: c² size / (1 − c size) with c = ‖A†‖₂. Infinite
    where c size ≥ 1, since A + δA may have a lower rank. From ‖B† − A†‖_F ≤ ‖A†‖₂ ‖B†‖₂ ‖B − A‖_F (Wedin 1973, both of
    full rank)."""
    inverse = 1 / torch.linalg.svdvals(matrix)[:, -1]
    return torch.where(inverse * size < 1, inverse.square() * size / (1 - inverse * size), torch.inf)


def interaction_bound(
    columns: Float[Tensor, "M N K"],
    W_hh: Float[Tensor, "M N N"],
    columns_size: Float[Tensor, "M"],
    weights_size: Float[Tensor, "M"],
) -> Float[Tensor, "M"]:
    """How far Ψ†WΨ can move, in ‖·‖_F, if the ``columns`` Ψ move by ‖δΨ‖_F and W by ‖δW‖₂; the dual basis moves with
    the columns. From δ(Ψ†WΨ) = δΨ† WΨ + Ψ'† (δW Ψ + W' δΨ)."""
    W_norm, columns_norm = torch.linalg.matrix_norm(W_hh, 2), columns.norm(dim=(1, 2))
    inverse, moved = 1 / torch.linalg.svdvals(columns)[:, -1], pseudo_inverse_bound(columns, columns_size)
    beside = weights_size * columns_norm + (W_norm + weights_size) * columns_size
    return moved * torch.linalg.matrix_norm(W_hh @ columns, 2) + (inverse + moved) * beside


def eigenvalue_conditions(
    matrix: Float[Tensor, "M N N"],
) -> tuple[Complex[Tensor, "M N"], Float[Tensor, "M N"]]:
    """Eigenvalues λ and their condition numbers κ = ``1/|yᴴx|``, with left and right eigenvectors y, x of length
    one: to first order ``|δλ| ≤ κ ‖δW‖₂``, which δW ∝ y xᴴ attains. 1 if W is normal; infinite, but for rounding, where
    eigenvectors coincide, as for entries of Φ that are forgotten."""
    found = [scipy.linalg.eig(W, left=True) for W in _finite(matrix).numpy()]
    values, left, right = (torch.from_numpy(np.stack(part).astype(complex)) for part in zip(*found, strict=True))
    return values, 1 / (left.conj() * right).sum(1).abs()


def count_margin(matrix: Float[Tensor, "M N N"], threshold: float | int = 0.9, angles: int = 256) -> Float[Tensor, "M"]:
    """Every change with ‖δW‖₂ below this leaves as many eigenvalues above ``threshold`` in modulus as there are: the
    least singular value of W − zI on the circle ``|z| = threshold``, which an eigenvalue has to cross (Trefethen and
    Embree 2005). It moves no faster than z: from points at so many ``angles`` of the upper half circle it is known to
    π · threshold / (2 · angles), which is taken off. Needs no eigenvectors, and one SVD an angle."""
    threshold, angles = number("threshold", threshold, positive=True), integer("angles", angles, 1)
    places = (torch.arange(angles, dtype=torch.float64) + 0.5) * torch.pi / angles
    z = torch.polar(torch.full_like(places, threshold), places)[:, None, None] * torch.eye(matrix.shape[1])
    least = torch.stack([torch.linalg.svdvals(W - z)[:, -1].min() for W in _finite(matrix)])
    return (least - torch.pi * threshold / (2 * angles)).clamp_min(0)


def _finite(matrix: Float[Tensor, "M N N"]) -> Float[Tensor, "M N N"]:
    if not matrix.isfinite().all():
        raise ValueError("matrix must be finite, got NaN or infinite entries")
    return matrix.detach().double().cpu()
