"""The GRU cell of ``torch.nn.GRU``, which the onion paper trains (arXiv:2408.10920)."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks.cell import GatedCell, Look, Scan, unwatched
from emt_core.networks.kernels import gru as kernel


class GRU(GatedCell):
    """Gates stacked r, z, n, G = 3N: r = σ(x_r + W_hr h), z = σ(x_z + W_hz h), n = tanh(x_n + r ⊙ (W_hn h + b_hn)),
    h' = (1 − z) ⊙ n + z ⊙ h, with x = W_ih x_t + b_ih and the other biases. :meth:`watched` shows r, z, n and h."""

    blocks = 3
    module = torch.nn.GRU

    def gates(
        self, h: Float[Tensor, "M B N"], x: Float[Tensor, "M B I"] | None = None, look: Look = unwatched
    ) -> tuple[Float[Tensor, "M B N"], Float[Tensor, "M B N"], Float[Tensor, "M B N"]]:
        """Gates r and z and candidate n, when ``x`` is read in states ``h``, each as ``look`` returns it."""
        bias = self.b_ih[:, None]
        i_r, i_z, i_n = (bias if x is None else x @ self.W_ih.mT + bias).chunk(3, dim=-1)
        h_r, h_z, h_n = (h @ self.W_hh.mT + self.b_hh[:, None]).chunk(3, dim=-1)
        r, z = look("r", torch.sigmoid(i_r + h_r)), look("z", torch.sigmoid(i_z + h_z))
        return r, z, look("n", torch.tanh(i_n + r * h_n))

    def step(self, h: Float[Tensor, "M B N"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B N"]:
        """The slow truth beside :func:`emt_core.networks.kernels.gru.scan`."""
        return self.watched(h, x, unwatched)

    def watched(
        self, h: Float[Tensor, "M B N"], x: Float[Tensor, "M B I"] | None, look: Look
    ) -> Float[Tensor, "M B N"]:
        _, z, n = self.gates(h, x, look)
        return look("h", (1 - z) * n + z * h)

    def scan(self, table: Float[Tensor, "M W I"]) -> Scan:
        """By the kernel, whose table holds the product of every row with W_ih, and all biases but b_hn."""
        most, b_hn = self.b_hh[:, : 2 * self.hidden], self.b_hh[:, 2 * self.hidden :]
        outside_r = torch.cat([most, torch.zeros_like(b_hn)], dim=1)
        products = table @ self.W_ih.mT + (self.b_ih + outside_r)[:, None]
        return partial(kernel.scan, products, b_hn, self.W_hh)
