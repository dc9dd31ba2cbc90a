"""What the Triton kernels take on an NVIDIA Hopper, sm_90: compiled without a GPU."""

import re
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def resources(kernels: ModuleType, hidden: int, dim: int, batch: int, models: int) -> dict[str, dict[str, int]]:
    """Per kernel: registers a thread, bytes of spilled ones stored and loaded, bytes of shared memory.

    Compiled for sm_90 as ``loss_and_grad`` would launch them at this size; needs no GPU.
    """
    return {name: compiled(*job) for name, job in kernels._plan(hidden, dim, batch, models).items()}


def compiled(kernel: Any, parameters: dict[str, Any]) -> dict[str, int]:
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.compiler import get_ptxas
    from triton.compiler import ASTSource

    constants = {k: v for k, v in parameters.items() if k in kernel.arg_names}
    options = {k: v for k, v in parameters.items() if k not in kernel.arg_names}
    kinds = dict.fromkeys(("S", "T", "rows", "h_model", "x_model", "y_model"), "i32")
    kinds |= dict.fromkeys(constants, "constexpr")
    signature = {name: kinds.get(name, "*fp32" if name.endswith("_ptr") else "fp32") for name in kernel.arg_names}
    # a launch would see by itself that these are multiples of 16, at the usual sizes
    even = [i for i, name in enumerate(signature) if name.endswith(("_ptr", "_model"))]
    attributes = {(i,): [["tt.divisibility", 16]] for i in even}
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder) / "kernel.ptx"
        ptx.write_text(compiled.asm["ptx"])
        command = [get_ptxas(90).path, "-v", "--gpu-name=sm_90a", str(ptx), "-o", str(ptx.with_suffix(".cubin"))]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads.*Used (\d+) registers", log, re.DOTALL)
    assert found, log
    stores, loads, registers = (int(number) for number in found.groups())
    return {"registers": registers, "stored": stores, "loaded": loads, "shared": compiled.metadata.shared}
