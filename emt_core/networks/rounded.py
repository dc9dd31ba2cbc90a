"""A cell with a coarse memory: its state is rounded after every step, as where it is kept in a shorter format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks.cell import Cell, Generators
from emt_core.support import formats
from emt_core.support.checks import Self
from emt_core.support.formats import Format


@dataclass(frozen=True, eq=False)
class Rounded(Cell):
    """The state of ``cell``, rounded after every step to the nearest numbers of ``form``, a name in
    :data:`~emt_core.support.formats.FORMATS` or a format; with ``saturate`` too large ones to its largest. Arithmetic
    within a step stays that of the dtype. Gradients pass the rounding as if it were not there (the straight-through
    estimator of Bengio, Léonard and Courville, arXiv:1308.3432), and so does the Jacobian.

    It has the cell's weights by their names. Within a network: ``replace(model, cell=Rounded(model.cell, "bf16"))``.
    """

    cell: Cell
    form: str | Format
    saturate: bool = False

    def __post_init__(self) -> None:
        formats.format_of(self.form)  # names one that is unknown

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """Not drawn by itself: wrap a cell that is."""
        raise NotImplementedError("a rounded cell wraps one that was drawn, as in Rounded(GRU.init(…), 'bf16')")

    @property
    def weights(self) -> dict[str, Tensor]:
        return self.cell.weights

    def with_weights(self, weights: dict[str, Tensor]) -> Self:
        return type(self)(self.cell.with_weights(weights), self.form, self.saturate)

    @property
    def settings(self) -> dict[str, Any]:
        """The cell's, its name as ``rounds``, and how it is rounded."""
        own = {"form": formats.format_of(self.form).name, "saturate": self.saturate}
        return self.cell.settings | own | {"rounds": type(self.cell).__name__.lower()}

    @property
    def hidden(self) -> int:
        return self.cell.hidden

    @property
    def inputs(self) -> int:
        return self.cell.inputs

    @property
    def state_size(self) -> int:
        return self.cell.state_size

    def visible(self, h: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch N"]:
        return self.cell.visible(h)

    def step(self, h: Float[Tensor, "M B n"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B n"]:
        return _StraightThrough.apply(self.cell.step(h, x), self.form, self.saturate)

    def zero_state(self, batch: int) -> Float[Tensor, "M B n"]:
        return self.cell.zero_state(batch)


def unrounded(model: Any) -> Any:
    """The network as it is without the rounding of its cell: how a state is kept is no weight. Others as they are."""
    cell = getattr(model, "cell", None)
    return replace(model, cell=cell.cell) if isinstance(cell, Rounded) else model


class _StraightThrough(torch.autograd.Function):
    """Rounding whose derivative is the identity."""

    @staticmethod
    def forward(x, form, saturate):
        return formats.rounded(x, form, saturate=saturate)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None

    @staticmethod
    def jvp(ctx, tangent, *_):
        return tangent

    @staticmethod
    def vmap(info, in_dims, x, form, saturate):
        return _StraightThrough.apply(x, form, saturate), in_dims[0]  # number by number, wherever the axis is
