"""The cells by name."""

from __future__ import annotations

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
