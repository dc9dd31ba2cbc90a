"""The cells by name, and from and to torch's modules."""

from __future__ import annotations

import torch

from emt_core.networks.cell import Cell
from emt_core.networks.delta_rule import DeltaNet, LinearAttention
from emt_core.networks.diagonal import LRU, Decay
from emt_core.networks.elman import Elman
from emt_core.networks.gru import GRU
from emt_core.networks.lstm import LSTM
from emt_core.networks.min_gru import MinGRU
from emt_core.networks.selective import Selective, SelectiveConv

#: whatever is here can be trained on any task
CELLS: dict[str, type[Cell]] = {
    "elman": Elman, "gru": GRU, "lstm": LSTM, "mingru": MinGRU, "lru": LRU, "decay": Decay, "selective": Selective,
    "selectiveconv": SelectiveConv, "linearattention": LinearAttention, "deltanet": DeltaNet,
}  # fmt: skip


def cell_named(name: str) -> type[Cell]:
    """The entry of :data:`CELLS`."""
    if name not in CELLS:
        raise ValueError(f"cell must be one of {sorted(CELLS)}, got {name!r}")
    return CELLS[name]


def from_torch(module: torch.nn.Module) -> Cell:
    """The cell (M = 1) that computes what a layer of torch does, from ``nn.RNN``, ``nn.GRU``, … with one layer: its
    weights are shared, not copied, where the cell has the same ones."""
    cell = next((cell for cell in CELLS.values() if cell.module is not None and isinstance(module, cell.module)), None)
    if cell is None:
        known = ", ".join(f"torch.nn.{cell.module.__name__}" for cell in CELLS.values() if cell.module is not None)
        raise ValueError(f"module must be one of {known}, got {type(module).__name__}")
    for name, want in (("num_layers", 1), ("bidirectional", False), ("proj_size", 0)):
        got = getattr(module, name)
        if got != want:
            raise ValueError(f"module must have {name} = {want}, got {got}")
    return cell.of_module(module)


def to_torch(cell: Cell) -> torch.nn.Module:
    """torch's module with a copy of the weights of ``cell`` (M = 1), the inverse of :func:`from_torch`."""
    if cell.module is None:
        raise ValueError(f"cell must be one that torch has a module for, got {type(cell).__name__}")
    if cell.models != 1:
        raise ValueError(f"cell must have one model, got {cell.models}: choose one, as in cell[0]")
    return cell.to_module()
