"""Change ringing: every row of bells is the row before with some neighbours swapped, by a change that depends on the
time. A method is variable binding: places are variables, bells are contents, and the operator of a step is known.

Place notation, as ringers write it: a change names the places that stay, all other bells swap with a neighbour, and
``x`` (or ``-``) lets none stay. ``&a.b.c`` is a palindrome, a.b.c.b.a; parts are joined by commas. Bells and places
beyond 9 are 0, E, T, A, B, C, D. Methods that are made of two different leads have them on either side of ``|``, and
``<4`` begins with change 4 of the first.

Source of the methods: the tables that the package crengine ships (Change Ringing Engine, 3.2.1, MIT). They are read
from the installed package when asked for; none of its code is run.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise, permutations
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emt_core.support.checks import Index, integer
from emt_core.tasks.sequences import Generators, each

SYMBOLS = "1234567890ETABCD"  #: how ringers write bells and places 1 … 16
#: what ringers call 3, 4, … 16 bells
STAGES = (
    "Singles", "Minimus", "Doubles", "Minor", "Triples", "Major", "Caters", "Royal", "Cinques", "Maximus",
    "Sextuples", "Fourteen", "Septuples", "Sixteen",
)  # fmt: skip

Change = tuple[int, ...]  #: new[p] = old[change[p]], places from 0


def parse_change(written: str, bells: int) -> Change:
    """One change of ``bells`` bells: ``x``, or the places that stay. The first or the last place may be left out where
    the bells beside it are odd in number; a bell that has no neighbour to swap with inside the row is an error."""
    if written in ("x", "X", "-"):
        if bells % 2:
            raise ValueError(f"notation must name a place that stays on {bells} bells, an odd number, got {written!r}")
        stay = []
    else:
        stay = [SYMBOLS.find(symbol) for symbol in written.upper()]
        if not stay or min(stay) < 0 or max(stay) >= bells or sorted(set(stay)) != stay:
            raise ValueError(f"notation must name ascending places of {bells} bells, got {written!r}")
        if stay[0] % 2:
            stay = [0, *stay]
        if (bells - 1 - stay[-1]) % 2:
            stay = [*stay, bells - 1]
    change, edges = list(range(bells)), [-1, *stay, bells]
    for before, after in pairwise(edges):
        if (after - before) % 2 == 0:
            raise ValueError(f"notation must leave pairs of neighbours between the places that stay, got {written!r}")
        for p in range(before + 1, after, 2):
            change[p : p + 2] = p + 1, p
    return tuple(change)


def parse(notation: str, bells: int) -> tuple[Change, ...]:
    """The changes of one lead, in order.

    Raises:
        ValueError: a part that is no place notation for ``bells`` bells; the message quotes it.
    """
    written, cut, offset = notation.replace(" ", "").partition("<")
    changes: list[Change] = []
    ends = []
    for lead in written.split("|"):
        for part in lead.split(","):
            split = re.findall(r"[xX-]|[^xX.-]+", part.removeprefix("&"))
            if not split:
                raise ValueError(f"notation must have changes in every part, got {notation!r}")
            block = [parse_change(each_one, bells) for each_one in split]
            changes += block + (block[-2::-1] if part.startswith("&") else [])
        ends.append(len(changes))
    if cut and not (offset.isdecimal() and int(offset) < ends[0]):
        raise ValueError(f"notation must have a number below {ends[0]} after '<', got {notation!r}")
    begin = int(offset) if cut else 0
    return tuple(changes[begin:] + changes[:begin])


@dataclass(frozen=True)
class Method:
    """A method: a name, how many bells, and the place notation of its plain lead. ``table`` is the table it is from.

    Raises:
        ValueError: fewer than 3 or more than 16 bells, or what is no place notation.
    """

    name: str
    bells: Index
    notation: str
    table: str = ""

    def __post_init__(self) -> None:
        bells = integer("bells", self.bells, 3)
        if bells > len(SYMBOLS):
            raise ValueError(f"bells must be at most {len(SYMBOLS)}, got {bells}")
        vars(self).update(bells=bells)
        _ = self.changes  # read now, so that what cannot be read is said here

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """The changes of one lead."""
        return parse(self.notation, self.bells)

    @property
    def title(self) -> str:
        """The name with that of the number of bells: Plain Bob Minor."""
        return f"{self.name} {STAGES[self.bells - 3]}"

    @property
    def lead(self) -> int:
        """P, the number of changes after which they repeat."""
        return len(self.changes)

    def sources(self, count: Index, first: Index = 0) -> Int[Tensor, "T n"]:
        """(T = ``count``, n): place p of row t has what place ``[t, p]`` of row 0 had, if change ``first`` of the lead
        comes first."""
        first, rows = integer("first", first, 0), [list(range(self.bells))]
        for t in range(first, first + integer("count", count, 1) - 1):
            rows.append([rows[-1][p] for p in self.changes[t % self.lead]])
        return torch.tensor(rows)

    @property
    def cycles(self) -> tuple[int, ...]:
        """The lengths of the cycles of the places under a whole lead, in descending order."""
        source, left, found = self.sources(self.lead + 1)[-1].tolist(), set(range(self.bells)), []
        while left:
            cycle, p = set(), min(left)
            while p not in cycle:
                cycle.add(p)
                p = source[p]
            left -= cycle
            found.append(len(cycle))
        return tuple(sorted(found, reverse=True))

    @property
    def leads(self) -> int:
        """After how many leads the plain course is back in its first row."""
        return math.lcm(*self.cycles)

    def rows(self, count: Index, start: Sequence[Index] | None = None) -> Int[Tensor, "T n"]:
        """The first T = ``count`` rows, bells from 0; row 0 is ``start``, or rounds, 0 1 2 …"""
        row = list(range(self.bells)) if start is None else [int(bell) for bell in start]
        if sorted(row) != list(range(self.bells)):
            raise ValueError(f"start must have each of 0 … {self.bells - 1} once, got {row}")
        return torch.tensor(row)[self.sources(count)]

    @property
    def true(self) -> bool:
        """Whether no row comes twice in the plain course: what ringers ask of a method."""
        course = self.rows(self.lead * self.leads)
        return len(course.unique(dim=0)) == len(course)


def spelled(row: Sequence[Index] | Int[Tensor, "n"]) -> str:
    """A row as ringers write it: 156342."""
    return "".join(SYMBOLS[int(bell)] for bell in row)


@dataclass(frozen=True)
class Tables:
    """What the package's tables hold. ``unreadable`` has the lines that are no method, each as (table, line, why)."""

    methods: tuple[Method, ...]
    unreadable: tuple[tuple[str, str, str], ...]

    def method(self, title: str) -> Method:
        """The method of this title (Plain Bob Minor), from the first table that has it."""
        for method in self.methods:
            if method.title == title:
                return method
        raise ValueError(f"title must be that of one of {len(self.methods)} methods, got {title!r}")


def tables() -> Tables:
    """All tables of the installed package, in the order of their names.

    Raises:
        ModuleNotFoundError: the package crengine is not installed.
    """
    try:
        found = distribution("crengine").files or []
    except PackageNotFoundError:
        message = "the methods are read from the package crengine, which is not installed: pip install crengine==3.2.1"
        raise ModuleNotFoundError(message, name="crengine") from None
    return read_tables([Path(str(f.locate())) for f in found if f.match("CRE/methods/*.csv")])


def read_tables(paths: Sequence[Path]) -> Tables:
    """Tables from files of comma-separated values: name, number of bells, plain lead, then what is not read (calls)."""
    methods, unreadable = [], []
    for path in sorted(paths):
        with path.open(encoding="utf8", newline="") as lines:
            for line in list(csv.reader(lines))[1:]:
                try:
                    name, bells, notation, *_ = line
                    methods.append(Method(name, int(bells), notation, path.stem))
                except ValueError as error:
                    unreadable.append((path.stem, ",".join(line), str(error)))
    return Tables(tuple(methods), tuple(unreadable))


@dataclass(frozen=True)
class ChangeRinging:
    """Hear the first rows of a method, then ring on. A sequence begins with a row drawn from ``starts``, or from all
    permutations of the bells, at the first change of the lead or, with ``anywhere``, at any. ``heard`` rows are read.
    With ``free`` contents each place has any code of the right number of bits, whether or not a bell has that number:
    what a method does to rows it does to these.

    A row is one vector of D = n · bits signs: place by place the number of the bell that is there, in binary, least
    digit first, +1 for 1. Shapes, and names of attributes, are as in :class:`emt_core.tasks.VariableBinding`.

    Raises:
        ValueError: methods on different numbers of bells, a start that is no row, starts of free contents, or
            ``heard`` < 1.
    """

    methods: tuple[Method, ...]
    heard: Index = 1
    anywhere: bool = False
    starts: tuple[Change, ...] = ()
    free: bool = False

    def __post_init__(self) -> None:
        if len({method.bells for method in self.methods}) != 1:
            found = sorted({method.bells for method in self.methods})
            raise ValueError(f"methods must be at least one, all on one number of bells, got {found}")
        vars(self).update(heard=integer("heard", self.heard, 1))
        if bad := [row for row in self.starts if sorted(row) != list(range(self.bells))]:
            raise ValueError(f"starts must be rows of {self.bells} bells, numbered from 0, got {bad[0]}")
        if self.free and self.starts:
            raise ValueError(f"starts must be none where contents are free, got {len(self.starts)}")

    @property
    def bells(self) -> int:
        return self.methods[0].bells

    @property
    def bits(self) -> int:
        """Signs that a bell needs."""
        return (self.bells - 1).bit_length()

    @property
    def history(self) -> int:
        """S: how many vectors are read."""
        return self.heard

    @property
    def dim(self) -> int:
        """D: signs in a row."""
        return self.bells * self.bits

    @property
    def identity(self) -> dict[str, object]:
        """What a checkpoint of training on this task is known by."""
        changes = [method.changes for method in self.methods]
        rest = {name: getattr(self, name) for name in ("heard", "anywhere", "starts", "free")}
        return {"changes": changes} | rest

    @property
    def ways(self) -> tuple[tuple[Method, int], ...]:
        """What a sequence may follow: a method, and the change of its lead that comes first."""
        return tuple((m, t) for m in self.methods for t in (range(m.lead) if self.anywhere else (0,)))

    @property
    def told(self) -> bool:
        """Whether the rows that are heard say how to go on: no two ways have the same first heard − 1 changes and
        differ after them. Where they do not, nobody can ring on without error."""
        longest = math.lcm(*(m.lead for m in self.methods)) + self.heard
        futures: dict[tuple[Change, ...], tuple[Change, ...]] = {}
        for method, first in self.ways:
            changes = tuple(method.changes[(first + t) % method.lead] for t in range(longest))
            if futures.setdefault(changes[: self.heard - 1], changes) != changes:
                return False
        return True

    def encode(self, rows: Int[Tensor, "*batch n"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "*batch D"]:
        """Rows as signs."""
        bits = rows[..., None] >> torch.arange(self.bits, device=rows.device) & 1
        return (2 * bits - 1).to(dtype).flatten(-2)

    def decode(self, signs: Float[Tensor, "*batch D"]) -> Int[Tensor, "*batch n"]:
        """The row that the signs say; a number that no bell has stays as it is."""
        bits = signs.unflatten(-1, (self.bells, self.bits)) > 0
        return (bits << torch.arange(self.bits, device=signs.device)).sum(-1)

    def rows(self, batch: Index, count: Index, generator: torch.Generator) -> Int[Tensor, "T B n"]:
        """``batch`` sequences of T = ``count`` rows, bells from 0, or free contents."""
        batch, count, device = integer("batch", batch, 1), integer("count", count, 1), generator.device
        if self.free:
            start = torch.randint(2**self.bits, (batch, self.bells), generator=generator, device=device)
        elif self.starts:
            pick = torch.randint(len(self.starts), (batch,), generator=generator, device=device)
            start = torch.tensor(self.starts, device=device)[pick]
        else:
            start = torch.rand(batch, self.bells, generator=generator, device=device).argsort(1)
        way = torch.randint(len(self.ways), (batch,), generator=generator, device=device)
        source = torch.stack([method.sources(count, first) for method, first in self.ways]).to(device)
        return start.expand(count, -1, -1).gather(2, source[way].transpose(0, 1))

    def sample(
        self, batch: int, horizon: int, generators: Generators, dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "M S B D"], Float[Tensor, "M T B D"]]:
        """Inputs, the S rows that are heard, and the T = ``horizon`` rows that follow. Time comes before batch."""
        count = self.history + integer("horizon", horizon, 1)
        signs = torch.stack([self.encode(self.rows(batch, count, g), dtype) for g in each(generators)])
        return signs[:, : self.history], signs[:, self.history :]


def right_rows(written: Float[Tensor, "*batch D"], wanted: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
    """Which rows are right in every sign; a zero has none."""
    return (written * wanted > 0).all(-1)


def split_rows(bells: Index, share: float, generator: torch.Generator) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """All rows of up to 8 bells in two parts at random, the second with this ``share`` of them: to start from while
    training, and to start from in a test."""
    if not 0 < share < 1 or not 3 <= integer("bells", bells, 3) <= 8:
        raise ValueError(f"share must lie between 0 and 1 and bells in 3 … 8, got {share} and {bells}")
    everyone = list(permutations(range(int(bells))))
    order = torch.randperm(len(everyone), generator=generator).tolist()
    held = round(share * len(everyone))
    return tuple(everyone[i] for i in order[held:]), tuple(everyone[i] for i in order[:held])
