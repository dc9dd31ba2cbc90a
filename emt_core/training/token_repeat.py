"""Networks that learn to repeat tokens (arXiv:2408.10920): GRUs as in the paper, or networks of any other cell."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.networks import Attention, Elman, TokenNetwork, cell_named
from emt_core.networks.rounded import Rounded
from emt_core.networks.saving import ATTENTION
from emt_core.support.checks import device_of, integer
from emt_core.support.files import digest
from emt_core.support.random_streams import seeds_of, streams
from emt_core.support.running import one_thread_per_product
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.training.engine import Status
from emt_core.training.scores import LOOK, cross_entropy, exact_match, repeats, spread, token_accuracy
from emt_core.training.until_flat import Optimised, Recipe, Weights, optimise, untouched

RECIPE = Recipe()


@dataclass(frozen=True)
class Repeaters:
    """Trained networks. ``exact`` (M,): share of the validation sequences that are repeated without a mistake."""

    model: TokenNetwork | Attention
    exact: Float[Tensor, "M"]
    training: Optimised

    @property
    def status(self) -> tuple[Status, ...]:
        return self.training.status


def fit(
    task: TokenRepeat,
    *,
    cell: str = "gru",
    hidden: int = 48,
    seeds: Sequence[int] = (0,),
    autoregressive: bool = True,
    recipe: Recipe = RECIPE,
    steps: int | None = None,
    validation: Sequences | None = None,
    learns: Collection[str] | None = None,
    inputs: int | None = None,
    between: int = 0,
    stored: str = "",
    recurrent: str = "",
    blocks: int = 1,
    device: str | torch.device = "cpu",
    **running: Any,
) -> Repeaters:
    """Train one network per seed to repeat; seed s is the same alone and among others, on the CPU bit for bit. Random
    numbers are drawn on the CPU, whatever ``device`` is.

    Args:
        cell: a name in :data:`emt_core.networks.CELLS`, or "attention": a Transformer that reads into ``hidden``
            numbers (:class:`emt_core.networks.Attention`).
        steps: if given, in the place of the recipe's.
        learns: names of the weights that are trained, ``("W_o", "b_o")`` for the read-out of a random network, ``()``
            for nothing; the others stay as they were drawn, and a seed is the same among others up to rounding.
            Default: all.
        inputs, between: numbers in an embedding, and in a layer before the read-out, see
            :meth:`emt_core.networks.TokenNetwork.init`.
        blocks: of a network with attention, see :meth:`emt_core.networks.Attention.init`.
        recurrent: another start of an Elman network's W_hh, see :meth:`emt_core.networks.Elman.started`.
        stored: the format of :data:`emt_core.support.formats.FORMATS` in which the state is kept, too large numbers as
            its largest; gradients pass the rounding. Default: as it is computed.
        validation: sequences that are never trained on, and that judge the models. Default: ``task.validation()``.
        running: ``checkpoint``, ``checkpoint_every``, ``stop`` and ``progress``, see
            :func:`emt_core.training.engine.run`.

    Raises:
        ValueError: an argument out of range, or a checkpoint that is damaged or of another run; the message names it.
    """
    hidden, seeds, device = integer("hidden", hidden, 1), seeds_of(seeds), device_of(device)
    recipe = recipe if steps is None else replace(recipe, steps=steps)
    avoid = (task.validation() if validation is None else validation).to("cpu")
    task.check("validation", avoid)
    validation = avoid.to(device)
    few = spread(validation, LOOK)
    generators = streams(seeds, "network")
    drawn: dict[str, Any] = {"inputs": inputs, "between": between, "stored": stored, "recurrent": recurrent}
    drawn["blocks"] = integer("blocks", blocks, 1)
    start = _drawn(cell, task, hidden, generators, autoregressive, **drawn).to(device)
    learns = set(start.weights) if learns is None else set(learns)
    if not learns <= start.weights.keys():
        raise ValueError(f"learns must be among {sorted(start.weights)}, got {sorted(learns)}")
    trained, fixed = ({k: w for k, w in start.weights.items() if (k in learns) is yes} for yes in (True, False))

    def loss(weights: Weights, generators: Sequence[torch.Generator]) -> Tensor:
        batch = task.sample(recipe.batch, generators, avoid).to(device)
        model = start.with_weights(fixed | weights)
        return cross_entropy(model.logits(model.encode(batch), batch), batch)

    def score(weights: Weights) -> Tensor:
        return token_accuracy(repeats(start.with_weights(fixed | weights), few), few)

    identity = {"task": repr(task), "cell": cell, "hidden": hidden, "autoregressive": autoregressive, "seeds": seeds}
    identity |= {"validation": digest(validation.tokens, validation.lengths)}
    identity |= {"learns": sorted(learns)} if fixed else {}
    identity |= {name: value for name, value in drawn.items() if value and (name, value) != ("blocks", 1)}
    apart = device == "cpu" and not fixed  # a part of the models would not know which fixed weights are its own
    running |= {"identity": identity, "apart": apart, "name": f"{cell} of {hidden} units"}
    running |= {"undecayed": () if isinstance(start, Attention) else start.cell.undecayed}
    with one_thread_per_product(device == "cpu"):
        run = optimise(trained, loss, score, generators, recipe, **running) if trained else untouched(len(seeds))
        model = start.with_weights(fixed | run.weights)
        return Repeaters(model, exact_match(repeats(model, validation)), run)


def _drawn(
    cell: str, task: TokenRepeat, hidden: int, generators: Sequence[torch.Generator], autoregressive: bool, *,
    inputs: int | None, between: int, stored: str, recurrent: str, blocks: int,
) -> TokenNetwork | Attention:  # fmt: skip
    """Networks before their training."""
    vocabulary = int(task.vocabulary)
    if cell == ATTENTION:
        if stored or recurrent:
            raise ValueError(f"stored and recurrent must be '' for {cell!r}, got {stored!r} and {recurrent!r}")
        return Attention.init(vocabulary, hidden, generators, autoregressive, longest=int(task.longest), blocks=blocks)
    ends = {"inputs": inputs, "between": between}
    start = TokenNetwork.init(cell_named(cell), vocabulary, hidden, generators, autoregressive, **ends)  # type: ignore
    if recurrent:
        if not isinstance(start.cell, Elman):
            raise ValueError(f"recurrent must be '' for a cell that is no 'elman', got {recurrent!r} for {cell!r}")
        start = replace(start, cell=start.cell.started(recurrent, generators))
    return replace(start, cell=Rounded(start.cell, stored, saturate=True)) if stored else start
