"""Onions that are learned without a network: an embedding and a read-out, the factor between layers fixed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import trange

from emt_core.support.checks import integer
from emt_core.support.random_streams import seeds_of, stream
from emt_core.support.running import one_thread_per_product, quiet
from emt_core.tasks import TokenRepeat
from emt_core.theory.onion import Onion, encode, peel


@dataclass(frozen=True)
class Toy:
    """M toys; ``accuracy``: share of held-out sequences read right as a whole."""

    embedding: Float[Tensor, "M V N"]
    readout: Float[Tensor, "M N V"]
    bias: Float[Tensor, "M V"]
    accuracy: Float[Tensor, "M"]


def fit_toy(
    vocabulary: int, max_length: int, dim: int, gamma: float | int = 0.4, *, seeds: Iterable[int] = (0,),
    steps: int = 1000, batch: int = 256, lr: float | int = 0.03, decay: float | int = 0.01, held_out: int = 2000,
    progress: bool = False,
) -> Toy:  # fmt: skip
    """Train onions without a network, one per seed: embedding and read-out learned, γ fixed (the paper's control).

    The state is Σ_p γ^p e(token_p). A linear read-out with bias classifies what is left of the state, rescaled, at each
    position: in training the true tokens are taken away, in the test those that were read. Cross-entropy, AdamW with
    ``decay``, a rate that falls from ``lr`` to zero as a cosine, float32. Sequences of 2 … ``max_length`` tokens; up to
    ``held_out`` of them, the same for all seeds, are kept from training and make the test.
    """
    task, n = TokenRepeat(vocabulary, min(2, integer("max_length", max_length, 1)), max_length), integer("dim", dim, 1)
    test, steps = task.validation(held_out), integer("steps", steps, 1)
    place = torch.arange(task.longest)
    weigh = (float(gamma) ** (place - place[:, None]).clamp_min(0)).triu()  # layer s, as it stands where p is read
    toys = []
    for seed in seeds_of(seeds):
        generator = stream(seed, "network")
        weights = [torch.randn(s, generator=generator) * n**-0.5 for s in ((vocabulary, n), (n, vocabulary))]
        e, w, b = (x.requires_grad_() for x in (*weights, torch.zeros(vocabulary)))
        onion = Onion(e.detach(), gamma)  # sees what is learned
        optimizer = torch.optim.AdamW([e, w, b], lr=lr, weight_decay=decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        with one_thread_per_product():
            for _ in trange(steps, disable=quiet(progress), desc=f"toy, seed {seed}"):
                drawn = task.sample(batch, generator, avoid=test)
                mask, layers = drawn.mask[0], e[drawn.tokens[0]] * drawn.mask[0, :, :, None]
                logits = (weigh @ layers.flatten(1)).view_as(layers)[mask] @ w + b
                loss = torch.nn.functional.cross_entropy(logits, drawn.tokens[0][mask])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        tokens, lengths = test.tokens[0], test.lengths[0]
        read = peel(onion, encode(onion, tokens, lengths), task.longest, lengths, (w.detach(), b.detach()))[0]
        toys.append((onion.embedding, w.detach(), b.detach(), (read == tokens).all(0).float().mean()))
    return Toy(*(torch.stack(parts) for parts in zip(*toys, strict=True)))
