"""The fast path on an NVIDIA GPU: what :mod:`emt_core.networks.kernels.elman` says, in Triton for Hopper (sm_90).

One program takes one model and a tile of its batch through all of time: W_hh is read once and a step costs no launch.
A state is a tile (N, batch), so that W_hh, which stays, is the left operand of a product and the state the right one,
which Hopper's matrix unit wants in shared memory in the order it has in global memory anyway. Sizes are padded to
powers of two by zeros, which tanh and products leave zeros. No sum depends on the order in which programs finish.
Every product is in tf32x3: on the matrix unit, in three parts, nearly as exact as float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from emt_core.networks.kernels.adam import clip_and_adam
from emt_core.networks.kernels.shapes import Inputs, LossAndGrad, Recurrent, Targets, WayIn, WayOut, Workspace, check

__all__ = ["MAX_DIM", "MAX_HIDDEN", "Workspace", "clip_and_adam", "loss_and_grad"]

try:
    import triton
    import triton.language as tl
except ImportError as missing:
    raise ImportError(f"{__name__} needs the package triton: pip install triton") from missing

MAX_HIDDEN, MAX_DIM = 128, 64  # tf32x3 keeps W_hh in two parts, 2 · 64 KB, of the 227 KB of shared memory
PROCESSORS = 132  # multiprocessors of an H200
FUSED = {"enable_fp_fusion": True}  # a·b + c in one instruction: Triton's default up to 3.9, not after


def _kernel(function: Callable) -> Any:
    """For Triton, which compiles from the source: the function itself, whatever checks a hook has put around it."""
    return triton.jit(inspect.unwrap(function), do_not_specialize=("S", "T", "rows"))


# Sizes are called as everywhere; NP and DP are the padded ones, BT is a tile of the batch.


@_kernel
def _load(ptr, i, j, I, J, step_i, step_j):  # noqa: E741
    """The tile of numbers at ptr + i · step_i + j · step_j, zeros where not i < I and j < J."""
    return tl.load(ptr + i[:, None] * step_i + j[None, :] * step_j, (i[:, None] < I) & (j[None, :] < J), 0.0)


@_kernel
def _store(ptr, tile, i, j, I, J, step_i, step_j):  # noqa: E741
    tl.store(ptr + i[:, None] * step_i + j[None, :] * step_j, tile, (i[:, None] < I) & (j[None, :] < J))


@_kernel
def _tanh(x):
    """tanh to 2 units in the last place or so. Near 0, where 1 − 2/(e^{2x} + 1) would cancel, a polynomial fitted for
    the purpose: smallest largest relative error on |x| < 1/2, 4e-10."""
    s = x * x
    p = -0.333333284 + s * (0.133329645 + s * (-0.0538991913 + s * (0.0212979913 - s * 0.00664748671)))
    far = 1.0 - 2.0 / (tl.exp(2.0 * tl.abs(x)) + 1.0)
    return tl.where(tl.abs(x) < 0.5, x + x * s * p, tl.where(x < 0, -far, far))


@_kernel
def _forward(
    u_ptr, W_uh_ptr, W_hh_ptr, h_ptr, S, T, h_model,
    N: tl.constexpr, D: tl.constexpr, B: tl.constexpr,
    NP: tl.constexpr, DP: tl.constexpr, BT: tl.constexpr):  # fmt: skip
    """States h (M, S + T, B, N) from inputs u (M, S, B, D). Grid (M, batch tiles)."""
    m = tl.program_id(0).to(tl.int64)  # a large ensemble's states have more than 2^31 entries
    n, k, d = tl.arange(0, NP), tl.arange(0, NP), tl.arange(0, DP)
    b = tl.program_id(1) * BT + tl.arange(0, BT)
    W_hh = _load(W_hh_ptr + m * N * N, n, k, N, N, N, 1)
    W_uh = _load(W_uh_ptr + m * N * D, n, d, N, D, D, 1)
    u_ptr += m * S * B * D
    h_ptr += m * h_model
    h = tl.zeros((NP, BT), tl.float32)
    for t in range(S + T):
        drive = tl.dot(W_hh, h, input_precision="tf32x3")  # the large product first: fewer registers at the peak
        if t < S:
            u = _load(u_ptr + tl.cast(t, tl.int64) * (B * D), d, b, D, B, 1, D)
            drive = tl.dot(W_uh, u, drive, input_precision="tf32x3")
        h = _tanh(drive)
        _store(h_ptr + tl.cast(t, tl.int64) * (B * N), h, n, b, N, B, 1, N)


@_kernel
def _readout(
    h_ptr, W_r_ptr, targets_ptr, error_ptr, sums_ptr, S, T, h_model, scale,
    N: tl.constexpr, D: tl.constexpr, B: tl.constexpr,
    NP: tl.constexpr, DP: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    """∂L/∂o (M, T, B, D) = scale · (o − target); sums (M, 2, blocks): Σ (o − target)² and how many signs are right in a
    block of rows. A row is one sequence at one output step. Grid (M, blocks)."""
    m = tl.program_id(0).to(tl.int64)
    n, d, row = tl.arange(0, NP), tl.arange(0, DP), tl.arange(0, ROWS)
    start = tl.program_id(1).to(tl.int64) * ROWS
    left = T * B - start
    W_r = _load(W_r_ptr + m * D * N, n, d, N, D, 1, N)
    h = _load(h_ptr + m * h_model + (S * B + start) * N, row, n, left, N, N, 1)
    target = _load(targets_ptr + (m * T * B + start) * D, row, d, left, D, D, 1)
    o = tl.dot(h, W_r, input_precision="tf32x3")
    error = o - target
    _store(error_ptr + (m * T * B + start) * D, scale * error, row, d, left, D, D, 1)
    sums_ptr += m * 2 * tl.num_programs(1) + tl.program_id(1)
    tl.store(sums_ptr, tl.sum(error * error))
    tl.store(sums_ptr + tl.num_programs(1), tl.sum((o * target > 0).to(tl.float32)))


@_kernel
def _backward(
    error_ptr, W_r_ptr, W_hh_ptr, h_ptr, delta_ptr, S, T, h_model,
    N: tl.constexpr, D: tl.constexpr, B: tl.constexpr,
    NP: tl.constexpr, DP: tl.constexpr, BT: tl.constexpr):  # fmt: skip
    """δ (M, S + T, B, N) from ∂L/∂o (M, T, B, D) and the states; δ lies in memory as h does. Grid as forward."""
    m = tl.program_id(0).to(tl.int64)
    n, k, d = tl.arange(0, NP), tl.arange(0, NP), tl.arange(0, DP)
    b = tl.program_id(1) * BT + tl.arange(0, BT)
    W_hh_T = _load(W_hh_ptr + m * N * N, n, k, N, N, 1, N)
    W_r_T = _load(W_r_ptr + m * D * N, n, d, N, D, 1, N)
    error_ptr += m * T * B * D
    h_ptr += m * h_model
    delta_ptr += m * h_model
    delta = tl.zeros((NP, BT), tl.float32)
    for back in range(S + T):
        t = tl.cast(S + T - 1 - back, tl.int64)
        h = _load(h_ptr + t * (B * N), n, b, N, B, 1, N)
        error = _load(error_ptr + (t - S) * (B * D), d, b, D, tl.where(t < S, 0, B), 1, D)  # zeros while reading
        grad = tl.dot(W_hh_T, delta, input_precision="tf32x3")
        delta = tl.dot(W_r_T, error, grad, input_precision="tf32x3") * (1.0 - h * h)
        _store(delta_ptr + t * (B * N), delta, n, b, N, B, 1, N)


@_kernel
def _outer_sum(
    x_ptr, y_ptr, out_ptr, rows, x_model, y_model, X: tl.constexpr, Y: tl.constexpr,
    XT: tl.constexpr, YT: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    """out (M, X, Y) = Σ_r x_r y_rᵀ over the rows of x (M, rows, X) and y (M, rows, Y). Grid (M, tiles of X, of Y)."""
    m = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * XT + tl.arange(0, XT)
    j = tl.program_id(2) * YT + tl.arange(0, YT)
    r = tl.arange(0, ROWS)
    total = tl.zeros((XT, YT), tl.float32)
    for start in range(0, rows, ROWS):
        first = tl.cast(start, tl.int64)
        x = _load(x_ptr + m * x_model + first * X, i, r, X, rows - start, 1, X)
        y = _load(y_ptr + m * y_model + first * Y, r, j, rows - start, Y, Y, 1)
        # tf32x3 adds ``total`` outside the matrix unit, which cuts sums off: over thousands of rows that would show
        total += tl.dot(x, y, input_precision="tf32x3")
    _store(out_ptr + m * X * Y, total, i, j, X, Y, Y, 1)


def _padded(size: int) -> int:
    return max(16, triton.next_power_of_2(size))


def _plan(hidden: int, dim: int, batch: int, models: int) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Kernel and launch parameters by name: tiles and warps found by trial, so that no register is spilled."""
    N, D = _padded(hidden), _padded(dim)
    most = min(_padded(batch), 64 if N < 128 else 1024 // D)  # beyond it shared memory overflows
    # the smallest tile with which all programs still run side by side; tiles share no sums, so no result changes
    fits = [tile for tile in (16, 32) if tile < most and models * triton.cdiv(batch, tile) <= PROCESSORS]
    sizes = {"N": hidden, "D": dim, "B": batch, "NP": N, "DP": D, **FUSED}
    steps = {**sizes, "BT": min([*fits, most]), "num_warps": 8 if N == 128 else 4, "num_stages": 2}

    def outer(X: int, Y: int) -> tuple[Any, dict[str, Any]]:
        tiles = {"X": X, "Y": Y, "XT": min(_padded(X), 64), "YT": min(_padded(Y), 64), "ROWS": 32}
        return _outer_sum, {**tiles, "num_warps": 4, "num_stages": 3, **FUSED}

    return {
        "forward": (_forward, steps),
        "readout": (_readout, {**sizes, "ROWS": 64, "num_warps": 4}),
        "backward": (_backward, steps),
        "grad_hh": outer(hidden, hidden),
        "grad_uh": outer(hidden, dim),
        "grad_r": outer(dim, hidden),
    }


@torch.no_grad()
def loss_and_grad(
    W_uh: WayIn, W_hh: Recurrent, W_r: WayOut, inputs: Inputs, targets: Targets, workspace: Workspace | None = None
) -> LossAndGrad:
    """See :mod:`emt_core.networks.kernels.elman`; in float32 on a CUDA device, for N ≤ MAX_HIDDEN and D ≤ MAX_DIM; else
    a ValueError names the argument."""
    check(W_uh, W_hh, W_r, inputs, targets)
    M, S, B, D = inputs.shape
    T, N = targets.shape[1], W_hh.shape[1]
    if N > MAX_HIDDEN or D > MAX_DIM:
        limits = f"N ≤ {MAX_HIDDEN} and D ≤ {MAX_DIM} for the Triton kernels (autograd has no limit)"
        raise ValueError(f"W_uh must have {limits}, got {(M, N, D)}")
    given = {"W_hh": W_hh, "W_uh": W_uh, "W_r": W_r, "inputs": inputs, "targets": targets}
    interpreted = not isinstance(_forward, triton.JITFunction)  # TRITON_INTERPRET=1 runs the kernels on the CPU
    for name, x in given.items():
        if x.dtype != torch.float32 or x.device != W_hh.device or not (x.is_cuda or interpreted):
            where = W_hh.device if W_hh.is_cuda or interpreted else "a CUDA device"
            raise ValueError(f"{name} must be torch.float32 on {where}, got {x.dtype} on {x.device}")
    W_hh, W_uh, W_r, inputs, targets = (x.contiguous() for x in given.values())
    h, delta = (workspace or Workspace()).get(2 * M * (S + T) * B * N, W_hh).view(2, M, S + T, B, N)
    error = torch.empty_like(targets)
    plan = _plan(N, D, B, M)

    def launch(name: str, blocks: tuple[int, ...], *arguments) -> None:
        kernel, parameters = plan[name]
        kernel[(M, *blocks)](*arguments, **parameters)

    def outer_sum(name: str, x: Tensor, y: Tensor) -> Tensor:  # of x (M, t, B, X) and y (M, t, B, Y), over t and B
        tiles, out = plan[name][1], x.new_empty(M, x.shape[-1], y.shape[-1])
        blocks = (triton.cdiv(tiles["X"], tiles["XT"]), triton.cdiv(tiles["Y"], tiles["YT"]))
        launch(name, blocks, x, y, out, x.shape[1] * B, x.stride(0), y.stride(0))
        return out

    with torch.cuda.device_of(W_hh):
        tiles = (triton.cdiv(B, plan["forward"][1]["BT"]),)
        launch("forward", tiles, inputs, W_uh, W_hh, h, S, T, h.stride(0))
        blocks = triton.cdiv(T * B, plan["readout"][1]["ROWS"])
        sums = h.new_empty(M, 2, blocks)
        launch("readout", (blocks,), h, W_r, targets, error, sums, S, T, h.stride(0), 2.0 / (T * B * D))
        launch("backward", tiles, error, W_r, W_hh, h, delta, S, T, h.stride(0))
        grad_uh = outer_sum("grad_uh", delta[:, :S], inputs)
        grad_hh = outer_sum("grad_hh", delta[:, 1:], h[:, :-1])
        grad_r = outer_sum("grad_r", error, h[:, S:])
        loss, accuracy = (sums.sum(2) / (T * B * D)).unbind(1)
    return loss, accuracy, (grad_uh, grad_hh, grad_r)
