"""How many training steps a second do GRUs that repeat tokens make on a GPU? Forward, backward and AdamW, float32.

    python benchmarks/gru_gpu.py [--hidden 48,64,128,256,512,1024] [--models 5] [--batch 256] [--repeats 9]

An ensemble with emt_core's scan beside torch.nn.GRU (cuDNN) trained one model at a time. The ways take turns: read the
ratios. Both start from the same weights, and after three steps their losses must agree. Prints a table and appends its
rows to results/gru_gpu.csv.
"""

import argparse
import time
from pathlib import Path

import torch
from gru_cpu import ROOT, TASK, EnsembleModel, TorchModel, append, compare

from emt_core.networks import GRU, TokenNetwork

RESULTS = ROOT / "benchmarks" / "results" / "gru_gpu.csv"


class OneByOne:
    """torch.nn.GRU for each model of an ensemble, in turn."""

    def __init__(self, model: TokenNetwork, batch) -> None:
        self.models = [TorchModel(model[m], batch) for m in range(model.models)]

    def step(self) -> float:
        return sum(model.step() for model in self.models)


def measure(hidden: int, models: int, batch: int, repeats: int, device: str) -> list[dict]:
    generator = torch.Generator(device).manual_seed(0)
    model = TokenNetwork.init(GRU, int(TASK.vocabulary), hidden, [generator] * models)
    sequences = TASK.sample(batch, [generator])
    ways = {
        "torch.nn.GRU, one model at a time": OneByOne(model, sequences),
        "emt_core ensemble": EnsembleModel(model, sequences),
    }
    first, *others = [[way.step() for _ in range(3)] for way in ways.values()]
    for other in others:  # a warm-up, and a check that all do the same
        torch.testing.assert_close(torch.tensor(first), torch.tensor(other), rtol=1e-3, atol=1e-4)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            for _ in range(20):
                way.step()  # it returns a number, which waits for the GPU
            rates[name].append(20 * models / (time.perf_counter() - start))
    return compare(rates, {"hidden": hidden, "models": models, "batch": batch})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", default="48,64,128,256,512,1024")
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cuda", help="cpu only tries the script; nothing is recorded there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device must be one that is there, got {options.device}: torch finds no CUDA device")
    torch.backends.cudnn.allow_tf32 = False  # cuDNN would round the factors of its products; emt_core does not
    rows = []
    for hidden in options.hidden.split(","):
        rows += measure(int(hidden), options.models, options.batch, options.repeats, options.device)
    hardware = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else "CPU"
    append(rows, options.out, hardware)


if __name__ == "__main__":
    main()
