"""The picture of all claims: every decided one is there, on the right side, hides no other, and leads to its row."""

import itertools
import math
import re
import sys
from pathlib import Path

import pytest

from emt_core.book.claims import Claim, Rule

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import claims_map


@pytest.mark.parametrize(
    ("rule", "value", "wanted"),
    [
        ("median ≤ 0.005", 0.00125, 2),
        ("median ≤ 0.005", 0.01, -1),
        ("mean ≥ 0.2", 0.4, 1),
        ("min ≥ 0.98", 0.99, 1),  # of shares the complements
        ("min ≥ 0.98", 0.92, -2),
        ("min ≥ 0.9", 1, 3),
        ("mean = 1", 1, 3),
        ("mean = 1", 0.5, -1),
        ("max = 0", 2, -3),
        ("median = 36", 18, -1),
        ("max ≤ 0.1", 0, 3),
        ("max ≤ 0", 0, 0),
        ("min ≥ -0.02", -0.5, -3),
        ("mean in 0.2 … 0.8", 0.4, 1),
        ("mean in 0.2 … 0.4", 0.8, -1),
        ("mean in 0.2 … 0.4", 0.1, -1),
    ],
)
def test_the_margin_is_in_factors_of_two(rule, value, wanted):
    rule, value = Rule.parse(rule), float(value)
    found = claims_map.margin(rule, value)
    assert found == pytest.approx(wanted)
    assert found == 0 or (found > 0) == (rule.verdict(value) == "holds")


def test_no_dot_hides_another():
    spots = claims_map.placed([0.0, 0.01, 0.02, 3, 3, 3, -3, 0.5])
    far = [math.dist((x, row * (2 * claims_map.RADIUS + 1)), (u, line * (2 * claims_map.RADIUS + 1)))
           for (x, row), (u, line) in itertools.combinations(spots, 2)]  # fmt: skip
    assert min(far) >= 2 * claims_map.RADIUS and len(spots) == 8


def test_every_decided_claim_is_a_link_to_its_row():
    def claim(name, kind, value, paper="EMT", needs="smoke"):
        return Claim(name, paper, "here", f"<{name}>", "1", value, Rule("min", "≥", 1), "smoke", needs, kind)

    shown = claims_map.picture(
        [claim("a", "stated", (1, 2)), claim("b", "stated", 0.2), claim("c", "check", 1),
         claim("d", "asked", 2, "book"), claim("e", "stated", 2, needs="full"), claim("f", "implied", math.nan),
         Claim("g", "onion", "here", "<g>", "not at hand", 1, Rule("mean"), "smoke", kind="stated")]
    )  # fmt: skip
    assert re.findall('href="#claim-(.)"', shown) == ["a", "b", "d"]
    assert shown.count('data-single="True"') == 2 and "&lt;a&gt;: holds" in shown and "&lt;b&gt;: fails" in shown
    assert claims_map.picture([]) == ""
