"""Cells whose state is a matrix of associations of values with keys: linear attention, and the delta rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import elu, pad, silu

from emt_core.networks.cell import Cell, Generators, Scan, uniform
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.networks.linear_scan import checked, looked_up, moving
from emt_core.support.checks import Self, integer


@dataclass(frozen=True, eq=False)
class _Associations(Cell):
    """S' = S + (w − g S k) kᵀ, o = S' q: each step writes w under a key k into the matrix S, erases the share g of what
    was there, and reads. The state is o, which is visible, then the N rows of S, n = N + N²: keys and queries have N
    numbers as well. Nothing that is done depends on the state."""

    W_q: Float[Tensor, "M N I"]
    W_k: Float[Tensor, "M N I"]
    W_v: Float[Tensor, "M N I"]

    def __post_init__(self) -> None:
        if self.W_q.ndim != 3:
            raise ValueError(f"W_q must have shape (M, N, I), got {tuple(self.W_q.shape)}")
        size, beside = tuple(self.W_q.shape), f" to go with W_q {tuple(self.W_q.shape)}"
        check_shapes(beside, W_k=(self.W_k, size), W_v=(self.W_v, size))

    @property
    def hidden(self) -> int:
        return self.W_q.shape[1]

    @property
    def inputs(self) -> int:
        return self.W_q.shape[2]

    @property
    def state_size(self) -> int:
        return self.hidden + self.hidden**2

    def products(self, x: Float[Tensor, "M B I"]) -> Float[Tensor, "M B P"]:
        """q, k and w side by side, and behind them g if anything is erased, when ``x`` is read."""
        raise NotImplementedError

    def step(self, h: Float[Tensor, "M B n"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B n"]:
        products = self.products(h.new_zeros(*h.shape[:2], self.inputs) if x is None else x)
        q, k, w, *shares = products.split(self.hidden, dim=-1)
        _, S = _parts(h, self.hidden)
        for g in shares:
            w = w - g * _times(S, k)
        S = S + w[..., None] * k[..., None, :]
        return torch.cat([_times(S, q), S.flatten(-2)], dim=-1)

    def scan(self, table: Float[Tensor, "M W I"]) -> Scan:
        """The products of every row are made once, and gradients written by hand: a matrix is looked at as rarely as
        can be."""
        return partial(_scan_rows, self.products(table))


class LinearAttention(_Associations):
    """Linear attention (Katharopoulos et al., arXiv:2006.16236): S' = S + v kᵀ, o = S' q, with v = W_v x,
    k = φ(W_k x), q = φ(W_q x) and φ(y) = (elu(y) + 1) / √N. Nothing is ever erased; without an input v is zero, and S
    stays as it is. The paper divides o by q · Σ k; here, as in most of what came after it, nothing does, and the √N,
    which is not the paper's, makes q · k about 1 at the start. Without the heads and the layers around it."""

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """U(−1/√I, 1/√I) for every weight, as PyTorch draws ``nn.Linear``."""
        inputs, hidden = integer("inputs", inputs, 1), integer("hidden", hidden, 1)
        return cls(*(uniform((hidden, inputs), inputs**-0.5, generators) for _ in range(3)))

    def products(self, x: Float[Tensor, "M B I"]) -> Float[Tensor, "M B P"]:
        q, k = ((elu(x @ W.mT) + 1) * self.hidden**-0.5 for W in (self.W_q, self.W_k))
        return torch.cat([q, k, x @ self.W_v.mT], dim=-1)


@dataclass(frozen=True, eq=False)
class DeltaNet(_Associations):
    """The delta rule (Schlag et al., arXiv:2102.11174) as in Yang et al. (arXiv:2406.06484): what is stored under a key
    is replaced by a new value to the share β: S' = S + β (v − S k) kᵀ, o = S' q, with v = SiLU(W_v x + b_v),
    β = σ(W_β x + b_β), and k and q SiLU(W x + b), each by its own W and b, of length 1. The biases are not the paper's:
    without them a cell would answer zeros with zeros. Without the heads, the short convolutions before the SiLUs, the
    normalisation of o, and the layers around it."""

    W_beta: Float[Tensor, "M 1 I"]
    b_q: Float[Tensor, "M N"]
    b_k: Float[Tensor, "M N"]
    b_v: Float[Tensor, "M N"]
    b_beta: Float[Tensor, "M 1"]

    def __post_init__(self) -> None:
        super().__post_init__()
        size, beside = tuple(self.W_q.shape), f" to go with W_q {tuple(self.W_q.shape)}"
        check_shapes(beside, **{name: (getattr(self, name), size[:2]) for name in ("b_q", "b_k", "b_v")})
        one = size[0], 1
        check_shapes(beside, W_beta=(self.W_beta, (*one, size[2])), b_beta=(self.b_beta, one))

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """U(−1/√I, 1/√I) for every weight, as PyTorch draws ``nn.Linear``."""
        inputs, hidden = integer("inputs", inputs, 1), integer("hidden", hidden, 1)
        shapes = *[(hidden, inputs)] * 3, (1, inputs), *[(hidden,)] * 3, (1,)
        return cls(*(uniform(shape, inputs**-0.5, generators) for shape in shapes))

    def products(self, x: Float[Tensor, "M B I"]) -> Float[Tensor, "M B P"]:
        weights = (self.W_q, self.b_q), (self.W_k, self.b_k), (self.W_v, self.b_v)
        q, k, v = (silu(x @ W.mT + b[:, None]) for W, b in weights)
        # a length as in the authors' code, so that there is a gradient where it is zero
        q, k = (y * torch.rsqrt(y.square().sum(-1, keepdim=True) + 1e-6) for y in (q, k))
        beta = torch.sigmoid(x @ self.W_beta.mT + self.b_beta[:, None])
        return torch.cat([q, k, beta * v, beta], dim=-1)


def _parts(h: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """o (…, N) and S (…, N, N), N = ``size``, of states."""
    return h[..., :size], h[..., size:].unflatten(-1, (size, size))


def _times(S: Tensor, x: Tensor) -> Tensor:
    return (S @ x[..., None])[..., 0]


def _scan_rows(
    table: Float[Tensor, "M W P"],
    tokens: Int[Tensor, "M T B"],
    h: Float[Tensor, "M B n"],
    active: Int[Tensor, "M T"] | None = None,
) -> Float[Tensor, "M T B n"]:
    """The states after each step, its products the row of ``table`` that ``tokens`` says."""
    moves, size = None, table.shape[2] // 3
    check_shapes("", h=(h, (len(tokens), tokens.shape[2], size + size**2)))
    if active is not None:
        moves, none = moving(active, h.shape[1]), table.shape[1]
        table, tokens = pad(table, (0, 0, 0, 1)), torch.where(moves, checked(tokens, none), none)  # zeros write nothing
    return _Scan.apply(looked_up(table, tokens), h, None if moves is None else moves[..., None])


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, products, h, moves):
        size, (models, steps, batch, _) = products.shape[-1] // 3, products.shape
        q, k, w, g = products.tensor_split((size, 2 * size, 3 * size), dim=-1)
        states, known, now = h.new_empty(models, steps, batch, h.shape[-1]), torch.zeros_like(w), h
        for t in range(steps):
            (o, S), (new_o, new_S) = _parts(now, size), _parts(states[:, t], size)
            if g.shape[-1]:
                known[:, t] = _times(S, k[:, t])
            change = w[:, t] - g[:, t] * known[:, t] if g.shape[-1] else w[:, t]
            torch.addcmul(S, change[..., None], k[:, t, :, None], out=new_S)
            read = _times(new_S, q[:, t])
            new_o.copy_(read if moves is None else torch.where(moves[:, t], read, o))
            now = states[:, t]
        ctx.save_for_backward(products, h, moves, states, known)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        products, h, moves, states, known = ctx.saved_tensors
        size, by_products, d = products.shape[-1] // 3, torch.empty_like(products), torch.zeros_like(h)
        cuts = (size, 2 * size, 3 * size)
        (q, k, w, g), (by_q, by_k, by_w, by_g) = (x.tensor_split(cuts, dim=-1) for x in (products, by_products))
        change = w - g * known if g.shape[-1] else w
        d_o, d_S = _parts(d, size)
        for t in reversed(range(grad.shape[1])):
            S, before = (_parts(x, size)[1] for x in (states[:, t], states[:, t - 1] if t else h))
            d += grad[:, t]
            by_q[:, t] = _times(S.mT, d_o)
            d_S.addcmul_(d_o[..., None], q[:, t, :, None])
            by_w[:, t], by_k[:, t] = _times(d_S, k[:, t]), _times(d_S.mT, change[:, t])
            if g.shape[-1]:
                erased = g[:, t] * by_w[:, t]
                by_k[:, t] -= _times(before.mT, erased)
                by_g[:, t] = -(by_w[:, t] * known[:, t]).sum(-1, keepdim=True)
                d_S.addcmul_(erased[..., None], k[:, t, :, None], value=-1)
            d_o.copy_(torch.zeros_like(d_o) if moves is None else torch.where(moves[:, t], 0, d_o))
        return by_products, d, None
