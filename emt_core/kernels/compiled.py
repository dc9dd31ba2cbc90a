"""Loading the libraries that ``setup.py`` compiles, one per kernel and instruction set."""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger(__name__)

# Which library serves a processor: torch's name for what the processor can do -> setup.py's name for the library.
LIBRARIES = {"AVX512": "avx512", "AVX2": "avx2", "DEFAULT": "generic", "NO AVX": "generic"}
INT, POINTER, DOUBLE = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double


def instruction_set() -> str:
    """The library that fits this processor: ``"avx512"``, ``"avx2"`` or ``"generic"`` (NEON)."""
    return LIBRARIES.get(torch.backends.cpu.get_cpu_capability(), "generic")


def load(kernel: str, name: str) -> ctypes.CDLL | None:
    """The compiled functions of ``kernel`` for one instruction set, or None, said in the log, if they are not there."""
    found = sorted(Path(__file__).parent.glob(f"_{kernel}_{name}.*"))
    try:
        return ctypes.CDLL(str(found[0]))
    except (IndexError, OSError) as error:
        why = f"cannot be loaded ({error})" if found else f"was not compiled for {name}"
        log.warning("the fast CPU kernel %s: training uses torch, some three times slower", why)
        return None


class Workspace:
    """Memory kept between calls, and grown when more is asked for."""

    def __init__(self) -> None:
        self._floats = torch.empty(0, dtype=torch.float32, device="cpu")

    def get(self, floats: int) -> Tensor:
        """At least ``floats`` float32, aligned to 64 bytes; what they hold is undefined."""
        if self._floats.numel() < floats + 16:
            self._floats = torch.empty(floats + 16, dtype=torch.float32, device="cpu")
        return self._floats[-self._floats.data_ptr() // 4 % 16 :]
