"""A folder of resumable jobs as files, and the worker's side of it; :mod:`emt_core.experiments.jobs` is the other."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from emt_core.support.files import replacing, write_text
from emt_core.support.running import one_thread

log = logging.getLogger("emt_core.experiments.jobs")

POLL = 0.2  # seconds between looks at the stop file

_busy, _leaving = threading.Event(), threading.Event()  # this worker is at a job; it was told to end, or is an orphan


class FolderInUse(RuntimeError):
    """Another process is running jobs in the folder."""


@dataclass(frozen=True)
class Place:
    """What a job is given besides its arguments."""

    folder: Path
    checkpoint: Path
    stop: threading.Event  # once it is set, the job should write its checkpoint and return None
    seconds: Callable[[], float]  # spent on this job so far, by all processes that were at it


@dataclass(frozen=True)
class Job:
    """``function(place, *arguments)`` returns the job's rows, or None if it was stopped before its end. To go to other
    processes a job must be picklable.

    ``key`` names the job's files. ``size`` counts its units of work; ``progress`` reads from a checkpoint how many of
    them are done. ``files`` are others that the job writes, relative to the folder: it counts as done only if they are
    there too. ``longer``: the key ends in a dash and a number, and the checkpoint of a smaller number is a beginning.
    """

    key: str
    function: Callable
    arguments: tuple = ()
    size: int = 1
    progress: Callable | None = None
    files: tuple[str, ...] = ()
    longer: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]{0,199}", self.key, re.ASCII):
            raise ValueError(f"key must be at most 200 letters, digits, ., - and _ to name files, got {self.key!r}")


@contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """The folder ``out``, made if need be, for this process alone; what killed processes left half written is removed.

    Raises:
        FolderInUse: another process has it.
    """
    out = Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FolderInUse(f"another run is at work in {out}: wait for it, or choose another folder") from None
    try:
        (out / "stop").unlink(missing_ok=True)
        for part in (*out.glob(".*.part"), *out.glob("*/.*.part")):
            # not of a job that a worker of a killed run is at right now
            with suppress(Timeout), _job_lock(out, part.name[1:].rsplit(".", 3)[0]).acquire(timeout=0):
                part.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def results(out: Path) -> dict[str, list[dict]]:
    """The rows of every finished job in ``out``, by key. A damaged file is set aside: its job is to be done again."""
    found = {path.stem: _read_rows(path) for path in sorted((Path(out) / "rows").glob("*.json"))}
    return {key: rows for key, rows in found.items() if rows is not None}


def set_aside(path: Path, reason: object) -> None:
    """Rename a damaged file to ``<name>.damaged`` and say so."""
    path.replace(path.with_name(path.name + ".damaged"))
    log.warning("%s is damaged (%s): set aside as %s.damaged, its job starts again", path, reason, path.name)


def _read_rows(path: Path) -> list[dict] | None:
    try:
        rows = json.loads(path.read_bytes())["rows"]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("rows are no objects")
        return rows
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        set_aside(path, error)
        return None


def rows_of(out: Path, job: Job) -> list[dict] | None:
    """What a job that is done has left; None if it is not."""
    rows = _read_rows(out / "rows" / f"{job.key}.json")
    return rows if all((out / name).exists() for name in job.files) else None


def _job_lock(out: Path, key: str) -> FileLock:
    (out / "work").mkdir(exist_ok=True)
    return FileLock(out / "work" / f"{key}.lock")


def time_of(path: Path) -> int:
    """When a file was last written, in nanoseconds; 0 if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def prepare_worker() -> None:
    """Initializer for a pool's processes: a job is for one core; Ctrl-C is left to the parent, whom they do not
    outlive; after SIGTERM, which a pool that breaks sends to those that are well, they write their checkpoint."""

    def leave(*_) -> None:
        # Event.set in a signal handler is safe here: the main thread itself never holds this event's lock
        _leaving.set()
        if not _busy.is_set():
            os._exit(143)

    def outlive_nobody(parent: BaseProcess) -> None:
        parent.join()
        leave()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)
    one_thread()
    logging.getLogger("emt_core.training").setLevel(logging.ERROR)  # the parent says what was interrupted
    if parent := multiprocessing.parent_process():
        threading.Thread(target=outlive_nobody, args=(parent,), daemon=True).start()


class Failure(NamedTuple):
    """An exception as text: some exceptions cannot be pickled, and would break the pool instead of being reported."""

    message: str
    traceback: str


def work(job: Job, out: Path) -> list[dict] | Failure | None:
    """Do one job, in whatever process or thread this is."""
    _busy.set()
    try:
        return _work_alone(job, out)
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}", traceback.format_exc())
    finally:
        _busy.clear()
        if _leaving.is_set():
            os._exit(143)


def _work_alone(job: Job, out: Path) -> list[dict] | None:
    checkpoint, clock = (out / "work" / f"{job.key}.{kind}" for kind in ("checkpoint", "seconds"))
    lock, stop, ended = _job_lock(out, job.key), threading.Event(), threading.Event()
    began = spent = 0.0

    def seconds() -> float:
        return spent + time.monotonic() - began

    def record() -> None:
        with suppress(OSError):  # for a column alone: where it cannot be written, the job itself will have more to say
            write_text(f"{seconds()}\n", clock)

    def watch() -> None:
        seen = time_of(checkpoint)
        while not ended.wait(POLL):
            if _told_to_stop(out):
                stop.set()
            if began and seen != (seen := time_of(checkpoint)):
                record()

    if _told_to_stop(out):
        return None
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        while not lock.is_locked:  # a worker of a killed run may still be at this job: it ends at its own next look
            with suppress(Timeout):
                lock.acquire(timeout=POLL, poll_interval=POLL / 4)
            if stop.is_set():
                return None
        for part in out.glob(f"*/.{job.key}.*.part"):  # of a worker that was killed at it
            part.unlink(missing_ok=True)
        rows = rows_of(out, job)  # by that worker
        if rows is None:
            with suppress(OSError, ValueError):
                spent = float(clock.read_text(encoding="utf8"))
            began = time.monotonic()
            record()
            if job.longer and not checkpoint.exists():
                _begin_where_a_shorter_one_ended(job.key, checkpoint)
            rows = job.function(Place(out, checkpoint, stop, seconds), *job.arguments)
            if rows is not None:
                write_text(json.dumps({"key": job.key, "rows": rows}, indent=1), out / "rows" / f"{job.key}.json")
        return rows
    finally:
        ended.set()
        watcher.join()
        if began:
            record()
        lock.release()


def _begin_where_a_shorter_one_ended(key: str, checkpoint: Path) -> None:
    name, _, most = key.rpartition("-")
    found = {path: path.stem[len(name) + 1 :] for path in checkpoint.parent.glob(f"{name}-*.checkpoint")}
    shorter = [(int(n), path) for path, n in found.items() if n.isdigit() and int(n) < int(most)]
    if shorter:
        with replacing(checkpoint) as temporary:
            shutil.copyfile(max(shorter)[1], temporary)


def _told_to_stop(out: Path) -> bool:
    try:
        return _leaving.is_set() or (out / "stop").exists()
    except OSError:  # a network's folder that is away for a moment
        return False
