"""What all sweeps have in common: the jobs of a grid that are still to do, and the table of what has been done."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import torch

from emt_core.experiments import jobs
from emt_core.support.checks import integer
from emt_core.support.files import write_text

CUDA_GROUP = 512  # models in one product, at most
TABLE_EVERY = 2.0  # seconds between two versions of the table while the sweep runs


@dataclass(frozen=True)
class Swept:
    """``rows`` of the table, those of the grid first and in its order; ``missing`` items of the grid have none, for
    ``failed`` says why, or the sweep was ``interrupted``."""

    rows: list[dict]
    missing: list
    failed: dict[str, str]
    interrupted: bool


def drive(
    items: Iterable,
    out: str | Path,
    job: Callable[[list], jobs.Job],
    *,
    identity: Callable[[dict], Hashable],
    name: Callable[..., Hashable] = lambda item: item,
    alike: Callable[..., Hashable],
    device: str = "cpu",
    group: int | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Swept:
    """What all sweeps have in common: jobs for the items that ``out`` has no row of yet, and the table.

    An item is hashable and has a ``seed``. ``job`` makes the job of some items that are ``alike``, whose result is a
    row for each; ``identity`` finds in a row what ``name`` finds in its item. The rest is as in
    :func:`emt_core.experiments.sweeps.sweep`.
    """
    items, out = list(dict.fromkeys(items)), Path(out).resolve()
    cuda = device.partition(":")[0] == "cuda"
    if device != "cpu" and not cuda:
        raise ValueError(f"device must be 'cpu' or a CUDA device, got {device!r}")
    group = (CUDA_GROUP if cuda else 1) if group is None else integer("group", group, 1)
    if cuda and executor is None and scheduler is None:
        if not torch.cuda.is_available():
            raise ValueError(f"device must be 'cpu' where torch finds no CUDA device, got {device!r}")
        workers = 1 if workers is None else workers
    threads = torch.get_num_threads()  # a job sets it to 1; with a thread executor, here
    with jobs.exclusive(out):
        table = _Table(out, [name(item) for item in items], identity)
        rows = {item for item in items if name(item) in table.rows}
        whole = {item for item in rows if all((out / file).exists() for file in job([item]).files)}
        todo = [job(part) for part in _groups(items, whole, group, alike)]
        try:
            outcome = jobs.run(
                todo, out, executor=executor, workers=workers, scheduler=scheduler, progress=progress,
                finished=table.add,
            )  # fmt: skip
        finally:
            torch.set_num_threads(threads)
            table.write()
    return Swept(table.ordered(), [m for m in items if name(m) not in table.rows], outcome.failed, outcome.interrupted)


def _groups(items: list, done: set, size: int, alike: Callable) -> Iterator[list]:
    """Items to do together, without those that are done. Groups are cut from the whole grid, so that they are the same,
    and their checkpoints serve, when others have been finished in between."""
    kinds: dict[Hashable, list] = {}
    for item in items:
        kinds.setdefault(alike(item), []).append(item)
    parts = [every[i : i + size] for every in kinds.values() for i in range(0, len(every), size)]
    left = [[item for item in part if item not in done] for part in parts]
    # low seeds first: a sweep that ends early has some networks of every cell
    return iter(sorted(filter(None, left), key=lambda part: part[0].seed))


class _Table:
    """The rows of a folder, by item, and the file that shows them."""

    def __init__(self, out: Path, items: list, identity: Callable[[dict], Hashable]):
        self.out, self.items, self.identity = out, items, identity
        self.rows: dict[Hashable, dict] = {}
        self.written = 0.0
        found = jobs.results(out)
        latest_last = sorted(found, key=lambda key: (out / "rows" / f"{key}.json").stat().st_mtime_ns)
        for key in [*found, *latest_last]:  # rows stand in the order of names, and the latest of an item counts
            self.keep(key, found[key])

    def keep(self, key: str, rows: list[dict]) -> None:
        for row in rows:
            try:
                self.rows[self.identity(row)] = row
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"out must hold rows of networks, {self.out}/rows/{key}.json does not") from error

    def add(self, key: str, rows: list[dict]) -> None:
        self.keep(key, rows)
        if time.monotonic() - self.written > TABLE_EVERY:
            self.write()

    def ordered(self) -> list[dict]:
        """The grid's rows in its order, then what other grids have left here."""
        grid = set(self.items)
        return [self.rows[m] for m in self.items if m in self.rows] + [r for m, r in self.rows.items() if m not in grid]

    def write(self) -> None:
        """``table.csv``: floats as ``repr`` has them, which reads back to the same bits; empty where there is none."""
        rows = self.ordered()
        if not rows:
            return
        text = io.StringIO()
        writer = csv.DictWriter(
            text, fieldnames=list(dict.fromkeys(k for row in rows for k in row)), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows({k: str(v).lower() if isinstance(v, bool) else v for k, v in row.items()} for row in rows)
        write_text(text.getvalue(), self.out / "table.csv")
        self.written = time.monotonic()
