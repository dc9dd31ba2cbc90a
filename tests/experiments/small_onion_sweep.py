"""Sweeps of GRUs of six units that repeat tokens; and of one of them as a process of its own, to be killed:

    python tests/experiments/small_onion_sweep.py DIR

There every step takes PAUSE seconds, and every fifth writes a checkpoint.
"""

import functools
import sys
import time
from pathlib import Path

from emt_core.experiments import __main__ as command_line
from emt_core.experiments import onion_gru
from emt_core.tasks import TokenRepeat
from emt_core.training import Recipe, token_repeat

PAUSE = 0.05
TASK = TokenRepeat(4, 1, 3)
STEPS = 25
RECIPE = Recipe(lr=0.01, batch=8, every=7)
SETTINGS = dict(hidden=(6,), seeds=range(2), steps=STEPS, task=TASK, recipe=RECIPE)

if __name__ in ("__main__", "__mp_main__"):  # not where a test imports this file, but in the sweep's workers too
    sample = TokenRepeat.sample

    def sample_slowly(self, *arguments, **options):
        time.sleep(PAUSE)
        return sample(self, *arguments, **options)

    TokenRepeat.sample = sample_slowly
    fit = token_repeat.fit
    token_repeat.fit = lambda *arguments, **options: fit(*arguments, checkpoint_every=5, **options)

if __name__ == "__main__":
    one = functools.partial(onion_gru, workers=1, **(SETTINGS | dict(variants=["autoregressive"], seeds=[0])))
    sys.exit(command_line.run_command(one, dict(out=Path(sys.argv[1]))))
