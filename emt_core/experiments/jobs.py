"""Resumable jobs on any ``concurrent.futures`` executor: local processes, threads, or a Dask cluster.

A job is a function, its arguments and a name; its result is a list of rows. Every result is a file, written as soon as
the job is done, and a job may keep a checkpoint. So whatever ends a run - Ctrl-C, ``kill -9`` of a worker or of all, a
full disk - running it again goes on from there. Inside ``out``::

    rows/<key>.json        the rows of a finished job: {"key": …, "rows": [{…}, …]}
    work/<key>.checkpoint  what an unfinished job needs to go on; the job writes it and may leave it there
    .lock                  locked by the process that runs the jobs; others are refused
    stop                   while it exists, jobs write their checkpoint and end
    *.damaged              what could not be read, set aside
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from emt_core.support.checks import integer
from emt_core.support.files import replacing, write_text
from emt_core.support.running import ctrl_c_sets, quiet

log = logging.getLogger(__name__)

POLL = 0.2  # seconds between looks at the stop file
LOSSES = 3  # so often workers may die without any job having got on in between


class FolderInUse(RuntimeError):
    """Another process is running jobs in the folder."""


@dataclass(frozen=True)
class Place:
    """What a job is given besides its arguments. Once ``stop`` is set, it writes its checkpoint and returns None."""

    folder: Path
    checkpoint: Path
    stop: threading.Event


@dataclass(frozen=True)
class Job:
    """``function(place, *arguments)`` returns the job's rows, or None if it was stopped before its end. To go to other
    processes a job must be picklable. ``key`` names the job's files. ``size`` counts its units of work; ``progress``
    reads from a checkpoint how many of them are done. ``files`` are others that the job writes, relative to the folder:
    it counts as done only if they are there too. ``longer``: the key ends in a dash and a number, and the checkpoint of
    a smaller number is a beginning."""

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

    def checkpoint(self, out: Path) -> Path:
        return out / "work" / f"{self.key}.checkpoint"

    def done(self, out: Path) -> int:
        """Units of work in its checkpoint."""
        path = self.checkpoint(out)
        return min(self.size, self.progress(path)) if self.progress is not None and path.exists() else 0

    def rows(self, out: Path) -> list[dict] | None:
        """What it has left, if it is done."""
        rows = _read(out / "rows" / f"{self.key}.json")
        return rows if all((out / name).exists() for name in self.files) else None


@dataclass
class Outcome:
    """``rows`` per finished job, what went wrong per ``failed`` job, and whether the run was ``interrupted`` (by
    Ctrl-C, SIGTERM or a stop file): jobs that are in neither are then still to be done."""

    rows: dict[str, list[dict]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False


@contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """The folder ``out``, made if need be, for this process alone; FolderInUse where another has it."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(out / ".lock").acquire(timeout=0)
    except Timeout:
        raise FolderInUse(f"another run is at work in {out}: wait for it, or choose another folder") from None
    with lock:
        (out / "stop").unlink(missing_ok=True)
        yield


def results(out: Path) -> dict[str, list[dict]]:
    """The rows of every finished job in ``out``, by key."""
    found = {path.stem: _read(path) for path in sorted((out / "rows").glob("*.json"))}
    return {key: rows for key, rows in found.items() if rows is not None}


def _read(path: Path) -> list[dict] | None:
    """The rows in a file; None if it is not there, or was damaged: its job is to be done again."""
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


def set_aside(path: Path, reason: object) -> None:
    """Rename a damaged file to ``<name>.damaged`` and say so."""
    path.replace(f"{path}.damaged")
    log.warning("%s is damaged (%s): set aside as %s.damaged, its job starts again", path, reason, path.name)


def run(
    jobs: Iterable[Job],
    out: Path,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: bool = True,
    finished: Callable | None = None,
) -> Outcome:
    """Do the jobs that are not done yet, and return the rows of all. The caller is within :func:`exclusive` of ``out``.

    They run in ``workers`` processes of this machine (default: one per core), or on ``executor``, whose machines must
    see the folder under the same path. A job that raises is reported in the outcome, the others go on.
    ``finished(key, rows)`` is called here for every job that ends.

    When a process is killed, its job starts again from its checkpoint, in a new pool; when that happens three times
    without any job getting on, those that are left have failed. After Ctrl-C or SIGTERM the jobs write their
    checkpoints and the outcome is ``interrupted``; a second one raises KeyboardInterrupt, or ends the program, at once.

    Raises:
        OSError: a result that is there cannot be read.
    """
    jobs, stop, asked = list(jobs), out / "stop", threading.Event()
    if len({job.key for job in jobs}) < len(jobs):
        raise ValueError("jobs must have different keys")
    if executor is not None and workers is not None:
        raise ValueError("executor and workers exclude each other, got both")
    found = {job.key: job.rows(out) for job in jobs}
    outcome = Outcome({key: rows for key, rows in found.items() if rows is not None})
    todo = {job.key: job for job in jobs if job.key not in outcome.rows}
    total = sum(job.size for job in jobs)

    def units() -> int:
        """Work done, in all jobs; that of failed jobs is no longer awaited."""
        return total - sum(job.size - job.done(out) for job in todo.values())

    def settle(job: Job, future: Future) -> None:
        """Take note of what became of a job; if its worker was killed it stays to be done."""
        try:
            result = future.result()
        except BrokenExecutor:
            return
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        if result is None and stop.exists():
            return
        del todo[job.key]
        if result is None or isinstance(result, str):
            outcome.failed[job.key] = result or "it returned None, as if it had been stopped"
        else:
            outcome.rows[job.key] = result
            if finished is not None:
                finished(job.key, result)

    def go(pool: Executor) -> None:
        """Once through what is to do."""
        futures: dict[Future, Job] = {}
        # Ctrl-C goes to all processes of a terminal: those that start here are never to get it (but on Windows)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if os.name == "posix" else None
        try:
            for job in todo.values():
                futures[pool.submit(work, job, out)] = job
        except BrokenExecutor:
            pass
        finally:
            if before is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        looked = time.monotonic()
        try:
            while futures:
                if asked.is_set():
                    stop.touch()
                for future in wait_for(futures, timeout=POLL, return_when=FIRST_COMPLETED).done:
                    settle(futures.pop(future), future)
                if time.monotonic() - looked > 1 or not futures:
                    looked = time.monotonic()
                    bar.update(units() - bar.n)
        except BaseException as error:
            with suppress(OSError):
                stop.touch()
            if not isinstance(error, KeyboardInterrupt):
                wait_for(futures)
            raise

    bar = tqdm(
        desc=f"{len(jobs)} jobs", total=total, initial=units(), unit="step", unit_scale=True, smoothing=0,
        disable=quiet(progress) or not todo,
    )  # fmt: skip
    losses, before = 0, -1  # how often workers died since a job got on, and how far all were then
    with bar, ctrl_c_sets(asked, again=True):
        while todo and not (asked.is_set() or stop.exists()):
            for part in (*out.glob(".*.part"), *out.glob("*/.*.part")):  # what killed processes left half written
                part.unlink(missing_ok=True)
            with _processes(workers) if executor is None else nullcontext(executor) as pool:
                go(pool)
            losses, before = 1 if units() > before else losses + 1, units()
            if (executor is not None or losses == LOSSES) and not (asked.is_set() or stop.exists()):
                why = f"workers died {LOSSES} times without any job getting on (too little memory?)"
                why = why if executor is None else "the executor broke down; running the jobs again goes on from here"
                outcome.failed |= dict.fromkeys(todo, why)
                todo.clear()
    outcome.interrupted = bool(todo)
    return outcome


@contextmanager
def _processes(workers: int | None) -> Iterator[Executor]:
    """A pool of them, which are ended with it; after a second Ctrl-C nobody waits for them, they end by themselves."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # spawn: a forked copy of a process with threads may hang, and cannot use CUDA
    context = multiprocessing.get_context("spawn")
    workers = cores if workers is None else integer("workers", workers, 1)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=not isinstance(sys.exc_info()[1], KeyboardInterrupt), cancel_futures=True)


# --- in a worker ------------------------------------------------------------------------------------------------------

_busy, _leaving = threading.Event(), threading.Event()  # this process is at a job; it was told to end


class _Stop(threading.Event):
    """Also set while the stop file exists, and once this process was told to end."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def is_set(self) -> bool:
        return super().is_set() or _leaving.is_set() or self.file.exists()


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
        os._exit(143)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)
    torch.set_num_threads(1)
    logging.getLogger("emt_core.training").setLevel(logging.ERROR)  # the parent says what was interrupted
    if parent := multiprocessing.parent_process():
        threading.Thread(target=outlive_nobody, args=(parent,), daemon=True).start()


def work(job: Job, out: Path) -> list[dict] | str | None:
    """Do one job, in whatever process or thread this is. An exception is logged and comes back as text: some cannot be
    pickled, and would break the pool instead of being reported."""
    stop, checkpoint = _Stop(out / "stop"), job.checkpoint(out)
    _busy.set()
    try:
        if stop.is_set():
            return None
        if job.longer and not checkpoint.exists():
            _begin_where_a_shorter_one_ended(job.key, checkpoint)
        rows = job.function(Place(out, checkpoint, stop), *job.arguments)
        if rows is not None:
            write_text(json.dumps({"key": job.key, "rows": rows}, indent=1), out / "rows" / f"{job.key}.json")
        return rows
    except Exception as error:
        log.warning("job %s failed", job.key, exc_info=True)
        return f"{type(error).__name__}: {error}"
    finally:
        _busy.clear()
        if _leaving.is_set():
            os._exit(143)


def _begin_where_a_shorter_one_ended(key: str, checkpoint: Path) -> None:
    name, _, most = key.rpartition("-")
    found = {path: path.stem[len(name) + 1 :] for path in checkpoint.parent.glob(f"{name}-*.checkpoint")}
    shorter = [(int(n), path) for path, n in found.items() if n.isdigit() and int(n) < int(most)]
    if shorter:
        with replacing(checkpoint) as temporary:
            shutil.copyfile(max(shorter)[1], temporary)
