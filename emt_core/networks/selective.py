"""Selective state spaces: a state that fades at a rate which the input sets, as in Mamba (arXiv:2312.00752)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import silu, softplus

from emt_core.networks.cell import Cell, Generators, Scan, uniform
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.networks.linear_scan import checked, linear_scan, looked_up, moving, scan_rows
from emt_core.support.checks import Self, integer


@dataclass(frozen=True, eq=False)
class Selective(Cell):
    """h' = exp(−Δ ⊙ exp(A_log)) ⊙ h + Δ ⊙ W_B x with Δ = softplus(W_Δ x + b_Δ): Mamba's S6 (its algorithm 2) with one
    number a channel.

    Kept of S6: the step size Δ that each channel takes from the input, its softplus and its bias; the real rate
    −exp(A_log), discretised exactly, and the input, discretised by Δ alone, as in Mamba's code. Left out: the 16
    numbers of a channel, and with them B and C that see the input (here W_B mixes the inputs, and who reads is the
    read-out); the low rank of W_Δ; the skip D x; the gate beside it; the layers around it."""

    W_B: Float[Tensor, "M N I"]
    W_delta: Float[Tensor, "M N I"]
    b_delta: Float[Tensor, "M N"]
    A_log: Float[Tensor, "M N"]

    # decay would pull rates to 1 and Δ to log 2, not to 0: the code of arXiv:2312.00752 exempts A_log, and all biases
    undecayed = "A_log", "b_delta"

    def __post_init__(self) -> None:
        if self.W_B.ndim != 3:
            raise ValueError(f"W_B must have shape (M, N, I), got {tuple(self.W_B.shape)}")
        size, beside = tuple(self.W_B.shape), f" to go with W_B {tuple(self.W_B.shape)}"
        channels = {name: (getattr(self, name), size[:2]) for name in ("b_delta", "A_log")}
        check_shapes(beside, W_delta=(self.W_delta, size), **channels)

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """W_B and W_Δ from U(−1/√I, 1/√I); without input Δ is 0.001 … 0.1, uniform in its logarithm, and rates are
        U(1, 16), as Mamba-2 draws the one it has a head (Mamba has 1 … 16 in each channel)."""
        inputs, hidden = integer("inputs", inputs, 1), integer("hidden", hidden, 1)
        W_B, W_delta = (uniform((hidden, inputs), inputs**-0.5, generators) for _ in range(2))
        delta = torch.exp(math.log(1e-2) + uniform((hidden,), math.log(10), generators))
        inverse = delta + torch.log(-torch.expm1(-delta))  # of softplus
        return cls(W_B, W_delta, inverse, torch.log(8.5 + uniform((hidden,), 7.5, generators)))

    @property
    def hidden(self) -> int:
        return self.W_B.shape[1]

    @property
    def inputs(self) -> int:
        return self.W_B.shape[2]

    def gate(self, x: Float[Tensor, "M *B I"]) -> Float[Tensor, "M *B P"]:
        """Side by side (P = 2N), what is kept of the state and what is added to it when ``x`` is read."""
        flat = x.flatten(1, -2)
        delta = softplus(torch.baddbmm(self.b_delta[:, None], flat, self.W_delta.mT))
        gate = torch.cat([torch.exp(-delta * torch.exp(self.A_log)[:, None]), delta * (flat @ self.W_B.mT)], dim=-1)
        return gate.unflatten(1, x.shape[1:-1])

    def step(self, h: Float[Tensor, "M B n"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B n"]:
        keep, add = self.gate(h.new_zeros(*h.shape[:2], self.inputs) if x is None else x).chunk(2, dim=-1)
        return keep * h + add

    def scan(self, table: Float[Tensor, "M W I"]) -> Scan:
        """The gates of every row are computed once."""
        return partial(scan_rows, self.gate(table))


@dataclass(frozen=True, eq=False)
class SelectiveConv(Selective):
    """A :class:`Selective` cell that reads, as in Mamba, SiLU(b_conv + Σ_j W_conv[j] ⊙ x_{t−K+1+j}), j = 0 … K − 1, in
    the place of x_t: each of the I numbers of an input has a short filter of its own. The last K − 1 inputs, the oldest
    first, follow h in the state: n = N + (K − 1) I, of which h is visible."""

    W_conv: Float[Tensor, "M K I"]
    b_conv: Float[Tensor, "M I"]

    taps: ClassVar[int] = 4  #: K, Mamba's

    def __post_init__(self) -> None:
        super().__post_init__()
        models, inputs, beside = self.models, self.inputs, f" to go with W_B {tuple(self.W_B.shape)}"
        check_shapes(beside, W_conv=(self.W_conv, (models, self.taps, inputs)), b_conv=(self.b_conv, (models, inputs)))

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """The filters from U(−1/√K, 1/√K), as PyTorch draws ``nn.Conv1d``."""
        drawn = list(Selective.init(inputs, hidden, generators).weights.values())
        shapes = (cls.taps, inputs), (inputs,)
        return cls(*drawn, *(uniform(shape, cls.taps**-0.5, generators) for shape in shapes))

    @property
    def state_size(self) -> int:
        return self.hidden + (self.taps - 1) * self.inputs

    def filtered(self, window: Float[Tensor, "M *B L"]) -> Float[Tensor, "M *B I"]:
        """What the cell reads when the last K inputs are those of ``window``, side by side, L = K I."""
        flat = window.flatten(1, -2).unflatten(-1, (self.taps, self.inputs))
        read = silu((flat * self.W_conv[:, None]).sum(-2) + self.b_conv[:, None])
        return read.unflatten(1, window.shape[1:-1])

    def step(self, h: Float[Tensor, "M B n"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B n"]:
        state, past = h.tensor_split((self.hidden,), dim=-1)
        window = torch.cat([past, h.new_zeros(*h.shape[:2], self.inputs) if x is None else x], dim=-1)
        return torch.cat([super().step(state, self.filtered(window)), window[..., self.inputs :]], dim=-1)

    def scan(self, table: Float[Tensor, "M W I"]) -> Scan:
        """The inputs before the first step become rows behind the others: step by step only numbers of rows move on,
        and all rows are then filtered and made gates of at once."""

        def scan(tokens: Tensor, h: Tensor, active: Tensor | None = None) -> Tensor:
            (models, steps, batch), rows, past = tokens.shape, table.shape[1], self.taps - 1
            check_shapes("", h=(h, (models, batch, self.state_size)))
            state, inputs = h.tensor_split((self.hidden,), dim=-1)
            longer = torch.cat([table, inputs.unflatten(-1, (past, self.inputs)).flatten(1, 2)], dim=1)
            read = checked(tokens, rows)[..., None]
            moves = None if active is None else moving(active, batch)[..., None]
            last = [rows + torch.arange(batch * past, device=h.device).view(batch, past).expand(models, -1, -1)]
            for t in range(steps):
                new = torch.cat([last[-1][..., 1:], read[:, t]], dim=-1)
                last.append(new if moves is None else torch.where(moves[:, t], new, last[-1]))
            lasts = torch.stack(last, dim=1)
            window = _side_by_side(longer, torch.cat([lasts[:, :-1], read], dim=-1))
            states = linear_scan(self.gate(self.filtered(window)), state, active)
            return torch.cat([states, _side_by_side(longer, lasts[:, 1:])], dim=-1)

        return scan


def _side_by_side(table: Float[Tensor, "M W I"], chosen: Int[Tensor, "M T B K"]) -> Float[Tensor, "M T B L"]:
    """K rows of the table, L = K I."""
    return looked_up(table, chosen.flatten(2)).unflatten(2, chosen.shape[2:]).flatten(3)
