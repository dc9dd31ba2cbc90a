"""What learns: cells (``cell`` has the contract), networks that read and write vectors or tokens, and kernels."""

from emt_core.networks.attention import Attention
from emt_core.networks.cell import Cell
from emt_core.networks.cells import CELLS, cell_named, from_torch, to_torch
from emt_core.networks.elman import Elman
from emt_core.networks.gru import GRU
from emt_core.networks.saving import load, save
from emt_core.networks.tokens import TokenNetwork
from emt_core.networks.vectors import VectorNetwork

__all__ = [
    "CELLS", "GRU", "Attention", "Cell", "Elman", "TokenNetwork", "VectorNetwork", "cell_named", "from_torch", "load",
    "save", "to_torch",
]  # fmt: skip
