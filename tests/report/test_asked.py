"""What a user gives as sequences and targets: all forms say the same, and what is wrong is said."""

import numpy as np
import pytest
import torch

from emt_core.networks import Functions
from emt_core.report import asked
from emt_core.tasks import Sequences, TokenRepeat

NETWORK = Functions(encode=lambda t: t[:, :1].double(), write=lambda h, k: h.long().expand(-1, k), vocabulary=9)
LISTS = [[b % 9] * (1 + b % 4) for b in range(40)]


def test_the_longest_come_first_with_their_targets():
    q = asked(NETWORK, LISTS, lambda each: [len(each), *each])
    assert q.sequences.lengths[0].tolist() == sorted((len(each) for each in LISTS), reverse=True)
    for b in range(40):
        n = int(q.sequences.lengths[0, b])
        own = q.sequences.tokens[0, :n, b].tolist()
        assert q.targets[:, b].tolist() == ([n, *own] + [-1] * 5)[:5]
    assert sorted(tuple(q.sequences.tokens[0, :n, b].tolist()) for b, n in enumerate(q.sequences.lengths[0])) == sorted(
        map(tuple, LISTS)
    )
    assert q.right(q.targets).all() and not q.right(q.targets + 1).all(0).any()


def test_rules():
    forwards, backwards = asked(NETWORK, LISTS, "repeat"), asked(NETWORK, LISTS, "reverse")
    assert forwards.rule == "repeat" and torch.equal(forwards.targets[:2, :9], forwards.sequences.tokens[0, :2, :9])
    given = asked(NETWORK, [[1, 2, 3]] * 32, [[3, 2, 1]] * 32)
    assert given.rule == "given" and given.targets[:, 0].tolist() == [3, 2, 1]
    assert torch.equal(asked(NETWORK, [[1, 2, 3]] * 32, "reverse").targets, given.targets)
    assert backwards.mask.sum() == sum(map(len, LISTS))


def test_labels_need_no_axis_of_their_own():
    labels = [len(each) for each in LISTS]
    forms = torch.tensor(labels), np.array(labels), [[n] for n in labels], len
    made = [asked(NETWORK, LISTS, form).targets for form in forms]
    assert made[0].shape == (1, 40) and all(torch.equal(each, made[0]) for each in made)


def test_tensors_arrays_and_sequences_are_the_same():
    square = [[b % 9, 3, 1] for b in range(32)]
    forms = (
        square, tuple(map(tuple, square)), torch.tensor(square), np.array(square), list(torch.tensor(square)),
        Sequences.of_one_length(torch.tensor(square).mT[None]),
    )  # fmt: skip
    made = [asked(NETWORK, form) for form in forms]
    assert all(torch.equal(q.sequences.tokens, made[0].sequences.tokens) for q in made)
    task = TokenRepeat(9, 2, 5)
    drawn = task.validation(100)
    again = asked(NETWORK, drawn)
    assert torch.equal(again.sequences.tokens, drawn.tokens) and torch.equal(again.sequences.lengths, drawn.lengths)


def test_chance_is_the_most_frequent_target():
    q = asked(NETWORK, [[1, 1, 1, 2]] * 32)
    assert q.chance == 0.75


@pytest.mark.parametrize(
    ("sequences", "targets", "message"),
    [
        (LISTS[:31], "repeat", "sequences must be at least 32, got 31: pass more"),
        (
            [*LISTS, [9]],
            "repeat",
            "sequences must hold tokens in 0 … 8, the network's vocabulary, got 9 in sequence 40",
        ),
        ([*LISTS, []], "repeat", "sequences must hold at least one token each, got none in sequence 40"),
        ([*LISTS, [1.5]], "repeat", "sequences must hold integers of at least 0, got 1.5 in sequence 40"),
        ([*LISTS, [-1]], "repeat", "sequences must hold integers of at least 0, got -1 in sequence 40"),
        ([*LISTS, [True]], "repeat", "sequences must hold integers of at least 0, got True in sequence 40"),
        ([*LISTS, 3], "repeat", "sequences must be a tensor of integers (B, L), or .* got int as number 40"),
        (torch.zeros(40, 3), "repeat", "sequences must hold integers of at least 0, got 0.0 in sequence 0"),
        (torch.zeros(40, 3, 2).long(), "repeat", r"sequences must be .*, got shape \(40, 3, 2\)"),
        ("abc", "repeat", "sequences must be a tensor of integers .*, got str"),
        (LISTS, "backwards", "targets must be one of .'repeat', 'reverse'., a function or lists, got 'backwards'"),
        (LISTS, LISTS[:5], "targets must be one for each of the 40 sequences, got 5"),
        (LISTS, [[-2]] * 40, "targets must hold integers of at least -1, got -2 in sequence 0"),
        (LISTS, [[-1]] * 40, "targets must ask for at least one token, got none"),
        (LISTS, lambda each: "3", "targets must be .*, got str as number 0"),
        (Sequences.of_one_length(torch.zeros(2, 3, 40).long()), "repeat", "sequences must be for one model, got 2"),
    ],
)
def test_what_is_wrong_is_said(sequences, targets, message):
    with pytest.raises(ValueError, match=f"^{message}".replace("(B, L)", r"\(B, L\)")):
        asked(NETWORK, sequences, targets)
