"""Random numbers by purpose: NumPy's generator as the oracle, and that no two streams share anything."""

import hashlib
from itertools import combinations

import numpy as np
import pytest
import torch
from oracles import SHAPE_ERRORS

from emt_core.support.random_streams import LIMIT, seeds_of, stream, streams
from emt_core.tasks import TokenRepeat, VariableBinding
from emt_core.training import evaluate, fit

PURPOSES = ("network", "test", "onion edit", "unigram edit", "bigram edit", "linear probe", "mlp probe", "sign probe",
            "cases", "sequences", "embedding", "")  # fmt: skip
SEEDS = (0, 1, 2, 3, 41, 2**16, 2**31 - 1)
BINDING, REPEAT = VariableBinding.repeat_copy(2, 2), TokenRepeat(3, 1, 2)


def words(generator: torch.Generator, count: int) -> list[int]:
    """Numbers of 62 bits: torch makes each of two raw ones of 32, the earlier above the later."""
    return torch.randint(0, 2**62, (count,), generator=generator).tolist()


def oracle(seed: int, purpose: str) -> np.random.MT19937:
    """NumPy's Mersenne twister, all of whose state NumPy's SeedSequence fills from the seed and the purpose's name."""
    digest = hashlib.sha256(purpose.encode()).digest()
    name = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4)]
    key = np.random.SeedSequence([seed, *name]).generate_state(624)
    twister = np.random.MT19937()
    twister.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": 624}}
    return twister


# --- which numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "purpose"), [(3, "onion edit"), (0, "cases"), (2**31 - 1, "sign probe"), (5, "Ψ")])
def test_a_purposes_numbers_are_those_of_numpys_twister(seed, purpose):
    raw = [int(word) for word in oracle(seed, purpose).random_raw(2000)]  # three times over the state, 624 words
    lower = torch.randint(0, 2**27, (2000,), generator=stream(seed, purpose))  # so small a range takes one word
    assert lower.tolist() == [word % 2**27 for word in raw]
    pairs = zip(raw[::2], raw[1::2], strict=True)
    assert words(stream(seed, purpose), 1000) == [((above << 32) + below) % 2**62 for above, below in pairs]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_oldest_purposes_are_torchs_own_seeds(seed):
    for purpose, start in (("network", seed), ("test", 2**31 + seed)):
        mine, own = stream(seed, purpose), torch.Generator().manual_seed(start)
        assert torch.equal(mine.get_state(), own.get_state()) and mine.initial_seed() == start
        assert torch.equal(torch.randn(100, generator=mine), torch.randn(100, generator=own))


def test_a_stream_is_always_the_same_and_concerns_no_other():
    before = torch.get_rng_state()
    for purpose in PURPOSES:
        first, again = stream(7, purpose), stream(7, purpose)
        torch.rand(5, generator=first)
        again_state = again.get_state()
        assert torch.equal(stream(np.int64(7), purpose).get_state(), again_state)
        assert not torch.equal(first.get_state(), again_state)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_normal_number_is_left_over_from_before():
    """torch draws normal numbers in pairs and keeps one: a stream must begin without."""
    for purpose in PURPOSES:
        fresh = stream(1, purpose)
        one_by_one = [torch.randn((), generator=fresh).item() for _ in range(3)]
        again = stream(1, purpose)
        assert [torch.randn((), generator=again).item() for _ in range(3)] == one_by_one
        assert len(set(one_by_one)) == 3


def test_streams_are_one_for_each_seed():
    made = streams([4, 0, 4], "cases")
    assert len(made) == 3
    for seed, generator in zip((4, 0, 4), made, strict=True):
        assert torch.equal(generator.get_state(), stream(seed, "cases").get_state())
    assert streams([], "cases") == []


# --- nothing in common ------------------------------------------------------------------------------------------------


def test_streams_of_all_seeds_and_purposes_are_different():
    made = {(seed, purpose): stream(seed, purpose) for seed in SEEDS for purpose in PURPOSES}
    drawn = {pair: set(words(generator, 700)) for pair, generator in made.items()}
    # no number of 62 bits comes twice, wherever: 84 · 700 random ones make 2e9 pairs, each alike once in 5e18
    for a, b in combinations(drawn, 2):
        assert not drawn[a] & drawn[b], (a, b)
    assert len(drawn) == len(SEEDS) * len(PURPOSES) and all(len(numbers) == 700 for numbers in drawn.values())


def test_normal_numbers_of_purposes_are_uncorrelated():
    size = 20_000
    for seed in (0, 3):
        drawn = torch.stack([torch.randn(size, generator=stream(seed, purpose)) for purpose in PURPOSES]).double()
        assert drawn.mean(1).abs().max() < 5 / size**0.5
        assert (drawn.var(1) - 1).abs().max() < 5 * (2 / size) ** 0.5
        correlation = torch.corrcoef(drawn) - torch.eye(len(PURPOSES))
        assert correlation.abs().max() < 5 / size**0.5


def test_normal_numbers_of_neighbouring_seeds_are_uncorrelated():
    size = 20_000
    for purpose in ("network", "onion edit"):
        drawn = torch.stack([torch.randn(size, generator=g) for g in streams(range(12), purpose)]).double()
        assert (torch.corrcoef(drawn) - torch.eye(12)).abs().max() < 5 / size**0.5


def test_the_largest_seed_of_networks_does_not_reach_the_tests():
    """torch reads 32 bits of a seed: 2^32 + s would be s again, which is why seeds end where they do."""
    assert LIMIT == 2**31
    twice = [torch.Generator().manual_seed(seed) for seed in (5, 2**32 + 5)]
    assert words(twice[0], 20) == words(twice[1], 20)
    ends = [stream(0, "network"), stream(LIMIT - 1, "network"), stream(0, "test"), stream(LIMIT - 1, "test")]
    assert len({tuple(words(g, 20)) for g in ends}) == 4


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_seeds_are_pythons_numbers():
    assert seeds_of(range(3)) == [0, 1, 2] and seeds_of({2**31 - 1}) == [2**31 - 1]
    found = seeds_of(np.array([3, 1]))
    assert found == [3, 1] and all(type(seed) is int for seed in found)
    assert seeds_of(torch.tensor([4])) == [4] and seeds_of(seed for seed in (1, 1)) == [1, 1]


WRONG = {
    "too large": (2**31, r"must be below 2147483648, got 2147483648"),
    "beyond torch's": (2**32 + 1, r"must be below 2147483648, got 4294967297"),
    "NumPy's too large": (np.int64(2**40), r"must be below 2147483648, got 1099511627776"),
    "negative": (-1, r"must be at least 0, got -1"),
    "bool": (True, r"must be an integer, got True"),
    "float": (3.0, r"must be an integer, got 3\.0"),
    "nan": (float("nan"), r"must be an integer, got nan"),
    "text": ("3", r"must be an integer, got '3'"),
    "nothing": (None, r"must be an integer, got None"),
}
each_wrong = pytest.mark.parametrize(("seed", "message"), WRONG.values(), ids=WRONG)


@each_wrong
def test_wrong_seeds_are_refused(seed, message):
    # of what can be gone through only once the tests' check of types sees nothing
    with pytest.raises(ValueError, match=f"^seeds {message}$"):
        seeds_of(iter([0, seed]))
    with pytest.raises(ValueError, match=f"^start {message}$"):
        seeds_of(iter([seed, 0]), "start")


def test_no_seed_at_all_is_refused():
    for nothing in ([], (), range(0), iter(())):
        with pytest.raises(ValueError, match=r"^seeds must hold at least one seed, got none$"):
            seeds_of(nothing)


WRONG_INTEGERS = {name: each for name, each in WRONG.items() if isinstance(each[0], int)}
each_wrong_integer = pytest.mark.parametrize(("seed", "message"), WRONG_INTEGERS.values(), ids=WRONG_INTEGERS)


@pytest.mark.parametrize("purpose", ["network", "test", "onion edit"])
@each_wrong_integer
def test_no_stream_starts_from_a_wrong_seed(seed, message, purpose):
    with pytest.raises(ValueError, match=f"^seed {message}$"):
        stream(seed, purpose)
    with pytest.raises(ValueError, match=f"^seed {message}$"):
        streams(iter([seed]), purpose)


@pytest.mark.parametrize("purpose", ["network", "test", "onion edit"])
@pytest.mark.parametrize("seed", [3.0, None, "3"], ids=str)
def test_no_stream_starts_from_what_is_no_number(seed, purpose):
    with pytest.raises(SHAPE_ERRORS, match="seed"):
        stream(seed, purpose)


@each_wrong_integer
@pytest.mark.parametrize("task", [BINDING, REPEAT], ids=["binding", "repeat"])
def test_nothing_is_trained_with_a_wrong_seed(task, seed, message):
    for seeds in ([0, seed], [seed]):
        with pytest.raises(ValueError, match=f"^seeds {message}$"):
            fit(task, seeds=seeds, steps=1, progress=False)
    with pytest.raises(SHAPE_ERRORS, match="seeds"):
        fit(task, seeds=[3.0], steps=1, progress=False)


@pytest.mark.parametrize("task", [BINDING, REPEAT], ids=["binding", "repeat"])
def test_nothing_is_trained_without_a_seed(task):
    with pytest.raises(ValueError, match=r"^seeds must hold at least one seed, got none$"):
        fit(task, seeds=[], steps=1, progress=False)


def test_the_judging_sequences_of_a_wrong_seed_are_refused():
    model = fit(BINDING, seeds=[0, 1], hidden=3, steps=0, progress=False).model
    for seed, message in WRONG_INTEGERS.values():
        with pytest.raises(ValueError, match=f"^seeds {message}$"):
            evaluate(model, BINDING, seeds=[0, seed])
    with pytest.raises(ValueError, match=r"^seed must be below 2147483648"):
        REPEAT.validation(seed=2**31)
    with pytest.raises(ValueError, match=r"^seed must be at least 0"):
        REPEAT.validation(seed=-1)
