"""Loss and gradients of an ensemble of tanh Elman networks, and the optimiser's step. ``reference`` is the truth; the
others are fast: ``native`` (compiled C++) on the CPU, ``triton_elman`` on CUDA, ``batched`` (plain torch) wherever the
one that fits is not there. All have ``loss_and_grad``, ``clip_and_adam`` and a ``Workspace``.
"""

from __future__ import annotations

from types import ModuleType


def fastest(device: str) -> ModuleType:
    """The module to train with on ``device`` ("cpu", "cuda", "cuda:1", …)."""
    from emt_core.kernels import batched, native

    if device == "cpu":
        return batched if native.library(native.instruction_set()) is None else native
    return batched
