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
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from emt_core import interventions, jobs, optimise, probes, repeat, repeat_grids, train
from emt_core._checks import integer
from emt_core._files import write_text
from emt_core.grids import Model, grid, group_key, steps_done, train_group, weights_file
from emt_core.optimise import Recipe
from emt_core.repeat_grids import Repeater, Study, learn, train_repeaters
from emt_core.tasks import PAPER_TRIPLES, TokenRepeat, VariableBinding

VARIANTS = ("autoregressive", "no input")
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
    checkpoint_every = integer("checkpoint_every", checkpoint_every, 1)
    cuda = device.partition(":")[0] == "cuda"

    def job(part: list[Model]) -> jobs.Job:
        return jobs.Job(
            key=group_key(part, "cuda" if cuda else ""),
            function=train_group,
            arguments=(tuple(part), device, checkpoint_every, weights),
            size=sum(m.steps for m in part),
            progress=steps_done,
            files=tuple(map(weights_file, part)) if weights else (),
        )

    return drive(
        models, out, job, identity=Model.of_row, alike=lambda m: replace(m, seed=0, l2=0.0, threshold=0.0, lr=1.0),
        device=device, group=group, executor=executor, workers=workers, scheduler=scheduler, progress=progress,
    )  # fmt: skip


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
    row for each; ``identity`` finds in a row what ``name`` finds in its item. The rest is as in :func:`sweep`.
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
        for key, rows in jobs.results(out).items():
            self.keep(key, rows)

    def keep(self, key: str, rows: list[dict]) -> None:
        for row in rows:
            try:
                self.rows.setdefault(self.identity(row), row)
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


def onion_gru(
    out: str | Path,
    *,
    hidden: Iterable[int] = (48, 64),
    variants: Iterable[str] = VARIANTS,
    seeds: Iterable[int] = range(5),
    steps: int = repeat.RECIPE.steps,
    patience: int = repeat.RECIPE.patience,
    task: TokenRepeat = TokenRepeat(),  # noqa: B008
    recipe: Recipe = repeat.RECIPE,
    **options,
) -> Swept:
    """GRUs that repeat tokens (arXiv:2408.10920), with their weights. ``options`` are those of :func:`drive`."""
    device = options.get("device", "cpu")
    recipe = replace(recipe, steps=steps, patience=patience)
    return drive(
        _repeaters(hidden, variants, seeds, task, recipe), out,
        lambda part: _repeat_job(part, train_repeaters, (tuple(part), device)),
        **_REPEAT, **options,
    )  # fmt: skip


def onion_interventions(
    out: str | Path, *, grus: str | Path, kinds: Iterable[str] = interventions.KINDS, **options
) -> Swept:
    """Edits learned on the GRUs that :func:`onion_gru` trained into the folder ``grus``. ``options``: those of
    :func:`onion_gru`; ``steps`` and ``recipe`` are of the edits, ``gru_steps`` and ``gru_recipe`` of the GRUs."""
    return _studies("intervention", out, grus, kinds, **options)


def onion_probes(out: str | Path, *, grus: str | Path, kinds: Iterable[str] = probes.KINDS, **options) -> Swept:
    """Probes of the same GRUs; see :func:`onion_interventions`."""
    return _studies("probe", out, grus, kinds, **options)


def _studies(
    what: str,
    out: str | Path,
    grus: str | Path,
    kinds: Iterable[str],
    *,
    hidden: Iterable[int] = (48, 64),
    variants: Iterable[str] = VARIANTS,
    seeds: Iterable[int] = range(5),
    steps: int = interventions.RECIPE.steps,
    patience: int = interventions.RECIPE.patience,
    gru_steps: int = repeat.RECIPE.steps,
    task: TokenRepeat = TokenRepeat(),  # noqa: B008
    recipe: Recipe = interventions.RECIPE,
    gru_recipe: Recipe = repeat.RECIPE,
    **options,
) -> Swept:
    grus, device = Path(grus).resolve(), options.get("device", "cpu")
    recipe = replace(recipe, steps=steps, patience=patience)
    of = _repeaters(hidden, variants, seeds, task, replace(gru_recipe, steps=gru_steps))
    items = [Study(what, kind, gru, recipe) for kind in kinds for gru in of]
    return drive(
        items, out, lambda part: _repeat_job(part, learn, (tuple(part), grus, device)), **_REPEAT, **options,
    )  # fmt: skip


def _repeaters(hidden, variants, seeds, task: TokenRepeat, recipe: Recipe) -> list[Repeater]:
    variants, seeds = list(variants), list(seeds)
    wrong = [v for v in variants if v not in VARIANTS]
    if wrong:
        raise ValueError(f"variants must be among {VARIANTS}, got {wrong[0]!r}")
    return [Repeater(N, v == VARIANTS[0], seed, task, recipe) for N in hidden for v in variants for seed in seeds]


def _repeat_job(part: list, function: Callable, arguments: tuple) -> jobs.Job:
    first, device = part[0], arguments[-1]
    if device == "cpu" and len(part) > 1:
        raise ValueError(f"group must be 1 on the CPU, where every GRU is trained by itself, got {len(part)}")
    return jobs.Job(
        key=repeat_grids.group_key(part, device),
        function=function,
        arguments=arguments,
        size=len(part) * first.recipe.steps,
        progress=optimise.steps_done,
        files=tuple(map(repeat_grids.weights_file, part)),
    )


_REPEAT = {"identity": lambda row: row["key"], "name": lambda item: item.key, "alike": lambda item: item.without_seed}


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


def _at_least(minimum: int):
    """A type for argparse: an integer."""

    def read(text: str) -> int:
        try:
            return integer("number", int(text), minimum)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {minimum}, got {text!r}") from None

    return read


_at_least_0, _at_least_1 = _at_least(0), _at_least(1)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the commands of sweeps of Elman networks take."""
    _add_places(parser, group="networks")
    add = parser.add_argument
    add("--checkpoint-every", type=_at_least_1, default=500, metavar="K", help="steps (default: 500)")
    add("--weights", action="store_true", help="also save every network's weights in DIR/weights")


def _add_places(parser: argparse.ArgumentParser, group: str) -> None:
    """What every sweep's command takes."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the table and all that a resumption needs")
    add("--device", default="cpu", help="cpu or cuda (default: cpu)")
    add("--workers", type=_at_least_1, metavar="N", help="processes (default: one per core; with cuda, 1)")
    add("--group", type=_at_least_1, metavar="G", help=f"{group} per job (default: 1; with cuda, {CUDA_GROUP})")
    add("--scheduler", metavar="tcp://…", help="a Dask scheduler: its workers do the jobs (default: this machine)")


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


def _add_onions(commands) -> None:
    texts = {
        "onion-gru": ("GRUs that repeat tokens (arXiv:2408.10920), with their weights", onion_gru, repeat.RECIPE, ()),
        "onion-interventions": (
            "edits learned on them",
            onion_interventions,
            interventions.RECIPE,
            interventions.KINDS,
        ),
        "onion-probes": ("probes of them", onion_probes, probes.RECIPE, probes.KINDS),
    }
    for name, (text, function, recipe, kinds) in texts.items():
        parser = commands.add_parser(name, help=text, description=text)
        add = parser.add_argument
        add("--hidden", type=_list_of(int, 1), default="48,64", help="units (default: 48,64)")
        add("--variants", type=_some_of(VARIANTS), default=",".join(VARIANTS), help="default: both")
        add("--seeds", type=_seeds, default="5", help="5: 0 … 4; 3:8: 3 … 7; or 3,5,7 (default: 5)")
        most = "at most: a run stops when it is flat"
        add("--steps", type=_at_least_1, default=recipe.steps, help=f"of training, {most} (default: {recipe.steps})")
        add("--patience", type=_at_least_0, default=recipe.patience,
            help=f"looks without a gain until a run stops, 0: never (default: {recipe.patience})")  # fmt: skip
        if kinds:
            add("--grus", type=Path, required=True, metavar="DIR", help="the folder that onion-gru wrote")
            add("--kinds", type=_some_of(kinds), default=",".join(kinds), help="default: all")
            add("--gru-steps", type=_at_least_1, default=repeat.RECIPE.steps, help="what --steps was for onion-gru")
        _add_places(parser, group="seeds")
        parser.set_defaults(sweep=function)


def _some_of(names: Sequence[str]):
    """A type for argparse: comma-separated names."""

    def read(text: str) -> list[str]:
        chosen = [part for part in text.split(",") if part]
        if not chosen or not set(chosen) <= set(names):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(names)}, got {text!r}")
        return chosen

    return read


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
    _add_onions(commands)
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
