"""Grids of training runs → one tidy table: ``python -m emt_core.sweep table1 --out DIR``.

Every network of a grid becomes a row of ``DIR/table.csv``. Whatever ends a sweep, the same command goes on from the
last checkpoints, and the table is then the same as if nothing had happened, but for the seconds. What else is in the
folder is said in :mod:`emt_core.jobs`; with ``weights``, each network is also saved in ``DIR/weights``.
``DIR/work`` may be deleted when all is done.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from emt_core import jobs, train
from emt_core._checks import integer
from emt_core._files import write_text
from emt_core.grids import Model, grid, group_key, steps_done, train_group, weights_file
from emt_core.tasks import PAPER_TRIPLES, VariableBinding

CUDA_GROUP = 512  # models in one product, at most
TABLE_EVERY = 2.0  # seconds between two versions of the table while the sweep runs


@dataclass(frozen=True)
class Swept:
    """``rows`` of the table, those of the grid first and in its order; ``missing`` models of the grid have none, for
    ``failed`` says why, or the sweep was ``interrupted``."""

    rows: list[dict]
    missing: list[Model]
    failed: dict[str, str]
    interrupted: bool


def sweep(
    models: Iterable[Model],
    out: str | Path,
    *,
    device: str = "cpu",
    group: int | None = None,
    checkpoint_every: int = 500,
    weights: bool = False,
    executor: Executor | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Swept:
    """Train the models that ``out`` has no row of yet, and write ``out/table.csv``.

    Args:
        device: ``"cpu"`` or a CUDA device, for models that are still to be trained.
        group: how many models of one task and size to train in one job, with one checkpoint. Default: 1 on the CPU,
            where a model is the same in every group, so that its checkpoint serves any grid; on CUDA, up to 512.
        checkpoint_every: steps. What a killed worker loses is at most the time since its last checkpoint.
        weights: also save each network in ``out/weights``.
        executor, workers, scheduler: where jobs run, see :func:`emt_core.jobs.run`. Default: one process per core, on
            CUDA one process.

    Raises:
        ValueError: an argument out of range, or ``out`` holds rows of another kind.
        jobs.FolderInUse: another sweep is at work in ``out``.
        OSError: a file cannot be read or written; the message names it.
    """
    models, out = list(dict.fromkeys(models)), Path(out).resolve()
    checkpoint_every = integer("checkpoint_every", checkpoint_every, 1)
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
        table = _Table(out, models)
        done = {m for m in models if m in table.rows and (not weights or (out / weights_file(m)).exists())}
        todo = [
            jobs.Job(
                key=group_key(part, "cuda" if cuda else ""),
                function=train_group,
                arguments=(tuple(part), device, checkpoint_every, weights),
                size=sum(m.steps for m in part),
                progress=steps_done,
                files=tuple(map(weights_file, part)) if weights else (),
            )
            for part in _groups(models, done, group)
        ]
        try:
            outcome = jobs.run(
                todo, out, executor=executor, workers=workers, scheduler=scheduler, progress=progress,
                finished=table.add,
            )  # fmt: skip
        finally:
            torch.set_num_threads(threads)
            table.write()
    return Swept(table.ordered(), [m for m in models if m not in table.rows], outcome.failed, outcome.interrupted)


def _groups(models: list[Model], done: set[Model], size: int) -> Iterator[list[Model]]:
    """Models to train together, without those that are done. Groups are cut from the whole grid, so that they are the
    same, and their checkpoints serve, when others have been finished in between."""
    alike: dict[Model, list[Model]] = {}
    for model in models:
        alike.setdefault(replace(model, seed=0, l2=0.0, threshold=0.0, lr=1.0), []).append(model)
    parts = [every[i : i + size] for every in alike.values() for i in range(0, len(every), size)]
    left = [[m for m in part if m not in done] for part in parts]
    # low seeds first: a sweep that ends early has some networks of every cell
    return iter(sorted(filter(None, left), key=lambda part: part[0].seed))


class _Table:
    """The rows of a folder, by model, and the file that shows them."""

    def __init__(self, out: Path, models: list[Model]):
        self.out, self.models = out, models
        self.rows: dict[Model, dict] = {}
        self.written = 0.0
        for key, rows in jobs.results(out).items():
            self.keep(key, rows)

    def keep(self, key: str, rows: list[dict]) -> None:
        for row in rows:
            try:
                self.rows.setdefault(Model.of_row(row), row)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"out must hold rows of networks, {self.out}/rows/{key}.json does not") from error

    def add(self, key: str, rows: list[dict]) -> None:
        self.keep(key, rows)
        if time.monotonic() - self.written > TABLE_EVERY:
            self.write()

    def ordered(self) -> list[dict]:
        """The grid's rows in its order, then what other grids have left here."""
        grid = set(self.models)
        return [self.rows[m] for m in self.models if m in self.rows] + [
            r for m, r in self.rows.items() if m not in grid
        ]

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


def table1(
    out: str | Path,
    *,
    tasks: Iterable[int] = (0, 1, 2, 3),
    hidden: Iterable[int] = (64, 128),
    l2: Iterable[float | int] = (0.0, 0.001),
    threshold: Iterable[float | int] = (0.9, 0.98),
    seeds: Iterable[int] = range(20),
    steps: int = 20_000,
    **options,
) -> Swept:
    """The networks of the table of arXiv:2310.02430: ``tasks`` are places in ``PAPER_TRIPLES``, S = D = 8.
    ``options`` are those of :func:`sweep`."""
    places = [integer("tasks", place, 0) for place in tasks]
    if any(place >= len(PAPER_TRIPLES) for place in places):
        raise ValueError(f"tasks must be places in PAPER_TRIPLES, 0 … {len(PAPER_TRIPLES) - 1}, got {places}")
    bindings = [VariableBinding(PAPER_TRIPLES[place], 8, 8) for place in places]
    models = grid(bindings, hidden=hidden, l2=l2, threshold=threshold, seeds=seeds, steps=steps)
    return sweep(models, out, **options)


# --- the command line -------------------------------------------------------------------------------------------------


def _list_of(kind: type, minimum: int, maximum: float | int = math.inf):
    """A type for argparse: comma-separated numbers within bounds."""

    def read(text: str) -> list:
        try:
            values = [kind(part) for part in text.split(",") if part]
            if not values or any(not minimum <= v <= maximum or v == math.inf for v in values):
                raise ValueError
            return values
        except ValueError:
            bounds = f"of at least {minimum}" if maximum == math.inf else f"in {minimum} … {maximum}"
            what = "integers" if kind is int else "numbers"
            raise argparse.ArgumentTypeError(f"expected comma-separated {what} {bounds}, got {text!r}") from None

    return read


def _seeds(text: str) -> list[int]:
    """``20`` is 0 … 19, ``3:8`` is 3 … 7, ``3,5,7`` is these."""
    try:
        first, colon, last = text.partition(":")
        if not colon and "," in text:
            return _list_of(int, 0, train.TEST_SEED - 1)(text)
        seeds = list(range(int(first), int(last)) if colon else range(int(text)))
        if seeds and min(seeds) >= 0 and max(seeds) < train.TEST_SEED:
            return seeds
    except (ValueError, argparse.ArgumentTypeError):
        pass
    raise argparse.ArgumentTypeError(f"expected a number of seeds, first:end, or seeds with commas, got {text!r}")


def _at_least_1(text: str) -> int:
    try:
        return integer("number", int(text), 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}") from None


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every sweep's command takes."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the table and all that a resumption needs")
    add("--device", default="cpu", help="cpu or cuda (default: cpu)")
    add("--workers", type=_at_least_1, metavar="N", help="processes (default: one per core; with cuda, 1)")
    add("--group", type=_at_least_1, metavar="G", help=f"networks per job (default: 1; with cuda, {CUDA_GROUP})")
    add("--scheduler", metavar="tcp://…", help="a Dask scheduler: its workers do the jobs (default: this machine)")
    add("--checkpoint-every", type=_at_least_1, default=500, metavar="K", help="steps (default: 500)")
    add("--weights", action="store_true", help="also save every network's weights in DIR/weights")


def _add_table1(commands) -> None:
    text = "the table of arXiv:2310.02430: four tasks, two sizes, two penalties, two curriculum thresholds"
    parser = commands.add_parser("table1", help=text, description=text)
    add = parser.add_argument
    last = len(PAPER_TRIPLES) - 1
    add("--tasks", type=_list_of(int, 0, last), default="0,1,2,3", help="of PAPER_TRIPLES (default: 0,1,2,3)")
    add("--hidden", type=_list_of(int, 1), default="64,128", help="units (default: 64,128)")
    add("--l2", type=_list_of(float, 0), default="0,0.001", help="L2 penalties (default: 0,0.001)")
    add("--threshold", type=_list_of(float, 0), default="0.9,0.98", help="of the curriculum (default: 0.9,0.98)")
    add("--seeds", type=_seeds, default="20", help="20: 0 … 19; 3:8: 3 … 7; or 3,5,7 (default: 20)")
    add("--steps", type=_at_least_1, default=20_000, help="of training (default: 20000)")
    add_options(parser)
    parser.set_defaults(sweep=table1)


def report(swept: Swept, out: Path) -> int:
    """Say on stdout and stderr what became of a sweep; its exit status."""
    for key, message in swept.failed.items():
        print(f"failed: {key}: {message}", file=sys.stderr)
    print(
        f"{len(swept.rows)} rows in {out / 'table.csv'}, {len(swept.missing)} missing, {len(swept.failed)} jobs failed"
    )
    if swept.interrupted:
        print("interrupted, nothing is lost: the same command goes on from here", file=sys.stderr)
        return 130
    return 1 if swept.failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0, 1 for failures, 2 for wrong arguments, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m emt_core.sweep", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="SWEEP")
    _add_table1(commands)
    options = vars(parser.parse_args(arguments))
    return run_command(options.pop("sweep"), options)


def run_command(function, options: dict) -> int:
    """Call a sweep with its options from the command line; errors and Ctrl-C become messages and an exit status."""
    try:
        return report(function(**options), options["out"])
    except KeyboardInterrupt:  # the second one, or before anything ran; workers notice by themselves that we are gone
        print("interrupted: ended without waiting for the workers", file=sys.stderr, flush=True)
        os._exit(130)
    except (OSError, ValueError, ImportError, jobs.FolderInUse) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    # by its real name, so that functions that go to other processes are found there
    from emt_core import sweep as module

    sys.exit(module.main())
