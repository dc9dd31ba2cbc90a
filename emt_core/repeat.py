"""GRUs that repeat tokens: their loss, their exact match, their training (arXiv:2408.10920)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emt_core import cells
from emt_core._checks import integer
from emt_core._files import digest
from emt_core._running import ctrl_c_sets, one_thread_per_product
from emt_core.cells import GRU
from emt_core.optimise import Optimised, Recipe, optimise
from emt_core.tasks import Sequences, TokenRepeat

RECIPE = Recipe()
LOOK = 1000  # validation sequences that a look during training uses


@dataclass(frozen=True)
class Repeaters:
    """Trained GRUs. ``exact`` (M,): share of the validation sequences that are repeated without a mistake."""

    model: GRU
    exact: Float[Tensor, "M"]
    training: tuple[Optimised, ...]


def cross_entropy(scores: Float[Tensor, "M L B V"], sequences: Sequences) -> Float[Tensor, "M"]:
    """Mean over all tokens of the sequences, per model."""
    mask = sequences.mask
    tokens = sequences.tokens.expand(scores.shape[:3])
    each = torch.nn.functional.cross_entropy(scores.flatten(0, 2), tokens.flatten(), reduction="none").view(
        tokens.shape
    )
    return (each * mask).sum((1, 2)) / mask.sum((1, 2))


def repeats(model: GRU, sequences: Sequences, h: Float[Tensor, "M B N"] | None = None) -> Bool[Tensor, "M L B"]:
    """Which tokens are right when the models write by themselves, from ``h`` if given, else from what they have read.
    True beyond a sequence's end, so that ``.all(1)`` is exact match."""
    with torch.no_grad():
        h = cells.encode(model, sequences) if h is None else h
        return cells.right_tokens(cells.write(model, h, sequences.tokens.shape[1]), sequences)


def token_accuracy(right: Bool[Tensor, "M L B"], sequences: Sequences) -> Float[Tensor, "M"]:
    """Share of right tokens: what a run is judged by while it goes on, finer than exact match."""
    mask = sequences.mask.expand(right.shape)
    return (right & mask).sum((1, 2)).double() / mask.sum((1, 2))


def fit(
    task: TokenRepeat,
    *,
    hidden: int,
    seeds: Sequence[int],
    autoregressive: bool = True,
    recipe: Recipe = RECIPE,
    validation: Sequences | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    stop: threading.Event | None = None,
    progress: bool = True,
) -> Repeaters:
    """Train one GRU per seed to repeat; seed s is the same alone and among others, on the CPU bit for bit. Its random
    numbers are drawn on the CPU, whatever ``device`` is.

    Args:
        validation: sequences that are never trained on, and that judge the models. Default: ``task.validation()``.
        checkpoint: see :func:`emt_core.optimise.optimise`; on the CPU for one seed at a time only.
    """
    hidden, seeds = integer("hidden", hidden, 1), [integer("seeds", s, 0) for s in seeds]
    if not seeds:
        raise ValueError("seeds must hold at least one seed, got none")
    avoid = (task.validation() if validation is None else validation).to("cpu")
    validation = avoid.to(device)
    groups = [[s] for s in seeds] if device == "cpu" else [seeds]
    if checkpoint is not None and len(groups) > 1:
        raise ValueError(f"seeds must be one for a checkpoint on the CPU, got {seeds}")
    few, stop = spread(validation, LOOK), threading.Event() if stop is None else stop
    judged_by = digest(validation.tokens, validation.lengths)

    def train(group: list[int]) -> Optimised:
        generators = [torch.Generator().manual_seed(s) for s in group]
        start = cells.gru_init(hidden, int(task.vocabulary), generators, autoregressive).to(device)

        def loss(weights, generators):
            batch = task.sample(recipe.batch, generators, avoid).to(device)
            model = replace(start, **weights)
            return cross_entropy(cells.logits(model, cells.encode(model, batch), batch), batch)

        def score(weights):
            return token_accuracy(repeats(replace(start, **weights), few), few)

        try:
            return optimise(
                start.weights, loss, score, generators, recipe, checkpoint=checkpoint, stop=stop, progress=progress,
                identity=f"{task} {hidden} {autoregressive} {group} {recipe} {judged_by}",
                name=f"GRU N = {hidden}, seed {group[0]}",
            )  # fmt: skip
        except BaseException:
            stop.set()  # else the others would go on to their ends
            raise

    with (
        one_thread_per_product(device == "cpu") as workers,
        ctrl_c_sets(stop),
        ThreadPoolExecutor(min(workers, len(groups))) as pool,
    ):
        runs = list(pool.map(train, groups)) if len(groups) > 1 else [train(groups[0])]
    together = {name: torch.cat([run.weights[name] for run in runs]) for name in runs[0].weights}
    model = GRU(**together, autoregressive=autoregressive)
    return Repeaters(model, repeats(model, validation).all(1).double().mean(1).cpu(), tuple(runs))


def seeds_for(model: GRU, task: TokenRepeat, seeds: Sequence[int]) -> list[int]:
    """The seeds, checked: one for each model that is studied; and that ``task`` is one that the models can read."""
    if task.vocabulary != model.vocabulary:
        raise ValueError(f"task must have the models' vocabulary of {model.vocabulary} tokens, got {task.vocabulary}")
    if len(seeds) != model.models:
        raise ValueError(f"seeds must be one per model ({model.models}), got {len(seeds)}")
    return [integer("seeds", seed, 0) for seed in seeds]


def spread(sequences: Sequences, size: int) -> Sequences:
    """``size`` of the sequences or up to twice as many, evenly spread over their order, and so over their lengths."""
    return sequences[:: max(1, sequences.tokens.shape[2] // size)]


def by_position(right: Bool[Tensor, "M L B"], sequences: Sequences) -> Float[Tensor, "M L"]:
    """Share of right tokens at each position, among the sequences that have one there."""
    mask = sequences.mask.expand(right.shape)
    return (right & mask).sum(2).double() / mask.sum(2)


def by_length(right: Bool[Tensor, "M L B"], lengths: Int[Tensor, "*M B"]) -> dict[int, Float[Tensor, "M"]]:
    """Exact match per length."""
    whole, lengths = right.all(1), lengths.expand(right.shape[0], -1)
    return {
        int(n): ((whole & (lengths == n)).sum(1).double() / (lengths == n).sum(1)) for n in lengths.unique().tolist()
    }
