"""A sweep of small networks, also as a process of its own to be killed:

    python tests/experiments/small_sweep.py --out DIR [--seeds 3] [what every sweep takes]

Every step takes PAUSE seconds there, so that signals find the sweep at work, on a fast machine too.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from emt_core.experiments import __main__ as command_line
from emt_core.experiments.table import takes
from emt_core.experiments.variable_binding import grid, sweep
from emt_core.tasks import VariableBinding

PAUSE = 0.006
TASK = VariableBinding.repeat_copy(3, 2)
# odd sizes, and thresholds that let networks climb the curriculum at different times
RECIPE = dict(batch=5, horizons=(3, 4, 6), every=7, test_horizon=9)


def models(seeds: int = 3, steps: int = 200, l2=(0.0, 0.01), hidden=(8,), threshold=(0.61,), **recipe):
    settings = dict(hidden=hidden, l2=l2, threshold=threshold, seeds=range(seeds), steps=steps)
    return grid([TASK], **settings, **(RECIPE | recipe))


@takes(sweep)
def small(out, *, seeds=range(3), **options):
    return sweep(models(len(seeds)), out, **options)


if __name__ in ("__main__", "__mp_main__"):  # not where a test imports this file, but in the sweep's workers too
    sample = VariableBinding.sample

    def sample_slowly(self, *arguments):
        Path(sys.argv[sys.argv.index("--out") + 1], f"at-work-{os.getpid()}").touch()
        time.sleep(PAUSE)
        return sample(self, *arguments)

    VariableBinding.sample = sample_slowly

if __name__ == "__main__":
    # a shell's background process, and what it starts, ignores Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser()
    command_line.add_options(parser, small)
    sys.exit(command_line.run_command(small, vars(parser.parse_args())))
