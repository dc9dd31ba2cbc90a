"""A task of your own: a function samples what a network reads, and what it should say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emt_core.support.checks import Index, integer
from emt_core.tasks.sequences import Generators, each

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]  #: (B, generator) -> inputs, targets
Inputs = Int[Tensor, "M T B"] | Float[Tensor, "M T B I"]  #: tokens, or vectors of I numbers
Wanted = Int[Tensor, "M K B"] | Float[Tensor, "M K B C"]  #: classes, or vectors of C numbers


@dataclass(frozen=True)
class OwnTask:
    """Read T steps of inputs, and say what is wanted at the last K ≤ T of them.

    ``draw(batch, generator)`` returns inputs and targets of ``batch`` = B sequences. All its random numbers must come
    from ``generator``, so that a seed gives the same numbers every time; T and K may differ from one call to the next.

    - Inputs: with ``vocabulary`` = V tokens 0 … V − 1, integers (T, B); without it vectors, floats (T, B, I).
    - Targets: with ``classes`` = C one of 0 … C − 1, integers (K, B), for which a network gives C scores (cross
      entropy), and −1 where nothing is asked; without it vectors, floats (K, B, C) (mean squared error).

    A label at the end has K = 1. Where a network should say something after it has read all, a token that means "now",
    or vectors of zeros, stand for the time of saying it. Sequences of different lengths in one batch are filled up with
    a token of their own, and with targets −1 where they are.
    """

    draw: Draw
    vocabulary: Index | None = None
    classes: Index | None = None

    def __post_init__(self) -> None:
        if not callable(self.draw):
            raise ValueError(f"draw must be a function of a batch size and a generator, got {type(self.draw).__name__}")
        for name, least in (("vocabulary", 1), ("classes", 2)):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else integer(name, value, least))

    def sample(self, batch: int, generators: Generators) -> tuple[Inputs, Wanted]:
        """Inputs and targets, model m's from ``generators[m]`` alone; int64 and float32.

        Raises:
            ValueError: what ``draw`` returns is not what the class says, or not of one shape for all models. What
                ``draw`` itself raises is passed on.
        """
        batch = integer("batch", batch, 1)
        drawn = [self._checked(self.draw(batch, generator), batch) for generator in each(generators)]
        inputs, targets = zip(*drawn, strict=True)
        for name, tensors in (("inputs", inputs), ("targets", targets)):
            if len(shapes := {tuple(x.shape) for x in tensors}) > 1:
                raise ValueError(f"draw must return {name} of one shape for models of one group, got {sorted(shapes)}")
        return torch.stack(inputs), torch.stack(targets)

    def _checked(self, drawn: object, batch: int) -> tuple[Tensor, Tensor]:
        """One batch of the function's, if it is right."""
        found = drawn if isinstance(drawn, tuple | list) else (drawn,)
        if len(found) != 2 or not all(isinstance(x, Tensor) for x in found):
            kinds = ", ".join(type(x).__name__ for x in found)
            raise ValueError(f"draw must return two tensors, inputs and targets, got {kinds or 'nothing'}")
        inputs = _kind("inputs", ("T", "I"), found[0], batch, "vocabulary", self.vocabulary, 0)
        targets = _kind("targets", ("K", "C"), found[1], batch, "classes", self.classes, -1)
        if len(targets) > len(inputs):
            raise ValueError(
                f"draw must return targets of K ≤ T = {len(inputs)} steps, the last ones, got {len(targets)}"
            )
        if self.classes is not None and int(targets.max()) < 0:
            raise ValueError("draw must return targets that ask for something, got −1 everywhere")
        return inputs, targets


def _kind(
    name: str, axes: tuple[str, str], x: Tensor, batch: int, argument: str, kinds: int | None, least: int
) -> Tensor:
    """Integers ``least`` … ``kinds`` − 1, or vectors if ``kinds`` is None; ValueError says what else it is."""
    steps, size = axes
    whole = not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)
    if kinds is None:
        right = x.is_floating_point() and x.ndim == 3 and min(x.shape) > 0
        want = f"floats, shape ({steps}, {batch}, {size}), where {argument} is not given"
    else:
        right, want = whole and x.ndim == 2, f"integers, shape ({steps}, {batch}), with {argument} = {kinds}"
    if not right or len(x) < 1 or x.shape[1] != batch:
        raise ValueError(f"draw must return {name} that are {want}, got {x.dtype}, shape {tuple(x.shape)}")
    if kinds is None:
        if not bool(x.isfinite().all()):
            raise ValueError(f"draw must return {name} that are finite, got {x[~x.isfinite()][0].item()}")
        return x.detach().float()
    for found in (int(x.min()), int(x.max())):
        if not least <= found < kinds:
            raise ValueError(f"draw must return {name} in {least} … {kinds - 1}, got {found}")
    return x.long()
