"""What every tool that makes results shares: where they come from, and tables that say so in their first lines."""

import csv
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from emt_core.training import variable_binding as train
from emt_core.training.optimise import Optimised

ROOT = Path(__file__).resolve().parent.parent


def provenance(command: str) -> dict[str, str]:
    """The command, commit, hardware and versions that made a result."""
    git = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "command": command,
        "commit": git.stdout.strip() or "unknown",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "hardware": f"{platform.machine()} CPU ({torch.backends.cpu.get_cpu_capability()}), one thread a model",
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
    }


def stop_if_interrupted(run: train.Run | Optimised) -> None:
    """Ctrl-C left a checkpoint and no result: nothing is written."""
    if any(s.startswith("interrupted") for s in run.status):
        sys.exit("interrupted; the same command goes on from here")


def write_table(path: Path, rows: Sequence[dict], made_by: dict[str, str]) -> None:
    """A CSV whose first lines, marked with #, say what made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf8") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in made_by.items())
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
