"""The Elman cell, in the paper's form without biases (arXiv:2310.02430)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks.cell import Cell, Generators, uniform
from emt_core.networks.kernels.shapes import check_shapes
from emt_core.support.checks import Self, integer

RECURRENT_STARTS = ("uniform", "orthogonal", "identity", "small", "biased")
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "identity": lambda x: x}


@dataclass(frozen=True, eq=False)
class Elman(Cell):
    """h_t = σ(W_hh h_{t−1} + W_uh x_t + b). Trained here with tanh, and without ``b`` unless it was given or
    :meth:`started` drew it; of ``torch.nn.RNN`` it is the sum of both biases. ``"identity"`` makes the linear networks
    of the theory."""

    W_hh: Float[Tensor, "M N N"]
    W_uh: Float[Tensor, "M N I"]
    b: Float[Tensor, "M N"] | None = None
    activation: str = "tanh"

    module = torch.nn.RNN

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {self.activation!r}")
        if self.W_uh.ndim != 3:
            raise ValueError(f"W_uh must have shape (M, N, I), got {tuple(self.W_uh.shape)}")
        models, hidden, _ = size = tuple(self.W_uh.shape)
        beside = f" to go with W_uh {size}"
        check_shapes(beside, W_hh=(self.W_hh, (models, hidden, hidden)), b=(self.b, (models, hidden)))

    @classmethod
    def init(cls, inputs: int, hidden: int, generators: Generators) -> Self:
        """U(−1/√N, 1/√N) for every weight, PyTorch's default for ``nn.RNN``, which is how the authors start."""
        inputs, hidden = integer("inputs", inputs, 1), integer("hidden", hidden, 1)
        W_uh = uniform((hidden, inputs), hidden**-0.5, generators)
        return cls(W_uh=W_uh, W_hh=uniform((hidden, hidden), hidden**-0.5, generators))

    @property
    def hidden(self) -> int:
        return self.W_uh.shape[1]

    @property
    def inputs(self) -> int:
        return self.W_uh.shape[2]

    def step(self, h: Float[Tensor, "M B N"], x: Float[Tensor, "M B I"] | None = None) -> Float[Tensor, "M B N"]:
        drive = h @ self.W_hh.mT
        if x is not None:
            drive = drive + x @ self.W_uh.mT
        return ACTIVATIONS[self.activation](drive if self.b is None else drive + self.b[:, None])

    def started(self, recurrent: str, generators: Generators) -> Self:
        """The same cells with another start of W_hh: ``"orthogonal"`` (uniformly drawn), ``"identity"``, ``"small"``, a
        tenth of what it is, or ``"uniform"``, as it is; and as it is with ``"biased"``, which draws b as W_hh was."""
        if recurrent not in RECURRENT_STARTS:
            raise ValueError(f"recurrent must be one of {RECURRENT_STARTS}, got {recurrent!r}")
        if recurrent == "biased":
            return replace(self, b=uniform((self.hidden,), self.hidden**-0.5, generators))
        if recurrent == "small":
            return replace(self, W_hh=0.1 * self.W_hh)
        if recurrent == "identity":
            return replace(self, W_hh=torch.eye(self.hidden, device=self.device).expand_as(self.W_hh).clone())
        if recurrent == "orthogonal":
            shape = (self.hidden, self.hidden)
            gaussian = torch.stack([torch.randn(shape, generator=g, device=g.device) for g in generators])
            Q, R = torch.linalg.qr(gaussian.double())
            # QR leaves the signs of R's diagonal open; fixed, Q is uniform (Mezzadri 2007)
            return replace(self, W_hh=(Q * R.diagonal(dim1=1, dim2=2).sign()[:, None]).float())
        return self

    @classmethod
    def of_weights(cls, module: torch.nn.Module, weights: list[Tensor]) -> Self:
        W_uh, W_hh, *biases = (w[None] for w in weights)
        b = biases[0] + biases[1] if biases else None
        return cls(W_hh=W_hh, W_uh=W_uh, b=b, activation=str(module.nonlinearity))

    def to_module(self) -> torch.nn.Module:
        if self.activation == "identity":
            raise ValueError("cell.activation must be 'tanh' or 'relu' for torch.nn.RNN, got 'identity'")
        made = torch.nn.RNN(self.inputs, self.hidden, 1, self.activation, dtype=self.W_hh.dtype, device=self.device)
        zeros = torch.zeros_like(self.W_hh[0, 0])
        weights = self.W_uh[0], self.W_hh[0], zeros if self.b is None else self.b[0], zeros
        made.load_state_dict(dict(zip(made.state_dict(), weights, strict=True)))
        return made
