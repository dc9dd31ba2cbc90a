"""Claims: the verdict follows from the rule alone, and a record survives the way through a notebook."""

import html
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.book import claims, intervals
from emt_core.book.claims import MIME, PROFILES, Claim, Rule, Table, collect, to_html

NAN = math.nan


def claim(values=(0.5, 0.25), rule=("median", "≤", 0.5), profile="smoke", **kwargs) -> Claim:
    own = dict(id="error", paper="EMT", place="Table 1", statement="It is small.", claimed="0.0005")
    return Claim(**own | kwargs, values=values, rule=Rule(*rule), profile=profile)


@pytest.mark.parametrize(
    ("statistic", "relation", "bound", "values", "holds"),
    [
        ("median", "≤", 2, (1, 2, 9), True),
        ("median", "≤", 1.9, (1, 2, 9), False),
        ("mean", "≤", 4, (1, 2, 9), True),
        ("mean", "≥", 4.1, (1, 2, 9), False),
        ("min", "≥", 1, (1, 2, 9), True),
        ("min", "≥", 2, (1, 2, 9), False),
        ("max", "≤", 9, (1, 2, 9), True),
        ("max", "≤", 8, (1, 2, 9), False),
        ("min", "=", 64, (64, 64), True),
        ("min", "=", 64, (63, 64), False),
        ("max", "≤", 1, (math.inf, 0), False),
        ("max", "≥", 1, (math.inf, 0), True),
    ],
    ids=str,
)
def test_verdict_is_the_rule(statistic, relation, bound, values, holds):
    assert claim(values, (statistic, relation, bound)).verdict == ("holds" if holds else "fails")


@pytest.mark.parametrize("relation", ["≤", "≥", "="])
@pytest.mark.parametrize("statistic", ["median", "mean", "min", "max"])
@pytest.mark.parametrize("values", [(NAN,), (NAN, 1.0), (1.0, NAN), (0.0, NAN, 2.0)], ids=str)
def test_a_missing_value_is_no_data_for_every_rule(values, statistic, relation):
    assert claim(values, (statistic, relation, 1)).verdict == "no data"


@pytest.mark.parametrize("needs", PROFILES)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_smaller_profile_decides_nothing(profile, needs):
    verdict = claim(profile=profile, needs=needs).verdict
    enough = PROFILES.index(profile) >= PROFILES.index(needs)
    assert verdict == ("holds" if enough else "not decided here")


def test_spread_leaves_missing_values_out():
    assert claim((3.0, NAN, 1.0)).spread == (1.0, 3.0)
    assert claim((NAN, 2.0)).spread == (2.0, 2.0)
    assert all(math.isnan(end) for end in claim((NAN, NAN)).spread)


@pytest.mark.parametrize(
    "values",
    [0.5, [0.5], (1, 2), np.array([[1.0, 2.0]]), np.float32(0.5)],
    ids=["number", "list", "ints", "array", "scalar"],
)
def test_values_become_a_tuple_of_floats(values):
    stored = claim(values).values
    assert isinstance(stored, tuple)
    assert stored == tuple(np.asarray(values, dtype=float).ravel())
    assert all(type(v) is float for v in stored)


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.lists(numbers, min_size=1, max_size=5),
    st.sampled_from(["median", "mean", "min", "max"]),
    st.sampled_from("≤≥="),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=10),
)
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
def test_a_record_survives_strict_json(values, statistic, relation, bound, text):
    original = claim(values, (statistic, relation, bound), statement=text, needs="full", expected="fails")
    wire = json.dumps(original.to_json(), allow_nan=False)  # as a notebook is written
    back = Claim.from_json(json.loads(wire))
    assert np.array_equal(back.values, original.values, equal_nan=True)
    assert (back.rule, back.statement, back.verdict) == (original.rule, original.statement, original.verdict)
    assert back.expected == "fails"
    assert to_html([back]) == to_html([original])


def test_a_record_says_what_was_computed_from_it():
    record = claim((0.25, 0.5, NAN), ("min", "≥", 1)).to_json()
    assert record["verdict"] == "no data"
    assert record["seeds"] == 3
    assert record["values"] == [0.25, 0.5, None]
    assert record["spread"] == [0.25, 0.5]
    assert record["obtained"] is None


def test_the_verdict_of_a_record_is_computed_anew():
    forged = claim(values=(9,)).to_json() | {"verdict": "holds", "obtained": 0}
    assert Claim.from_json(forged).verdict == "fails"


def test_claims_are_collected_from_a_notebooks_outputs(tmp_path):
    a, b = claim(id="a"), claim(id="b", values=(9, NAN))
    bundle = Table((a, b))._repr_mimebundle_()
    cells = [
        {"cell_type": "markdown", "source": ""},
        {"cell_type": "code", "outputs": [{"output_type": "stream", "text": "hello"}]},
        {"cell_type": "code", "outputs": [{"output_type": "display_data", "data": {"text/plain": "x"}}]},
        {"cell_type": "code", "outputs": [{"output_type": "execute_result", "data": bundle}]},
    ]
    path = tmp_path / "chapter.ipynb"
    path.write_text(json.dumps({"cells": cells}, allow_nan=False), encoding="utf-8")
    found = collect(path)
    assert found[0] == a
    assert [c.id for c in found] == ["a", "b"]
    assert bundle[MIME]["claims"][0]["verdict"] == "holds"


def test_the_table_shows_every_number_and_escapes_text():
    nasty = claim(statement="<b>W & Φ</b>", place='"1"', claimed="< 1", id='a"b', values=(0.25, 0.5, NAN))
    page = to_html([nasty])
    for text in ("<b>W & Φ</b>", "< 1", 'a"b'):
        assert text not in page
        assert html.escape(text) in page
    assert "0.25 … 0.5" in page
    assert "<td>3</td>" in page and "median —" in page
    assert 'data-verdict="no data"' in page
    assert "—" in page  # the median of values of which one is missing


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (64, "64"),
        (0, "0"),
        (0.0005, "5.0e-04"),
        (0.96, "0.96"),
        (1e9, "1.0e+09"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (NAN, "—"),
    ],
    ids=str,
)
def test_numbers_are_shown_short(value, shown):
    assert f"<td>{shown}</td>" in to_html([claim((value,))])
    assert f"({claim().rule}; {shown})" in Table((claim((value,)),))._repr_mimebundle_()["text/plain"]


def test_a_claim_says_its_kind_and_leads_to_its_other_place():
    made = claim(kind="implied", chapter="spectrum")
    assert "implied by the paper" in to_html([made]) and "<a " not in to_html([made])
    assert f'href="claims.html#claim-{made.id}"' in to_html([made], "claims")
    assert f'href="spectrum.html#claim-{made.id}"' in to_html([made], "chapter")
    assert "no spread" in to_html([claim((1,))]) and "no spread" not in to_html([claim((1, 2))])


def test_what_is_not_at_hand_is_shown_and_never_judged():
    """The obtained value stands in its row, with the words, and no verdict; a bound would be a guess."""
    at_hand = dict(id="a", paper="onion", place="here", statement="x", profile="smoke", kind="stated", per="seed")
    made = Claim(**at_hand, claimed=claims.NOT_AT_HAND, values=(0.25, 0.5, 0.75), rule=Rule.parse("mean"))
    assert made.verdict == "not compared" and made.verdict not in claims.DECIDED and made.as_expected
    assert str(made.rule) == "mean" and made.turned_by == "" and not made.near
    page = to_html([made])
    assert "<td>not at hand</td><td>mean 0.5" in page and 'data-verdict="not compared">not compared</td>' in page
    assert "<td>–</td>" in page
    assert Claim.from_json(json.loads(json.dumps(made.to_json(), allow_nan=False))) == made
    missing = Claim(**at_hand, claimed=claims.NOT_AT_HAND, values=NAN, rule=Rule("mean"))
    assert missing.verdict == "no data" and not missing.as_expected
    for claimed, rule in ((claims.NOT_AT_HAND, "mean ≥ 0.5"), ("0.5", "mean")):
        with pytest.raises(ValueError, match="rule of claim 'a' must be a statistic alone"):
            Claim(**at_hand, claimed=claimed, values=0.5, rule=Rule.parse(rule))
    for wrong in ({"bound": 1}, {"relation": "≥"}, {"upper": 1}):
        with pytest.raises(ValueError, match=r"bound must be|relation must be|upper must be"):
            Rule("mean", **wrong)


def test_a_range_may_be_missed_on_either_side():
    rule = Rule.parse("mean in 0.83 … 0.89")
    assert str(rule) == "mean in 0.83 … 0.89" and Rule.parse(str(rule)) == rule
    assert [rule.verdict(x) for x in (0.82, 0.83, 0.86, 0.89, 0.9)] == ["lower", "holds", "holds", "holds", "higher"]
    made = Claim("a", "onion", "here", "x", "0.83–0.89", [0.91] * 5, rule, "smoke", kind="stated", expected="higher")
    assert made.verdict == "higher" and made.as_expected and 'data-verdict="higher"' in to_html([made])
    assert Claim.from_json(made.to_json()) == made
    for wrong in ("mean in 0.9 … 0.8", "mean in 0.9", "mean ≤ 0.1 … 0.2", "mean in 0.1 to 0.2"):
        with pytest.raises(ValueError, match=r"upper must be|rule must read"):
            Rule.parse(wrong)


def test_an_interval_stands_beside_the_rule():
    """Of means and medians of enough values; one that holds the bound says so."""
    wide, sure = (
        claim((0.2, 0.4, 0.6, 0.8, 0.5, 0.5), ("mean", "≤", 0.6)),
        claim((0.2, 0.21, 0.22, 0.23, 0.2, 0.2), ("mean", "≤", 0.6)),
    )
    low, high = wide.interval
    assert low < 0.5 < 0.6 < high and wide.near and not sure.near
    assert "bound within the interval" in to_html([wide]) and "bound within" not in to_html([sure])
    few = claim((0.2, 0.7), ("mean", "≤", 0.6))  # too few for an interval: the values themselves
    assert few.interval is None and few.near and "bound within the values" in to_html([few])
    shares = claim((1, 1, 1, 1, 1, 0), ("mean", "≥", 0.5))
    assert shares.interval == pytest.approx(intervals.wilson(shares.values)[1:])
    assert claim((1, 2, 3, 4, 5, 6), ("median", "≤", 5)).interval == (1, 6)
    for none in (
        claim((1, 2, 3), ("mean", "≤", 5)),
        claim((1, 2, 3, 4, 5, 6), ("max", "≤", 9)),
        claim((2,) * 9, ("mean", "≤", 3)),
    ):
        assert none.interval is None and not none.near


@pytest.mark.parametrize(
    ("values", "rule", "turned"),
    [
        ((0.91, 0.93), "mean in 0.83 … 0.89", "0.03 lower"),
        ((0.86,), "mean in 0.83 … 0.89", "0.03 lower or 0.03 higher"),
        ((0.5, 0.7), "max ≤ 1", "0.3 higher"),
        ((0.5, 0.7), "min ≥ 1", "0.5 higher"),
        ((64, 64), "median = 64", "any change"),
        ((63, 63), "median = 64", "1 higher"),
        ((0,) * 20, "mean ≤ 0.05", "2 of 20 otherwise"),
        ((1, 1, 0, 0), "mean = 1", "2 of 4 otherwise"),
        ((1, 1, 1, 0), "mean ≥ 0.5", "2 of 4 otherwise"),
        ((1, 0, 0), "mean ≥ 0", ""),
        ((0, 0, 0), "max ≤ 0.01", "0.01 higher"),
        ((NAN, 1), "max ≤ 1", ""),
    ],
    ids=str,
)
def test_the_smallest_effect_that_would_have_turned_it(values, rule, turned):
    made = Claim("a", "EMT", "here", "x", "y", values, Rule.parse(rule), "smoke")
    assert made.turned_by == turned and made.to_json()["turned_by"] == turned
    assert (f"turned by: {turned}" in to_html([made])) == bool(turned)


def test_values_say_what_they_are_of():
    page = to_html([claim((1, 2), per="network & time")])
    assert "per network &amp; time" in page and "<td>median 1.5" in page
    assert "per " not in to_html([claim((1,))]).partition("<tbody>")[2]


def test_what_was_not_decided_says_what_it_needs():
    page = to_html([claim(needs="full")])
    assert 'data-verdict="not decided here"' in page
    assert "needs profile full" in page


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="statistic"):
        Rule("mode", "≤", 1)
    with pytest.raises(ValueError, match="relation"):
        Rule("min", "<", 1)
    for bound in (NAN, math.inf):
        with pytest.raises(ValueError, match="bound"):
            Rule("min", "≤", bound)
    with pytest.raises(ValueError, match="profile"):
        claim(profile="tiny")
    with pytest.raises(ValueError, match="needs"):
        claim(needs="tiny")
    with pytest.raises(ValueError, match="values"):
        claim(values=())
    with pytest.raises(ValueError, match="kind must be one of"):
        claim(kind="told")


@pytest.mark.parametrize("expected", ["holds", "fails"])
def test_a_verdict_is_as_expected_or_it_is_not(expected):
    def made(value, profile="default"):
        rule = Rule("max", "≤", 1)
        options = {"kind": "stated", "expected": expected}
        return Claim("a", "EMT", "here", "x", "1", (value,), rule, profile, "default", **options)

    assert made(0).as_expected is (expected == "holds")
    assert made(2).as_expected is (expected == "fails")
    assert made(2, "smoke").as_expected  # nothing is decided, so nothing is wrong
    assert not made(math.nan).as_expected  # no data is not the failure that was expected
    assert made(math.nan, "smoke").verdict == "not decided here" and made(math.nan, "smoke").as_expected


def test_the_page_of_claims_names_what_contradicts_the_papers(root, monkeypatch):
    """Failed claims of a paper come first, as links to their rows. The book's own do not, nor do claims that are not
    decided or have no data, which do not count among those decided either."""
    monkeypatch.syspath_prepend(str(root / "tools"))
    from build_site import contradictions

    def claim(name, kind, value, needs="smoke"):
        rule, paper = Rule("min", "=", 1), "EMT"
        return Claim(name, paper, "somewhere", f"statement <{name}>", "1", value, rule, "smoke", needs, kind)

    text = contradictions(
        [
            claim("a", "stated", 1),
            claim("b", "stated", 0),
            claim("c", "asked", 0),
            claim("d", "stated", 0, needs="full"),
            claim("e", "stated", math.nan),
            claim("f", "implied", 0),
            claim("g", "check", 0),
            Claim("h", "onion", "here", "h", claims.NOT_AT_HAND, 0, Rule("mean"), "smoke", kind="stated"),
        ]
    )
    stated, implied = text.split("that they imply")
    assert "Of 2 claims that the papers state" in stated and "1 do not hold" in stated
    assert '<li><a href="#claim-b">statement &lt;b&gt;</a></li>' in stated and stated.count("<li>") == 1
    assert "claim-f" in implied and implied.count("<li>") == 1


def test_claims_of_a_chapter_come_from_its_file(tmp_path, monkeypatch):
    text = '[a]\npaper = "EMT"\nplace = "here"\nstatement = "It is."\nclaimed = "1"\nkind = "stated"\n'
    text += 'rule = "mean ≥ 0.5"\n[b]\npaper = "book"\nplace = "here"\nstatement = "Is not."\nclaimed = "-"\n'
    text += 'kind = "asked"\nrule = "max = 0"\n'
    text += 'needs = "default"\nexpected = "fails"\n'
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "x.toml").write_text(text, encoding="utf8")
    monkeypatch.setattr("emt_core.book.shipped.HERE", tmp_path)
    shown = claims.table("x", "smoke", {"b": 3, "a": [0.5, 0.7]}).claims
    assert [(c.id, c.paper, c.verdict) for c in shown] == [("b", "book", "not decided here"), ("a", "EMT", "holds")]
    assert shown[1].rule == Rule("mean", "≥", 0.5) and shown[0].expected == "fails"
    assert [(c.kind, c.chapter) for c in shown] == [("asked", "x"), ("stated", "x")]
    with pytest.raises(ValueError, match=r"obtained must name claims of book/claims/x\.toml, got \['c'\]"):
        claims.table("x", "smoke", {"a": 1, "c": 1})
    with pytest.raises(ValueError, match="got none"):
        claims.table("x", "smoke", {})
    with pytest.raises(FileNotFoundError, match="claims/y"):
        claims.table("y", "smoke", {"a": 1})
    (tmp_path / "claims" / "x.toml").write_text(text.replace("asked", "stated"), encoding="utf8")
    with pytest.raises(ValueError, match=r"kind of claim 'b' must be one of \('asked', 'check'\), got 'stated'"):
        claims.written("x")
    (tmp_path / "claims" / "x.toml").write_text(text.replace("stated", "check"), encoding="utf8")
    assert claims.written("x")["a"]["kind"] == "check"
    (tmp_path / "claims" / "x.toml").write_text(text.replace("claimed", "claim"), encoding="utf8")
    with pytest.raises(ValueError, match=r"claim 'a' of x must have .* amiss: \['claim', 'claimed'\]"):
        claims.table("x", "smoke", {"a": 1})


@pytest.mark.parametrize("text", ["max ≤", "max ≤ x", "most ≤ 1", ""], ids=str)
def test_a_rule_that_cannot_be_read(text):
    with pytest.raises(ValueError):
        Rule.parse(text)
    assert Rule.parse(str(Rule("median", "≤", 1e-10))) == Rule("median", "≤", 1e-10)
