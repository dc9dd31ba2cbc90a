"""Source text: characters, the places where a name is said twice, names held out, and the windows that are learned."""

import ast
import re
import sysconfig
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emt_core.support.random_streams import stream
from emt_core.tasks.source_text import (
    CHARACTERS,
    LETTERS,
    WORD,
    Source,
    decode,
    encode,
    held_out,
    standard_library,
    windows,
)

PROGRAM = '''"""A module of names."""


class {name}:
    def __init__(self, alpha, beta, gamma=1):
        self.alpha = alpha
        self.beta = beta  # not alone on its line
        self.gamma = gamma + 1
        self.delta = beta

    def set(self, alpha, omega):
        self.alpha = alpha
        self.omega = omega
        self.x2 = x2
'''


@pytest.fixture(scope="module")
def library():
    return standard_library()


@given(st.text(alphabet=CHARACTERS))
def test_text_comes_back(text):
    assert decode(encode(text)) == text


def test_what_is_no_character_is_a_question_mark():
    assert decode(encode("aä\tb\r")) == "a??b?"


def test_places_are_where_a_line_says_a_name_twice_and_nothing_else():
    source = Source(PROGRAM)
    assert [name for _, name in source.places] == ["alpha", "alpha", "omega"]
    assert source.names == ("alpha", "omega")
    for at, name in source.places:
        assert source.text[:at].endswith(f"self.{name} = ") and source.text[at:].startswith(name + "\n")
    assert {"gamma", "set", "line"} <= {*source.words} and not {"alpha", "x2", "a", "self", "def"} & {*source.words}


def test_places_are_those_that_the_syntax_has(library):
    """Every assignment of this form that Python's own parser finds in one module is a place, and there is no other."""
    text = (Path(sysconfig.get_path("stdlib")) / "argparse.py").read_text(encoding="utf8")
    found = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=attr)], value=ast.Name(id=name)):
                line = text.split("\n")[node.lineno - 1]
                if attr == name and not set(name) - set(LETTERS) and line.endswith(f"= {name}"):
                    found.append((node.lineno, name))
    source = Source(text)
    assert sorted(found) == [(text[:at].count("\n") + 1, name) for at, name in source.places] and len(found) > 20


def test_lines_with_a_word_go_and_those_with_a_longer_one_stay():
    kept = Source("alpha = 1\nalphabet = 2\nx.alpha\nbeta").without(["alpha", "gamma"])
    assert kept.text == "alphabet = 2\nbeta"


def test_held_out_names_are_decided_by_the_name(library):
    assert [held_out(name) for name in ("name", "value", "event", "delay", "host")] == [False, False, True, True, False]
    share = sum(map(held_out, library.names)) / len(library.names)
    assert 0.12 < share < 0.28  # 1/5 of some 500 names, give or take four standard errors


def test_the_standard_library_is_read_without_its_tests(library):
    assert "class ArgumentParser" in library.text and "class TestCase" in library.text
    assert "class MiscTest" not in library.text and not set(library.text) - set(CHARACTERS)
    assert len(library.places) > 700 and len(library.names) > 300


def test_what_is_learned_from_has_no_held_out_name(library):
    gone = [name for name in library.names if held_out(name)]
    text = library.without(gone).text
    assert len(text) > 0.8 * len(library.text)
    assert not set(gone) & set(re.split(r"[^A-Za-z0-9_]+", text))
    inside = [name for name in gone if name in text]  # of longer words they stay a part
    assert 0 < len(inside) < len(gone)


def test_renamed_windows_rarely_say_a_held_out_name(library):
    """Only random letters can: of names of four letters and more a few in a thousand are among them."""
    gone = [name for name in library.names if held_out(name)]
    columns = windows(library.without(gone), 80, near=1.0, renamed=True).sample(2000, stream(0, "x"))[0][0].T
    said = [name for text in map(decode, columns) for name in re.findall(r"self\.([a-z_]+) = \1\n", text)]
    assert len(said) > 1000 and sum(name in gone and len(name) > 3 for name in said) < 0.005 * len(said)


def long_source() -> Source:
    return Source("\n".join(PROGRAM.replace("{name}", f"Number{'abcdefghij'[k]}") for k in range(10)))


@pytest.mark.parametrize("renamed", [False, True])
@pytest.mark.parametrize("near", [0.0, 1.0])
def test_windows_are_text_and_the_next_characters(near, renamed):
    source = long_source()
    task = windows(source, 80, near=near, renamed=renamed)
    inputs, targets = task.sample(50, stream(0, "x"))
    assert inputs.shape == (1, 80, 50) and torch.equal(inputs[0, 1:], targets[0, :-1])
    texts = [decode(column) for column in torch.cat([inputs[0], targets[0, -1:]]).T]
    if near == 0 or not renamed:
        assert all(text in source.text for text in texts)
    else:
        assert not any(text in source.text for text in texts)
    said = re.compile(r"self\.([a-z_]+) = \1\n?")
    ends = [[m.end() for m in said.finditer(text)] for text in texts]
    if near == 1:  # the second saying ends in the second half
        assert all(any(40 <= end <= 81 for end in each) for each in ends)


def test_a_renamed_window_is_the_text_with_one_word_for_another():
    source = long_source()
    columns = windows(source, 120, near=1.0, renamed=True).sample(20, stream(1, "x"))[0][0].T
    kinds = set()
    for text in map(decode, columns):
        ways = [(old, new) for old in source.names for new in {*WORD.findall(text)}]
        right = [new for old, new in ways if text in re.sub(rf"\b{old}\b", new, source.text)]
        assert right
        kinds.add(right[0] in source.words)
    assert kinds == {True, False}  # a word of the text, or random letters


def test_the_same_generator_draws_the_same_windows():
    task = windows(long_source(), 60, renamed=True)
    first, again, other = (task.sample(9, stream(seed, "x"))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_what_cannot_be_windows():
    near_the_end = Source("x" * 300 + "\nself.name = name\n")
    for source in (Source("short"), Source("no name is said twice\n" * 100), near_the_end):
        with pytest.raises(ValueError, match=r"^source must have a name said twice at least 160 characters from both"):
            windows(source, 80)
    for near in (-0.1, 1.5):
        with pytest.raises(ValueError, match=r"^near must lie between 0 and 1, got"):
            windows(long_source(), 60, near=near)
    with pytest.raises(ValueError, match=r"^length must be at least 40, got 39"):
        windows(long_source(), 39)


def test_a_python_without_source_files(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    standard_library.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"source files must lie in .*, got none"):
        standard_library()
    standard_library.cache_clear()
