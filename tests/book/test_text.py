"""What a chapter says: values reach the page and the paragraphs, words fit their numbers."""

import numpy as np
import pytest
import torch

from emt_core.book import text


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(text, "_said", {})
    monkeypatch.setattr(text, "_paragraphs", [])


@pytest.fixture
def glued(monkeypatch):
    found = {}
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: found.update({name: value}))
    return found


def test_values_become_plain_python(glued):
    text.say(a=np.float64(0.5), b=torch.tensor(3), c=np.array([2]), d="words", e=torch.tensor([1.5]))
    assert glued == {"a": 0.5, "b": 3, "c": 2, "d": "words", "e": 1.5}
    assert {type(v) for v in glued.values()} == {float, int, str}


@pytest.mark.parametrize("value", [np.ones(2), torch.ones(3)], ids=["array", "tensor"])
def test_an_array_is_no_value(glued, value):
    with pytest.raises(ValueError, match="error must be one number"):
        text.say(error=value)


def test_a_paragraph_is_written_anew_when_a_value_is_said(glued, monkeypatch):
    shown = []

    class Handle:
        def update(self, markdown):
            shown.append(markdown.data)

    monkeypatch.setattr("IPython.display.display", lambda markdown, display_id: shown.append(markdown.data) or Handle())
    text.live("<<n>> networks, error <<error:.2f>>, $x_{1}$", n=3, error=0.123)
    text.live("another with <<m>>", m=1)
    text.say(error=0.5)
    text.say(n=7, other=1)
    assert shown == [
        "3 networks, error 0.12, $x_{1}$",
        "another with 1",
        "3 networks, error 0.50, $x_{1}$",
        "7 networks, error 0.50, $x_{1}$",
    ]
    text.live("<<n>> and <<nobody>>")
    assert shown[-1] == "7 and ?nobody?"


def words(value: str) -> str:
    return value.replace(text.SPACE, " ")


@pytest.mark.parametrize(
    ("n", "said"),
    [(0, "no networks"), (1, "one network"), (2, "two networks"), (12, "twelve networks"), (13, "13 networks")],
)
def test_count(n, said):
    assert words(text.count(n, "network")) == said
    assert words(text.count(n, "network", capital=True)) == said[0].upper() + said[1:]


def test_count_takes_irregular_words():
    assert words(text.count(2, "entry", "entries")) == "two entries"
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        text.count(-1, "network")


@pytest.mark.parametrize(
    ("n", "total", "said"),
    [
        (0, 5, "none of the five"),
        (3, 5, "three of the five"),
        (5, 5, "all five"),
        (2, 2, "both"),
        (1, 2, "one of the two"),
        (1, 1, "the only one"),
        (0, 1, "not the only one"),
        (20, 30, "20 of the 30"),
    ],
)
def test_of(n, total, said):
    assert text.of(n, total) == said


@pytest.mark.parametrize(("n", "total"), [(-1, 2), (3, 2), (0, 0)])
def test_of_refuses(n, total):
    with pytest.raises(ValueError, match="n must be from 0 to total"):
        text.of(n, total)


@pytest.mark.parametrize(
    ("share", "digits", "said"),
    [
        (0.953, 0, "95 %"),
        (1.0, 0, "100 %"),
        (0.9999, 0, ">99 %"),
        (0.9999, 1, ">99.9 %"),
        (0.0001, 0, "<1 %"),
        (0.0, 0, "0 %"),
        (float("nan"), 0, "not measured"),
        (1.5, 0, "150 %"),
    ],
)
def test_percent(share, digits, said):
    assert words(text.percent(share, digits)) == said


@pytest.mark.parametrize(
    ("shares", "digits", "said"),
    [
        ([0.7, 0.53, 0.6], 0, "53 % to 70 %"),
        (np.array([0.501, 0.504]), 0, "50 %"),
        ([0.501, 0.504], 1, "50.1 % to 50.4 %"),
    ],
)
def test_span(shares, digits, said):
    assert words(text.span(shares, digits)) == said


def test_listed():
    assert text.listed([]) == "none"
    assert text.listed(["a"]) == "a"
    assert text.listed(["a", "b"]) == "a and b"
    assert text.listed([1, 2, 3], "or") == "1, 2 or 3"
