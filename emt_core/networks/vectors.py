"""Networks that read vectors and write vectors: a cell and a linear read-out. They bind variables."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks.cell import Cell, Generators, Network, uniform
from emt_core.networks.elman import Elman
from emt_core.networks.kernels.shapes import Inputs, Recurrent, Targets, WayIn, WayOut, check_shapes
from emt_core.support.checks import Self, integer


@dataclass(frozen=True, eq=False)
class VectorNetwork(Network):
    """M networks: h_t = cell(h_{t−1}, u_t), o_t = W_r visible(h_t), with inputs u and outputs o of D numbers. After the
    inputs they run on without any."""

    W_r: Float[Tensor, "M D N"]

    def __post_init__(self) -> None:
        want = (self.cell.models, self.cell.inputs, self.cell.hidden)
        check_shapes(" to go with its cell", W_r=(self.W_r, want))

    @classmethod
    def init(cls, cell: type[Cell], dim: int, hidden: int, generators: Generators) -> Self:
        """One freshly drawn network per generator, float32: the cell, then W_r from U(−1/√N, 1/√N)."""
        dim, hidden = integer("dim", dim, 1), integer("hidden", hidden, 1)
        drawn = cell.init(dim, hidden, generators)
        return cls(drawn, uniform((dim, hidden), hidden**-0.5, generators))

    @property
    def dim(self) -> int:
        """D, the size of an input and of an output."""
        return self.W_r.shape[1]

    @property
    def W_uh(self) -> Float[Tensor, "M N D"]:
        """Of an Elman network, by the paper's names."""
        return self.cell.W_uh  # type: ignore[attr-defined]

    @property
    def W_hh(self) -> Float[Tensor, "M N N"]:
        return self.cell.W_hh  # type: ignore[attr-defined]

    def step(self, h: Float[Tensor, "M B n"], u: Float[Tensor, "M B D"] | None = None) -> Float[Tensor, "M B n"]:
        """One step of the recurrence; without ``u`` the network runs on its own."""
        return self.cell.step(h, u)

    def read_out(self, h: Float[Tensor, "M *T B n"]) -> Float[Tensor, "M *T B D"]:
        """What is written in the states ``h``."""
        return self.cell.visible(h) @ (self.W_r.mT if h.ndim == 3 else self.W_r.mT[:, None])

    def rollout(
        self,
        inputs: Float[Tensor, "M S B D"],
        horizon: int = 0,
        h: Float[Tensor, "M B n"] | None = None,
        noise: Float[Tensor, "M L B n"] | None = None,
    ) -> tuple[Float[Tensor, "M L B n"], Float[Tensor, "M L B D"]]:
        """States and outputs at all L = S + horizon steps: S that read ``inputs``, then ``horizon`` without input.

        Starts from ``h`` (zero if not given). Index S of the results is the first step of the output phase. ``noise``
        is added to the state after each step.
        """
        models, reading, batch, dim = inputs.shape
        if (models, dim) != (self.models, self.dim):
            raise ValueError(f"inputs must have shape ({self.models}, S, B, {self.dim}), got {tuple(inputs.shape)}")
        if horizon < 0 or reading + horizon < 1:
            raise ValueError(f"horizon must be at least 0, and 1 without inputs; got {horizon} with {reading} inputs")
        h = self.cell.zero_state(batch).to(inputs) if h is None else h
        size = (models, batch, self.state_size)
        check_shapes("", h=(h, size), noise=(noise, (models, reading + horizon, *size[1:])))
        states = []
        for t in range(reading + horizon):
            h = self.step(h, inputs[:, t] if t < reading else None)
            h = h if noise is None else h + noise[:, t]
            states.append(h)
        trajectory = torch.stack(states, dim=1)
        return trajectory, self.read_out(trajectory)


def elman(W_uh: WayIn, W_hh: Recurrent, W_r: WayOut, activation: str = "tanh") -> VectorNetwork:
    """The paper's network of these three matrices."""
    return VectorNetwork(Elman(W_uh=W_uh, W_hh=W_hh, activation=activation), W_r)


def loss_and_grad(
    network: VectorNetwork, inputs: Inputs, targets: Targets, noise: Float[Tensor, "M L B n"] | None = None
) -> tuple[Float[Tensor, "M"], Float[Tensor, "M"], dict[str, Tensor]]:
    """What networks of any cell are trained with where there is no kernel for all of it: per model, mean squared error
    over the output phase, share of right signs, and the gradient of the former by autograd, one tensor per weight.
    ``noise`` is that of :meth:`VectorNetwork.rollout`."""
    weights = {name: w.detach().requires_grad_() for name, w in network.weights.items()}
    own, reading = network.with_weights(weights), inputs.shape[1]
    if noise is None and type(own.cell).scan is not Cell.scan:
        written = own.read_out(_scanned(own.cell, inputs, targets.shape[1])[:, reading:])
    else:
        written = own.rollout(inputs, targets.shape[1], noise=noise)[1][:, reading:]
    loss = (written - targets).square().mean(dim=(1, 2, 3))
    gradients = torch.autograd.grad(loss.sum(), list(weights.values()))
    accuracy = ((written.detach() * targets) > 0).to(loss.dtype).mean(dim=(1, 2, 3))
    return loss.detach(), accuracy, dict(zip(weights, gradients, strict=True))


def _scanned(cell: Cell, inputs: Inputs, horizon: int) -> Float[Tensor, "M L B n"]:
    """The states of :meth:`VectorNetwork.rollout` by the kernel that some cells have, which reads rows of a table:
    every input vector is a row of its own, and zero, which is no input, the last."""
    models, reading, batch, dim = inputs.shape
    table = torch.cat([inputs.flatten(1, 2), inputs.new_zeros(models, 1, dim)], dim=1)
    rows = torch.arange(reading * batch, device=inputs.device).view(reading, batch)
    after = torch.full((horizon, batch), reading * batch, device=inputs.device)
    tokens = torch.cat([rows, after]).expand(models, -1, -1)
    return cell.scan(table)(tokens, cell.zero_state(batch))
