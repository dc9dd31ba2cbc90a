"""Compiles the fast CPU kernels when the package is installed; all else about the package is in pyproject.toml.

One library per instruction set, so that the same installation runs on any machine: compiled.py beside them picks. Each
is optional: without a C++ compiler the installation goes through, and training uses torch.
"""

import platform
import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

FLAGS = ["-O3", "-std=c++17", "-fno-math-errno", "-fno-trapping-math"]
X86 = {
    "avx512": "-mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma -mprefer-vector-width=512",
    "avx2": "-mavx2 -mfma",
}
# plain x86 has neither wide vectors nor fused multiply-add: torch is faster there
targets = X86 if platform.machine().lower() in ("x86_64", "amd64") else {"generic": ""}


class WithShipped(build_py):
    """Also puts what the chapters read into the package, where emt_core.book.shipped looks."""

    def run(self):
        super().run()
        for folder in ("data", "claims"):
            target = Path(self.build_lib) / "emt_core" / "book" / folder
            if not self.editable_mode:
                shutil.copytree(Path("book") / folder, target, dirs_exist_ok=True)


setup(
    cmdclass={"build_py": WithShipped},
    ext_modules=[
        Extension(
            f"emt_core.networks.kernels._{kernel}_{name}",
            sources=[f"emt_core/networks/kernels/{kernel}.cpp"],
            extra_compile_args=FLAGS + flags.split(),
            depends=["setup.py", "emt_core/networks/kernels/tiles.h"],
            optional=True,
        )
        for kernel in ("elman", "gru")
        for name, flags in targets.items()
    ],
)
