"""Jobs for test_jobs.py, importable by the processes of a pool."""

import os
import signal
import time
from pathlib import Path

from emt_core.experiments.jobs import Place
from emt_core.support.files import write_text


def once(place: Place, value: int) -> list[dict]:
    """A row, and a line in a file that says that the job was done."""
    with (place.folder / "calls").open("a", encoding="utf8") as file:
        file.write(f"{value}\n")
    return [{"value": value, "double": 2 * value}]


def calls(folder: Path) -> list[int]:
    """Which jobs :func:`once` has done in ``folder``."""
    path = folder / "calls"
    return sorted(map(int, path.read_text(encoding="utf8").split())) if path.exists() else []


def count(place: Place, goal: int, pause: float = 0.01) -> list[dict] | None:
    """Count to ``goal`` with a checkpoint at each number."""
    n = began = done(place.checkpoint)
    while n < goal:
        if place.stop.is_set():
            return None
        time.sleep(pause)
        n += 1
        write_text(str(n), place.checkpoint)
    return [{"counted": n, "began": began}]


def done(checkpoint: Path) -> int:
    return int(checkpoint.read_text(encoding="utf8")) if checkpoint.exists() else 0


def fail(place: Place) -> list[dict]:
    raise Stubborn("one", "two")


class Stubborn(Exception):
    """An exception that pickles and cannot be unpickled: it would break a pool that it is raised in."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def nothing(place: Place) -> None:
    return None


def die(place: Place | None) -> list[dict]:
    os.kill(os.getpid(), signal.SIGKILL)


class Poison:
    """Kills the process that unpickles it."""

    def __reduce__(self) -> tuple:
        return die, (None,)
