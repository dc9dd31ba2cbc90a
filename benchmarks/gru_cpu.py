"""How many training steps a second do GRUs that repeat tokens make? Forward, backward and AdamW, float32.

    python benchmarks/gru_cpu.py [--hidden 48,64,128,256] [--batch 256] [--repeats 9]

An ensemble of as many models as there are cores, each on a thread of its own with emt_core's scan, beside torch.nn.GRU
trained one model at a time on all cores, and with one thread a model. The ways take turns, so that a busy machine slows
all alike: read the ratios. All start from the same weights, and after three steps their losses must agree. Prints a
table and appends its rows to results/gru_cpu.csv.
"""

import argparse
import csv
import os
import platform
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import torch

from emt_core.networks import GRU, TokenNetwork, from_torch
from emt_core.networks.kernels import compiled, gru
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.training.scores import cross_entropy

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "gru_cpu.csv"
CORES = os.cpu_count() or 1
TASK = TokenRepeat()


class TorchModel:
    """torch.nn.GRU as a reader would write it: packed sequences in, padded ones out, the loss masked."""

    def __init__(self, model: TokenNetwork, batch: Sequences) -> None:
        hidden, vocabulary, on = model.hidden, model.vocabulary, {"device": model.W_o.device}
        self.embedding = torch.nn.Embedding(vocabulary + 2, hidden, **on)
        self.gru, self.readout = torch.nn.GRU(hidden, hidden, **on), torch.nn.Linear(hidden, vocabulary, **on)
        ends = self.embedding.weight[None], self.readout.weight[None], self.readout.bias[None]
        own = TokenNetwork(from_torch(self.gru), *ends).weights
        with torch.no_grad():
            for name, weight in model.weights.items():
                own[name].copy_(weight)
        self.parameters = [p for part in (self.embedding, self.gru, self.readout) for p in part.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=1e-3, weight_decay=0.1, fused=True)
        self.tokens, self.lengths, self.mask = batch.tokens[0], batch.lengths[0].cpu(), batch.mask[0]
        self.inputs = model.writing_inputs(batch)[0]

    def step(self) -> float:
        self.optimiser.zero_grad()
        packed = torch.nn.utils.rnn.pack_padded_sequence(self.embedding(self.tokens), self.lengths)
        _, h = self.gru(packed)
        scores = self.readout(self.gru(self.embedding(self.inputs), h)[0])
        loss = torch.nn.functional.cross_entropy(scores[self.mask], self.tokens[self.mask])
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


class EnsembleModel:
    """Models as emt_core.training.token_repeat trains them: on the CPU one for each thread."""

    def __init__(self, model: TokenNetwork, batch: Sequences) -> None:
        self.model, self.batch = model, batch
        self.weights = {name: w.clone().requires_grad_() for name, w in model.weights.items()}
        self.optimiser = torch.optim.AdamW(self.weights.values(), lr=1e-3, weight_decay=0.1, fused=True)

    def step(self) -> float:
        self.optimiser.zero_grad()
        model = self.model.with_weights(self.weights)
        loss = cross_entropy(model.logits(model.encode(self.batch), self.batch), self.batch)
        loss.sum().backward()
        self.optimiser.step()
        return float(loss.sum().detach())


def throughput(models: list, steps: int, together: bool) -> float:
    """Model-steps a second, each model making ``steps``: side by side, one thread each, or in turn on all threads."""
    torch.set_num_threads(1 if together else CORES)
    with ThreadPoolExecutor(CORES) as pool:
        start = time.perf_counter()
        list((pool.map if together else map)(lambda model: [model.step() for _ in range(steps)], models))
        return len(models) * steps / (time.perf_counter() - start)


def measure(hidden: int, batch: int, repeats: int) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    problems = []
    for _ in range(CORES):
        model = TokenNetwork.init(GRU, int(TASK.vocabulary), hidden, [generator])
        problems.append((model, TASK.sample(batch, [generator])))
    fast = "torch" if gru.library(compiled.instruction_set()) is None else compiled.instruction_set()
    ways = {
        "torch.nn.GRU, one model at a time": ([TorchModel(*p) for p in problems], False),
        "torch.nn.GRU, one thread a model": ([TorchModel(*p) for p in problems], True),
        f"emt_core ensemble ({fast})": ([EnsembleModel(*p) for p in problems], True),
    }
    losses = {name: [m.step() for _ in range(3) for m in models] for name, (models, _) in ways.items()}
    first, *others = losses.values()
    for other in others:  # a warm-up, and a check that all do the same
        torch.testing.assert_close(torch.tensor(first), torch.tensor(other), rtol=1e-4, atol=1e-5)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, (models, together) in ways.items():
            rates[name].append(throughput(models, 10, together))
    return compare(rates, {"hidden": hidden, "batch": batch})


def compare(rates: dict[str, list[float]], size: dict) -> list[dict]:
    """A row, and a printed line, for each way: its median rate, and how many times the first way's that is."""
    middle = {name: sorted(values)[len(values) // 2] for name, values in rates.items()}
    base = next(iter(middle.values()))
    rows = []
    for name, rate in middle.items():
        print(f"N = {size['hidden']:<4} {name:>36}  {rate:7.1f} model-steps/s  {rate / base:5.2f} x")
        rows.append({"way": name, **size, "model_steps_per_s": f"{rate:.1f}", "ratio": f"{rate / base:.2f}"})
    return rows


def append(rows: list[dict], path: Path, hardware: str) -> None:
    """Add rows to a table, with what made them."""
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    about = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": commit.stdout.strip()}
    about |= {"torch": torch.__version__, "hardware": hardware}
    path.parent.mkdir(exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, fieldnames=[*rows[0], *about], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(row | about for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", default="48,64,128,256")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    rows = [row for N in options.hidden.split(",") for row in measure(int(N), options.batch, options.repeats)]
    append(rows, RESULTS, f"{platform.machine()} CPU, {CORES} cores")


if __name__ == "__main__":
    main()
