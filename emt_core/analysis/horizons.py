"""How long a network's memory lasts: accuracy far beyond the steps that it was trained on, and the linear theory's
prediction of it from eigenvalues alone.

Output steps are counted from 1, the first step after the inputs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from scipy.special import ndtr
from torch import Tensor

from emt_core.analysis.spectrum import match_optimal
from emt_core.analysis.stability import Time, states_at
from emt_core.networks import VectorNetwork
from emt_core.support.checks import Index, integer
from emt_core.tasks import VariableBinding
from emt_core.tasks.sequences import Generators, each


def accuracy_at(
    network: VectorNetwork, task: VariableBinding, steps: Iterable[Index], batch: Index, generators: Generators
) -> Float[Tensor, "M T"]:
    """Share of right signs, of B = ``batch`` times D, at each of T output steps (ascending, from 1). As in training, an
    output of exactly zero has no sign and counts as wrong. Model m reads sequences drawn from ``generators[m]``; no
    more than one step's states and targets are held at a time."""
    return torch.stack(list(_accuracies(network, task, steps, batch, generators)), dim=1)


def horizon(
    network: VectorNetwork,
    task: VariableBinding,
    generators: Generators,
    level: float | int = 0.95,
    longest: Index = 10_000,
    batch: Index = 256,
) -> Time:
    """The first output step (M,) at which the accuracy, the mean of the last S steps (of all so far before step S), is
    below ``level``; ``longest``, censored, where it never is.

    The last S steps have written every block of the history once, so that one variable that is lost early counts for
    its share and no more. S·D·B signs are averaged: a standard error of √(p(1 − p) / S·D·B) or less, 0.002 at p = 0.95
    with the paper's S = D = 8 and the default ``batch``. What falls at once is found up to S steps late.
    """
    longest = _checked(level, longest)
    step, fallen = torch.full((network.models,), longest), torch.zeros(network.models, dtype=torch.bool)
    recent: deque[Tensor] = deque(maxlen=task.history)
    for t, accuracy in enumerate(_accuracies(network, task, range(1, longest + 1), batch, generators), start=1):
        recent.append(accuracy.cpu())
        now = ~fallen & (torch.stack(list(recent)).mean(0) < level)
        step[now], fallen = t, fallen | now
        if fallen.all():
            break
    return Time(step, ~fallen)


def mode_correlation(
    learned: Complex[np.ndarray, "K"], theory: Complex[np.ndarray, "K"], steps: Iterable[Index]
) -> Float[np.ndarray, "T"]:
    """r(t), the correlation of outputs with their targets after each of T numbers of steps in linear theory, from the
    network's K eigenvalues ρ_j e^{iθ_j} and the theory's, e^{iφ_j} (whose moduli are not looked at), matched by
    :func:`~emt_core.analysis.spectrum.match_optimal`. With δ_j = θ_j − φ_j,

        r(t) = Σ_j ρ_j^t cos(δ_j t) / √(K Σ_j ρ_j^{2t}).

    Derivation. Φ permutes and turns the K entries on its cycles, so it is orthogonal: x(t) = Φ^t x(0) = Σ_j a_j
    e^{iφ_j t} v_j with orthonormal v_j. Of a linear network that differs from the circuit in its eigenvalues alone, the
    memories hold x̂(t) = Σ_j a_j (ρ_j e^{iθ_j})^t v_j. If the entries of x(0) are independent, of mean 0 and variance
    1, then so are the loads: E[a_j ā_l] = 1 where j = l, else 0. Hence, in the mean of all entries, E[x̂ x] = Re
    Σ_j ρ_j^t e^{iδ_j t} / K, E[x̂²] = Σ_j ρ_j^{2t} / K and E[x²] = 1. On a single cycle every v_j weighs all entries
    equally and this holds for each entry; else, for their mean. Not in it: what reading the inputs already turned, the
    network's other modes, and every nonlinearity, which bounds what ρ > 1 lets grow.
    """
    values, expected = np.asarray(learned, dtype=complex), np.asarray(theory, dtype=complex)
    for name, given in (("learned", values), ("theory", expected)):
        if given.size == 0 or not (np.isfinite(given) & (given != 0)).all():
            raise ValueError(f"{name} must hold at least one eigenvalue, finite and none of them zero, got {given}")
    partner, _ = match_optimal(values, expected)
    delta, growth = np.angle(values * expected[partner].conj()), np.log(np.abs(values))
    t = np.array([integer("steps", step, 0) for step in steps], dtype=float)[:, None]
    size = np.exp((growth - growth.max()) * t)  # a common factor leaves r alone, and would overflow
    r = (size * np.cos(delta * t)).sum(1) / np.sqrt(len(values) * (size * size).sum(1))
    return r.clip(-1, 1)


def linear_prediction(
    learned: Complex[np.ndarray, "K"],
    theory: Complex[np.ndarray, "K"],
    steps: Iterable[Index],
) -> Float[np.ndarray, "T"]:
    """The accuracy that linear theory predicts from eigenvalues alone, by r(t) of :func:`mode_correlation`.

    An output is r x and the sum of many other entries' shares, independent of x = ±1 and nearly Gaussian, of variance
    1 − r² (in units of the output's). Its sign is right with probability Φ(r / √(1 − r²)), Φ the normal distribution
    function. (Were targets Gaussian as well, it would be ½ + arcsin(r)/π, Sheppard 1899. A sign is further from zero
    than most of a Gaussian, and survives more: at r = 0.95 the two are 0.999 and 0.90.)
    """
    return ndtr(np.tan(np.arcsin(mode_correlation(learned, theory, steps))))  # tan(arcsin r) = r / √(1 − r²)


def predicted_horizon(
    learned: Complex[np.ndarray, "K"],
    theory: Complex[np.ndarray, "K"],
    level: float | int = 0.95,
    longest: Index = 10_000,
) -> Time:
    """The first step, of one network, at which :func:`linear_prediction` is below ``level``; ``longest``, censored,
    where it never is. What :func:`horizon` measures lags by the S steps that it averages, at most."""
    longest = _checked(level, longest)
    below = linear_prediction(learned, theory, range(1, longest + 1)) < level
    first = int(below.argmax()) + 1 if below.any() else longest
    return Time(torch.tensor(first), torch.tensor(not below.any()))


def asked(
    network: VectorNetwork, task: VariableBinding, steps: Iterable[Index], generators: Generators
) -> tuple[list[int], Sequence[torch.Generator]]:
    """The output steps, counted from 1, and a generator for each model, checked; and that the task is the network's."""
    found, drawing = [integer("steps", step, 1) for step in steps], each(generators)
    if len(drawing) != network.models:
        raise ValueError(f"generators must be one per model ({network.models}), got {len(drawing)}")
    if network.dim != task.dim:
        raise ValueError(f"task must have dim {network.dim} as the network, got {task.dim}")
    return found, drawing


def _checked(level: float, longest: Index) -> int:
    if not 0 < level <= 1:
        raise ValueError(f"level must lie in (0, 1], got {level}")
    return integer("longest", longest, 1)


def _accuracies(
    network: VectorNetwork, task: VariableBinding, steps: Iterable[Index], batch: Index, generators: Generators
) -> Iterator[Float[Tensor, "M"]]:
    """The accuracy of every model at each output step, one at a time."""
    steps, drawing = asked(network, task, steps, generators)
    inputs = task.inputs(batch, drawing, network.W_r.dtype).to(network.device)
    with torch.no_grad():
        h = network.rollout(inputs)[0][:, -1]
    entries = inputs.transpose(1, 2).flatten(2)  # oldest block first
    for state, copied in zip(states_at(network, h, steps), _copied(task, steps), strict=True):
        wanted = entries[:, :, copied.abs().to(network.device) - 1] * copied.sign().to(inputs)
        with torch.no_grad():
            yield (network.read_out(state) * wanted > 0).double().mean((1, 2))


def _copied(task: VariableBinding, steps: list[int]) -> Iterator[Int[Tensor, "D"]]:
    """Which entry of the inputs each output copies at these steps: its number, counted from 1, negative where its sign
    is turned. The task's own recursion, of numbers instead of values: the same for all sequences."""
    source, sign = torch.tensor(task.sources).T
    history, taken = torch.arange(1, task.history * task.dim + 1), 0
    for stop in steps:
        for _ in range(stop - taken):
            history = torch.cat([history[task.dim :], history[source] * sign])
        taken = stop
        yield history[-task.dim :]
