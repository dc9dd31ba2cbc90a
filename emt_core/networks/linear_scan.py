"""Recurrences that are linear in the state, h_t = a_t ⊙ h_{t−1} + b_t, through many steps at once.

All but the recurrence itself is batched over time, the gradients too: a step costs one fused operation each way, three
where the state turns. The truth beside this is the cells' ``step`` under autograd.

*Gates* are what makes a step, side by side: what is kept of each of the n numbers of the state, and what is added to
it, P = 2n. If Q = ``turning`` is not 0, Q more numbers follow, P = 2n + Q: numbers 0 … Q − 1 of the state are then the
real parts of complex numbers, Q … 2Q − 1 the imaginary ones, and what they are multiplied with has the real part that
is kept, the same in both halves, and this imaginary part.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from emt_core.networks.kernels.shapes import check_shapes


def linear_scan(
    gates: Float[Tensor, "M T B P"],
    h: Float[Tensor, "M B n"],
    active: Int[Tensor, "M T"] | None = None,
    turning: int = 0,
) -> Float[Tensor, "M T B n"]:
    """The states after each of T steps from ``h``. At step t only the first ``active[:, t]`` sequences move (all if not
    given), the others keep their state. Differentiable once."""
    models, _, batch, width = gates.shape
    check_shapes("", h=(h, (models, batch, (width - turning) // 2)))
    if active is not None:
        gates = torch.where(moving(active, batch)[..., None], gates, _held(gates, turning))
    return _Scan.apply(gates, h)


def scan_rows(
    table: Float[Tensor, "M W P"],
    tokens: Int[Tensor, "M T B"],
    h: Float[Tensor, "M B n"],
    active: Int[Tensor, "M T"] | None = None,
    turning: int = 0,
) -> Float[Tensor, "M T B n"]:
    """:func:`linear_scan` where the gates of a step are the row of ``table`` that ``tokens`` says."""
    if active is not None:  # a row of its own is much cheaper than a mask over all that is looked up
        table, still = torch.cat([table, _held(table, turning).expand(len(table), 1, -1)], dim=1), table.shape[1]
        tokens = torch.where(moving(active, tokens.shape[2]), checked(tokens, still), still)
    return linear_scan(looked_up(table, tokens), h, turning=turning)


def moving(active: Int[Tensor, "M T"], batch: int) -> Tensor:
    """Which sequences move at each step (M, T, B)."""
    return torch.arange(batch, device=active.device) < active[..., None]


def looked_up(table: Float[Tensor, "M W P"], tokens: Int[Tensor, "M T B"]) -> Float[Tensor, "M T B P"]:
    """Rows of each model's table."""
    models, rows, _ = table.shape
    first = rows * torch.arange(models, device=tokens.device)[:, None, None]
    return table.flatten(0, 1).index_select(0, (checked(tokens, rows) + first).flatten()).unflatten(0, tokens.shape)


def checked(tokens: Int[Tensor, "M T B"], rows: int) -> Int[Tensor, "M T B"]:
    """As 64-bit numbers; on the CPU, where it costs next to nothing, ValueError if there is no such row."""
    if tokens.device.type == "cpu" and tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < rows:
        raise ValueError(f"tokens must lie in 0 … {rows - 1}, got {int(tokens.min())} … {int(tokens.max())}")
    return tokens.long()


def _held(gates: Tensor, turning: int) -> Tensor:
    """The gates (P,) that leave the state as it is: all is kept, nothing is added, and nothing turns."""
    width = gates.shape[-1]
    return (torch.arange(width, device=gates.device) < (width - turning) // 2).to(gates.dtype)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gates, h):
        states, now = h.new_empty(*gates.shape[:3], h.shape[-1]), h
        keep, drive, turn = _split(gates, h)
        for t in range(gates.shape[1]):
            now = _multiplied(now, keep[:, t], turn[:, t], drive[:, t], states[:, t])
        ctx.save_for_backward(gates, h, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        gates, h, states = ctx.saved_tensors
        by_gates, start = torch.empty_like(gates), torch.empty_like(h)
        (keep, _, turn), (by_keep, by_drive, by_turn) = _split(gates, h), _split(by_gates, h)
        # by each state, through all later ones: so much counts what is added to it
        by_states, grads, back = [start, *by_drive.unbind(1)], [torch.zeros_like(h), *grad.unbind(1)], -turn
        by_states[-1].copy_(grads[-1])
        for t in reversed(range(gates.shape[1])):
            _multiplied(by_states[t + 1], keep[:, t], back[:, t], grads[t], by_states[t])
        for steps, before in ((slice(1), h[:, None]), (slice(1, None), states[:, :-1])):
            torch.mul(by_drive[:, steps], before, out=by_keep[:, steps])
            if turn.shape[-1]:
                (d_real, d_imaginary), (real, imaginary) = _halves(by_drive[:, steps], turn), _halves(before, turn)
                torch.mul(d_imaginary, real, out=by_turn[:, steps]).addcmul_(d_real, imaginary, value=-1)
        return by_gates, start


def _split(gates, h):
    """What is kept, what is added, and by what the state turns."""
    return gates.tensor_split((h.shape[-1], 2 * h.shape[-1]), dim=-1)


def _multiplied(x, keep, turn, plus, out):
    """``out`` = ``x`` multiplied by keep + i · turn, and ``plus``; with −turn by the transpose."""
    torch.addcmul(plus, keep, x, out=out)
    if turn.shape[-1]:
        (real, imaginary), (new_real, new_imaginary) = _halves(x, turn), _halves(out, turn)
        new_real.addcmul_(turn, imaginary, value=-1)
        new_imaginary.addcmul_(turn, real)
    return out


def _halves(x, turn):
    """Real and imaginary parts of what turns."""
    pairs = turn.shape[-1]
    return x[..., :pairs], x[..., pairs : 2 * pairs]
