"""Does an edit survive coarser arithmetic? The GRU run with rounded products or a rounded state, as on other hardware.

A GPU may round the factors of its products to 11 significant bits (TF32) or 8 (bfloat16). A code whose positions are
magnitudes could depend on more.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from emt_core.analysis.edits import cases
from emt_core.analysis.edits.cases import Case
from emt_core.analysis.edits.learned import OnionEdit, replace_token
from emt_core.networks import GRU, TokenNetwork
from emt_core.networks.cell import rows
from emt_core.networks.tokens import right_tokens
from emt_core.support.checks import integer
from emt_core.training import scores

EXACT = 24  # significant bits of float32 itself
FACTORS = ("embedding", "W_ih", "W_hh", "W_o")


def rounded(x: Tensor, bits: int) -> Tensor:
    """The nearest numbers with so many significant bits, to even from half way; exponents have no limit."""
    fraction, power = torch.frexp(x)
    return torch.ldexp((fraction * 2.0 ** integer("bits", bits, 1)).round(), power - bits)


@torch.no_grad()
def exact_match(
    edit: OnionEdit, model: TokenNetwork, case: Case, factors: int = EXACT, carried: int = EXACT
) -> Float[Tensor, "M"]:
    """An onion edit's exact match if the factors of all products, or the state after every step, are rounded to so many
    significant bits. The edit itself is not rounded.

    Raises:
        ValueError: the networks are not autoregressive GRUs.
    """
    if not isinstance(model.cell, GRU) or not model.autoregressive:
        raise ValueError(f"model must be an autoregressive GRU, got {model.settings}")
    weights = {k: rounded(w, factors) if k in FACTORS else w for k, w in model.weights.items()}
    model, read = model.with_weights(weights), case.corrupted.expand(model.models)
    cell = model.cell
    assert isinstance(cell, GRU)

    def step(h: Tensor, tokens: Tensor) -> Tensor:
        _, z, n = cell.gates(rounded(h, factors), rows(model.embedding, tokens))
        return rounded((1 - z) * n + z * h, carried)

    h = model.cell.zero_state(read.tokens.shape[2])
    for t in range(read.tokens.shape[1]):
        h = torch.where(read.mask[:, t, :, None], step(h, read.tokens[:, t]), h)
    h = replace_token(edit, h, *cases.replacement(case))
    inputs, written = torch.full_like(read.tokens[:, 0], model.vocabulary), []
    for _ in range(read.tokens.shape[1]):
        h = step(h, inputs)
        inputs = model.read_out(rounded(h, factors)[:, None])[:, 0].argmax(2)
        written.append(inputs)
    return scores.exact_match(right_tokens(torch.stack(written, 1), case.original))
