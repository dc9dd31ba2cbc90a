"""Buttons in the prose set the state of the explorer that they name, and no other."""

import re
from pathlib import Path

import pytest
import test_explorers
import test_onion_explorers
from test_explorers import D, S, rendered

browser = test_explorers.browser
CHAPTERS = sorted((Path(__file__).parents[2] / "book").glob("*.md"))


def press(page, value, name="here"):
    """Write a button into the page, as a chapter's prose would hold it, and press it by keyboard."""
    page.evaluate(
        """([name, value]) => document.body.insertAdjacentHTML("beforeend",
             `<p><button class="emt-set" name="${name}" value="${value}">set</button></p>`)""",
        [name, value],
    )
    page.locator(".emt-set").last.focus()
    page.keyboard.press("Enter")


CASES = [
    (test_explorers.travel, f"step={S + 2}&edits=[[{S},2,1]]", {"step": S + 2, "edits": [[S, 2, 1]]}),
    (test_explorers.travel, "preset=all%20minus&step=0", {"inputs": [-1] * S * D, "step": 0}),
    (test_explorers.film, "step=28", {"frame": 3}),
    (test_explorers.film, "frame=2", {"frame": 2}),
    (test_explorers.walk, "frame=2", {"frame": 2}),
    (test_explorers.phases, "cell=[1,1]&seed=2", {"cell": [1, 1], "seed": 2}),
    (test_onion_explorers.onion, "gamma=0.7&peeled=2&tokens=[1,2,3]", {"gamma": 0.7, "peeled": 2, "tokens": [1, 2, 3]}),
    (lambda **name: test_onion_explorers.gru(**name)[0], "position=2&token=5", {"position": 2, "token": 5}),
    (test_onion_explorers.film, "frame=1&point=3", {"frame": 1, "point": 3}),
]


@pytest.mark.parametrize(("make", "value", "expected"), CASES, ids=[case[1] for case in CASES])
def test_a_button_sets_what_the_reader_could_move(browser, make, value, expected):
    widget = make()
    widget.name = "here"
    with rendered(browser, widget) as page:
        before = page.locator(".emt-status").text_content()
        press(page, value, name="another")
        press(page, value, name="")
        assert page.locator(".emt-status").text_content() == before
        press(page, value)
        assert page.locator(".emt-status").text_content() != before
        assert (
            page.evaluate("(names) => Object.fromEntries(names.map((n) => [n, model.get(n)]))", list(expected))
            == expected
        )
        assert page.evaluate("window.saves") > 0
        page.evaluate("cleanup()")
        now = page.locator(".emt-status").text_content()
        page.evaluate("model.get = () => 'here'; document.querySelector('.emt-set').name = 'here'; 0")
        page.locator(".emt-set").first.click()
        assert page.locator(".emt-status").text_content() == now  # a view that is gone listens no more


@pytest.mark.parametrize("value", ["steps=3", "step=later", "inputs=3", "edits=[]"], ids=str)
def test_what_cannot_be_set_is_said_in_the_console_and_left(browser, value):
    with (
        pytest.raises(AssertionError, match="explorer here: got "),
        rendered(browser, test_explorers.travel(editable=False, name="here")) as page,
    ):
        before = page.locator(".emt-status").text_content()
        press(page, value)
        assert page.locator(".emt-status").text_content() == before


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_button_of_a_chapter_names_an_explorer_of_it(chapter):
    text = chapter.read_text("utf8")
    named = set(
        re.findall(r"""\bname=["']([\w-]+)["'],?\s*\)?""", "".join(re.findall(r"(?s)```\{code-cell\}.*?```", text)))
    )
    for button in re.findall(r"<button[^>]*emt-set[^>]*>", text):
        assert re.search(r'\sname="([\w-]+)"', button)[1] in named, button
        assert re.search(r'\svalue="[^"]+=[^"]*"', button), button
