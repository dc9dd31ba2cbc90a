"""The command line of :mod:`emt_core.experiments`. Which options an experiment takes, and their defaults, its signature
says; what an option means is said here, once for all experiments."""

from __future__ import annotations

import argparse
import inspect
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from emt_core import experiments
from emt_core.experiments.jobs import FolderInUse
from emt_core.experiments.table import CUDA_GROUP, Swept
from emt_core.experiments.token_repeat import LEARNS
from emt_core.networks import CELLS
from emt_core.support.files import write_text
from emt_core.support.formats import FORMATS
from emt_core.support.random_streams import LIMIT
from emt_core.tasks import PAPER_TRIPLES

PROGRAM = "python -m emt_core.experiments"
COMMANDS = "commands"  # the file that says what was run in a folder; what is shipped of it says so too
EXPERIMENTS = {n.replace("_", "-"): getattr(experiments, n) for n in experiments.__all__ if n not in ("Swept", "sweep")}


def reader(expected: str, convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """A type for argparse, whose errors say what is expected and what was got."""

    def read(text: str) -> Any:
        try:
            return convert(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}") from None

    return read


def within(values: list, least: float | int, most: float | int = math.inf) -> list:
    if not values or any(not least <= value <= most or value == math.inf for value in values):
        raise ValueError
    return values


def parts(text: str, kind: Callable = str) -> list:
    return [kind(part) for part in text.split(",") if part]


def numbers(kind: type, least: int, most: float | int = math.inf) -> Callable[[str], list]:
    bounds = f"of at least {least}" if most == math.inf else f"in {least} … {most}"
    expected = f"comma-separated {'integers' if kind is int else 'numbers'} {bounds}"
    return reader(expected, lambda text: within(parts(text, kind), least, most))


def at_least(least: int) -> Callable[[str], int]:
    return reader(f"an integer of at least {least}", lambda text: within([int(text)], least)[0])


def some_of(names: Collection[str]) -> Callable[[str], list[str]]:
    def chosen(text: str) -> list[str]:
        if not parts(text) or not set(parts(text)) <= set(names):
            raise ValueError
        return parts(text)

    return reader(f"some of {','.join(names)}", chosen)


def one_of(names: Collection[str]) -> Callable[[str], str]:
    def chosen(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return reader(f"one of {','.join(names)}", chosen)


def seeds_in(text: str) -> list[int]:
    """``20`` is 0 … 19, ``3:8`` is 3 … 7, ``3,5,7`` is these."""
    first, colon, last = text.partition(":")
    several = parts(text, int) if not colon and "," in text else None
    return within(several or list(range(int(first), int(last)) if colon else range(int(text))), 0, LIMIT - 1)


SEEDS = reader("a number of seeds, first:end, or seeds with commas", seeds_in)
# how an option's text is read (None: as some of its default's names), and what it is
OPTIONS: dict[str, tuple[Callable | None, str]] = {
    "out": (Path, "folder for the table and all that a resumption needs"),
    "grus": (Path, "the folder that onion-gru wrote"),
    "tasks": (numbers(int, 0, len(PAPER_TRIPLES) - 1), "places in PAPER_TRIPLES"),
    "hidden": (numbers(int, 1), "units"),
    "cells": (None, "of the networks"),
    "formats": (some_of(FORMATS), "in which the state is kept"),
    "sizes": (numbers(int, 1), "numbers in the memory"),
    "l2": (numbers(float, 0), "L2 penalties"),
    "threshold": (numbers(float, 0), "of the curriculum"),
    "variants": (None, "how they write"),
    "kinds": (None, "what is learned"),
    "conditions": (None, "under which networks are trained"),
    "learns": (one_of(LEARNS), "which weights of the networks are trained"),
    "seeds": (SEEDS, "20: 0 … 19; 3:8: 3 … 7; or 3,5,7"),
    "cell": (one_of(CELLS), "of the networks"),
    "steps": (at_least(1), "of training, at most"),
    "patience": (at_least(0), "looks without a gain until a run stops, 0: never"),
    "gru_steps": (at_least(1), "what --steps was for onion-gru"),
    "gru_patience": (at_least(0), "what --patience was"),
    "weights": (None, "also save every network's weights in DIR/weights"),
    "checkpoint_every": (at_least(1), "steps"),
    "device": (str, "cpu or cuda"),
    "group": (at_least(1), f"lines of the table per job (default: 1; with cuda, {CUDA_GROUP})"),
    "workers": (at_least(1), "processes (default: one per core; with cuda, 1)"),
    "scheduler": (str, "a Dask scheduler, tcp://…: its workers do the jobs (default: this machine)"),
}


def add_options(parser: argparse.ArgumentParser, function: Callable) -> None:
    """An option for every argument of ``function`` that has a meaning here."""
    parameters = inspect.signature(function).parameters
    for name, (read, meaning) in OPTIONS.items():
        option, default = f"--{name.replace('_', '-')}", parameters[name].default if name in parameters else ...
        if default is inspect.Parameter.empty:
            parser.add_argument(option, type=read or str, required=True, help=meaning)
        elif default is False:
            parser.add_argument(option, action="store_true", help=meaning)
        elif default is not ...:
            usual = of_recipe(name, parameters) if default is None else default
            text = meaning if usual is None else f"{meaning} (default: {shown(usual)})"
            parser.add_argument(option, type=read or some_of(default), default=default, help=text)


def of_recipe(name: str, parameters: Mapping[str, inspect.Parameter]) -> Any:
    """What an argument that is not given is in the recipe: ``gru_steps`` is ``steps`` of ``gru_recipe``."""
    of, _, what = name.rpartition("_")
    recipe = parameters.get(f"{of}_recipe" if of else "recipe")
    return None if recipe is None else getattr(recipe.default, what, None)


def said(function: Callable) -> str:
    """What its docstring says of it, without marks and without its options."""
    text = " ".join((inspect.getdoc(function) or "").partition("``options``")[0].split())
    return re.sub(r":\w+:`(?:[\w.]*\.)?(\w+)`|``", lambda match: (match[1] or "").replace("_", "-"), text)


def shown(default: Any) -> str:
    """A default as one would type it."""
    if isinstance(default, range):
        return f"{default.stop}" if default.start == 0 else f"{default.start}:{default.stop}"
    if isinstance(default, tuple):
        return ",".join(value if isinstance(value, str) else f"{value:g}" for value in default)
    return str(default)


def run_command(function: Callable, options: dict, command: str = "") -> int:
    """Call a sweep with its options from the command line, and say what became of it; errors and Ctrl-C become messages
    and an exit status."""
    try:
        swept: Swept = function(**options)
        if command:
            note(options["out"] / COMMANDS, command)
    except KeyboardInterrupt:  # the second one, or before anything ran; workers notice by themselves that we are gone
        print("interrupted: ended without waiting for the workers", file=sys.stderr, flush=True)
        os._exit(130)
    except (OSError, ValueError, ImportError, FolderInUse) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for key, message in swept.failed.items():
        print(f"failed: {key}: {message}", file=sys.stderr)
    counts = f"{len(swept.missing)} missing, {len(swept.failed)} jobs failed"
    print(f"{len(swept.rows)} rows in {options['out'] / 'table.csv'}, {counts}")
    if swept.interrupted:
        print("interrupted, nothing is lost: the same command goes on from here", file=sys.stderr)
        return 130
    return 1 if swept.failed else 0


def note(path: Path, command: str) -> None:
    """Once, what was run in a folder: what is shipped of it says so."""
    known = path.read_text(encoding="utf8").splitlines() if path.exists() else []
    if command not in known and path.parent.exists():
        write_text("".join(f"{line}\n" for line in [*known, command]), path)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0, 1 for failures, 2 for wrong arguments, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog=PROGRAM, description=(experiments.__doc__ or "").partition(":")[0])
    commands = parser.add_subparsers(required=True, metavar="EXPERIMENT", dest="experiment")
    for name, function in EXPERIMENTS.items():
        text = said(function)
        add_options(commands.add_parser(name, help=text.partition(". ")[0], description=text), function)
    options = vars(parser.parse_args(arguments))
    function = EXPERIMENTS[options.pop("experiment")]
    return run_command(function, options, shlex.join([*PROGRAM.split(), *arguments]))


if __name__ == "__main__":
    sys.exit(main())
