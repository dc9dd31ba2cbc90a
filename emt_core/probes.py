"""Probes: what can be read from a state. :func:`sign_probe` reads signs, linearly or with one hidden layer;
:func:`fit` learns to read a whole sequence of tokens from the last state of a GRU that repeats (arXiv:2408.10920).

A probe says what *is there to be read*, not what the network under study uses; for that see
:mod:`emt_core.interventions`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emt_core import cells, interventions, repeat
from emt_core._checks import integer
from emt_core._files import digest
from emt_core.cells import GRU
from emt_core.optimise import Optimised, Recipe, Weights, optimise
from emt_core.tasks import Sequences, TokenRepeat

KINDS = ("linear", "mlp", "onion", "gru", "gru no input")
RECIPE = Recipe(steps=60_000, patience=5, least=10_000)
APART = 1_000_000  # between the seed of a GRU and that of a GRU that reads it


def sign_probe(
    states: Float[Tensor, "M B N"],
    signs: Float[Tensor, "M B K"],
    test_states: Float[Tensor, "M C N"],
    test_signs: Float[Tensor, "M C K"],
    *,
    width: int = 0,
    steps: int = 400,
    lr: float = 0.02,
    decay: float = 1e-4,
    seed: int = 0,
) -> Float[Tensor, "M K"]:
    """Train one probe per model to read K signs ±1 from its states, and return the share of right test signs.

    ``width`` 0 is a linear probe with bias; otherwise one hidden layer of ``width`` ReLU units, with the linear probe
    beside it, so that it can represent whatever the linear one can. States are standardised with the training set's
    mean and deviation. Logistic loss, AdamW with ``decay`` on the whole set, ``steps`` steps at a rate that falls from
    ``lr`` to zero as a cosine. Compare probes on test states only: a wide probe can learn its training set by heart.
    """
    width, steps = integer("width", width, 0), integer("steps", steps, 1)
    for name, x, y in (("signs", states, signs), ("test_signs", test_states, test_signs)):
        if x.shape[:2] != y.shape[:2]:
            raise ValueError(
                f"{name} must have shape {(*x.shape[:2], 'K')} to go with its states, got {tuple(y.shape)}"
            )
        if not (y.abs() == 1).all():
            raise ValueError(f"{name} must be -1 or 1 throughout")
    if states.shape[1] < 2:
        raise ValueError(f"states must hold at least 2 sequences, got {states.shape[1]}")
    for name, a, b in (("test_states", states, test_states), ("test_signs", signs, test_signs)):
        if (a.shape[0], a.shape[2]) != (b.shape[0], b.shape[2]):
            raise ValueError(f"{name} must have shape {(a.shape[0], 'C', a.shape[2])}, got {tuple(b.shape)}")
    # a unit that hardly moves is not blown up: its deviation would be the rounding of its mean
    floor = 1e-6 * states.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
    mean, deviation = states.mean(1, keepdim=True), states.std(1, keepdim=True).maximum(floor)
    x, test_x = (states - mean) / deviation, (test_states - mean) / deviation
    models, _, inputs = x.shape
    outputs = signs.shape[2]
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float) -> Tensor:
        return (torch.randn(shape, generator=generator) * scale).to(x.dtype).expand(models, *shape).clone()

    weights = [draw(inputs, outputs, scale=0.0), draw(1, outputs, scale=0.0)]
    if width:
        weights += [draw(inputs, width, scale=inputs**-0.5), draw(1, width, scale=0.5), draw(width, outputs, scale=0.0)]
    for w in weights:
        w.requires_grad_()

    def read(v: Tensor) -> Tensor:
        linear = v @ weights[0] + weights[1]
        return linear + torch.relu(v @ weights[2] + weights[3]) @ weights[4] if width else linear

    optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        # a sum over models: each has its own gradient, as if it were trained alone
        torch.nn.functional.softplus(-read(x) * signs).mean((1, 2)).sum().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return (read(test_x) * test_signs > 0).to(x.dtype).mean(1)


# --- reading a sequence from the last state of a GRU that repeats -----------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """One probe per model, for sequences of up to ``length`` = L tokens. ``weights`` by ``kind``:

    - "linear": ``W`` (M, L·V, N), ``b``: the scores of all positions at once, position by position;
    - "mlp": ``W1`` (M, N, N), ``b1``, ``W2`` (M, L·V, N), ``b2``: the same behind N ReLU units;
    - "onion": peels. At p = 0, 1, …: a small MLP, ``W1`` (M, N, N), ``b1``, ``W2`` (M, V, N), ``b2``, shared by all
      positions, reads a token from the layer-normalised state; then the token's layer,
      e ⊙ (g ⊙ γ^p + β p + b), is taken off (``tokens``, ``gamma``, ``beta``, ``scale``, ``offset`` as in
      :class:`emt_core.interventions.OnionEdit`, without its tanh);
    - "gru", "gru no input": the weights of a :class:`emt_core.cells.GRU` that writes from the state, with its own
      output as its next input, or without.
    """

    kind: str
    weights: Weights
    length: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {self.kind!r}")


@dataclass(frozen=True)
class LearnedProbe:
    """A probe and what it reads on the validation sequences ``of``: which tokens are ``right``, and ``exact`` (M,)."""

    probe: Probe
    of: Sequences
    right: Bool[Tensor, "M L B"]
    exact: Float[Tensor, "M"]
    training: Optimised


def read(probe: Probe, h: Float[Tensor, "M B N"], length: int) -> Int[Tensor, "M L B"]:
    """The tokens that a probe reads from states, ``length`` of them."""
    if not 1 <= length <= probe.length:
        raise ValueError(f"length must lie in 1 … {probe.length}, got {length}")
    with torch.no_grad():
        if probe.kind in ("gru", "gru no input"):
            return cells.write(_decoder(probe), h, length)
        if probe.kind != "onion":
            return _at_once(probe, h)[:, :length].argmax(3)
        tokens, sizes = [], interventions.magnitudes(_layers(probe.weights), length)
        for p in range(length):
            tokens.append(_classify(probe.weights, h).argmax(2))
            h = h - interventions.rows(probe.weights["tokens"], tokens[-1]) * sizes[:, p, None]
        return torch.stack(tokens, dim=1)


def scores(probe: Probe, h: Float[Tensor, "M B N"], sequences: Sequences) -> Float[Tensor, "M L B V"]:
    """The scores of all tokens in training, where a probe that goes from token to token is told the true ones."""
    if probe.kind in ("gru", "gru no input"):
        return cells.logits(_decoder(probe), h, sequences)
    if probe.kind != "onion":
        return _at_once(probe, h)
    models, length, batch = sequences.tokens.shape
    sizes = interventions.magnitudes(_layers(probe.weights), length)
    layers = interventions.rows(probe.weights["tokens"], sequences.tokens.flatten(1)).unflatten(1, (length, batch))
    off = (layers * sizes[:, :, None]).cumsum(1)
    residuals = torch.cat([h[:, None], h[:, None] - off[:, :-1]], dim=1)
    return _classify(probe.weights, residuals.flatten(1, 2)).view(models, length, batch, -1)


def fit(
    kind: str,
    model: GRU,
    task: TokenRepeat,
    *,
    seeds: Sequence[int],
    recipe: Recipe = RECIPE,
    validation: Sequences | None = None,
    checkpoint: Path | None = None,
    stop: threading.Event | None = None,
    progress: bool = True,
) -> LearnedProbe:
    """Learn one probe per model of ``model``, which stays as it is, to read a sequence of any length from the state
    after its last token. ``seeds``: one per model."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    seeds = repeat.seeds_for(model, task, seeds)
    device = model.W_o.device
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    avoid = (task.validation() if validation is None else validation).to("cpu").expand(model.models)
    validation = avoid.to(device)
    few = repeat.spread(validation, repeat.LOOK)
    start = _start(kind, model, task.longest, generators)
    of = [*model.weights.values(), validation.tokens, validation.lengths]

    def loss(weights: Weights, generators: Sequence[torch.Generator]) -> Tensor:
        batch = task.sample(recipe.batch, generators, avoid).to(device)
        with torch.no_grad():
            h = cells.encode(model, batch)
        return repeat.cross_entropy(scores(Probe(kind, weights, task.longest), h, batch), batch)

    def right(weights: Weights, sequences: Sequences) -> Tensor:
        with torch.no_grad():
            h = cells.encode(model, sequences)
        return cells.right_tokens(read(Probe(kind, weights, task.longest), h, task.longest), sequences)

    def score(weights: Weights) -> Tensor:
        return repeat.token_accuracy(right(weights, few), few)

    run = optimise(
        start, loss, score, generators, recipe, checkpoint=checkpoint, stop=stop, progress=progress,
        identity=f"{kind} {task} {seeds} {recipe} {model.autoregressive} {digest(*of)}",
        name=f"{kind} probe of N = {model.hidden}",
    )  # fmt: skip
    found = right(run.weights, validation)
    return LearnedProbe(
        Probe(kind, run.weights, task.longest), validation, found, found.all(1).double().mean(1).cpu(), run
    )


def _start(kind: str, model: GRU, length: int, generators: Sequence[torch.Generator]) -> Weights:
    """Drawn as PyTorch draws its modules; the onion's scales start at γ = 0.9, β = 0.1, g = 1, b = 0."""
    models, hidden, vocabulary = model.models, model.hidden, model.vocabulary
    if kind in ("gru", "gru no input"):
        # not where the GRU of the same seed started: from there it might only learn to be that GRU again
        apart = [torch.Generator().manual_seed(g.initial_seed() + APART) for g in generators]
        return cells.gru_init(hidden, vocabulary, apart).to(model.W_o).weights

    def uniform(*shape: int) -> Tensor:
        bound = hidden**-0.5
        return torch.stack([torch.empty(shape).uniform_(-bound, bound, generator=g) for g in generators]).to(model.W_o)

    if kind == "linear":
        return {"W": uniform(length * vocabulary, hidden), "b": uniform(length * vocabulary)}
    outputs = vocabulary if kind == "onion" else length * vocabulary
    weights = {
        "W1": uniform(hidden, hidden),
        "b1": uniform(hidden),
        "W2": uniform(outputs, hidden),
        "b2": uniform(outputs),
    }
    if kind == "mlp":
        return weights
    one = model.W_o.new_ones(models, hidden)
    tokens = torch.stack([torch.randn(vocabulary, hidden, generator=g) for g in generators])
    return weights | {"tokens": tokens.to(one), "gamma": 0.9 * one, "beta": 0.1 * one, "scale": one, "offset": 0 * one}


def _at_once(probe: Probe, h: Float[Tensor, "M B N"]) -> Float[Tensor, "M L B V"]:
    w = probe.weights
    if probe.kind == "mlp":
        h = torch.relu(_affine(h, w["W1"], w["b1"]))
    out = _affine(h, w["W"], w["b"]) if probe.kind == "linear" else _affine(h, w["W2"], w["b2"])
    return out.unflatten(2, (probe.length, -1)).transpose(1, 2)


def _classify(w: Weights, h: Float[Tensor, "M B N"]) -> Float[Tensor, "M B V"]:
    normal = torch.nn.functional.layer_norm(h, h.shape[-1:])
    return _affine(torch.relu(_affine(normal, w["W1"], w["b1"])), w["W2"], w["b2"])


def _affine(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return torch.baddbmm(b[:, None], x, W.mT)


def _layers(w: Weights) -> interventions.OnionEdit:
    return interventions.OnionEdit(**{name: w[name] for name in ("tokens", "gamma", "beta", "scale", "offset")})


def _decoder(probe: Probe) -> GRU:
    return GRU(**probe.weights, autoregressive=probe.kind == "gru")
