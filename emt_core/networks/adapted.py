"""Networks of your own, as analysis asks for them: a cell with ways in and out that this library does not know, or
nothing but functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.networks.cell import Network, rows
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.support.checks import integer
from emt_core.tasks.sequences import Sequences

Read = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Adapted(Network):
    """One network (M = 1) that :func:`emt_core.networks.from_torch` made of modules. As in a
    :class:`~emt_core.networks.TokenNetwork`, rows 0 … V − 1 of ``embedding`` are the tokens', row V starts the writing
    and row V + 1 is what is read later where nothing is fed back. ``read`` makes scores (B, C) of what is visible of
    states (B, N). If not ``started``, the first of what is written is read off the state that reading left, and nothing
    is fed before it."""

    embedding: Float[Tensor, "M W I"]
    read: Read
    autoregressive: bool = True
    started: bool = True

    def __post_init__(self) -> None:
        if self.cell.models != 1:
            raise ValueError(f"cell must have one model, got {self.cell.models}: choose one, as in cell[0]")
        want = (1, self.embedding.shape[1], self.cell.inputs)
        check_shapes(" to go with the cell", embedding=(self.embedding, want))

    @property
    def vocabulary(self) -> int:
        """V, how many tokens can be read."""
        return self.embedding.shape[1] - 2

    def step(self, h: Float[Tensor, "M B n"], inputs: Int[Tensor, "M B"]) -> Float[Tensor, "M B n"]:
        """The states after reading ``inputs``, rows of the embedding."""
        return self.cell.step(h, rows(self.embedding, inputs))

    def encode(self, sequences: Sequences) -> Float[Tensor, "M B n"]:
        """The state in which each sequence leaves the network, read from the state zero."""
        return self.trajectory(sequences)[:, -1]

    def trajectory(self, sequences: Sequences) -> Float[Tensor, "M L B n"]:
        """The states after each token read; a sequence that is over keeps its last one."""
        sequences = sequences.known(self.vocabulary, 1)
        h = self.cell.zero_state(sequences.tokens.shape[2])
        return self.cell.scan(self.embedding)(sequences.tokens, h, sequences.active)

    def read_out(self, h: Float[Tensor, "M B n"]) -> Float[Tensor, "M B C"]:
        """Scores in these states."""
        return self.read(self.cell.visible(h)[0])[None]

    @torch.no_grad()
    def write(self, h: Float[Tensor, "M B n"], length: int) -> Int[Tensor, "M L B"]:
        """The ``length`` tokens, or classes, written from ``h``, each the one with the largest score."""
        inputs, written = torch.full(h.shape[:2], self.vocabulary, device=h.device), []
        for k in range(integer("length", length, 1)):
            h = self.step(h, inputs) if k or self.started else h
            written.append(self.read_out(h).argmax(2))
            inputs = written[-1] if self.autoregressive else torch.full_like(inputs, self.vocabulary + 1)
        return torch.stack(written, dim=1)


class Functions:
    """A network (M = 1) given as functions, of batches as torch's users have them.

    Args:
        encode: tokens (B, L), integers, all of one length, to the states (B, n) in which they leave the network.
        write: states (B, n) and a number K to the K tokens, or classes, that are written from them (B, K).
        vocabulary: V, the number of tokens that can be read.
        run_on: states to the states after one more step without a new input (B, n), if there is such a step. Only what
            asks how the network runs on needs it: fixed points, kicks that die out or stay. Fixed points are sought in
            float64, with gradients: for them it must take float64 states and be made of torch's operations.
    """

    def __init__(
        self, *, encode: Callable[[Tensor], Tensor], write: Callable[[Tensor, int], Tensor], vocabulary: int,
        run_on: Callable[[Tensor], Tensor] | None = None,
    ) -> None:  # fmt: skip
        for name, function in {"encode": encode, "write": write, "run_on": run_on}.items():
            if not callable(function) and (name != "run_on" or function is not None):
                raise ValueError(f"{name} must be a function, got {type(function).__name__}")
        self._encode, self._write, self._run_on = encode, write, run_on
        self.vocabulary = integer("vocabulary", vocabulary, 2)

    @property
    def runs_on(self) -> bool:
        """Whether ``run_on`` was given."""
        return self._run_on is not None

    @torch.no_grad()
    def encode(self, sequences: Sequences) -> Float[Tensor, "M B n"]:
        """The states, each length read by itself."""
        sequences = sequences.known(self.vocabulary, 1)
        lengths, counts = torch.unique_consecutive(sequences.lengths[0], return_counts=True)
        groups = sequences.tokens[0].mT.split(counts.tolist())
        asked = [tokens[:, :length] for tokens, length in zip(groups, lengths.tolist(), strict=True)]
        found = [_answer("encode", self._encode(tokens), (len(tokens), None)) for tokens in asked]
        if len({h.shape[1] for h in found}) > 1:
            sizes = sorted({h.shape[1] for h in found})
            raise ValueError(f"encode must return states of one size n for sequences of every length, got {sizes}")
        return torch.cat(found)[None]

    @torch.no_grad()
    def write(self, h: Float[Tensor, "M B n"], length: int) -> Int[Tensor, "M L B"]:
        """What is written from ``h``."""
        length = integer("length", length, 1)
        written = _answer("write", self._write(h[0], length), (h.shape[1], length))
        if written.is_floating_point() or written.dtype == torch.bool:
            raise ValueError(f"write must return integers, got {written.dtype}: take the argmax of scores")
        return written.mT[None]

    def step(self, h: Float[Tensor, "M B n"]) -> Float[Tensor, "M B n"]:
        """One more step without a new input."""
        if self._run_on is None:
            raise ValueError("run_on must be given for this, got None")
        return _answer("run_on", self._run_on(h[0]), (h.shape[1], h.shape[2]))[None]


def _answer(name: str, x: Any, shape: tuple[int | None, ...]) -> Tensor:
    """What a function of the user's returned, if it has this shape (None: any)."""
    want = ", ".join("n" if size is None else str(size) for size in shape)
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must return a tensor of shape ({want}), got {type(x).__name__}")
    if x.ndim != len(shape) or any(size not in (None, got) for got, size in zip(x.shape, shape, strict=True)):
        raise ValueError(f"{name} must return a tensor of shape ({want}), got {tuple(x.shape)}")
    return x
