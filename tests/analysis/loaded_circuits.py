"""Exact linear circuits with contents in their states, for tests of edits: there every prediction is a closed form."""

import torch
from oracles import generators

from emt_core.analysis import edits
from emt_core.analysis.edits import trials
from emt_core.analysis.memories import variable_memories
from emt_core.networks import VectorNetwork
from emt_core.networks.exact import linear_rnn
from emt_core.networks.vectors import elman
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

S, D = 4, 3
COPY = VariableBinding.repeat_copy(S, D)
# output 0 copies 4 steps back, 1 and 2 each other's last value: six of the twelve entries lie on cycles
MIXED = VariableBinding.from_operator(torch.eye(12, dtype=torch.float64)[[0, 11, 10]])


def circuits(task, seeds) -> VectorNetwork:
    """One exact linear circuit per seed, each in a random basis."""
    size = task.history * task.dim
    models = [linear_rnn(task, circuit.random_basis(size + 6, size, g)) for g in generators(*seeds)]
    weights = {name: torch.cat([getattr(m, name) for m in models]) for name in ("W_uh", "W_hh", "W_r")}
    return elman(**weights, activation="identity")


def loaded(task, model, sequences=8, seed=0) -> trials.Running:
    """The circuit with contents put into its state at once: reading is exact for no task but repeat copy."""
    own = generators(*range(seed, seed + model.models))
    held = torch.stack([torch.randn(sequences, S * D, generator=g).sign().double() for g in own])
    return trials.Running(task, model, held @ torch.cat(blocks(task, model), dim=2).mT, held)


def blocks(task, model) -> list[torch.Tensor]:
    """The circuit's own memories: Ψ_{k−1} = W_hh Ψ_k − Ψ_S F_k, from Ψ_S = W_uh."""
    found = [model.W_uh]
    for k in range(task.history - 1, 0, -1):
        F = task.operator[:, k * task.dim : (k + 1) * task.dim]
        found.insert(0, model.W_hh @ found[0] - model.W_uh @ F)
    return found


def basis_of(task, model):
    return variable_memories(model, task, 1.0, method="corrected", residuals=0)


def late(run: trials.Running) -> trials.Running:
    """As many steps later as it takes until every slot copies one on a cycle."""
    h, steps = run.h, S * D
    x = run.held.unflatten(2, (S, D)).transpose(1, 2)
    sequence = torch.cat([x, run.task.targets(x, steps)], dim=1)
    for _ in range(steps):
        h = run.model.step(h)
    return trials.Running(run.task, run.model, h, edits.window(sequence, S, S + steps))
