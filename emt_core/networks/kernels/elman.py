"""Which kernel trains an ensemble of tanh Elman networks: ``elman_native`` (compiled C++) on the CPU, ``elman_triton``
on CUDA, ``elman_batched`` (plain torch) wherever the one that fits is not there. Each takes plain tensors and has
``clip_and_adam``, a ``Workspace``, and ``loss_and_grad``, whose slow truth is in :mod:`emt_core.networks.vectors`.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib import import_module
from types import ModuleType

import torch

from emt_core.networks.kernels import compiled, elman_batched, elman_native

log = logging.getLogger(__name__)


def fastest(device: str | torch.device, hidden: int, dim: int) -> ModuleType:
    """The module to train networks of this size with on ``device`` ("cpu", "cuda", "cuda:1", …)."""
    if torch.device(device).type == "cpu":
        there = elman_native.library(compiled.instruction_set()) is not None
        return elman_native if there else elman_batched
    triton = _triton()
    return elman_batched if triton is None or hidden > triton.MAX_HIDDEN or dim > triton.MAX_DIM else triton


@lru_cache
def _triton() -> ModuleType | None:
    """The Triton kernels, or None, said once in the log, where Triton is not installed."""
    try:
        return import_module("emt_core.networks.kernels.elman_triton")
    except ImportError as error:
        log.warning("%s: until then training on CUDA uses torch's products, which are slower", error)
        return None
