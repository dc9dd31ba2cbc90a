"""What the numbers of a report say, by rules that are stated beside them.

The lines were drawn on networks whose code is known, subspaces (overlap 0.00, no lead) and onions (0.78 to 0.97, with a
lead of 0.00 where there is much room to one of 0.75 where there is little), and on those that the book's chapters look
into. They are conventions, not laws: the numbers are there to disagree with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emt_core.report.measures import Numbers

ADDITIVE = 0.5  #: share of the states that the sum of layers must explain
READ = 0.5  #: share of tokens that peeling must read, at least in one order
NEAR = 0.75  #: least overlap of neighbouring positions in an onion
COMMON = 0.5  #: least mean overlap of all positions in an onion, unless LEAD is reached
LEAD = 0.4  #: least share of tokens that peeling an onion forwards reads more than backwards, unless COMMON is reached
APART = 0.25  #: largest mean overlap of all positions in subspaces
NO_LEAD = 0.1  #: largest share of tokens by which the two orders of peeling subspaces may differ
TOLD_APART = 0.25  #: least share of the distance between two sequences that is left, else the memory fades
DIES = 0.1  #: largest share of a kick, relative to that distance, that a digital memory leaves
STAYS = 0.5  #: least such share that an analog memory leaves
GROWS = 2.0  #: largest such share that an analog memory leaves; an unstable one leaves more

CODE_RULE = (
    f"An onion: neighbouring positions overlap by at least {NEAR} and, as well, either all positions overlap by at "
    f"least {COMMON} on average, or peeling the layers forwards, from the largest, reads at least {LEAD} more of the "
    f"tokens than backwards. Subspaces: positions overlap by at most {APART} on average, and the order of peeling "
    f"matters by at most {NO_LEAD}. Else between. Cannot tell: the sum of layers explains less than {ADDITIVE} of the "
    f"states' variance, peeling reads less than {READ} of the tokens in either order, or the draws disagree. Many "
    "cells are onions before any training: beside the verdict stands that of the same network with its recurrent "
    "weights drawn anew."
)
MEMORY_RULE = (
    f"Fading: after ten times the longest sequence less than {TOLD_APART} of the distance between two sequences' "
    f"states is left. Of a small kick, compared with that distance: digital, at most {DIES} is left; analog, {STAYS} "
    f"to {GROWS}; unstable, more than {GROWS}, so that whatever tells states apart need not be what was read. Else, or "
    "if there is no step that the network can run on with, cannot tell."
)


@dataclass(frozen=True)
class Verdict:
    """One word, or "cannot tell", and why."""

    word: str
    why: str

    def __str__(self) -> str:
        return f"{self.word}: {self.why}"


def code(numbers: Numbers) -> Verdict:
    """Onion, subspaces, between, or cannot tell."""
    verdict = _alone(numbers)
    if verdict.word == "cannot tell" or "drawn_anew" not in numbers:
        return verdict
    null = _alone(numbers["drawn_anew"])
    return Verdict(verdict.word, f"{verdict.why}. With its recurrent weights drawn anew it is: {null}")


def _alone(numbers: Numbers) -> Verdict:
    """The verdict without a look at the null."""
    if "missing" in numbers:
        return Verdict("cannot tell", numbers["missing"])
    additive = float(np.mean(numbers["additive"]))
    if additive < ADDITIVE:
        return Verdict("cannot tell", f"the sum of layers explains {additive:.2f} of the states' variance")
    if numbers["forwards"][0] is None:
        return Verdict("cannot tell", "too few sequences are made of the most frequent tokens alone")
    ways = [np.asarray([np.mean(read) for read in numbers[way]]) for way in ("forwards", "backwards")]
    best = max(float(way.mean()) for way in ways)
    if best < READ:
        return Verdict("cannot tell", f"peeling reads {best:.2f} of the tokens in the better order")
    leads, near, every = ways[0] - ways[1], numbers["overlap_neighbours"], numbers["overlap_all"]
    words = [_of(*draw) for draw in zip(leads, near, every, strict=True)]
    why = (
        f"peeled forwards {ways[0].mean():.2f} of the tokens are read, backwards {ways[1].mean():.2f}; neighbouring "
        f"positions overlap by {np.mean(near):.2f}, all by {np.mean(every):.2f}"
    )
    if len(set(words)) > 1:
        counts = ", ".join(f"{word} in {words.count(word)}" for word in sorted(set(words)))
        return Verdict("cannot tell", f"of {len(words)} draws {counts}; {why}")
    return Verdict(words[0], why)


def _of(lead: float, near: float, every: float) -> str:
    if near >= NEAR and (every >= COMMON or lead >= LEAD):
        return "onion"
    return "subspaces" if every <= APART and abs(lead) <= NO_LEAD else "between"


def memory(numbers: Numbers) -> Verdict:
    """Digital, analog, unstable, fading, or cannot tell."""
    if "missing" in numbers:
        return Verdict("cannot tell", numbers["missing"])
    kept, told = numbers["kept"][-1], numbers["told_apart"][-1]
    ran = f"{numbers['how']} for {numbers['steps'][-1]} steps"
    if kept is None or told is None:
        return Verdict("cannot tell", f"{ran}, states grew beyond all bounds")
    if told < TOLD_APART:
        return Verdict("fading", f"{ran}, it keeps {told:.2g} of the distance between two sequences")
    left = kept / told
    why = (
        f"{ran}, a small kick has become {kept:.2g} times as large as it was and the distance between two sequences "
        f"{told:.2g} times; the ratio of the two is {left:.2g}"
    )
    if left > GROWS:
        return Verdict("unstable", why)
    return Verdict("digital" if left <= DIES else "analog" if left >= STAYS else "cannot tell", why)
