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
    """``step`` takes states (1, B, n) to the next ones; ``reads`` says what is read meanwhile, and ``cell`` and ``x``
    (I,) are what the step is made of, if it is made of a cell."""

    step: Callable[[Tensor], Tensor]
    reads: str
    cell: Cell | None = None
    x: Tensor | None = None


def alone(network: Writes) -> Alone | str:
    """The step, or why there is none."""
    if isinstance(network, TokenNetwork | Adapted):
        cell = network.cell
        if network.autoregressive:
            return Alone(
                cell.step, "no input: while it writes it is fed what it wrote, left alone it reads zeros", cell
            )
        x = network.embedding[0, network.vocabulary + 1]
        return Alone(lambda h: cell.step(h, x.expand(1, h.shape[1], -1)), "what it reads while it writes", cell, x)
    if isinstance(network, Functions):
        return Alone(network.step, "what run_on reads") if network.runs_on else "no function run_on was given"
    return "this kind of network has no step from state to state"
