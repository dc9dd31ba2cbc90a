"""How fast are the fixed points and periodic orbits of shipped networks found, and from how many starts?

    python benchmarks/fixed_points.py [--maps gru copy copy8 other8] [--starts 24] [--cap 30]

emt_core.analysis.orbits beside the field's method (Sussillo & Barak 2013): gradient descent on q = |F^k(h) − h|²/2, by
Adam, jointly from the same starts, which are states that the networks visit. Its learning rate is the best of four in
trials of 3 seconds, which are not counted, and is halved where q no longer falls. Both work in float64 on one thread,
and are timed in seconds of the processor, which a busy machine changes little. A start is solved where |F^k(h) − h| is
at most the tolerance; the descent ends when all are, or at the cap. ``ratio`` is the time in which the descent solved
as many starts as find does, over find's; ``>``: at the cap it had not; none where find solves none. ``distinct`` counts
solved ends, those within 1e-3 of each other as one; ``median_residual`` is of the descent's ends, solved or not. Prints
a table and appends its rows to results/fixed_points.csv.
"""

import argparse
import os
import platform
import time
from pathlib import Path

import torch
from gru_cpu import append
from torch import Tensor

from emt_core.analysis import orbits
from emt_core.networks import load
from emt_core.support.random_streams import stream
from emt_core.tasks import TokenRepeat, VariableBinding
from emt_core.tasks.variable_binding import PAPER_TRIPLES

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "fixed_points.csv"
# a shipped network that runs without input, and the period k
MAPS = {"gru": ("gru_48_ar_0", 1), "copy": ("circuits_0_128_0", 1), "copy8": ("circuits_0_128_0", 8),
        "other8": ("circuits_1_128_0", 8)}  # fmt: skip
TOLERANCES = (1e-6, 1e-10)
RATES = (0.1, 0.03, 0.01, 0.003)
APART = 1e-3  # the looser tolerance leaves this open along a direction whose multiplier is 1e-3 from 1
Log = list[tuple[float, list[float]]]  # seconds, and the share of starts solved to each tolerance by then


def problem(name: str, count: int) -> tuple[orbits.Step, Tensor, int]:
    """F, so many of the states that the network visits, and the period."""
    file, period = MAPS[name]
    network, _ = load(ROOT / "book" / "data" / f"{file}.safetensors")
    if name == "gru":  # all along its reading
        visited = network.trajectory(TokenRepeat().sample(count, [stream(0, "fixed points")]))[0].flatten(0, 1)
        visited = visited[torch.randperm(len(visited), generator=stream(0, "visited"))[:count]]
    else:  # three times S steps into its writing
        task = VariableBinding(PAPER_TRIPLES[int(file.split("_")[1])], 8, 8)
        visited = network[0].rollout(task.inputs(count, [stream(0, "fixed points")]), 24)[0][0, -1]
    return orbits.step_of(network), visited.double(), period


def residual(step: orbits.Step, h: Tensor, period: int) -> Tensor:
    """|F^k(h) − h|."""
    image = h
    for _ in range(period):
        image = step(image)
    return (image - h).norm(dim=1)


def descend(step: orbits.Step, starts: Tensor, period: int, rate: float, cap: float) -> tuple[Tensor, Log]:
    """The states at which Adam ends, and what was solved on the way, looked at every 50 steps."""
    h, log = starts.clone().requires_grad_(), Log()
    optimiser = torch.optim.Adam([h], lr=rate)
    slower = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=200, threshold=1e-3)
    began = time.process_time()
    while not log or (log[-1][0] < cap and log[-1][1][-1] < 1):
        for _ in range(50):
            optimiser.zero_grad()
            q = residual(step, h, period).square().sum() / 2
            q.backward()
            optimiser.step()
            slower.step(float(q.detach()))
        with torch.no_grad():
            size = residual(step, h, period)
        log.append((time.process_time() - began, [float((size <= each).double().mean()) for each in TOLERANCES]))
    return h.detach(), log


def distinct(step: orbits.Step, ends: Tensor, period: int, tolerance: float) -> int:
    """How many zeros these are, by the same measure for both ways."""
    kept = orbits.find(step, ends, period, tolerance=tolerance, slow=0, iterations=0, merge=APART)
    return len(kept.state)


def measure(name: str, count: int, cap: float) -> list[dict[str, str | int]]:
    """Two rows, and printed lines, for each tolerance."""
    step, starts, period = problem(name, count)
    trials = {rate: descend(step, starts, period, rate, 3)[0] for rate in RATES}
    rate = min(RATES, key=lambda rate: float(residual(step, trials[rate], period).log().mean()))
    ends, log = descend(step, starts, period, rate, cap)
    orbits.find(step, starts[:1], period, iterations=1)  # the first call imports what vmap needs
    rows = []
    for place, tolerance in enumerate(TOLERANCES):
        began = time.process_time()
        found = orbits.find(step, starts, period, tolerance=tolerance)
        took = time.process_time() - began
        solved = found.start_status.count(orbits.Status.CONVERGED) / count
        reached = [seconds for seconds, shares in log if shares[place] >= solved]
        about = {"map": name, "period": period, "n": starts.shape[1], "starts": count, "tolerance": f"{tolerance:.0e}"}
        rows += [
            {"way": "emt_core orbits.find", **about, "cpu_seconds": f"{took:.2f}", "solved": f"{solved:.3f}",
             "distinct": distinct(step, found.state, period, tolerance), "median_residual": "",
             "ratio": "" if not solved else f"{reached[0] / took:.1f}" if reached else f">{log[-1][0] / took:.1f}"},
            {"way": f"descent by Adam, rate {rate}", **about, "cpu_seconds": f"{log[-1][0]:.2f}",
             "solved": f"{log[-1][1][place]:.3f}", "distinct": distinct(step, ends, period, tolerance),
             "median_residual": f"{float(residual(step, ends, period).median()):.1e}", "ratio": ""},
        ]  # fmt: skip
    for row in rows:
        what = f"{name:>8}  |r| ≤ {row['tolerance']}  {row['way']:>28}"
        print(f"{what}  {row['cpu_seconds']:>7} s  {row['solved']}  {row['distinct']:>2} distinct  {row['ratio']:>7}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", nargs="+", choices=MAPS, default=list(MAPS))
    parser.add_argument("--starts", type=int, default=24)
    parser.add_argument("--cap", type=float, default=30, help="seconds that the descent may take")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.maps:
        hardware = f"{platform.machine()} CPU, one of {os.cpu_count()} cores"
        append(measure(name, options.starts, options.cap), RESULTS, hardware)


if __name__ == "__main__":
    main()
