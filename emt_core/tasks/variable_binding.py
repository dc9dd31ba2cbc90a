"""Variable binding: read S vectors, then write a sequence in which every entry copies one of the last S·D.

Source: Karuvally, DelMastro, Siegelmann, arXiv:2310.02430, section on variable binding; the integer code of a task
follows the authors' published experiments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.support.checks import Index, integer
from emt_core.tasks.sequences import Generators, each

#: The four tasks of the paper's table; all have S = D = 8, and the first is repeat copy.
PAPER_TRIPLES = (
    (255, 0, 0),
    (9241421688590303745, 0, 0),
    (9241421688590303745, 262676, 189),
    (9241421688590303745, 38637, 145),
)


@dataclass(frozen=True)
class VariableBinding:
    """A task of the paper: x(t) = F · [x(t−S); …; x(t−1)], with x = u, random signs, during the first S steps.

    Every row of F (D, S·D) holds a single ±1 and no column holds two: output k copies one entry of the history, maybe
    with its sign turned. ``triple = (choice, permutation, signs)`` numbers the F's; all three are little-endian:

    - ``choice``: bit p set means that entry p of the history is used (block p // D, dimension p mod D, block 0 the
      oldest). Exactly D bits are set. Their positions, ascending, form a list.
    - ``permutation``: digit k in base D, g < D − k, swaps entries k and k + g of that list, for k = 0, 1, …
    - ``signs``: bit k set turns the sign of output k.

    Repeat copy, x(t) = x(t − S), is (2^D − 1, 0, 0).

    Raises:
        ValueError: a triple that breaks one of these rules; the message says which.
    """

    triple: Sequence  # stored as a tuple of three ints; what is wrong with one is for __post_init__ to say
    history: Index
    dim: Index

    def __post_init__(self) -> None:
        history, dim = integer("history", self.history, 1), integer("dim", self.dim, 1)
        if not isinstance(self.triple, (tuple, list)) or len(self.triple) != 3:
            raise ValueError(f"triple must be three integers (choice, permutation, signs), got {self.triple!r}")
        names = ("triple[0] (choice)", "triple[1] (permutation)", "triple[2] (signs)")
        choice, permutation, signs = (integer(n, v, 0) for n, v in zip(names, self.triple, strict=True))
        bits, ones = choice.bit_length(), choice.bit_count()
        if bits > history * dim:
            raise ValueError(f"{names[0]} must fit into history·dim = {history * dim} bits, got {choice} ({bits} bits)")
        if ones != dim:
            raise ValueError(f"{names[0]} must have exactly dim = {dim} bits set, got {choice} ({ones} set)")
        if signs.bit_length() > dim:
            raise ValueError(f"{names[2]} must be below 2^dim = {2**dim}, got {signs}")
        digits = _digits(permutation, dim)
        if len(digits) > dim:
            raise ValueError(f"{names[1]} must have at most dim = {dim} digits in base {dim}, got {permutation}")
        for k, g in enumerate(digits):
            if g >= dim - k:
                raise ValueError(f"{names[1]}: digit {k} in base {dim} must be below dim − {k} = {dim - k}, got {g}")
        # numpy integers and lists are stored as what they mean, so that equal tasks compare and hash equal
        vars(self).update(history=history, dim=dim, triple=(choice, permutation, signs))

    @property
    def identity(self) -> dict[str, object]:
        """What a checkpoint of training on this task is known by."""
        return {"triple": self.triple, "history": self.history, "dim": self.dim}

    @cached_property
    def sources(self) -> tuple[tuple[int, int], ...]:
        """For each output k, the entry p of the history (0 … S·D − 1, oldest block first) and the sign ±1."""
        choice, permutation, signs = self.triple
        entries = [p for p in range(self.history * self.dim) if choice >> p & 1]
        for k, g in enumerate(_digits(permutation, self.dim)):
            entries[k], entries[k + g] = entries[k + g], entries[k]
        return tuple((p, -1 if signs >> k & 1 else 1) for k, p in enumerate(entries))

    @property
    def operator(self) -> Float[Tensor, "D SD"]:
        """F, shape (D, S·D), float64, oldest block first."""
        F, (entry, sign) = torch.zeros(self.dim, self.history * self.dim).double(), torch.tensor(self.sources).T
        F[torch.arange(self.dim), entry] = sign.double()
        return F

    @classmethod
    def from_operator(cls, operator: Float[Tensor, "D SD"]) -> VariableBinding:
        """The task whose F is ``operator``, the inverse of :attr:`operator`; ``from_operator(F).triple`` codes it."""
        dim, width = operator.shape
        if dim < 1 or width % dim:
            raise ValueError(f"operator must have shape (D, S·D), got {tuple(operator.shape)}")
        used = operator != 0
        if not ((operator[used].abs() == 1).all() and (used.sum(1) == 1).all()):
            raise ValueError("operator must have exactly one entry ±1 in every row, and zeros elsewhere")
        if bool((used.sum(0) > 1).any()):
            raise ValueError("operator must not read one entry of the history twice")
        targets = used.int().argmax(1).tolist()
        entries = sorted(targets)
        permutation = 0
        for k, p in enumerate(targets):  # undo the swaps: entry p is now at some place k + g
            g = entries.index(p) - k
            entries[k], entries[k + g] = entries[k + g], entries[k]
            permutation += g * dim**k
        choice = sum(1 << p for p in targets)
        signs = sum(1 << k for k, p in enumerate(targets) if operator[k, p] < 0)
        return cls((choice, permutation, signs), width // dim, dim)

    @classmethod
    def repeat_copy(cls, history: Index, dim: Index) -> VariableBinding:
        """x(t) = x(t − S): F reads the oldest block unchanged."""
        return cls((2 ** integer("dim", dim, 1) - 1, 0, 0), history, dim)

    @classmethod
    def random(cls, history: Index, dim: Index, generator: torch.Generator) -> VariableBinding:
        """A task drawn uniformly from all :meth:`count` of them."""
        history, dim = integer("history", history, 1), integer("dim", dim, 1)
        place = torch.randperm(history * dim, generator=generator, device=generator.device)[:dim]
        signs = torch.randint(2, (dim,), generator=generator, device=generator.device)
        F = torch.zeros(dim, history * dim, dtype=torch.float64, device=generator.device)
        F[torch.arange(dim), place] = 1.0 - 2 * signs.double()
        return cls.from_operator(F)

    @staticmethod
    def count(history: Index, dim: Index) -> int:
        """How many tasks exist: C(S·D, D) choices × D! orders × 2^D signs."""
        history, dim = integer("history", history, 1), integer("dim", dim, 1)
        return math.comb(history * dim, dim) * math.factorial(dim) * 2**dim

    def inputs(
        self, batch: int, generators: Generators, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "M S B D"]:
        """Random signs u, one slice per generator, on the generators' device.
        Model m draws from ``generators[m]`` alone: what it sees does not depend on the other models."""
        shape = (self.history, integer("batch", batch, 1), self.dim)
        if not dtype.is_floating_point:
            raise ValueError(f"dtype must be a floating-point type, got {dtype}")
        bits = [torch.randint(2, shape, generator=g, device=g.device, dtype=torch.int8) for g in each(generators)]
        return torch.stack(bits).to(dtype).mul_(2).sub_(1)

    def targets(self, inputs: Float[Tensor, "M S B D"], horizon: int) -> Float[Tensor, "M T B D"]:
        """What must be written in the T = ``horizon`` steps after the inputs, x(S+1) … x(S+T). Any device and dtype."""
        horizon = integer("horizon", horizon, 1)
        models, history, batch, dim = inputs.shape
        if (history, dim) != (self.history, self.dim):
            raise ValueError(f"inputs must have shape (M, {self.history}, B, {self.dim}), got {tuple(inputs.shape)}")
        source, sign = _trace(self, horizon, inputs.device, inputs.dtype)
        rows = inputs.transpose(2, 3).reshape(models, history * dim, batch)
        return (rows[:, source] * sign[:, None]).view(models, horizon, dim, batch).transpose(2, 3).contiguous()

    def sample(
        self, batch: int, horizon: int, generators: Generators, dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "M S B D"], Float[Tensor, "M T B D"]]:
        """Inputs (M, S, B, D) and the T = ``horizon`` targets (M, T, B, D) that follow. Time comes before batch."""
        inputs = self.inputs(batch, generators, dtype)
        return inputs, self.targets(inputs, horizon)


def _digits(number: int, base: int) -> list[int]:
    """Little-endian digits of ``number``; in base 1, zero is the only number there is."""
    if base == 1:
        return [] if number == 0 else [1]
    digits = []
    while number:
        number, digit = divmod(number, base)
        digits.append(digit)
    return digits


@lru_cache(maxsize=64)
def _trace(
    task: VariableBinding, horizon: int, device: torch.device, dtype: torch.dtype
) -> tuple[Int[Tensor, "TD"], Float[Tensor, "TD"]]:
    """Every output entry is one input entry with a sign: which one, and the sign, for the whole horizon at once."""
    entry, turn = torch.tensor(task.sources).T
    D, width = task.dim, task.history * task.dim
    source, sign = torch.arange(width + horizon * D), torch.ones(width + horizon * D, dtype=torch.long)
    for now in range(width, len(source), D):
        source[now : now + D] = source[now - width + entry]
        sign[now : now + D] = sign[now - width + entry] * turn
    return source[width:].to(device), sign[width:].to(device, dtype)
