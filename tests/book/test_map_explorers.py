"""The map of all networks: dots stand where their numbers say, groups come and go, and each shows its own layers."""

import json

import numpy as np
import pytest
import test_explorers
import torch
from test_explorers import rendered, unpack
from test_set_from_prose import press

from emt_core.book.figures.law import CORNERS, PLACES
from emt_core.book.map_explorers import network_map

browser = test_explorers.browser
L = 4
GROUPS = {"GRU": 3, "Elman": 2, "positive decays": 2}


def network(name, group, rng, length=L):
    overlaps = rng.uniform(0, 1, size=(length, length))
    overlaps = (overlaps + overlaps.T) / 2
    np.fill_diagonal(overlaps, 1)
    return {
        "name": name,
        "group": group,
        "place": rng.dirichlet([1, 1, 1]),
        "overlaps": overlaps,
        "sizes": rng.uniform(0.01, 3, size=length),
        "numbers": {"units n": 64, "exact match": 0.9312},
        "link": (f"Chapter: {group}", f"{group}.html"),
    }


def networks():
    rng = np.random.default_rng(0)
    made = [network(f"{group} {k}", group, rng) for group, count in GROUPS.items() for k in range(count)]
    del made[1]["numbers"], made[1]["link"]
    return [made[k] for k in (3, 0, 5, 1, 4, 2, 6)]  # groups need not come one after the other


def changed(**changes):
    """The map with other values in its second network."""
    given = networks()
    given[1] = {**given[1], **changes}
    return network_map([{key: value for key, value in one.items() if value is not ...} for one in given])


def between(one):
    """Mean over pairs of different positions."""
    return one["overlaps"][~np.eye(len(one["overlaps"]), dtype=bool)].mean()


def ratio(one):
    return one["sizes"][-1] / one["sizes"][0]


def spots(page):
    """Where the dots are, by name."""
    found = page.locator(".emt-network").evaluate_all(
        "all => all.map((dot) => [dot.getAttribute('aria-label').split(': ')[0], dot.style.transform])"
    )
    return {name: [float(x) for x in text[10:-1].replace("px", "").split(",")] for name, text in found}


def in_sight(page):
    dots = page.locator(".emt-network:not([display=none])")
    return dots.evaluate_all("all => all.map((dot) => dot.getAttribute('aria-label').split(': ')[0])")


def dot(page, name):
    return page.get_by_role("button", name=f"{name}: ")


def told(one):
    shares = [f"{word} {round(100 * x)}\u00a0%" for word, x in zip(("rotate", "route", "shrink"), one["place"])]  # noqa: B905
    return f"{one['name']}: {', '.join(shares)}"  # the name begins with the group


def test_a_dot_stands_where_its_shares_put_it_and_in_the_second_view_where_overlap_and_size_do(browser):
    given = networks()
    with rendered(browser, network_map(given)) as page:
        found = spots(page)
        assert set(found) == {one["name"] for one in given}
        # the static picture's triangle, turned over since a page counts from its top
        ours = np.array([one["place"] @ PLACES for one in given]) * [1, -1]
        theirs = np.array([found[one["name"]] for one in given])
        design = np.column_stack([ours, np.ones(len(ours))])
        scale, *_ = np.linalg.lstsq(design, theirs, rcond=None)
        np.testing.assert_allclose(design @ scale, theirs, atol=1e-3)
        np.testing.assert_allclose(scale[:2], scale[0, 0] * np.eye(2), atol=1e-3)  # as high as wide
        assert scale[0, 0] > 300
        words = page.locator(".emt-corner")
        assert words.all_text_contents() == list(CORNERS)
        at = [[float(text.get_attribute(name)) for name in "xy"] for text in words.all()]
        assert at[0][0] < 200 < at[1][0] and at[0][1] == at[1][1] > at[2][1] and at[2][0] == 200

        page.get_by_role("button", name="overlap × size").click()
        assert page.evaluate("model.get('view')") == "size"
        assert not words.first.is_visible()
        moved = np.array([spots(page)[one["name"]] for one in given])
        for numbers, places, way in (
            ([between(one) for one in given], moved[:, 0], 1),
            ([np.log10(ratio(one)) for one in given], moved[:, 1], -1),
        ):
            slope, start = np.polyfit(numbers, places, 1)
            np.testing.assert_allclose(start + slope * np.array(numbers), places, atol=1e-3)
            assert way * slope > 0
        page.get_by_role("button", name="triangle").click()
        assert spots(page) == found and words.first.is_visible()


def test_the_chosen_network_is_ringed_told_and_shows_its_layers(browser):
    given = networks()
    with rendered(browser, network_map(given)) as page:
        status, ring = page.locator(".emt-status"), page.locator(".emt-ring")
        for i, one in enumerate(given):
            page.evaluate(f"model.set('network', {i})")  # as the kernel would
            assert status.text_content().startswith(f"{told(one)}; mean overlap {between(one):#.3g}, size of the last")
            assert float(status.text_content().split()[-1]) == pytest.approx(ratio(one), rel=0.006)
            assert ring.evaluate("ring => ring.style.transform") == dot(page, one["name"]).evaluate(
                "dot => dot.style.transform"
            )
            pressed = page.locator('.emt-network[aria-pressed="true"]')
            assert pressed.count() == 1 and pressed.get_attribute("aria-label") == told(one)
            assert page.locator(".emt-heading").first.text_content() == one["name"]
            # the heat map, its text, and the table
            levels = page.locator(".emt-heat").evaluate_all(
                "all => all.map((cell) => parseFloat(cell.style.getPropertyValue('--level')))"
            )
            np.testing.assert_allclose(levels[: L * L], 100 * one["overlaps"].ravel(), atol=0.051)
            np.testing.assert_allclose(levels[L * L :], np.arange(11) * 10)  # its scale
            said = page.locator(".emt-matrix svg").get_attribute("aria-label")
            neighbours, ends = np.diagonal(one["overlaps"], 1).mean(), one["overlaps"][0, -1]
            assert f"mean {between(one):#.3g}; of neighbours {neighbours:#.3g}; of the first and" in said
            assert f"the last {ends:#.3g}." in said
            rows = page.locator("tbody tr, tr").evaluate_all(
                "all => all.slice(1).map((row) => [...row.querySelectorAll('td')].map((cell) => cell.textContent))"
            )
            table = np.array(rows, dtype=float)
            np.testing.assert_allclose(table[:, :L], 100 * one["overlaps"], atol=0.501)
            np.testing.assert_allclose(table[:, L], one["sizes"] / one["sizes"][0], rtol=0.006, atol=0.00501)
            numbers = page.locator("dl div").all_text_contents()
            assert numbers == (["units n64", "exact match0.931"] if "numbers" in one else [])
            link = page.locator(".emt-explorer a")
            assert link.is_visible() == ("link" in one)
            if "link" in one:
                assert (link.text_content(), link.get_attribute("href")) == one["link"]
        page.evaluate("model.set('network', 99)")  # no such network: the last one
        assert status.text_content().startswith(told(given[-1]))


def test_sizes_are_drawn_over_the_first_from_zero_or_on_a_logarithmic_scale(browser):
    given = networks()
    with rendered(browser, network_map(given)) as page:
        curve, scale = page.locator("polyline.emt-trace"), page.get_by_role("button", name="log scale")
        relative = given[0]["sizes"] / given[0]["sizes"][0]
        for log in (False, True):
            drawn = test_explorers.coordinates(curve.get_attribute("points"))
            values = np.log10(relative) if log else relative
            slope, start = np.polyfit(values, drawn[:, 1], 1)
            np.testing.assert_allclose(start + slope * values, drawn[:, 1], atol=1e-3)
            assert slope < 0
            assert log or start == pytest.approx(170 - 26)  # zero is at the floor
            assert scale.get_attribute("aria-pressed") == str(log).lower()
            scale.click()
        assert page.evaluate("model.get('log')") is False
        said = page.locator("svg:has(> .emt-trace)").get_attribute("aria-label")
        assert said.startswith(f"Size of each layer over the first, by position: 1, {relative[1]:#.3g}, ")


def test_groups_come_and_go_but_the_chosen_network_stays(browser):
    given = networks()
    everyone = {one["name"] for one in given}
    with rendered(browser, network_map(given, start="GRU 0")) as page:
        legend = page.get_by_role("group", name="Groups in sight").get_by_role("button")
        assert legend.all_text_contents() == ["Elman", "GRU", "positive decays", "hide all"]  # as they first come
        gru = page.get_by_role("button", name="GRU", exact=True)
        assert gru.get_attribute("aria-pressed") == "true" and set(in_sight(page)) == everyone
        gru.click()
        assert gru.get_attribute("aria-pressed") == "false"
        assert set(in_sight(page)) == everyone - {"GRU 1", "GRU 2"}  # GRU 0 is chosen
        assert page.evaluate("model.get('shown')") == ["Elman", "positive decays"]
        picture = page.locator("svg[role=group]")
        assert picture.get_attribute("aria-label").startswith("5 of 7 networks, in a triangle with the corners rotate")
        page.get_by_role("button", name="show all").click()
        assert set(in_sight(page)) == everyone
        page.get_by_role("button", name="hide all").click()
        assert in_sight(page) == ["GRU 0"] and page.locator(".emt-network[tabindex='0']").is_visible()
        gru.focus()
        page.keyboard.press("Space")
        assert set(in_sight(page)) == {"GRU 0", "GRU 1", "GRU 2"}
        key = page.locator(".emt-printed")  # on paper, where buttons are not
        assert not key.is_visible()
        page.emulate_media(media="print")
        assert key.is_visible() and key.locator("span").all_text_contents() == ["Elman", "GRU", "positive decays"]
        page.emulate_media(media="screen")
        page.evaluate("model.set('shown', ['Elman', 'no such group'])")  # as the kernel would
        assert set(in_sight(page)) == {"GRU 0", "Elman 0", "Elman 1"}


def test_arrows_go_from_network_to_network_and_from_group_to_group(browser):
    given = networks()
    names = [
        sorted((one for one in given if one["group"] == group), key=lambda one: one["place"][2])
        for group in ("Elman", "GRU", "positive decays")
    ]
    order = [one["name"] for some in names for one in some]
    with rendered(browser, network_map(given, start=order[0])) as page:

        def here():
            return page.evaluate("document.activeElement.getAttribute('aria-label')").split(": ")[0]

        page.locator(".emt-network[tabindex='0']").focus()
        seen = [here()]
        for _ in order:  # one step too many: the last one stays
            page.keyboard.press("ArrowRight")
            seen.append(here())
            assert page.locator(".emt-network[tabindex='0']").count() == 1
        assert seen == [*order, order[-1]]
        page.keyboard.press("ArrowLeft")
        assert here() == order[-2]
        page.keyboard.press("Home")
        page.keyboard.press("ArrowDown")
        assert here() == names[1][0]["name"]
        assert page.locator(".emt-heading").first.text_content().startswith(here())  # what has the focus is shown
        assert page.evaluate("model.get('network')") == [one["name"] for one in given].index(order[0])
        page.keyboard.press("Enter")
        assert given[page.evaluate("model.get('network')")]["name"] == here() == names[1][0]["name"]
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        assert page.locator(".emt-status").text_content().startswith(told(names[1][1]))
        page.evaluate("model.set('shown', ['positive decays'])")
        page.keyboard.press("ArrowDown")
        assert here() == names[2][0]["name"]
        page.keyboard.press("ArrowUp")  # the chosen one, whose group is not shown
        assert here() == names[1][1]["name"]
        page.keyboard.press("End")
        assert here() == order[-1]
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "log scale"
        assert page.locator(".emt-heading").first.text_content().startswith(names[1][1]["name"])  # the chosen one again


def test_the_pointer_shows_a_network_and_a_press_chooses_it(browser):
    given = networks()
    given[0]["place"], given[1]["place"] = [1, 0, 0], [0, 0, 1]
    for one in given[2:]:
        one["place"] = [0, 1, 0]
    with rendered(browser, network_map(given)) as page:
        heading, name = page.locator(".emt-heading").first, page.locator(".emt-over text")
        dot(page, given[1]["name"]).hover()
        assert heading.text_content().startswith(given[1]["name"]) and name.text_content() == given[1]["name"]
        assert page.locator(".emt-status").text_content().startswith(told(given[0]))  # only pressing chooses
        page.mouse.move(0, 0)
        assert heading.text_content().startswith(given[0]["name"])
        dot(page, given[1]["name"]).click()
        assert page.evaluate("model.get('network')") == 1
        box = page.locator("svg[role=group]").bounding_box()
        unit = box["width"] / 400
        x, y = spots(page)[given[0]["name"]]
        page.mouse.click(box["x"] + (x + 60) * unit, box["y"] + (y - 60) * unit)  # far from all of them
        assert page.evaluate("model.get('network')") == 1
        page.mouse.click(box["x"] + (x + 17) * unit, box["y"] + (y - 12) * unit)  # a finger is wide
        assert page.evaluate("model.get('network')") == 0
        page.get_by_role("button", name=given[0]["group"], exact=True).click()
        dot(page, given[1]["name"]).click()
        page.mouse.click(box["x"] + x * unit, box["y"] + y * unit)  # where a dot was
        assert page.evaluate("model.get('network')") == 1


def test_prose_names_a_network_groups_and_a_view(browser):
    widget = network_map(networks(), name="here")
    assert widget.network == 0
    with rendered(browser, widget) as page:
        press(page, "network=GRU 1&shown=[&quot;GRU&quot;]&view=size&log=true")
        assert page.locator(".emt-status").text_content().startswith("GRU 1: ")
        assert set(in_sight(page)) == {"GRU 0", "GRU 1", "GRU 2"}
        assert page.evaluate("['network', 'shown', 'view', 'log'].map((name) => model.get(name))") == [
            3,
            ["GRU"],
            "size",
            True,
        ]
        press(page, "network=6")
        assert page.locator(".emt-status").text_content().startswith("positive decays 1: ")
        page.evaluate("cleanup()")
    with (
        pytest.raises(AssertionError, match="explorer here: got network=nobody"),
        rendered(browser, widget) as page,
    ):
        press(page, "network=nobody")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000])
def test_fits_a_phone_at_its_largest(browser, scheme, width):
    rng = np.random.default_rng(1)
    given = [network(f"group {k}, 4096 units", f"group {k}", rng, 12) for k in range(16)]
    for one, place in zip(given, np.eye(3), strict=False):
        one["place"] = place
    with rendered(browser, network_map(given, caption="A caption."), color_scheme=scheme) as page:
        page.set_viewport_size({"width": width, "height": 900})
        page.locator("summary").click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        table, pair = (page.locator(some).bounding_box() for some in ("table", ".emt-pair"))
        assert table["width"] <= pair["width"]
        sizes = page.locator("button").evaluate_all("all => all.map((b) => b.getBoundingClientRect().height)")
        assert min(sizes) >= 24
        frame = page.locator("svg[role=group]").bounding_box()
        for text in page.locator(".emt-corner").all():
            box = text.bounding_box()
            assert frame["x"] - 3 <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"] + 3  # its halo
        left, right = (page.locator(".emt-corner").nth(k).bounding_box() for k in (0, 1))
        assert left["x"] + left["width"] < right["x"]
        # without colour: a shape for each, hollow from the ninth on
        looks = page.locator(".emt-network .emt-mark").evaluate_all(
            "all => all.map((mark) => mark.getAttribute('d') + mark.classList.contains('emt-hollow'))"
        )
        assert len(set(looks)) == 16
        page.get_by_role("button", name="overlap × size").click()
        page.evaluate("model.set('log', true)")
        assert "NaN" not in page.content() and "Infinity" not in page.content()


def test_two_equal_networks_of_two_positions_are_drawn(browser):
    """The least there can be: no range of sizes, no range of overlaps."""
    one = {"group": "a", "place": [0, 0, 1], "overlaps": np.ones((2, 2)), "sizes": [1, 1]}
    with rendered(browser, network_map([{**one, "name": "b"}, {**one, "name": "a"}])) as page:
        assert page.locator(".emt-heading").first.text_content() == "b (a)"
        for view in ("size", "triangle"):
            page.evaluate(f"model.set('view', '{view}'); model.set('log', true)")
            assert "NaN" not in page.content() and "Infinity" not in page.content()
        page.evaluate("model.set('network', 1)")
        assert page.locator(".emt-heading").first.text_content() == "a"  # its group has its name


def test_state_is_strict_json_and_carries_what_was_given():
    given = networks()
    given[0]["overlaps"] = torch.from_numpy(given[0]["overlaps"]).float() * (1 + 2e-7)  # as float32 rounds a cosine
    given[0]["place"] = torch.tensor(given[0]["place"])
    widget = network_map(given, start="GRU 1", caption="All.")
    state = json.loads(json.dumps(widget.get_state(), allow_nan=False))
    assert state["network"] == 3 and state["shown"] == ["Elman", "GRU", "positive decays"]
    for one, drawn in zip(given, state["networks"], strict=True):
        assert (drawn["name"], drawn["group"]) == (one["name"], one["group"])
        np.testing.assert_allclose(drawn["place"], one["place"])
        np.testing.assert_allclose(unpack(drawn["overlaps"]), np.ravel(one["overlaps"]), atol=1e-6)
        np.testing.assert_array_equal(unpack(drawn["sizes"]), one["sizes"].astype("f4"))
    assert unpack(state["networks"][0]["overlaps"]).max() == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("place", [0.5, 0.5]),
        ("place", [0.5, 0.5, 0.1]),
        ("place", [1.1, 0, -0.1]),
        ("place", [np.nan, 0.5, 0.5]),
        ("overlaps", np.ones((L, L + 1))),
        ("overlaps", np.full((L, L), np.nan)),
        ("overlaps", np.full((L, L), -0.1)),
        ("overlaps", np.full((L, L), 1.1)),
        ("overlaps", np.triu(np.ones((L, L)))),
        ("sizes", [1.0]),
        ("sizes", np.ones(13)),
        ("sizes", [1, 1, 1, 0]),
        ("sizes", [1, 1, 1, np.inf]),
        ("numbers", {"capacity": np.nan}),
        ("link", ("text",)),
    ],
)
def test_bad_networks_are_named(key, value):
    with pytest.raises(ValueError, match=rf"^networks\[1\]\['{key}'\]: got "):
        changed(**{key: value})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network_map([]), "^networks: got none"),
        (lambda: changed(name="Elman 1"), "^networks: got the name 'Elman 1' twice"),
        (lambda: changed(sizes=...), r"^networks\[1\]: got \['group', "),
        (lambda: changed(size=[1, 2]), r"^networks\[1\]: got \['group', "),
        (lambda: network_map(networks(), start="nobody"), "^start: got 'nobody', expected the name of a network"),
        (lambda: network_map([{**one, "group": one["name"]} for one in many()]), "^networks: got 17 groups"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def many():
    rng = np.random.default_rng(2)
    return [network(str(k), "", rng) for k in range(17)]
