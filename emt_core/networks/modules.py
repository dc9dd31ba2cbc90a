"""A network as a plain ``torch.nn.Module``, for everyone's tools: what it computes at each step passes through
submodules, where forward hooks can see and edit it."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from emt_core.networks.cell import Cell
from emt_core.networks.hooks import names
from emt_core.networks.tokens import TokenNetwork
from emt_core.networks.vectors import VectorNetwork
from emt_core.support.checks import integer


class CellModule(nn.Module):
    """One cell: its weights by their names, and an ``nn.Identity`` for each named quantity
    (:func:`emt_core.networks.hooks.names`) through which its value (B, N) goes at every step, as ``z`` of a GRU. A dot
    in a name becomes ``_``."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self._like = _one(cell).to("meta")  # what it is, without its numbers
        self._names = {name: name.replace(".", "_") for name in (*cell.weights, *names(cell))}
        for name, w in cell.weights.items():
            self.register_parameter(self._names[name], _copied(w))
        for name in names(cell):
            self.add_module(self._names[name], nn.Identity())

    def as_cell(self) -> Cell:
        """The cell (M = 1) with the weights as they are now, which it shares."""
        return self._like.with_weights({name: self._of(name)[None] for name in self._like.weights})

    def forward(self, h: Float[Tensor, "B n"], x: Float[Tensor, "B I"] | None = None) -> Float[Tensor, "B n"]:
        """One step."""

        def look(name: str, value: Tensor) -> Tensor:
            # a copy: some tools edit in place, and autograd may still want the value as it was
            return self._of(name)(value[0].clone())[None]

        return self.as_cell().watched(h[None], None if x is None else x[None], look)[0]

    def _of(self, name: str) -> Any:
        return getattr(self, self._names[name])


class TokenModule(nn.Module):
    """A network that reads tokens: ``embedding``, ``cell`` and ``read_out`` are called in turn at every step, the last
    while it writes."""

    def __init__(self, network: TokenNetwork) -> None:
        super().__init__()
        self._like = _one(network).to("meta")
        self.cell = CellModule(network.cell)
        self.embedding = nn.Embedding.from_pretrained(_copied(network.embedding), freeze=False)
        last = _linear(network.W_o, network.b_o)
        between = () if network.W_m is None else (_linear(network.W_m, network.b_m), nn.ReLU())
        self.read_out = nn.Sequential(*between, last) if between else last

    def as_network(self) -> TokenNetwork:
        """The network (M = 1) with the weights as they are now, which it shares."""
        layers = [layer for layer in self.read_out.modules() if isinstance(layer, nn.Linear)]
        ends = {"embedding": self.embedding.weight, "W_o": layers[-1].weight, "b_o": layers[-1].bias}
        ends |= {"W_m": layers[0].weight, "b_m": layers[0].bias} if len(layers) > 1 else {}
        own = self.cell.as_cell().weights
        return self._like.with_weights(own | {name: w[None] for name, w in ends.items()})

    def forward(self, tokens: Int[Tensor, "B L"], writing: int | None = None) -> Float[Tensor, "B K V"]:
        """Scores of the tokens at each of ``writing`` = K steps (L if None) that the network writes by itself after it
        has read ``tokens``, in 0 … V − 1."""
        V = self._like.vocabulary
        if not tokens.shape[1]:
            raise ValueError(f"tokens must have shape (B, L ≥ 1), got {tuple(tokens.shape)}")
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < V:
            raise ValueError(f"tokens must lie in 0 … {V - 1}, got {int(tokens.min())} … {int(tokens.max())}")
        h = self.cell.as_cell().zero_state(len(tokens))[0]
        for row in tokens.unbind(1):
            h = self.cell(h, self.embedding(row))
        row, scores = torch.full_like(tokens[:, 0], V), []
        for _ in range(tokens.shape[1] if writing is None else integer("writing", writing, 1)):
            h = self.cell(h, self.embedding(row))
            scores.append(self.read_out(self._like.cell.visible(h)))
            row = scores[-1].argmax(1) if self._like.autoregressive else torch.full_like(row, V + 1)
        return torch.stack(scores, dim=1)


class VectorModule(nn.Module):
    """A network of vectors: ``cell`` and ``read_out`` are called in turn at every step."""

    def __init__(self, network: VectorNetwork) -> None:
        super().__init__()
        self._like = _one(network).to("meta")
        self.cell = CellModule(network.cell)
        self.read_out = _linear(network.W_r, None)

    def as_network(self) -> VectorNetwork:
        """The network (M = 1) with the weights as they are now, which it shares."""
        return self._like.with_weights(self.cell.as_cell().weights | {"W_r": self.read_out.weight[None]})

    def forward(self, inputs: Float[Tensor, "B S D"], horizon: int = 0) -> Float[Tensor, "B L D"]:
        """Outputs at all L = S + horizon steps: S that read ``inputs``, then ``horizon`` without input."""
        (batch, reading, dim), horizon = inputs.shape, integer("horizon", horizon, 0)
        if dim != self._like.dim or reading + horizon < 1:
            raise ValueError(f"inputs must have shape (B, S ≥ 1, {self._like.dim}), got {tuple(inputs.shape)}")
        h, outputs = self.cell.as_cell().zero_state(batch)[0], []
        for t in range(reading + horizon):
            h = self.cell(h, inputs[:, t] if t < reading else None)
            outputs.append(self.read_out(self._like.cell.visible(h)))
        return torch.stack(outputs, dim=1)


def to_module(model: Cell | TokenNetwork | VectorNetwork) -> CellModule | TokenModule | VectorModule:
    """A plain ``nn.Module`` that computes what ``model`` (M = 1) does, batch first, with a copy of its weights. It can
    be trained, and ``as_network()`` or ``as_cell()`` makes a network of it again. A module that torch has, without the
    submodules, is made by :func:`emt_core.networks.to_torch`.

    Raises:
        ValueError: several models; a network of another kind, or one that reads in a way of its own.
    """
    if isinstance(model, Cell):
        return CellModule(model)
    if isinstance(model, VectorNetwork):
        return VectorModule(model)
    if isinstance(model, TokenNetwork) and type(model).encode is TokenNetwork.encode:
        return TokenModule(model)
    raise ValueError(
        f"model must be a cell, a TokenNetwork or a VectorNetwork that reads step by step, got {type(model).__name__}"
    )


def _one(model: Any) -> Any:
    if model.models != 1:
        raise ValueError(f"model must have one model, got {model.models}: choose one, as in model[0]")
    return model


def _copied(w: Float[Tensor, "1 ..."]) -> nn.Parameter:
    return nn.Parameter(w[0].detach().clone())


def _linear(W: Float[Tensor, "1 O I"], b: Float[Tensor, "1 O"] | None) -> nn.Linear:
    made = nn.Linear(W.shape[2], W.shape[1], bias=b is not None, device="meta")
    made.weight = _copied(W)
    if b is not None:
        made.bias = _copied(b)
    return made
