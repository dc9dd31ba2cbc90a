"""Verdicts by their rules: on numbers made by hand, at the lines and on both sides of them."""

import pytest

from emt_core.report import verdicts


def code(forwards=0.9, backwards=0.2, near=0.9, every=0.7, additive=0.9, draws=3) -> dict:
    numbers = {"additive": [additive] * draws, "overlap_neighbours": [near] * draws, "overlap_all": [every] * draws}
    return numbers | {"forwards": [[forwards, forwards]] * draws, "backwards": [[backwards, backwards]] * draws}


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "onion"),
        ({"backwards": 0.9}, "onion"),  # much room: the order does not matter
        ({"every": 0.49}, "onion"),  # little room: it does
        ({"every": 0.49, "backwards": 0.51}, "between"),
        ({"near": 0.74}, "between"),
        ({"near": 0.3, "backwards": 0.9, "every": 0.25}, "subspaces"),
        ({"near": 0.3, "backwards": 0.9, "every": 0.26}, "between"),
        ({"near": 0.3, "backwards": 0.79, "every": 0.2}, "between"),
        ({"additive": 0.49}, "cannot tell"),
        ({"forwards": 0.49}, "cannot tell"),
        (
            {"near": 0.3, "forwards": 0.3, "backwards": 0.6, "every": 0.1},
            "between",
        ),  # the order matters, if not as an onion's
    ],
)
def test_codes(changed, word):
    verdict = verdicts.code(code(**changed))
    assert verdict.word == word
    assert str(verdict).startswith(f"{word}: ") and len(verdict.why) > 20


def test_draws_that_disagree_say_so():
    numbers = code()
    numbers["overlap_neighbours"] = [0.9, 0.7, 0.9]
    verdict = verdicts.code(numbers)
    assert verdict.word == "cannot tell" and verdict.why.startswith("of 3 draws between in 1, onion in 2")


def test_what_was_not_measured_cannot_be_told():
    for judge in (verdicts.code, verdicts.memory):
        assert judge({"missing": "it was late"}) == verdicts.Verdict("cannot tell", "it was late")
    unread = code() | {"forwards": [None] * 3, "backwards": [None] * 3}
    assert verdicts.code(unread).word == "cannot tell"


@pytest.mark.parametrize(
    ("kept", "told", "word"),
    [
        (0.0, 1.0, "digital"),
        (0.1, 1.0, "digital"),
        (0.2, 1.0, "cannot tell"),
        (0.5, 1.0, "analog"),
        (0.3, 0.5, "analog"),  # relative to what is left of the distance
        (2.1, 1.0, "unstable"),
        (0.9, 0.24, "fading"),
        (None, 1.0, "cannot tell"),
    ],
)
def test_memories(kept, told, word):
    numbers = {"kept": [1.0, kept], "told_apart": [1.0, told], "steps": [0, 90], "how": "running on"}
    verdict = verdicts.memory(numbers)
    assert verdict.word == word and verdict.why.startswith("running on for 90 steps, ")


def test_a_memory_is_told_by_how_a_kick_grows_beside_a_distance():
    numbers = {"kept": [1.0, 6.1], "told_apart": [1.0, 1.6], "steps": [0, 90], "how": "running on"}
    assert verdicts.memory(numbers).why == (
        "running on for 90 steps, a small kick has become 6.1 times as large as it was and the distance between two "
        "sequences 1.6 times; the ratio of the two is 3.8"
    )


def test_the_rules_name_their_lines():
    lines = (
        verdicts.NEAR,
        verdicts.COMMON,
        verdicts.LEAD,
        verdicts.APART,
        verdicts.NO_LEAD,
        verdicts.ADDITIVE,
        verdicts.READ,
    )
    for line in lines:
        assert str(line) in verdicts.CODE_RULE
    for line in (verdicts.TOLD_APART, verdicts.DIES, verdicts.STAYS, verdicts.GROWS):
        assert str(line) in verdicts.MEMORY_RULE
