"""What a reader sees of an edit: the run without it stays in sight, and what it changed stays marked."""

import numpy as np
import pytest
import test_explorers
from test_explorers import SIMULATE, STEPS, D, S, copying_network, rendered, travel

browser = test_explorers.browser


def boxes(page, which):
    """Where in a strip outputs are marked as changed: {(step of the output phase from 0, dimension), ...}."""
    drawn = page.locator(".emt-strip").nth(which).locator(".emt-changed")
    return {
        (round((float(box.get_attribute("x")) - 0.7) / 10), round((float(box.get_attribute("y")) - 0.7) / 10))
        for box in drawn.all()
    }


def test_it_opens_in_the_output_phase_or_where_it_is_told(browser):
    assert travel().step == 2 * S
    assert travel(steps=1).step == S + 1  # no further than the run
    with rendered(browser, travel(start=S + 4)) as page:
        assert page.locator(".emt-status").text_content().startswith(f"t = {S + 4} (output phase)")
        assert page.get_by_role("slider", name="Time step").input_value() == f"{S + 4}"
        page.get_by_role("button", name="One step back").click()
        assert page.evaluate("model.get('step')") == S + 3


def test_an_edit_that_it_opens_with_shows_both_runs_and_marks_what_changed(browser):
    edit = (S, 2, 1)
    with rendered(browser, travel(**copying_network(), initial=np.ones((S, D)), edits=[edit])) as page:
        plain, changed = (page.evaluate(SIMULATE, [[1] * S * D, edits]) for edits in ([], [f"{S},{D}"]))
        signs = [np.sign(run["outputs"])[S + 1 :] for run in (plain, changed)]
        expected = {(int(t), int(d)) for t, d in np.argwhere(signs[0] != signs[1])}
        assert expected == {(t, 0) for t in range(1, STEPS, S)}  # the circuit is exact: the entry comes back
        headings = page.locator(".emt-heading").all_text_contents()
        assert [heading.split(",")[0] for heading in headings[-3:]] == [
            "written without the edit",
            "written with the edit",
            "what Φ predicts with the edit",
        ]
        count = len(expected)
        said = f"1 sign flipped by hand: {count} outputs change sign; Φ predicts {count}, {count} of them the same"
        for step in (0, S, S + 2, S + STEPS):
            page.evaluate(f"model.set('step', {step})")
            assert [boxes(page, which) for which in range(3)] == [set(), expected, expected]
            assert page.locator(".emt-strip .emt-changed").first.is_visible()
            assert said in page.locator(".emt-status").text_content()


def test_a_changed_memory_is_marked_as_it_travels(browser):
    with rendered(browser, travel(**copying_network(), initial=np.ones((S, D)), edits=[(S, 2, 1)])) as page:
        names = "all => all.map((cell) => cell.getAttribute('aria-label')).filter((name) => name.includes('changed'))"
        for step, variable in ((S - 1, None), (S, 2), (S + 1, 1), (S + 2, 3), (S + 3, 2)):
            page.evaluate(f"model.set('step', {step})")
            expected = [] if variable is None else [f"flip variable {variable}, dimension 1, changed by an edit"]
            assert page.locator(".emt-cell").evaluate_all(names.replace("name.includes", "name?.includes")) == expected
            assert page.locator(".emt-cell.emt-edited").count() == (step == S)


def test_clicks_make_and_undo_edits_and_new_inputs_drop_them(browser):
    with rendered(browser, travel(**copying_network(), initial=np.ones((S, D)), start=S)) as page:
        cell = page.get_by_role("button", name="flip variable 3, dimension 2")
        cell.click()
        assert page.evaluate("model.get('edits')") == [[S, 3, 2]]
        cell.click()
        assert page.evaluate("model.get('edits')") == []
        assert page.locator(".emt-strip .emt-changed").count() == 0
        cell.click()
        page.get_by_role("button", name="all minus").click()
        assert page.evaluate("model.get('edits')") == []
        page.evaluate(f"model.set('edits', [[{S}, 1, 1], [{S + 1}, 3, 2]])")  # as the kernel would
        assert "2 signs flipped by hand" in page.locator(".emt-status").text_content()
        page.evaluate("cleanup()")


def test_only_an_editable_one_opens_with_edits():
    with pytest.raises(ValueError, match="edits: got some, expected none"):
        travel(editable=False, edits=[(1, 1, 1)])
