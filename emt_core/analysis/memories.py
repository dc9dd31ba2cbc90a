"""Variable memories and the privileged basis, computed from the weights of a trained network.

Source: Algorithm 1 of arXiv:2310.02430. Two recursions lead from the newest memory Ψ_S to the oldest:

- ``"paper"``: Ψ_k = W_hh^(S−k) Ψ_S, columns normalised; columns that the effective Φ lacks are dropped, then the dual
  is a pseudo-inverse of what is left.
- ``"corrected"``: in the circuit W_hh Ψ_k = Ψ_{k−1} + Ψ_S F_k, F_k the part of F that reads variable k. Hence
  Ψ_{k−1} = W_hh Ψ_k − Ψ_S F_k, unnormalised, with the dual of all S·D columns, of which some are then dropped.
  Grounded in W_uh this recovers Φ, up to rounding, for every task and every basis of full column rank.

Rounding is seen through the basis and its inverse: W_hh as it is stored is off by ε ‖W_hh‖ ≤ ε κ ‖Φ‖, with κ the
condition number of the memory columns and ε = 2.2e-16, and Ψ* W_hh Ψ by up to κ times that. So the entries of the
recovered Φ, of order 1, are off by less than 10 N ε κ² (measured: by up to 5 N ε κ² at κ ≈ 1, by a tenth of N ε κ² at
κ > 100): nothing is left of them at κ = 1e8. ``condition`` says which κ it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emt_core.networks import VectorNetwork
from emt_core.support.random_streams import stream
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

#: ``("memory", k, j)`` for dimension j of variable memory k (1 = oldest, S = newest); ``("residual", i, 0)``, the rest
Label = tuple[str, int, int]


@dataclass(frozen=True)
class VariableMemories:
    """A basis of the state space with a meaning for every column.

    ``basis`` (M, N, K) and ``dual`` (M, K, N): first the S·D memory columns, oldest block first, zero (in both) where
    ``kept`` (S·D) is False, then the residual directions. ``dual @ basis`` is the identity on what is kept.
    ``rank`` (M): how many independent memory directions the pseudo-inverse kept, of kept.sum() (``"paper"``) or S·D
    (``"corrected"``) columns; fewer means that the cut-off bit, and ``dual @ basis`` is then a projection only.
    ``condition`` (M), κ: the largest singular value of these columns over the smallest, infinite if they depend on each
    other: how much of the memories is rounding, see the module.
    """

    basis: Float[Tensor, "M N K"]
    dual: Float[Tensor, "M K N"]
    labels: tuple[Label, ...]
    kept: Bool[Tensor, "SD"]
    rank: tuple[int, ...]
    condition: Float[Tensor, "M"]

    def __getitem__(self, models: list[int]) -> VariableMemories:
        """The bases of the chosen models, as ``model[models]`` chooses networks."""
        rank = tuple(self.rank[m] for m in models)
        return replace(
            self, basis=self.basis[models], dual=self.dual[models], rank=rank, condition=self.condition[models]
        )

    @property
    def size(self) -> int:
        """S·D, the number of memory columns."""
        return len(self.kept)

    def interaction(self, W_hh: Float[Tensor, "M N N"]) -> Float[Tensor, "M K K"]:
        """W_hh in this basis, Ψ* W_hh Ψ: the theory says its first S·D rows and columns are the effective Φ."""
        return self.dual @ W_hh.to(self.basis.dtype) @ self.basis

    def contents(self, h: Float[Tensor, "M *T B N"]) -> Float[Tensor, "M *T B SD"]:
        """What the memories hold in the states ``h``: Ψ* h, memory part only."""
        dual = self.dual[:, : self.size]
        return torch.einsum("mkn,m...n->m...k", dual, h.to(dual.dtype))


def variable_memories(
    model: VectorNetwork,
    task: VariableBinding,
    grounding: float | int = 0.0,
    *,
    method: str = "paper",
    cutoff: float | int = 1e-6,
    residuals: int | None = None,
    generator: torch.Generator | None = None,
) -> VariableMemories:
    """The privileged basis of ``model`` for ``task``, in float64.

    Args:
        grounding: α in [0, 1]; the newest memory is Ψ_S = α W_uh + (1 − α) W_r†: 1 the input side, 0 the read-out side.
        method: ``"paper"`` or ``"corrected"``; what they are and how exact they are is said in the module.
        cutoff: singular values below ``cutoff`` times the largest count as zero in the pseudo-inverse.
        residuals: how many residual directions follow the memories (default: as many as complete the basis). They are
            the principal components of (I − ΨΨ*)h over a simulated run of 2S output steps on 256 random inputs, drawn
            with ``generator`` (by default always the same ones).
    """
    S, D, N = task.history, task.dim, model.hidden
    if model.dim != D:
        raise ValueError(f"task must have dim {model.dim} as the model, got {D}")
    if not 0 <= grounding <= 1:
        raise ValueError(f"grounding must lie in [0, 1], got {grounding}")
    if method not in ("paper", "corrected"):
        raise ValueError(f"method must be 'paper' or 'corrected', got {method!r}")
    if not 0 <= cutoff < 1:
        raise ValueError(f"cutoff must lie in [0, 1), got {cutoff}")
    kept = circuit.on_cycle(task)
    free = max(N - int(kept.sum()), 0)
    residuals = free if residuals is None else residuals
    if not 0 <= residuals <= free:
        raise ValueError(f"residuals must lie in 0 … {free}, the directions that the memories leave, got {residuals}")

    wide = model.to("cpu", torch.float64)
    bad = [m for m in range(wide.models) if not all(w.isfinite().all() for w in wide[m].weights.values())]
    if bad:
        raise ValueError(f"model must have finite weights, got NaN or infinity in models {bad}")
    newest = grounding * wide.W_uh + (1 - grounding) * torch.linalg.pinv(wide.W_r)
    columns = recursion(wide.W_hh, newest, task, method)
    if method == "paper":
        columns = columns / columns.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        columns = columns * kept
        # the dropped columns stay out of the pseudo-inverse: at cutoff 0 their rounding residues would be inverted
        dual = torch.zeros_like(columns.mT)
        dual[:, kept] = torch.linalg.pinv(columns[:, :, kept], rtol=cutoff)
        rank, condition = torch.linalg.matrix_rank(columns[:, :, kept], rtol=cutoff), _condition(columns[:, :, kept])
    else:
        dual = torch.linalg.pinv(columns, rtol=cutoff) * kept[:, None]
        rank, condition = torch.linalg.matrix_rank(columns, rtol=cutoff), _condition(columns)
        columns = columns * kept
    generator = generator or stream(0, "residuals")
    # all of them are found, the leading ones kept; none costs nothing
    rest, rest_dual = _residual_directions(wide, task, columns, dual, free if residuals else 0, generator)
    labels = [("memory", k + 1, j) for k in range(S) for j in range(D)] + [("residual", i, 0) for i in range(residuals)]
    basis, dual = torch.cat([columns, rest[:, :, :residuals]], 2), torch.cat([dual, rest_dual[:, :residuals]], 1)
    return VariableMemories(basis, dual, tuple(labels), kept, tuple(rank.tolist()), condition)


def recursion(
    W_hh: Float[Tensor, "M N N"],
    newest: Float[Tensor, "M N D"],
    task: VariableBinding,
    method: str,
) -> Float[Tensor, "M N SD"]:
    """All memories Ψ_1 … Ψ_S that follow from the newest one, Ψ_S."""
    F = task.operator.unflatten(1, (task.history, task.dim))
    blocks = [newest]
    for k in range(task.history - 1, 0, -1):
        older = W_hh @ blocks[0]
        if method == "corrected":
            older = older - newest @ F[:, k]
        blocks.insert(0, older)
    return torch.cat(blocks, dim=2)


def fitted_memories(
    states: Float[Tensor, "M B N"], held: Float[Tensor, "M B SD"], task: VariableBinding
) -> tuple[VariableMemories, Float[Tensor, "M"]]:
    """The linear subspaces that explain ``states`` best, from data instead of weights: least squares h ≈ Ψ ``held``.

    A yardstick for :func:`variable_memories`: whether *some* subspaces hold the variables. Entries off every cycle are
    left out; what is a copy of another entry by then is found with that entry. Also returns R², the share of the
    states' squared size that the fit explains.
    """
    kept = circuit.on_cycle(task)
    if held.shape[1] < int(kept.sum()):
        raise ValueError(f"states must hold at least {int(kept.sum())} sequences for the fit, got {held.shape[1]}")
    x, h = held[:, :, kept].double(), states.double()
    columns = torch.linalg.lstsq(x, h, driver="gelsd").solution.mT
    basis = columns.new_zeros(*columns.shape[:2], len(kept))
    basis[:, :, kept] = columns
    explained = 1 - (h - x @ columns.mT).square().sum((1, 2)) / h.square().sum((1, 2))
    labels = tuple(("memory", k + 1, j) for k in range(task.history) for j in range(task.dim))
    dual = basis.mT.clone()
    dual[:, kept] = torch.linalg.pinv(columns)
    rank = tuple(torch.linalg.matrix_rank(columns).tolist())
    return VariableMemories(basis, dual, labels, kept, rank, _condition(columns)), explained


def _condition(columns: Float[Tensor, "M N K"]) -> Float[Tensor, "M"]:
    if columns.shape[2] > columns.shape[1]:
        return columns.new_full((len(columns),), math.inf)
    return torch.linalg.cond(columns).nan_to_num(nan=math.inf, posinf=math.inf)  # 0/0: all columns are zero


def _residual_directions(
    model: VectorNetwork, task: VariableBinding, basis: Tensor, dual: Tensor, count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "M N R"], Float[Tensor, "M R N"]]:
    """All ``count`` principal components P of r = (I − ΨΨ*)h, largest first, and their dual rows Pᵀ(I − ΨΨ*).

    r lies in the null space of Ψ* (Ψ*Ψ = I on what is kept), so the components are sought there: then Ψ*P = 0, and
    [Ψ P] with [Ψ*; Pᵀ(I − ΨΨ*)] is again a basis and its dual, also where the run leaves some directions unused.
    """
    if count == 0:
        return basis[:, :, :0], dual[:, :0]
    complement = torch.eye(model.hidden, dtype=basis.dtype) - basis @ dual
    inputs = task.inputs(256, [generator], basis.dtype).expand(model.models, -1, -1, -1)
    states, _ = model.rollout(inputs, horizon=2 * task.history)
    residual = states.flatten(1, 2) @ complement.mT
    # right singular vectors beyond the rank of Ψ* span its null space
    frame = torch.linalg.svd(dual).Vh[:, -count:].mT
    inside = residual @ frame
    _, vectors = torch.linalg.eigh(inside.mT @ inside)
    directions = frame @ vectors.flip(-1)
    return directions, directions.mT @ complement
