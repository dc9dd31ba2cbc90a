"""Transplants between networks of one task: whether one goes on with what another holds."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.analysis.edits.basis import transplant
from emt_core.analysis.edits.trials import Running
from emt_core.analysis.memories import VariableMemories


def transplants(
    run: Running,
    memories: VariableMemories | None,
    horizon: int,
    *,
    after: int = 0,
    rescale: bool = True,
    into: VariableMemories | None = None,
) -> Float[Tensor, "K M"]:
    """Share of sequences that another network goes on with without a wrong sign, for each of the M (M − 1) ordered
    pairs: row k, column m is from network m to network (m + k + 1) mod M, K = M − 1.

    Args:
        memories: a basis per network; contents are read in the one and written in the other. None moves the raw state.
        horizon, after: as in :meth:`emt_core.analysis.edits.trials.Running.judged`.
        into: the basis per network in which contents are written, if not ``memories``: a control, such as
            :func:`~emt_core.analysis.edits.mismatched.relabelled`.
        rescale: whether a content is written with the mean modulus that it has over the other network's own batch.
    """
    models = run.model.models
    if models < 2:
        raise ValueError(f"run must hold at least two networks, got {models}")
    into = memories if into is None else into
    if memories is not None and into is not None and rescale:
        size, usual = (basis.contents(run.h).abs().mean(1) for basis in (memories, into))
    shares = []
    for shift in range(1, models):
        other = [(m + shift) % models for m in range(models)]
        moved = run.h
        if memories is not None and into is not None:
            scale = torch.where(size > 0, usual[other] / size.clamp_min(1e-12), 0.0) if rescale else 1.0
            moved = transplant(run.h, memories, into[other], scale)
        result = run.judged(moved, run.held, horizon, after, run.model[other])
        shares.append(result.exact.double().mean(1))
    return torch.stack(shares)
