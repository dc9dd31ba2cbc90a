"""Networks that read and say something at every step: tokens or vectors in, scores or numbers out, for any task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.networks.cell import Cell, Generators, Network, rows, uniform
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.networks.tokens import TokenNetwork, both_or_neither, through_layer
from emt_core.support.checks import Self, integer
from emt_core.tasks.sequences import Sequences, each

Inputs = Sequences | Int[Tensor, "#M T B"] | Float[Tensor, "#M T B I"]  #: for every model, or the same for all


@dataclass(frozen=True, eq=False)
class Reader(Network):
    """M networks h_t = cell(h_{t−1}, x_t), whose input x_t is a vector, or the row of ``embedding`` that a token says.
    At every step they say W_out y + b_out, C numbers, where y is visible(h), or with a layer in between
    relu(W_m visible(h) + b_m), which lets the read-out of a linear recurrence be non-linear (Y = N without it)."""

    W_out: Float[Tensor, "M C Y"]
    b_out: Float[Tensor, "M C"]
    embedding: Float[Tensor, "M V I"] | None = None
    W_m: Float[Tensor, "M Y N"] | None = None
    b_m: Float[Tensor, "M Y"] | None = None

    def __post_init__(self) -> None:
        if self.W_out.ndim != 3:
            raise ValueError(f"W_out must have shape (M, C, Y), got {tuple(self.W_out.shape)}")
        both_or_neither(self.W_m, self.b_m)
        M, N, (_, C, _) = self.cell.models, self.hidden, self.W_out.shape
        Y = N if self.W_m is None else self.W_m.shape[1]
        want: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {"W_out": (self.W_out, (M, C, Y))}
        want |= {"b_out": (self.b_out, (M, C)), "W_m": (self.W_m, (M, Y, N)), "b_m": (self.b_m, (M, Y))}
        want |= {"embedding": (self.embedding, (M, self.vocabulary, self.cell.inputs))}
        check_shapes(" to go with the cell and W_out", **want)

    @classmethod
    def init(
        cls,
        cell: type[Cell],
        outputs: int,
        hidden: int,
        generators: Generators,
        *,
        vocabulary: int = 0,
        inputs: int | None = None,
        between: int = 0,
    ) -> Self:
        """One freshly drawn network per generator, float32, as PyTorch draws its modules: with a ``vocabulary``
        embeddings of I = ``inputs`` numbers (N if None) from N(0, 1), without one vectors of I = ``inputs`` numbers are
        read; then the cell; then W_out and b_out for C = ``outputs`` numbers from U(−1/√Y, 1/√Y), with a layer of Y =
        ``between`` numbers before (0: none), first W_m and b_m from U(−1/√N, 1/√N)."""
        hidden, outputs = integer("hidden", hidden, 1), integer("outputs", outputs, 1)
        vocabulary, between = integer("vocabulary", vocabulary, 0), integer("between", between, 0)
        if inputs is None and not vocabulary:
            raise ValueError("inputs must be given where vectors are read, got None without a vocabulary")
        inputs, sees = hidden if inputs is None else integer("inputs", inputs, 1), between or hidden
        shape = (vocabulary, inputs)
        table = [torch.randn(shape, generator=g, device=g.device) for g in each(generators)] if vocabulary else []
        drawn = cell.init(inputs, hidden, generators)
        layer = [uniform(shape, hidden**-0.5, generators) for shape in ((between, hidden), (between,)) if between]
        W_out, b_out = (uniform(shape, sees**-0.5, generators) for shape in ((outputs, sees), (outputs,)))
        return cls(drawn, W_out, b_out, torch.stack(table) if table else None, *layer)

    @property
    def vocabulary(self) -> int:
        """V, how many tokens can be read; 0 where vectors are."""
        return 0 if self.embedding is None else self.embedding.shape[1]

    @property
    def outputs(self) -> int:
        """C, how many numbers are said."""
        return self.W_out.shape[1]

    def step(
        self, h: Float[Tensor, "M B n"], inputs: Int[Tensor, "M B"] | Float[Tensor, "M B I"] | None = None
    ) -> Float[Tensor, "M B n"]:
        """The states after reading ``inputs``, tokens or vectors; without them the cell runs on its own."""
        if inputs is not None and self.embedding is not None:
            inputs = rows(self.embedding, inputs)
        return self.cell.step(h, inputs)

    def encode(self, inputs: Inputs, start: Float[Tensor, "M B n"] | None = None) -> Float[Tensor, "M B n"]:
        """The state in which each sequence leaves the network, read from the state ``start``, zero if not given."""
        return self.trajectory(inputs, start)[:, -1]

    def trajectory(self, inputs: Inputs, start: Float[Tensor, "M B n"] | None = None) -> Float[Tensor, "M T B n"]:
        """The states after each step, from the state ``start``, zero if not given; of
        :class:`~emt_core.tasks.sequences.Sequences`, one that is over keeps its last one."""
        table, places, active = self._tokens(inputs) if self.embedding is not None else self._vectors(inputs)
        zero = self.cell.zero_state(places.shape[2])
        if start is None:
            start = zero
        elif start.shape != zero.shape:
            raise ValueError(f"start must have shape {tuple(zero.shape)}, got {tuple(start.shape)}")
        return self.cell.scan(table)(places, start, active)

    def _tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor | None]:
        """Rows to read, which of them at each step (M, T, B), and how many sequences go on."""
        sequences = inputs if isinstance(inputs, Sequences) else Sequences.of_one_length(inputs)
        if sequences.largest >= self.vocabulary:
            raise ValueError(f"inputs must hold tokens in 0 … {self.vocabulary - 1}, got {sequences.largest}")
        sequences = sequences.expand(self.models)
        assert self.embedding is not None
        return self.embedding, sequences.tokens, sequences.active if isinstance(inputs, Sequences) else None

    def _vectors(self, inputs: Inputs) -> tuple[Tensor, Tensor, None]:
        """The same, every vector a row of its own."""
        M, size = self.models, self.cell.inputs
        got = "tokens" if isinstance(inputs, Sequences) else f"{inputs.dtype}, shape {tuple(inputs.shape)}"
        if isinstance(inputs, Sequences) or inputs.ndim != 4 or inputs.shape[3] != size or len(inputs) not in (1, M):
            raise ValueError(f"inputs must be vectors, shape ({M}, T, B, {size}), got {got}")
        steps, batch = inputs.shape[1:3]
        places = torch.arange(steps * batch, device=self.device).view(steps, batch)
        return inputs.to(self.W_out).expand(M, -1, -1, -1).flatten(1, 2), places.expand(M, -1, -1), None

    def says(self, inputs: Inputs, last: int = 0) -> Float[Tensor, "M K B C"]:
        """What is said while ``inputs`` are read, at every step (K = T) or at the ``last`` K."""
        return self.read_out(self.trajectory(inputs)[:, -last:])

    def read_out(self, states: Float[Tensor, "M *T B n"]) -> Float[Tensor, "M *T B C"]:
        """What is said in these states."""
        y = through_layer(self.cell.visible(states).flatten(1, -2), self.W_m, self.b_m)
        return torch.baddbmm(self.b_out[:, None], y, self.W_out.mT).unflatten(1, states.shape[1:-1])

    def writer(self, go: int, blank: int) -> TokenNetwork:
        """The same network as one that reads a sequence and then writes one, for the analysis of such: its tokens are
        0 … C − 1, which it both reads and says, and while it writes, it reads ``go`` once and then ``blank``."""
        if self.vocabulary < self.outputs:
            raise ValueError(
                f"model must read the {self.outputs} tokens that it writes, got a vocabulary of {self.vocabulary}"
            )
        for name, token in (("go", go), ("blank", blank)):
            if integer(name, token, 0) >= self.vocabulary:
                raise ValueError(f"{name} must be a token in 0 … {self.vocabulary - 1}, got {token}")
        assert self.embedding is not None
        embedding = self.embedding[:, [*range(self.outputs), go, blank]]
        return TokenNetwork(self.cell, embedding, self.W_out, self.b_out, False, self.W_m, self.b_m)
