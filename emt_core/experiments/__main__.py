"""The command line of :mod:`emt_core.experiments`. Which options an experiment takes, and their defaults, its signature
says; what an option means is said here, once for all experiments."""

from __future__ import annotations

import argparse
import inspect
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from emt_core import experiments
from emt_core.experiments.jobs import FolderInUse
from emt_core.experiments.table import CUDA_GROUP, Swept
from emt_core.networks import CELLS
from emt_core.support.random_streams import LIMIT
from emt_core.tasks import PAPER_TRIPLES

EXPERIMENTS = {
    name.replace("_", "-"): getattr(experiments, name)
    for name in (
        "onion_gru", "onion_interventions", "onion_probes",
    )
}  # fmt: skip


def refuse(expected: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")


def numbers(kind: type, least: int, most: float = math.inf) -> Callable[[str], list]:
    """A reader of comma-separated numbers within bounds."""
    bounds = f"of at least {least}" if most == math.inf else f"in {least} … {most}"
    expected = f"comma-separated {'integers' if kind is int else 'numbers'} {bounds}"

    def read(text: str) -> list:
        try:
            values = [kind(part) for part in text.split(",") if part]
        except ValueError:
            raise refuse(expected, text) from None
        if not values or any(not least <= v <= most or v == math.inf for v in values):
            raise refuse(expected, text)
        return values

    return read


def seeds(text: str) -> list[int]:
    """``20`` is 0 … 19, ``3:8`` is 3 … 7, ``3,5,7`` is these."""
    expected = "a number of seeds, first:end, or seeds with commas"
    first, colon, last = text.partition(":")
    try:
        if not colon and "," in text:
            found = [int(part) for part in text.split(",") if part]
        else:
            found = list(range(int(first), int(last)) if colon else range(int(text)))
    except ValueError:
        raise refuse(expected, text) from None
    if not found or min(found) < 0 or max(found) >= LIMIT:
        raise refuse(expected, text)
    return found


def at_least(least: int) -> Callable[[str], int]:
    """A reader of an integer."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise refuse(f"an integer of at least {least}", text)
        return int(text)

    return read


def some_of(names: Iterable[str]) -> Callable[[str], list[str]]:
    """A reader of comma-separated names."""

    def read(text: str) -> list[str]:
        chosen = [part for part in text.split(",") if part]
        if not chosen or not set(chosen) <= set(names):
            raise refuse(f"some of {','.join(names)}", text)
        return chosen

    return read


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise refuse(f"one of {','.join(names)}", text)
        return text

    return read


# name: how its text is read (None: as one or some of the default's names), and what it is
OPTIONS: dict[str, tuple[Callable | None, str]] = {
    "out": (Path, "folder for the table and all that a resumption needs"),
    "device": (str, "cpu or cuda"),
    "workers": (at_least(1), "processes (default: one per core; with cuda, 1)"),
    "group": (at_least(1), f"lines of the table per job (default: 1; with cuda, {CUDA_GROUP})"),
    "scheduler": (str, "a Dask scheduler, tcp://…: its workers do the jobs (default: this machine)"),
    "checkpoint_every": (at_least(1), "steps"),
    "weights": (None, "also save every network's weights in DIR/weights"),
    "cell": (one_of(CELLS), "of the networks"),
    "tasks": (numbers(int, 0, len(PAPER_TRIPLES) - 1), "places in PAPER_TRIPLES"),
    "hidden": (numbers(int, 1), "units"),
    "l2": (numbers(float, 0), "L2 penalties"),
    "threshold": (numbers(float, 0), "of the curriculum"),
    "seeds": (seeds, "20: 0 … 19; 3:8: 3 … 7; or 3,5,7"),
    "steps": (at_least(1), "of training, at most"),
    "variants": (None, "how they write"),
    "kinds": (None, "what is learned"),
    "patience": (at_least(0), "looks without a gain until a run stops, 0: never"),
    "grus": (Path, "the folder that onion-gru wrote"),
    "gru_steps": (at_least(1), "what --steps was for onion-gru"),
    "gru_patience": (at_least(0), "what --patience was"),
}


def add_options(parser: argparse.ArgumentParser, function: Callable) -> None:
    """An option for every argument of ``function`` that has a meaning here."""
    parameters = inspect.signature(function).parameters
    for name in [name for name in parameters if name in OPTIONS]:
        (read, meaning), default = OPTIONS[name], parameters[name].default
        option: dict[str, Any] = {"dest": name, "default": default, "type": read, "help": meaning}
        if default is inspect.Parameter.empty:
            option |= {"required": True, "metavar": "DIR"}
        elif isinstance(default, bool):
            option = {"dest": name, "action": "store_true", "help": meaning}
        else:
            option["type"] = read or some_of(default)
            if default is None:  # a recipe has it
                of, _, what = name.rpartition("_")
                default = getattr(getattr(parameters.get(f"{of}_recipe".lstrip("_")), "default", None), what, None)
            if default is not None:
                option["help"] += f" (default: {shown(default)})"
            option["metavar"] = name.upper()
        parser.add_argument(f"--{name.replace('_', '-')}", **option)


def shown(default: Any) -> str:
    """A default as one would type it."""
    if isinstance(default, range):
        return f"{default.stop}" if default.start == 0 else f"{default.start}:{default.stop}"
    if isinstance(default, tuple):
        return ",".join(value if isinstance(value, str) else f"{value:g}" for value in default)
    return str(default)


def report(swept: Swept, out: Path) -> int:
    """Say on stdout and stderr what became of a sweep; its exit status."""
    for key, message in swept.failed.items():
        print(f"failed: {key}: {message}", file=sys.stderr)
    counts = f"{len(swept.missing)} missing, {len(swept.failed)} jobs failed"
    print(f"{len(swept.rows)} rows in {out / 'table.csv'}, {counts}")
    if swept.interrupted:
        print("interrupted, nothing is lost: the same command goes on from here", file=sys.stderr)
        return 130
    return 1 if swept.failed else 0


def run_command(function: Callable, options: dict) -> int:
    """Call a sweep with its options from the command line; errors and Ctrl-C become messages and an exit status."""
    try:
        return report(function(**options), options["out"])
    except KeyboardInterrupt:  # the second one, or before anything ran; workers notice by themselves that we are gone
        print("interrupted: ended without waiting for the workers", file=sys.stderr, flush=True)
        os._exit(130)
    except (OSError, ValueError, ImportError, FolderInUse) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0, 1 for failures, 2 for wrong arguments, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m emt_core.experiments", description=experiments.__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(required=True, metavar="EXPERIMENT")
    for name, function in EXPERIMENTS.items():
        text = (inspect.getdoc(function) or "").partition("\n\n")[0]
        one = commands.add_parser(name, help=text.partition(".")[0], description=text)
        add_options(one, function)
        one.set_defaults(function=function)
    options = vars(parser.parse_args(arguments))
    return run_command(options.pop("function"), options)


if __name__ == "__main__":
    sys.exit(main())
