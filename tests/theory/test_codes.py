"""Codes by hand: the geometry they are made for, and that they agree with the onion of ``theory.onion``."""

import itertools

import pytest
import torch
from oracles import SHAPE_ERRORS

from emt_core.analysis import layers as measured
from emt_core.theory import codes, onion

CIRCLE = onion.hand_built(5, 2, kind="circle")


def every(vocabulary: int, length: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(vocabulary), repeat=length))).T


@pytest.mark.parametrize("shared", [0, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["circle", "random"])
def test_overlap_alignment_and_sizes_are_those_of_the_formula(shared, kind):
    e = onion.hand_built(6, 2, kind=kind).embedding
    made = codes.layers(e, 4, shared, 0.6)[None]
    off = ~torch.eye(4, dtype=torch.bool)
    wanted = torch.full((12,), float(shared), dtype=e.dtype)
    torch.testing.assert_close(measured.overlap(made)[0][off], wanted**2)
    torch.testing.assert_close(measured.alignment(made)[0][off], wanted)
    size = measured.sizes(made)[0]
    torch.testing.assert_close(size / size[0], 0.6 ** torch.arange(4, dtype=e.dtype))
    torch.testing.assert_close(made.mean(2), torch.zeros(1, 4, made.shape[3], dtype=e.dtype), rtol=0, atol=1e-12)


def test_all_shared_is_the_onion():
    made, tokens = codes.layers(CIRCLE.embedding, 3, 1, CIRCLE.gamma), every(5, 3)
    h = codes.states(made, tokens)
    torch.testing.assert_close(h[:, :2], onion.encode(CIRCLE, tokens), rtol=0, atol=1e-12)
    assert h[:, 2:].abs().max() == 0


def test_a_state_is_the_sum_of_its_layers_one_by_one():
    made = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[0, 3], [2, 2], [1, 0]])
    wanted = [[sum(float(made[p, int(tokens[p, b]), i]) for p in range(3)) for i in range(5)] for b in range(2)]
    torch.testing.assert_close(codes.states(made, tokens), torch.tensor(wanted))


@pytest.mark.parametrize(
    ("shared", "gamma", "message"),
    [(1.1, 0.5, "shared must lie in 0 … 1, got 1.1"), (0.5, 0, "gamma must lie above 0"), (0.5, 1.2, "got 1.2")],
)
def test_what_is_no_code_is_refused(shared, gamma, message):
    with pytest.raises(ValueError, match=message):
        codes.layers(CIRCLE.embedding, 2, shared, gamma)


def test_a_sequence_of_another_length_is_refused():
    with pytest.raises(SHAPE_ERRORS):
        codes.states(codes.layers(CIRCLE.embedding, 2, 0, 1), every(5, 3))
