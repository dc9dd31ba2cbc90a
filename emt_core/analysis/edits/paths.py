"""What networks write along a line of states: where signs turn, and whether each follows its own content.

A full edit puts the state nearly where the edited sequence itself would have put it, so it can hardly fail. Between
two such states the theory says more: on the line h(s) = start + s (end − start) contents change linearly, and each
sign that is written is that of its own content, turns where that is zero, and stays if that does not change.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emt_core.analysis.edits.basis import States, as_far, continuation, erase, future, write
from emt_core.analysis.edits.trials import Running, copies
from emt_core.analysis.memories import VariableMemories
from emt_core.support.checks import integer
from emt_core.theory import circuit


def written_signs(run: Running, h: States, horizon: int, after: int = 0) -> Float[Tensor, "M B C"]:
    """The sign in which each of the C entries on cycles is written from the states ``h``: ±1 if it has this sign in
    every output that copies it, over ``horizon`` steps of which the first comes ``after`` others; 0 if it changes.

    Raises:
        ValueError: an entry of the window copies none on a cycle; then run must settle for longer, at most S·D steps.
    """
    steps, kept = integer("horizon", horizon, 1) + integer("after", after, 0), circuit.on_cycle(run.task)
    source = copies(run.held, kept)
    if not bool((source != 0).any(0).all()):
        raise ValueError(f"run must have settled for up to {len(kept)} steps, so that all it holds copies cycles")
    reads = continuation(run.task, source[None], steps)[0, after:]  # steps × entries × outputs
    written = future(run.model, h.to(run.h), steps)[:, after:].sign().double()
    votes = torch.einsum("mtbd,tcd->mbc", written, reads)
    return torch.where(votes.abs() == reads.abs().sum((0, 2)), votes.sign(), 0.0)


TOGETHER = 512  # how many states of a network run on at once along a line


@dataclass(frozen=True)
class Line:
    """States on a line: their ``places``, the ``signs`` written there as :func:`written_signs` has them, and their
    ``contents``, in units of the mean modulus of the entry over the batch."""

    places: Float[Tensor, "K"]
    signs: Float[Tensor, "K M B C"]
    contents: Float[Tensor, "K M B C"]

    def follows(self, margin: float | int) -> Bool[Tensor, "M B C"]:
        """Whether an entry is written with the sign of its content wherever that has at least modulus ``margin``."""
        return ((self.signs == self.contents.sign()) | (self.contents.abs() < margin)).all(0)

    def reached(self, wanted: Float[Tensor, "M B C"]) -> Float[Tensor, "M B"]:
        """Where all signs are first as ``wanted``: half-way between that place and the one before; infinity if never.
        The first place must not be it: then the answer is that place."""
        return self._first((self.signs == wanted).all(3))

    def turns(self) -> Float[Tensor, "M B C"]:
        """Where the sign of an entry is first opposite to that of the content at the start, as in :meth:`reached`."""
        return self._first(self.signs == -self.contents[0].sign())

    def crossings(self) -> Float[Tensor, "M B C"]:
        """Where the content of an entry is zero; infinity if nowhere between the first and the last place."""
        first, last = self.contents[0], self.contents[-1]
        place = self.places[0] + (self.places[-1] - self.places[0]) * first / (first - last)
        return torch.where(first * last < 0, place, torch.inf)

    def _first(self, there: Bool[Tensor, "K *rest"]) -> Float[Tensor, "*rest"]:
        middles = (self.places + torch.cat([self.places[:1], self.places[:-1]])) / 2
        return torch.where(there.any(0), middles[there.int().argmax(0)], torch.inf)


def line(
    run: Running,
    memories: VariableMemories,
    start: States,
    end: States,
    places: Float[Tensor, "K"],
    horizon: int,
    after: int = 0,
) -> Line:
    """What is written from start + s (end − start) for each s of ``places``, with contents read in ``memories``."""
    kept, places = memories.kept, places.double()
    start, way = start.double(), end.double() - start.double()
    usual = memories.contents(run.h).abs().mean(1, keepdim=True)[:, :, kept]
    batch, signs, contents = start.shape[1], [], []
    for some in places.split(max(1, TOGETHER // batch)):
        h = start[:, None] + some[:, None, None] * way[:, None]
        written = written_signs(run, h.flatten(1, 2), horizon, after)
        signs.append(written.unflatten(1, (-1, batch)).transpose(0, 1))
        contents.append(memories.contents(h)[..., kept].transpose(0, 1) / usual)
    return Line(places, torch.cat(signs), torch.cat(contents))


def toward_zero(
    run: Running,
    memories: VariableMemories,
    where: Bool[Tensor, "M B SD"],
    places: Float[Tensor, "K"],
    horizon: int,
    *,
    after: int = 0,
    wrong: VariableMemories | None = None,
) -> Float[Tensor, "M B"]:
    """How far the contents ``where`` must be moved until just these signs turn, in the whole future: 1 is content zero,
    2 the turned content, infinity that no place did it. With ``wrong`` the state is moved in that basis instead, at
    each place as far as in ``memories``: a control."""
    end = erase(run.h, memories, where)
    if wrong is not None:
        end = as_far(run.h, end, erase(run.h, wrong, where))
    wanted = torch.where(where, -run.held, run.held)[:, :, memories.kept]
    return line(run, memories, run.h, end, places, horizon, after).reached(wanted)


def uneven_ends(
    run: Running,
    memories: VariableMemories,
    generator: torch.Generator,
    where: Bool[Tensor, "*#batch SD"] | None = None,
    spread: float | int = 0.5,
) -> tuple[States, States]:
    """Two states for each sequence that differ in the contents ``where`` (all if not given): these have the signs of
    this sequence in the first and those of the next one in the second, with sizes drawn from 1 ± ``spread`` times the
    usual one. So contents cross zero each at another place, (1 − spread)/2 … (1 + spread)/2 of the way."""
    usual = memories.contents(run.h).abs().mean(1, keepdim=True)
    ends = []
    for signs in (run.held, run.held.roll(-1, 1)):
        size = 1 + spread * (2 * torch.rand(signs.shape, generator=generator, dtype=usual.dtype) - 1)
        ends.append(write(run.h.double(), memories, size * usual * signs, where))
    return ends[0], ends[1]


def own_zero(found: Line) -> Float[Tensor, "M"]:
    """Median distance of where signs turn from where their own contents are zero, over their median distance from the
    middle of the way, for each network: below 1 the contents tell more than that all signs turn half-way. Entries whose
    content crosses zero but whose sign never turns are a whole way from both; NaN: no content crosses zero."""
    zeros, turns = (x.flatten(1) for x in (found.crossings(), found.turns()))
    whole, middle = found.places[-1] - found.places[0], (found.places[0] + found.places[-1]) / 2
    own, half = ((turns - place).abs().minimum(whole) for place in (zeros, middle))
    own, half = (torch.where(zeros.isfinite(), x, torch.nan).nanmedian(1).values for x in (own, half))
    return own / half
