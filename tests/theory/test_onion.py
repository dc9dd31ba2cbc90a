"""Onions: every short sequence by brute force, bounds that are tight, formats that break where they should."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import SHAPE_ERRORS, same_bits

from emt_core.theory import onion
from emt_core.theory.onion import FORMATS, Onion, decode, encode, exact_gamma_bound, hand_built, layer_bound, peel
from emt_core.training.onion_toy import fit_toy

HAND_BUILT = [("grid", 4, 2), ("grid", 7, 2), ("circle", 3, 2), ("circle", 5, 2), ("one-hot", 4, 5), ("random", 5, 3)]
each_kind = pytest.mark.parametrize(("kind", "vocabulary", "dim"), HAND_BUILT, ids=lambda x: str(x))
each_format = pytest.mark.parametrize("dtype", FORMATS, ids=lambda d: str(d).removeprefix("torch."))


def every(vocabulary, length) -> torch.Tensor:
    """All V^L sequences, (L, V^L)."""
    return torch.tensor(list(itertools.product(range(vocabulary), repeat=length))).T


def right(code, length, dtype=None) -> torch.Tensor:
    """Which of all sequences of a length are read right."""
    tokens = every(len(code.embedding), length)
    return (decode(code, encode(code, tokens, dtype=dtype), length) == tokens).all(0)


def summed(code, sequence) -> list[float]:
    """The state of one sequence, one number at a time."""
    rows = code.embedding.tolist()
    return [math.fsum(code.gamma**p * rows[token][i] for p, token in enumerate(sequence)) for i in range(len(rows[0]))]


def random_code(vocabulary, dim, gamma=0.4, seed=0) -> Onion:
    generator = torch.Generator().manual_seed(seed)
    return Onion(torch.randn(vocabulary, dim, dtype=torch.float64, generator=generator), gamma)


@each_kind
def test_the_state_is_the_sum_of_its_layers(kind, vocabulary, dim):
    code = hand_built(vocabulary, dim, 0.3, kind)
    assert code.embedding.shape == (vocabulary, dim)
    tokens, lengths = every(vocabulary, 3)[:, ::7], torch.arange(3).repeat(vocabulary**3)
    wanted = [summed(code, sequence[:n]) for sequence, n in zip(tokens.T.tolist(), lengths.tolist(), strict=False)]
    got = encode(code, tokens, lengths[: tokens.shape[1]])
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-14)


@each_kind
def test_at_the_bound_every_sequence_is_read_and_beyond_it_one_is_not(kind, vocabulary, dim):
    code = hand_built(vocabulary, dim, kind=kind)
    for length in range(1, 6):
        assert right(code, length).all()
    for length in range(2, 6):
        bound = exact_gamma_bound(code.embedding, length)
        assert bound > code.gamma
        assert right(Onion(code.embedding, min(bound * (1 - 1e-9), 0.99)), length).all()
        if bound < 0.999:  # beyond 1 there is no onion
            assert not right(Onion(code.embedding, bound * (1 + 1e-9)), length).all()


@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 2**31))
def test_the_bounds_are_tight_for_any_embedding(vocabulary, dim, seed):
    e = random_code(vocabulary, dim, seed=seed).embedding
    bound, short = exact_gamma_bound(e), exact_gamma_bound(e, 4)
    assert 0 <= bound < short <= 1
    assert bound <= 0.5 + 1e-12
    if vocabulary > dim:  # then it is not flat
        assert bound <= vocabulary ** (-1 / dim) + 1e-12
    if short > 1e-3:
        assert right(Onion(e, short * (1 - 1e-6)), 4).all()
        assert short > 0.99 or not right(Onion(e, short * (1 + 1e-6)), 4).all()
    assert exact_gamma_bound(e, 200) == pytest.approx(bound, abs=1e-9)


def test_known_bounds():
    for side, dim in ((2, 1), (2, 5), (3, 2), (4, 2), (5, 1)):
        assert hand_built(side**dim, dim).gamma == pytest.approx(1 / side)  # = V^(-1/N)
    assert hand_built(6, 9, kind="one-hot").gamma == pytest.approx(0.5)
    assert hand_built(2, 2, kind="circle").gamma == pytest.approx(0.5)
    e = hand_built(5, 2, kind="circle").embedding
    assert exact_gamma_bound(3 * e) == pytest.approx(exact_gamma_bound(e))  # the scale is free
    assert exact_gamma_bound(e + 7) < exact_gamma_bound(e)  # the place is not: what is common to all tokens adds up
    assert exact_gamma_bound(e, 1) == math.inf
    assert exact_gamma_bound(torch.ones(3, 2)) == 0  # tokens on top of each other


def test_peeling_by_hand():
    code = Onion(torch.tensor([[-1.0], [1.0]], dtype=torch.float64), 0.25)
    tokens, residuals = peel(code, torch.tensor([[1 - 0.25 + 0.0625]], dtype=torch.float64), 3)
    assert tokens.flatten().tolist() == [1, 0, 1]
    assert residuals.flatten().tolist() == [0.8125, -0.75, 1.0, 0.0]


def test_a_readout_decides_in_place_of_distance():
    code = hand_built(5, 2, kind="circle")
    tokens = every(5, 3)
    h = encode(code, tokens)
    weights, bias = code.embedding.T, -code.embedding.square().sum(1) / 2
    assert torch.equal(peel(code, h, 3, readout=(weights, bias))[0], tokens)
    assert (peel(code, h, 3, readout=(0 * weights, torch.eye(5, dtype=torch.float64)[2]))[0] == 2).all()


def test_shorter_sequences_end_in_zeros():
    code = hand_built(4, 2)
    tokens, lengths = every(4, 3), torch.arange(64) % 4
    h = encode(code, tokens, lengths)
    assert torch.equal(h, encode(code, tokens.where(torch.arange(3)[:, None] < lengths, -9), lengths))  # not looked at
    read, residuals = peel(code, h, 3, lengths)
    assert torch.equal(read, tokens * (torch.arange(3)[:, None] < lengths))
    assert torch.equal(decode(code, h, 3, lengths), read)
    torch.testing.assert_close(residuals[-1], torch.zeros_like(h), rtol=0, atol=1e-12)
    assert encode(code, tokens[:0]).abs().max() == 0
    assert decode(code, h, 0).shape == (0, 64)


def nearest(value: Fraction, dtype) -> Fraction:
    """The number of a format that is nearest, ties to even, found in exact arithmetic."""
    t, info = onion.significand(dtype), torch.finfo(dtype)
    size = Fraction(abs(value))
    if not size:
        return Fraction(0)
    exponent = math.frexp(float(size))[1] - 1
    step = Fraction(2) ** (max(exponent, round(math.log2(info.smallest_normal))) + 1 - t)
    return round(size / step) * step * (1 if value > 0 else -1)


@each_format
def test_states_are_rounded_after_every_layer(dtype):
    code = Onion(torch.tensor([[-1.0, 0.75], [1.0, 0.5], [0.5, -0.25]], dtype=torch.float64), 0.5)
    tokens = torch.randint(3, (60, 20), generator=torch.Generator().manual_seed(0))
    wanted = []
    for sequence in tokens.T.tolist():
        h = [Fraction(0), Fraction(0)]
        for p, token in enumerate(sequence):
            layer = [nearest(Fraction(x) / 2**p, dtype) for x in code.embedding[token].tolist()]
            h = [nearest(a + b, dtype) for a, b in zip(h, layer, strict=True)]
        wanted.append([float(x) for x in h])
    assert encode(code, tokens, dtype=dtype).tolist() == wanted


@each_format
def test_a_binary_code_has_as_many_layers_as_the_significand_has_bits(dtype):
    code, t = hand_built(4, 2), onion.significand(dtype)
    assert onion.layers_that_survive(code, dtype) == layer_bound(code, dtype)["significand"] == t
    assert (
        t
        == {"64": 53, "32": 24, "t16": 11, "at16": 8, "e4m3fn": 4, "e5m2": 3}[
            next(k for k in ("bfloat16", "e4m3fn", "e5m2", "64", "32", "t16") if k in str(dtype)).replace(
                "bfloat", "at"
            )
        ]
    )


@pytest.mark.parametrize("dtype", FORMATS[4:], ids=["e4m3", "e5m2"])
@each_kind
def test_bounds_hold_for_every_sequence_in_eight_bits(kind, vocabulary, dim, dtype):
    code = hand_built(vocabulary, dim, kind=kind)
    bound = layer_bound(code, dtype)
    length = next(n for n in itertools.count(1) if vocabulary**n > 30_000 or not right(code, n, dtype).all()) - 1
    assert 1 <= bound["sure"] <= length <= min(bound["exponent"], bound["counting"])


@each_format
def test_bounds_hold_for_random_sequences(dtype):
    for seed in range(3):
        code = random_code(5, 2, 0.2, seed)
        code = Onion(code.embedding, exact_gamma_bound(code.embedding))
        bound, length = layer_bound(code, dtype), onion.layers_that_survive(code, dtype, sequences=300)
        assert bound["sure"] <= length <= bound["exponent"]


def test_beyond_the_smallest_number_nothing_is_written():
    code = hand_built(3, 3, 0.5, "one-hot")
    for dtype in FORMATS[2:]:
        last = layer_bound(code, dtype)["exponent"]
        tokens = torch.zeros(last + 1, 2, dtype=torch.int64)
        tokens[-1] = torch.tensor([1, 2])
        states = encode(code, tokens, dtype=dtype)
        assert torch.equal(states[0], states[1])
        shorter = encode(code, tokens[1:], dtype=dtype)
        assert not torch.equal(shorter[0], shorter[1])


def test_beyond_the_exact_bound_nothing_is_sure():
    code = hand_built(9, 2, 0.4)
    assert layer_bound(code, torch.float32)["sure"] == 0
    assert layer_bound(Onion(code.embedding, 0.3), torch.float32)["sure"] > 5


def test_a_share_forgives_and_more_sequences_do_not():
    code = hand_built(9, 2)
    survive = {s: onion.layers_that_survive(code, torch.float16, share=s) for s in (1.0, 0.9, 0.1)}
    assert survive[1.0] <= survive[0.9] <= survive[0.1]
    few = onion.layers_that_survive(code, torch.float16, sequences=1)
    assert few >= survive[1.0]
    assert onion.layers_that_survive(code, torch.float64, most=4) == 4


def test_a_toy_learns_the_code_and_its_seed_decides():
    settings = dict(steps=120, batch=64, held_out=300)
    both = fit_toy(6, 4, 8, seeds=[3, 4], **settings)
    assert both.accuracy.min() > 0.95
    alone = fit_toy(6, 4, 8, seeds=[4], **settings)
    assert same_bits(alone.embedding[0], both.embedding[1])
    assert same_bits(alone.accuracy[0], both.accuracy[1])
    assert not torch.equal(both.embedding[0], both.embedding[1])
    assert [tuple(x.shape) for x in (both.embedding, both.readout, both.bias)] == [(2, 6, 8), (2, 8, 6), (2, 6)]


def test_too_few_dimensions_do_not_hold_the_toy():
    # 12 tokens at γ = 0.4 in one dimension: 12 copies of 0.4 of an interval do not fit into it
    assert fit_toy(12, 4, 1, steps=100, batch=64, held_out=300).accuracy.item() < 0.2


def test_a_toy_leaves_the_global_generator_and_the_threads_alone():
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    fit_toy(3, 2, 2, steps=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_wrong_arguments_are_named():
    code, tokens = hand_built(4, 2), every(4, 2)
    for gamma in (0, 1, -0.5, float("nan")):
        with pytest.raises(ValueError, match=r"^gamma must lie between 0 and 1, got"):
            Onion(code.embedding, gamma)
    for embedding in (torch.ones(1, 2), torch.full((3, 2), float("inf"))):
        with pytest.raises(ValueError, match=r"^embedding must be finite, \(V, N\) with V >= 2"):
            Onion(embedding, 0.5)
    with pytest.raises(ValueError, match=r"^tokens must lie in 0 … 3, got 1 … 4"):
        encode(code, tokens + 1)
    for lengths in ([3] * 16, [-1] * 16, [1] * 15):
        with pytest.raises((*SHAPE_ERRORS,), match="lengths"):
            encode(code, tokens, torch.tensor(lengths))
    with pytest.raises(ValueError, match=r"^dtype must be one of \['float64', .*\], got torch.int8"):
        encode(code, tokens, dtype=torch.int8)
    with pytest.raises(ValueError, match=r"^h must have shape \(B, 2\)"):
        decode(code, torch.ones(3, 5, dtype=torch.float64), 2)
    with pytest.raises(ValueError, match=r"^length must be at least 0"):
        decode(code, encode(code, tokens), -1)
    with pytest.raises(ValueError, match=r"^length must be at least 1"):
        exact_gamma_bound(code.embedding, 0)


def test_wrong_numbers_are_named():
    for vocabulary, dim, kind in ((5, 3, "circle"), (5, 4, "one-hot"), (5, 4, "spiral")):
        with pytest.raises(ValueError, match=rf"^kind must be .*, got '{kind}' with vocabulary 5 and dim {dim}"):
            hand_built(vocabulary, dim, kind=kind)
    with pytest.raises(ValueError, match=r"^vocabulary must be at least 2, got 1"):
        hand_built(1, 2)
    for share in (0, 1.5):
        with pytest.raises(ValueError, match=r"^share must lie above 0"):
            onion.layers_that_survive(hand_built(4, 2), torch.float16, share=share)
    with pytest.raises(ValueError, match=r"^sequences must be at least 1"):
        onion.layers_that_survive(hand_built(4, 2), torch.float16, sequences=0)
    with pytest.raises(ValueError, match=r"^gamma must lie between 0 and 1"):
        fit_toy(4, 2, 2, 1.0)
    with pytest.raises(ValueError, match=r"^steps must be at least 1"):
        fit_toy(4, 2, 2, steps=0)
    with pytest.raises(ValueError, match=r"^seeds must hold at least one"):
        fit_toy(4, 2, 2, seeds=[])
