"""Source text of Python, letter by letter, and the places in it where a name is said twice: ``self.NAME = NAME``.

What is read are the modules of the standard library that runs this, without their tests. Nothing is copied from them
into this package: other versions of Python give a slightly different text. Names are held out *as names*: a part of all
names in such places, the same in every version, whose lines are left out of the text to learn from.
"""

from __future__ import annotations

import keyword
import re
import sysconfig
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from emt_core.support.checks import Index, integer
from emt_core.tasks.own import OwnTask

#: the characters of a text: a line's end, then ASCII's from the space to the tilde
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
LETTERS = "abcdefghijklmnopqrstuvwxyz_"  #: of which names are made
SAID_TWICE = re.compile(r"self\.([a-z_]+) = \1$", re.MULTILINE)
WORD = re.compile(r"[A-Za-z_]\w*")
HELD_OUT = 5  #: one name in so many is held out
APART = "test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3"  #: folders that are not read

_CODES = torch.full((128,), CHARACTERS.index("?"))
_CODES[[ord(c) for c in CHARACTERS]] = torch.arange(len(CHARACTERS))


def encode(text: str) -> Int[Tensor, "T"]:
    """The numbers of its characters; "?" for what is none of :data:`CHARACTERS`."""
    return _CODES[np.frombuffer(text.encode("ascii", "replace"), dtype=np.uint8).astype(np.int64)]


def decode(codes: Int[Tensor, "T"]) -> str:
    """The text that has these numbers."""
    return "".join(CHARACTERS[c] for c in codes.tolist())


def held_out(name: str) -> bool:
    """Whether a name that is said twice belongs to the part that is left out of the text to learn from: decided by the
    name alone."""
    return zlib.crc32(name.encode()) % HELD_OUT == 0


@dataclass(frozen=True)
class Source:
    """One long text, file after file."""

    text: str

    @cached_property
    def places(self) -> tuple[tuple[int, str], ...]:
        """Where names are said the second time in ``self.NAME = NAME``, as far as a line ends with it and the name has
        nothing but LETTERS: where the second begins, and the name."""
        return tuple((m.end() - len(m[1]), m[1]) for m in SAID_TWICE.finditer(self.text))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names in these places, each once, in alphabetical order."""
        return tuple(sorted({name for _, name in self.places}))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All other words of two to twenty LETTERS that can be names, each once: of variables, out of comments."""
        found = {w for w in WORD.findall(self.text) if 2 <= len(w) <= 20 and not set(w) - set(LETTERS)}
        return tuple(sorted(found - {*self.names, *keyword.kwlist, "self", "cls"}))

    def without(self, words: Iterable[str]) -> Source:
        """The same text without the lines in which one of these words stands, whole and not as a part of another."""
        gone = set(words)
        kept = [line for line in self.text.split("\n") if gone.isdisjoint(WORD.findall(line))]
        return Source("\n".join(kept))


@lru_cache(maxsize=1)
def standard_library() -> Source:
    """The modules of the standard library that runs this, in alphabetical order: tabs are four spaces, and what is not
    ASCII is "?".

    Raises:
        FileNotFoundError: this Python has no source files, as some that are frozen into one file.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = sorted(path for path in root.rglob("*.py") if not set(APART) & {*path.relative_to(root).parts})
    if not found:
        raise FileNotFoundError(f"the standard library's source files must lie in {root}, got none")
    texts = [path.read_text(encoding="utf8", errors="replace") for path in found]
    return Source(re.sub(f"[^{re.escape(CHARACTERS)}]", "?", "\n".join(texts).replace("\t", "    ")))


def windows(source: Source, length: Index = 160, *, near: float | int = 0.5, renamed: bool = False) -> OwnTask:
    """Read ``length`` characters and say each next one, as an :class:`~emt_core.tasks.own.OwnTask`. Windows begin
    anywhere; a part ``near`` of them is laid so that a place where a name is said twice is in its second half. With
    ``renamed`` the name of such a place is exchanged wherever it stands in the window, half the time for another word
    of the text and else for as many random letters: that it is said twice stays so.

    Raises:
        ValueError: a text without such a place two windows from both its ends, ``near`` outside 0 … 1.
    """
    length = integer("length", length, 40)
    if not 0 <= near <= 1:
        raise ValueError(f"near must lie between 0 and 1, got {near}")
    codes, others = encode(source.text), source.words
    longest = max(map(len, source.names), default=1)
    places = [place for place in source.places if 2 * length <= place[0] <= len(codes) - 2 * length]
    if not places:
        raise ValueError(f"source must have a name said twice at least {2 * length} characters from both its ends")

    def one(u: list[float], letters: list[int]) -> Tensor:
        if u[0] >= near:
            start = int(u[1] * (len(codes) - length))
            return codes[start : start + length + 1]
        at, name = places[int(u[1] * len(places))]
        before, after = source.text[at - 2 * length : at], source.text[at : at + 2 * length]
        if renamed:
            strange = "".join(LETTERS[k] for k in letters[: len(name)])
            new = others[int(2 * u[2] * len(others))] if u[2] < 0.5 else strange
            before, after = (re.sub(rf"\b{name}\b", new, part) for part in (before, after))
            name = new
        start = max(0, len(before) + len(name) - length + int(u[3] * (length // 2)))
        return encode((before + after)[start : start + length + 1])

    def draw(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = torch.rand(batch, 4, generator=generator, dtype=torch.float64).tolist()
        letters = torch.randint(len(LETTERS), (batch, longest), generator=generator).tolist()
        both = torch.stack([one(*each) for each in zip(drawn, letters, strict=True)], dim=1)
        return both[:-1], both[1:]

    return OwnTask(draw, vocabulary=len(CHARACTERS), classes=len(CHARACTERS))
