"""A memory in bits, in a real Chromium: its numbers are torch's bit by bit, its bound is the theory's."""

import json
import math
import re

import pytest
import test_explorers
import torch
from oracles import generators
from test_explorers import rendered
from test_set_from_prose import press

from emt_core.book.bits_explorers import memory_bits
from emt_core.support.formats import FORMATS, rounded, spacing
from emt_core.theory import onion
from emt_core.theory.onion import Onion, hand_built

browser = test_explorers.browser

DTYPES = {
    "fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16,
    "fp8_e5m2": torch.float8_e5m2, "fp8_e4m3": torch.float8_e4m3fn,
}  # fmt: skip
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes
CODES = {
    "grid": hand_built(4, 2), "three a side": hand_built(9, 2), "one-hot": hand_built(5, 5, 0.4, "one-hot"),
    "circle": hand_built(6, 2, 0.3, "circle"), "random": hand_built(8, 4, 0.25, "random"),
}  # fmt: skip
each_form = pytest.mark.parametrize("form", FORMATS)
each_code = pytest.mark.parametrize("kind", CODES)
LENGTH = 12


@pytest.fixture(scope="module")
def page(browser):
    """One for all that is computed outside the view."""
    with rendered(browser, memory_bits(CODES["grid"])) as page:
        yield page


def explorer(**changes):
    return memory_bits(**{"onion": CODES["grid"], "length": LENGTH, **changes})


def in_page(page, code, *given):
    return page.evaluate(f"(given) => {code}", list(given))


def page_format(form):
    return next(entry for entry in explorer().formats if entry["name"] == form)


def trials(form):
    """Numbers over all exponents of the format and beyond them, its own, half-way ones, and those just beside."""
    f, g = FORMATS[form], generators(0)[0]
    least, most = f.least - f.mantissa - 3, math.frexp(f.largest)[1] + 2
    exponents = torch.randint(max(least, -1074), min(most, 1023), (600,), generator=g)
    own = rounded(torch.ldexp(1 + torch.rand(600, dtype=torch.float64, generator=g), exponents), form, saturate=True)
    half = own + spacing(own, form) / 2
    x = torch.cat([own, half, torch.tensor([0.0, f.largest, 2.0**f.least, math.inf]), torch.rand(200, generator=g)])
    x = torch.cat([x, torch.nextafter(x, torch.zeros_like(x)), torch.nextafter(x, torch.full_like(x, math.inf))])
    return torch.cat([x, -x])


def rounded_in(page, x, form):
    found = in_page(page, "given[0].map((x) => module.round(x, given[1]))", x.tolist(), page_format(form))
    return torch.tensor(found, dtype=torch.float64)


def same(found, want):
    return torch.equal(found, want) and torch.equal(torch.signbit(found), torch.signbit(want))


def sequences(kind, count=40, length=24):
    return torch.randint(len(CODES[kind].embedding), (length, count), generator=generators(1)[0])


# --- numbers ----------------------------------------------------------------------------------------------------------


@each_form
def test_the_page_rounds_to_the_nearest_and_saturates(page, form):
    x = trials(form)
    assert same(rounded_in(page, x, form), rounded(x, form, saturate=True))


@pytest.mark.parametrize("form", [form for form in DTYPES if form != "fp64"])
def test_from_float32_it_rounds_as_torch_does(page, form):
    """Torch goes from float64 to the short formats over float32, which rounds twice; from float32 it rounds once."""
    largest = FORMATS[form].largest
    x = trials(form).float()
    x = x[x.isfinite()]
    want = x.to(DTYPES[form]).double()
    want = torch.where(want.isfinite(), want, largest * x.sign().double()).clamp(-largest, largest)
    assert same(rounded_in(page, x, form), want)


BITS = """given[0].map((x) => {
  const { sign, exponent, mantissa } = module.bitsOf(x, given[1]);
  return [sign, ...exponent, ...mantissa].join("");
})"""


@each_form
def test_its_bits_are_those_in_memory(page, form):
    x = rounded(trials(form), form, saturate=True)[::3]
    written = in_page(page, BITS, x.tolist(), page_format(form))
    dtype = DTYPES.get(form, torch.float32)  # tf32 is float32 without its last 13 bits
    width = 8 * dtype.itemsize
    patterns = [pattern % 2**width for pattern in x.to(dtype).view(INTEGERS[dtype.itemsize]).tolist()]
    assert written == [f"{pattern:0{width}b}"[: len(own)] for pattern, own in zip(patterns, written, strict=True)]
    assert len(written[0]) == (19 if form == "tf32" else width)


def test_spacing_is_that_of_the_formats(page):
    x = torch.tensor([1.0, 1.99, 2.0, 0.03, 1e-5, 300.0])
    for form in FORMATS:
        got = in_page(page, "given[0].map((x) => module.spacing(x, given[1]))", x.tolist(), page_format(form))
        assert torch.equal(torch.tensor(got, dtype=torch.float64), spacing(x.double(), form))


# --- codes ------------------------------------------------------------------------------------------------------------

WRITE = """given[0].map((tokens) => {
  const [, code, embedding, gamma, format] = given;
  const state = module.write(code, embedding, tokens, gamma, format);
  return { state, tokens: module.read(code, embedding, state, gamma, tokens.length) };
})"""


def written(page, code, tokens, kind, form):
    own = CODES[kind]
    got = in_page(page, WRITE, tokens.T.tolist(), code, own.embedding.tolist(), own.gamma, page_format(form))
    states = torch.tensor([one["state"] for one in got], dtype=torch.float64)
    return states, torch.tensor([one["tokens"] for one in got]).T


@each_form
@each_code
def test_an_onion_is_written_and_peeled_as_in_theory(page, kind, form):
    own, tokens = CODES[kind], sequences(kind)
    states, found = written(page, "onion", tokens, kind, form)
    want = torch.zeros_like(states)
    for p, row in enumerate(tokens):  # the rule, rounded once
        want = rounded(want + rounded(own.gamma**p * own.embedding[row], form), form)
    # powers may differ in their last place, between two libraries: seen only in fp64, at most 24 · 2^-53
    torch.testing.assert_close(states, want, rtol=0, atol=3e-15 if form == "fp64" else 0)
    if form in DTYPES:
        torch.testing.assert_close(
            states, onion.encode(own, tokens, dtype=DTYPES[form]), rtol=0, atol=3e-15 if form == "fp64" else 0
        )
    assert torch.equal(found, onion.decode(own, states, len(tokens)))
    assert form in ("fp64", "fp32") or (found != tokens).any()


@each_form
@each_code
def test_phases_are_a_cyclic_shift_of_blocks(page, kind, form):
    embedding, tokens = CODES[kind].embedding, sequences(kind)
    states, found = written(page, "phases", tokens, kind, form)
    N = embedding.shape[1]
    h = torch.zeros_like(states)
    for row in tokens:
        h = h.roll(N, 1)
        h[:, :N] = rounded(h[:, :N] + rounded(embedding[row], form), form)
    turned = h.unflatten(1, (-1, N)).flip(1).flatten(1)  # the newest block comes first
    assert torch.equal(states, turned)
    given = ["phases", embedding.tolist(), 0.5, page_format(form), 0.5]
    any_length = page.evaluate("(given) => module.sure(...given) === Infinity", given)
    assert not any_length or torch.equal(found, tokens)
    assert any_length or form.startswith("fp8")  # coarse numbers may not tell near tokens apart


@each_code
def test_the_bound_is_the_theory_s(page, kind):
    embedding = CODES[kind].embedding
    exact = onion.exact_gamma_bound(embedding)
    gammas = [0.1, 0.2, 0.25, 1 / 3, 0.4, 0.5, 0.7, 0.95, exact, math.nextafter(exact, 1), exact + 1e-9]
    for form, dtype in DTYPES.items():
        got = page.evaluate(
            "([gammas, e, f, exact]) => gammas.map((gamma) => module.sure('onion', e, gamma, f, exact))",
            [gammas, embedding.tolist(), page_format(form), exact],
        )
        assert got == [onion.layer_bound(Onion(embedding, gamma), dtype)["sure"] for gamma in gammas]
    assert any(got) and not got[-1]


def test_a_longer_sequence_of_a_seed_goes_on_from_a_shorter_one(page):
    rows = page.evaluate("Array.from({ length: 200 }, (_, seed) => module.tokensOf(seed, 24, 4))")
    assert page.evaluate("module.tokensOf(7, 9, 4)") == rows[7][:9]
    assert len(set(map(tuple, rows))) == 200
    counts = torch.tensor(rows).flatten().bincount(minlength=4)
    # of 4,800 draws each token has 1,200 ± 30 (standard deviation)
    assert ((counts - 1200).abs() < 5 * 30).all()


# --- the view ---------------------------------------------------------------------------------------------------------


def outcome(page, widget, form, gamma, length):
    """By theory: tokens, what is read, and how many are right before the first error."""
    own = Onion(torch.tensor(widget.embedding, dtype=torch.float64), gamma)
    tokens = torch.tensor(page.evaluate(f"module.tokensOf({widget.seed}, {length}, {len(widget.embedding)})"))
    read = onion.decode(own, onion.encode(own, tokens[:, None], dtype=DTYPES[form]), length)[:, 0]
    wrong = (tokens != read).nonzero().flatten().tolist()
    return own, tokens.tolist(), read.tolist(), wrong[0] if wrong else length


def rows(page):
    """Texts of the rows under the bars, their names left out."""
    lines: dict[str, list[str]] = {}
    texts = "all => all.map((text) => [text.getAttribute('y'), text.textContent])"
    for y, text in page.locator(".emt-bits svg[role=img] .emt-small").evaluate_all(texts):
        lines.setdefault(y, []).append(text)
    return {line[0]: line[1:] for line in lines.values() if line[0] in ("position", "written", "read")}


@pytest.mark.parametrize("gamma", [0.45, 0.5, 0.8])
def test_the_sentence_and_the_marks_are_the_theory_s(browser, gamma):
    widget = explorer(onion=Onion(CODES["grid"].embedding, gamma))
    with rendered(browser, widget) as page:
        status, menu = page.locator(".emt-status"), page.get_by_role("combobox", name="Format")
        for form, dtype in DTYPES.items():
            menu.select_option(index=list(FORMATS).index(form))
            assert page.evaluate("model.get('form')") == form
            own, tokens, read, first = outcome(page, widget, form, gamma, LENGTH)
            known = onion.layer_bound(own, dtype)["sure"]
            promise = "none, as γ is above 0.50" if gamma > 0.5 else f"sequences of up to {known}"
            said = status.text_content()
            title = form.replace("_", " ")
            assert said.startswith(f"{first} of 12 tokens survive in {title}; the bound promises {promise}.")
            assert ("First error" in said) == (first < LENGTH)
            if first < LENGTH:
                wrong, asked = ("ABCD"[some[first]] for some in (read, tokens))
                cause = "smaller layers outweigh it" if gamma > 0.5 else "rounding moved the state"
                assert f"First error at position {first}, {wrong} for {asked}: {cause}" in said
            later = [p for p in range(first + 1, LENGTH) if read[p] == tokens[p]]
            assert ("more match" in said) == bool(later) and (not later or f"After it {len(later)} more" in said)
            held, match, lost = (page.locator(f".emt-{kind}").count() for kind in ("held", "match", "lost"))
            assert (held, match, lost) == (first, len(later), LENGTH - first - len(later))
            letters = [["ABCD"[token] for token in some] for some in (tokens, read)]
            assert [rows(page)[name] for name in ("written", "read")] == letters
            picture = page.locator(".emt-bits svg[role=img]").get_attribute("aria-label")
            assert picture.count("read wrongly") == lost
            assert page.locator(".emt-bits svg .emt-wrong").count() == 2 * lost  # its cross and its letter
            assert first == LENGTH or known < LENGTH


STATE = """() => {
  const [code, embedding, gamma, form] = ["code", "embedding", "gamma", "form"].map(model.get);
  const format = model.get("formats").find(({ name }) => name === form);
  return module.write(code, embedding, module.tokensOf(0, model.get("length"), embedding.length), gamma, format);
}"""


@pytest.mark.parametrize(("code", "form"), [("onion", "fp64"), ("onion", "bf16"), ("phases", "fp8_e4m3")])
def test_bars_and_water_stand_at_their_sizes(browser, code, form):
    gamma = 0.35
    with rendered(browser, explorer(onion=Onion(CODES["grid"].embedding, gamma), form=form, code=code)) as page:
        tops = [float(bar.get_attribute("y")) for bar in page.locator("rect").all()]
        path = page.locator(".emt-surface").get_attribute("d")
        surface = float(re.match(r"M54 ([\d.]+)q", path)[1])
        rungs = {}
        for text in page.locator("svg[role=img] .emt-left:not(.emt-small)").all():
            name = text.text_content().translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
            assert name.startswith("2")
            rungs[int(name[1:])] = float(text.get_attribute("y")) - 5
        heading = page.locator(".emt-heading").first.text_content()
        state = page.evaluate(STATE)
    step = float(spacing(torch.tensor(max(map(abs, state))).double(), form))
    low, high = min(rungs), max(rungs)

    def height(size):
        return rungs[high] + (rungs[low] - rungs[high]) * (math.log2(size) - high) / (low - high)

    sizes = [1.0 if code == "phases" else gamma**p for p in range(LENGTH)]
    # places in the picture are computed in float64 and written in full
    assert tops == pytest.approx([height(size) for size in sizes], abs=1e-9)
    assert surface == pytest.approx(height(step), abs=1e-9)
    power = str(int(math.log2(step))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    assert heading.endswith(f"rounding step, 2{power}")


def test_the_state_s_bits_with_what_was_rounded_off(browser):
    """Alternating signs at γ = 1/2: layers by themselves are powers of two, so that bits can be done by hand."""
    widget = explorer(onion=hand_built(2, 1), length=6, form="fp8_e5m2")
    with rendered(browser, widget) as page:
        tokens = page.evaluate("module.tokensOf(0, 6, 2)")
        exact = sum((2 * token - 1) / 2**p for p, token in enumerate(tokens))
        state = 0.0
        for p, token in enumerate(tokens):
            state = float(torch.tensor(state + (2 * token - 1) / 2**p).to(torch.float8_e5m2))
        assert state != exact
        told, row = page.locator(".emt-number").evaluate_all("all => [all[0].previousSibling.textContent, all.length]")
        assert row == 1
        assert told == f"number 1 of 1: {state:g}, {abs(state - exact):.2g} from the sum without rounding".replace(
            "-", "−"
        )
        groups = page.locator(".emt-number > div")
        texts = [" ".join(group.locator("b").all_text_contents()) for group in groups.all()]
        names = groups.evaluate_all("all => all.map((group) => group.lastChild.textContent)")
        assert names == ["sign", "exponent", "mantissa", "rounded off"]
        pattern = f"{torch.tensor(state).to(torch.float8_e5m2).view(torch.uint8).item():08b}"
        assert texts[0] == ("−" if pattern[0] == "1" else "+")
        assert texts[1] == " ".join(pattern[1:6])
        assert texts[2] == " ".join(["1.", *pattern[6:]])
        place = math.frexp(state)[1] - 1
        digits = [int(abs(exact) / 2.0 ** (place - k)) % 2 for k in range(9)]
        assert texts[3] == " ".join(map(str, digits[3:]))
        changed = page.locator("b.emt-changed").count()
        assert changed == sum(a != b for a, b in zip([1, *map(int, pattern[6:])], digits[:3], strict=True))
        heading = page.locator(".emt-heading").last
        assert heading.text_content() == "the state: 1 numbers × 8 bits = 8 bits; the tokens need 6"
        page.get_by_role("slider", name="Tokens").fill("9")
        assert heading.text_content().endswith("the tokens need 9: some sequences must share a state")
        page.evaluate("model.set('form', 'fp64')")  # as the kernel would
        assert groups.count() == 3 and "nothing rounded off" in page.locator(".emt-bits").text_content()


def test_layers_are_named_above_the_bits_where_they_begin(browser):
    with rendered(browser, explorer(onion=hand_built(2, 1, 0.5), length=9, form="bf16", seed=3)) as page:
        value = page.evaluate("module.write('onion', model.get('embedding'), module.tokensOf(3, 9, 2), 0.5, "
                              "model.get('formats')[3])")[0]  # fmt: skip
        boxes = page.locator(".emt-number > div").nth(2).locator(".emt-bit small").all_text_contents()
    place = math.frexp(value)[1] - 1
    assert boxes == [str(k - place) if 0 <= k - place < 9 else "" for k in range(8)]


def test_phases_need_more_numbers_and_no_gamma(browser):
    with rendered(browser, explorer(form="fp8_e5m2")) as page:
        status, gamma = page.locator(".emt-status"), page.get_by_role("slider", name="γ")
        assert not status.text_content().startswith("12 of 12")
        page.get_by_role("combobox", name="Code").select_option("phases: numbers apart")
        assert page.evaluate("model.get('code')") == "phases"
        assert status.text_content() == "12 of 12 tokens survive in fp8 e5m2; the bound promises any length."
        assert gamma.is_disabled()
        assert "24 numbers × 8 bits = 192 bits; the tokens need 24" in page.locator(".emt-heading").last.text_content()
        assert page.locator(".emt-bit small:not(:empty)").all_text_contents() == ["0", "1"]
        page.evaluate("model.set('code', 'onion')")
        assert not gamma.is_disabled()


def test_keyboard_and_other_tokens(browser):
    with rendered(browser, explorer()) as page:
        status = page.locator(".emt-status")
        length = page.get_by_role("slider", name="Tokens")
        length.focus()
        page.keyboard.press("ArrowLeft")
        assert "of 11 tokens" in status.text_content() and length.get_attribute("aria-valuetext") == "11"
        before = rows(page)["written"]
        page.get_by_role("button", name="other tokens").press("Enter")
        assert page.evaluate("model.get('seed')") == 1 and rows(page)["written"] != before
        page.evaluate("model.set('seed', 0)")
        assert rows(page)["written"] == before  # the same seed, the same tokens
        page.get_by_role("slider", name="γ").focus()
        page.keyboard.press("Home")
        assert page.evaluate("model.get('gamma')") == 0.1
        for name, value in {"length": 99, "gamma": 9, "form": "fp1", "code": "x"}.items():
            page.evaluate("([name, value]) => model.set(name, value)", [name, value])
        assert "of 24 tokens survive in fp64" in status.text_content()
        assert page.evaluate("window.saves") > 2
        page.evaluate("cleanup()")


def test_a_button_in_the_prose_sets_it(browser):
    with rendered(browser, explorer(name="here")) as page:
        before = page.locator(".emt-status").text_content()
        press(page, "form=fp32&gamma=0.3", name="another")
        assert page.locator(".emt-status").text_content() == before
        press(page, "form=fp16&gamma=0.3&length=20&code=onion&seed=4")
        names = ["form", "gamma", "length", "code", "seed"]
        got = page.evaluate("(names) => names.map((name) => model.get(name))", names)
        assert got == ["fp16", 0.3, 20, "onion", 4]
        assert "of 20 tokens survive in fp16" in page.locator(".emt-status").text_content()
        page.evaluate("cleanup()")
        now = page.locator(".emt-status").text_content()
        press(page, "length=3")
        assert page.locator(".emt-status").text_content() == now  # a view that is gone listens no more


EXTREMES = [
    {"length": 24, "form": "fp64"},
    {"length": 1, "form": "fp8_e5m2"},
    {"onion": hand_built(26, 26, 0.1, "one-hot"), "length": 24, "form": "fp8_e4m3"},
    {"onion": hand_built(8, 4, 0.95, "random"), "length": 24},
    {"onion": hand_built(9, 2), "length": 24, "code": "phases", "form": "fp32"},
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("changes", EXTREMES, ids=["long", "short", "many tokens", "large layers", "phases"])
def test_fits_a_phone_in_the_page_s_own_scheme(browser, changes, scheme):
    with rendered(browser, explorer(**changes), color_scheme="light" if scheme == "dark" else "dark") as page:
        page.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not re.search("NaN|Infinity|undefined", page.content())
        ground = page.locator(".emt-explorer").evaluate("element => getComputedStyle(element).backgroundColor")
        assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(26, 31, 37)")
        sizes = page.locator("button, select, input").evaluate_all(
            "all => all.map((b) => Math.min(b.getBoundingClientRect().width, b.getBoundingClientRect().height))"
        )
        assert min(sizes) >= 24
        assert page.locator("[role=img]:not([aria-label]), select:not([aria-label])").count() == 0


def test_state_is_strict_json():
    for kind, own in CODES.items():
        state = json.loads(json.dumps(explorer(onion=own).get_state(), allow_nan=False))
        assert state["embedding"] == CODES[kind].embedding.tolist()  # in full
        assert [entry["name"] for entry in state["formats"]] == list(FORMATS)
    widths = {entry["name"]: 1 + entry["exponent"] + entry["mantissa"] for entry in state["formats"]}
    assert widths == {name: 8 * dtype.itemsize for name, dtype in DTYPES.items()} | {"tf32": 19}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("length", {"length": 0}),
        ("length", {"length": 25}),
        ("length", {"length": 2.5}),
        ("form", {"form": "fp9"}),
        ("code", {"code": "peel"}),
        ("seed", {"seed": -1}),
        ("onion", {"onion": hand_built(27, 27, kind="one-hot")}),
        ("onion", {"onion": Onion(2 * torch.eye(3, dtype=torch.float64), 0.4)}),
        ("onion", {"onion": Onion(torch.ones(3, 2, dtype=torch.float64), 0.4)}),
        ("onion", {"onion": Onion(torch.eye(3, dtype=torch.float64), 0.05)}),
        ("onion", {"onion": Onion(torch.eye(3, dtype=torch.float64), 0.96)}),
    ],
)
def test_bad_arguments_are_named(name, changes):
    # a whole number that is none is refused by its annotation where the tests check types
    with pytest.raises((ValueError, TypeError), match=rf"^{name} must .*, got|type"):
        explorer(**changes)
