"""The onion explorers in a real Chromium: what the page computes is NumPy's and torch's, and what it says follows."""

import json

import numpy as np
import pytest
import test_explorers
import torch
from test_explorers import rendered, unpack

from emt_core.book import onion_explorers

browser = test_explorers.browser

HEXAGON = np.stack([np.cos(np.pi * np.arange(6) / 3), np.sin(np.pi * np.arange(6) / 3)], axis=1)
TOKENS = [0, 2, 1, 5, 3, 4, 0, 2]


def onion(**changes):
    arguments = {"embedding": HEXAGON, "gamma": 0.4, "tokens": TOKENS, **changes}
    return onion_explorers.onion_peel(**arguments)


def rounded(values, bits):
    """To `bits` bits after the leading one, by NumPy's own rounding to even."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits + 1)), exponent - bits - 1)


def peeled(embedding, tokens, gamma, bits):
    """What is stored after each layer, and which tokens peeling finds in the last of these."""
    layers, read = np.zeros((len(tokens) + 1, 2)), []
    for p, token in enumerate(tokens):
        layers[p + 1] = rounded(layers[p] + gamma**p * embedding[token], bits)
    left = layers[-1]
    for p in range(len(tokens)):
        read.append(int(np.linalg.norm(left - gamma**p * embedding, axis=1).argmin()))
        left = left - gamma**p * embedding[read[p]]
    return layers[1:], read


@pytest.mark.parametrize(("bits", "kind"), [(3, None), (7, None), (10, "f2"), (23, "f4"), (52, "f8")])
def test_the_page_rounds_to_even_as_ieee_does(browser, bits, kind):
    rng = np.random.default_rng(0)
    values = rng.normal(size=400) * 2.0 ** rng.integers(-12, 12, size=400)
    halves = (np.arange(2**bits, 2**bits + 20) + 0.5) * 2.0**-bits if bits < 40 else np.zeros(0)  # half way between two
    edges = 2.0 ** np.arange(-5, 6)
    values = np.concatenate([values, halves, -halves, edges, edges * (1 - 2.0**-50), [0.0]])
    with rendered(browser, onion()) as page:
        got = np.array(
            page.evaluate("([values, bits]) => values.map((x) => module.round(x, bits))", [values.tolist(), bits])
        )
    np.testing.assert_array_equal(got, rounded(values, bits))
    if kind:
        normal = np.abs(values) >= np.finfo(kind).tiny  # the page's exponent has no limit
        np.testing.assert_array_equal(got[normal], values[normal].astype(kind).astype("f8"))


@pytest.mark.parametrize("gamma", [0.05, 0.3, 0.6, 0.95])
def test_the_page_writes_and_peels_as_numpy_does(browser, gamma):
    rng = np.random.default_rng(1)
    widget = onion(embedding=rng.normal(size=(5, 2)), tokens=[0, 1])
    embedding = unpack(widget.embedding).reshape(5, 2).astype("f8")
    cases = [[rng.integers(5, size=9).tolist(), bits] for bits in (3, 6, 10, 23) for _ in range(20)]
    with rendered(browser, widget) as page:
        got = page.evaluate(
            """([embedding, cases, gamma]) => cases.map(([tokens, bits]) => {
              const layers = module.write(embedding, tokens, gamma, bits);
              return { layers, ...module.peel(embedding, layers.at(-1), gamma, tokens.length) };
            })""",
            [embedding.tolist(), cases, gamma],
        )
    for (tokens, bits), page_s in zip(cases, got, strict=True):
        layers, read = peeled(embedding, tokens, gamma, bits)
        np.testing.assert_allclose(page_s["layers"], layers, atol=1e-15)
        assert page_s["tokens"] == read
        taken = np.cumsum([gamma**p * embedding[token] for p, token in enumerate(read)], axis=0)
        np.testing.assert_allclose(page_s["residuals"][1:], layers[-1] - taken, atol=1e-14)


def test_cells_are_where_their_own_embedding_is_nearest(browser):
    embedding, reach = np.random.default_rng(2).normal(size=(7, 2)), 3.0
    with rendered(browser, onion()) as page:
        cells = page.evaluate(
            "([all, reach]) => all.map((one) => module.cellOf(all, one, reach))", [embedding.tolist(), reach]
        )
    area = 0
    for own, corners in zip(embedding, map(np.array, cells), strict=True):
        x, y = corners.T
        area += abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
        gaps = np.linalg.norm(corners[:, None] - embedding[None], axis=-1).min(axis=1)
        np.testing.assert_allclose(np.linalg.norm(corners - own, axis=1), gaps)
    assert area == pytest.approx((2 * reach) ** 2)


def rows(page):
    """The rows of tokens below the menus, each as [(token, sign), ...] and which of them are marked."""
    cells = "all => all.map((row) => [...row.querySelectorAll('.emt-token')].map((cell) => cell.textContent))"
    marked = "all => all.map((row) => [...row.children].map((cell) => cell.classList.contains('emt-wrong')))"
    found = page.locator(".emt-tokens[role=img]")
    return found.evaluate_all(cells), found.evaluate_all(marked)


def letters(tokens):
    return " ".join("ABCDEF"[token] for token in tokens)


def test_precision_fails_visibly_and_rounding_is_blamed(browser):
    widget = onion()
    embedding = unpack(widget.embedding).reshape(6, 2).astype("f8")
    blamed = 0
    with rendered(browser, widget) as page:
        status, bits = page.locator(".emt-status"), page.get_by_role("slider", name="Mantissa bits")
        assert status.text_content().endswith(f"{letters(TOKENS)} is read as {letters(TOKENS)}: every layer right.")
        bits.focus()
        for count in range(23, 2, -1):
            _, read = peeled(embedding, TOKENS, 0.4, count)
            wrong = [token != asked for token, asked in zip(read, TOKENS, strict=True)]
            texts, marked = rows(page)
            assert marked == [wrong]
            assert texts == [["ABCDEF"[token] + "✓✗"[bad] for token, bad in zip(read, wrong, strict=True)]]
            assert f"{count} bits" in status.text_content()
            if any(wrong):
                blamed += 1
                assert f"first wrong at position {wrong.index(True)}" in status.text_content()
                assert "rounding moved the state too far" in status.text_content()
            page.keyboard.press("ArrowLeft")
        assert blamed > 3
        assert page.evaluate("model.get('bits')") == 3


def test_large_layers_fail_at_any_precision_and_are_blamed(browser):
    widget = onion()
    widget.gamma = 0.8
    embedding = unpack(widget.embedding).reshape(6, 2).astype("f8")
    _, read = peeled(embedding, TOKENS, 0.8, 23)
    wrong = [token != asked for token, asked in zip(read, TOKENS, strict=True)]
    with rendered(browser, widget) as page:
        assert rows(page)[1] == [wrong]
        assert "the smaller layers are too large at γ = 0.80" in page.locator(".emt-status").text_content()
        gamma = page.get_by_role("slider", name="Scale γ of a layer over the one before")
        gamma.fill("0.3")
        assert "every layer right" in page.locator(".emt-status").text_content()
        assert page.evaluate("model.get('gamma')") == 0.3


def test_peeling_by_keyboard_shows_the_choice_at_each_scale(browser):
    widget = onion()
    widget.bits = 6
    embedding = unpack(widget.embedding).reshape(6, 2).astype("f8")
    layers, read = peeled(embedding, TOKENS, 0.4, 6)
    with rendered(browser, widget) as page:
        status, zoom = page.locator(".emt-status"), page.locator(".emt-zoom")
        page.locator("input[type=range]").first.focus()
        taken, edge = np.zeros(2), 1.15 / (1 - 0.4)  # embeddings have length 1
        for p, (token, asked) in enumerate(zip(read, TOKENS, strict=True)):
            assert f"{p} of 8 layers peeled" in status.text_content()
            sign = "✓" if token == asked else f"✗ (it was {'ABCDEF'[asked]})"
            assert f"the nearest is {'ABCDEF'[token]} {sign}" in status.text_content()
            dot = zoom.locator(".emt-dot")
            shown = np.array([float(dot.get_attribute(name)) for name in ("cx", "cy")])
            residual = (layers[-1] - taken) / 0.4**p
            np.testing.assert_allclose(shown, 200 + 200 / edge * np.clip(residual, -edge, edge) * [1, -1], atol=1e-6)
            assert zoom.locator(".emt-chosen.emt-wrong").count() == (token != asked)
            assert page.locator(".emt-whole .emt-shaft.emt-wrong").count() <= p
            taken = taken + 0.4**p * embedding[token]
            page.keyboard.press("ArrowRight")
        assert "All peeled; a length of" in status.text_content()
        assert page.evaluate("model.get('peeled')") == 8
        assert zoom.locator(".emt-grille").count() > 0  # so few bits that the format's numbers are far apart
        page.get_by_role("slider", name="Mantissa bits").fill("23")
        assert zoom.locator(".emt-grille").count() == 0


def test_tokens_are_chosen_and_the_sequence_grows_and_shrinks(browser):
    with rendered(browser, onion(tokens=[0, 1], names=["red", "blue", "c", "d", "e", "f"])) as page:
        page.get_by_role("combobox", name="Token at position 1").select_option("c")
        assert page.evaluate("model.get('tokens')") == [0, 2]
        longer, shorter = (page.get_by_role("button", name=name) for name in ("+ layer", "− layer"))
        for _ in range(7):
            longer.click()
        assert longer.is_disabled()
        assert page.get_by_role("combobox").count() == 9
        for _ in range(8):
            shorter.click()
        assert shorter.is_disabled()
        assert "red is read as red: every layer right" in page.locator(".emt-status").text_content()
        page.evaluate("Math.random = () => 0.99")
        page.get_by_role("button", name="random").click()
        assert page.evaluate("model.get('tokens')") == [5]
        page.evaluate("model.set('peeled', 99)")  # as a kernel would
        page.evaluate("model.set('gamma', 7)")
        assert "γ = 0.95, 23 bits (float32), 1 of 1 layers peeled" in page.locator(".emt-status").text_content()
        page.evaluate("cleanup()")


V, N = 7, 6


def gru(seed=0, **changes):
    """The explorer, and the same network in torch, float64, from weights rounded to float32 as the page has them."""
    torch.manual_seed(seed)
    shapes = {"embedding": (V + 2, N), "W_ih": (3 * N, N), "W_hh": (3 * N, N), "b_ih": (3 * N,), "b_hh": (3 * N,)}
    shapes |= {"W_o": (V, N), "b_o": (V,)}
    model = {name: torch.randn(shape).double() for name, shape in shapes.items()}
    edits = {"tokens": torch.randn(V, N).double()}
    edits |= {name: torch.randn(N).double() for name in ("gamma", "beta", "scale", "offset")}
    sequences = [[1, 2, 3, 0], [6, 6], [0, 1, 2, 3, 4, 5, 6, 0, 1]]
    arguments = {"model": {**model, "autoregressive": True}, "edits": edits, "sequences": sequences}
    arguments |= {name: value for name, value in changes.items() if name in arguments or name == "names"}
    widget = onion_explorers.gru_edit(**arguments)
    cell = torch.nn.GRU(N, N, batch_first=True).double()
    ours = [model[name] for name in ("W_ih", "W_hh", "b_ih", "b_hh")]
    for parameter, value in zip(cell.parameters(), ours, strict=True):
        parameter.data = value.clone()
    return widget, cell, model, edits


def encoded(cell, model, tokens):
    return cell(model["embedding"][tokens][None])[1][0, 0].detach()


def generated(cell, model, h, steps, autoregressive):
    """Greedy writing with torch.nn.GRU, one step at a time."""
    tokens, row = [], V
    for _ in range(steps):
        h = cell(model["embedding"][row][None, None], h[None, None])[1][0, 0].detach()
        tokens.append(int((model["W_o"] @ h + model["b_o"]).argmax()))
        row = tokens[-1] if autoregressive else V + 1
    return tokens


def replaced(edits, h, p, old, new):
    step = torch.tanh(edits["tokens"][new]) - torch.tanh(edits["tokens"][old])
    return h + step * (edits["scale"] * edits["gamma"] ** p + edits["beta"] * p + edits["offset"])


UNPACK = """(name) => Object.fromEntries(Object.entries(model.get(name)).map(([key, text]) =>
  [key, new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer)]))"""


@pytest.mark.parametrize("autoregressive", [True, False], ids=["autoregressive", "no input"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_page_s_gru_is_torch_s(browser, seed, autoregressive):
    widget, cell, model, edits = gru(seed)
    cases = [[tokens, p, new] for tokens in widget.sequences for p in range(len(tokens)) for new in (0, 4)]
    with rendered(browser, widget) as page:
        got = page.evaluate(
            """([cases, autoregressive, unpack]) => {
              const [weights, edits] = ["weights", "edits"].map(eval(unpack));
              return cases.map(([tokens, p, token]) => {
                const before = module.encode(weights, tokens);
                const after = module.replaced(edits, before, p, tokens[p], token);
                const write = (h) => module.generate(weights, h, tokens.length, autoregressive);
                return { before: [...before], after: [...after], written: [before, after].map(write) };
              });
            }""",
            [cases, autoregressive, UNPACK],
        )
    for (tokens, p, new), page_s in zip(cases, got, strict=True):
        before = encoded(cell, model, tokens)
        after = replaced(edits, before, p, tokens[p], new)
        np.testing.assert_allclose(page_s["before"], before, atol=1e-12)
        np.testing.assert_allclose(page_s["after"], after, atol=1e-11)
        assert page_s["written"] == [generated(cell, model, h, len(tokens), autoregressive) for h in (before, after)]
    assert len({tuple(page_s["written"][1]) for page_s in got}) > 3  # the edits do change what is written


def verdict(tokens, asked):
    wrong = [str(p) for p, (a, b) in enumerate(zip(tokens, asked, strict=True)) if a != b]
    if not wrong:
        return "all right ✓"
    return f"{len(tokens) - len(wrong)} of {len(tokens)} right, wrong at {', '.join(wrong)} ✗"


def test_gru_says_and_marks_what_was_written_for_every_position(browser):
    widget, cell, model, edits = gru()
    tokens = widget.sequences[0]
    before = encoded(cell, model, tokens)
    with rendered(browser, widget) as page:
        status, position = page.locator(".emt-status"), page.get_by_role("slider", name="Position to edit")
        position.focus()
        for p in range(len(tokens)):
            new = 2  # tokens[0] + 1, as it opens
            asked = [new if q == p else token for q, token in enumerate(tokens)]
            after = replaced(edits, before, p, tokens[p], new)
            plain, edited = (generated(cell, model, h, len(tokens), True) for h in (before, after))
            said = status.text_content()
            opening = f"Position {p}: {'ABCD'[tokens[p]]} → C." if tokens[p] != new else f"Position {p} already holds C"
            assert said.startswith(opening)
            assert f"Written from the state as it is: {verdict(plain, tokens)}; " in said
            assert f"from the edited one: {verdict(edited, asked)}." in said
            assert said.endswith(".")
            moved = float(said.split("moved by ")[1][:-1])
            assert moved == pytest.approx(float((after - before).norm()), rel=0.051)
            texts, marked = rows(page)
            wrong = [[a != b for a, b in zip(*pair, strict=True)] for pair in ((plain, tokens), (edited, asked))]
            assert marked == [wrong[0], [False] * len(tokens), wrong[1]]
            assert texts[1] == ["ABCDEFG"[token] for token in asked]
            assert texts[2] == ["ABCDEFG"[t] + "✓✗"[bad] for t, bad in zip(edited, wrong[1], strict=True)]
            page.keyboard.press("ArrowRight")
        assert page.evaluate("[model.get('position'), model.get('token')]") == [len(tokens) - 1, 2]
        assert page.evaluate("window.saves") > 0


def test_gru_s_sequence_is_chosen_changed_and_set(browser):
    widget, *_ = gru()
    with rendered(browser, widget) as page:
        choice, status = page.get_by_role("combobox", name="Sequence", exact=True), page.locator(".emt-status")
        choice.select_option("2: G G")
        assert page.evaluate("model.get('sequence')") == [6, 6]
        page.get_by_role("slider", name="New token").focus()
        page.keyboard.press("End")
        assert "Position 0 already holds G: nothing is changed" in status.text_content()
        assert status.text_content().endswith("moved by 0.0.")
        page.get_by_role("combobox", name="Token at position 1").select_option("A")
        assert page.evaluate("model.get('sequence')") == [6, 0]
        assert choice.locator("option:checked").text_content() == "changed by hand"
        page.evaluate("model.set('sequence', [0, 1, 2, 3, 4, 5, 6, 0, 1])")  # as a kernel would
        page.evaluate("model.set('position', 8)")
        assert choice.locator("option:checked").text_content().startswith("3: ")
        assert status.text_content().startswith("Position 8: B → G")
        choice.select_option("1: B C D A")
        assert status.text_content().startswith("Position 3: A → G")
        page.evaluate("Math.random = () => 0")
        page.get_by_role("button", name="random tokens").click()
        assert page.evaluate("model.get('sequence')") == [0] * 4
        page.evaluate("cleanup()")


def test_gru_draws_every_unit_before_and_after(browser):
    widget, cell, model, edits = gru()
    before = encoded(cell, model, widget.sequences[0])
    after = replaced(edits, before, 0, 1, 2)
    with rendered(browser, widget) as page:
        heights = page.locator(".emt-bar").evaluate_all("all => all.map((bar) => Number(bar.getAttribute('height')))")
        tops = page.locator(".emt-after").evaluate_all(
            "all => all.map((line) => Number(line.getAttribute('d').match(/ (-?[\\d.]+)h/)[1]))"
        )
    slope = np.polyfit(before.abs(), heights, 1)[0]
    np.testing.assert_allclose(heights, slope * before.abs(), atol=1e-6)
    slope_after, start = np.polyfit(after, tops, 1)
    assert slope_after == pytest.approx(-slope)
    np.testing.assert_allclose(tops, start + slope_after * after, atol=1e-6)


F, K, X = 3, 2, 5


def film(**changes):
    rng = np.random.default_rng(3)
    curves = rng.uniform(0.1, 1, size=(F, K, X))
    curves[:, 1, 2] = np.nan
    arguments = {"x": [0, 1, 2, 4, 8], "curves": curves, "frames": [48, 64, 128], "labels": ["onion", "linear"]}
    arguments |= {"x_label": "position", "y_label": "exact match", "frame_label": "hidden size"}
    return onion_explorers.curve_film(**{**arguments, **changes})


def text(value):
    return "none" if np.isnan(value) else f"{value:#.3g}"


def test_film_of_curves_says_the_values_of_a_frame_at_a_point(browser):
    curves = unpack(film().curves).reshape(F, K, X)
    widget = film(low=curves - 0.05, high=curves + 0.05)
    low, high = (unpack(some).reshape(F, K, X) for some in (widget.low, widget.high))
    with rendered(browser, widget) as page:
        status, frame = page.locator(".emt-status"), page.locator("input[type=range]").first
        point = page.get_by_role("slider", name="Point to read")
        for f, size in enumerate((48, 64, 128)):
            point.focus()
            page.keyboard.press("Home")
            for i, x in enumerate((0, 1, 2, 4, 8)):
                values = [
                    f"{name} {text(curves[f, k, i])}"
                    + ("" if np.isnan(curves[f, k, i]) else f" ({text(low[f, k, i])} to {text(high[f, k, i])})")
                    for k, name in enumerate(("onion", "linear"))
                ]
                assert status.text_content() == f"hidden size {size}, position {x}: {'; '.join(values)}"
                page.keyboard.press("ArrowRight")
            frame.focus()
            page.keyboard.press("ArrowRight")
        assert page.evaluate("[model.get('frame'), model.get('point')]") == [F - 1, X - 1]
        page.evaluate("model.set('frame', 0)")
        page.evaluate("model.set('point', 99)")  # no such point: the last
        assert status.text_content().startswith("hidden size 48, position 8: ")
        page.get_by_role("button", name="Play").click()
        page.wait_for_function("document.querySelector('input').value === '2'")
        page.evaluate("cleanup()")


@pytest.mark.parametrize("log", [False, True], ids=["linear", "log"])
def test_film_draws_values_gaps_and_bands_on_one_scale(browser, log):
    curves = unpack(film().curves).reshape(F, K, X)
    curves = np.where(np.isnan(curves), np.nan, 10.0 ** (-4 * curves)) if log else curves
    widget = film(curves=curves, low=curves / 2, high=2 * curves, log=log)
    points, values, bands = [], [], []
    with rendered(browser, widget) as page:
        for f in range(F):
            page.evaluate(f"model.set('frame', {f})")
            lines = page.locator("svg[role=img] .emt-trace").evaluate_all("a => a.map((l) => l.getAttribute('points'))")
            drawn = [test_explorers.coordinates(line) for line in lines]
            assert [len(line) for line in drawn] == [5, 2, 2]  # the second curve is broken
            points += list(np.concatenate(drawn))
            values += [*curves[f, 0], *curves[f, 1, [0, 1, 3, 4]]]
            assert page.locator("svg[role=img] .emt-mark").count() == 9
            band = page.locator(".emt-band").first.get_attribute("points")
            bands.append((test_explorers.coordinates(band), curves[f, 0]))
        shapes = page.locator(".emt-key .emt-mark").evaluate_all("all => all.map((mark) => mark.getAttribute('d'))")
        assert len(set(shapes)) == K
        assert page.locator(".emt-key").text_content() == "onionlinear"
    scaled = np.log10 if log else np.asarray
    across, up = np.transpose(points)
    slope, start = np.polyfit(scaled(values), up, 1)
    assert slope < 0
    np.testing.assert_allclose(up, start + slope * scaled(values), atol=1e-3)
    places = [0, 1, 2, 4, 8, 0, 1, 4, 8] * F
    np.testing.assert_allclose(across, np.polyval(np.polyfit(places, across, 1), places), atol=1e-3)
    for corners, middle in bands:
        expected = start + slope * scaled(np.concatenate([2 * middle, middle[::-1] / 2]))
        np.testing.assert_allclose(corners[:, 1], expected, atol=1e-3)


def test_film_finds_unbroken_runs_and_round_powers(browser):
    with rendered(browser, film()) as page:
        known = [False, True, True, False, True, False, False, True]
        assert page.evaluate("known => module.runs(known)", known) == [[1, 3], [4, 5], [7, 8]]
        ticks = {
            (-3.2, 0.1): ["10⁻³", "0.01", "0.1", "1"],
            (-0.5, 0.4): ["0.5", "1", "2"],
            (-12.0, 0.0): ["10⁻¹²", "10⁻¹⁰", "10⁻⁸", "10⁻⁶", "10⁻⁴", "0.01", "1"],
            (0.31, 0.32): ["2.04", "2.09"],
        }
        for ends, names in ticks.items():
            got = page.evaluate("ends => module.powers(...ends)", ends)
            assert [name for _, name in got] == names
            for at, name in got:
                if "⁻" not in name:
                    assert 10**at == pytest.approx(float(name), rel=0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {"curves": np.full((F, K, X), np.nan)},
        {"curves": np.full((F, K, X), np.nan), "log": True},
        {"curves": np.ones((F, K, X))},
        {"curves": np.ones((F, K, X)), "log": True, "low": -np.ones((F, K, X)), "high": np.ones((F, K, X))},
        {"x": [3.0], "curves": np.ones((F, K, 1)), "frame_label": ""},
        {"frames": ["only"], "curves": np.ones((1, K, X))},
        {"x": ["GRU, small", "GRU, large", "LSTM", "SSM", "attention"]},
        {"x": range(100), "curves": np.random.default_rng(0).normal(size=(F, K, 100))},
        {"labels": list("ABCDEFGH"), "curves": np.random.default_rng(0).normal(size=(F, 8, X))},
    ],
    ids=["no value", "no value, log", "flat", "band below zero", "one point", "one frame", "texts", "many", "eight"],
)
def test_film_of_curves_in_extreme_cases(browser, changes):
    widget = film(**changes)
    with rendered(browser, widget) as page:
        assert "NaN" not in page.content()
        assert "Infinity" not in page.content()
        assert "undefined" not in page.content()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        sliders = (len(widget.frames) > 1) + (len(widget.points) > 1)
        assert page.get_by_role("slider").count() == sliders
        status = page.locator(".emt-status")
        before = status.text_content()
        page.get_by_role("slider").first.focus()
        page.keyboard.press("ArrowRight")
        assert status.text_content() != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("make", [onion, lambda: gru()[0], film], ids=["onion", "gru", "film"])
def test_fits_a_phone_in_the_page_s_own_scheme_and_answers_the_keyboard(browser, make, scheme):
    with rendered(browser, make(), color_scheme="light" if scheme == "dark" else "dark") as page:
        page.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ground = page.locator(".emt-explorer").evaluate("element => getComputedStyle(element).backgroundColor")
        assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(26, 31, 37)")
        sizes = page.locator("button, select, input").evaluate_all(
            "all => all.map((b) => Math.min(b.getBoundingClientRect().width, b.getBoundingClientRect().height))"
        )
        assert min(sizes) >= 24
        before = page.locator(".emt-status").text_content()
        page.locator("input[type=range]").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator(".emt-status").text_content() != before


def test_state_is_strict_json_and_carries_float32_exactly():
    widget, _, model, edits = gru()
    for some in (onion(), widget, film()):
        json.dumps(some.get_state(), allow_nan=False)
    for packed, arrays in ((widget.weights, model), (widget.edits, edits)):
        assert set(packed) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(unpack(packed[name]), array.float().ravel())
    assert onion().names == list("ABCDEF")
    many = onion(embedding=np.random.default_rng(0).normal(size=(30, 2))).names
    assert many == [str(i) for i in range(30)]
    assert film(frames=["a", 10**6, 1e-5]).frames == ["a", "1000000", "1e-5"]


def model_with(**changes):
    return {**gru()[2], "autoregressive": True, **changes}


def edits_with(**changes):
    return {**gru()[3], **changes}


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (onion, "embedding", np.zeros((6, 3))),
        (onion, "embedding", np.zeros((1, 2))),
        (onion, "embedding", np.full((6, 2), np.nan)),
        (onion, "gamma", 0.01),
        (onion, "gamma", 1.0),
        (onion, "tokens", []),
        (onion, "tokens", [0] * 10),
        (onion, "tokens", [6]),
        (onion, "tokens", [-1]),
        (onion, "tokens", [0.5]),
        (onion, "names", ["A"]),
        (gru, "model", {}),
        (gru, "model", model_with(W_o=np.zeros((V, N, 1)))),
        (gru, "model", model_with(embedding=np.zeros((V, N)))),
        (gru, "model", model_with(W_ih=np.zeros((N, N)))),
        (gru, "model", model_with(W_hh=np.full((3 * N, N), np.inf))),
        (gru, "model", model_with(b_hh=np.zeros(N))),
        (gru, "model", model_with(b_o=np.zeros(N))),
        (gru, "model", model_with(autoregressive=[True, False])),
        (gru, "edits", {}),
        (gru, "edits", edits_with(tokens=np.zeros((V + 2, N)))),
        (gru, "edits", edits_with(gamma=np.zeros(1))),
        (gru, "sequences", []),
        (gru, "sequences", [[0]]),
        (gru, "sequences", [[0, 1], [0, V]]),
        (gru, "names", ["A", "B"]),
        (film, "x", [0, 1, 2, 4]),
        (film, "x", [0, 1, 1, 2, 3]),
        (film, "x", []),
        (film, "curves", np.zeros((F, K))),
        (film, "curves", np.full((F, K, X), np.inf)),
        (film, "frames", []),
        (film, "frames", [1]),
        (film, "labels", ["onion"]),
        (film, "labels", list("ABCDEFGHI")),
        (film, "low", np.zeros((F, K, X))),
    ],
)
def test_bad_arguments_are_named(make, name, value):
    # a wrong number of frames, labels or points shows as a wrong shape of the curves
    with pytest.raises(ValueError, match=f"{name}|curves: got shape"):
        make(**{name: value})


def test_logarithmic_curves_must_be_positive():
    with pytest.raises(ValueError, match=r"curves: got 0.0, expected positive"):
        film(curves=np.zeros((F, K, X)), log=True)
