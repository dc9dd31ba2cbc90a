"""Loss and gradients of an ensemble of tanh Elman networks, and the optimiser's step. ``reference`` is the truth; the
others are fast: ``native`` (compiled C++) on the CPU, ``triton_elman`` on CUDA, ``batched`` (plain torch) wherever the
one that fits is not there. The fast ones have ``loss_and_grad``, ``clip_and_adam`` and a ``Workspace``.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib import import_module
from types import ModuleType

log = logging.getLogger(__name__)


def fastest(device: str, hidden: int, dim: int) -> ModuleType:
    """The module to train networks of this size with on ``device`` ("cpu", "cuda", "cuda:1", …)."""
    from emt_core.kernels import batched, native

    if device == "cpu":
        return batched if native.library(native.instruction_set()) is None else native
    triton_elman = _triton()
    if triton_elman is None or hidden > triton_elman.MAX_HIDDEN or dim > triton_elman.MAX_DIM:
        return batched
    return triton_elman


@lru_cache
def _triton() -> ModuleType | None:
    """The Triton kernels, or None, said once in the log, where Triton is not installed."""
    try:
        return import_module("emt_core.kernels.triton_elman")
    except ImportError as error:
        log.warning("%s: until then training on CUDA uses torch's products, which are slower", error)
        return None
