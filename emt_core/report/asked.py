"""What a network is asked: the sequences that it reads, and what it is to write after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from emt_core.networks.contract import Writes
from emt_core.tasks import Sequences

FEWEST = 32  #: with fewer sequences than this no interval would say anything
NOTHING = -1  #: a target that nobody asks for

Rule = Callable[[list[int]], list[int]]


@dataclass(frozen=True)
class Asked:
    """B sequences, the longest first, the K ``targets`` after each (−1: nothing is asked), and what they are: the name
    of a rule, or "given"."""

    sequences: Sequences
    targets: Int[Tensor, "K B"]
    rule: str

    def right(self, written: Int[Tensor, "K B"]) -> Bool[Tensor, "K B"]:
        """Which of the targets were written; True where nothing is asked, so that ``.all(0)`` is exact match."""
        return (written == self.targets) | ~self.mask

    @property
    def mask(self) -> Bool[Tensor, "K B"]:
        return self.targets != NOTHING

    @property
    def chance(self) -> float:
        """Share of right targets of who always writes the most frequent one."""
        return float(self.targets[self.mask].bincount().max() / self.mask.sum())


def asked(network: Writes, sequences: Any, targets: Any = "repeat") -> Asked:
    """Check what a user gave.

    Args:
        sequences: :class:`~emt_core.tasks.Sequences` of one model, a tensor of integers (B, L), or a list of lists of
            integers, of any lengths. At least FEWEST of them.
        targets: "repeat", "reverse", a function from a sequence to what is to be written after it, both lists, or what
            is to be written after each sequence, as ``sequences`` is given; labels may be (B,).

    Raises:
        ValueError: what is wrong, where, and what to pass instead.
    """
    lists = _lists("sequences", sequences)
    if len(lists) < FEWEST:
        raise ValueError(f"sequences must be at least {FEWEST}, got {len(lists)}: pass more, of the kind it is used on")
    largest, where = max((max(each, default=0), b) for b, each in enumerate(lists))
    if largest >= network.vocabulary:
        raise ValueError(
            f"sequences must hold tokens in 0 … {network.vocabulary - 1}, the network's vocabulary, "
            f"got {largest} in sequence {where}"
        )
    if empty := [b for b, each in enumerate(lists) if not each]:
        raise ValueError(f"sequences must hold at least one token each, got none in sequence {empty[0]}")
    if isinstance(targets, str) or callable(targets):
        rule, wanted = _by_rule(targets, lists)
    else:
        rule, wanted = "given", _lists("targets", targets, least=NOTHING)
    if len(wanted) != len(lists):
        raise ValueError(f"targets must be one for each of the {len(lists)} sequences, got {len(wanted)}")
    if not any(t != NOTHING for each in wanted for t in each):
        raise ValueError("targets must ask for at least one token, got none")
    order = sorted(range(len(lists)), key=lambda b: -len(lists[b]))  # stable
    lengths = torch.tensor([[len(lists[b]) for b in order]])
    tokens = _padded([lists[b] for b in order], 0)
    return Asked(Sequences(tokens[None], lengths), _padded([wanted[b] for b in order], NOTHING), rule)


def _by_rule(targets: str | Rule, lists: list[list[int]]) -> tuple[str, list[list[int]]]:
    rules: dict[str, Rule] = {"repeat": list, "reverse": lambda each: each[::-1]}
    if isinstance(targets, str):
        if targets not in rules:
            raise ValueError(f"targets must be one of {sorted(rules)}, a function or lists, got {targets!r}")
        return targets, [rules[targets](each) for each in lists]
    made = [targets(each) for each in lists]
    return "given", _lists("targets", [[x] if hasattr(x, "__index__") else x for x in made], least=NOTHING)


def _lists(name: str, given: Any, least: int = 0) -> list[list[int]]:
    """Lists of integers of at least ``least``, whatever they were given as."""
    if isinstance(given, Sequences):
        if len(given.tokens) != 1:
            raise ValueError(f"{name} must be for one model, got {len(given.tokens)}")
        columns = zip(given.tokens[0].mT.tolist(), given.lengths[0].tolist(), strict=True)
        return [tokens[:length] for tokens, length in columns]
    if name == "targets" and getattr(given, "ndim", 2) == 1:  # a label for each sequence
        given = given[:, None]
    rows = given.tolist() if hasattr(given, "tolist") else given
    kinds = "a tensor of integers (B, L), or a list of lists of integers"
    if hasattr(given, "ndim") and given.ndim != 2:
        raise ValueError(f"{name} must be {kinds}, got shape {tuple(given.shape)}")
    if not isinstance(rows, list | tuple):
        raise ValueError(f"{name} must be {kinds}, got {type(given).__name__}")
    found = []
    for b, row in enumerate(rows):
        row = row.tolist() if hasattr(row, "tolist") else row
        if not isinstance(row, list | tuple):
            raise ValueError(f"{name} must be {kinds}, got {type(row).__name__} as number {b}")
        for token in row:
            if isinstance(token, bool) or not hasattr(token, "__index__") or int(token) < least:
                raise ValueError(f"{name} must hold integers of at least {least}, got {token!r} in sequence {b}")
        found.append([int(token) for token in row])
    return found


def _padded(lists: list[list[int]], value: int) -> Int[Tensor, "L B"]:
    longest = max(map(len, lists))
    return torch.tensor([each + [value] * (longest - len(each)) for each in lists]).mT.contiguous()
