"""What analysis asks of a network that reads tokens. Whoever has these can be looked into: the library's networks,
those that :func:`emt_core.networks.from_torch` adapts, and :class:`emt_core.networks.Functions` of your own."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from emt_core.tasks.sequences import Sequences


@runtime_checkable
class Encodes(Protocol):
    """Reads sequences of tokens 0 … V − 1, V = ``vocabulary``, into states."""

    @property
    def vocabulary(self) -> int: ...

    def encode(self, sequences: Sequences) -> Float[Tensor, "M B n"]:
        """The state in which each sequence leaves the network."""
        ...


@runtime_checkable
class Writes(Encodes, Protocol):
    """And writes ``length`` tokens, or classes, from states, by itself."""

    def write(self, h: Float[Tensor, "M B n"], length: int) -> Int[Tensor, "M L B"]: ...
