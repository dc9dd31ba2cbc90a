"""``python -m emt_core.report WEIGHTS --out DIR``: a report on the network in a file of weights."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from emt_core.report import weights
from emt_core.report.build import write
from emt_core.support.random_streams import stream
from emt_core.tasks import TokenRepeat


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, write the report, say where it is."""
    parser = argparse.ArgumentParser(prog="python -m emt_core.report", description=__doc__)
    add = parser.add_argument
    add("weights", help="a model saved by this library, or a state dict (.safetensors, .pt)")
    add("--out", required=True, help="folder for report.html and report.json")
    add("--kind", choices=sorted(weights.KINDS), help="of a state dict: what recurrent module it is of (rnn: of tanh)")
    add("--embedding", help="of a state dict: name of the embedding's tensor (V, I); without it tokens are one-hot")
    add("--read-out", help="of a state dict: the read-out's name, before .weight and .bias")
    add("--start", type=int, help="token that is read before writing begins; without it the first is read off at once")
    add("--feeds", default="written", help="read before every later token: written, nothing, or a token")
    add("--vocabulary", type=int, help="tokens that can be read, if the embedding has more rows")
    add("--sequences", type=Path, help="text file, one sequence of integers a line; without it random ones")
    add("--lengths", type=int, nargs=2, default=(2, 9), metavar=("SHORTEST", "LONGEST"), help="of random sequences")
    add("--targets", default="repeat", help="repeat, reverse, or a text file as --sequences (-1: nothing is asked)")
    add("--name", help="what the page calls the network")
    add("--learned-edits", action="store_true", help="learn the onion paper's edits as well (slow)")
    add("--seed", type=int, default=0)
    a = parser.parse_args(arguments)
    try:
        network = weights.read(
            a.weights, kind=a.kind, embedding=a.embedding, read_out=a.read_out, start=a.start,
            feeds=int(a.feeds) if a.feeds.lstrip("-").isdigit() else a.feeds, vocabulary=a.vocabulary,
        )  # fmt: skip
        targets = a.targets if a.targets in ("repeat", "reverse") else _lines("targets", Path(a.targets))
        task = TokenRepeat(network.vocabulary, *a.lengths)
        drawn = task.sample(2000, stream(a.seed, "report sequences"))
        sequences = drawn if a.sequences is None else _lines("sequences", a.sequences)
        made = write(
            network, sequences, a.out, targets=targets, name=a.name or Path(a.weights).stem,
            learned_edits=a.learned_edits, seed=a.seed,
        )  # fmt: skip
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    for asks, verdict in made.verdicts.items():
        print(f"{asks}: {verdict}")
    print(made.page)


def _lines(name: str, path: Path) -> list[list[int]]:
    """The sequences of a text file."""
    if not path.is_file():
        raise FileNotFoundError(f"{name} must be a text file, there is none at {path}")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), start=1):
        try:
            found.append([int(word) for word in line.split()])
        except ValueError:
            raise ValueError(f"{name} must hold integers, got {line[:60]!r} in line {number} of {path}") from None
    return found


if __name__ == "__main__":
    main()
