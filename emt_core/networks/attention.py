"""Networks that repeat tokens through attention: one Transformer reads, another writes (arXiv:1706.03762)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from emt_core.networks.cell import Ensemble, Generators, rows, uniform
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.networks.tokens import fed
from emt_core.support.checks import Self, integer
from emt_core.tasks.sequences import Sequences, each


@dataclass(frozen=True, eq=False)
class Attention(Ensemble):
    """M networks that read tokens, then write them, with two Transformers of width D, a reader and a writer, in this
    order along the axes of 2. Each has K blocks of causal attention and a layer of 4D rectified units, with a layer
    norm before both and after the last block, Q = 2K + 1 norms: position t sees positions up to t.

    Rows 0 … V − 1 of ``embedding`` (W = V + 2) are the tokens', row V ends the reading and starts the writing, and row
    V + 1 is "no input"; ``read_at`` and ``write_at`` are added at each position, and bound the length. An output y of
    the reader becomes a *memory* of N numbers, W_h y. Memories side by side are the whole state: with ``summary`` only
    that at row V, which is read after the last token, n = N; else those at all tokens, n = N times the longest length,
    zero beyond a sequence's end. The writer sees the memories through W_m, then row V, and then, if
    ``autoregressive``, the token just written, else row V + 1. Scores are W_o y + b_o of its outputs y.

    With one block a summary sees each token once, as Σ_t a_t W_v (e_t + p_t) per head, but for the layer norm: where a
    token stood can only be told from its weights a_t. Two blocks can write a token and its position as one first."""

    embedding: Float[Tensor, "M W D"]
    read_at: Float[Tensor, "M R D"]
    write_at: Float[Tensor, "M P D"]
    W_qkv: Float[Tensor, "M 2 K G D"]
    b_qkv: Float[Tensor, "M 2 K G"]
    W_att: Float[Tensor, "M 2 K D D"]
    b_att: Float[Tensor, "M 2 K D"]
    W_up: Float[Tensor, "M 2 K F D"]
    b_up: Float[Tensor, "M 2 K F"]
    W_down: Float[Tensor, "M 2 K D F"]
    b_down: Float[Tensor, "M 2 K D"]
    gain: Float[Tensor, "M 2 Q D"]
    shift: Float[Tensor, "M 2 Q D"]
    W_h: Float[Tensor, "M N D"]
    W_m: Float[Tensor, "M D N"]
    W_o: Float[Tensor, "M V D"]
    b_o: Float[Tensor, "M V"]
    autoregressive: bool = True
    summary: bool = True
    heads: int = 4

    def __post_init__(self) -> None:
        for name, axes in (("W_o", 3), ("W_h", 3), ("read_at", 3), ("W_qkv", 5)):
            if getattr(self, name).ndim != axes:
                raise ValueError(f"{name} must have {axes} axes, got shape {tuple(getattr(self, name).shape)}")
        (M, V, D), K = self.W_o.shape, self.W_qkv.shape[2]
        if self.heads < 1 or D % self.heads:
            raise ValueError(f"heads must divide the width {D}, got {self.heads}")
        if self.longest < 1 or K < 1:
            raise ValueError(f"read_at and W_qkv must have room for a token and a block, got {self.longest} and {K}")
        shapes = _shapes(V, self.hidden, self.longest, D, K, self.summary)
        wanted = {name: (getattr(self, name), (M, *shape)) for name, shape in shapes.items()}
        check_shapes(f" to go with W_o {(M, V, D)}", **wanted)

    @classmethod
    def init(
        cls, vocabulary: int, hidden: int, generators: Generators, autoregressive: bool = True, *,
        summary: bool = True, longest: int = 9, width: int = 64, blocks: int = 1, heads: int = 4,
    ) -> Self:  # fmt: skip
        """One freshly drawn network per generator, float32: embedding and positions normal with deviation 0.1, every
        other matrix as PyTorch draws ``nn.Linear``, U(−1/√I, 1/√I) with I the numbers it takes, biases 0, gains 1."""
        V, N, L = integer("vocabulary", vocabulary, 2), integer("hidden", hidden, 1), integer("longest", longest, 1)
        D, K, heads = integer("width", width, 1), integer("blocks", blocks, 1), integer("heads", heads, 1)
        drawn: dict[str, Tensor] = {}
        for name, shape in _shapes(V, N, L, D, K, summary).items():
            if name.startswith("W"):
                drawn[name] = uniform(shape, shape[-1] ** -0.5, generators)
            elif name in ("embedding", "read_at", "write_at"):
                # W_m h starts at about 0.3: positions of 1 would drown it, and learning begins slower
                normal = [torch.randn(shape, generator=g, device=g.device) for g in each(generators)]
                drawn[name] = 0.1 * torch.stack(normal)
            else:
                start = torch.full(shape, float(name == "gain"), device=generators[0].device)
                drawn[name] = start.repeat(len(generators), *(1 for _ in shape))
        return cls(**drawn, autoregressive=autoregressive, summary=summary, heads=heads)

    @property
    def vocabulary(self) -> int:
        """V, how many tokens there are."""
        return self.W_o.shape[1]

    @property
    def hidden(self) -> int:
        """N, the numbers in a memory."""
        return self.W_h.shape[1]

    @property
    def longest(self) -> int:
        """How many tokens can be read and written at most."""
        return self.read_at.shape[1] - int(self.summary)

    @property
    def memories(self) -> int:
        """How many memories a state holds."""
        return 1 if self.summary else self.longest

    @property
    def state_size(self) -> int:
        """n, the size of the whole state."""
        return self.memories * self.hidden

    def encode(self, sequences: Sequences) -> Float[Tensor, "M B n"]:
        """The state that each sequence leaves: all that :meth:`logits` and :meth:`write` know of it."""
        sequences = self._checked(sequences)
        tokens, lengths = sequences.tokens.mT, sequences.lengths.long()[..., None]
        if self.summary:
            tokens = functional.pad(tokens, (0, 1)).scatter(2, lengths, self.vocabulary)
        y = self._through(0, self._embedded(tokens) + self.read_at[:, None, : tokens.shape[2]])
        if self.summary:
            return linear(y.take_along_dim(lengths[..., None], 2), self.W_h)[:, :, 0]
        h = linear(y, self.W_h) * sequences.mask.mT[..., None]
        return functional.pad(h, (0, 0, 0, self.longest - h.shape[2])).flatten(2)

    def writing_inputs(self, sequences: Sequences) -> Int[Tensor, "M L B"]:
        """What the network reads while it writes ``sequences``, if it makes no mistake (teacher forcing)."""
        return fed(self._checked(sequences).tokens, self.vocabulary, self.autoregressive)

    def logits(self, h: Float[Tensor, "M B n"], sequences: Sequences) -> Float[Tensor, "M L B V"]:
        """Scores of the tokens at each step of writing ``sequences`` from ``h``, teacher-forced if autoregressive."""
        return self._scores(h, self.writing_inputs(sequences))

    @torch.no_grad()
    def write(self, h: Float[Tensor, "M B n"], length: int) -> Int[Tensor, "M L B"]:
        """The ``length`` tokens that the network writes from ``h`` by itself, each the one with the largest score."""
        if integer("length", length, 1) > self.longest:
            raise ValueError(f"length must be at most {self.longest}, got {length}")
        inputs = torch.full((self.models, 1, h.shape[1]), self.vocabulary, device=h.device)
        if not self.autoregressive:
            none = torch.full_like(inputs, self.vocabulary + 1)
            return self._scores(h, torch.cat([inputs, none.expand(-1, length - 1, -1)], dim=1)).argmax(3)
        for _ in range(length):
            best = self._scores(h, inputs)[:, -1:].argmax(3)
            inputs = torch.cat([inputs, best], dim=1)
        return inputs[:, 1:]

    def _scores(self, h: Tensor, inputs: Tensor) -> Float[Tensor, "M L B V"]:
        """Scores after each of the ``inputs`` (M, L, B), rows of the embedding."""
        check_shapes("", h=(h, (self.models, inputs.shape[2], self.state_size)))
        memories = linear(h.unflatten(2, (self.memories, self.hidden)), self.W_m)
        x = torch.cat([memories, self._embedded(inputs.mT)], dim=2)
        y = self._through(1, x + self.write_at[:, None, : x.shape[2]])[:, :, self.memories :]
        return linear(y, self.W_o, self.b_o).transpose(1, 2)

    def _embedded(self, tokens: Int[Tensor, "M B T"]) -> Float[Tensor, "M B T D"]:
        return rows(self.embedding, tokens.flatten(1)).unflatten(1, tokens.shape[1:])

    def _through(self, part: int, x: Float[Tensor, "M B T D"]) -> Float[Tensor, "M B T D"]:
        """What the reader, part 0, or the writer, part 1, makes of its inputs, by position."""
        W = {name: w[:, part].unbind(1) for name, w in self.weights.items() if w.ndim > 3}

        def norm(i: int) -> Tensor:
            gain, shift = (W[name][i][:, None, None] for name in ("gain", "shift"))
            return torch.addcmul(shift, functional.layer_norm(x, x.shape[3:]), gain)

        for k in range(len(W["W_qkv"])):
            seen = attention(linear(norm(2 * k), W["W_qkv"][k], W["b_qkv"][k]), self.heads)
            x = x + linear(seen, W["W_att"][k], W["b_att"][k])
            up = torch.relu(linear(norm(2 * k + 1), W["W_up"][k], W["b_up"][k]))
            x = x + linear(up, W["W_down"][k], W["b_down"][k])
        return norm(-1)

    def _checked(self, sequences: Sequences) -> Sequences:
        """The sequences for every model, if they are of this vocabulary and not too long."""
        known = sequences.known(self.vocabulary, self.models)
        if sequences.tokens.shape[1] > self.longest:
            raise ValueError(f"sequences must have L of at most {self.longest}, got {sequences.tokens.shape[1]}")
        return known


def attention(qkv: Float[Tensor, "M B T G"], heads: int) -> Float[Tensor, "M B T D"]:
    """Causal attention: what each position takes from those up to it, softmax(q kᵀ / √e) v in each of ``heads`` of
    e = D / heads numbers. Queries, keys and values are side by side, G = 3D, as in ``torch.nn.MultiheadAttention``."""
    q, k, v = qkv.unflatten(3, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5)  # each (M, B, heads, T, e)
    later = torch.ones(q.shape[3], q.shape[3], dtype=torch.bool, device=q.device).triu(1)
    scores = (q @ k.mT * q.shape[4] ** -0.5).masked_fill(later, -torch.inf)
    return (scores.softmax(4) @ v).transpose(2, 3).flatten(3)


def linear(x: Float[Tensor, "M B T I"], W: Float[Tensor, "M O I"], b: Float[Tensor, "M O"] | None = None) -> Tensor:
    """W x + b, (M, B, T, O), with each model's own weights; without ``b`` W x."""
    flat = x.flatten(1, 2)
    y = flat @ W.mT if b is None else torch.baddbmm(b[:, None], flat, W.mT)
    return y.unflatten(1, x.shape[1:3])


def _shapes(V: int, N: int, L: int, D: int, K: int, summary: bool) -> dict[str, tuple[int, ...]]:
    """Of each tensor, but for the axis of models."""
    shapes: dict[str, tuple[int, ...]] = {"embedding": (V + 2, D)}
    shapes |= {"read_at": (L + summary, D), "write_at": (L + (1 if summary else L), D)}
    for name, out, into in (("qkv", 3 * D, D), ("att", D, D), ("up", 4 * D, D), ("down", D, 4 * D)):
        shapes |= {f"W_{name}": (2, K, out, into), f"b_{name}": (2, K, out)}
    shapes |= {"gain": (2, 2 * K + 1, D), "shift": (2, 2 * K + 1, D)}
    return shapes | {"W_h": (N, D), "W_m": (D, N), "W_o": (V, D), "b_o": (V,)}
