"""What changed since the last release, on small notebooks made up here."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from emt_core.book.claims import MIME, Claim, Rule

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import changes  # noqa: E402

ABOUT = {"release": "0.1.0", "date": "2026-11-01"}


def claim(id: str, values: float | list, bound: float = 1.0, profile: str = "default", **more) -> Claim:
    """A claim that holds where its median is at most the bound."""
    return Claim(id, "book", "here", f"Words of {id}", "—", values, Rule("median", "≤", bound), profile, **more)


def notebook(path: Path, *claims: Claim) -> Path:
    """An executed notebook that carries these claims."""
    outputs = [{"output_type": "display_data", "data": {MIME: {"claims": [c.to_json() for c in claims]}}}]
    record = {"date": "2026-11-01 10:00 UTC", "versions": {"python": "3.11"}, "platform": "Linux"}
    content = {"cells": [{"cell_type": "code", "outputs": outputs}], "metadata": {"emt": record}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf8")
    return path


@pytest.fixture
def page(tmp_path):
    """What the page says of claims now, after a release with other claims."""

    def compare(before: list[Claim], now: list[Claim]) -> str:
        record = tmp_path / "record.csv"
        changes.write_record(changes.collected([notebook(tmp_path / "old.ipynb", *before)]), record, ABOUT)
        return changes.comparison(changes.collected([notebook(tmp_path / "new.ipynb", *now)]), record)

    return compare


def test_the_first_release_says_so(tmp_path):
    assert "first release" in changes.comparison([claim("a", 0.5)], tmp_path / "none.csv")


def test_nothing_changed(page):
    said = page([claim("a", 0.5), claim("b", math.nan)], [claim("a", 0.5), claim("b", math.nan)])
    assert said.startswith("Of 2 claims of release 0.1.0 (2026-11-01), 2 have the same verdict") and "Nothing" in said
    assert "<table" not in said


def test_each_kind_of_change_has_its_section(page):
    before = [claim("same", 0.5), claim("turned", 0.5), claim("moved", 0.5), claim("gone", 0.25)]
    now = [claim("same", 0.51), claim("turned", 1.5), claim("moved", 0.7), claim("new", [0.1, 0.3])]
    titles = ["Another verdict", "Another value", "New claims", "Claims that are no longer made"]
    parts = page(before, now).split("## ")
    assert [part.split("\n")[0] for part in parts[1:]] == titles
    assert "Of 4 claims" in parts[0] and ", 1 have" in parts[0]
    verdict, value, new, gone = parts[1:]
    assert 'claims.html#claim-turned">Words of turned' in verdict
    assert "<td>0.5, holds</td><td>1.5, fails</td>" in verdict
    assert "<td>0.5, holds</td><td>0.7, holds</td>" in value and "turned" not in value
    assert "<td>—</td><td>0.2, holds</td>" in new
    assert "Words of gone" in gone and "claims.html" not in gone and "<td>0.25, holds</td><td>—</td>" in gone


@pytest.mark.parametrize(
    ("before", "now", "bound", "moved"),
    [
        (0.50, 0.54, 1.0, False),  # less than a tenth
        (0.50, 0.60, 1.0, True),
        (1e-14, 9e-14, 1e-10, False),  # rounding, far below what the rule asks
        (1e-14, 5e-12, 1e-10, True),
        (0.0, 1e-300, 0.0, True),
        (math.inf, math.inf, 1.0, False),
        (0.5, -math.inf, 1.0, True),
    ],
)
def test_what_counts_as_moved(before, now, bound, moved):
    assert changes.has_moved(changes.row_of(claim("a", before, bound)), claim("a", now, bound)) is moved


def test_a_value_that_is_missing_now_is_another_verdict(page):
    said = page([claim("a", 0.5)], [claim("a", math.nan)])
    assert "Another verdict" in said and "<td>0.5, holds</td><td>no data</td>" in said


def test_a_value_without_a_rule_may_move(page):
    def unjudged(value):
        return Claim("a", "onion", "here", "Words of a", "not at hand", value, Rule("mean"), "default", kind="stated")

    said = page([unjudged(0.5)], [unjudged(0.9)])
    assert "Another value" in said and "<td>0.5, not compared</td><td>0.9, not compared</td>" in said
    assert "Nothing" in page([unjudged(0.5)], [unjudged(0.51)])


def test_other_profiles_are_not_compared(page):
    said = page([claim("a", 0.5)], [claim("a", 0.9, profile="smoke")])
    assert "built with the profile smoke" in said and "profile default gives" in said and "<table" not in said


def test_a_record_is_of_one_profile(tmp_path):
    with pytest.raises(ValueError, match=r"claims must be of one profile, got \['default', 'smoke'\]"):
        changes.write_record([claim("a", 1), claim("b", 1, profile="smoke")], tmp_path / "record.csv", ABOUT)


def test_words_are_escaped(page):
    odd = claim("a", 0.5)
    object.__setattr__(odd, "statement", 'x < y, "quoted"\nand more')
    assert "x &lt; y, &quot;quoted&quot; and more" in page([odd, claim("b", 1)], [claim("b", 1)])


def test_the_command_records_an_executed_book(tmp_path):
    command = [sys.executable, "tools/changes.py", "--build", str(tmp_path), "--out", str(tmp_path / "record.csv")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "introduction" in done.stderr and not (tmp_path / "record.csv").exists()
    for number, name in enumerate(changes.chapter_names()):
        notebook(tmp_path / "executed" / "default" / f"{name}.ipynb", claim(f"claim-{number}", [0.25, 0.75]))
    subprocess.run(command, cwd=ROOT, check=True)
    about, rows = changes.read_record(tmp_path / "record.csv")
    assert about.keys() == {"release", "date", "hardware", "versions", "profile"} and about["profile"] == "default"
    assert len(rows) == len(changes.chapter_names())
    first = {"id": "claim-0", "paper": "book", "statement": "Words of claim-0"}
    assert rows["claim-0"] == first | {"verdict": "holds", "obtained": "0.5", "n": "2"}
