"""Recurrent cells as plain tensors with a leading models axis, and how they run.

A model is data: a frozen dataclass of weights. :class:`Elman` reads and writes vectors, :class:`GRU` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from emt_core._checks import integer
from emt_core._files import write_safetensors
from emt_core.kernels import gru as kernel
from emt_core.tasks import Sequences

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


# --- GRUs that read and write tokens ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class GRU:
    """M GRUs, each of which reads a sequence of tokens and then writes one (arXiv:2408.10920).

    Rows 0 … V − 1 of ``embedding`` are the tokens', row V starts the writing, and row V + 1 is "no input". The GRU's
    gates are stacked r, z, n, as in ``torch.nn.GRU``: G = 3N. Writing starts from the state after the last token read:
    the first input is row V, and then, if ``autoregressive``, the token just written, else row V + 1.
    """

    embedding: Float[Tensor, "M W N"]
    W_ih: Float[Tensor, "M G N"]
    W_hh: Float[Tensor, "M G N"]
    b_ih: Float[Tensor, "M G"]
    b_hh: Float[Tensor, "M G"]
    W_o: Float[Tensor, "M V N"]
    b_o: Float[Tensor, "M V"]
    autoregressive: bool = True

    def __post_init__(self) -> None:
        if self.W_o.ndim != 3:
            raise ValueError(f"W_o must have shape (M, V, N), got {tuple(self.W_o.shape)}")
        models, vocabulary, hidden = self.W_o.shape
        gates = (models, 3 * hidden)
        want = {"embedding": (models, vocabulary + 2, hidden), "W_ih": (*gates, hidden), "W_hh": (*gates, hidden)}
        for name, shape in (want | {"b_ih": gates, "b_hh": gates, "b_o": (models, vocabulary)}).items():
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ValueError(f"{name} must have shape {shape} to go with W_o {tuple(self.W_o.shape)}, got {got}")

    @property
    def models(self) -> int:
        return self.W_o.shape[0]

    @property
    def hidden(self) -> int:
        return self.W_o.shape[2]

    @property
    def vocabulary(self) -> int:
        return self.W_o.shape[1]

    @property
    def weights(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "autoregressive"}

    @property
    def table(self) -> Float[Tensor, "M W G"]:
        """What each input adds to the gates, with all biases but that of n that r multiplies: see ``kernels.gru``."""
        outside_r = torch.cat(
            [self.b_hh[:, : 2 * self.hidden], torch.zeros_like(self.b_hh[:, 2 * self.hidden :])], dim=1
        )
        return self.embedding @ self.W_ih.mT + (self.b_ih + outside_r)[:, None]

    @property
    def b_hn(self) -> Float[Tensor, "M N"]:
        return self.b_hh[:, 2 * self.hidden :]

    def __getitem__(self, index: int | slice | Sequence[int]) -> GRU:
        """The chosen models, as an ensemble of their own: ``model[3]`` has M = 1."""
        pick = [index] if isinstance(index, int) else list(index) if isinstance(index, tuple) else index
        return replace(self, **{name: w[pick] for name, w in self.weights.items()})

    def to(self, *args, **kwargs) -> GRU:
        """The same models on another device or in another dtype, as in ``Tensor.to``."""
        return replace(self, **{name: w.to(*args, **kwargs) for name, w in self.weights.items()})


def gru_init(hidden: int, vocabulary: int, generators: Sequence[torch.Generator], autoregressive: bool = True) -> GRU:
    """One freshly drawn GRU per generator, float32, as PyTorch draws its modules: embeddings from N(0, 1), all else
    from U(−1/√N, 1/√N)."""
    hidden, vocabulary = integer("hidden", hidden, 1), integer("vocabulary", vocabulary, 2)
    if len(generators) == 0:
        raise ValueError("generators must hold at least one torch.Generator, got none")
    bound = hidden**-0.5

    def uniform(*shape: int) -> Tensor:
        return torch.stack(
            [torch.empty(shape, device=g.device).uniform_(-bound, bound, generator=g) for g in generators]
        )

    return GRU(
        embedding=torch.stack([torch.randn(vocabulary + 2, hidden, generator=g, device=g.device) for g in generators]),
        W_ih=uniform(3 * hidden, hidden),
        W_hh=uniform(3 * hidden, hidden),
        b_ih=uniform(3 * hidden),
        b_hh=uniform(3 * hidden),
        W_o=uniform(vocabulary, hidden),
        b_o=uniform(vocabulary),
        autoregressive=autoregressive,
    )


def gru_of(
    embedding: torch.nn.Embedding, gru: torch.nn.GRU, readout: torch.nn.Linear, autoregressive: bool = True
) -> GRU:
    """The same network as a :class:`GRU` (M = 1): its weights, not copied. ``embedding`` has two rows more than
    ``readout`` has outputs, see there."""
    if gru.num_layers != 1 or gru.bidirectional or not gru.bias:
        raise ValueError(f"gru must have one layer, one direction and biases, got {gru}")
    if readout.bias is None:
        raise ValueError("readout must have a bias, got none")
    weights = [embedding.weight, gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0]
    return GRU(*[w[None] for w in (*weights, readout.weight, readout.bias)], autoregressive=autoregressive)


def gru_gates(
    model: GRU, h: Float[Tensor, "M B N"], inputs: Int[Tensor, "M B"]
) -> tuple[Float[Tensor, "M B N"], Float[Tensor, "M B N"], Float[Tensor, "M B N"]]:
    """Gates r and z and candidate n, when ``inputs`` (rows of the embedding) are read in states ``h``."""
    x = torch.stack([rows[chosen] for rows, chosen in zip(model.embedding, inputs, strict=True)])
    i_r, i_z, i_n = (x @ model.W_ih.mT + model.b_ih[:, None]).chunk(3, dim=-1)
    h_r, h_z, h_n = (h @ model.W_hh.mT + model.b_hh[:, None]).chunk(3, dim=-1)
    r, z = torch.sigmoid(i_r + h_r), torch.sigmoid(i_z + h_z)
    return r, z, torch.tanh(i_n + r * h_n)


def gru_step(model: GRU, h: Float[Tensor, "M B N"], inputs: Int[Tensor, "M B"]) -> Float[Tensor, "M B N"]:
    """One step: h' = (1 − z) ⊙ n + z ⊙ h. The slow truth beside :func:`emt_core.kernels.gru.scan`."""
    _, z, n = gru_gates(model, h, inputs)
    return (1 - z) * n + z * h


def encode(model: GRU, sequences: Sequences) -> Float[Tensor, "M B N"]:
    """The state in which each sequence leaves the GRU, read from the state zero."""
    return trajectory(model, sequences)[:, -1]


def trajectory(model: GRU, sequences: Sequences) -> Float[Tensor, "M L B N"]:
    """The states after each token read; a sequence that is over keeps its last one."""
    tokens, active = _of(model, sequences)
    h = model.W_o.new_zeros(model.models, tokens.shape[2], model.hidden)
    return kernel.scan(model.table, model.b_hn, model.W_hh, tokens, h, active)


def writing_inputs(model: GRU, sequences: Sequences) -> Int[Tensor, "M L B"]:
    """What the GRU reads while it writes ``sequences``, if it makes no mistake (teacher forcing)."""
    return _inputs(model, _of(model, sequences)[0])


def _inputs(model: GRU, tokens: Tensor) -> Tensor:
    start = torch.full_like(tokens[:, :1], model.vocabulary)
    later = tokens[:, :-1] if model.autoregressive else torch.full_like(tokens[:, 1:], model.vocabulary + 1)
    return torch.cat([start, later], dim=1)


def logits(model: GRU, h: Float[Tensor, "M B N"], sequences: Sequences) -> Float[Tensor, "M L B V"]:
    """Scores of the tokens at each step of writing ``sequences`` from ``h``, teacher-forced if autoregressive."""
    tokens, active = _of(model, sequences)
    states = kernel.scan(model.table, model.b_hn, model.W_hh, _inputs(model, tokens), h, active)
    return read_out(model, states)


def read_out(model: GRU, states: Float[Tensor, "M L B N"]) -> Float[Tensor, "M L B V"]:
    return torch.baddbmm(model.b_o[:, None], states.flatten(1, 2), model.W_o.mT).unflatten(1, states.shape[1:3])


@torch.no_grad()
def write(model: GRU, h: Float[Tensor, "M B N"], length: int) -> Int[Tensor, "M L B"]:
    """The ``length`` tokens that the GRU writes from ``h`` by itself, each time the one with the largest score."""
    table, b_hn = model.table, model.b_hn
    inputs = torch.full((model.models, 1, h.shape[1]), model.vocabulary, device=h.device)
    written = []
    for _ in range(integer("length", length, 1)):
        states = kernel.scan(table, b_hn, model.W_hh, inputs, h)
        h = states[:, 0]
        written.append(read_out(model, states).argmax(3))
        inputs = written[-1] if model.autoregressive else torch.full_like(inputs, model.vocabulary + 1)
    return torch.cat(written, dim=1)


def right_tokens(written: Int[Tensor, "M L B"], sequences: Sequences) -> Bool[Tensor, "M L B"]:
    """Which tokens are those of ``sequences``; True beyond a sequence's end, so that ``.all(1)`` is exact match."""
    return (written == sequences.tokens) | ~sequences.mask


def _of(model: GRU, sequences: Sequences) -> tuple[Tensor, Tensor]:
    """Tokens and active sequences, for every model."""
    if sequences.tokens.shape[0] not in (1, model.models):
        raise ValueError(f"sequences must be for 1 or {model.models} models, got {sequences.tokens.shape[0]}")
    sequences = sequences.expand(model.models)
    lengths = sequences.lengths
    if lengths.device.type == "cpu" and bool((lengths[:, 1:] > lengths[:, :-1]).any()):  # a GPU is not waited for
        raise ValueError("sequences must be sorted by length, the longest first")
    return sequences.tokens, sequences.active


def save(model: Elman | GRU, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Weights as safetensors with text metadata; written under a temporary name, then renamed."""
    if isinstance(model, GRU):
        kind = {"cell": "gru", "autoregressive": str(model.autoregressive).lower()}
        tensors = model.weights
    else:
        kind = {"cell": "elman", "activation": model.activation}
        tensors = {"W_uh": model.W_uh, "W_hh": model.W_hh, "W_r": model.W_r}
    write_safetensors(tensors, Path(path), {**(metadata or {}), **kind})


def load(path: str | Path) -> tuple[Elman, dict[str, str]]:
    """A saved :class:`Elman` and its metadata."""
    weights, metadata = _load(path, "elman", "Elman")
    return Elman(**weights, activation=metadata["activation"]), metadata


def load_gru(path: str | Path) -> tuple[GRU, dict[str, str]]:
    """A saved :class:`GRU` and its metadata."""
    weights, metadata = _load(path, "gru", "GRU")
    return GRU(**weights, autoregressive=metadata["autoregressive"] == "true"), metadata


def _load(path: str | Path, cell: str, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no saved model at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("cell") != cell:
                raise ValueError(f"path must hold a saved {name} model, {path} says cell={metadata.get('cell')!r}")
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"path must hold a saved model, {path} cannot be read: {error}") from error
