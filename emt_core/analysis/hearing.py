"""Does a network hear its own output? Feed it one wrong token while it writes, and see what becomes of those after.

A network that peels takes off the layer of the token that it is fed. Of a wrong one it takes off a layer that was never
there, and leaves the right one in. A reader with the network's measured layers can do the same, so that it predicts not
only that later tokens are wrong but which ones are written. :func:`wrong_words` is both, of any network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.analysis import readers
from emt_core.networks import TokenNetwork
from emt_core.support.checks import integer
from emt_core.tasks import Sequences


@torch.no_grad()
def written(
    model: TokenNetwork, tokens: Int[Tensor, "L B"], fed: Int[Tensor, "M L B"] | None = None
) -> Int[Tensor, "M L B"]:
    """What networks that have read ``tokens`` write if they are ``fed`` these rows of their embedding (None: the truth,
    as in training), whatever they wrote before."""
    read = Sequences.of_one_length(tokens[None])
    fed = model.writing_inputs(read) if fed is None else fed
    return model.read_out(model.cell.scan(model.embedding)(fed, model.encode(read))).argmax(3)


def disturbed(
    model: TokenNetwork, tokens: Int[Tensor, "L B"], told: Int[Tensor, "B"], after: int
) -> Int[Tensor, "M L B"]:
    """What they write if, once, after position ``after``, they are fed ``told`` in its place; else the truth."""
    if not 0 <= integer("after", after, 0) < len(tokens) - 1:
        raise ValueError(f"after must lie in 0 … {len(tokens) - 2}, got {after}")
    fed = model.writing_inputs(Sequences.of_one_length(tokens[None])).clone()
    fed[:, after + 1] = told
    return written(model, tokens, fed)


@dataclass(frozen=True)
class WrongWords:
    """What is written after one wrong token, fed after position p = 0 … L − 2, and what readers say.

    ``asked`` are the right tokens; ``plain`` what is written if all that is fed is true; ``written`` after the wrong
    one. ``wrong_layer`` is what a reader reads who takes off the layer of the wrong token at p and the true ones
    elsewhere, ``right_layer`` one who takes off the true ones throughout. Shares are of the positions after p."""

    asked: Int[Tensor, "L B"]
    plain: Int[Tensor, "M L B"]
    written: Int[Tensor, "M P L B"]
    wrong_layer: Int[Tensor, "M P L B"]
    right_layer: Int[Tensor, "M L B"]

    @property
    def undisturbed(self) -> Float[Tensor, "M P"]:
        """Share of later tokens that are right without any wrong one."""
        return self._later(self.plain[:, None] == self.asked)

    @property
    def right(self) -> Float[Tensor, "M P"]:
        """Share of later tokens that are right after the wrong one."""
        return self._later(self.written == self.asked)

    @property
    def predicted(self) -> Float[Tensor, "M P"]:
        """Among later tokens that are wrong: the share that the reader of the wrong layer says."""
        return self._among_wrong(self.wrong_layer)

    @property
    def predicted_by_right(self) -> Float[Tensor, "M P"]:
        """The same for the reader who takes the right layers off: what it says is mostly the right token."""
        return self._among_wrong(self.right_layer[:, None])

    @property
    def by_chance(self) -> Float[Tensor, "M P"]:
        """The same for what the reader of the wrong layer says of another sequence."""
        return self._among_wrong(self.wrong_layer.roll(1, 3))

    @property
    def repeated(self) -> Float[Tensor, "M P"]:
        """The same for the guess that the token at p, whose layer is still there, is written again."""
        places = range(self.written.shape[1])
        return self._among_wrong(torch.stack([self.asked[p].expand_as(self.plain) for p in places], dim=1))

    @property
    def predicted_beyond_repeats(self) -> Float[Tensor, "M P"]:
        """As ``predicted``, among those wrong tokens of which the reader says another than the one at p."""
        places = range(self.written.shape[1])
        again = torch.stack([self.wrong_layer[:, p] == self.asked[p] for p in places], dim=1)
        return self._among_wrong(self.wrong_layer, ~again)

    def shares(self) -> dict[str, Float[Tensor, "M"]]:
        """All shares by name, means over p; NaN where nothing is wrong."""
        names = ("undisturbed", "right", "predicted", "predicted_by_right", "by_chance", "repeated")
        return {name: getattr(self, name).nanmean(1) for name in (*names, "predicted_beyond_repeats")}

    def _later(self, hits: Tensor, among: Tensor | None = None) -> Float[Tensor, "M P"]:
        """Share of hits among the positions after p."""
        P, L = self.written.shape[1:3]
        after = (torch.arange(L) > torch.arange(P)[:, None])[..., None].to(self.written.device)
        among = after.expand_as(self.written) if among is None else after & among
        return (hits & among).sum((2, 3)).double() / among.sum((2, 3))

    def _among_wrong(self, said: Tensor, among: Tensor | None = None) -> Float[Tensor, "M P"]:
        wrong = self.written != self.asked
        return self._later(self.written == said, wrong if among is None else wrong & among)


def wrong_words(
    model: TokenNetwork, length: int, generator: torch.Generator, sequences: int = 2000, averaged: int = 64
) -> WrongWords:
    """Feed so many random ``sequences`` one wrong token each, after every position but the last in turn; a wrong token
    is any other one. ``averaged``: sequences over which a layer is averaged."""
    length = integer("length", length, 2)
    code = readers.measured(model, length, generator, averaged, integer("sequences", sequences, 2))
    tokens, h = readers.drawn(model, length, generator, sequences)
    further = torch.randint(1, model.vocabulary, (sequences,), generator=generator)
    found, said = [], []
    for p in range(length - 1):
        taken = tokens.clone()
        taken[p] = (tokens[p] + further) % model.vocabulary
        found.append(disturbed(model, tokens, taken[p], p))
        said.append(readers.read(h, code, taken=taken))
    right_layer = readers.read(h, code, taken=tokens)
    return WrongWords(tokens, written(model, tokens), torch.stack(found, 1), torch.stack(said, 1), right_layer)
