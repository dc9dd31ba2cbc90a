"""Reading layer by layer, in any order: against a loop over single states, and against the best that any reader can."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from emt_core.analysis import layers
from emt_core.networks import GRU, TokenNetwork
from emt_core.tasks import Sequences
from emt_core.theory import codes, onion

V = 5
TOKENS = onion.hand_built(V, V, 0.5, "one-hot").embedding


def every(vocabulary: int, length: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(vocabulary), repeat=length))).T


def made_by_hand(shift: int, gamma: float, length: int = 4, sigma: float = 0.0):
    """All sequences of a code, and what reads them: layers, mean, states, what layers leave, tokens."""
    code, tokens = codes.layers(TOKENS, length, shift, gamma), every(V, length)
    n = code.shape[2]
    h = codes.states(code, tokens)
    h = h + sigma * torch.randn(h.shape, dtype=h.dtype, generator=torch.Generator().manual_seed(0))
    return code[None], torch.zeros(1, n, dtype=h.dtype), h[None], sigma**2 * torch.eye(n, dtype=h.dtype)[None], tokens


def read_one(code, mean, state, unexplained, order, taken=None):
    """One state, by explicit distances (x − ℓ)ᵀ Σ⁻¹ (x − ℓ)."""
    code, r = code.double().numpy(), (state - mean).double().numpy()
    read = np.zeros(len(code), dtype=int)
    for k, p in enumerate(order):
        noise = unexplained.double().numpy() + 1e-9 * np.eye(len(r))
        for q in order[k + 1 :]:
            noise = noise + sum(np.outer(row, row) for row in code[q]) / len(code[q])
        inverse = np.linalg.inv(noise)
        read[p] = np.argmin([(r - row) @ inverse @ (r - row) for row in code[p]])
        off = read[p] if taken is None or taken[p] < 0 else taken[p]
        r = r - code[p][off]
    return read.tolist()


@pytest.mark.parametrize("told", [False, True], ids=["as read", "some taken"])
def test_any_order_agrees_with_a_loop(told):
    generator = torch.Generator().manual_seed(3)
    code = torch.randn(2, 4, 3, 6, generator=generator)
    code = code - code.mean(2, keepdim=True)
    mean, h = torch.randn(2, 6, generator=generator), 2 * torch.randn(2, 30, 6, generator=generator)
    root = torch.randn(2, 6, 6, generator=generator)
    rest, order = root @ root.mT, torch.tensor([[2, 0, 3, 1], [3, 1, 0, 2]])
    taken = torch.randint(-1, 3, (4, 30), generator=generator) if told else None
    read = layers.peel(code, mean, h, rest, order=order, taken=taken)
    for m, b in itertools.product(range(2), range(30)):
        own = None if taken is None else taken[:, b].tolist()
        assert read[m, :, b].tolist() == read_one(code[m], mean[m], h[m, b], rest[m], order[m].tolist(), own)
    if told:
        assert not torch.equal(read, layers.peel(code, mean, h, rest, order=order))


def test_without_an_order_the_first_position_comes_first():
    given = made_by_hand(1, 0.5, sigma=0.02)[:4]
    assert torch.equal(layers.peel(*given), layers.peel(*given, order=torch.arange(4)[None]))


@pytest.mark.parametrize("order", [[[0, 1, 1, 3]], [[1, 2, 3, 4]]])
def test_an_order_has_every_position_once(order):
    with pytest.raises(ValueError, match=r"^order must hold, for each of 1 networks, the positions 0 … 3, got \[\["):
        layers.peel(*made_by_hand(1, 0.5)[:4], order=torch.tensor(order))


def test_the_order_of_sizes_starts_with_the_largest():
    e = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    made = torch.stack([e * s for s in (0.5, 3.0, 1.0)]).expand(2, 3, 5, 2)
    assert layers.by_size(made).tolist() == [[1, 2, 0]] * 2


@pytest.mark.parametrize("shift", range(V + 1))
def test_forwards_reads_every_sequence_where_nothing_is_in_the_way(shift):
    forwards, _ = layers.peeled_both_ways(*made_by_hand(shift, 0.45))[0]
    assert (forwards == 1).all()


@pytest.mark.parametrize("gamma", [1.0, 0.4])
def test_subspaces_are_read_in_either_order_with_the_same_mistakes(gamma):
    for sigma, whole in ((0.0, True), (0.3, False)):
        forwards, backwards = layers.peeled_both_ways(*made_by_hand(V, gamma, sigma=sigma))[0]
        torch.testing.assert_close(forwards, backwards)
        assert bool((forwards == 1).all()) == whole


def test_backwards_an_onion_yields_little():
    forwards, backwards = layers.peeled_both_ways(*made_by_hand(0, 0.45))[0]
    assert (forwards == 1).all()
    assert backwards[-1] < 0.21  # chance is 0.2, and so the smallest layer is read, which comes first
    assert (backwards < 0.5).all()


def test_the_order_matters_the_more_the_more_is_shared():
    gaps = []
    for shift in range(V, -1, -1):
        forwards, backwards = layers.peeled_both_ways(*made_by_hand(shift, 0.45, sigma=0.02))[0]
        gaps.append(float((forwards - backwards).mean()))
    assert gaps == sorted(gaps)
    assert gaps[0] < 1e-12 and gaps[-1] > 0.6


def test_a_code_is_placed_by_its_overlap_and_by_the_lead_of_the_forward_reader():
    subspaces, onion_like = (layers.place(*made_by_hand(shift, 0.45))[0].tolist() for shift in (V, 0))
    assert subspaces == pytest.approx([0, 0], abs=1e-9)
    given = made_by_hand(0, 0.45)
    forwards, backwards = layers.peeled_both_ways(*given)[0].mean(1).tolist()
    assert onion_like == pytest.approx([1, forwards - backwards])


def test_the_same_directions_and_sizes_leave_no_order():
    code, mean, h, rest, tokens = made_by_hand(0, 1.0)
    h = h.round(decimals=9)  # where two letters tie, rounding would decide, and differently for each order of adding
    read = [layers.peel(code, mean, h, rest, order=torch.tensor([order])) for order in ([0, 1, 2, 3], [3, 2, 1, 0])]
    shares = [(found[0] == tokens).double().mean() for found in read]
    torch.testing.assert_close(*shares)
    # the state of abcd is that of every order of the same letters: no reader gets more than one of each such set whole
    kinds = Counter(tuple(sorted(sequence)) for sequence in tokens.T.tolist())
    assert all((found[0] == tokens).all(0).sum() <= len(kinds) for found in read)
    # and of single tokens no more than the most frequent letter of the set
    best = sum(n * max(Counter(kind).values()) / 4 for kind, n in kinds.items()) / tokens.shape[1]
    assert all(share <= best + 1e-12 for share in shares)


def test_one_wrong_token_taken_off_spoils_what_lies_beneath_an_onion_only():
    for shift, spoilt in ((V, False), (0, True)):
        code, mean, h, rest, tokens = made_by_hand(shift, 0.45)
        taken = torch.full_like(tokens, -1)
        taken[1] = (tokens[1] + 1) % V
        right = layers.peel(code, mean, h, rest, taken=taken)[0] == tokens
        assert right[:2].all()
        assert bool(right[2:].all()) != spoilt
        assert not spoilt or right[2].double().mean() < 0.5


def test_means_over_pairs_of_positions():
    matrix = torch.tensor([[[1.0, 0.2, 0.6], [0.2, 1.0, 0.1], [0.6, 0.1, 1.0]]])
    torch.testing.assert_close(layers.between_positions(matrix), torch.tensor([0.3]))


def test_directions_scaled_by_unit_or_by_position_are_recognised():
    generator = torch.Generator().manual_seed(0)
    e, units, positions = (torch.randn(*s, generator=generator) for s in ((1, 1, 7, 6), (1, 5, 1, 6), (1, 5, 1, 1)))
    torch.testing.assert_close(layers.scaled_by_unit(units * e), torch.ones(1))
    assert layers.scaled_by_position(units * e) < 0.9
    torch.testing.assert_close(layers.scaled_by_position(positions * e), torch.ones(1))
    mixed = layers.shuffled(units * e, generator)
    assert layers.scaled_by_unit(mixed) < 0.7
    torch.testing.assert_close(layers.overlap(mixed), layers.overlap(units * e))
    torch.testing.assert_close(mixed.sort(2).values, (units * e).expand(1, 5, 7, 6).sort(2).values)
    # a unit for each position: a product whatever the tokens are
    alone = torch.diag_embed(torch.randn(1, 7, 5, generator=generator)).transpose(1, 2)
    torch.testing.assert_close(layers.scaled_by_unit(layers.shuffled(alone, generator)), torch.ones(1))


@pytest.mark.parametrize("autoregressive", [True, False])
def test_effects_over_time_are_differences_of_means(autoregressive):
    model = TokenNetwork.init(
        GRU, 3, 4, [torch.Generator().manual_seed(s) for s in range(2)], autoregressive=autoregressive
    )
    found = layers.over_time(model, 3, torch.Generator().manual_seed(5), sequences=4)
    assert found.shape == (2, 3, 6, 3, 4)
    drawn = torch.randint(3, (3, 4), generator=torch.Generator().manual_seed(5))
    at = torch.zeros(2, 3, 6, 3, 4)
    for p, v, b in itertools.product(range(3), range(3), range(4)):
        put = drawn[:, b].clone()
        put[p] = v
        h = torch.zeros(2, 1, 4)
        writing = model.writing_inputs(Sequences.of_one_length(put[None, :, None]))[0, :, 0]
        for t, token in enumerate([*put.tolist(), *writing.tolist()]):
            h = model.step(h, torch.full((2, 1), token))
            at[:, p, t, v] += h[:, 0] / 4
    torch.testing.assert_close(found, at - at.mean(3, keepdim=True), rtol=1e-4, atol=1e-6)
    before = [found[:, p, t] for p in range(3) for t in range(p)]
    assert all(effect.abs().max() < 1e-6 for effect in before)
    last, _ = layers.layers(model, 3, torch.Generator().manual_seed(5), sequences=4)
    torch.testing.assert_close(found[:, :, 2], last, rtol=1e-4, atol=1e-6)


def test_what_is_measured_of_networks_is_what_each_function_says():
    networks = TokenNetwork.init(GRU, 4, 6, [torch.Generator().manual_seed(m) for m in range(2)])
    some, asked = torch.randint(4, (2, 3, 40), generator=torch.Generator().manual_seed(2))
    code, mean, h, rest = layers.measured(networks, some, asked, torch.Generator().manual_seed(5), 8)
    own, own_mean = layers.layers(networks, 3, torch.Generator().manual_seed(5), 8)
    assert torch.equal(code, own) and torch.equal(mean, own_mean)
    torch.testing.assert_close(h, networks.encode(Sequences.of_one_length(asked[None])))
    left = networks.encode(Sequences.of_one_length(some[None])) - mean[:, None]
    left = left - sum(code[:, p, row] for p, row in enumerate(some))
    left = left.double()
    torch.testing.assert_close(rest, torch.einsum("mbi,mbj->mij", left, left) / 40)
    assert layers.place(code, mean, h, rest, asked).shape == (2, 2)
    with pytest.raises(ValueError, match="some must have 3 positions"):
        layers.measured(networks, some[:2], asked, torch.Generator())


def test_few_tokens_leave_a_singular_covariance_that_still_reads():
    networks = TokenNetwork.init(GRU, 3, 8, [torch.Generator().manual_seed(0)])  # 9 sequences, 8 units
    some, asked = torch.randint(3, (2, 2, 200), generator=torch.Generator().manual_seed(1))
    known = layers.measured(networks, some, asked, torch.Generator().manual_seed(2), 64)
    assert float(torch.linalg.eigvalsh(known[3])[0, 0]) > -1e-12
    assert float((layers.peel(*known)[0] == asked).double().mean()) > 0.6
