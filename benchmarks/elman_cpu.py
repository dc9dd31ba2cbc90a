"""How fast is the forward and backward pass of a training step on the CPU? Three ways side by side, one thread each.

    python benchmarks/elman_cpu.py [--hidden 128] [--history 8] [--horizon 100] [--batch 64] [--repeats 30]

Prints a table and appends its rows to benchmarks/results/elman_cpu.csv. The ways take turns, so that a busy machine
slows all of them alike: read the ratios.
"""

import argparse
import csv
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from emt_core import cells
from emt_core.kernels import batched, reference
from emt_core.tasks import VariableBinding

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "elman_cpu.csv"


def ways(model: cells.Elman, inputs: torch.Tensor, targets: torch.Tensor) -> dict:
    """The three ways as functions without arguments: torch.nn.RNN, our reference, our fast path."""
    hidden, dim, horizon = model.hidden, model.dim, targets.shape[1]
    rnn = torch.nn.RNN(dim, hidden, bias=False)
    read = torch.nn.Linear(hidden, dim, bias=False)
    rnn.weight_ih_l0.data, rnn.weight_hh_l0.data = model.W_uh[0].clone(), model.W_hh[0].clone()
    read.weight.data = model.W_r[0].clone()
    padded = torch.cat([inputs[0], torch.zeros(horizon, *inputs.shape[2:])])
    workspace = batched.Workspace()

    def nn_rnn() -> float:
        for module in (rnn, read):
            module.zero_grad()
        loss = (read(rnn(padded)[0][-horizon:]) - targets[0]).square().mean()
        loss.backward()
        return float(loss.detach())

    return {
        "torch.nn.RNN": nn_rnn,
        "kernels.reference": lambda: float(reference.loss_and_grad(model, inputs, targets)[0]),
        "kernels.batched": lambda: float(batched.loss_and_grad(model, inputs, targets, workspace)[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("hidden", 128), ("history", 8), ("horizon", 100), ("batch", 64), ("repeats", 30)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    task = VariableBinding.repeat_copy(options.history, options.history)
    model = cells.init(options.hidden, options.history, [generator])
    run = ways(model, *task.sample(options.batch, options.horizon, generator))

    losses = {name: function() for name, function in run.items()}  # a warm-up, and a check that all do the same
    assert max(losses.values()) - min(losses.values()) < 1e-5, losses
    seconds: dict[str, list[float]] = {name: [] for name in run}
    for _ in range(options.repeats):
        for name, function in run.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)

    median = {name: sorted(values)[len(values) // 2] for name, values in seconds.items()}
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    about = {name: getattr(options, name) for name in ("hidden", "history", "horizon", "batch")}
    about |= {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "torch": torch.__version__,
    }
    about["hardware"] = f"{platform.machine()} CPU ({torch.backends.cpu.get_cpu_capability()}), one thread"
    rows = []
    for name, value in median.items():
        ratio = median["torch.nn.RNN"] / value
        print(f"{name:>20}  {1e3 * value:8.2f} ms a model-step   {ratio:5.2f} x torch.nn.RNN")
        rows.append({"way": name, "ms": f"{1e3 * value:.2f}", "ratio": f"{ratio:.2f}", **about})
    RESULTS.parent.mkdir(exist_ok=True)
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
