"""Writing files so that a crash at any moment leaves the old file or the new one, never a torn one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``. What the block writes there takes the place of ``path`` when it ends without
    an error; else ``path`` stays as it was. A process that is killed meanwhile leaves ``.<name>.<pid>.part``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None:  # a full disk says so without a name
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write ``text`` to ``path`` in UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())  # bytes: the same line ends on every system


def write_safetensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write ``tensors`` and text ``metadata`` to ``path``, whole or not at all."""
    # not safetensors' save_file: its later versions write to a .tmp name of their own, which a kill leaves behind
    with replacing(path) as temporary:
        temporary.write_bytes(save({name: x.detach().cpu().contiguous() for name, x in tensors.items()}, metadata))


def read_safetensors(path: Path, argument: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file; ValueError, which names the ``argument``, if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{argument} {path} is damaged or of another kind: {error}") from error


def digest(*tensors: Tensor) -> str:
    """A short name for these numbers: other numbers have another one."""
    return hashlib.sha256(b"".join(x.detach().cpu().numpy().tobytes() for x in tensors)).hexdigest()[:16]
