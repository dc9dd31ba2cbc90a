"""What the rows of networks that repeat tokens say: how well they and their edits do, and what they store."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from emt_core.analysis import edits, hearing, layers
from emt_core.experiments.provenance import number
from emt_core.networks import GRU, Attention, TokenNetwork
from emt_core.support.random_streams import stream
from emt_core.tasks import Sequences, TokenRepeat
from emt_core.training.scores import by_length, by_position
from emt_core.training.until_flat import Optimised

SEEN = 1000  # random sequences on which a network's states are described


def scores(right: Tensor, sequences: Sequences, run: Optimised) -> list[dict]:
    """Per model: exact match, right tokens at each position, exact match per length, and how training ended."""
    exact, at = right.all(1).double().mean(1), by_position(right, sequences)
    lengths = by_length(right, sequences.lengths)
    return [
        {
            "steps": int(run.steps[m]),
            "status": run.status[m],
            "exact": number(exact[m]),
            "loss": number(run.losses[run.losses[:, m].isfinite().nonzero()[-1:, 0], m].mean()),
        }
        | {f"right_{p}": number(at[m, p]) for p in range(at.shape[1])}
        | {f"exact_length_{n}": number(value[m]) for n, value in lengths.items()}
        for m in range(len(exact))
    ]


def stored(model: TokenNetwork | Attention, task: TokenRepeat) -> list[dict]:
    """Per model: what positions leave in the last state of the longest sequences (:mod:`emt_core.analysis.layers`),
    what is written after one wrong token (:func:`emt_core.analysis.hearing.wrong_words`), and of a GRU the update gate
    while each position is read."""
    length, generator = int(task.longest), stream(0, "layers", model.device)
    found, mean = layers.layers(model, length, generator)
    tokens = torch.randint(model.vocabulary, (length, SEEN), generator=generator, device=generator.device)
    h = layers.states(model, tokens)
    values = {"dimension": layers.dimension(h), "additive": layers.additive_share(model, found, mean, tokens)}
    for name, matrix in {"overlap": layers.overlap(found), "alignment": layers.alignment(found)}.items():
        values[f"{name}_next"] = matrix.diagonal(1, 1, 2).mean(1)
        values[f"{name}_any"] = torch.stack([m[*torch.triu_indices(length, length, 1)].mean() for m in matrix])
    sizes = layers.sizes(found)
    values |= {f"size_{p}": sizes[:, p] for p in range(length)}
    if isinstance(model, TokenNetwork) and isinstance(model.cell, GRU):
        z = layers.gates(model, tokens).mean((2, 3))
        values |= {f"z_{p}": z[:, p] for p in range(length)}
    rows = [{name: number(value[m]) for name, value in values.items()} for m in range(model.models)]
    return [row | heard(model[m], length, bool(h[m].isfinite().all())) for m, row in enumerate(rows)]


def heard(model: TokenNetwork | Attention, length: int, alive: bool) -> dict[str, float | None]:
    """What one network writes after one wrong token; nothing of one that diverged, or with no other token to be fed."""
    found = dict.fromkeys(("right", "predicted", "predicted_beyond_repeats"))
    # an error: states so large that their covariance is singular
    with suppress(torch.linalg.LinAlgError):
        if isinstance(model, TokenNetwork) and alive and length > 1 and model.vocabulary > 1:
            # on the CPU, where its readers draw, wherever the network was trained
            shares = hearing.wrong_words(model.to("cpu"), length, stream(0, "wrong words"), SEEN).shares()
            found = {name: number(shares[name]) for name in found}
    return {f"wrong_{name}": value for name, value in found.items()}


def controls(model: TokenNetwork, run: edits.LearnedEdit) -> list[dict]:
    """Per model: exact match of the controls, and of the edit by the position that was changed, where only one was."""
    found = edits.controls(model, run.case, edits.edited(run.edit, model, run.case), stream(0, "random edit"))
    columns = {name.replace(" ", "_"): right.all(1).double().mean(1) for name, right in found.items()}
    oracle = by_length(found["oracle"], run.case.original.lengths)
    columns |= {f"oracle_length_{n}": value for n, value in oracle.items()}
    changed, whole = run.case.changed, run.right.all(1)[:, None]
    if bool((changed.sum(1) == 1).all()):
        share = (changed & whole).sum(2).double() / changed.sum(2)
        columns |= {f"exact_changed_{p}": share[:, p] for p in range(share.shape[1])}
    return [{name: number(value[m]) for name, value in columns.items()} for m in range(model.models)]
