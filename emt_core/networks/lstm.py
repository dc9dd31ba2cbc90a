"""The LSTM cell of ``torch.nn.LSTM``."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks.cell import GatedCell, Look, unwatched


class LSTM(GatedCell):
    """The state is h and c side by side, n = 2N, of which h is visible. Gates stacked i, f, g, o, G = 4N: with
    x = W_ih x_t + b_ih + W_hh h + b_hh, i, f, o = σ(x) and g = tanh(x), each of its own block, c' = f ⊙ c + i ⊙ g,
    h' = o ⊙ tanh(c'). :meth:`watched` shows i, f, g, o, c and h, of N numbers each."""

    blocks = 4
    module = torch.nn.LSTM

    @property
    def state_size(self) -> int:
        return 2 * self.hidden

    def step(self, h: Float[Tensor, "M B n"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B n"]:
        return self.watched(h, x, unwatched)

    def watched(
        self, h: Float[Tensor, "M B n"], x: Float[Tensor, "M B I"] | None, look: Look
    ) -> Float[Tensor, "M B n"]:
        h, c = h.chunk(2, dim=-1)
        drive = h @ self.W_hh.mT + (self.b_ih + self.b_hh)[:, None]
        i, f, g, o = (drive if x is None else drive + x @ self.W_ih.mT).chunk(4, dim=-1)
        i, f = look("i", torch.sigmoid(i)), look("f", torch.sigmoid(f))
        g, o = look("g", torch.tanh(g)), look("o", torch.sigmoid(o))
        c = look("c", f * c + i * g)
        return torch.cat([look("h", o * torch.tanh(c)), c], dim=-1)
