"""Do short runs still give the bits that they gave? Digests of weights, histories and scores, one per run.

    python benchmarks/digests.py            # compare with results/digests.json; exit status 1 where one differs
    python benchmarks/digests.py --write    # after a change that is meant to change them

Before and after a redesign these must agree. Bits depend on the processor's vectors and on torch: the file has a column
for each pair that it was written with. A minute or so.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from emt_core.networks import Elman, VectorNetwork
from emt_core.support.random_streams import streams
from emt_core.tasks import PAPER_TRIPLES, TokenRepeat, VariableBinding
from emt_core.training import Recipe, Repeaters, Run, fit
from emt_core.training.onion_toy import fit_toy

RESULTS = Path(__file__).resolve().parent / "results" / "digests.json"
COPY = VariableBinding.repeat_copy(3, 2)
BINDING = {"hidden": 16, "seeds": [0, 1], "steps": 120, "horizons": (2, 4, 8), "test_horizon": 20}
REPEAT = {"steps": 60, "every": 20, "batch": 32}
FLAT = {"steps": 400, "every": 10, "batch": 16, "patience": 2, "least": 20, "tolerance": 0.01}
SMALL = TokenRepeat(6, 1, 4)
ELMAN = {  # what differs from BINDING
    "copy": (COPY, {}),
    "copy 24": (VariableBinding.repeat_copy(4, 4), {"hidden": 24}),
    "odd 17": (VariableBinding.repeat_copy(3, 3), {"hidden": 17, "batch": 33}),
    "paper 1": (VariableBinding(PAPER_TRIPLES[1], 8, 8), {"hidden": 64, "steps": 40, "seeds": [3]}),
    "paper 3": (VariableBinding(PAPER_TRIPLES[3], 8, 8), {"hidden": 128, "steps": 30, "seeds": [5]}),
    "l2": (COPY, {"l2": [0.0, 0.01]}),
    "lr": (COPY, {"lr": [1e-3, 1e-2]}),
    "threshold": (COPY, {"threshold": [0.5, 0.6], "steps": 200}),
    "no clip": (COPY, {"clip": float("inf")}),
    "snapshots": (COPY, {"snapshots": [0, 7, 120], "every": 7}),
    "diverges": (COPY, {"lr": [1e-3, 1e30]}),
}
GRU = {
    "ar": (TokenRepeat(), {"hidden": 16, "seeds": [0]}, REPEAT),
    "ni": (TokenRepeat(), {"hidden": 16, "seeds": [0], "autoregressive": False}, REPEAT),
    "48": (TokenRepeat(), {"hidden": 48, "seeds": [2]}, REPEAT),
    "two": (TokenRepeat(), {"hidden": 16, "seeds": [0, 5]}, REPEAT),
    "small": (SMALL, {"hidden": 9, "seeds": [1, 2]}, {"steps": 90, "every": 30, "batch": 16}),
    "flat": (SMALL, {"hidden": 9, "seeds": [1, 2]}, FLAT),
    "no repeats": (TokenRepeat(6, 1, 4, repeats=False), {"hidden": 9, "seeds": [0]}, REPEAT),
}


COLUMNS = [
    "choice",
    "permutation",
    "signs",
    "history",
    "dim",
    "hidden",
    "l2",
    "threshold",
    "seed",
    "accuracy",
    "eigenvalues_learned",
    "eigenvalues_theory",
    "matched",
    "error_optimal",
    "error_greedy",
    "loss",
    "horizon",
]


def digest(*tensors: torch.Tensor) -> str:
    numbers = hashlib.sha256()
    for x in tensors:
        numbers.update(x.detach().contiguous().numpy().tobytes())
    return numbers.hexdigest()[:16]


def of_run(run: Run) -> str:
    every = [run.snapshots[step] for step in sorted(run.snapshots)]
    snapshots = [w for network in every for w in (network.W_uh, network.W_hh, network.W_r)]
    m, h = run.model, run.history
    return digest(m.W_uh, m.W_hh, m.W_r, h.loss, h.accuracy, h.horizon, run.accuracy, *snapshots)


def of_repeaters(run: Repeaters) -> str:
    weights, seen = run.model.weights, []
    for m in range(run.model.models):  # as far as each was trained
        there = ~run.training.losses[:, m].isnan()
        seen += [run.training.scores[there, m : m + 1], run.training.losses[there, m : m + 1]]
    return digest(*(weights[name] for name in sorted(weights)), run.exact, *seen)


def digests() -> Iterator[tuple[str, str]]:
    for name, (task, options) in ELMAN.items():
        yield f"elman {name}", of_run(fit(task, progress=False, **BINDING | options))
    for kind in ("orthogonal", "identity", "small"):
        own = streams([0, 1], "network")
        start = VectorNetwork.init(Elman, 2, 16, own)
        start = replace(start, cell=start.cell.started(kind, own))
        yield f"elman {kind}", of_run(fit(COPY, progress=False, start=start, **BINDING))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint"
        fit(COPY, progress=False, checkpoint=file, **BINDING | {"steps": 50})
        yield "elman resumed", of_run(fit(COPY, progress=False, checkpoint=file, **BINDING))
    for name, (task, options, recipe) in GRU.items():
        yield f"gru {name}", of_repeaters(fit(task, cell="gru", recipe=Recipe(**recipe), progress=False, **options))
    held_out = TokenRepeat().validation()
    yield "validation", digest(held_out.tokens, held_out.lengths)
    drawn = TokenRepeat().sample(100, streams([3], "network"), held_out)
    yield "sample", digest(drawn.tokens, drawn.lengths)
    toy = fit_toy(6, 3, 4, steps=50, held_out=50)
    yield "toy", digest(toy.embedding, toy.readout, toy.bias, toy.accuracy)
    yield "table1 rows", table_rows()


def table_rows() -> str:
    from emt_core.experiments import table1

    grid = {"tasks": [0, 2], "hidden": [16], "l2": [0.0, 0.001], "threshold": [0.5], "seeds": [0, 1], "steps": 30}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as executor:
        rows = table1(folder, **grid, progress=False, executor=executor).rows
    kept = [{name: row[name] for name in COLUMNS} for row in rows]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep what is found")
    options = parser.parse_args()
    here = f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__.partition('+')[0]}"
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    differ = 0
    for name, found in digests():
        old = known.get(name, {}).get(here)
        differ += old not in (None, found)
        print(f"{name:20} {found} {'' if old == found else 'new' if old is None else f'was {old}'}")
        known.setdefault(name, {})[here] = found
    if options.write:
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    return int(differ > 0 and not options.write)


if __name__ == "__main__":
    sys.exit(main())
