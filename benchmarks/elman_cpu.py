"""How many training steps a second do all cores together make? Forward, backward, clipping and Adam, float32.

    python benchmarks/elman_cpu.py [--hidden 128] [--history 8] [--horizon 100] [--batch 64] [--repeats 15]

Three ways in one run, and the rate of torch's own matrix product beside them. The ways take turns, so that a busy
machine slows all of them alike: read the ratios. Prints a table and appends its rows to results/elman_cpu.csv.
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

from emt_core.networks import Elman, VectorNetwork, vectors
from emt_core.networks.kernels import adam, compiled, elman_native, shapes
from emt_core.tasks import VariableBinding
from emt_core.training.variable_binding import flat

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "elman_cpu.csv"
CORES = os.cpu_count() or 1
LR, CLIP = 1e-3, 1.0


class TorchModel:
    """torch.nn.RNN with torch.optim.Adam, as a reader would write it."""

    def __init__(self, model: VectorNetwork, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.rnn = torch.nn.RNN(model.dim, model.hidden, bias=False)
        self.read = torch.nn.Linear(model.hidden, model.dim, bias=False)
        self.rnn.weight_ih_l0.data, self.rnn.weight_hh_l0.data = model.W_uh[0].clone(), model.W_hh[0].clone()
        self.read.weight.data = model.W_r[0].clone()
        self.parameters = [*self.rnn.parameters(), *self.read.parameters()]
        self.optimiser = torch.optim.Adam(self.parameters, lr=LR)
        self.padded = torch.cat([inputs[0], torch.zeros_like(targets[0])])
        self.targets = targets[0]

    def step(self) -> float:
        self.optimiser.zero_grad()
        outputs = self.read(self.rnn(self.padded)[0][-len(self.targets) :])
        loss = (outputs - self.targets).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimiser.step()
        return float(loss.detach())


class EmtModel:
    """As emt_core.training.variable_binding trains it: by a kernel, or by autograd if ``kernel`` is None."""

    def __init__(self, kernel, model: VectorNetwork, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.kernel, self.inputs, self.targets, self.n = kernel, inputs, targets, 0
        self.flat = flat(model.weights)
        self.moments = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        weights = model.weights
        parts = self.flat.split([w[0].numel() for w in weights.values()], dim=1)  # they see what Adam changes
        views = {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}
        self.model = model.with_weights(views)
        self.workspace = shapes.Workspace()

    def step(self) -> float:
        if self.kernel is None:
            loss, _, grads = vectors.loss_and_grad(self.model, self.inputs, self.targets)
        else:
            matrices = self.model.W_uh, self.model.W_hh, self.model.W_r
            loss, _, found = self.kernel.loss_and_grad(*matrices, self.inputs, self.targets, self.workspace)
            grads = dict(zip(("W_uh", "W_hh", "W_r"), found, strict=True))
        gradient = flat({name: grads[name] for name in self.model.weights})
        self.n += 1
        rate, none = torch.full((1, 1), LR), torch.zeros(1, 1)
        update = (self.kernel or adam).clip_and_adam
        update(self.flat, *self.moments, gradient, loss, rate, none, CLIP, self.n)
        return float(loss)


def throughput(models: list, steps: int, together: bool) -> float:
    """Model-steps a second, each model making ``steps``: side by side, one thread each, or in turn on all threads."""
    torch.set_num_threads(1 if together else CORES)
    with ThreadPoolExecutor(CORES) as pool:
        start = time.perf_counter()
        # in turn: on the main thread, which torch's own threads belong to
        list((pool.map if together else map)(lambda model: [model.step() for _ in range(steps)], models))
        return len(models) * steps / (time.perf_counter() - start)


def sgemm() -> float:
    """GFLOP/s of torch's product of two 2048 x 2048 matrices on all cores."""
    torch.set_num_threads(CORES)
    a = torch.ones(2048, 2048)
    start = time.perf_counter()
    a @ a
    return 2 * 2048**3 / (time.perf_counter() - start) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("hidden", 128), ("history", 8), ("horizon", 100), ("batch", 64), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    H, S, T, B = options.hidden, options.history, options.horizon, options.batch
    generator = torch.Generator().manual_seed(0)
    problems = []
    for _ in range(CORES):
        task = VariableBinding.repeat_copy(S, S)
        problems.append((VectorNetwork.init(Elman, S, H, [generator]), *task.sample(B, T, generator)))
    ways = {
        "torch.nn.RNN + Adam, one model at a time": ([TorchModel(*p) for p in problems], False),
        "torch.nn.RNN + Adam, one thread a model": ([TorchModel(*p) for p in problems], True),
        "emt_core, autograd (no compiler)": ([EmtModel(None, *p) for p in problems], True),
        f"kernels.elman_native ({compiled.instruction_set()})": ([EmtModel(elman_native, *p) for p in problems], True),
    }
    losses = {name: [m.step() for _ in range(3) for m in models] for name, (models, _) in ways.items()}
    first, *others = losses.values()
    for other in others:  # a warm-up, and a check that all do the same
        torch.testing.assert_close(torch.tensor(first), torch.tensor(other), rtol=1e-4, atol=1e-5)

    rates: dict[str, list[float]] = {name: [] for name in ways}
    products = []
    for _ in range(options.repeats):
        for name, (models, together) in ways.items():
            rates[name].append(throughput(models, 10, together))
        products.append(sgemm())

    # with W_hh three products (forward, backward, gradient) in all steps but one; with W_uh two; with W_r three
    flops = 2 * B * (3 * H * H * (S + T - 1) + 2 * H * S * S + 3 * H * S * T)
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    about = {name: getattr(options, name) for name in ("hidden", "history", "horizon", "batch")}
    about |= {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": commit.stdout.strip()}
    about |= {"torch": torch.__version__, "hardware": f"{platform.machine()} CPU, {CORES} cores"}
    product = sorted(products)[len(products) // 2]
    base, rows = None, []
    for name, values in rates.items():
        rate = sorted(values)[len(values) // 2]
        base = base or rate
        gflops = rate * flops / 1e9
        print(f"{name:>42}  {rate:7.1f} model-steps/s  {rate / base:5.2f} x  {gflops:6.0f} GFLOP/s")
        row = {"way": name, "model_steps_per_s": f"{rate:.1f}", "ratio": f"{rate / base:.2f}"}
        rows.append({**row, "gflops": f"{gflops:.0f}", "sgemm_gflops": f"{product:.0f}", **about})
    print(f"{'torch.mm, 2048 x 2048':>42}  {'':7} {'':13}  {'':5}    {product:6.0f} GFLOP/s")
    RESULTS.parent.mkdir(exist_ok=True)
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
