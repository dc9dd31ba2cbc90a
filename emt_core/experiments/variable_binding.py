"""Networks that bind variables: as lines of grids and as jobs; the table of arXiv:2310.02430, and what else the book
ships of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from emt_core.analysis import spectrum
from emt_core.experiments import jobs
from emt_core.experiments.provenance import made_by, number
from emt_core.experiments.table import Line, Swept, drive, set_aside_if_damaged, takes, weights_file
from emt_core.networks import Elman, VectorNetwork, cell_named, save
from emt_core.networks.elman import RECURRENT_STARTS
from emt_core.support.checks import integer
from emt_core.support.checks import number as checked
from emt_core.support.files import write_safetensors
from emt_core.support.random_streams import seeds_of, streams
from emt_core.support.running import one_thread_per_product
from emt_core.tasks import PAPER_TRIPLES, VariableBinding
from emt_core.theory import circuit
from emt_core.training import Run, fit


@dataclass(frozen=True, kw_only=True)
class Model(Line):
    """A network of the grid. ``choice``, ``permutation``, ``signs``, ``history`` and ``dim`` are its task's; from
    ``lr`` on, the recipe of :func:`emt_core.training.variable_binding.fit`; ``start`` is of an Elman network's W_hh.
    With ``look`` its spectrum is looked at every so many steps.

    Raises:
        ValueError: a value out of range.
    """

    cell: str = "elman"
    choice: int
    permutation: int
    signs: int
    history: int
    dim: int
    hidden: int
    l2: float | int
    threshold: float | int
    seed: int
    steps: int
    lr: float | int = 1e-3
    batch: int = 64
    clip: float | int = 1.0
    horizons: tuple[int, ...] = (10, 20, 40, 60, 100)
    every: int = 50
    test_horizon: int = 200
    start: str = "uniform"
    look: int = 0

    def __post_init__(self) -> None:
        # stored as plain numbers, so that equal models compare and hash equal: 0 and 0.0 are one
        plain = {name: integer(name, getattr(self, name), 1) for name in ("hidden", "steps", "batch", "every")}
        plain |= {name: integer(name, getattr(self, name), 0) for name in ("test_horizon", "look")}
        plain |= {"seed": seeds_of([self.seed], "seed")[0]}
        ...
