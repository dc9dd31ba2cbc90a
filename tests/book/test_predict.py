"""Predict, then reveal: nothing is told before the reader has committed, all of it by keyboard."""

import json

import numpy as np
import pytest
import test_explorers
import torch
from test_explorers import rendered

from emt_core.book import explorers

browser = test_explorers.browser
BECAUSE = "The theory asks for **64**, and `W_hh` has *all* <b>of</b> them."


def choice(**changes):
    arguments = {"question": "How many?", "choices": ["all", "half", "none"], "answer": 0, "because": BECAUSE}
    return explorers.predict(**{**arguments, **changes})


def number(**changes):
    arguments = {"question": "What accuracy?", "low": 0, "high": 1, "answer": 0.953, "unit": "%", "because": BECAUSE}
    return explorers.guess(**{**arguments, **changes})


def press(page, name):
    page.get_by_role("button", name=name).focus()
    page.keyboard.press("Enter")


def test_a_choice_is_made_by_keyboard_before_the_answer_is_told(browser):
    with rendered(browser, choice()) as page:
        status = page.get_by_role("status")
        assert page.get_by_role("group", name="How many?").is_visible()
        press(page, "Reveal")
        assert status.text_content() == "Choose an answer first."
        assert "theory" not in page.locator("main").text_content()
        page.get_by_role("radio", name="all").focus()
        page.keyboard.press("ArrowDown")
        assert status.text_content() == "Your guess: half. Predict, then reveal."
        assert "✓" not in page.locator("main").text_content()
        press(page, "Reveal")
        told = "You guessed “half”. The answer is “all”. The theory asks for 64, and W_hh has all <b>of</b> them."
        assert status.text_content() == told
        assert status.get_attribute("aria-live") == "polite"
        assert [status.locator(tag).text_content() for tag in ("strong", "code", "em")] == ["64", "W_hh", "all"]
        assert page.locator("label").all_text_contents() == ["all✓ the answer", "half✗ your guess", "none"]
        assert page.get_by_role("radio").first.is_disabled()
        assert page.evaluate("document.activeElement.textContent") == "Ask again"  # focus is not lost
        assert page.evaluate("[model.get('guess'), model.get('revealed')]") == [1, True]
        page.keyboard.press("Enter")
        assert "theory" not in page.locator("main").text_content()
        assert page.get_by_role("radio", checked=True).count() == 0
        page.get_by_role("radio", name="all").check()
        press(page, "Reveal")
        assert status.text_content().startswith("You are right: all. ")
        page.evaluate("cleanup()")


def test_a_number_is_guessed_and_shown_beside_the_run_s(browser):
    with rendered(browser, number()) as page:
        status, slider = page.get_by_role("status"), page.get_by_role("slider", name="Your guess")
        assert status.text_content() == "Your guess: 50 %. Predict, then reveal."
        slider.focus()
        for _ in range(8):
            page.keyboard.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") == "58 %"
        assert "95" not in page.locator("main").text_content()
        press(page, "Reveal")
        told = "You guessed 58 %; the run gives 95.3 %: 37.3 percentage points too low. "
        assert status.text_content().startswith(told)
        places = page.locator(".emt-marks span").evaluate_all("all => all.map((mark) => parseFloat(mark.style.left))")
        assert places == pytest.approx([58, 95.3])
        press(page, "Ask again")
        assert slider.input_value() == "0.5"
        slider.fill("0.95")
        press(page, "Reveal")
        assert "as near as the slider goes" in status.text_content()


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        (
            {"low": 0, "high": 64, "answer": 60, "unit": "units", "step": 1},
            "You guessed 32 units; the run gives 60.0 units",
        ),
        ({"low": -2, "high": 2, "answer": -1.5, "unit": ""}, "You guessed 0.00; the run gives −1.500: 1.500 too high"),
    ],
)
def test_numbers_have_the_slider_s_digits_and_their_unit(browser, changes, shown):
    with rendered(browser, number(**changes)) as page:
        press(page, "Reveal")
        assert page.get_by_role("status").text_content().startswith(shown)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("make", [choice, number])
def test_fits_a_phone_revealed_too(browser, make, scheme):
    widget = make()
    widget.guess, widget.revealed = type(widget.guess)(1), True
    with rendered(browser, widget, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.get_by_role("button").bounding_box()["height"] >= 24
        assert page.get_by_role("button").text_content() == "Ask again"


def test_the_answer_may_be_named_and_the_state_is_json():
    assert (
        choice(answer="none").answer == choice(answer=np.int64(2)).answer == choice(answer=torch.tensor(2)).answer == 2
    )
    assert number(answer=torch.tensor(0.5)).answer == 0.5
    for widget in (choice(), number()):
        json.dumps(widget.get_state(), allow_nan=False)


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (choice, "choices", ["all"]),
        (choice, "choices", ["all", "all"]),
        (choice, "answer", 3),
        (choice, "answer", -1),
        (choice, "answer", "some"),
        (number, "high", 0),
        (number, "high", float("inf")),
        (number, "answer", 95.3),
        (number, "answer", float("nan")),
        (number, "step", 0),
        (number, "step", 2),
    ],
)
def test_bad_arguments_are_named(make, name, value):
    with pytest.raises(ValueError, match=f"^{name}\\b.* got"):
        make(**{name: value})
