"""The explorers' scripts run in a real Chromium, on a stub of the model that anywidget hands to them."""

import base64
import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from emt_core.book import explorers

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")

S, D, N, STEPS = 3, 2, 10, 12

PAGE = """<!doctype html><html lang="en" data-theme="light"><head><title>explorer</title></head>
<body><main id="here"></main></body></html>"""

RENDER = """async ({ state, esm, css }) => {
  const style = document.createElement("style");
  style.textContent = css;
  document.head.append(style);
  const module = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  const listeners = {};
  const model = {
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; (listeners[`change:${name}`] ?? []).forEach((f) => f()); },
    on: (event, f) => (listeners[event] ??= []).push(f),
    off: (event, f) => (listeners[event] = (listeners[event] ?? []).filter((g) => g !== f)),
    save_changes: () => (window.saves = (window.saves ?? 0) + 1),
  };
  Object.assign(window, { module, model });
  window.cleanup = await module.default.render({ model, el: document.getElementById("here") });
}"""


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def rendered(browser, widget, **context):
    """A page showing `widget`, from its state after a round trip through JSON; fails on any error in the console."""
    page = browser.new_context(viewport={"width": 390, "height": 900}, **context).new_page()
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    page.set_content(PAGE)
    state = json.loads(json.dumps(widget.get_state()))
    page.evaluate(RENDER, {"state": state, "esm": widget._esm, "css": widget._css})
    yield page
    page.context.close()
    assert errors == []


def random_network(seed=0):
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(N, S * D))
    operator = np.zeros((D, S * D))
    operator[[0, 1], [1, 2]] = [1, -1]
    return {
        "W_uh": rng.normal(size=(N, D)),
        "W_hh": 1.2 * rng.normal(size=(N, N)) / np.sqrt(N),
        "W_r": rng.normal(size=(D, N)),
        "basis": basis,
        "dual": np.linalg.pinv(basis),
        "operator": operator,
    }


def travel(**changes):
    arguments = {**random_network(), "history": S, "dim": D, "steps": STEPS, "editable": True, **changes}
    return explorers.memory_travel(**arguments)


def copying_network():
    """An exact repeat copy, but for tanh: the identity as basis, contents kept small."""
    shift = np.eye(S * D, k=D)
    operator = np.eye(D, S * D)
    shift[-D:] = operator
    last = np.eye(S * D)[:, -D:]
    eye = np.eye(S * D)
    return {"W_uh": 0.01 * last, "W_hh": shift, "W_r": last.T, "basis": eye, "dual": eye, "operator": operator}


def test_a_film_opens_at_its_end():
    """The last frame is what its caption and the chapter speak of."""
    assert film(start=None).frame == 4 and film(start=19).frame == 2


def film(**changes):
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(5, 6)) + 1j * rng.normal(size=(5, 6))
    arguments = {"frames": frames, "theory": [1, 1, 1j, -1j, 0], "steps": [0, 10, 20, 30, 40], "losses": np.ones(5)}
    arguments["start"] = 0
    return explorers.eigenvalue_film(**{**arguments, **changes})


# The walk of the tests: three memories, six frames, a way with four points to a memory. Times are not evenly spaced.
K, F, P = 3, 6, 13


def walk(**changes):
    rng = np.random.default_rng(2)
    path = np.linspace(1, K + 1, P)
    surface = 100 + np.cos(2 * np.pi * path)[None, :] * -0.5 + 0.4 * rng.normal(size=(F, P))
    surface[1] = -path  # downhill all the way
    arguments = {
        "times": [0, 1, 2, 4, 5, 7],
        "overlaps": rng.uniform(-1, 1, size=(F, K)),
        "surface": surface,
        "path": path,
        "position": [1, 1.4, np.nan, 2.1, 3.9, K + 1],
    }
    return explorers.sequence_walk(**{**arguments, **changes})


R, C, SEEDS = 2, 3, 4


def phases(**changes):
    rng = np.random.default_rng(3)
    accuracy = rng.uniform(size=(R, C, SEEDS))
    accuracy[0, 1, 2] = accuracy[1, 2] = np.nan
    spectra = rng.normal(size=(R, C, SEEDS, 5)) + 1j * rng.normal(size=(R, C, SEEDS, 5))
    spectra[0, :, :, 3:] = spectra[1, 2] = np.nan
    arguments = {
        "rows": [0, 1e-5],
        "columns": [8, 16, "32, gated"],
        "layers": {"accuracy": accuracy, "circuit found": accuracy > 0.5},
        "spectra": spectra,
        "theory": [1, 1, 1j, -1j, 0],
        "row_name": "L2",
        "column_name": "hidden",
    }
    return explorers.phase_map(**{**arguments, **changes})


def unpack(text):
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


def trajectory(network, inputs, edits):
    """The same run in torch, float64, from weights rounded to float32 as the page has them."""
    w = {name: torch.from_numpy(value.astype("f4").astype("f8")) for name, value in network.items()}
    h, contents, outputs = torch.zeros(len(w["W_hh"]), dtype=torch.float64), [], []
    for t in range(S + STEPS + 1):
        if t:
            u = inputs[t - 1] if t <= S else torch.zeros(D, dtype=torch.float64)
            h = torch.tanh(w["W_hh"] @ h + w["W_uh"] @ u)
        outputs.append(w["W_r"] @ h)
        for when, k in edits:
            if when == t:
                h = h - 2 * (w["dual"] @ h)[k] * w["basis"][:, k]
        contents.append(w["dual"] @ h)
    return torch.stack(contents).numpy(), torch.stack(outputs).numpy()


SIMULATE = """([inputs, edits]) => {
  const decode = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const weights = Object.fromEntries(Object.entries(model.get("weights")).map(([name, text]) => [name, decode(text)]));
  const [history, dim, steps] = ["history", "dim", "steps"].map(model.get);
  const run = module.simulate(weights, inputs, history, dim, steps, new Set(edits));
  return { contents: run.contents.map((c) => [...c]), outputs: run.outputs.map((o) => [...o]), right: run.right };
}"""


@pytest.mark.parametrize("edits", [[], [(2, 5)], [(4, 0), (7, 3)]], ids=["no edits", "while writing", "two edits"])
def test_the_page_computes_the_network_s_own_trajectory(browser, edits):
    network = random_network()
    inputs = torch.tensor([[1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    with rendered(browser, travel(**network)) as page:
        got = page.evaluate(SIMULATE, [inputs.flatten().tolist(), [f"{t},{k}" for t, k in edits]])
    contents, outputs = trajectory(network, inputs, edits)
    np.testing.assert_allclose(got["contents"], contents, atol=1e-5)
    np.testing.assert_allclose(got["outputs"], outputs, atol=1e-5)


def test_the_right_output_is_the_operator_s(browser):
    network = random_network()
    inputs = [[1, -1], [-1, -1], [1, 1]]
    past = [np.array(u) for u in inputs]
    for _ in range(STEPS):
        past.append(network["operator"] @ np.concatenate(past[-S:]))
    with rendered(browser, travel(**network)) as page:
        right = page.evaluate(SIMULATE, [np.ravel(inputs).tolist(), []])["right"]
    np.testing.assert_array_equal(right, past[S:])


def test_a_flipped_content_changes_the_predicted_future_and_an_exact_circuit_follows(browser):
    network = copying_network()
    with rendered(browser, travel(**network, initial=np.ones((S, D)))) as page:
        status = page.locator(".emt-status")
        page.evaluate(f"model.set('step', {S})")  # as the kernel would
        cell = page.get_by_role("button", name="flip variable 2, dimension 1")
        cell.click()
        assert "1 sign flipped by hand" in status.text_content()
        page.get_by_role("slider").focus()
        page.keyboard.press("End")
        assert f"{D} of {D} signs right, {D * STEPS} of {D * STEPS} so far" in status.text_content()
        run = page.evaluate(SIMULATE, [[1] * S * D, [f"{S},{D}"]])
        assert np.array(run["right"])[:, 0].tolist() == ([1, -1, 1] * STEPS)[:STEPS]
        assert (np.sign(run["outputs"])[S + 1 :] == run["right"]).all()
        page.get_by_role("button", name="undo flips").click()
        assert "flipped" not in status.text_content()


def test_keyboard_moves_time_and_clicking_a_bit_changes_the_outputs(browser):
    with rendered(browser, travel()) as page:
        status, written = page.locator(".emt-status"), page.locator(".emt-strip").first
        assert f"t = {2 * S} (output phase)" in status.text_content()
        page.get_by_role("slider", name="Time step").focus()
        page.keyboard.press("ArrowRight")
        assert f"t = {2 * S + 1} (output phase)" in status.text_content()
        drawn = written.inner_html()
        bit = page.get_by_role("button", name="input at step 1, dimension 1")
        pressed = bit.get_attribute("aria-pressed")
        bit.click()
        assert bit.get_attribute("aria-pressed") != pressed
        assert written.inner_html() != drawn
        assert page.evaluate("window.saves") > 0


def test_one_tab_stop_for_a_grid_and_arrows_within(browser):
    with rendered(browser, travel()) as page:
        bits = page.get_by_role("group", name="Inputs, one step a row").get_by_role("button")
        assert bits.count() == S * D
        assert bits.evaluate_all("cells => cells.filter((cell) => cell.tabIndex === 0).length") == 1
        bits.first.focus()
        for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowUp"):
            page.keyboard.press(key)
        assert bits.first.evaluate("cell => cell === document.activeElement")
        page.keyboard.press("ArrowDown")
        pressed = bits.nth(D).get_attribute("aria-pressed")
        page.keyboard.press("Space")
        assert bits.nth(D).get_attribute("aria-pressed") != pressed


def test_presets_and_random_inputs(browser):
    with rendered(browser, travel()) as page:
        for name, expected in (("all minus", [-1] * S * D), ("checkerboard", [1, -1, -1, 1, 1, -1])):
            page.get_by_role("button", name=name, exact=True).click()
            assert page.evaluate("model.get('inputs')") == expected
        page.evaluate("Math.random = () => 0.9")
        page.get_by_role("button", name="random").click()
        assert page.evaluate("model.get('inputs')") == [1] * S * D
        page.evaluate(f"model.set('inputs', {[-1] * S * D})")  # as the kernel would
        assert page.locator('.emt-grid button[aria-pressed="true"]').count() == 0


def test_film_counts_eigenvalues_and_follows_keyboard_and_model(browser):
    widget = film()
    values = unpack(widget.frames).reshape(5, 6, 2)
    outside = (np.hypot(values[..., 0], values[..., 1]) > 0.9).sum(1)
    with rendered(browser, widget) as page:
        status = page.locator(".emt-status")
        assert status.text_content() == f"step 0: {outside[0]} eigenvalues outside radius 0.90, theory 4; loss 1.0"
        page.get_by_role("slider", name="Training step").focus()
        page.keyboard.press("ArrowRight")
        assert status.text_content().startswith(f"step 10: {outside[1]} eigenvalues")
        assert page.evaluate("model.get('frame')") == 1
        page.evaluate("model.set('frame', 4)")
        assert status.text_content().startswith("step 40:")
        assert page.locator(".emt-plane .emt-dot").count() == 6
        assert page.locator(".emt-plane .emt-ring").count() == 4
        assert page.locator(".emt-plane .emt-text").all_text_contents() == ["×2"]


def test_play_runs_to_the_end_and_never_by_itself(browser):
    with rendered(browser, film()) as page:
        page.wait_for_timeout(400)
        assert page.get_by_role("slider").input_value() == "0"
        page.get_by_role("button", name="Play").click()
        assert page.get_by_role("button", name="Pause").is_visible()
        page.wait_for_function("document.querySelector('input').value === '4'")
        page.get_by_role("button", name="Play").wait_for()
        page.get_by_role("button", name="Play").click()  # from the start again
        page.get_by_role("button", name="Pause").click()
        at = page.get_by_role("slider").input_value()
        page.wait_for_timeout(400)
        assert page.get_by_role("slider").input_value() == at
        page.evaluate("cleanup()")


def barriers(widget):
    """What numpy makes of the walk's own state: in each frame the nearest memory (from 0) and the rise after it."""
    overlaps, surface, path = (
        unpack(widget.overlaps).reshape(F, K),
        unpack(widget.surface).reshape(F, P),
        unpack(widget.path),
    )
    nearest = overlaps.argmax(1)
    ahead = [(path >= m + 1) & (path <= m + 2) for m in nearest]
    return nearest, np.array([e[a].max() - e[a][0] for e, a in zip(surface, ahead, strict=True)])


def test_walk_says_which_memory_is_near_and_how_high_the_barrier_ahead_is(browser):
    widget = walk()
    nearest, rise = barriers(widget)
    overlaps = unpack(widget.overlaps).reshape(F, K)
    assert rise[1] == 0
    assert rise.max() > 0.1
    with rendered(browser, widget) as page:
        status, slider = page.locator(".emt-status"), page.get_by_role("slider", name="Time")
        slider.focus()
        for f, (time, memory) in enumerate(zip(widget.times, nearest, strict=True)):
            said = status.text_content()
            assert said.startswith(f"t = {time:.1f}: nearest memory {memory + 1} (overlap ")
            assert float(said.split("overlap ")[1].split(")")[0].replace("−", "-")) == pytest.approx(
                overlaps[f, memory], abs=0.0051
            )
            assert ("away from the path" in said) == np.isnan(unpack(widget.position)[f])
            following = (memory + 1) % K + 1
            if rise[f] == 0:
                assert said.endswith(f"no barrier to {following}: it rolls on")
            else:
                assert float(said.split(f"barrier to {following}: ")[1]) == pytest.approx(rise[f], rel=0.051)
            assert "emt-now" in page.locator(".emt-trace").nth(memory).get_attribute("class")
            assert page.locator(".emt-now").count() == 1
            assert slider.get_attribute("aria-valuetext") == said
            page.keyboard.press("ArrowRight")
        assert page.evaluate("model.get('frame')") == F - 1
        page.evaluate("model.set('frame', 1)")
        assert status.text_content().startswith("t = 1.0:")


@pytest.mark.parametrize("points", [13, 8], ids=["points at the memories", "points beside them"])
def test_the_page_s_barrier_is_numpy_s(browser, points):
    path = np.linspace(1, K + 1, points)
    surface = np.random.default_rng(4).normal(size=(F, points))
    fine = np.union1d(path, np.arange(1, K + 2))  # a polygon is highest at a corner or at an end
    energies = [np.interp(fine, path, energy) for energy in surface]
    expected = [[e[(fine >= m) & (fine <= m + 1)].max() - e[fine == m][0] for m in (1, 2, 3)] for e in energies]
    with rendered(browser, walk(path=path, surface=surface)) as page:
        got = page.evaluate(
            "([path, surface]) => surface.map((energy) => [1, 2, 3].map((m) => module.barrier(path, energy, m)))",
            [path.tolist(), surface.tolist()],
        )
    np.testing.assert_allclose(got, expected, atol=1e-9)


def coordinates(points):
    return np.array([[float(number) for number in point.split(",")] for point in points.split()])


def test_walk_draws_the_energy_the_ball_on_it_and_a_name_for_every_line(browser):
    widget = walk()
    energy, path, position = unpack(widget.surface).reshape(F, P), unpack(widget.path), unpack(widget.position)
    np.testing.assert_allclose(np.trapezoid(energy, path, axis=1), 0, atol=1e-5)
    with rendered(browser, widget) as page:
        names = page.locator(".emt-name").all_text_contents()
        assert set(names) == {"1", "2", "3"}
        curve, ball, cursor = page.locator(".emt-energy"), page.locator(".emt-ball"), page.locator(".emt-cursor")
        heights, cursors = [], []
        for f in range(F):
            page.evaluate(f"model.set('frame', {f})")
            drawn = coordinates(curve.get_attribute("points"))
            heights.append(drawn[:, 1])
            cursors.append(float(cursor.get_attribute("transform").split("(")[1].split()[0]))
            assert ball.is_visible() == (not np.isnan(position[f]))
            if ball.is_visible():
                across, up, radius = (float(ball.get_attribute(name)) for name in ("cx", "cy", "r"))
                assert across == pytest.approx(np.interp(position[f], path, drawn[:, 0]), abs=1e-3)
                assert up + radius == pytest.approx(np.interp(position[f], path, drawn[:, 1]), abs=1e-3)
        assert coordinates(page.locator(".emt-first").get_attribute("points"))[:, 1] == pytest.approx(heights[0])
        # one scale for all frames: the picture is a straight line of the energy
        slope, start = np.polyfit(energy.ravel(), np.ravel(heights), 1)
        np.testing.assert_allclose(start + slope * energy, heights, atol=1e-3)
        assert slope < 0
        np.testing.assert_allclose(np.diff(cursors) / np.diff(cursors).sum(), np.diff(widget.times) / 7, atol=1e-6)
        traces = page.locator(".emt-trace").evaluate_all("all => all.map((line) => line.getAttribute('points'))")
        tops = np.array([coordinates(points)[:, 1] for points in traces])
        overlaps = unpack(widget.overlaps).reshape(F, K).T
        slope, start = np.polyfit(overlaps.ravel(), tops.ravel(), 1)
        np.testing.assert_allclose(start + slope * overlaps, tops, atol=1e-3)


def test_walk_draws_a_flat_energy_and_the_least_there_can_be(browser):
    least = {"times": [0, 1e-3], "overlaps": -np.ones((2, 2)), "surface": np.ones((2, 2)), "path": [1, 3]}
    with rendered(browser, walk(**least, position=[np.nan] * 2)) as page:
        said = page.locator(".emt-status").text_content()
        assert said == "t = 0.0000: nearest memory 1 (overlap −1.00); away from the path; no barrier to 2: it rolls on"
        assert "NaN" not in page.content()
        assert "Infinity" not in page.content()


def test_map_says_what_became_of_a_cell_and_of_each_seed(browser):
    widget = phases()
    layers = {name: unpack(text).reshape(R, C, SEEDS) for name, text in widget.layers.items()}
    accuracy, found = layers.values()
    spectra = unpack(widget.spectra).reshape(R, C, SEEDS, 5, 2)
    outside = (np.hypot(spectra[..., 0], spectra[..., 1]) > 0.9).sum(-1)

    def expected(row, column, seed):
        own = [values[row, column, seed] for values in (accuracy, found)]
        means = [np.nanmean(values[row, column]) for values in (accuracy, found)]
        own, means = ([f"{v:.2f}" if np.isfinite(v) else "not measured" for v in some] for some in (own, means))
        setting = f"L2 {['0', '1e-5'][row]}, hidden {['8', '16', '32, gated'][column]}"
        return f"{setting}, seed {seed}: accuracy {own[0]}, circuit found {own[1]}." + (
            f" Mean over the seeds: accuracy {means[0]}, circuit found {means[1]}"
        )

    with rendered(browser, widget) as page:
        status, cells = page.locator(".emt-status"), page.locator(".emt-cell")
        dots = page.locator(".emt-plane .emt-dot")
        assert cells.count() == R * C
        assert cells.nth(5).text_content() == "–"
        assert cells.nth(5).get_attribute("aria-label") == "L2 1e-5, hidden 32, gated: accuracy not measured"
        for row, column in [(0, 0), (0, 1), (1, 0), (1, 1)]:
            assert cells.nth(row * C + column).text_content() == f"{np.nanmean(accuracy[row, column]):.2f}"
            cells.nth(row * C + column).click()
            page.get_by_role("slider", name="Seed").focus()
            page.keyboard.press("Home")
            for seed in range(SEEDS):
                assert status.text_content() == expected(row, column, seed)
                count, beyond = outside[row, column, seed], "outside radius 0.90, theory 4"
                assert (
                    page.locator(".emt-heading").last.text_content()
                    == f"{count} eigenvalue{'s' if count != 1 else ''} {beyond}"
                )
                shown = [f"translate({x}px, {y}px)" for x, y in drawn(spectra, row, column, seed)]
                seen = dots.evaluate_all(
                    "all => all.filter((dot) => dot.style.visibility !== 'hidden').map((dot) => dot.style.transform)"
                )
                np.testing.assert_allclose(numbers(seen), numbers(shown), atol=1e-2)
                page.keyboard.press("ArrowRight")
            assert page.evaluate("[model.get('cell'), model.get('seed')]") == [[row, column], SEEDS - 1]
        page.evaluate("model.set('cell', [1, 2])")  # as the kernel would
        assert status.text_content().endswith(
            "accuracy not measured, circuit found 0.00. Mean over the seeds: accuracy not measured, circuit found 0.00"
        )
        assert page.get_by_text("eigenvalues not measured", exact=True).is_visible()
        page.evaluate("model.set('seed', 0)")
        assert ", seed 0:" in status.text_content()
        page.evaluate("model.set('cell', [0, 99])")  # no such column: the last one
        assert status.text_content().startswith("L2 0, hidden 32, gated, seed 0")
        assert page.locator(".emt-plane .emt-text").all_text_contents() == ["×2"]


def drawn(spectra, row, column, seed):
    """Where in a plane of 400 × 400 a network's eigenvalues are, on the scale that the largest of all numbers sets."""
    scale = 200 / max(1.3, 1.05 * np.nanmax(np.abs(spectra)))
    values = spectra[row, column, seed]
    return 200 + scale * values[~np.isnan(values[:, 0])] * [1, -1]


def numbers(transforms):
    return [[float(x) for x in text[10:-1].replace("px", "").split(",")] for text in transforms]


def test_map_layers_and_arrow_keys(browser):
    widget = phases()
    widget.cell, widget.seed = [1, 1], 3
    found = unpack(widget.layers["circuit found"]).reshape(R, C, SEEDS).mean(-1)
    with rendered(browser, widget) as page:
        cells, layer = page.locator(".emt-cell"), page.get_by_role("button", name="circuit found", exact=True)
        assert page.locator(".emt-status").text_content().startswith("L2 1e-5, hidden 16, seed 3:")
        tab_stops = "cells => cells.map((cell) => cell.tabIndex)"
        assert cells.evaluate_all(tab_stops) == [-1, -1, -1, -1, 0, -1]
        assert layer.get_attribute("aria-pressed") == "false"
        layer.focus()
        page.keyboard.press("Enter")
        assert layer.get_attribute("aria-pressed") == "true"
        assert cells.all_text_contents() == [f"{value:.2f}" for value in found.ravel()]
        levels = cells.evaluate_all("cells => cells.map((cell) => parseFloat(cell.style.getPropertyValue('--level')))")
        np.testing.assert_allclose(levels, 100 * found.ravel(), atol=1e-4)
        page.keyboard.press("Tab")
        assert cells.nth(4).evaluate("cell => cell === document.activeElement")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Space")
        assert page.evaluate("model.get('cell')") == [0, 1]
        assert [cell.get_attribute("aria-pressed") for cell in cells.all()].index("true") == 1
        assert cells.evaluate_all(tab_stops).count(0) == 1
        page.evaluate("cleanup()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("make", [film, travel, walk, phases])
def test_fits_a_phone_in_the_page_s_own_scheme(browser, make, scheme):
    with rendered(browser, make(), color_scheme="light" if scheme == "dark" else "dark") as page:
        page.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ground = page.locator(".emt-explorer").evaluate("element => getComputedStyle(element).backgroundColor")
        assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(26, 31, 37)")
        sizes = page.get_by_role("button").evaluate_all(
            "all => all.map((b) => Math.min(b.getBoundingClientRect().width, b.getBoundingClientRect().height))"
        )
        assert min(sizes) >= 24


def test_frames_are_reordered_into_short_paths():
    circle = np.exp(2j * np.pi * np.arange(8) / 8)
    frames = np.stack([np.random.default_rng(i).permutation(circle * np.exp(0.05j * i)) for i in range(6)])
    paths = unpack(film(frames=frames, steps=range(6), losses=np.ones(6)).frames).reshape(6, 8, 2)
    assert np.linalg.norm(np.diff(paths, axis=0), axis=-1).max() < 0.06


def test_state_is_json_and_carries_float32_exactly():
    network = random_network()
    widget = travel(**{name: torch.from_numpy(value) for name, value in network.items()})
    state = json.loads(json.dumps(widget.get_state()))
    for name, value in network.items():
        np.testing.assert_array_equal(unpack(state["weights"][name]), value.astype("f4").ravel())
    assert "basis" not in travel(editable=False).weights
    assert sorted(state["presets"]) == ["all minus", "checkerboard", "picture"]
    assert all(set(bits) <= {-1, 1} and len(bits) == S * D for bits in state["presets"].values())
    padded = {"basis": np.zeros((N, N)), "dual": np.zeros((N, N))}  # residual components are left out
    assert unpack(travel(**padded).weights["dual"]).size == S * D * N


def test_state_of_walk_and_map_is_strict_json():
    """NaN, which JSON has not, travels inside the packed text."""
    for widget in (walk(), phases()):
        json.dumps(widget.get_state(), allow_nan=False)
    np.testing.assert_array_equal(np.isnan(unpack(walk().position)), [False, False, True, False, False, False])
    padded = unpack(phases(spectra=np.full((R, C, SEEDS, 1), np.nan)).spectra)
    assert np.isnan(padded).all()  # the imaginary parts too


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (travel, "W_hh", np.zeros((N, N + 1))),
        (travel, "W_uh", np.zeros((N, D + 1))),
        (travel, "W_r", np.zeros((N, D))),
        (travel, "basis", np.zeros((N, S * D - 1))),
        (travel, "dual", np.zeros((S * D - 1, N))),
        (travel, "operator", np.zeros((D, S))),
        (travel, "operator", np.full((D, S * D), np.nan)),
        (travel, "initial", np.zeros((S, D))),
        (travel, "initial", np.ones((D, S))),
        (travel, "steps", 0),
        (travel, "start", -1),
        (travel, "start", S + STEPS + 1),
        (travel, "edits", [(1, 1)]),
        (travel, "edits", [(S + STEPS + 1, 1, 1)]),
        (travel, "edits", [(1, S + 1, 1)]),
        (travel, "edits", [(1, 1, 0)]),
        (film, "frames", np.zeros(5)),
        (film, "frames", np.full((5, 6), np.nan)),
        (film, "frames", np.zeros((5, 0))),
        (film, "theory", np.zeros((2, 2))),
        (film, "steps", np.zeros(4)),
        (film, "steps", [0, 10, 10, 20, 30]),
        (film, "losses", np.zeros(6)),
        (film, "losses", np.full(5, np.inf)),
        (walk, "times", np.arange(F + 1)),
        (walk, "times", np.zeros(F)),
        (walk, "overlaps", np.zeros(F)),
        (walk, "overlaps", np.full((F, K), np.nan)),
        (walk, "overlaps", np.zeros((F, 1))),
        (walk, "surface", np.zeros((F, P + 1))),
        (walk, "surface", np.full((F, P), 1j)),
        (walk, "path", np.linspace(0, K, P)),
        (walk, "path", np.linspace(K + 1, 1, P)),
        (walk, "position", np.ones(F - 1)),
        (walk, "position", np.full(F, K + 1.5)),
        (phases, "spectra", np.zeros((R, C, SEEDS))),
        (phases, "spectra", np.zeros((C, R, SEEDS, 5))),
        (phases, "spectra", np.zeros((R, C, SEEDS, 0))),
        (phases, "spectra", np.full((R, C, SEEDS, 5), np.inf)),
        (phases, "theory", [np.nan]),
        (phases, "explain", {"no layer": ""}),
        (phases, "layers", {}),
        (phases, "layers", {"accuracy": np.zeros((R, C))}),
        (phases, "layers", {"accuracy": np.full((R, C, SEEDS), 1.01)}),
    ],
)
def test_bad_arguments_are_named(make, name, value):
    with pytest.raises(ValueError, match=name):
        make(**{name: value})
