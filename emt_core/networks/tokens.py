"""Networks that read a sequence of tokens, then write one: an embedding, a cell, a read-out (arXiv:2408.10920)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emt_core.networks.cell import Cell, Generators, Network, rows, uniform
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.support.checks import Self, integer
from emt_core.tasks.sequences import Sequences, each


@dataclass(frozen=True, eq=False)
class TokenNetwork(Network):
    """M networks that read tokens, then write them. Rows 0 … V − 1 of ``embedding`` (W = V + 2) are the tokens', row V
    starts the writing, and row V + 1 is "no input". Writing starts from the state after the last token read: the first
    input is row V, and then, if ``autoregressive``, the token just written, else row V + 1. Scores are
    W_o y + b_o, where y is visible(h), or with a layer in between relu(W_m visible(h) + b_m), which lets the read-out
    of a linear recurrence be non-linear (Y = N without it)."""

    embedding: Float[Tensor, "M W I"]
    W_o: Float[Tensor, "M V Y"]
    b_o: Float[Tensor, "M V"]
    autoregressive: bool = True
    W_m: Float[Tensor, "M Y N"] | None = None
    b_m: Float[Tensor, "M Y"] | None = None

    def __post_init__(self) -> None:
        if self.W_o.ndim != 3:
            raise ValueError(f"W_o must have shape (M, V, Y), got {tuple(self.W_o.shape)}")
        both_or_neither(self.W_m, self.b_m)
        M, V = self.cell.models, self.vocabulary
        Y = self.hidden if self.W_m is None else self.W_m.shape[1]
        W_o, b_o = (self.W_o, (M, V, Y)), (self.b_o, (M, V))
        layer = {"W_m": (self.W_m, (M, Y, self.hidden)), "b_m": (self.b_m, (M, Y))}
        embedding = self.embedding, (M, V + 2, self.cell.inputs)
        check_shapes(" to go with the cell and W_o", W_o=W_o, b_o=b_o, embedding=embedding, **layer)

    @classmethod
    def init(
        cls,
        cell: type[Cell],
        vocabulary: int,
        hidden: int,
        generators: Generators,
        autoregressive: bool = True,
        *,
        inputs: int | None = None,
        between: int = 0,
    ) -> Self:
        """One freshly drawn network per generator, float32, as PyTorch draws its modules: embeddings of I = ``inputs``
        numbers (N if None) from N(0, 1), then the cell, then W_o and b_o from U(−1/√Y, 1/√Y); with a layer of Y =
        ``between`` numbers before the read-out (0: none), first W_m and b_m from U(−1/√N, 1/√N)."""
        hidden, vocabulary = integer("hidden", hidden, 1), integer("vocabulary", vocabulary, 2)
        inputs, between = hidden if inputs is None else integer("inputs", inputs, 1), integer("between", between, 0)
        shape = (vocabulary + 2, inputs)
        embedding = torch.stack([torch.randn(shape, generator=g, device=g.device) for g in each(generators)])
        drawn, sees = cell.init(inputs, hidden, generators), between or hidden
        layer = [uniform(shape, hidden**-0.5, generators) for shape in ((between, hidden), (between,)) if between]
        W_o, b_o = (uniform(shape, sees**-0.5, generators) for shape in ((vocabulary, sees), (vocabulary,)))
        return cls(drawn, embedding, W_o, b_o, autoregressive, *layer)

    @property
    def weights(self) -> dict[str, Tensor]:
        return {"embedding": self.embedding} | super().weights  # from the way in to the way out

    @property
    def vocabulary(self) -> int:
        """V, how many tokens there are."""
        return self.W_o.shape[1]

    def step(self, h: Float[Tensor, "M B n"], inputs: Int[Tensor, "M B"]) -> Float[Tensor, "M B n"]:
        """The states after reading ``inputs``, rows of the embedding."""
        return self.cell.step(h, rows(self.embedding, inputs))

    def encode(self, sequences: Sequences) -> Float[Tensor, "M B n"]:
        """The state in which each sequence leaves the network, read from the state zero."""
        return self.trajectory(sequences)[:, -1]

    def trajectory(self, sequences: Sequences) -> Float[Tensor, "M L B n"]:
        """The states after each token read; a sequence that is over keeps its last one."""
        sequences = sequences.known(self.vocabulary, self.models)
        h = self.cell.zero_state(sequences.tokens.shape[2])
        return self.cell.scan(self.embedding)(sequences.tokens, h, sequences.active)

    def writing_inputs(self, sequences: Sequences) -> Int[Tensor, "M L B"]:
        """What the network reads while it writes ``sequences``, if it makes no mistake (teacher forcing)."""
        return fed(sequences.known(self.vocabulary, self.models).tokens, self.vocabulary, self.autoregressive)

    def logits(self, h: Float[Tensor, "M B n"], sequences: Sequences) -> Float[Tensor, "M L B V"]:
        """Scores of the tokens at each step of writing ``sequences`` from ``h``, teacher-forced if autoregressive."""
        inputs, active = self.writing_inputs(sequences), sequences.expand(self.models).active
        return self.read_out(self.cell.scan(self.embedding)(inputs, h, active))

    def read_out(self, states: Float[Tensor, "M L B n"]) -> Float[Tensor, "M L B V"]:
        """Scores of the tokens in these states."""
        y = through_layer(self.cell.visible(states).flatten(1, 2), self.W_m, self.b_m)
        return torch.baddbmm(self.b_o[:, None], y, self.W_o.mT).unflatten(1, states.shape[1:3])

    @torch.no_grad()
    def write(self, h: Float[Tensor, "M B n"], length: int) -> Int[Tensor, "M L B"]:
        """The ``length`` tokens that the network writes from ``h`` by itself, each the one with the largest score."""
        scan = self.cell.scan(self.embedding)
        inputs = torch.full((self.models, 1, h.shape[1]), self.vocabulary, device=h.device)
        written = []
        for _ in range(integer("length", length, 1)):
            states = scan(inputs, h)
            h = states[:, 0]
            written.append(self.read_out(states).argmax(3))
            inputs = written[-1] if self.autoregressive else torch.full_like(inputs, self.vocabulary + 1)
        return torch.cat(written, dim=1)


def both_or_neither(W_m: Tensor | None, b_m: Tensor | None) -> None:
    """Whether a layer before a read-out is whole."""
    if (W_m is None) is not (b_m is None):
        raise ValueError(f"W_m and b_m must both be given or neither, got {'b_m' if W_m is None else 'W_m'} alone")


def through_layer(
    y: Float[Tensor, "M P N"], W_m: Float[Tensor, "M Y N"] | None, b_m: Float[Tensor, "M Y"] | None
) -> Float[Tensor, "M P Q"]:
    """relu(W_m y + b_m), or y itself where there is no such layer."""
    return y if W_m is None or b_m is None else torch.baddbmm(b_m[:, None], y, W_m.mT).relu()


def fed(tokens: Int[Tensor, "M L B"], vocabulary: int, autoregressive: bool) -> Int[Tensor, "M L B"]:
    """What is read while ``tokens`` are written: row V = ``vocabulary`` of an embedding, and then, if autoregressive,
    the token before, else row V + 1."""
    start = torch.full_like(tokens[:, :1], vocabulary)
    later = tokens[:, :-1] if autoregressive else torch.full_like(tokens[:, 1:], vocabulary + 1)
    return torch.cat([start, later], dim=1)


def right_tokens(written: Int[Tensor, "M L B"], sequences: Sequences) -> Bool[Tensor, "M L B"]:
    """Which tokens are those of ``sequences``; True beyond a sequence's end, so that ``.all(1)`` is exact match."""
    return (written == sequences.tokens) | ~sequences.mask
