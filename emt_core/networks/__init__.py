"""What learns: cells (``cell`` has the contract), networks that read and write vectors or tokens, and kernels."""

from emt_core.networks.adapted import Functions
from emt_core.networks.attention import Attention
from emt_core.networks.cell import Cell, together
from emt_core.networks.cells import CELLS, cell_named
from emt_core.networks.elman import Elman
from emt_core.networks.gru import GRU
from emt_core.networks.hooks import run_with_cache, run_with_hooks
from emt_core.networks.modules import to_module
from emt_core.networks.readers import Reader
from emt_core.networks.saving import load, save
from emt_core.networks.tokens import TokenNetwork
from emt_core.networks.torch_modules import from_torch, to_torch
from emt_core.networks.vectors import VectorNetwork

__all__ = [
    "CELLS", "GRU", "Attention", "Cell", "Elman", "Functions", "Reader", "TokenNetwork", "VectorNetwork", "cell_named",
    "from_torch", "load", "run_with_cache", "run_with_hooks", "save", "to_module", "to_torch", "together",
]  # fmt: skip
