"""Repeating tokens: which sequences are drawn, which are kept for validation, and that the two never meet."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from oracles import SHAPE_ERRORS, as_tuples, generators, same_bits

from emt_core.tasks import Sequences, TokenRepeat

# few sequences, so that two draws often meet
SMALL = [TokenRepeat(3, 1, 4), TokenRepeat(5, 2, 4, repeats=False), TokenRepeat(2, 3, 3), TokenRepeat(4, 1, 4, False)]
each_small = pytest.mark.parametrize("task", SMALL, ids=str)


def every(task, length) -> list[tuple[int, ...]]:
    """All sequences of a length, one by one."""
    found = itertools.product(range(task.vocabulary), repeat=length)
    return [s for s in found if task.repeats or len(set(s)) == length]


def all_of(task, lengths) -> Sequences:
    """All sequences of some lengths as the library holds them, the longest first."""
    found = [s for n in sorted(lengths, reverse=True) for s in every(task, n)]
    padded = [s + (0,) * (task.longest - len(s)) for s in found]
    return Sequences(torch.tensor(padded).T[None], torch.tensor([[len(s) for s in found]]))


# --- drawing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [TokenRepeat(), TokenRepeat(30, repeats=False), *SMALL], ids=str)
def test_sequences_are_what_the_task_says(task):
    sequences = task.sample(57, generators(0, 1, 2))
    assert sequences.tokens.shape == (3, task.longest, 57) and sequences.tokens.dtype == torch.int64
    assert sequences.lengths.shape == (3, 57) and sequences.lengths.dtype == torch.int64
    for m in range(3):
        lengths = sequences.lengths[m].tolist()
        assert lengths == sorted(lengths, reverse=True)
        assert set(lengths) <= set(range(task.shortest, task.longest + 1))
        for sequence in as_tuples(sequences, m):
            assert set(sequence) <= set(range(task.vocabulary))
            assert task.repeats or len(set(sequence)) == len(sequence)
    beyond = torch.arange(task.longest)[:, None] >= sequences.lengths[:, None]
    assert not sequences.tokens[beyond].any()


@each_small
def test_every_sequence_of_a_length_is_as_likely(task):
    size = 20_000
    drawn = task.sample(size, generators(0))
    lengths = Counter(drawn.lengths[0].tolist())
    share = 1 / (task.longest - task.shortest + 1)
    for n in range(task.shortest, task.longest + 1):  # a count's standard deviation is below √(size share)
        assert abs(lengths[n] - size * share) < 5 * (size * share) ** 0.5
    counts = Counter(as_tuples(drawn))
    for n in range(task.shortest, task.longest + 1):
        expected = lengths[n] / task.count(n)
        assert len(every(task, n)) == task.count(n)
        assert max(abs(counts[s] - expected) for s in every(task, n)) < 5 * expected**0.5


def test_one_length_alone():
    task = TokenRepeat(6, 2, 5)
    for n in range(2, 6):
        assert (task.sample(20, generators(3), length=n).lengths == n).all()
    for wrong in (1, 6):
        with pytest.raises(ValueError, match=rf"^length must lie in 2 … 5, got {wrong}"):
            task.sample(20, generators(3), length=wrong)


@pytest.mark.parametrize("avoiding", [False, True], ids=["all", "avoiding"])
def test_a_model_draws_the_same_alone_and_among_others(avoiding):
    task = TokenRepeat(3, 1, 4)
    avoid = task.validation(1000, share=0.5) if avoiding else None
    before = torch.get_rng_state()
    among = generators(4, 5, 6)
    together = task.sample(40, among, avoid)
    for m, seed in enumerate((4, 5, 6)):
        (own,) = generators(seed)
        alone = task.sample(40, own, avoid)  # one generator need not be in a list
        assert same_bits(alone.tokens[0], together.tokens[m]) and same_bits(alone.lengths[0], together.lengths[m])
        assert torch.equal(own.get_state(), among[m].get_state())
    assert not torch.equal(together.tokens[0], together.tokens[1])
    assert torch.equal(torch.get_rng_state(), before)


# --- numbers of sequences ---------------------------------------------------------------------------------------------


@each_small
def test_every_sequence_has_a_number_of_its_own(task):
    numbers = []
    for n in range(1, task.longest + 1):
        sequences = all_of(task, [n])
        keys = task._keys(sequences.tokens[0], sequences.lengths[0])
        assert torch.equal(task._tokens(keys, n), sequences.tokens[0])  # and back
        numbers += keys.tolist()
    assert len(set(numbers)) == len(numbers) == sum(task.count(n) for n in range(1, task.longest + 1))


def test_the_largest_task_is_still_numbered_in_64_bits():
    task = TokenRepeat(30, 2, 12)
    last = torch.full((12, 1), 29)
    assert task._keys(last, torch.tensor([12])).tolist() == [13 * 30**12 - 1]
    assert 13 * 30**12 < 2**63 <= 14 * 30**13
    with pytest.raises(ValueError, match=r"^longest is too long for sequences of 30 tokens to be numbered: 13"):
        TokenRepeat(30, 2, 13)


@each_small
def test_what_was_drawn_and_is_to_be_avoided_is_drawn_no_more(task):
    others = task.sample(4, generators(2, 3), length=task.longest)
    one = Sequences(others.tokens[:1], others.lengths[:1])  # one set for all models
    for sets in (others, others[:1], others[:0], one):
        drawn = task.sample(60, generators(0, 1), sets)
        for m in range(2):
            assert not set(as_tuples(drawn, m)) & set(as_tuples(sets, m % len(sets.tokens)))


# --- validation -------------------------------------------------------------------------------------------------------


def per_length(sequences) -> Counter:
    return Counter(sequences.lengths[0].tolist())


@pytest.mark.parametrize(
    ("task", "size", "share", "sizes"),
    [
        # the longest lengths have enough: what the shortest lacks is spread over them
        (TokenRepeat(), 5000, 0.2, {2: 180, 3: 688, 4: 688, 5: 688, 6: 689, 7: 689, 8: 689, 9: 689}),
        (TokenRepeat(3, 1, 4), 10_000, 0.2, {2: 1, 3: 5, 4: 16}),  # fewer than asked for
        (TokenRepeat(3, 1, 4), 10, 0.2, {2: 1, 3: 4, 4: 5}),
        (TokenRepeat(3, 1, 4), 10_000, 0.9, {1: 2, 2: 8, 3: 24, 4: 72}),
        (TokenRepeat(4, 1, 4, repeats=False), 10_000, 0.2, {2: 2, 3: 4, 4: 4}),
        (TokenRepeat(2, 1, 2), 1, 0.2, {}),
    ],
    ids=str,
)
def test_validation_takes_as_evenly_as_the_share_allows(task, size, share, sizes):
    found = task.validation(size, share=share)
    assert per_length(found) == sizes
    assert all(taken <= share * task.count(n) for n, taken in sizes.items())
    sequences = as_tuples(found)
    assert len(set(sequences)) == len(sequences) <= size
    assert all(set(s) <= set(range(task.vocabulary)) for s in sequences)
    assert task.repeats or all(len(set(s)) == len(s) for s in sequences)
    assert found.tokens.shape == (1, task.longest, len(sequences))
    assert torch.equal(found.tokens, found.tokens * found.mask)
    assert (found.lengths.diff() <= 0).all()


def test_validation_is_fixed_by_its_seed():
    before = torch.get_rng_state()
    one, again, other = (TokenRepeat().validation(400, seed) for seed in (0, 0, 1))
    assert same_bits(one.tokens, again.tokens) and same_bits(one.lengths, again.lengths)
    assert len(set(as_tuples(one)) & set(as_tuples(other))) < 100
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_prefers_no_sequence():
    # share 0.4 of the 9 sequences of two of three tokens: 3 of them, each in 1/3 of the sets
    task = TokenRepeat(3, 2, 2)
    counts = Counter(s for seed in range(300) for s in as_tuples(task.validation(100, seed, 0.4)))
    assert len(counts) == 9
    assert max(abs(count - 100) for count in counts.values()) < 5 * (300 * 1 / 3 * 2 / 3) ** 0.5


@each_small
def test_training_never_sees_a_validation_sequence(task):
    validation = task.validation(10_000, share=0.45)
    kept = set(as_tuples(validation))
    assert len(kept) > 2
    drawn = [task.sample(500, generators(seed), validation) for seed in range(6)]
    seen = Counter(s for batch in drawn for s in as_tuples(batch))
    assert not kept & set(seen)
    # without it they would meet all the time; and all other sequences are still drawn, every length as often
    free = as_tuples(task.sample(500, generators(0)))
    assert sum(s in kept for s in free) > 0.2 * len(free)
    assert kept | set(seen) == {s for n in range(task.shortest, task.longest + 1) for s in every(task, n)}
    share = 3000 / (task.longest - task.shortest + 1)
    lengths = Counter(len(s) for s in seen.elements())
    assert max(abs(n - share) for n in lengths.values()) < 5 * share**0.5


def test_each_model_avoids_its_own_sequences():
    task = TokenRepeat(2, 3, 3)
    halves = Sequences(torch.stack([task._tokens(torch.arange(8)[i::2], 3) for i in range(2)]), torch.full((2, 4), 3))
    drawn = task.sample(200, generators(0, 1), halves)
    for m in range(2):
        assert set(as_tuples(drawn, m)) == set(as_tuples(halves, 1 - m))


def test_nothing_left_to_draw_is_an_error():
    task = TokenRepeat(3, 1, 2)
    with pytest.raises(ValueError, match=r"^avoid must leave sequences of every length to draw, got all of one"):
        task.sample(4, generators(0), all_of(task, [1]))
    assert (task.sample(4, generators(0), all_of(task, [1]), 2).lengths == 2).all()


# --- arguments --------------------------------------------------------------------------------------------------------


def test_equal_tasks_are_equal():
    task = TokenRepeat(np.int64(5), np.int32(2), np.int16(4))
    assert task == TokenRepeat(5, 2, 4) and hash(task) == hash(TokenRepeat(5, 2, 4))
    assert repr(task) == repr(TokenRepeat(5, 2, 4)) and type(task.longest) is int
    assert TokenRepeat() == TokenRepeat(30, 2, 9, True)  # the paper's


def test_wrong_arguments_are_named():
    for wrong, message in [
        (dict(vocabulary=1), "^vocabulary must be at least 2, got 1"),
        (dict(shortest=0), "^shortest must be at least 1, got 0"),
        (dict(shortest=4, longest=3), "^longest must be at least 4, got 3"),
        (
            dict(vocabulary=3, longest=4, repeats=False),
            "^longest must be at most vocabulary = 3 without repeats, got 4",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            TokenRepeat(**wrong)
    with pytest.raises(SHAPE_ERRORS, match="vocabulary"):
        TokenRepeat(30.0)
    task = TokenRepeat(3, 1, 2)
    with pytest.raises(ValueError, match=r"^batch must be at least 1, got 0"):
        task.sample(0, generators(0))
    with pytest.raises(ValueError, match=r"^generators must hold at least one torch.Generator, got none"):
        task.sample(1, [])
    with pytest.raises(ValueError, match=r"^avoid must hold 1 or 3 models, got 2"):
        task.sample(1, generators(0, 1, 2), task.sample(1, generators(0, 1)))
    with pytest.raises(ValueError, match=r"^size must be at least 1, got 0"):
        task.validation(0)
    for share in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match=rf"^share must lie between 0 and 1, got {share}"):
            task.validation(10, share=share)
    longer = TokenRepeat(3, 1, 3).sample(4, generators(0))
    with pytest.raises(ValueError, match=r"^avoid must have L = 2 tokens, got 3$"):
        task.sample(1, generators(0), longer)


def test_sequences_are_checked_against_the_task():
    task = TokenRepeat(4, 1, 3)
    fitting = Sequences(torch.tensor([[[3, 0], [3, 0], [0, 0]]]), torch.tensor([[2, 1]]))
    assert task.check("these", fitting) is None
    for wrong, message in (
        (Sequences(fitting.tokens[:, :2], fitting.lengths), "must have L = 3 tokens, got 2"),
        (Sequences(torch.zeros(1, 4, 2).long(), fitting.lengths), "must have L = 3 tokens, got 4"),
        (Sequences(fitting.tokens + (fitting.tokens > 0), fitting.lengths), r"must hold tokens in 0 … 3, got 4"),
        (TokenRepeat(9, 3, 3).sample(50, generators(0, 1)), r"must hold tokens in 0 … 3, got 8"),
    ):
        with pytest.raises(ValueError, match=f"^these {message}$"):
            task.check("these", wrong)
        with pytest.raises(ValueError, match=f"^avoid {message}$"):
            task.sample(2, generators(0, 1), wrong)


def test_sets_for_another_number_of_models_are_refused():
    task = TokenRepeat(4, 1, 3)
    three, two = generators(0, 1, 2), generators(3, 4)
    for others, own in ((two, three), (three, two)):
        with pytest.raises(ValueError, match=f"^avoid must hold 1 or {len(own)} models, got {len(others)}$"):
            task.sample(5, own, task.sample(5, others))
