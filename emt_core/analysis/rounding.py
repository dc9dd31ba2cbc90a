"""How coarsely a network's state may be kept: what it still remembers if its state is rounded after every step, and a
rule that predicts it without a fitted number.

The rule is of first order, error per step times horizon against margin. A margin m, of a right score over all others or
of an output over its sign, moves by g · ε if ε is added to the state after a step, g = ∂m/∂ε of the unrounded run. With
rounding errors that are independent and uniform over one spacing q of the format, of variance q²/12, the margin has the
standard deviation

    σ = √(Σ_t Σ_i g_{t,i}² q_{t,i}² / 12),

and stays positive with probability Φ(m/σ), Φ the normal distribution function.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emt_core.analysis import horizons
from emt_core.networks import TokenNetwork, VectorNetwork
from emt_core.networks.cell import Cell, rows
from emt_core.networks.rounded import Rounded
from emt_core.support.checks import Index, integer
from emt_core.support.formats import Format, spacing
from emt_core.tasks import Sequences, VariableBinding
from emt_core.tasks.sequences import Generators
from emt_core.training import scores


@dataclass(frozen=True)
class Margins:
    """Margins of the unrounded run, ``size``, and the standard deviations ``sigma`` that the rule gives them, float64:
    (M, L, B, R) of tokens, (M, T, B, D) of signs."""

    size: Float[Tensor, "*shape"]
    sigma: Float[Tensor, "*shape"]

    @property
    def kept(self) -> Float[Tensor, "*shape"]:
        """The probability Φ(size / sigma) that one is positive; where sigma is 0, whether it is."""
        unmoved = (self.size > 0).double()
        return torch.where(self.sigma > 0, torch.special.ndtr(self.size / self.sigma), unmoved)


# --- networks that repeat tokens --------------------------------------------------------------------------------------


def exact(model: TokenNetwork, sequences: Sequences, form: str | Format) -> Float[Tensor, "M"]:
    """Exact match if the state is rounded after every step of reading and of writing."""
    return scores.exact_match(scores.repeats(replace(model, cell=Rounded(model.cell, form)), sequences))


def predicted(
    model: TokenNetwork, sequences: Sequences, form: str | Format, *, rivals: Index = 1
) -> Float[Tensor, "M"]:
    """What the rule predicts for :func:`exact`: the mean over sequences of the product of what is kept over their
    output steps and so many ``rivals``, as if margins at two steps and over two rivals were independent. Where errors
    are large, one rival promises too much, and many, whose margins move together, too little."""
    kept = token_margins(model, sequences, form, rivals=rivals).kept.prod(3)
    return torch.where(sequences.expand(model.models).mask, kept, 1.0).prod(1).mean(1).cpu()


@torch.enable_grad()
def token_margins(model: TokenNetwork, sequences: Sequences, form: str | Format, *, rivals: Index = 1) -> Margins:
    """The score of the right token less each of the R = ``rivals`` largest others, at every output step, teacher-forced
    if autoregressive; beyond a sequence's end they mean nothing. R backward passes an output step."""
    rivals, model, sequences = integer("rivals", rivals, 1), model.detach(), sequences.expand(model.models)
    if rivals >= model.vocabulary:
        raise ValueError(f"rivals must be fewer than the {model.vocabulary} tokens, got {rivals}")
    tokens, length = sequences.tokens.long(), sequences.tokens.shape[1]
    fed = torch.cat([tokens, model.writing_inputs(sequences)], dim=1).unbind(1)
    run = _Run(model.cell, form, tokens.shape[2])
    for x, moves in zip(fed, sequences.mask.repeat(1, 2, 1).unbind(1), strict=True):
        run.step(rows(model.embedding, x), moves)
    written, right = model.read_out(torch.stack(run.states[length:], dim=1)), tokens[..., None]
    size = written.gather(3, right) - written.scatter(3, right, -torch.inf).topk(rivals, dim=3).values
    sigma = [run.deviations(at, length + k) for k, at in enumerate(size.unbind(1))]
    return Margins(size.detach().double(), torch.stack(sigma, dim=1))


# --- networks that bind variables -------------------------------------------------------------------------------------


def accuracy(
    network: VectorNetwork,
    task: VariableBinding,
    steps: Iterable[Index],
    batch: Index,
    generators: Generators,
    form: str | Format,
) -> Float[Tensor, "M T"]:
    """:func:`~emt_core.analysis.horizons.accuracy_at` if the state is rounded after every step."""
    return horizons.accuracy_at(replace(network, cell=Rounded(network.cell, form)), task, steps, batch, generators)


def predicted_accuracy(
    network: VectorNetwork,
    task: VariableBinding,
    steps: Iterable[Index],
    batch: Index,
    generators: Generators,
    form: str | Format,
) -> Float[Tensor, "M T"]:
    """What the rule predicts for :func:`accuracy`, from sequences drawn in the same way."""
    return sign_margins(network, task, steps, batch, generators, form).kept.mean((2, 3))


@torch.enable_grad()
def sign_margins(
    network: VectorNetwork,
    task: VariableBinding,
    steps: Iterable[Index],
    batch: Index,
    generators: Generators,
    form: str | Format,
) -> Margins:
    """Outputs times their targets ±1, of B = ``batch`` sequences and D outputs at each of T output steps, counted from
    1, the first after the inputs. D backward passes an output step, through all steps before it; memory for them all.
    """
    network, (steps, drawing) = network.detach(), horizons.asked(network, task, steps, generators)
    if not steps:
        raise ValueError("steps must hold at least one output step, got none")
    inputs, targets = (x.to(network.device) for x in task.sample(batch, max(steps), drawing, network.W_r.dtype))
    run = _Run(network.cell, form, inputs.shape[2])
    for x in [*inputs.unbind(1), *[None] * max(steps)]:
        run.step(x)
    sizes, sigmas = [], []
    for step in steps:
        last = task.history + step - 1
        size = network.read_out(run.states[last]) * targets[:, step - 1]
        sizes.append(size.detach().double())
        sigmas.append(run.deviations(size, last))
    return Margins(torch.stack(sizes, dim=1), torch.stack(sigmas, dim=1))


# --- the rule ---------------------------------------------------------------------------------------------------------


class _Run:
    """An unrounded run from the state zero, to whose state after every step an error of zero was added, so that there
    are derivatives with respect to it."""

    def __init__(self, cell: Cell, form: str | Format, batch: int) -> None:
        self._cell, self._form, self._h = cell, form, cell.zero_state(batch)
        self.states: list[Tensor] = []
        self._errors: list[Tensor] = []
        self._variances: list[Tensor] = []

    def step(self, x: Float[Tensor, "M B I"] | None, moves: Bool[Tensor, "M B"] | None = None) -> None:
        """Read ``x``; sequences that do not move keep their state, and make no error."""
        error = torch.zeros_like(self._h, requires_grad=True)
        new = self._cell.step(self._h, x) + error
        self._h = new if moves is None else torch.where(moves[..., None], new, self._h)
        self.states.append(self._h)
        self._errors.append(error)
        self._variances.append(spacing(new, self._form).square() / 12)

    def deviations(self, margins: Float[Tensor, "M B K"], last: int) -> Float[Tensor, "M B K"]:
        """σ of K ``margins`` that are read from the state of step ``last``, counted from 0. K backward passes."""
        made, found = slice(last + 1), []
        for margin in margins.unbind(2):
            slopes = torch.autograd.grad(margin.sum(), self._errors[made], retain_graph=True)
            each_step = zip(slopes, self._variances[made], strict=True)
            variance = [(g.double().square() * variance).sum(2) for g, variance in each_step]
            found.append(torch.stack(variance).sum(0).sqrt())
        return torch.stack(found, dim=2)
