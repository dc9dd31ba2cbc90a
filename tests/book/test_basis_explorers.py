"""The knobs of the basis in a real Chromium: what is drawn is what Python packed for that setting, and what is said."""

import base64
import json
from itertools import product

import numpy as np
import pytest
import test_explorers
from test_explorers import rendered
from test_set_from_prose import press

from emt_core.book import basis_explorers

browser = test_explorers.browser

S, D = 3, 2
KEPT = np.array([True, False, True, True, True, True])
K, T = int(KEPT.sum()), 2
RECURSIONS, ALPHAS, SIGMAS, CUTOFFS = ["paper", "corrected"], [0, 0.25, 1], [0, 0.1], [1e-6, 0.03, 0.3]
SHAPE = len(RECURSIONS), len(ALPHAS), len(SIGMAS), len(CUTOFFS)
PHI = np.eye(K, k=2)
CELL = 10


def knobs(**changes):
    rng = np.random.default_rng(0)
    contents = rng.normal(size=(*SHAPE, T, K))
    contents[0, 0, 0, 0, 0, 0] = -1e-6  # rounded to nothing, but for its sign
    arguments = {
        "recursions": RECURSIONS,
        "alphas": ALPHAS,
        "sigmas": SIGMAS,
        "cutoffs": CUTOFFS,
        "interactions": rng.normal(size=(*SHAPE, K, K)),
        "contents": contents,
        "qualities": {"signs": rng.uniform(size=SHAPE), "cosine": rng.uniform(-1, 0, size=SHAPE)},
        "phi": PHI,
        "held": np.where(np.arange(T * K).reshape(T, K) % 3, -1, 1),
        "times": [8, 9],
        "kept": KEPT,
        "dim": D,
    }
    return basis_explorers.basis_knobs(**{**arguments, **changes})


def unpacked(text):
    return np.frombuffer(base64.b64decode(text), dtype=np.int8)


def drawn(svg):
    """Where the marks of a picture have their middle, with their sign and size as the page draws it."""
    plus = "all => all.map((m) => [m.x, m.y, m.width].map((a) => a.baseVal.value))"
    minus = "all => all.map((m) => [m.cx, m.cy, m.r].map((a) => a.baseVal.value))"
    squares = svg.locator("rect.emt-plus").evaluate_all(plus)
    rings = svg.locator("circle.emt-minus").evaluate_all(minus)
    found = {(int((x + w / 2) // CELL), int((y + w / 2) // CELL)): w for x, y, w in squares}
    return found | {(int(x // CELL), int(y // CELL)): -r for x, y, r in rings}


def strips(page):
    return page.get_by_role("img", name="W_hh in the privileged basis"), page.get_by_role("img", name="Contents at")


def test_every_setting_draws_what_was_packed_for_it(browser):
    widget = knobs()
    levels = unpacked(widget.interactions).reshape(*SHAPE, K, K)
    signs = unpacked(widget.contents).reshape(*SHAPE, T, K)
    held = np.array(widget.held).reshape(T, K)
    places = np.flatnonzero(KEPT)
    with rendered(browser, widget) as page:
        matrix, strip = strips(page)
        for setting in product(*map(range, SHAPE)):
            state = dict(zip(("recursion", "alpha", "sigma", "cutoff"), setting, strict=True))
            page.evaluate("(state) => Object.entries(state).forEach(([k, v]) => model.set(k, v))", state)
            value = levels[setting] * widget.reach
            expected = {(c, r): value[r, c] for r, c in np.ndindex(K, K) if abs(value[r, c]) >= 0.03}
            found = drawn(matrix)
            assert found.keys() == expected.keys()
            assert {place: np.sign(v) for place, v in found.items()} == {p: np.sign(v) for p, v in expected.items()}
            sides = {place: 0.84 * CELL * min(1, abs(v)) ** 0.5 for place, v in expected.items()}
            for place, size in found.items():
                if size > 0:  # the area tells the modulus
                    assert size == pytest.approx(sides[place], abs=1e-4)
            wrong = signs[setting] * held <= 0
            assert strip.locator(".emt-cross").count() == wrong.sum()
            for t, grid in enumerate(strip.locator("svg").all()):
                crossed = [
                    path.get_attribute("d")[1:].split("l")[0].split() for path in grid.locator(".emt-cross").all()
                ]
                corners = [[p % D * CELL + 1, p // D * CELL + 1] for p in places[wrong[t]].tolist()]
                assert [[int(x) for x in corner] for corner in crossed] == corners
            words = [
                RECURSIONS[setting[0]],
                ALPHAS[setting[1]],
                SIGMAS[setting[2]],
                ["1e-6", "0.03", "0.3"][setting[3]],
            ]
            said = page.locator(".emt-status").text_content()
            assert said.startswith("{} recursion, α = {:g}, noise {:g}, cut-off {}: signs ".format(*words))
            i = np.ravel_multi_index(setting, SHAPE)
            told = [widget.qualities[name][i] for name in ("signs", "cosine")]
            numbers = said.split(": ")[1].split(";")[0].replace("−", "-").split(", ")
            assert [float(number.split()[1]) for number in numbers] == pytest.approx(told, abs=0.0051)
            assert said.endswith(f"{wrong.sum()} of the {T * K} contents below have the wrong sign")


def test_entries_of_phi_are_boxed_and_variables_parted(browser):
    with rendered(browser, knobs()) as page:
        matrix, _ = strips(page)
        corner = "all => all.map((box) => [box.x.baseVal.value, box.y.baseVal.value])"
        boxes = matrix.locator(".emt-changed").evaluate_all(corner)
        assert {(int(y // CELL), int(x // CELL)) for x, y in boxes} == {tuple(at) for at in np.argwhere(PHI).tolist()}
        lines = matrix.locator(".emt-axis").evaluate_all("all => all.map((line) => line.getAttribute('d'))")
        assert [line.split()[0] for line in lines] == [
            "M10",
            "M30",
        ]  # one entry of variable 1 is kept, two of variable 2


def test_keyboard_moves_the_knobs_and_they_say_their_values(browser):
    with rendered(browser, knobs()) as page:
        status = page.locator(".emt-status")
        for name, words in (("Grounding α", "0.25"), ("Noise σ in the weights", "0.1"), ("Cut-off", "0.03")):
            slider = page.get_by_role("slider", name=name)
            slider.focus()
            before = status.text_content()
            page.keyboard.press("ArrowRight")
            assert slider.get_attribute("aria-valuetext") == words
            assert status.text_content() != before
        page.get_by_role("combobox", name="Recursion").focus()
        page.keyboard.press("ArrowDown")
        names = ["recursion", "alpha", "sigma", "cutoff"]
        assert page.evaluate("(names) => names.map((n) => model.get(n))", names) == [1, 1, 1, 1]
        assert status.text_content().startswith("corrected recursion, α = 0.25, noise 0.1, cut-off 0.03:")
        page.evaluate("model.set('cutoff', 99)")  # as a kernel might: the last one
        assert "cut-off 0.3:" in status.text_content()
        assert page.evaluate("window.saves") > 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("recursion=corrected&alpha=0.3&sigma=0.08&cutoff=0.05", [1, 1, 1, 1]),
        ("cutoff=0.00001", [0, 0, 0, 0]),
        ("cutoff=1&alpha=2", [0, 2, 0, 2]),
        ("recursion=paper&sigma=0.04", [0, 0, 0, 0]),
    ],
)
def test_the_prose_names_values_and_gets_the_nearest(browser, value, expected):
    with rendered(browser, knobs(name="here")) as page:
        press(page, value)
        got = page.evaluate("['recursion', 'alpha', 'sigma', 'cutoff'].map((n) => model.get(n))")
        assert got == expected
        page.evaluate("cleanup()")
        now = page.locator(".emt-status").text_content()
        page.evaluate("Object.assign(model, { get: () => 'here' }); 0")
        page.locator(".emt-set").first.click()
        assert page.locator(".emt-status").text_content() == now


def test_one_recursion_needs_no_menu(browser):
    one = {"recursions": ["paper"], "interactions": np.zeros((1, *SHAPE[1:], K, K))}
    one |= {"contents": np.ones((1, *SHAPE[1:], T, K)), "qualities": {"signs": np.ones((1, *SHAPE[1:]))}}
    with rendered(browser, knobs(**one)) as page:
        assert page.get_by_role("combobox").count() == 0
        assert page.locator(".emt-status").text_content().startswith("paper recursion, α = 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone_in_the_page_s_own_scheme(browser, scheme):
    with rendered(browser, knobs(), color_scheme="light" if scheme == "dark" else "dark") as page:
        page.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ground = page.locator(".emt-explorer").evaluate("element => getComputedStyle(element).backgroundColor")
        assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(26, 31, 37)")
        for picture in strips(page):
            box = picture.bounding_box()
            assert box["width"] > 200 and box["height"] > 40


def test_state_is_json_of_whole_steps_and_a_small_content_keeps_its_sign():
    interactions = np.zeros((*SHAPE, K, K))
    interactions[0, 0, 0, 0, 0, :4] = [1, -5, 0.001, 2]
    widget = knobs(interactions=interactions)
    json.dumps(widget.get_state(), allow_nan=False)
    assert widget.reach == pytest.approx(2 / 127)
    assert unpacked(widget.interactions)[:5].tolist() == [64, -127, 0, 127, 0]  # 1 is 63.5 steps: to even
    levels = unpacked(widget.contents).reshape(-1, T * K)
    assert (np.abs(levels).max(1) == 127).all()  # relative to the largest of each setting
    assert levels[0, 0] == -1
    assert widget.phi == [2, 8, 14] and widget.places == [0, 2, 3, 4, 5]


def test_contents_that_are_all_zero_are_packed_as_zero():
    assert not unpacked(knobs(contents=np.zeros((*SHAPE, T, K))).contents).any()


def test_the_full_size_fits():
    """What the chapter shows: 72 settings of 36 kept entries and 6 times."""
    kept = np.arange(64) < 36
    shape = (2, 4, 3, 3)
    widget = knobs(
        alphas=[0, 0.25, 0.5, 1],
        sigmas=[0, 0.1, 0.3],
        interactions=np.ones((*shape, 36, 36)),
        contents=np.ones((*shape, 6, 36)),
        qualities={"signs": np.ones(shape)},
        phi=np.eye(36),
        held=np.ones((6, 36)),
        times=range(6),
        kept=kept,
        dim=8,
    )
    assert len(widget.interactions) + len(widget.contents) <= 150_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alphas", []),
        ("alphas", [0, np.nan, 1]),
        ("sigmas", [[0, 0.1]]),
        ("recursions", []),
        ("interactions", np.zeros((*SHAPE, K, K + 1))),
        ("interactions", np.full((*SHAPE, K, K), np.inf)),
        ("interactions", np.zeros((*SHAPE[:3], 2, K, K))),
        ("contents", np.zeros((*SHAPE, T + 1, K))),
        ("qualities", {"signs": np.zeros(3)}),
        ("phi", np.eye(K + 1)),
        ("held", np.zeros((T, K))),
        ("held", np.ones((T, K + 1))),
        ("kept", KEPT[:5]),
        ("dim", 0),
    ],
)
def test_bad_arguments_are_named(name, value):
    with pytest.raises(ValueError, match="knobs: got" if isinstance(value, list) and not value else name):
        knobs(**{name: value})


def test_too_many_settings_are_refused():
    many = (2, 3, 2, 300)
    with pytest.raises(ValueError, match=r"interactions: got .* at most 150000"):
        knobs(
            cutoffs=np.linspace(0.001, 0.3, 300),
            interactions=np.zeros((*many, K, K)),
            contents=np.zeros((*many, T, K)),
            qualities={},
        )
