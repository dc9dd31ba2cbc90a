"""Resumable jobs on any ``concurrent.futures`` executor: local processes, threads, or a Dask cluster.

A job is a function, its arguments and a name; its result is a list of rows. Every result is a file, written as soon as
the job is done, and a job may keep a checkpoint. So whatever ends a run - Ctrl-C, ``kill -9`` of a worker or of all, a
full disk - running it again goes on from there. Inside ``out``::

    rows/<key>.json        the rows of a finished job: {"key": …, "rows": [{…}, …]}
    work/<key>.checkpoint  what an unfinished job needs to go on; the job writes it and may leave it there
    work/<key>.seconds     spent until the last checkpoint
    work/<key>.lock        locked by the process that works on the job; other processes wait
    .lock                  locked by the process that runs the jobs; others are refused
    stop                   while it exists, jobs write their checkpoint and end

Locks belong to the operating system: they vanish with their process. ``<name>.damaged`` is a file that could not be
read, set aside.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from emt_core.experiments.worker import (
    POLL,
    Failure,
    FolderInUse,
    Job,
    Place,
    exclusive,
    prepare_worker,
    results,
    rows_of,
    set_aside,
    time_of,
    work,
)
from emt_core.support.checks import integer
from emt_core.support.running import quiet

__all__ = ["FolderInUse", "Job", "Outcome", "Place", "exclusive", "prepare_worker", "results", "run", "set_aside"]

log = logging.getLogger(__name__)

LOSSES = 3  # so often workers may die without any job having got on in between


@dataclass(frozen=True)
class Outcome:
    """``rows`` per finished job, what went wrong per ``failed`` job, and whether the run was ``interrupted`` (by
    Ctrl-C, SIGTERM or a stop file): jobs that are in neither are then still to be done."""

    rows: dict[str, list[dict]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False


def run(
    jobs: Iterable[Job],
    out: str | Path,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
    finished: Callable | None = None,
    held: bool = False,
) -> Outcome:
    """Do the jobs that are not done yet, and return the rows of all.

    They run in ``workers`` processes of this machine (default: one per core); or on the Dask cluster whose address is
    ``scheduler``, whose machines must see the folder under the same path; or on ``executor``. A job that raises is
    reported in the outcome, the others go on. ``finished(key, rows)`` is called here for every job that ends.
    ``held``: the caller is within :func:`exclusive` of ``out``.

    A job whose worker is lost starts again from its checkpoint, in a new pool of processes if need be; when workers die
    three times without any job getting on, those that are left have failed. After Ctrl-C or SIGTERM the jobs write
    their checkpoints and the outcome is ``interrupted``; a second Ctrl-C raises KeyboardInterrupt at once.

    Raises:
        FolderInUse: another process is running jobs in ``out``.
        OSError: a result that is there cannot be read.
    """
    out, jobs = Path(out).resolve(), list(jobs)
    if len({job.key for job in jobs}) < len(jobs):
        raise ValueError("jobs must have different keys")
    if sum(way is not None for way in (executor, workers, scheduler)) > 1:
        raise ValueError("executor, workers and scheduler exclude each other, got more than one of them")
    with nullcontext() if held else exclusive(out):
        found = {job.key: rows_of(out, job) for job in jobs}
        ready = {key: rows for key, rows in found.items() if rows is not None}
        runner = _Runner(out, jobs, [job for job in jobs if job.key not in ready], finished)
        if runner.todo:
            bar = tqdm(
                desc=f"{len(jobs)} jobs", total=runner.total, initial=runner.units(), unit="step", unit_scale=True,
                smoothing=0, disable=quiet(progress),
            )  # fmt: skip
            with _interrupts() as asked, _pools(executor, workers, scheduler) as start, bar:
                runner.run(start, executor is None, asked, bar)
        return Outcome(ready | runner.rows, runner.failed, runner.interrupted)


class _Runner:
    """The jobs still to do, and what became of the others."""

    def __init__(self, out: Path, jobs: list[Job], todo: list[Job], finished: Callable | None):
        self.out, self.finished = out, finished
        self.total = sum(job.size for job in jobs)
        self.todo = {job.key: job for job in todo}
        self.rows: dict[str, list[dict]] = {}
        self.failed: dict[str, str] = {}
        self.interrupted = False
        self.losses = (0, -1)  # how often workers died since a job got on, and how far all were then
        self.read: dict[str, tuple[int, int]] = {}  # per job: its checkpoint's time, and how far it was

    def units(self) -> int:
        """Units of work done, in all jobs; those of failed jobs are no longer awaited."""
        return self.total - sum(job.size - self._units(job) for job in self.todo.values())

    def _units(self, job: Job) -> int:
        path = self.out / "work" / f"{job.key}.checkpoint"
        written = time_of(path)
        if job.progress is not None and self.read.get(job.key, (0, 0))[0] != written:
            with suppress(Exception):  # what cannot be read just now is read again when it has changed
                self.read[job.key] = (written, min(job.size, job.progress(path)) if written else 0)
        return self.read.get(job.key, (0, 0))[1]

    def run(self, start: Callable, renewable: bool, asked: threading.Event, bar: tqdm) -> None:
        """Until nothing is left to do, or someone asks to stop; no job is running any more then."""
        futures: dict[Future, Job] = {}
        pool: Executor | None = None
        looked, stop = time.monotonic(), self.out / "stop"
        try:
            while self.todo:
                self.interrupted |= asked.is_set() or stop.exists()
                if self.interrupted:
                    stop.touch()
                if not futures:  # the beginning, or the pool broke
                    if pool is not None and not self.interrupted:
                        self._pool_broke(pool, renewable)
                    if self.interrupted or not self.todo:
                        break
                    pool = start()
                    with suppress(BrokenExecutor), _ctrl_c_blocked():
                        for job in self.todo.values():
                            futures[pool.submit(work, job, self.out)] = job
                wait_for(futures, timeout=POLL, return_when=FIRST_COMPLETED)
                lost = self._collect(futures)
                if lost and pool is not None:  # with their worker, while the pool goes on
                    self._count_a_loss()
                    futures |= {pool.submit(work, job, self.out): job for job in lost if job.key in self.todo}
                if time.monotonic() - looked > 1 or not self.todo:
                    looked = time.monotonic()
                    bar.update(self.units() - bar.n)
        except BaseException as error:
            with suppress(OSError):
                stop.touch()
            if not isinstance(error, KeyboardInterrupt):
                wait_for(futures)
            raise

    def _collect(self, futures: dict[Future, Job]) -> list[Job]:
        """Take what is done out of ``futures``; returns the jobs whose worker was lost while the pool goes on."""
        lost = []
        for future in [future for future in futures if future.done()]:
            job = futures.pop(future)
            try:
                result = future.result()
            except BrokenExecutor:
                continue  # it stays to be done, by the next pool
            except (Exception, CancelledError) as error:
                if isinstance(error, CancelledError) or type(error).__name__ == "KilledWorker":  # Dask's
                    lost.append(job)
                    continue
                result = Failure(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))
            if isinstance(result, Failure):
                log.warning("job %s failed:\n%s", job.key, result.traceback)
                self._fail(job, result.message)
            elif result is not None:
                del self.todo[job.key]
                self.rows[job.key] = result
                if self.finished is not None:
                    self.finished(job.key, result)
            elif (self.out / "stop").exists():
                self.interrupted = True
            else:
                self._fail(job, "it returned None, as if it had been stopped")
        return lost

    def _fail(self, job: Job, message: str) -> None:
        self.failed[job.key] = message
        del self.todo[job.key]

    def _pool_broke(self, pool: Executor, renewable: bool) -> None:
        if renewable:
            pool.shutdown()  # waits for those of its workers that are writing their checkpoints
            self._count_a_loss()
        else:
            self._give_up("the executor broke down; running the jobs again goes on from here")

    def _count_a_loss(self) -> None:
        """Workers died: once more is no reason to give up, for ever is."""
        (times, before), units = self.losses, self.units()
        self.losses = (times + 1 if units <= before else 1, units)
        if self.losses[0] == LOSSES:
            self._give_up(f"workers died {LOSSES} times without any job getting on (too little memory?)")

    def _give_up(self, message: str) -> None:
        for job in list(self.todo.values()):
            self._fail(job, message)


@contextmanager
def _pools(executor: Executor | None, workers: int | None, scheduler: str | None) -> Iterator[Callable]:
    """A function that starts a pool: again and again for processes of this machine, which break as one."""
    if executor is not None:
        yield lambda: executor
        return
    if scheduler is not None:
        try:
            from distributed import Client
        except ImportError:
            raise ImportError("scheduler needs Dask: pip install distributed") from None
        with Client(scheduler) as client:
            yield lambda: client.get_executor(pure=False)
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = cores if workers is None else integer("workers", workers, 1)
    pool = None

    def start() -> Executor:
        nonlocal pool
        # spawn: a forked copy of a process with threads may hang, and cannot use CUDA
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_worker)
        return pool

    patient = True
    try:
        yield start
    except KeyboardInterrupt:
        patient = False  # the workers end by themselves
        raise
    finally:
        if pool is not None:
            pool.shutdown(wait=patient, cancel_futures=True)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event; the next one of them strikes as ever. A program with a handler of its own
    keeps it, and threads other than the main one get no signals at all."""
    asked = threading.Event()
    usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def handler(number: int, frame) -> None:
        for each in mine:
            signal.signal(each, usual[each])
        asked.set()

    main = threading.current_thread() is threading.main_thread()
    mine = [each for each in usual if main and signal.getsignal(each) is usual[each]]
    for each in mine:
        signal.signal(each, handler)
    try:
        yield asked
    finally:
        for each in mine:
            signal.signal(each, usual[each])


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Processes started in here never get Ctrl-C, which goes to all processes of a terminal: not even while they
    are starting and have not yet been able to ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
