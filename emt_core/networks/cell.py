"""The contract of a recurrent cell, and what all cells have in common.

A cell is a frozen dataclass of tensors with a leading axis for M models, and a pure step from state (M, B, n) and
input (M, B, I) to state. ``n`` counts the whole state as one flat vector; the first ``hidden`` = N of it are *visible*,
what a read-out sees. A new cell is a file beside ``gru.py`` and an entry in :data:`emt_core.networks.CELLS`:

    class Name(Cell):                          fields: the tensors, then settings that are no tensors
        module = torch.nn.LSTM                 torch's module with the same weights, if there is one
        init(inputs, hidden, generators)       freshly drawn, one model per generator
        hidden, inputs, state_size             N, I and n
        step(h, x)                             x None: no input, the same as zeros

Optional: :meth:`Cell.scan`, where a fast kernel goes through many steps at once; it is tested against ``step``.
:meth:`Cell.watched`, where a step has parts that others may want to see and to edit; ``step`` is then made of it. And
``undecayed``, the names of the tensors that weight decay must leave alone: rates and phases, of which zero is not less.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import jacrev, vmap

from emt_core.networks.kernels.shapes import check_shapes
from emt_core.support.checks import Self, integer
from emt_core.tasks.sequences import each

Generators = Sequence[torch.Generator]  #: one a model
Scan = Callable[..., Tensor]  #: what :meth:`Cell.scan` makes
Look = Callable[[str, Tensor], Tensor]  #: who sees a named value, and says what is used in its place


class Ensemble:
    """M models as a dataclass of tensors whose first axis is the models: what cells and whole networks share."""

    @property
    def weights(self) -> dict[str, Tensor]:
        """All tensors by name, each (M, …)."""
        return {name: value for name, value in self._fields().items() if isinstance(value, Tensor)}

    def with_weights(self, weights: dict[str, Tensor]) -> Self:
        """The same with other tensors, as named by :attr:`weights`."""
        return replace(self, **weights)  # type: ignore[type-var]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides what the models do apart from their tensors."""
        return {name: value for name, value in self._fields().items() if not isinstance(value, Tensor | None)}

    def _fields(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    @property
    def models(self) -> int:
        return next(iter(self.weights.values())).shape[0]

    @property
    def device(self) -> torch.device:
        return next(iter(self.weights.values())).device

    def __getitem__(self, index: Any) -> Self:
        """The chosen models, as an ensemble of their own: ``model[3]`` has M = 1. Integers of any kind, slices, lists
        of numbers, masks."""
        mask = isinstance(index, Tensor) and index.dtype == torch.bool  # torch takes a mask of one model for a number
        try:
            pick = index if mask else [operator.index(index)]  # Python's, NumPy's and torch's integers
        except TypeError:
            pick = list(index) if isinstance(index, tuple) else index  # a tuple would index several axes at once
        return self.with_weights({name: w[pick] for name, w in self.weights.items()})

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same models on another device or in another dtype, as in ``Tensor.to``."""
        return self.with_weights({name: w.to(*args, **kwargs) for name, w in self.weights.items()})

    def detach(self) -> Self:
        """The same models without their gradients' history."""
        return self.with_weights({name: w.detach() for name, w in self.weights.items()})

    def __eq__(self, other: object) -> bool:
        """The same kind, the same settings, and equal tensors."""
        if type(self) is not type(other) or not isinstance(other, Ensemble):
            return False  # whatever it is: older NumPy would make an array of the answer
        mine, theirs = self.weights, other.weights
        same = self.settings == other.settings and mine.keys() == theirs.keys()
        return same and all(torch.equal(w, theirs[name]) for name, w in mine.items())

    __hash__ = None  # type: ignore[assignment]


def together(ensembles: Iterable[Ensemble]) -> Any:
    """All models of several ensembles as one, in their order: what indexing takes apart. Small networks run faster side
    by side than in turn.

    Raises:
        ValueError: no ensembles, or of different kinds, settings or sizes.
    """
    parts = list(ensembles)
    kinds = {(type(part), repr(part.settings), *((k, *w.shape[1:]) for k, w in part.weights.items())) for part in parts}
    if len(kinds) != 1:
        raise ValueError(f"ensembles must be of one kind with equal settings and sizes, at least one, got {len(kinds)}")
    return parts[0].with_weights({k: torch.cat([part.weights[k] for part in parts]) for k in parts[0].weights})


class Cell(Ensemble, ABC):
    """A recurrent cell; see the module."""

    module: ClassVar[type[torch.nn.Module] | None] = None
    undecayed: ClassVar[tuple[str, ...]] = ()  #: weights that weight decay must leave alone, rates and phases

    @classmethod
    @abstractmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """Freshly drawn cells for ``inputs`` = I numbers, one per generator, float32, as PyTorch draws its modules, or
        as the cell's authors do if torch has none."""

    @property
    @abstractmethod
    def hidden(self) -> int:
        """N, the size of the visible state."""

    @property
    @abstractmethod
    def inputs(self) -> int:
        """I, the size of an input."""

    @property
    def state_size(self) -> int:
        """n, the size of the whole state."""
        return self.hidden

    @abstractmethod
    def step(self, h: Float[Tensor, "M B n"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B n"]:
        """One step of the recurrence; without ``x`` the cell runs on its own."""

    def watched(
        self, h: Float[Tensor, "M B n"], x: Float[Tensor, "M B I"] | None, look: Look
    ) -> Float[Tensor, "M B n"]:
        """:meth:`step`, in which every named quantity goes through ``look(name, value)`` as soon as it is computed, and
        what that returns, of the same shape, is used in its place: a gate that was edited acts on the state. Names are
        those of the cell's equations; here ``"h"`` alone, the whole new state (M, B, n)."""
        return look("h", self.step(h, x))

    def visible(self, h: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch N"]:
        """The part of the state that a read-out sees."""
        return h[..., : self.hidden]

    def scan(self, table: Float[Tensor, "M W I"]) -> Scan:
        """A function ``(tokens, h, active=None) -> states`` (M, T, B, n): those after each of T steps from ``h``
        (M, B, n), the input at a step the row of ``table`` that ``tokens`` (M, T, B) says. At step t only the first
        ``active[:, t]`` sequences move (all if not given), the others keep their state."""
        return stepwise(self.step, table)

    def zero_state(self, batch: int) -> Float[Tensor, "M B n"]:
        """The state in which reading begins."""
        return next(iter(self.weights.values())).new_zeros(self.models, batch, self.state_size)

    def jacobian(
        self, h: Float[Tensor, "M n"] | None = None, x: Float[Tensor, "M I"] | None = None
    ) -> Float[Tensor, "M n n"]:
        """∂h'/∂h of one step at the states ``h`` (zero if not given) with the inputs ``x`` (none if not given): the
        linear map that each cell is, close to a state. By autograd.
        Zero is a fixed point of an Elman network without biases, and its Jacobian there is W_hh (tanh′(0) = 1)."""
        h = self.zero_state(1)[:, 0] if h is None else h
        check_shapes("", h=(h, (self.models, self.state_size)), x=(x, (self.models, self.inputs)))

        def step(weights: dict[str, Tensor], h: Tensor, x: Tensor | None) -> Tensor:
            alone = self.with_weights({name: w[None] for name, w in weights.items()})
            return alone.step(h[None, None], None if x is None else x[None, None])[0, 0]

        return vmap(jacrev(step, argnums=1), in_dims=(0, 0, None if x is None else 0))(self.weights, h, x)

    @classmethod
    def of_weights(cls, module: torch.nn.Module, weights: list[Tensor]) -> Self:
        """The cell (M = 1) of a layer of torch's ``module`` with these weights, in torch's order and without biases if
        it has none; see :func:`emt_core.networks.from_torch`."""
        raise NotImplementedError

    def to_module(self) -> torch.nn.Module:
        """torch's module of this cell (M = 1); see :func:`emt_core.networks.to_torch`."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class GatedCell(Cell):
    """A cell with the weights of one of torch's: ``blocks`` of N rows, stacked in torch's order, G = blocks · N."""

    W_ih: Float[Tensor, "M G I"]
    W_hh: Float[Tensor, "M G N"]
    b_ih: Float[Tensor, "M G"]
    b_hh: Float[Tensor, "M G"]

    blocks: ClassVar[int]

    def __post_init__(self) -> None:
        if self.W_hh.ndim != 3 or self.W_hh.shape[1] != self.blocks * self.W_hh.shape[2]:
            raise ValueError(f"W_hh must have shape (M, {self.blocks}·N, N), got {tuple(self.W_hh.shape)}")
        G, beside = tuple(self.W_hh.shape[:2]), f" to go with W_hh {tuple(self.W_hh.shape)}"
        check_shapes(beside, W_ih=(self.W_ih, (*G, self.W_ih.shape[-1])), b_ih=(self.b_ih, G), b_hh=(self.b_hh, G))

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """U(−1/√N, 1/√N) for every weight, as PyTorch draws its module."""
        inputs, hidden = integer("inputs", inputs, 1), integer("hidden", hidden, 1)
        size = cls.blocks * hidden
        return cls(*(uniform(s, hidden**-0.5, generators) for s in ((size, inputs), (size, hidden), (size,), (size,))))

    @property
    def hidden(self) -> int:
        return self.W_hh.shape[2]

    @property
    def inputs(self) -> int:
        return self.W_ih.shape[2]

    @classmethod
    def of_weights(cls, module: torch.nn.Module, weights: list[Tensor]) -> Self:
        none = weights[1].new_zeros(len(weights[1]))  # in the order of our fields; without biases only two
        return cls(*(w[None] for w in weights + [none] * (4 - len(weights))))

    def to_module(self) -> torch.nn.Module:
        assert self.module is not None
        made = self.module(self.inputs, self.hidden, dtype=self.W_hh.dtype, device=self.device)
        made.load_state_dict(dict(zip(made.state_dict(), (w[0] for w in self.weights.values()), strict=True)))
        return made


@dataclass(frozen=True, eq=False)
class Network(Ensemble):
    """A cell with a way in and a way out, whose tensors the subclasses hold."""

    cell: Cell

    @property
    def weights(self) -> dict[str, Tensor]:
        return self.cell.weights | super().weights

    def with_weights(self, weights: dict[str, Tensor]) -> Self:
        mine = {name: weights[name] for name in super().weights}
        own = {name: w for name, w in weights.items() if name not in mine}
        return replace(self, cell=self.cell.with_weights(own), **mine)

    @property
    def settings(self) -> dict[str, Any]:
        return self.cell.settings | super().settings | {"cell": type(self.cell).__name__.lower()}

    @property
    def hidden(self) -> int:
        """N, the size of the visible state."""
        return self.cell.hidden

    @property
    def state_size(self) -> int:
        """n, the size of the whole state."""
        return self.cell.state_size


def unwatched(name: str, value: Tensor) -> Tensor:
    """The :data:`Look` that leaves every value as it is."""
    return value


def uniform(shape: tuple[int, ...], bound: float, generators: Generators) -> Float[Tensor, "M ..."]:
    """One tensor from U(−bound, bound) per generator."""
    drawn = [torch.empty(shape, device=g.device).uniform_(-bound, bound, generator=g) for g in each(generators)]
    return torch.stack(drawn)


def rows(table: Float[Tensor, "M K N"], chosen: Int[Tensor, "M B"]) -> Float[Tensor, "M B N"]:
    """Rows of each model's table."""
    return torch.stack([own[i] for own, i in zip(table, chosen.long(), strict=True)])


def stepwise(step: Callable[[Tensor, Tensor], Tensor], table: Float[Tensor, "M W I"]) -> Scan:
    """What :meth:`Cell.scan` makes, one ``step(h, row)`` after the other."""

    def states(tokens: Tensor, h: Tensor, active: Tensor | None = None) -> Tensor:
        batch, found = torch.arange(tokens.shape[2], device=h.device), []
        read = rows(table, tokens.flatten(1)).unflatten(1, tokens.shape[1:])  # at once: a gradient the size of table
        for t, row in enumerate(read.unbind(1)):
            new = step(h, row)
            h = new if active is None else torch.where((batch < active[:, t, None])[..., None], new, h)
            found.append(h)
        return torch.stack(found, dim=1) if found else h[:, None][:, :0]

    return states
