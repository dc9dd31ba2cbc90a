"""Where results come from: columns of rows, and the first lines of the tables that the book ships."""

from __future__ import annotations

import csv
import io
import math
import platform
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import torch


def number(value: SupportsFloat) -> float | None:
    """As it stands in a table: None where there is no finite number."""
    found = float(value)
    return found if math.isfinite(found) else None


@lru_cache
def made_by(device: str) -> dict[str, str]:
    """Versions and hardware, as columns."""
    root, commit = Path(__file__).resolve().parents[2], ""
    if (root / ".git").exists():  # not an installed copy within some other repository
        git = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        commit = git.stdout.strip()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "device": device if device == "cpu" else f"{device} {torch.cuda.get_device_name(device)}",
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "commit": commit,
    }


def as_csv(rows: Sequence[dict]) -> str:
    """Floats as ``repr`` has them, which reads back to the same bits; empty where there is nothing."""

    def text(value: Any) -> Any:
        return str(value).lower() if isinstance(value, bool) else value

    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: text(value) for name, value in row.items()} for row in rows)
    return file.getvalue()
