"""What all sweeps have in common: the lines of a grid, which of them are still to do, and the table of the others."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from emt_core.experiments import jobs
from emt_core.experiments.provenance import as_csv, made_by
from emt_core.support.checks import Self, device_of, integer
from emt_core.support.files import write_text
from emt_core.support.running import one_thread_per_product
from emt_core.training.engine import steps_done

CUDA_GROUP = 512  # models in one product, at most
TABLE_EVERY = 2.0  # seconds between two versions of the table while the sweep runs


class Line(ABC):
    """A line of a grid: everything that decides a row's numbers. Subclasses are frozen dataclasses whose fields, a
    ``seed`` among them, are the row's first columns. A field may be added if its default is what was done before it was
    there, and a default must never change: then the keys stay, and so do the rows of older versions, which lack it."""

    seed: int
    length = "steps"  # the field that says how long to go on at most
    extends = True  # whether the checkpoint of a shorter one serves

    @property
    @abstractmethod
    def label(self) -> str:
        """The beginning of the key, for people."""

    @property
    def alike(self) -> Hashable:
        """The same for all that may be trained together."""
        return replace(self, seed=0)  # type: ignore[type-var]

    def columns(self) -> dict[str, Any]:
        """The line as the first columns of its row."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: " ".join(map(str, v)) if isinstance(v, tuple) else v for name, v in named.items()}

    @classmethod
    def of_row(cls, row: dict) -> Self:
        """The inverse of :meth:`columns`; columns that are missing have their defaults."""
        given = {f.name: row[f.name] for f in fields(cls) if f.name in row}  # type: ignore[arg-type]
        lists = {f.name for f in fields(cls) if isinstance(f.default, tuple)}  # type: ignore[arg-type]
        return cls(**{k: tuple(map(int, v.split())) if k in lists else v for k, v in given.items()})

    @property
    def stem(self) -> str:
        """The key but for the length."""
        usual = {f.name: f.default for f in fields(self)}  # type: ignore[arg-type]
        names = [name for name, value in usual.items() if name != self.length and getattr(self, name) != value]
        return f"{self.label[:150]}-{_digest({name: self.columns()[name] for name in names})}"

    @property
    def key(self) -> str:
        """A name for files; it depends on what differs from the defaults alone."""
        return f"{self.stem}-{getattr(self, self.length)}"

    def files(self, key: str) -> tuple[str, ...]:
        """What is saved beside the row that has this key."""
        return (weights_file(key),)


def under(conditions: Mapping[str, Any], name: str) -> Any:
    """What networks trained under the condition of this name are made with."""
    if name not in conditions:
        raise ValueError(f"conditions must be among {', '.join(conditions)}; got {name!r}")
    return conditions[name]


def seeded(
    conditions: Mapping[str, tuple[Any, int]], names: Iterable[str], seeds: Iterable[int] | None
) -> list[tuple[str, int]]:
    """Each condition with each seed; without ``seeds`` a condition has as many as it says."""
    given = None if seeds is None else [*seeds]
    return [(name, s) for name in names for s in (range(under(conditions, name)[1]) if given is None else given)]


def weights_file(key: str) -> str:
    return f"weights/{key}.safetensors"


def group_key(lines: Sequence[Line], device: str) -> str:
    """A name for the files of a job: on the CPU its one line's, elsewhere one that names all of them."""
    first = lines[0]
    if len(lines) == 1 and device == "cpu":
        return first.key
    others = _digest([device.partition(":")[0], *(line.stem for line in lines)])
    return f"{first.stem}-x{len(lines)}-{others}-{getattr(first, first.length)}"


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Swept:
    """``rows`` of the table, those of the grid first and in its order; ``missing`` lines of the grid have none, for
    ``failed`` says why, or the sweep was ``interrupted``."""

    rows: list[dict]
    missing: list
    failed: dict[str, str]
    interrupted: bool


def drive(
    kind: type[Line],
    lines: Iterable[Line],
    out: str | Path,
    measure: Callable,
    arguments: tuple = (),
    files: bool = True,
    *,
    device: str | torch.device = "cpu",
    group: int | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Swept:
    """Do the lines, all of one ``kind``, that ``out`` has no row of yet, and write ``out/table.csv``.

    Args:
        measure: ``measure(place, lines, device, *arguments)`` trains some lines that are alike, and returns for each
            the columns that follow its own, or None if it was stopped; with ``files`` it also saves theirs.
        device: ``"cpu"`` or a CUDA device, for lines that are still to be done.
        group: how many lines to do in one job, with one checkpoint. Default: 1 on the CPU, where a model is the same in
            every group, so that its checkpoint serves any grid; on CUDA, up to 512.
        executor, workers, scheduler: where jobs run: see :func:`emt_core.experiments.jobs.run`, or the Dask cluster at
            this address. Default: one process per core, on CUDA one process.

    Raises:
        ValueError: an argument out of range, or ``out`` holds rows of another kind.
        jobs.FolderInUse: another sweep is at work in ``out``.
        OSError: a file cannot be read or written; the message names it.
    """
    lines, out = list(dict.fromkeys(lines)), Path(out).resolve()
    if executor is not None and scheduler is not None:
        raise ValueError("executor and scheduler exclude each other, got both")
    here = executor is None and scheduler is None  # elsewhere there may be other devices
    device = device_of(device) if here or not str(device).startswith("cuda") else str(device)
    group = (1 if device == "cpu" else CUDA_GROUP) if group is None else integer("group", group, 1)
    if here and device != "cpu" and workers is None:
        workers = 1

    def job(part: list[Line]) -> jobs.Job:
        size, wanted = sum(getattr(line, line.length) for line in part), part if files else []
        saved = tuple(name for line in wanted for name in line.files(line.key))
        key = group_key(part, device)
        given = (measure, tuple(part), device, arguments)
        return jobs.Job(key, _measured, given, size, steps_done, saved, part[0].extends)

    with jobs.exclusive(out), nullcontext(executor) if scheduler is None else _cluster(scheduler) as pool:
        table = Table(out, kind, lines)
        done = {line for line in lines if line in table.rows and (not files or table.has_files(line))}
        todo = [job(part) for part in _groups(lines, done, group)]
        try:
            outcome = jobs.run(todo, out, executor=pool, workers=workers, progress=progress, finished=table.add)
        finally:
            table.write()
    missing = [line for line in lines if line not in table.rows]
    return Swept(table.ordered(), missing, outcome.failed, outcome.interrupted)


@contextmanager
def _cluster(scheduler: str) -> Iterator[Executor]:
    """A Dask cluster as an executor. It starts the jobs of a worker that is lost again on another."""
    try:
        from distributed import Client
    except ImportError:
        raise ImportError("scheduler needs Dask: pip install distributed") from None
    with Client(scheduler) as client:
        yield client.get_executor(pure=False)


def _measured(
    place: jobs.Place, measure: Callable, lines: tuple[Line, ...], device: str, arguments: tuple
) -> list[dict] | None:
    """One job: whole rows of some lines, with the seconds since it last began. A damaged checkpoint is set aside; one
    of other settings is an error."""
    began = time.monotonic()
    if place.checkpoint.exists():
        place.checkpoint.open("rb").close()  # what may not be read is no damage: OSError with the path
        try:
            with safe_open(place.checkpoint, framework="pt"):
                pass
        except SafetensorError as error:
            jobs.set_aside(place.checkpoint, error)
    with one_thread_per_product():  # one job per core; and bits must not depend on how many cores there are
        found = measure(place, lines, device, *arguments)
    if found is None:
        return None
    last = {"seconds": (time.monotonic() - began) / len(lines)} | made_by(device)
    return [line.columns() | row | last | {"key": line.key} for line, row in zip(lines, found, strict=True)]


def about(line: Line, device: str, **more: object) -> dict[str, str]:
    """What a file of weights says of itself."""
    return {name: str(value) for name, value in (line.columns() | made_by(device) | more).items()}


def _groups(lines: list[Line], done: set[Line], size: int) -> Iterator[list[Line]]:
    """Lines to do together, without those that are done. Groups are cut from the whole grid, so that they are the same,
    and their checkpoints serve, when others have been finished in between."""
    kinds: dict[Hashable, list[Line]] = {}
    for line in lines:
        kinds.setdefault(line.alike, []).append(line)
    parts = [every[i : i + size] for every in kinds.values() for i in range(0, len(every), size)]
    left = [[line for line in part if line not in done] for part in parts]
    # low seeds first: a sweep that ends early has some networks of every cell
    return iter(sorted(filter(None, left), key=lambda part: part[0].seed))


class Table:
    """The rows of a folder, by line, and the file that shows them. Any version may have written them."""

    def __init__(self, out: Path, kind: type[Line], lines: Sequence[Line] = ()):
        self.out, self.kind, self.lines = out, kind, lines
        self.rows: dict[Any, dict] = {}
        self.written = 0.0
        found = jobs.results(out)
        latest_last = sorted(found, key=lambda key: (out / "rows" / f"{key}.json").stat().st_mtime_ns)
        for key in [*found, *latest_last]:  # rows stand in the order of names, and the latest of a line counts
            self.keep(key, found[key])

    def keep(self, key: str, rows: list[dict]) -> None:
        for row in rows:
            try:  # once a row of its own job did not name it
                self.rows[self.kind.of_row(row)] = row if "key" in row or len(rows) > 1 else row | {"key": key}
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"out must hold rows of networks, {self.out}/rows/{key}.json does not") from error

    def add(self, key: str, rows: list[dict]) -> None:
        self.keep(key, rows)
        if time.monotonic() - self.written > TABLE_EVERY:
            self.write()

    def has_files(self, line: Line) -> bool:
        names = line.files(self.rows[line].get("key", line.key))
        return all((self.out / name).exists() for name in names)

    def ordered(self) -> list[dict]:
        """The grid's rows in its order, then what other grids have left here."""
        grid = {line: self.rows[line] for line in self.lines if line in self.rows}
        return list((grid | self.rows).values())

    def write(self) -> None:
        """``table.csv``."""
        if self.rows:
            write_text(as_csv(self.ordered()), self.out / "table.csv")
            self.written = time.monotonic()


def takes(other: Callable) -> Callable[[Callable], Callable]:
    """For a function whose ``**options`` are keywords of ``other``: its signature then names them."""

    def name_them(function: Callable) -> Callable:
        own = inspect.signature(function)
        named = {k: p for k, p in own.parameters.items() if p.kind is not p.VAR_KEYWORD}
        more = {k: p for k, p in inspect.signature(other).parameters.items() if p.kind is p.KEYWORD_ONLY}
        function.__signature__ = own.replace(parameters=list((named | (more | named)).values()))  # type: ignore
        return function

    return name_them
