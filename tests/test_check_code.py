"""The check of visible code: each of its rules fails where it should, and only there."""

import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from check_code import complaints, subject_lines

HERO = new_code_cell("figures.draw()", metadata={"tags": ["hide-input"], "mystnb": {"figure": {"name": "fig"}}})


def shown(*sources: str, before=(HERO,)) -> list[str]:
    """What is wrong with a chapter that shows these cells."""
    return complaints(new_notebook(cells=[*before, new_markdown_cell("text"), *map(new_code_cell, sources)]))


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("x = 1\ny = 2", 2),
        ("import torch\nx = 1", 1),
        ("# a comment\n\nx = f(\n    1,\n)", 3),
        ("for a in b:\n    plt.plot(a)\nx = 1", 1),
        ("say(x=1)\nfigures.draw(x);\ntables.show(x)", 0),
        ("@decorated\ndef f():\n    return 1", 3),
        ("%time x = 1\ny = 2", 2),
    ],
    ids=["two", "import", "several lines", "a loop that draws", "glue", "decorator", "magic"],
)
def test_lines_about_the_subject(source, lines):
    assert subject_lines(source) == lines


def test_a_chapter_of_ideas_passes():
    assert shown("x = 1\ny = 2", "z = x + y", "z") == []
    assert complaints(new_notebook(cells=[HERO])) == []


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["\n".join(f"x{i} = {i}" for i in range(13))] + ["y = 1"] * 3, "has 13 lines, 12 are allowed"),
        (["x = " + "1 + " * 30 + "1"], "columns wide, 86 are allowed"),
        (["\n".join(f"x{i} = {i}" for i in range(7))] * 2, "the median visible cell has 7 lines"),
        (["x = 1\ny = 2\nprint(x)"], "67% of the visible lines are about the subject"),
    ],
    ids=["long", "wide", "median", "plumbing"],
)
def test_each_rule_fails(sources, said):
    (wrong,) = shown(*sources)
    assert said in wrong


def test_a_picture_stands_above_the_code():
    (wrong,) = shown("x = 1", before=())
    assert "no figure and no explorer stands above" in wrong
    explorer = new_code_cell("explorers.memory_travel(x)", metadata={"tags": ["remove-input"]})
    assert shown("x = 1", before=(explorer,)) == []


def test_parameters_are_folded():
    cell = new_code_cell("n = 1  # how many", metadata={"tags": ["parameters"]})
    assert any("not folded" in wrong for wrong in shown("x = 1", before=(HERO, cell)))
    cell.metadata["tags"].append("hide-input")
    assert shown("x = 1", before=(cell, HERO)) == []
