"""Which compiled libraries are loaded: the file that this Python's ``setup.py`` makes, of this version, or none."""

import logging
import re
import shutil
import sysconfig
from pathlib import Path

import pytest

from emt_core.networks.kernels import compiled

KERNELS = Path(compiled.__file__).parent
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
HERE = compiled.instruction_set()
SLOWER = ": training uses torch, several times slower"


@pytest.fixture(params=["elman", "gru"])
def kernel(request) -> str:
    if not (KERNELS / f"_{request.param}_{HERE}{SUFFIX}").exists():
        assert shutil.which("c++") is None, "the kernel is not compiled though there is a compiler: pip install -e ."
        pytest.skip("no C++ compiler here")
    return request.param


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder in the place of the package's own."""
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
    return tmp_path


@pytest.fixture
def said(caplog):
    """What the log has heard since."""
    caplog.set_level(logging.WARNING)
    return lambda: [record.message for record in caplog.records if record.name == compiled.log.name]


def library(kernel: str) -> Path:
    """What ``setup.py`` made for this machine."""
    return KERNELS / f"_{kernel}_{HERE}{SUFFIX}"


def test_the_own_library_is_loaded(kernel, folder, said):
    shutil.copy(library(kernel), folder / library(kernel).name)
    functions = compiled.load(kernel, HERE)
    assert functions is not None and getattr(functions, f"{kernel}_abi")() == compiled.ABI
    assert Path(functions._name).parent == folder and said() == []


def test_the_library_of_the_installation_is_loaded(kernel, said):
    assert Path(compiled.load(kernel, HERE)._name) == library(kernel) and said() == []


@pytest.mark.parametrize(
    "suffix",
    [".so", ".cpython-39-x86_64-linux-gnu.so", ".abi3.so", f"{SUFFIX}.old", f".0{SUFFIX}", ".pyd", ""],
)
def test_what_another_python_left_is_not_looked_at(kernel, folder, said, suffix):
    """Libraries that would load: also when the own one is there, whose name they would come before or after."""
    shutil.copy(library(kernel), folder / f"_{kernel}_{HERE}{suffix}")
    assert compiled.load(kernel, HERE) is None
    assert said() == [f"the fast CPU kernel was not compiled for {HERE}{SLOWER}"]
    (folder / f"_{kernel}_{HERE}{suffix}").write_bytes(b"no library")
    shutil.copy(library(kernel), folder / library(kernel).name)
    assert Path(compiled.load(kernel, HERE)._name) == folder / library(kernel).name


def test_another_kernels_or_instruction_sets_library_is_not_taken(kernel, folder, said):
    other = {"elman": "gru", "gru": "elman"}[kernel]
    shutil.copy(library(other), folder / library(other).name)
    shutil.copy(library(kernel), folder / f"_{kernel}_other{SUFFIX}")
    assert compiled.load(kernel, HERE) is None
    assert said() == [f"the fast CPU kernel was not compiled for {HERE}{SLOWER}"]


def test_a_damaged_library_is_refused(kernel, folder, said):
    whole = library(kernel).read_bytes()
    for content in (b"", b"no library", whole[:40]):  # cut off later it would take the process with it
        (folder / library(kernel).name).write_bytes(content)
        before = len(said())
        assert compiled.load(kernel, HERE) is None
        (message,) = said()[before:]
        assert message.startswith("the fast CPU kernel cannot be loaded (") and message.endswith(f"){SLOWER}")


@pytest.mark.parametrize("other", [-1, 1])
def test_a_library_of_another_version_is_refused(kernel, folder, said, monkeypatch, other):
    shutil.copy(library(kernel), folder / library(kernel).name)
    monkeypatch.setattr(compiled, "ABI", compiled.ABI + other)
    assert compiled.load(kernel, HERE) is None
    versions = f"{compiled.ABI - other}, not {compiled.ABI}"
    assert said() == [f"the fast CPU kernel is of another version ({versions}): install emt_core again{SLOWER}"]


def test_a_library_without_a_version_is_refused(kernel, folder, said):
    """As those were that were compiled before there were versions; here, a kernel's under another's name."""
    other = {"elman": "gru", "gru": "elman"}[kernel]
    shutil.copy(library(other), folder / library(kernel).name)
    assert compiled.load(kernel, HERE) is None
    (message,) = said()
    assert message.startswith("the fast CPU kernel cannot be loaded (") and message.endswith(f"){SLOWER}")
    assert f"{kernel}_abi" in message


def test_the_sources_have_the_number_that_python_asks_for():
    (number,) = re.findall(r"^constexpr int ABI = (\d+);", (KERNELS / "tiles.h").read_text(), re.MULTILINE)
    assert int(number) == compiled.ABI
    for kernel in ("elman", "gru"):
        source = (KERNELS / f"{kernel}.cpp").read_text()
        assert f"int {kernel}_abi() {{ return ABI; }}" in source and '#include "tiles.h"' in source


def test_every_processor_has_a_library(monkeypatch):
    names = {"AVX512": "avx512", "AVX2": "avx2", "DEFAULT": "generic", "NO AVX": "generic", "SVE256": "generic"}
    for capability, name in names.items():
        monkeypatch.setattr(compiled.torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
        assert compiled.instruction_set() == name
