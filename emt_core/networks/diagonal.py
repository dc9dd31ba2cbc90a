"""Diagonal linear recurrences: each number of the state fades, and turns or does not, whatever is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks.cell import Cell, Generators, Scan, uniform
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.networks.linear_scan import scan_rows
from emt_core.support.checks import Self, integer
from emt_core.tasks.sequences import each


@dataclass(frozen=True, eq=False)
class _Diagonal(Cell):
    """h_t = λ ⊙ h_{t−1} + γ ⊙ B x_t, where γ and the moduli ρ of λ are learned as logarithms: ρ = exp(−exp(ν))."""

    B: Float[Tensor, "M N I"]
    nu: Float[Tensor, "M K"]
    log_gamma: Float[Tensor, "M K"]

    # decay would pull ρ to 1/e and γ to 1, not to 0: arXiv:2303.06349 exempts what makes λ and γ
    undecayed: ClassVar[tuple[str, ...]] = ("nu", "log_gamma")

    def __post_init__(self) -> None:
        if self.B.ndim != 3:
            raise ValueError(f"B must have shape (M, N, I), got {tuple(self.B.shape)}")
        models, modes = self.B.shape[0], self._modes(self.hidden)
        size = models, modes
        check_shapes(f" to go with B {tuple(self.B.shape)}", nu=(self.nu, size), log_gamma=(self.log_gamma, size))

    @staticmethod
    def _modes(hidden: int) -> int:
        """K, how many λ there are."""
        return hidden

    @property
    def hidden(self) -> int:
        return self.B.shape[1]

    @property
    def inputs(self) -> int:
        return self.B.shape[2]

    @property
    def modulus(self) -> Float[Tensor, "M K"]:
        """ρ, between 0 and 1."""
        return torch.exp(-torch.exp(self.nu))

    def drive(self, x: Float[Tensor, "M B I"]) -> Float[Tensor, "M B N"]:
        """What is added to the state when ``x`` is read."""
        return (x @ self.B.mT) * self._of_state(torch.exp(self.log_gamma))[:, None]

    def _of_state(self, modes: Float[Tensor, "M K"]) -> Float[Tensor, "M N"]:
        """One number for each of the state's."""
        return modes

    def faded(self, h: Float[Tensor, "M B N"]) -> Float[Tensor, "M B N"]:
        """λ ⊙ h."""
        raise NotImplementedError

    def multiplier(self) -> tuple[Float[Tensor, "M N"], Float[Tensor, "M P"]]:
        """The real part of λ, one for each number of the state, and the imaginary part where it turns."""
        raise NotImplementedError

    def step(self, h: Float[Tensor, "M B N"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B N"]:
        faded = self.faded(h)
        return faded if x is None else faded + self.drive(x)

    def scan(self, table: Float[Tensor, "M W I"]) -> Scan:
        """The product of every row with B is made once."""
        drive = self.drive(table)
        keep, turn = (y[:, None].expand(-1, drive.shape[1], -1) for y in self.multiplier())
        return partial(scan_rows, torch.cat([keep, drive, turn], dim=-1), turning=turn.shape[-1])


@dataclass(frozen=True, eq=False)
class LRU(_Diagonal):
    """The linear recurrent unit of Orvieto et al. (arXiv:2303.06349): h_t = λ ⊙ h_{t−1} + γ ⊙ B x_t with complex h, B
    and λ = exp(−exp(ν) + iθ), so that each number turns by its own angle a step. State and B hold the real parts, then
    the imaginary ones: N is twice the paper's. If N is odd, the last number only fades: K = ⌈N/2⌉, P = ⌊N/2⌋. Without
    the layers around it and the direct way D x; θ itself is learned, not its logarithm."""

    theta: Float[Tensor, "M P"]

    undecayed = "nu", "log_gamma", "theta"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shapes(" to go with B", theta=(self.theta, (self.models, self.hidden // 2)))

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """λ uniform in the unit disc, γ = √(1 − ρ²), B normal with variance 1/2I in each part, as in the paper."""
        inputs, hidden = integer("inputs", inputs, 1), integer("hidden", hidden, 1)
        B = _normal((hidden, inputs), (2 * inputs) ** -0.5, generators)
        modulus = _below_one(cls._modes(hidden), generators).sqrt()  # uniform in area
        return cls(B, *_with_norm(modulus), math.pi * (1 + uniform((hidden // 2,), 1.0, generators)))

    @staticmethod
    def _modes(hidden: int) -> int:
        return (hidden + 1) // 2

    def _of_state(self, modes: Float[Tensor, "M K"]) -> Float[Tensor, "M N"]:
        pairs = self.hidden // 2
        return torch.cat([modes[:, :pairs], modes], dim=1)

    def faded(self, h: Float[Tensor, "M B N"]) -> Float[Tensor, "M B N"]:
        pairs, modulus = self.hidden // 2, self._of_state(self.modulus)[:, None]
        c, s = torch.cos(self.theta)[:, None], torch.sin(self.theta)[:, None]
        real, imaginary, alone = h.tensor_split((pairs, 2 * pairs), dim=-1)
        return modulus * torch.cat([c * real - s * imaginary, s * real + c * imaginary, alone], dim=-1)

    def multiplier(self) -> tuple[Float[Tensor, "M N"], Float[Tensor, "M P"]]:
        pairs, modulus, cosine = self.hidden // 2, self._of_state(self.modulus), torch.cos(self.theta)
        turning = torch.cat([cosine, cosine, torch.ones_like(modulus[:, 2 * pairs :])], dim=1)
        return modulus * turning, modulus[:, :pairs] * torch.sin(self.theta)


@dataclass(frozen=True, eq=False)
class Decay(_Diagonal):
    """h_t = λ ⊙ h_{t−1} + γ ⊙ B x_t with real λ = exp(−exp(ν)) between 0 and 1, K = N: an LRU that never turns."""

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """λ uniform between 0 and 1, γ = √(1 − λ²), B normal with variance 1/I."""
        inputs, hidden = integer("inputs", inputs, 1), integer("hidden", hidden, 1)
        B = _normal((hidden, inputs), inputs**-0.5, generators)
        return cls(B, *_with_norm(_below_one(hidden, generators)))

    def faded(self, h: Float[Tensor, "M B N"]) -> Float[Tensor, "M B N"]:
        return self.modulus[:, None] * h

    def multiplier(self) -> tuple[Float[Tensor, "M N"], Float[Tensor, "M P"]]:
        return self.modulus, self.modulus[:, :0]


def _below_one(count: int, generators: Generators) -> Float[Tensor, "M K"]:
    """Uniform in (0, 1), away from both ends by rounding."""
    return ((1 + uniform((count,), 1.0, generators)) / 2).clamp(1e-6, 1 - 1e-6)


def _with_norm(modulus: Float[Tensor, "M K"]) -> tuple[Float[Tensor, "M K"], Float[Tensor, "M K"]]:
    """ν, and log γ that gives an input of white noise the same variance in every mode."""
    return torch.log(-torch.log(modulus)), 0.5 * torch.log1p(-modulus.square())


def _normal(shape: tuple[int, ...], scale: float, generators: Generators) -> Tensor:
    return scale * torch.stack([torch.randn(shape, generator=g, device=g.device) for g in each(generators)])
