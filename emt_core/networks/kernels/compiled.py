"""Loading the libraries that ``setup.py`` compiles, one per kernel and instruction set."""

from __future__ import annotations

import ctypes
import logging
import sysconfig
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

# Which library serves a processor: torch's name for what the processor can do -> setup.py's name for the library.
LIBRARIES = {"AVX512": "avx512", "AVX2": "avx2", "DEFAULT": "generic", "NO AVX": "generic"}
ABI = 2  # of the functions in elman.cpp and gru.cpp, as tiles.h has it: other arguments, another number
INT, POINTER, DOUBLE = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double


def instruction_set() -> str:
    """The library that fits this processor: ``"avx512"``, ``"avx2"`` or ``"generic"`` (NEON)."""
    return LIBRARIES.get(torch.backends.cpu.get_cpu_capability(), "generic")


def load(kernel: str, name: str, **types: tuple[Any, Any]) -> ctypes.CDLL | None:
    """The compiled functions of ``kernel`` for one instruction set, with what they return and take by their names, or
    None, said in the log, if they are not there.

    Only the file that this Python's ``setup.py`` makes is looked at, and only if it is of this version of the sources:
    what another version or another Python left beside it would read arguments as something else.
    """
    path = Path(__file__).with_name(f"_{kernel}_{name}{sysconfig.get_config_var('EXT_SUFFIX')}")
    try:
        functions = ctypes.CDLL(str(path))
        abi = getattr(functions, f"{kernel}_abi")()
        if abi == ABI:
            for function, (result, arguments) in types.items():
                getattr(functions, function).restype, getattr(functions, function).argtypes = result, arguments
            return functions
        why = f"is of another version ({abi}, not {ABI}): install emt_core again"
    except (OSError, AttributeError) as error:
        why = f"cannot be loaded ({error})" if path.exists() else f"was not compiled for {name}"
    log.warning("the fast CPU kernel %s: training uses torch, several times slower", why)
    return None
