"""How a network runs on when nothing new comes: the step that fixed points and kicks are measured with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from emt_core.networks import Functions, TokenNetwork
from emt_core.networks.adapted import Adapted
from emt_core.networks.cell import Cell
from emt_core.networks.contract import Writes


@dataclass(frozen=True)
class Alone:
    """``step`` takes states (1, B, n) to the next ones; ``how`` and ``reads`` say how it runs and what is read
    meanwhile, and ``cell`` and ``x`` (I,) are what the step is made of, if it is made of a cell."""

    step: Callable[[Tensor], Tensor]
    how: str
    reads: str
    cell: Cell | None = None
    x: Tensor | None = None


def alone(network: Writes) -> Alone | str:
    """The step, or why there is none."""
    if isinstance(network, Functions):
        own = "running on", "what run_on reads"
        return Alone(network.step, *own) if network.runs_on else "no function run_on was given"
    if not isinstance(network, TokenNetwork | Adapted):
        return "this kind of network has no step from state to state"
    cell = network.cell
    if network.autoregressive:
        reads = "no input (while it writes it is fed what it wrote; left alone it reads zeros)"
        return Alone(cell.step, "left without input", reads, cell)
    x = network.embedding[0, network.vocabulary + 1]
    reads = "what it reads while it writes"
    return Alone(lambda h: cell.step(h, x.expand(1, h.shape[1], -1)), "running as it writes", reads, cell, x)
