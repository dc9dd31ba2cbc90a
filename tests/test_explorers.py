"""The explorers' scripts run in a real Chromium, on a stub of the model that anywidget hands to them."""

import base64
import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from emt_core import explorers

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


def film(**changes):
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(5, 6)) + 1j * rng.normal(size=(5, 6))
    arguments = {"frames": frames, "theory": [1, 1, 1j, -1j, 0], "steps": [0, 10, 20, 30, 40], "losses": np.ones(5)}
    return explorers.eigenvalue_film(**{**arguments, **changes})


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
        before = status.text_content()
        assert f"t = {S} (input phase)" in before
        page.get_by_role("slider", name="Time step").focus()
        page.keyboard.press("ArrowRight")
        assert f"t = {S + 1} (output phase)" in status.text_content()
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
    with rendered(browser, travel(presets={"up": np.ones((S, D)), "down": -np.ones((S, D))})) as page:
        for name, expected in (("up", 1), ("down", -1)):
            page.get_by_role("button", name=name, exact=True).click()
            assert page.evaluate("model.get('inputs')") == [expected] * S * D
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
        assert page.locator(".emt-text").all_text_contents() == ["×2"]


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("make", [film, travel], ids=["film", "travel"])
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
    paths = unpack(film(frames=frames, steps=range(6), losses=None).frames).reshape(6, 8, 2)
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
        (film, "frames", np.zeros(5)),
        (film, "frames", np.full((5, 6), np.nan)),
        (film, "frames", np.zeros((5, 0))),
        (film, "theory", np.zeros((2, 2))),
        (film, "steps", np.zeros(4)),
        (film, "losses", np.zeros(6)),
        (film, "losses", np.full(5, np.inf)),
    ],
)
def test_bad_arguments_are_named(make, name, value):
    with pytest.raises(ValueError, match=name):
        make(**{name: value})
