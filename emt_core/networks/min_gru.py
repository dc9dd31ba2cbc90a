"""The minimal GRU of Feng et al. (arXiv:2410.01201): gates that do not see the state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks.cell import Cell, Generators, Look, Scan, uniform, unwatched
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.networks.linear_scan import scan_rows
from emt_core.support.checks import Self, integer


@dataclass(frozen=True, eq=False)
class MinGRU(Cell):
    """h' = (1 − z) ⊙ h + z ⊙ c with z = σ(W_z x + b_z) and c = W_c x + b_c: the state fades towards c, without input
    towards b_c, at a rate that the input sets. Here z is the share of the new, in torch's GRU that of the old.
    :meth:`watched` shows z, c and h."""

    W_z: Float[Tensor, "M N I"]
    W_c: Float[Tensor, "M N I"]
    b_z: Float[Tensor, "M N"]
    b_c: Float[Tensor, "M N"]

    def __post_init__(self) -> None:
        if self.W_z.ndim != 3:
            raise ValueError(f"W_z must have shape (M, N, I), got {tuple(self.W_z.shape)}")
        size, beside = tuple(self.W_z.shape), f" to go with W_z {tuple(self.W_z.shape)}"
        check_shapes(beside, W_c=(self.W_c, size), b_z=(self.b_z, size[:2]), b_c=(self.b_c, size[:2]))

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """U(−1/√I, 1/√I) for every weight, as PyTorch draws ``nn.Linear``."""
        inputs, hidden = integer("inputs", inputs, 1), integer("hidden", hidden, 1)
        shapes = (hidden, inputs), (hidden, inputs), (hidden,), (hidden,)
        return cls(*(uniform(shape, inputs**-0.5, generators) for shape in shapes))

    @property
    def hidden(self) -> int:
        return self.W_z.shape[1]

    @property
    def inputs(self) -> int:
        return self.W_z.shape[2]

    def gate(self, x: Float[Tensor, "M B I"], look: Look = unwatched) -> Float[Tensor, "M B P"]:
        """Side by side (P = 2N), what is kept of the state, 1 − z, and what is added, z ⊙ c, when ``x`` is read; z and
        c as ``look`` returns them."""
        z = look("z", torch.sigmoid(x @ self.W_z.mT + self.b_z[:, None]))
        return torch.cat([1 - z, z * look("c", x @ self.W_c.mT + self.b_c[:, None])], dim=-1)

    def step(self, h: Float[Tensor, "M B N"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B N"]:
        return self.watched(h, x, unwatched)

    def watched(
        self, h: Float[Tensor, "M B N"], x: Float[Tensor, "M B I"] | None, look: Look
    ) -> Float[Tensor, "M B N"]:
        keep, add = self.gate(h.new_zeros(*h.shape[:2], self.inputs) if x is None else x, look).chunk(2, dim=-1)
        return look("h", keep * h + add)

    def scan(self, table: Float[Tensor, "M W I"]) -> Scan:
        """The gates of every row are computed once."""
        return partial(scan_rows, self.gate(table))
