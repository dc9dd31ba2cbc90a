"""What the kernels of tanh Elman networks compute, and which one trains an ensemble: ``elman_native`` (compiled C++) on
the CPU, ``elman_triton`` on CUDA. Where the one that fits is not there, autograd does it.

    forward    h_t = tanh(W_hh h_{t−1} + W_uh u_t),   o_t = W_r h_t
    backward   ∂L/∂h_t = W_rᵀ ∂L/∂o_t + W_hhᵀ δ_{t+1}
               δ_t = (∂L/∂h_t) ⊙ (1 − h_t²)
    gradients  dW_hh = Σ_t δ_t h_{t−1}ᵀ,   dW_uh = Σ_t δ_t u_tᵀ
               dW_r = Σ_t (∂L/∂o_t) h_tᵀ

A kernel's ``loss_and_grad`` takes plain tensors (:mod:`emt_core.networks.kernels.shapes`) and returns, per model, the
mean squared error L over the T output steps that follow S inputs, the share of right signs, and the gradient of the
former, as autograd finds it in :func:`emt_core.networks.vectors.loss_and_grad`, the truth beside the kernels. L is a
mean over time, batch and dimension, not over models: a model's gradient does not depend on how many others share the
call. What is kept between forward and backward lies in the ``workspace``. A kernel also has ``clip_and_adam``, as
:func:`emt_core.networks.kernels.adam.clip_and_adam`.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib import import_module
from types import ModuleType

import torch

from emt_core.networks.kernels import compiled, elman_native

log = logging.getLogger(__name__)


def fastest(device: str | torch.device, hidden: int, dim: int) -> ModuleType | None:
    """The kernel to train networks of this size with on ``device`` ("cpu", "cuda", "cuda:1", …), or None."""
    if torch.device(device).type == "cpu":
        return None if elman_native.library(compiled.instruction_set()) is None else elman_native
    triton = _triton()
    return None if triton is None or hidden > triton.MAX_HIDDEN or dim > triton.MAX_DIM else triton


@lru_cache
def _triton() -> ModuleType | None:
    """The Triton kernels, or None, said once in the log, where Triton is not installed."""
    try:
        return import_module("emt_core.networks.kernels.elman_triton")
    except ImportError as error:
        log.warning("%s: until then training on CUDA uses torch's products, which are slower", error)
        return None
