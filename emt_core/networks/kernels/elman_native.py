"""The compiled CPU path: ``elman.cpp``, float32, one network at a time on the calling thread. It lets go of Python's
lock, so that as many networks train side by side as there are cores.

``setup.py`` compiles one library per instruction set when the package is installed. Where there was no compiler, or the
processor has neither, :func:`library` is None and autograd trains instead.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch
from jaxtyping import Bool
from torch import Tensor

from emt_core.networks.kernels.adam import BETA1, BETA2, EPSILON, Column, Each, Rows
from emt_core.networks.kernels.compiled import DOUBLE, INT, POINTER, instruction_set, load
from emt_core.networks.kernels.shapes import Inputs, LossAndGrad, Recurrent, Targets, WayIn, WayOut, Workspace, check


@lru_cache
def library(name: str) -> ctypes.CDLL | None:
    """The compiled functions for one instruction set, or None, said once in the log, where they are not there."""
    sizes, update = [INT] * 5, [INT] + [POINTER] * 4 + [DOUBLE] * 3 + [INT] + [DOUBLE] * 3
    gradients = {"elman_workspace": (INT, sizes), "elman_loss_and_grad": (None, sizes + [POINTER] * 10)}
    return load("elman", name, **gradients, elman_clip_and_adam=(ctypes.c_int, update))


@torch.no_grad()
def loss_and_grad(
    W_uh: WayIn, W_hh: Recurrent, W_r: WayOut, inputs: Inputs, targets: Targets, workspace: Workspace | None = None
) -> LossAndGrad:
    """See :mod:`emt_core.networks.kernels.elman`; for float32 on the CPU."""
    functions = _functions()
    check(W_uh, W_hh, W_r, inputs, targets)
    models, reading, batch, dim = inputs.shape
    size = (W_hh.shape[1], dim, batch, reading, targets.shape[1])
    # kept in a list until the calls are over: a pointer alone does not keep a tensor alive
    named = {"W_uh": W_uh, "W_hh": W_hh, "W_r": W_r, "inputs": inputs, "targets": targets}
    arguments = [_plain(name, x) for name, x in named.items()]
    grads = [torch.empty_like(x) for x in arguments[:3]]
    work = (workspace or Workspace()).get(functions.elman_workspace(*size), W_hh)
    result = torch.empty(models, 2, dtype=torch.float64, device="cpu")
    for m in range(models):
        pointers = [x[m].data_ptr() for x in arguments]
        functions.elman_loss_and_grad(
            *size, *pointers, work.data_ptr(), *[g[m].data_ptr() for g in grads], result[m].data_ptr()
        )
    loss, accuracy = result.float().unbind(1)
    return loss, accuracy, (grads[0], grads[1], grads[2])


@torch.no_grad()
def clip_and_adam(
    weights: Rows, moment1: Rows, moment2: Rows, gradient: Rows, loss: Each, lr: Column, l2: Column, clip: float, n: int
) -> Bool[Tensor, "M"]:
    """Same contract as :func:`emt_core.networks.kernels.adam.clip_and_adam`."""
    functions = _functions()
    gradient = _plain("gradient", gradient)
    for name, x in {"weights": weights, "moment1": moment1, "moment2": moment2, "gradient": gradient}.items():
        if x.shape != weights.shape:
            raise ValueError(f"{name} must have the shape of weights, {tuple(weights.shape)}, got {tuple(x.shape)}")
        if _plain(name, x) is not x:
            raise ValueError(f"{name} must be contiguous to be changed in place, got strides {x.stride()}")
    updated, rates, penalties = loss.isfinite().tolist(), lr.flatten().tolist(), l2.flatten().tolist()
    for m in range(len(updated)):
        if updated[m]:
            pointers = [x[m].data_ptr() for x in (weights, moment1, moment2, gradient)]
            settings = (rates[m], penalties[m], clip, n, BETA1, BETA2, EPSILON)
            updated[m] = bool(functions.elman_clip_and_adam(weights.shape[1], *pointers, *settings))
    return torch.tensor(updated, dtype=torch.bool, device="cpu")


def _functions() -> ctypes.CDLL:
    functions = library(instruction_set())
    if functions is None:
        raise RuntimeError("the fast CPU kernel is not compiled here: install emt_core where a C++ compiler is at hand")
    return functions


def _plain(name: str, x: Tensor) -> Tensor:
    if x.dtype != torch.float32 or x.device.type != "cpu":
        raise ValueError(f"{name} must be float32 on the CPU for the compiled kernel, got {x.dtype} on {x.device}")
    return x.contiguous()
