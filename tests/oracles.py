"""Slow, obviously right versions of what the library computes, and what the tests share.

The task decoder and simulator follow the paper's description in plain Python and call nothing of the library.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from emt_core.networks import CELLS

# Derandomised: the same examples on every machine, busy or not, and no database beside the tests.
settings.register_profile(
    "emt",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("emt")

# A wrong shape meets the annotation first where the import hook is on, and the library's own check where it is not.
SHAPE_ERRORS = (ValueError, TypeCheckError)

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

PAPER = [
    (255, 0, 0),
    (9241421688590303745, 0, 0),
    (9241421688590303745, 262676, 189),
    (9241421688590303745, 38637, 145),
]


def decode(triple: tuple[int, int, int], dim: int) -> list[tuple[int, int]]:
    """(entry of the history, sign) of each output, read off the triple as text, digit by digit."""
    choice, permutation, signs = triple
    entries = [p for p, bit in enumerate(reversed(bin(choice)[2:])) if bit == "1"]
    for k in range(dim):
        g = permutation // dim**k % dim
        entries[k], entries[k + g] = entries[k + g], entries[k]
    bits = bin(signs)[2:].zfill(dim)[::-1]
    return [(p, -1 if bit == "1" else 1) for p, bit in zip(entries, bits, strict=True)]


def is_valid(triple: tuple[int, int, int], history: int, dim: int) -> bool:
    """Whether the triple keeps the rules, each checked as it is written."""
    choice, permutation, signs = triple
    digits = [permutation // dim**k % dim for k in range(dim)] if dim > 1 else [permutation]
    return (
        0 <= choice < 2 ** (history * dim)
        and bin(choice).count("1") == dim
        and 0 <= signs < 2**dim
        and 0 <= permutation < max(dim**dim, 2)
        and all(g < dim - k for k, g in enumerate(digits))
    )


def simulate(sources: list[tuple[int, int]], inputs: list[list[float]], horizon: int) -> list[list[float]]:
    """x(S+1) … x(S+T) of one sequence, one number at a time; ``inputs`` is u(1) … u(S)."""
    x = [list(u) for u in inputs]
    for _ in range(horizon):
        window = [value for vector in x[-len(inputs) :] for value in vector]
        x.append([sign * window[p] for p, sign in sources])
    return x[len(inputs) :]


@st.composite
def codes(draw: st.DrawFn, max_history: int = 6, max_dim: int = 5) -> tuple[tuple[int, int, int], int, int]:
    """A valid (triple, history, dim)."""
    history, dim = draw(st.integers(1, max_history)), draw(st.integers(1, max_dim))
    entries = draw(st.sets(st.integers(0, history * dim - 1), min_size=dim, max_size=dim))
    digits = [draw(st.integers(0, dim - 1 - k)) for k in range(dim)]
    permutation = sum(g * dim**k for k, g in enumerate(digits))
    return (sum(1 << p for p in entries), permutation, draw(st.integers(0, 2**dim - 1))), history, dim


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def as_tuples(sequences, model: int = 0) -> list[tuple[int, ...]]:
    """The sequences of one model, as Python holds them."""
    columns = sequences.tokens[model].T.tolist()
    return [tuple(column[:n]) for column, n in zip(columns, sequences.lengths[model].tolist(), strict=True)]


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equality of shape, dtype and every bit; NaN equals NaN."""
    return a.shape == b.shape and a.dtype == b.dtype and _bytes(a) == _bytes(b)


def _bytes(x: torch.Tensor) -> bytes:
    return x.detach().cpu().numpy().tobytes()


#: the cells that are torch's as well
OF_TORCH = {name: kind for name, kind in CELLS.items() if kind.module is not None}


def torch_twin(model) -> tuple[torch.nn.RNN, torch.nn.Linear]:
    """PyTorch's own modules with the weights of a one-model ensemble."""
    rnn = torch.nn.RNN(model.dim, model.hidden, nonlinearity="tanh", bias=False, dtype=model.W_hh.dtype)
    readout = torch.nn.Linear(model.hidden, model.dim, bias=False, dtype=model.W_hh.dtype)
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(model.W_uh[0])
        rnn.weight_hh_l0.copy_(model.W_hh[0])
        readout.weight.copy_(model.W_r[0])
    return rnn, readout


def torch_recurrence(
    module: torch.nn.RNNBase, inputs: torch.Tensor, h: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """PyTorch's own recurrence over ``inputs`` (T, B, I) from whole states ``h`` (B, n), of which a module may keep
    several of N numbers each: what it writes (T, B, N), and the whole states in which it ends (B, n)."""
    parts = [part.contiguous()[None] for part in h.split(module.hidden_size, dim=-1)]
    written, last = module(inputs, parts[0] if len(parts) == 1 else tuple(parts))
    return written, torch.cat([last] if isinstance(last, torch.Tensor) else list(last), dim=-1)[0]
