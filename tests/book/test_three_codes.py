"""Three codes of one sequence: the page's layers have the alignment that they claim, and its readers are NumPy's."""

import json

import numpy as np
import pytest
import test_explorers
from test_explorers import rendered

from emt_core.book import onion_explorers

browser = test_explorers.browser
L, V, GAMMA = 4, 3, 0.45


def codes(**changes):
    return onion_explorers.three_codes(**{"tokens": [1, 0, 2, 1], "names": ["A", "B", "C"], "gamma": GAMMA, **changes})


def layer(token, position, overlap):
    out = np.zeros((L + 1, V))
    out[position, token], out[L, token] = np.sqrt(1 - overlap), np.sqrt(overlap)
    return GAMMA ** (overlap * position) * out.ravel()


@pytest.mark.parametrize("overlap", [0, 0.3, 1])
def test_the_state_is_the_sum_of_layers_with_this_alignment(browser, overlap):
    tokens = [1, 0, 2, 1]
    with rendered(browser, codes()) as page:
        got, first, last = (
            np.array(page.evaluate("(given) => [...module.store(...given)]", [some, L, V, overlap, GAMMA]))
            for some in (tokens, tokens[:1], [1])
        )
    np.testing.assert_allclose(got, sum(layer(token, p, overlap) for p, token in enumerate(tokens)), atol=1e-12)
    one, other = layer(1, 0, overlap), layer(1, 3, overlap)
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) == pytest.approx(overlap)
    np.testing.assert_array_equal(first, last)


def test_the_linear_reader_is_ridge_regression(browser):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(40, 6)), rng.normal(size=(40, 3))
    with rendered(browser, codes()) as page:
        got = page.evaluate("([X, Y]) => module.regress(X, Y).map((row) => [...row])", [X.tolist(), Y.tolist()])
    np.testing.assert_allclose(got, np.linalg.solve(X.T @ X + 40e-6 * np.eye(6), X.T @ Y), atol=1e-10)


@pytest.mark.parametrize("overlap", [0, 0.5, 0.97, 1])
def test_peeling_reads_every_sequence_without_noise(browser, overlap):
    sequences = np.indices((V,) * L).reshape(L, -1).T.tolist()
    with rendered(browser, codes()) as page:
        got = page.evaluate(
            """([all, ...code]) => all.map((tokens) => module.peel(module.store(tokens, ...code), ...code))""",
            [sequences, L, V, overlap, GAMMA],
        )
    assert got == sequences


def test_only_peeling_survives_full_alignment(browser):
    with rendered(browser, codes()) as page:
        read = {
            overlap: page.evaluate("(given) => module.readers(...given)", [L, V, overlap, GAMMA, 0.02])
            for overlap in (0, 0.9, 1)
        }
    assert read[0]["linear"] == read[0]["peeling"] == [1] * L
    assert min(read[1]["peeling"]) > 0.9
    assert max(read[1]["linear"][1:]) < 0.6  # near chance, a third, behind the first position
    assert read[1]["linear"][-1] < read[0.9]["linear"][-1] <= 1


def test_sliders_menus_and_kernel_move_the_pictures_and_the_table(browser):
    with rendered(browser, codes(overlap=0)) as page:
        status, pictures = page.locator(".emt-status"), page.locator(".emt-codes svg[role=img]")
        assert page.locator("td:not(:empty)").all_text_contents() == ["100 %"] * 2 * L
        assert [pictures.nth(i).locator(".emt-layer").count() for i in range(3)] == [L, L, L]
        page.get_by_role("slider", name="Tokens read").focus()
        page.keyboard.press("ArrowLeft")
        assert status.text_content().startswith("3 of 4 tokens read. Alignment 0.00")
        assert pictures.first.get_attribute("aria-label").endswith("B at position 0, A at position 1, C at position 2")
        assert [pictures.nth(i).locator(".emt-layer").count() for i in range(3)] == [3, 3, 3]
        assert "A 0.45, B 1.00, C 0.20" in page.locator(".emt-key").first.text_content()
        page.get_by_role("slider", name="Alignment").fill("1")
        assert page.locator("td:not(:empty)").all_text_contents()[:L].count("100 %") < L
        page.evaluate("model.set('overlap', 0.5)")  # as the kernel would
        assert pictures.nth(2).locator(".emt-layer").count() == 6  # own axes and shared ones
        page.get_by_role("combobox", name="Token at position 0").select_option("C")
        assert page.evaluate("model.get('tokens')") == [2, 0, 2, 1]
        assert pictures.first.get_attribute("aria-label").startswith(
            "Subspaces, one group of axes for each position: C"
        )
        page.evaluate("cleanup()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone_at_its_largest(browser, scheme):
    widget = onion_explorers.three_codes([0, 1, 2, 3, 4], names=list("ABCDE"))
    with rendered(browser, widget, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_state_is_json():
    json.dumps(codes().get_state(), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens", [0]),
        ("tokens", [0] * 6),
        ("tokens", [0, 3]),
        ("names", ["A"]),
        ("names", list("ABCDEF")),
        ("gamma", 0.5),
        ("overlap", 1.01),
        ("noise", -0.01),
    ],
)
def test_bad_arguments_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}: got"):
        codes(**{name: value})
