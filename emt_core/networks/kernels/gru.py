"""Many GRUs over many sequences of tokens: one differentiable function, :func:`scan`.

The product with an input is a row of a table, one row per token, computed once a step of training. The backward pass is
written by hand: on the CPU in float32 it is compiled (``gru.cpp``), elsewhere it is torch's batched products, those for
the weights one large product over all of time. The truth beside all this is :meth:`emt_core.networks.gru.GRU.step`
under autograd.
"""

from __future__ import annotations

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from emt_core.networks.kernels.compiled import INT, POINTER, instruction_set, load
from emt_core.networks.kernels.shapes import Workspace, check_shapes

KEPT = 8  # pieces of memory kept for later passes,
LARGEST = 2**24  # floats, 64 MiB: larger ones, from single passes over much data, are not
_lock = threading.Lock()


def scan(
    table: Float[Tensor, "M V G"],
    b_hn: Float[Tensor, "M N"],
    W_hh: Float[Tensor, "M G N"],
    tokens: Int[Tensor, "M T B"],
    h: Float[Tensor, "M B N"],
    active: Int[Tensor, "M T"] | None = None,
) -> Float[Tensor, "M T B N"]:
    """The states after each of T steps from ``h``, gates in torch's order r, z, n (G = 3N), x a row of ``table``:

    r = σ(x_r + W_hr h), z = σ(x_z + W_hz h), n = tanh(x_n + r ⊙ (W_hn h + b_hn)), h' = (1 − z) ⊙ n + z ⊙ h.

    ``table`` holds W_ih times each token's embedding, and every bias but b_hn. At step t only the first
    ``active[:, t]`` sequences move, the others keep their state: with sequences sorted by length, longest first, the
    last state is that after each one's last token. Differentiable in ``table``, ``b_hn``, ``W_hh`` and ``h``.
    """
    models, steps, batch = tokens.shape
    hidden = h.shape[-1]
    if active is None:
        active = torch.full((models, steps), batch, dtype=torch.int64, device=tokens.device)
    gates = table, (models, table.shape[1], 3 * hidden)
    check_shapes("", table=gates, b_hn=(b_hn, (models, hidden)), W_hh=(W_hh, (models, 3 * hidden, hidden)))
    check_shapes("", h=(h, (models, batch, hidden)), active=(active, (models, steps)))
    for name, x in {"table": table, "b_hn": b_hn, "W_hh": W_hh, "tokens": tokens, "active": active}.items():
        dtype = x.dtype if name in ("tokens", "active") else h.dtype
        if (x.dtype, x.device) != (dtype, h.device):  # compiled code would read one as the other
            raise ValueError(f"{name} must be {dtype} on {h.device} like h, got {x.dtype} on {x.device}")
    tokens, active = tokens.long(), active.long()
    if h.device.type == "cpu":  # compiled code would read beyond the table
        for name, x, last in (("tokens", tokens, table.shape[1] - 1), ("active", active, batch)):
            if x.numel() and not 0 <= int(x.min()) <= int(x.max()) <= last:
                raise ValueError(f"{name} must lie in 0 … {last}, got {int(x.min())} … {int(x.max())}")
    if steps == 0:
        return h[:, None][:, :0]
    return _Scan.apply(table, b_hn, W_hh, h, tokens, active)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table, b_hn, W_hh, h, tokens, active):
        arrays = (table, b_hn, W_hh, h, tokens, active)
        native = h.device.type == "cpu" and h.dtype == torch.float32 and library(instruction_set()) is not None
        ctx.run_backward = _native_backward if native else _torch_backward
        states, saved = (_native_forward if native else _torch_forward)(*arrays)
        ctx.save_for_backward(W_hh, tokens, active)
        ctx.saved, ctx.vocabulary = saved, table.shape[1]  # intermediate values, none of them an input or output
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        weights = any(ctx.needs_input_grad[:3])
        return *ctx.run_backward(grad, ctx.vocabulary, weights, *ctx.saved_tensors, ctx.saved), None, None


# --- torch: any device, any dtype -------------------------------------------------------------------------------------


def _torch_forward(table, b_hn, W_hh, h, tokens, active):
    _, steps, batch = tokens.shape
    x = table.gather(1, tokens.flatten(1)[..., None].expand(-1, -1, table.shape[2])).unflatten(1, (steps, batch))
    moves = (torch.arange(batch, device=h.device) < active[..., None])[..., None]  # (M, T, B, 1)
    W, states, gates = W_hh.mT, [h], []
    for t in range(steps):
        x_r, x_z, x_n = x[:, t].chunk(3, dim=-1)
        a_r, a_z, q = (states[-1] @ W).chunk(3, dim=-1)
        r, z, q = torch.sigmoid(x_r + a_r), torch.sigmoid(x_z + a_z), q + b_hn[:, None]
        n = torch.tanh(x_n + r * q)
        gates.append(torch.stack([r, z, q, n]))
        states.append(torch.where(moves[:, t], n + z * (states[-1] - n), states[-1]))
    states = torch.stack(states, dim=1)
    return states[:, 1:].clone(), (states, torch.stack(gates))  # not the same memory: it is the caller's to change


def _torch_backward(grad, vocabulary, weights, W_hh, tokens, active, saved):
    _, steps, batch = tokens.shape
    states, gates = saved
    moves = (torch.arange(batch, device=grad.device) < active[..., None])[..., None].to(grad.dtype)
    d, deltas, inputs = torch.zeros_like(states[:, 0]), [], []
    for t in reversed(range(steps)):
        d = d + grad[:, t]
        h, (r, z, q, n) = states[:, t], gates[t]
        moving = d * moves[:, t]
        a = moving * (1 - z) * (1 - n * n)
        d_r, d_z = a * q * r * (1 - r), moving * (h - n) * z * (1 - z)
        deltas.append(torch.cat([d_r, d_z, a * r], dim=-1))
        inputs.append(torch.cat([d_r, d_z, a], dim=-1))
        d = torch.baddbmm(d - moving + moving * z, deltas[-1], W_hh)
    if not weights:
        return None, None, None, d
    delta = torch.stack(deltas[::-1], dim=1).flatten(1, 2)  # (M, T·B, 3N)
    dx = torch.stack(inputs[::-1], dim=1).flatten(1, 2)
    one_hot = torch.nn.functional.one_hot(tokens.flatten(1), vocabulary).to(dx.dtype)
    hidden = W_hh.shape[2]
    return one_hot.mT @ dx, delta[..., 2 * hidden :].sum(1), delta.mT @ states[:, :-1].flatten(1, 2), d


# --- compiled: float32 on the CPU -------------------------------------------------------------------------------------


class _Lease:
    """Memory for ``size`` numbers that a backward pass needs. It is taken from what earlier ones have given back:
    megabytes fresh from the operating system at every step of training would cost as much as the step."""

    _free: ClassVar[list[Tensor]] = []

    def __init__(self, size: int) -> None:
        with _lock:
            place = next((i for i, x in enumerate(self._free) if size <= x.numel() <= 2 * size + 64), None)
            self._memory = torch.empty(size, device="cpu") if place is None else self._free.pop(place)
        self.numbers = self._memory[:size]

    def __del__(self) -> None:
        if self._memory.numel() > LARGEST:
            return
        if _lock.acquire(blocking=False):  # the collector may call this anywhere, even while the lock is held
            self._free.append(self._memory)
            del self._free[:-KEPT]
            _lock.release()


@lru_cache
def library(name: str) -> ctypes.CDLL | None:
    """The compiled functions for one instruction set, or None, said once in the log, where they are not there."""
    sizes = dict.fromkeys(("gru_saved", "gru_workspace"), (INT, [INT] * 4))
    passes = {f"gru_{way}": (None, [INT] * 4 + [POINTER] * n) for way, n in (("forward", 9), ("backward", 10))}
    return load("gru", name, **sizes, **passes)


def _native_forward(table, b_hn, W_hh, h, tokens, active):
    given = [x.detach().contiguous() for x in (table, b_hn, W_hh, tokens, active, h)]
    models, steps, batch = tokens.shape
    size = (h.shape[-1], table.shape[1], batch, steps)
    functions: Any = library(instruction_set())
    saved = _Lease(models * functions.gru_saved(*size))
    states = h.new_empty(models, steps, batch, h.shape[-1])
    _native("gru_forward", size, given, [saved.numbers.view(models, -1), states])
    return states, saved


def _native_backward(grad, vocabulary, weights, W_hh, tokens, active, saved):
    models, steps, batch = tokens.shape
    hidden = W_hh.shape[2]
    given = [x.detach().contiguous() for x in (W_hh, tokens, active, saved.numbers.view(models, -1), grad)]
    shapes = [(batch, hidden), (vocabulary, 3 * hidden), (hidden,), (3 * hidden, hidden)]
    grads = [grad.new_empty(models, *shape) if weights or i == 0 else None for i, shape in enumerate(shapes)]
    _native("gru_backward", (hidden, vocabulary, batch, steps), given, grads)
    return *grads[1:], grads[0]


def _native(name: str, size: tuple[int, ...], given: list[Tensor], results: list[Tensor | None]) -> None:
    """One of the compiled functions for each model by itself, side by side on as many cores as torch may use: the
    functions let go of Python's lock."""
    functions: Any = library(instruction_set())
    models = len(given[0])

    def one(m: int) -> None:
        work = Workspace().get(functions.gru_workspace(*size), given[0])
        read, written = ([None if x is None else x[m].data_ptr() for x in arrays] for arrays in (given, results))
        getattr(functions, name)(*size, *read, work.data_ptr(), *written)

    threads = min(models, torch.get_num_threads())
    if threads == 1:
        for m in range(models):
            one(m)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(models)))
