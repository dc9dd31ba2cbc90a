"""Networks that repeat tokens with a code that is written down: where a probe or an edit is known to have something to
find, and where its failure says nothing of the code. ``subspaces`` and ``onion`` make one each.

The state is a sum of layers, one for each token read, and a clock that counts the positions. While the network writes,
each step takes off the layer of the token that it is fed and moves all others one position outwards. A network that is
fed its own output so reads any of these codes by peeling; without input it can read subspaces only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks.cell import Cell, Generators, Scan, rows
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.networks.tokens import TokenNetwork
from emt_core.support.checks import Self, integer, number
from emt_core.support.random_streams import stream
from emt_core.tasks.sequences import Sequences
from emt_core.theory import codes
from emt_core.theory.onion import hand_built as embeddings

MANY = 22  # digits of the number of a corner, up to which all of them are shuffled
TICK = 0.01  #: by how much the clock moves with each token, too little to matter to a probe that reads all units


@dataclass(frozen=True, eq=False)
class Storing(Cell):
    """A cell that stores and peels. State: N units of code and a clock, n = N + 1. Input: V numbers, one-hot, and one
    that says "write now", I = V + 1; all zeros is no input.

    While it reads, token v at position p adds ``layers[p, v]`` and the clock goes up by TICK. "Write now" turns the
    clock to −TICK. From then on h ← (h − layers[0, v]) ``onward``.
    """

    layers: Float[Tensor, "M L V N"]
    onward: Float[Tensor, "M N N"]

    def __post_init__(self) -> None:
        M, _, _, N = self.layers.shape
        check_shapes(" to go with the layers", onward=(self.onward, (M, N, N)))

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        raise NotImplementedError("a code is written down, not drawn: see subspaces and onion")

    @property
    def hidden(self) -> int:
        return self.layers.shape[3]

    @property
    def inputs(self) -> int:
        return self.layers.shape[2] + 1

    @property
    def state_size(self) -> int:
        return self.hidden + 1

    def step(self, h: Float[Tensor, "M B n"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B n"]:
        x = h.new_zeros(*h.shape[:2], self.inputs) if x is None else x
        return self._moved(h, torch.einsum("mbv,mlvn->mbln", x[..., :-1], self.layers), x[..., -1:])

    def scan(self, table: Float[Tensor, "M W I"]) -> Scan:
        """As :meth:`step`, with the products of the layers and each row of the table made once."""
        ready = torch.einsum("mwv,mlvn->mwln", table[..., :-1], self.layers).flatten(2)

        def states(tokens: Tensor, h: Tensor, active: Tensor | None = None) -> Tensor:
            batch, found = torch.arange(tokens.shape[2], device=h.device), []
            for t in range(tokens.shape[1]):
                added = rows(ready, tokens[:, t]).unflatten(2, self.layers.shape[1::2])
                new = self._moved(h, added, rows(table[..., -1:], tokens[:, t]))
                h = new if active is None else torch.where((batch < active[:, t, None])[..., None], new, h)
                found.append(h)
            return torch.stack(found, dim=1) if found else h[:, None][:, :0]

        return states

    def _moved(self, h: Tensor, added: Float[Tensor, "M B L N"], start: Float[Tensor, "M B 1"]) -> Tensor:
        """The next states; ``added`` is what the token would add at each position."""
        code, clock = h[..., : self.hidden], h[..., self.hidden :]
        position = (clock / TICK).round().long().clamp(0, added.shape[2] - 1)
        at = position[..., None].expand(-1, -1, 1, self.hidden)
        read = torch.cat([code + added.gather(2, at)[:, :, 0], clock + TICK], dim=2)
        # what moves outwards is without the layer just written
        written = torch.cat([(code - added[:, :, 0]) @ self.onward, clock], dim=2)
        begun = torch.cat([code, torch.full_like(clock, -TICK)], dim=2)
        return torch.where(start > 0, begun, torch.where(clock < 0, written, read))


@dataclass(frozen=True, eq=False)
class HandBuilt(TokenNetwork):
    """A network whose last state has, like those that learned, a *rest* that no sum of layers explains:
    K sines of sums of a phase for each token and position, along the rows of ``rest``. Phases are drawn from the whole
    circle, so that where many tokens are added a single one says next to nothing of the sum."""

    phases: Float[Tensor, "M L V K"] = field(kw_only=True)
    rest: Float[Tensor, "M K n"] = field(kw_only=True)

    def encode(self, sequences: Sequences) -> Float[Tensor, "M B n"]:
        h, read = super().encode(sequences), sequences.known(self.vocabulary, self.models)
        angle = h.new_zeros(*h.shape[:2], self.rest.shape[1])
        for p, there in enumerate(read.mask.unbind(1)):
            angle = angle + rows(self.phases[:, p], read.tokens[:, p]) * there[..., None]
        return h + angle.sin() @ self.rest


def subspaces(
    units: int, vocabulary: int = 30, longest: int = 9, *, rest: float | int = 0.05, directions: int = 4,
    seed: int = 0, autoregressive: bool = True,
) -> HandBuilt:  # fmt: skip
    """A code in which each position has ⌊N / L⌋ directions of its own, N = ``units``, turned at random; all layers are
    equally large. Tokens are different corners of a cube. ``rest``: its share of the variance, in so many
    ``directions``; what is drawn is ``seed``'s.

    Raises:
        ValueError: too few units to tell the tokens apart in every position.
    """
    width = integer("units", units, 1) // integer("longest", longest, 1)
    if 2**width < vocabulary:
        raise ValueError(f"units must be at least {longest} times log2(vocabulary), rounded up, got {units}")
    draw = stream(seed, "hand-built code")
    if width <= MANY:
        corners = torch.randperm(2**width, generator=draw)[:vocabulary]
        signs = 2.0 * (corners[:, None] >> torch.arange(width) & 1) - 1
    else:  # too many to shuffle them, and so many that no two of those drawn are alike
        signs = 2.0 * torch.randint(2, (vocabulary, width), generator=draw) - 1
    turn = torch.linalg.qr(torch.randn(units, units, generator=draw, dtype=torch.float64)).Q
    made = codes.layers(signs.double(), longest, width, 1)
    return _network(made @ turn[: longest * width], draw, rest, directions, autoregressive)


def onion(
    units: int, vocabulary: int = 30, longest: int = 9, *, gamma: tuple[float | int, float | int] = (0.5, 0.95),
    rest: float | int = 0.05, directions: int = 4, seed: int = 0, autoregressive: bool = True,
) -> HandBuilt:  # fmt: skip
    """A code in which all positions share all units, ℓ_p(v) = γ^p ⊙ e(v): tokens are random vectors, and each unit has
    a γ of its own, log-uniform between two ends. Where both are equal, a position is one number, and few layers can be
    told apart unless it falls fast. The other arguments are those of :func:`subspaces`."""
    units, longest = integer("units", units, 1), integer("longest", longest, 1)
    low, high = (number("gamma", end, positive=True) for end in gamma)
    if not low <= high <= 1:
        raise ValueError(f"gamma must be two numbers in order, at most 1, got {gamma}")
    draw = stream(seed, "hand-built code")
    factor = low * (high / low) ** torch.rand(units, generator=draw, dtype=torch.float64)
    e = embeddings(vocabulary, units, 0.5, "random", seed).embedding
    powers = factor ** torch.arange(longest, dtype=torch.float64)[:, None, None]
    return _network((e - e.mean(0)) * powers, draw, rest, directions, autoregressive)


def _network(
    layers: Float[Tensor, "L V N"], draw: torch.Generator, rest: float | int, directions: int, autoregressive: bool
) -> HandBuilt:
    """The network, in float32, that stores by these layers; the first one is as large as 1, root mean square."""
    rest, directions = number("rest", rest, positive=False), integer("directions", directions, 1)
    if not 0 <= rest < 1:
        raise ValueError(f"rest must be at least 0 and below 1, got {rest}")
    layers = layers / layers[0].square().sum(1).mean().sqrt()
    L, V, N = layers.shape
    embedding = torch.eye(V + 2, V + 1)
    embedding[V + 1] = 0
    across = torch.linalg.qr(torch.randn(N, directions, generator=draw, dtype=torch.float64)).Q.mT
    variance = layers.square().sum(2).mean(1).sum() * rest / (1 - rest)
    across = across * (2 * variance / directions).sqrt()  # a sine's mean square is a half
    phases = 2 * torch.pi * torch.rand(L, V, directions, generator=draw, dtype=torch.float64)
    # the best linear reader of the outermost layer, to which all others and the rest are noise (Fisher's discriminant)
    noise = torch.einsum("lvi,lvj->ij", layers[1:], layers[1:]) / V + across.mT @ across / 2
    scores = torch.linalg.solve(noise + 1e-3 * torch.eye(N, dtype=noise.dtype), layers[0].mT).mT
    offset = -(scores * layers[0]).sum(1) / 2
    inner, outer = layers[1:].flatten(0, 1), layers[:-1].flatten(0, 1)
    onward = torch.linalg.pinv(inner, rtol=1e-9) @ outer if L > 1 else noise
    across = torch.cat([across, torch.zeros(directions, 1)], dim=1)  # the clock is left alone
    cell = Storing(layers=layers[None].float(), onward=onward[None].float())
    return HandBuilt(
        cell, embedding[None], scores[None].float(), offset[None].float(), autoregressive,
        phases=phases[None].float(), rest=across[None].float(),
    )  # fmt: skip
