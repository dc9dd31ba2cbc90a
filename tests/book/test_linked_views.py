"""The film and its staircase move together; the phase map says in words what its numbers are."""

import numpy as np
import test_explorers
from test_explorers import SEEDS, C, R, coordinates, film, phases, rendered, unpack

browser = test_explorers.browser


def test_a_press_on_the_staircase_or_the_loss_moves_the_film_and_its_cursors(browser):
    widget = film(steps=[0, 10, 40, 80, 100], start=38)
    assert widget.frame == 2
    values = unpack(widget.frames).reshape(5, 6, 2)
    outside = (np.hypot(values[..., 0], values[..., 1]) > 0.9).sum(1)
    with rendered(browser, widget) as page:
        slider, plots = page.get_by_role("slider", name="Training step"), page.locator(".emt-pick")
        assert slider.input_value() == "2"
        marks = page.locator(".emt-cursor")
        for plot, frame, step in ((0, 4, 100), (1, 1, 10), (0, 3, 80), (1, 0, 0)):
            box = plots.nth(plot).bounding_box()
            page.mouse.click(box["x"] + box["width"] * (54 + 328 * step / 100 + 9) / 400, box["y"] + box["height"] / 2)
            assert slider.input_value() == str(frame)
            assert page.locator(".emt-status").text_content().startswith(f"step {step}: {outside[frame]} eigenvalue")
            places = [float(mark.get_attribute("transform").split("(")[1].split()[0]) for mark in marks.all()]
            np.testing.assert_allclose(places, 54 + 328 * step / 100)
        stairs = coordinates(plots.first.locator(".emt-line").get_attribute("points"))
        assert len(stairs) == 2 * 5 - 1
        slope, start = np.polyfit(outside, stairs[::2, 1], 1)
        np.testing.assert_allclose(stairs[::2, 1], start + slope * outside, atol=1e-6)
        np.testing.assert_array_equal(stairs[1::2, 1], stairs[:-1:2, 1])  # level until the next look


def test_map_says_in_words_what_the_pointer_is_on(browser):
    changes = {"column_unit": "units", "explain": {"accuracy": "signs that are right"}}
    accuracy = unpack(phases().layers["accuracy"]).reshape(R, C, SEEDS)
    with rendered(browser, phases(**changes)) as page:
        under, cells = page.locator(".emt-under"), page.locator(".emt-cell")
        assert page.locator(".emt-title").text_content() == "hidden (units) →"
        assert page.locator(".emt-heading").first.text_content() == (
            "accuracy (signs that are right), from 0 to 1, mean over 4 seeds"
        )
        own = under.text_content()
        cells.nth(1).hover()
        known = accuracy[0, 1][~np.isnan(accuracy[0, 1])]
        spread = f"({known.min():.2f} to {known.max():.2f})"
        told = f"L2 0, hidden 16 units: accuracy {known.mean():.2f}, mean over 3 seeds {spread}"
        assert under.text_content() == told
        assert under.text_content() == cells.nth(1).get_attribute("aria-label")
        page.mouse.move(0, 0)
        assert under.text_content() == own
        cells.first.focus()
        page.keyboard.press("ArrowDown")
        assert under.text_content().startswith("L2 1e-5, hidden 8 units: accuracy ")
