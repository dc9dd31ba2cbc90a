"""Probes that learn to read a sequence of tokens from the last state of a network that repeats (arXiv:2408.10920)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emt_core.analysis.edits.learned import RECIPE, OnionEdit, magnitudes
from emt_core.networks import GRU, TokenNetwork
from emt_core.networks.cell import rows, uniform
from emt_core.networks.tokens import right_tokens
from emt_core.support.files import digest
from emt_core.support.random_streams import streams
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.training import scores as judge
from emt_core.training.until_flat import Optimised, Recipe, Weights, optimise

WRITING = ("gru", "gru no input")
KINDS = ("linear", "mlp", "onion", *WRITING)


@dataclass(frozen=True)
class Probe:
    """One probe per model, for sequences of up to ``length`` = L tokens. ``weights`` by ``kind``:

    - "linear": ``W`` (M, L·V, n), ``b``: the scores of all positions at once, position by position;
    - "mlp": ``W1`` (M, n, n), ``b1``, ``W2`` (M, L·V, n), ``b2``: the same behind n ReLU units;
    - "onion": peels. At p = 0, 1, …: a small MLP, ``W1`` (M, n, n), ``b1``, ``W2`` (M, V, n), ``b2``, shared by all
      positions, reads a token from the layer-normalised state; then the token's layer,
      e ⊙ (g ⊙ γ^p + β p + b), is taken off (``tokens``, ``gamma``, ``beta``, ``scale``, ``offset`` as in
      :class:`emt_core.analysis.edits.OnionEdit`, without its tanh);
    - "gru", "gru no input": the weights of a GRU that writes from the state, with its own output as its next input, or
      without.
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


def read(probe: Probe, h: Float[Tensor, "M B n"], length: int) -> Int[Tensor, "M L B"]:
    """The tokens that a probe reads from states, ``length`` of them."""
    if not 1 <= length <= probe.length:
        raise ValueError(f"length must lie in 1 … {probe.length}, got {length}")
    with torch.no_grad():
        if probe.kind in WRITING:
            return _decoder(probe).write(h, length)
        if probe.kind != "onion":
            return _at_once(probe, h)[:, :length].argmax(3)
        tokens, sizes = [], _sizes(probe.weights, length)
        for p in range(length):
            tokens.append(_classify(probe.weights, h).argmax(2))
            h = h - rows(probe.weights["tokens"], tokens[-1]) * sizes[:, p, None]
        return torch.stack(tokens, dim=1)


def scores(probe: Probe, h: Float[Tensor, "M B n"], sequences: Sequences) -> Float[Tensor, "M L B V"]:
    """The scores of all tokens in training, where a probe that goes from token to token is told the true ones."""
    if probe.kind in WRITING:
        return _decoder(probe).logits(h, sequences)
    if probe.kind != "onion":
        return _at_once(probe, h)
    models, length, batch = sequences.tokens.shape
    sizes = _sizes(probe.weights, length)
    layers = rows(probe.weights["tokens"], sequences.tokens.flatten(1)).unflatten(1, (length, batch))
    off = (layers * sizes[:, :, None]).cumsum(1)
    residuals = torch.cat([h[:, None], h[:, None] - off[:, :-1]], dim=1)
    return _classify(probe.weights, residuals.flatten(1, 2)).view(models, length, batch, -1)


def fit(
    kind: str,
    model: TokenNetwork,
    task: TokenRepeat,
    *,
    seeds: Sequence[int],
    recipe: Recipe = RECIPE,
    validation: Sequences | None = None,
    **running: Any,
) -> LearnedProbe:
    """Learn one probe per model of ``model``, which stays as it is, to read a sequence of any length from the state
    after its last token. ``seeds``: one per model. ``running``: ``checkpoint``, ``checkpoint_every``, ``stop`` and
    ``progress``, see :func:`emt_core.training.engine.run`."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    seeds = judge.seeds_for(model, task, seeds)
    model, device, generators = model.detach(), model.device, streams(seeds, f"{kind} probe")
    avoid = (task.validation() if validation is None else validation).to("cpu")
    task.check("validation", avoid)
    validation = avoid.to(device).expand(model.models)
    few, encode = judge.spread(validation, judge.LOOK), torch.no_grad()(model.encode)

    def loss(weights: Weights, generators: Sequence[torch.Generator]) -> Tensor:
        batch = task.sample(recipe.batch, generators, avoid).to(device)
        return judge.cross_entropy(scores(Probe(kind, weights, task.longest), encode(batch), batch), batch)

    def right(weights: Weights, sequences: Sequences) -> Bool[Tensor, "M L B"]:
        return right_tokens(read(Probe(kind, weights, task.longest), encode(sequences), task.longest), sequences)

    def score(weights: Weights) -> Tensor:
        return judge.token_accuracy(right(weights, few), few)

    identity = {"probe": kind, "task": repr(task), "seeds": seeds} | model.settings
    identity |= {"of": digest(*model.weights.values(), validation.tokens, validation.lengths)}
    running |= {"identity": identity, "name": f"{kind} probe of {model.hidden} units"}
    run = optimise(_start(kind, model, task.longest, generators), loss, score, generators, recipe, **running)
    found = right(run.weights, validation)
    return LearnedProbe(Probe(kind, run.weights, task.longest), validation, found, judge.exact_match(found), run)


def _start(kind: str, model: TokenNetwork, length: int, generators: Sequence[torch.Generator]) -> Weights:
    """Drawn as PyTorch draws its modules; the onion's scales start at γ = 0.9, β = 0.1, g = 1, b = 0."""
    size, vocabulary, one = model.state_size, model.vocabulary, model.W_o.new_ones(model.models, model.state_size)
    if kind in WRITING:
        return TokenNetwork.init(GRU, vocabulary, size, generators).to(one).weights
    outputs = vocabulary if kind == "onion" else length * vocabulary
    shapes: dict[str, tuple[int, ...]] = {"W": (outputs, size), "b": (outputs,)}
    if kind != "linear":
        shapes = {"W1": (size, size), "b1": (size,), "W2": (outputs, size), "b2": (outputs,)}
    weights = {name: uniform(shape, size**-0.5, generators).to(one) for name, shape in shapes.items()}
    if kind != "onion":
        return weights
    tokens = torch.stack([torch.randn(vocabulary, size, generator=g) for g in generators]).to(one)
    return weights | {"tokens": tokens, "gamma": 0.9 * one, "beta": 0.1 * one, "scale": one, "offset": 0 * one}


def _at_once(probe: Probe, h: Float[Tensor, "M B n"]) -> Float[Tensor, "M L B V"]:
    w = probe.weights
    out = _affine(h, w["W"], w["b"]) if probe.kind == "linear" else _mlp(w, h)
    return out.unflatten(2, (probe.length, -1)).transpose(1, 2)


def _classify(w: Weights, h: Float[Tensor, "M B n"]) -> Float[Tensor, "M B V"]:
    return _mlp(w, torch.nn.functional.layer_norm(h, h.shape[-1:]))


def _mlp(w: Weights, x: Tensor) -> Tensor:
    return _affine(torch.relu(_affine(x, w["W1"], w["b1"])), w["W2"], w["b2"])


def _affine(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return torch.baddbmm(b[:, None], x, W.mT)


def _sizes(w: Weights, length: int) -> Float[Tensor, "M L n"]:
    return magnitudes(OnionEdit(w["tokens"], w["gamma"], w["beta"], w["scale"], w["offset"]), length)


def _decoder(probe: Probe) -> TokenNetwork:
    own = {name: w for name, w in probe.weights.items() if name not in ("embedding", "W_o", "b_o")}
    ends = {name: probe.weights[name] for name in ("embedding", "W_o", "b_o")}
    return TokenNetwork(GRU(**own), **ends, autoregressive=probe.kind == "gru")
