"""Call changes: a row of bells is heard, then every change is called, and its row is rung.

In :mod:`emt_core.tasks.change_ringing` a network must know the method. Here, as in the ringing of that name, a
conductor calls each change, so that rows of a method can be rung that nobody has learned. The operator of a step is an
input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.support.checks import Index, integer
from emt_core.tasks.change_ringing import Change, ChangeRinging, Method
from emt_core.tasks.own import OwnTask


def changes_of(methods: Sequence[Method]) -> tuple[Change, ...]:
    """All changes that the methods are made of, each once, in ascending order."""
    return tuple(sorted({change for method in methods for change in method.changes}))


def stretches_of(methods: Sequence[Method], length: Index) -> set[tuple[Change, ...]]:
    """All stretches of so many changes that follow each other in the methods, which go on from lead to lead."""
    count, each = integer("length", length, 1), [(method, t) for method in methods for t in range(method.lead)]
    return {tuple(m.changes[(t + k) % m.lead] for k in range(count)) for m, t in each}


def rung(starts: Int[Tensor, "B n"], changes: Int[Tensor, "K B n"]) -> Int[Tensor, "T B n"]:
    """Row 0, ``starts``, and each row that a change makes of the one before, T = K + 1: new[p] = old[change[p]]."""
    rows = [starts]
    for change in changes:
        rows.append(rows[-1].gather(1, change))
    return torch.stack(rows)


@dataclass(frozen=True)
class CallChanges:
    """Sequences of T = ``rows`` rows of the methods, each from any change of its lead on, that begin with one of
    ``starts``, or with any row.

    What is read at step t is a vector of D + n − 1 numbers, row 0 as signs, as
    :meth:`~emt_core.tasks.change_ringing.ChangeRinging.encode` writes it, and zeros later; then for each pair of
    neighbouring places 1 if change t, which makes row t of row t − 1, lets them swap, and 0 if not, or at step 0. What
    is wanted is row t, as signs.

    Raises:
        ValueError: methods on different numbers of bells, a start that is no row, or fewer than two rows.
    """

    methods: tuple[Method, ...]
    rows: Index = 37
    starts: tuple[Change, ...] = ()

    def __post_init__(self) -> None:
        vars(self).update(rows=integer("rows", self.rows, 2))
        _ = self.signs  # what it refuses is refused now

    @cached_property
    def signs(self) -> ChangeRinging:
        """The task that has the same rows, and says how they are written."""
        return ChangeRinging(self.methods, starts=self.starts)

    @cached_property
    def ways(self) -> Int[Tensor, "W K n"]:
        """What may be called: the changes of each method from each one of its lead on."""
        each = [called(method, self.rows - 1, first) for method in self.methods for first in range(method.lead)]
        return torch.stack(each)

    def inputs(
        self, starts: Int[Tensor, "B n"], changes: Int[Tensor, "K B n"], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "T B I"]:
        """What is read where row 0 and the K = T − 1 changes are these."""
        row = self.signs.encode(starts, dtype)
        heard = torch.cat([row[None], row.new_zeros(len(changes), *row.shape)])
        places = torch.arange(starts.shape[1] - 1, device=starts.device)
        swaps = (changes[..., :-1] == places + 1).to(dtype)
        return torch.cat([heard, torch.cat([swaps.new_zeros(1, *swaps.shape[1:]), swaps])], -1)

    def calls(self, batch: Index, generator: torch.Generator) -> tuple[Int[Tensor, "B n"], Int[Tensor, "K B n"]]:
        """Row 0 and the changes of ``batch`` sequences drawn at random."""
        batch, device = integer("batch", batch, 1), generator.device
        start = self.signs.rows(batch, 1, generator)[0]
        which = torch.randint(len(self.ways), (batch,), generator=generator, device=device)
        return start, self.ways.to(device)[which].transpose(0, 1)

    def draw(self, batch: Index, generator: torch.Generator) -> tuple[Float[Tensor, "T B I"], Float[Tensor, "T B D"]]:
        """Inputs and targets of ``batch`` sequences."""
        start, changes = self.calls(batch, generator)
        return self.inputs(start, changes), self.signs.encode(rung(start, changes))

    @property
    def task(self) -> OwnTask:
        """What :func:`emt_core.training.own_task.fit` learns."""
        return OwnTask(self.draw)


def called(method: Method, count: Index, first: Index = 0) -> Int[Tensor, "K n"]:
    """The K = ``count`` changes of the method from change ``first`` of its lead on."""
    first, count = integer("first", first, 0), integer("count", count, 0)
    return torch.tensor(method.changes)[torch.arange(first, first + count) % method.lead]
