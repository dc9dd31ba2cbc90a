"""Layers of cells on top of each other, as torch's modules with ``num_layers`` above 1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks.cell import Cell, Generators, Look, unwatched
from emt_core.support.checks import Self


@dataclass(frozen=True, eq=False)
class Stacked(Cell):
    """Each of the ``layers``, the lowest first, reads what the one below it shows. The state is that of all layers side
    by side, the *uppermost* first, n = Σ n_k, and what the uppermost shows is visible. The weights of layer k have its
    number behind their names, as in ``W_hh.0``, and so has what :meth:`watched` shows, as ``z.0``."""

    layers: tuple[Cell, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("layers must hold at least one cell, got none")
        for k, (below, above) in enumerate(zip(self.layers, self.layers[1:], strict=False), start=1):
            if (above.models, above.inputs) != (below.models, below.hidden):
                want, got = (below.models, below.hidden), (above.models, above.inputs)
                raise ValueError(f"layers[{k}] must have (models, inputs) = {want} to read layers[{k - 1}], got {got}")

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """Not drawn by itself: stack cells that are."""
        raise NotImplementedError("layers are stacked from cells that were drawn, as in Stacked((GRU.init(…), …))")

    @property
    def weights(self) -> dict[str, Tensor]:
        return {f"{name}.{k}": w for k, layer in enumerate(self.layers) for name, w in layer.weights.items()}

    def with_weights(self, weights: dict[str, Tensor]) -> Self:
        own = ({name: weights[f"{name}.{k}"] for name in layer.weights} for k, layer in enumerate(self.layers))
        made = (layer.with_weights(each) for layer, each in zip(self.layers, own, strict=True))
        return replace(self, layers=tuple(made))

    @property
    def settings(self) -> dict[str, Any]:
        """Those of each layer, and its cell's name."""
        return {"layers": [layer.settings | {"cell": type(layer).__name__.lower()} for layer in self.layers]}

    @property
    def hidden(self) -> int:
        return self.layers[-1].hidden

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def state_size(self) -> int:
        return sum(layer.state_size for layer in self.layers)

    def step(self, h: Float[Tensor, "M B n"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B n"]:
        return self.watched(h, x, unwatched)

    def watched(
        self, h: Float[Tensor, "M B n"], x: Float[Tensor, "M B I"] | None, look: Look
    ) -> Float[Tensor, "M B n"]:
        states = reversed(h.split([layer.state_size for layer in reversed(self.layers)], dim=-1))
        made: list[Tensor] = []
        for k, (layer, state) in enumerate(zip(self.layers, states, strict=True)):
            made.append(layer.watched(state, x, _numbered(look, k)))
            x = layer.visible(made[-1])
        return torch.cat(made[::-1], dim=-1)


def _numbered(look: Look, k: int) -> Look:
    """What sees the values of layer ``k`` by their names."""
    return lambda name, value: look(f"{name}.{k}", value)
