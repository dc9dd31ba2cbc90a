"""How often do the book's 95 % intervals over networks hold the true mean? Samples whose mean is known, few networks.

    python benchmarks/interval_coverage.py [--samples 4000]

Beside emt_core's intervals stand Student's t and the percentile bootstrap, on the same samples. Some distributions are
there to show where an interval fails. Prints a table and writes it to results/interval_coverage.csv; 20 seconds or so.
"""

import argparse
import csv
import math
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import scipy
from scipy.stats import t

from emt_core.book import intervals

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "interval_coverage.csv"
NETWORKS = (4, 5, 10)
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

# name: how to draw, true mean
VALUES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, size: rng.normal(size=size), 0.0),
    "gamma(2), skewness 1.4": (lambda rng, size: rng.gamma(2, size=size), 2.0),
    "exponential, skewness 2": (lambda rng, size: rng.exponential(size=size), 1.0),
    "lognormal(1), skewness 6.2": (lambda rng, size: rng.lognormal(size=size), math.exp(0.5)),
}
SHARES: dict[str, tuple[Draw, float]] = {
    "beta(8, 2)": (lambda rng, size: rng.beta(8, 2, size=size), 0.8),
    "beta(9.5, 0.5)": (lambda rng, size: rng.beta(9.5, 0.5, size=size), 0.95),
    "1, or with 1 in 10 uniform": (lambda rng, size: np.where(rng.random(size) < 0.9, 1, rng.random(size)), 0.95),
}


def student(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the plain t interval of each row."""
    middle, n = samples.mean(1), samples.shape[1]
    reach = t.ppf(0.975, n - 1) * samples.std(1, ddof=1) / math.sqrt(n)
    return middle - reach, middle + reach


def percentile_bootstrap(samples: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the percentile bootstrap of each row; one set of 1000 draws of networks serves all rows."""
    n = samples.shape[1]
    means = samples[:, rng.integers(n, size=(1000, n))].mean(2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    return low, high


def ends(interval: Callable[[np.ndarray], intervals.Interval], samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of one of emt_core's intervals of each row."""
    low, high = np.array([interval(sample)[1:] for sample in samples]).T
    return low, high


def rows(count: int) -> Iterator[dict[str, str | int]]:
    """One row per distribution, number of networks and interval; the seed is fixed."""
    for kind, cases in (("mean", VALUES), ("mean_share", SHARES)):
        for name, (draw, true) in cases.items():
            for n in NETWORKS:
                rng = np.random.default_rng(n)
                samples = draw(rng, (count, n))
                ways = {f"emt_core {kind}": ends(getattr(intervals, kind), samples), "Student's t": student(samples)}
                ways["percentile bootstrap"] = percentile_bootstrap(samples, rng)
                for way, (low, high) in ways.items():
                    covered = float(np.mean((low <= true) & (true <= high)))
                    yield {
                        "distribution": name, "networks": n, "interval": way, "coverage": f"{covered:.3f}",
                        "standard_error": f"{math.sqrt(covered * (1 - covered) / count):.4f}",
                        "median_width": f"{np.median(high - low):.3g}", "samples": count,
                    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=4000)
    options = parser.parse_args()
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    about = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": commit.stdout.strip()}
    about |= {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    about |= {"hardware": f"{platform.machine()} CPU, {os.cpu_count()} cores"}
    table = []
    for row in rows(options.samples):
        print(f"{row['distribution']:>26}  n = {row['networks']:<2}  {row['interval']:>20}  "
              f"{row['coverage']} ± {row['standard_error']}  width {row['median_width']}")  # fmt: skip
        table.append(row | about)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="", encoding="utf8") as file:  # the same seed gives the same rows: no need to keep
        writer = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
