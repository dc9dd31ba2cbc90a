"""Weights as safetensors with text metadata: one format for cells and networks of every kind."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from emt_core.networks.attention import Attention
from emt_core.networks.cell import Cell
from emt_core.networks.cells import CELLS, cell_named
from emt_core.networks.readers import Reader
from emt_core.networks.tokens import TokenNetwork
from emt_core.networks.vectors import VectorNetwork
from emt_core.support.files import read_safetensors, write_safetensors

ATTENTION = "attention"  #: what stands for such a network in the place of a cell's name
ENDS = ("W_r", "embedding", "W_o", "b_o", "W_m", "b_m", "W_out", "b_out")  # of networks, by which their kinds are told


def save(
    model: Cell | VectorNetwork | TokenNetwork | Reader | Attention,
    path: str | Path,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write a model, with its cell's name and settings beside ``metadata``; whole or not at all.

    Raises:
        ValueError: its cell is none of :data:`~emt_core.networks.CELLS`, or it reads out by a function of its own.
    """
    if isinstance(model, Attention):
        name = ATTENTION
    else:
        cell = model if isinstance(model, Cell) else model.cell
        names = [name for name, kind in CELLS.items() if type(cell) is kind]
        if not names or not isinstance(model, Cell | VectorNetwork | TokenNetwork | Reader):
            kinds = f"{type(model).__name__} of a {type(cell).__name__}"
            raise ValueError(
                f"model must be made of one of {sorted(CELLS)}, got a {kinds}: save the modules that it is of"
            )
        name = names[0]
    settings = {key: value if isinstance(value, str) else json.dumps(value) for key, value in model.settings.items()}
    write_safetensors(model.weights, Path(path), (metadata or {}) | settings | {"cell": name})


def load(path: str | Path) -> tuple[Any, dict[str, str]]:
    """A saved model and its metadata: a network, or a cell alone if that is what was saved.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no saved model at {path}")
    tensors, metadata = read_safetensors(path, "path")
    if metadata.get("cell") == ATTENTION:
        return _attention(tensors, metadata, path), metadata
    if metadata.get("cell") not in CELLS:
        raise ValueError(f"path must hold a saved model, {path} says cell={metadata.get('cell')!r}")
    kind = cell_named(metadata["cell"])
    own_settings = [f.name for f in fields(kind) if f.type == "str"]  # type: ignore[arg-type]
    try:
        settings = {name: metadata[name] for name in own_settings if name in metadata}
        ends = {name: tensors.pop(name) for name in ENDS if name in tensors}
        cell = kind(**tensors, **settings)
        if "W_r" in ends:
            return VectorNetwork(cell, **ends), metadata
        if "W_out" in ends:
            return Reader(cell, **ends), metadata
        if ends:
            return TokenNetwork(cell, **ends, autoregressive=json.loads(metadata["autoregressive"])), metadata
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"path must hold a whole {metadata['cell']} model, {path} does not: {error}") from error
    return cell, metadata


def _attention(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> Attention:
    try:
        settings = {name: json.loads(metadata[name]) for name in ("autoregressive", "summary", "heads")}
        return Attention(**tensors, **settings)  # type: ignore[arg-type]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"path must hold a whole {ATTENTION} model, {path} does not: {error}") from error
