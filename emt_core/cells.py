"""Recurrent cells as plain tensors with a leading models axis, and how they run.

A model is data: a frozen dataclass of weights. A new cell (GRU, LSTM) is a dataclass beside :class:`Elman` with the
same three functions: ``init``, ``step`` and ``rollout``; its state is whatever ``step`` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from emt_core._checks import integer
from emt_core._files import write_safetensors

RECURRENT_STARTS = ("uniform", "orthogonal", "identity", "small")
ACTIVATIONS = {"tanh": torch.tanh, "identity": lambda x: x}


@dataclass(frozen=True)
class Elman:
    """M bias-free Elman networks: h_t = σ(W_hh h_{t−1} + W_uh u_t), o_t = W_r h_t.

    ``activation`` is ``"tanh"``, as trained, or ``"identity"``, the linear networks of :mod:`emt_core.circuit`.
    """

    W_uh: Float[Tensor, "M N D"]
    W_hh: Float[Tensor, "M N N"]
    W_r: Float[Tensor, "M D N"]
    activation: str = "tanh"

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {self.activation!r}")
        if self.W_uh.ndim != 3:
            raise ValueError(f"W_uh must have shape (M, N, D), got {tuple(self.W_uh.shape)}")
        models, hidden, dim = self.W_uh.shape
        for name, want in (("W_hh", (models, hidden, hidden)), ("W_r", (models, dim, hidden))):
            got = tuple(getattr(self, name).shape)
            if got != want:
                raise ValueError(f"{name} must have shape {want} to go with W_uh {(models, hidden, dim)}, got {got}")

    @property
    def models(self) -> int:
        return self.W_uh.shape[0]

    @property
    def hidden(self) -> int:
        return self.W_uh.shape[1]

    @property
    def dim(self) -> int:
        return self.W_uh.shape[2]

    def __getitem__(self, index: int | slice | Sequence[int]) -> Elman:
        """The chosen models, as an ensemble of their own: ``model[3]`` has M = 1."""
        # a tuple would index several axes at once
        pick = [index] if isinstance(index, int) else list(index) if isinstance(index, tuple) else index
        return replace(self, W_uh=self.W_uh[pick], W_hh=self.W_hh[pick], W_r=self.W_r[pick])

    def to(self, *args, **kwargs) -> Elman:
        """The same models on another device or in another dtype, as in ``Tensor.to``."""
        moved = {name: getattr(self, name).to(*args, **kwargs) for name in ("W_uh", "W_hh", "W_r")}
        return replace(self, **moved)


def init(hidden: int, dim: int, generators: Sequence[torch.Generator], recurrent: str = "uniform") -> Elman:
    """One freshly drawn network per generator, float32: U(−1/√N, 1/√N) for every weight, PyTorch's default for
    ``nn.RNN`` and for a ``nn.Linear`` with N inputs, which is how the authors start.

    ``recurrent`` chooses another start for W_hh alone: ``"orthogonal"`` (uniformly drawn), ``"identity"``, or
    ``"small"``, a tenth of the uniform one.
    """
    hidden, dim = integer("hidden", hidden, 1), integer("dim", dim, 1)
    if len(generators) == 0:
        raise ValueError("generators must hold at least one torch.Generator, got none")
    if recurrent not in RECURRENT_STARTS:
        raise ValueError(f"recurrent must be one of {RECURRENT_STARTS}, got {recurrent!r}")
    bound = hidden**-0.5

    def draw(*shape: int) -> Tensor:
        return torch.stack(
            [torch.empty(shape, device=g.device).uniform_(-bound, bound, generator=g) for g in generators]
        )

    model = Elman(W_uh=draw(hidden, dim), W_hh=draw(hidden, hidden), W_r=draw(dim, hidden))
    if recurrent == "small":
        return replace(model, W_hh=0.1 * model.W_hh)
    if recurrent == "identity":
        return replace(model, W_hh=torch.eye(hidden, device=model.W_hh.device).expand_as(model.W_hh).clone())
    if recurrent == "orthogonal":
        gaussian = torch.stack([torch.randn(hidden, hidden, generator=g, device=g.device) for g in generators])
        Q, R = torch.linalg.qr(gaussian.double())
        # QR leaves the signs of R's diagonal open; fixed, Q is uniform (Mezzadri 2007)
        return replace(model, W_hh=(Q * R.diagonal(dim1=1, dim2=2).sign()[:, None]).float())
    return model


def step(model: Elman, h: Float[Tensor, "M B N"], u: Float[Tensor, "M B D"] | None = None) -> Float[Tensor, "M B N"]:
    """One step of the recurrence; without ``u`` the network runs on its own."""
    drive = h @ model.W_hh.mT
    if u is not None:
        drive = drive + u @ model.W_uh.mT
    return ACTIVATIONS[model.activation](drive)


def rollout(
    model: Elman,
    inputs: Float[Tensor, "M S B D"],
    horizon: int = 0,
    h: Float[Tensor, "M B N"] | None = None,
) -> tuple[Float[Tensor, "M L B N"], Float[Tensor, "M L B D"]]:
    """States and outputs at all L = S + horizon steps: S steps that read ``inputs``, then ``horizon`` without input.

    Starts from ``h`` (zero if not given). Index S of the results is the first step of the output phase.
    """
    models, reading, batch, dim = inputs.shape
    if (models, dim) != (model.models, model.dim):
        raise ValueError(f"inputs must have shape ({model.models}, S, B, {model.dim}), got {tuple(inputs.shape)}")
    if horizon < 0 or reading + horizon < 1:
        raise ValueError(f"horizon must be at least 0, and 1 without inputs; got {horizon} with {reading} inputs")
    if h is None:
        h = inputs.new_zeros(models, batch, model.hidden)
    if tuple(h.shape) != (models, batch, model.hidden):
        raise ValueError(f"h must have shape {(models, batch, model.hidden)}, got {tuple(h.shape)}")
    states = []
    for t in range(reading + horizon):
        h = step(model, h, inputs[:, t] if t < reading else None)
        states.append(h)
    trajectory = torch.stack(states, dim=1)
    return trajectory, trajectory @ model.W_r.mT[:, None]


def save(model: Elman, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Weights as safetensors with text metadata; written under a temporary name, then renamed."""
    tensors = {"W_uh": model.W_uh, "W_hh": model.W_hh, "W_r": model.W_r}
    write_safetensors(tensors, Path(path), {**(metadata or {}), "cell": "elman", "activation": model.activation})


def load(path: str | Path) -> tuple[Elman, dict[str, str]]:
    """A saved model and its metadata."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no saved model at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("cell") != "elman":
                raise ValueError(f"path must hold a saved Elman model, {path} says cell={metadata.get('cell')!r}")
            weights = {name: file.get_tensor(name) for name in ("W_uh", "W_hh", "W_r")}
    except SafetensorError as error:
        raise ValueError(f"path must hold a saved model, {path} cannot be read: {error}") from error
    return Elman(**weights, activation=metadata["activation"]), metadata
