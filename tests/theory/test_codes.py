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


@pytest.mark.parametrize(("kind", "vocabulary", "dim"), [("one-hot", 5, 5), ("random", 6, 4)])
def test_overlap_alignment_and_sizes_are_those_of_the_shared_coordinates(kind, vocabulary, dim):
    e = onion.hand_built(vocabulary, dim, kind=kind).embedding
    e = e - e.mean(0)
    for shift in range(dim + 1):
        made = codes.layers(e, 3, shift, 0.6)[None]
        for p, q in ((0, 1), (1, 2), (0, 2)):
            common = [j % dim for j in range(q * shift, p * shift + dim)]  # coordinates of e that both windows hold
            both = e[:, common]
            overlap = (both.T @ both).square().sum() / (e.T @ e).square().sum()
            torch.testing.assert_close(measured.overlap(made)[0, p, q], overlap)
            torch.testing.assert_close(measured.alignment(made)[0, p, q], both.square().sum() / e.square().sum())
        size = measured.sizes(made)[0]
        torch.testing.assert_close(size / size[0], 0.6 ** torch.arange(3, dtype=e.dtype))
        assert made.shape == (1, 3, vocabulary, dim + 2 * shift)
        assert made.mean(2).abs().max() < 1e-12


def test_without_a_shift_it_is_the_onion():
    tokens = every(5, 3)
    h = codes.states(codes.layers(CIRCLE.embedding, 3, 0, CIRCLE.gamma), tokens)
    torch.testing.assert_close(h, onion.encode(CIRCLE, tokens), rtol=0, atol=1e-12)


def test_with_the_full_shift_positions_have_coordinates_of_their_own():
    made = codes.layers(CIRCLE.embedding, 3, 2, 0.5)
    for p in range(3):
        torch.testing.assert_close(made[p, :, 2 * p : 2 * p + 2], 0.5**p * CIRCLE.embedding)
        assert made[p].count_nonzero(0).gt(0).sum() == 2


def test_a_state_is_the_sum_of_its_layers_one_by_one():
    made = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[0, 3], [2, 2], [1, 0]])
    wanted = [[sum(float(made[p, int(tokens[p, b]), i]) for p in range(3)) for i in range(5)] for b in range(2)]
    torch.testing.assert_close(codes.states(made, tokens), torch.tensor(wanted))


@pytest.mark.parametrize(
    ("shift", "gamma", "message"),
    [
        (3, 0.5, "shift must be at most the embedding's 2 dimensions, got 3"),
        (-1, 0.5, "shift must be at least 0, got -1"),
        (1, 0, "gamma must lie above 0"),
        (1, 1.2, "got 1.2"),
    ],
)
def test_what_is_no_code_is_refused(shift, gamma, message):
    with pytest.raises(ValueError, match=message):
        codes.layers(CIRCLE.embedding, 2, shift, gamma)


def test_a_sequence_of_another_length_is_refused():
    with pytest.raises(SHAPE_ERRORS):
        codes.states(codes.layers(CIRCLE.embedding, 2, 0, 1), every(5, 3))
