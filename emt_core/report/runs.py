"""A network under other circumstances: when nothing new comes, the step that fixed points and kicks are measured with;
and with recurrent weights that never learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Generator, Tensor

from emt_core.networks import CELLS, Elman, Functions, TokenNetwork
from emt_core.networks.adapted import Adapted
from emt_core.networks.cell import Cell
from emt_core.networks.contract import Writes
from emt_core.networks.stacked import Stacked
from emt_core.support.random_streams import stream


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
        return Alone(cell.step, "left without input", "zeros instead of what it wrote", cell)
    x = network.embedding[0, network.vocabulary + 1]
    reads = "what it reads while it writes"
    return Alone(lambda h: cell.step(h, x.expand(1, h.shape[1], -1)), "running as it writes", reads, cell, x)


def drawn_anew(network: Writes, seed: int) -> Writes | None:
    """The network with recurrent weights that are drawn as before training, its other weights as they are; None where
    nobody knows how they are drawn."""
    if not isinstance(network, TokenNetwork | Adapted) or type(network) not in (TokenNetwork, Adapted):
        return None  # a subclass may have more to it
    cell = _drawn(network.cell, stream(seed, "report null"))
    return None if cell is None else replace(network, cell=cell)  # type: ignore[return-value]


def _drawn(cell: Cell, generator: Generator) -> Cell | None:
    if isinstance(cell, Stacked):
        layers = [_drawn(layer, generator) for layer in cell.layers]
        return None if None in layers else Stacked(tuple(layers))  # type: ignore[arg-type]
    if type(cell) not in CELLS.values():
        return None
    made = type(cell).init(cell.inputs, cell.hidden, [generator])
    if isinstance(cell, Elman) and isinstance(made, Elman):
        made = made if cell.b is None else made.started("biased", [generator])
        made = replace(made, activation=cell.activation)
    return made.to(next(iter(cell.weights.values())).dtype)
