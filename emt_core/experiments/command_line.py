"""The commands of :mod:`emt_core.experiments.sweeps`: their options, what they print, their exit status."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from emt_core.analysis import edits as interventions
from emt_core.analysis import probes
from emt_core.experiments import jobs
from emt_core.experiments import sweeps as sweep
from emt_core.experiments.table import CUDA_GROUP, Swept
from emt_core.support.checks import integer
from emt_core.tasks import PAPER_TRIPLES
from emt_core.training import token_repeat as repeat
from emt_core.training import variable_binding as train


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
    parser.set_defaults(sweep=sweep.table1)


def _add_onions(commands) -> None:
    texts = {
        "onion-gru": ("GRUs that repeat tokens (arXiv:2408.10920), with their weights", sweep.onion_gru, repeat, ()),
        "onion-interventions": ("edits learned on them", sweep.onion_interventions, interventions, interventions.KINDS),
        "onion-probes": ("probes of them", sweep.onion_probes, probes, probes.KINDS),
    }
    for name, (text, function, module, kinds) in texts.items():
        recipe = module.RECIPE
        parser = commands.add_parser(name, help=text, description=text)
        add = parser.add_argument
        add("--hidden", type=_list_of(int, 1), default="48,64", help="units (default: 48,64)")
        add("--variants", type=_some_of(sweep.VARIANTS), default=",".join(sweep.VARIANTS), help="default: both")
        add("--seeds", type=_seeds, default="5", help="5: 0 … 4; 3:8: 3 … 7; or 3,5,7 (default: 5)")
        most = "at most: a run stops when it is flat"
        add("--steps", type=_at_least_1, default=recipe.steps, help=f"of training, {most} (default: {recipe.steps})")
        add("--patience", type=_at_least_0, default=recipe.patience,
            help=f"looks without a gain until a run stops, 0: never (default: {recipe.patience})")  # fmt: skip
        if kinds:
            add("--grus", type=Path, required=True, metavar="DIR", help="the folder that onion-gru wrote")
            add("--kinds", type=_some_of(kinds), default=",".join(kinds), help="default: all")
            add("--gru-steps", type=_at_least_1, default=repeat.RECIPE.steps, help="what --steps was for onion-gru")
            add("--gru-patience", type=_at_least_0, default=repeat.RECIPE.patience, help="what --patience was")
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
    parser = argparse.ArgumentParser(
        prog="python -m emt_core.experiments.sweeps", description=sweep.__doc__.splitlines()[0]
    )
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
