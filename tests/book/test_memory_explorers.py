"""Kicked memories in a real Chromium: its runs are torch's, kicks are what they are called, and its words are true."""

import json

import numpy as np
import pytest
import test_explorers
import torch
from test_explorers import coordinates, rendered, unpack
from test_set_from_prose import press

from emt_core.book import memory_explorers

browser = test_explorers.browser

S, D, SPARE = 3, 2, 4
N = S * D + SPARE
SIGNS = [[1, -1], [-1, -1], [1, 1]]
SHOWN = 32
ALL_RIGHT = "100 % of the signs of the last 32 outputs right"


def carrying(drive, name):
    """Repeat copy with a unit for each memory and some spare ones. `drive` is what a full content gives its unit: 1e-3
    is linear, and a kick of the memories stays; at 3 tanh saturates, and whatever is not its own sign is taken off."""
    shift = np.eye(S * D, k=D) + np.eye(S * D, k=D - S * D)
    full = drive if drive < 0.1 else 1.0
    W_hh = np.zeros((N, N))
    W_hh[: S * D, : S * D] = shift * drive / full
    newest = np.eye(N)[:, (S - 1) * D : S * D]
    memories = np.eye(N)[:, : S * D]
    operator = np.eye(D, S * D)
    return {
        "name": name,
        "W_uh": drive * newest,
        "W_hh": W_hh,
        "W_r": newest.T / full,
        "operator": operator,
        "basis": memories,
    }


def wild(name="wild", seed=0):
    """Nothing that works: random weights, and an operator that turns signs."""
    rng = np.random.default_rng(seed)
    operator = np.zeros((D, S * D))
    operator[[0, 1], [3, 0]] = [-1, 1]
    return {
        "name": name,
        "W_uh": rng.normal(size=(N, D)),
        "W_hh": 1.3 * rng.normal(size=(N, N)) / np.sqrt(N),
        "W_r": rng.normal(size=(D, N)),
        "operator": operator,
        "basis": rng.normal(size=(N, S)) @ rng.normal(size=(S, S * D)),  # of rank S
    }


ANALOG, DIGITAL = carrying(1e-3, "analog"), carrying(3.0, "digital")


def kicked(*networks, initial=SIGNS, **changes):
    return memory_explorers.memory_kicks(networks or [ANALOG, DIGITAL, wild()], initial, **changes)


DIRECTION = """([which, kind, key]) => {
  const { frame, W_hh } = weights(which);
  return [...module.direction(frame, Math.sqrt(W_hh.length), kind, key)];
}"""
WEIGHTS = """() => { window.weights = (which) => {
  const decode = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const { name, ...packed } = model.get("networks")[which];
  return Object.fromEntries(Object.entries(packed).map(([key, text]) => [key, decode(text)]));
}; }"""
RUN = """([which, signs, kicks, steps]) => {
  const { apart, ...rest } = module.begin(weights(which), signs, kicks).advance(steps);
  const plain = Object.entries(rest).map(([way, rows]) => [way, rows.slice(1).map((row) => [...row])]);
  return { apart, ...Object.fromEntries(plain) };
}"""


def along(page, which, kind, key):
    page.evaluate(WEIGHTS)
    return np.array(page.evaluate(DIRECTION, [which, kind, key]))


def ran(page, which, kicks, steps, signs=SIGNS):
    """What the page makes of a run, arrays over the output steps; `apart` over step 0 as well."""
    page.evaluate(WEIGHTS)
    return {name: np.array(got) for name, got in page.evaluate(RUN, [which, signs, kicks, steps]).items()}


def in_torch(network, kicks, steps, directions):
    """The same in torch, float64, from weights rounded to float32 as the page has them."""
    w = {name: torch.from_numpy(value.astype("f4")).double() for name, value in network.items() if name != "name"}
    h = torch.zeros(N, dtype=torch.float64)
    for u in torch.tensor(SIGNS, dtype=torch.float64):
        h = torch.tanh(w["W_hh"] @ h + w["W_uh"] @ u)
    twin, written, unkicked, apart = h, [], [], []
    for t in range(steps + 1):
        if t:
            h, twin = torch.tanh(w["W_hh"] @ h), torch.tanh(w["W_hh"] @ twin)
            written.append(w["W_r"] @ h)
            unkicked.append(w["W_r"] @ twin)
        for (when, size, _, _), direction in zip(kicks, directions, strict=True):
            if when == t:
                h = h + size * h.norm() * torch.from_numpy(direction)
        apart.append(float((h - twin).norm() / twin.norm()))
    return torch.stack(written).numpy(), torch.stack(unkicked).numpy(), np.array(apart)


@pytest.mark.parametrize("kicks", [[], [[0, 0.2, 0, 1]], [[5, 1, 1, 4], [9, 0.3, 2, 9], [9, 0.1, 0, 2]]], ids=len)
def test_the_page_computes_the_networks_own_runs(browser, kicks):
    steps = 40
    with rendered(browser, kicked()) as page:
        for which, network in enumerate((ANALOG, DIGITAL, wild())):
            got = ran(page, which, kicks, steps)
            directions = [along(page, which, kind, key) for _, _, kind, key in kicks]
            written, twin, apart = in_torch(network, kicks, steps, directions)
            # rounding, 1e-16 a step, grows with the wild network's chaos: at most 2 a step, over few of its steps
            for name, expected in (("written", written), ("twin", twin), ("apart", apart)):
                np.testing.assert_allclose(got[name], expected, atol=1e-9 if which == 2 else 1e-13)
            past = [np.array(row) for row in SIGNS]
            for _ in range(steps):
                past.append(network["operator"] @ np.concatenate(past[-S:]))
            np.testing.assert_array_equal(got["right"], past[S:])


def test_a_run_is_the_same_in_one_go_and_in_pieces(browser):
    with rendered(browser, kicked()) as page:
        page.evaluate(WEIGHTS)
        got = page.evaluate(
            """([signs, kicks]) => {
              const [whole, pieces] = [0, 1].map(() => module.begin(weights(2), signs, kicks));
              for (const to of [3, 1, 7, 60]) pieces.advance(to);
              return JSON.stringify(whole.advance(60)) === JSON.stringify(pieces.record);
            }""",
            [SIGNS, [[7, 0.4, 0, 1], [20, 0.2, 0, 2]]],
        )
    assert got


def test_a_key_is_a_direction_in_the_memories_outside_them_or_anywhere(browser):
    network = wild()
    frame = np.linalg.svd(network["basis"])[0][:, :S]
    with rendered(browser, kicked(network)) as page:
        by_kind = {kind: np.array([along(page, 0, kind, key) for key in range(1, 201)]) for kind in range(3)}
        np.testing.assert_array_equal(along(page, 0, 0, 7), by_kind[0][6])
    for directions in by_kind.values():
        np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-12)
    # the frame travels in float32, to 6e-8
    np.testing.assert_allclose(by_kind[1] @ frame @ frame.T, by_kind[1], atol=1e-6)
    np.testing.assert_allclose(by_kind[2] @ frame, 0, atol=1e-6)
    # uniform on a sphere in n dimensions: means near 0 (to 1/√200n), squares near 1/n, and keys that follow each other
    # as little alike as others; bounds at five standard deviations
    for kind, rank in ((0, N), (1, S), (2, N - S)):
        cosines = (by_kind[kind][1:] * by_kind[kind][:-1]).sum(1)
        assert abs(cosines.mean()) < 5 / np.sqrt(199 * rank)
        assert cosines.std() == pytest.approx(1 / np.sqrt(rank), rel=5 / np.sqrt(2 * 199))
        assert np.linalg.norm(by_kind[kind].mean(0)) < 5 / np.sqrt(200)
    np.testing.assert_allclose((by_kind[0] ** 2).mean(0), 1 / N, atol=5 * np.sqrt(2 / 200) / N)


def test_an_analog_memory_keeps_a_kick_and_a_digital_one_corrects_it(browser):
    within, outside = [[10, 0.2, 1, 1]], [[10, 0.2, 2, 1]]
    with rendered(browser, kicked()) as page:
        # 1e-3 is linear to a third of its square, a step; beside the memories nothing is carried on
        assert ran(page, 0, within, 100)["apart"][-1] == pytest.approx(0.2, rel=100 * 1e-6)
        assert ran(page, 0, outside, 100)["apart"][-1] == 0
        digital = ran(page, 1, within, 100)
        assert digital["apart"][10] == pytest.approx(0.2)
        assert digital["apart"][-1] < 1e-15
        assert (np.sign(digital["written"]) == digital["right"]).all()


def test_buttons_run_on_kick_and_start_again(browser):
    with rendered(browser, kicked(), reduced_motion="reduce") as page:
        status, state = page.locator(".emt-status"), "['step', 'kicks'].map((name) => model.get(name))"
        page.wait_for_timeout(200)  # nothing starts by itself
        assert status.text_content() == "step 0: nothing written yet; distance to the twin 0 (no kick yet)"
        page.get_by_role("button", name="One step forward").click()
        assert status.text_content().startswith("step 1: 100 % of the signs of the last output right; ")
        page.get_by_role("button", name="+100 steps").click()
        page.get_by_role("slider", name="Kick size").focus()
        page.keyboard.press("ArrowRight")
        page.get_by_role("combobox", name="Direction").select_option("within the memories")
        page.get_by_role("button", name="Kick").focus()
        page.keyboard.press("Enter")
        assert page.evaluate(state) == [101, [[101, 0.21, 1, 1]]]
        assert status.text_content() == f"step 101: {ALL_RIGHT}; distance to the twin 0.210 (kick 1: 0.21 at step 101)"
        page.get_by_role("button", name="+1000 steps").click()
        page.keyboard.press("k")
        assert page.evaluate(state) == [1101, [[101, 0.21, 1, 1], [1101, 0.21, 1, 2]]]
        assert status.text_content().endswith("(kick 2: 0.21 at step 1,101)")
        page.get_by_role("slider", name="Step").fill("600")  # between the two: the second has not happened
        assert status.text_content().endswith("(kick 1: 0.21 at step 101)")
        page.keyboard.press("K")
        assert page.evaluate(state) == [600, [[101, 0.21, 1, 1], [600, 0.21, 1, 2]]]
        page.get_by_role("button", name="Restart").click()
        assert page.evaluate(state) == [0, []]
        assert page.evaluate("window.saves") > 0


def test_the_key_kicks_only_from_within_and_where_it_types_nothing(browser):
    with rendered(browser, kicked()) as page:
        page.keyboard.press("k")
        page.get_by_role("combobox", name="Network").focus()
        page.keyboard.press("k")
        page.get_by_role("button", name="Kick").focus()
        page.keyboard.press("Control+k")
        assert page.evaluate("model.get('kicks')") == []
        assert page.get_by_role("button", name="Kick").get_attribute("aria-keyshortcuts") == "K"
        page.keyboard.press("k")
        assert len(page.evaluate("model.get('kicks')")) == 1


def test_it_plays_on_through_kicks_and_ends_at_its_last_step(browser):
    with rendered(browser, kicked(steps=12, start=2)) as page:
        page.get_by_role("button", name="Play").click()
        assert page.locator(".emt-status").get_attribute("aria-live") == "off"
        page.keyboard.press("k")
        page.wait_for_function("model.get('step') === 12")
        page.get_by_role("button", name="Play").wait_for()
        assert page.locator(".emt-status").get_attribute("aria-live") == "polite"
        assert len(page.evaluate("model.get('kicks')")) == 1
        page.get_by_role("button", name="+100 steps").click()
        assert page.evaluate("model.get('step')") == 12
        page.evaluate("model.set('step', 99)")
        assert page.evaluate("model.get('step')") == 12
        page.get_by_role("button", name="Play").click()  # from the start
        page.evaluate("cleanup()")
        at = page.evaluate("model.get('step')")
        page.wait_for_timeout(300)
        assert page.evaluate("model.get('step')") == at < 12


def test_the_other_network_gets_the_same_kicks(browser):
    kicks = [(4, 0.9, 1, 3), (30, 0.5)]
    with rendered(browser, kicked(kicks=kicks, start=60)) as page:
        status, network = page.locator(".emt-status"), page.get_by_role("combobox", name="Network")
        padded = [[4, 0.9, 1, 3], [30, 0.5, 0, 2]]
        assert page.evaluate("model.get('kicks')") == padded
        for which, name in enumerate(("analog", "digital", "wild")):
            network.select_option(name)
            run = ran(page, which, padded, 60)
            right = [(np.sign(run[way]) == run["right"])[-SHOWN:] for way in ("written", "twin")]
            share, twin = (100 * int(signs.sum()) // signs.size for signs in right)
            assert status.text_content().startswith(f"step 60: {share}{ALL_RIGHT[3:]}; distance to the twin ")
            assert distance(status) == pytest.approx(run["apart"][60], rel=0.051)
            assert status.text_content().endswith("(kick 2: 0.5 at step 30)")
            headings = page.locator(".emt-heading").all_text_contents()
            assert headings[0] == f"written by “{name}”, steps 29 to 60"
            assert headings[1] == f"its twin, never kicked: {twin} % right"


def distance(status):
    """What it says of it: to two digits or more."""
    return float(status.text_content().split("to the twin ")[1].split(" ")[0].replace("−", "-"))


def numbers(page, strip, kind, names):
    marks = page.locator(".emt-strip").nth(strip).locator(kind)
    return [tuple(float(mark.get_attribute(name)) for name in names) for mark in marks.all()]


@pytest.mark.parametrize("step", [0, 5, 32, 35, 50])  # at 35 a kick is at the edge
def test_a_strip_shows_the_last_outputs_and_frames_what_is_wrong(browser, step):
    kicks = [[3, 0.9, 0, 1], [40, 0.9, 0, 2]]
    with rendered(browser, kicked(wild(), kicks=kicks, start=step)) as page:
        run = ran(page, 0, kicks, 50)
        first = max(1, step - SHOWN + 1)
        for which, way in enumerate(("written", "twin")):
            shown, right = run[way][first - 1 : step], run["right"][first - 1 : step]
            assert len(numbers(page, which, ".emt-plus", "x")) == (shown >= 0).sum()
            assert len(numbers(page, which, ".emt-minus", ["cx"])) == (shown < 0).sum()
            frames = {(int(x // 10), int(y // 10)) for x, y in numbers(page, which, ".emt-cross", "xy")}
            assert frames == {(int(t), int(d)) for t, d in np.argwhere(np.sign(shown) != right)}
            sizes = sorted(width**2 / 64 for (width,) in numbers(page, which, ".emt-plus", ["width"]))
            np.testing.assert_allclose(sizes, np.sort(np.minimum(1, shown[shown >= 0])), atol=1e-12)
        edges = page.locator(".emt-strip").first.locator(".emt-changed")
        found = [float(edge.get_attribute("d").split()[0][1:]) / 10 + first - 1 for edge in edges.all()]
        assert found == [when for when, *_ in kicks if first - 1 <= when <= step]
        assert page.locator(".emt-strip").nth(1).locator(".emt-changed").count() == 0


@pytest.mark.parametrize("steps", [80, 3000])
def test_the_curve_is_the_distance_s_logarithm_and_has_a_mark_at_each_kick(browser, steps):
    kicks = [[20, 0.2, 1, 1], [60, 0.1, 1, 2]]
    with rendered(browser, kicked(DIGITAL, kicks=kicks, start=steps)) as page:
        apart = ran(page, 0, kicks, steps)["apart"]
        across, up = coordinates(page.locator(".emt-trace").get_attribute("points")).T
        extent = 100 if steps == 80 else 5000
        x = lambda t: 54 + 328 * np.asarray(t) / extent  # noqa: E731
        with np.errstate(divide="ignore"):
            powers = np.clip(np.log10(apart), -17, 1)
        assert apart[19] == 0  # which is drawn, at the floor
        y = 164 - (164 - 10) * (powers + 17) / 18
        if steps == 80:
            np.testing.assert_allclose(across, x(np.arange(81)), atol=1e-9)
            np.testing.assert_allclose(up, y, atol=1e-9)
        else:  # six steps a stretch: the extremes of each
            assert len(across) < 1300
            parts = np.split(y, range(6, steps + 1, 6))
            np.testing.assert_allclose(up[::2], [part.max() for part in parts], atol=1e-9)
            np.testing.assert_allclose(up[1::2], [part.min() for part in parts], atol=1e-9)
        marks = page.locator(".emt-curves g .emt-changed").evaluate_all("all => all.map((m) => m.getAttribute('d'))")
        np.testing.assert_allclose([float(d[1:].split()[0]) for d in marks[-2:]], x([20, 60]))
        cursor = page.locator(".emt-cursor").get_attribute("transform")
        assert float(cursor.split("(")[1].split()[0]) == pytest.approx(x(steps))
        rungs = page.locator(".emt-curves svg .emt-left").all_text_contents()
        assert rungs[0] == "0"
        assert {"10⁻¹⁵", "1"} <= set(rungs)


def test_a_press_into_the_curve_goes_to_its_step(browser):
    with rendered(browser, kicked(start=80, kicks=[(20, 0.2)])) as page:
        plot = page.locator(".emt-pick")
        for step in (20, 95):  # back, and further than it has run
            box = plot.bounding_box()
            page.mouse.click(box["x"] + box["width"] * (54 + 3.28 * step) / 400, box["y"] + box["height"] / 2)
            assert page.evaluate("model.get('step')") == step
            assert page.locator(".emt-status").text_content().startswith(f"step {step}: ")


def test_the_prose_says_which_network_is_kicked_when_and_how_far_it_runs(browser):
    widget = kicked(name="here")
    with rendered(browser, widget) as page:
        status = page.locator(".emt-status")
        press(page, "network=1&kicks=[[40,0.2]]&step=440", name="another")
        assert status.text_content().startswith("step 0: ")
        for _ in range(2):  # what it says is a whole run: pressing twice is pressing once
            press(page, "network=1&kicks=[[40,0.2]]&step=440&size=0.5&kind=2")
            run = ran(page, 1, [[40, 0.2, 0, 1]], 440)
            assert status.text_content().startswith(f"step 440: {ALL_RIGHT}; ")
            assert distance(status) == pytest.approx(run["apart"][440], rel=0.051, abs=0)
            assert status.text_content().endswith("(kick 1: 0.2 at step 40)")
        assert page.get_by_role("combobox", name="Network").locator("option:checked").text_content() == "digital"
        assert page.get_by_role("combobox", name="Direction").locator("option:checked").text_content() == (
            "outside the memories"
        )
        assert page.get_by_role("slider", name="Kick size").get_attribute("aria-valuetext") == "0.50 of the state"
        press(page, "kicks=[[430,0.2],[436,0.3]]")  # the second by the second direction
        run = ran(page, 1, [[430, 0.2, 0, 1], [436, 0.3, 0, 2]], 440)
        assert distance(status) == pytest.approx(run["apart"][440], rel=0.051)
        press(page, "network=9&kicks=[]&step=7")  # no such network: the last
        assert page.locator(".emt-heading").first.text_content() == "written by “wild”, steps 1 to 7"
        page.evaluate("cleanup()")
        now = status.text_content()
        press(page, "step=3")
        assert status.text_content() == now


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone_in_the_page_s_own_scheme_and_names_its_parts(browser, scheme):
    long = {**DIGITAL, "name": "trained with noise on a random task of low rank"}
    widget = kicked(ANALOG, long, start=9_999, kicks=[(40, 0.25)], caption="Kick it.")
    with rendered(browser, widget, color_scheme="light" if scheme == "dark" else "dark") as page:
        page.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
        page.get_by_role("combobox", name="Network").select_option(long["name"])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ground = page.locator(".emt-explorer").evaluate("element => getComputedStyle(element).backgroundColor")
        assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(26, 31, 37)")
        sizes = page.locator("button, select, input").evaluate_all(
            "all => all.map((b) => Math.min(b.getBoundingClientRect().width, b.getBoundingClientRect().height))"
        )
        assert min(sizes) >= 24
        said = page.locator(".emt-status").text_content()
        pictures = page.locator("svg[role=img]").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
        assert pictures[0] == f"Written by the network: {said}"
        assert pictures[1] == "its twin, never kicked: 100 % right"
        assert pictures[2].endswith(f"against the step; {said}")
        assert page.locator("input").first.get_attribute("aria-valuetext") == said
        page.locator("input").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator(".emt-status").text_content() != said


@pytest.mark.parametrize(
    "network",
    [
        {**wild(), "W_hh": np.zeros((N, N))},
        {**wild(), "W_hh": np.full((N, N), 1e3)},
        {**wild(), "W_uh": np.zeros((N, D)), "W_r": np.zeros((D, N))},
    ],
    ids=["forgets all", "saturates", "empty"],
)
def test_extreme_networks(browser, network):
    with rendered(browser, kicked(network, start=30, kicks=[(0, 1), (4, 1)])) as page:
        page.get_by_role("button", name="Kick").click()
        page.get_by_role("button", name="+100 steps").click()
        for word in ("NaN", "Infinity", "undefined"):
            assert word not in page.content()
        assert page.get_by_role("combobox", name="Network").count() == 0  # there is but one


def test_state_is_strict_json_and_carries_float32_exactly():
    widget = kicked()
    state = json.loads(json.dumps(widget.get_state(), allow_nan=False))
    for packed, network in zip(state["networks"], (ANALOG, DIGITAL, wild()), strict=True):
        assert packed.pop("name") == network["name"]
        frame = unpack(packed.pop("frame")).reshape(N, -1)
        rank = np.linalg.matrix_rank(network["basis"])
        assert frame.shape == (N, rank)
        np.testing.assert_allclose(frame.T @ frame, np.eye(rank), atol=1e-6)
        np.testing.assert_allclose(frame @ frame.T @ network["basis"], network["basis"], atol=1e-5)
        assert set(packed) == {"W_uh", "W_hh", "W_r", "operator"}
        for name, text in packed.items():
            np.testing.assert_array_equal(unpack(text), network[name].astype("f4").ravel())
    assert widget.inputs == np.ravel(SIGNS).tolist()
    tensors = {name: value if name == "name" else torch.from_numpy(value) for name, value in wild().items()}
    assert kicked(tensors).networks == kicked(wild()).networks
    default = kicked(initial=None).inputs
    assert set(default) == {-1, 1} and len(default) == S * D
    assert kicked(kicks=[(1, 0.5), (2, 0.5, 2), (3, 1, 0, 9)]).kicks == [[1, 0.5, 0, 1], [2, 0.5, 2, 2], [3, 1, 0, 9]]


def with_(**changes):
    return [ANALOG, {**DIGITAL, **changes}]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("networks", []),
        ("networks", [wild(str(i)) for i in range(5)]),
        ("networks", [wild(), wild()]),
        ("networks", [{**wild(), "name": ""}]),
        (r"networks\[0\]\['W_r'\]", [{}]),
        (r"networks\[0\]\['operator'\]", [{**wild(), "W_r": np.zeros((0, N)), "operator": np.zeros((0, S))}]),
        (r"networks\[0\]\['operator'\]", [{**wild(), "operator": np.zeros((D, S * D + 1))}]),
        (r"networks\[0\]\['operator'\]", [{**wild(), "operator": np.zeros((D, 0))}]),
        (r"networks\[1\]\['W_uh'\]", with_(W_uh=np.zeros((N, D + 1)))),
        (r"networks\[1\]\['W_hh'\]", with_(W_hh=np.zeros((N, N + 1)))),
        (r"networks\[1\]\['W_hh'\]", with_(W_hh=np.full((N, N), np.nan))),
        (r"networks\[1\]\['W_r'\]", with_(W_r=np.zeros((D + 1, N)))),
        (r"networks\[1\]\['operator'\]", with_(operator=np.zeros((D, S * D + D)))),
        (r"networks\[1\]\['basis'\]", with_(basis=())),
        (r"networks\[1\]\['basis'\]", with_(basis=np.zeros((N, 2)))),
        (r"networks\[1\]\['basis'\]", with_(basis=np.zeros((N, 0)))),
        (r"networks\[1\]\['basis'\]", with_(basis=np.eye(N))),
        (r"networks\[1\]\['basis'\]", with_(basis=np.full((N, 2), np.inf))),
        ("initial", np.zeros((S, D))),
        ("initial", np.ones((D, S))),
        ("steps", 0),
        ("start", -1),
        ("start", 10_001),
        ("kicks", [(1,)]),
        ("kicks", [(1, 0.1, 0, 1, 1)]),
        ("kicks", [(-1, 0.1)]),
        ("kicks", [(1.5, 0.1)]),
        ("kicks", [(10_001, 0.1)]),
        ("kicks", [(1, 1.1)]),
        ("kicks", [(1, np.nan)]),
        ("kicks", [(1, 0.1, 3)]),
        ("kicks", [(1, 0.1, 0, 0)]),
    ],
)
def test_bad_arguments_are_named(name, value):
    changes = {"networks": value} if name.startswith("networks") else {"networks": [ANALOG], name: value}
    with pytest.raises(ValueError, match=name):
        memory_explorers.memory_kicks(**changes)
