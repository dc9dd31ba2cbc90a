"""The API's pages: complete, alike in form, and every example on them runs and prints what it says."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = {page.stem: page.read_text(encoding="utf8") for page in sorted((ROOT / "book" / "api").glob("*.md"))}
INDEX = (ROOT / "book" / "api.md").read_text(encoding="utf8")
each_page = pytest.mark.parametrize("page", PAGES)


def examples(page: str) -> list[str]:
    """The Python on a page."""
    return re.findall(r"(?ms)^```python\n(.*?)^```$", PAGES[page])


def promised(example: str) -> list[str]:
    """What the comments behind its prints say."""
    return re.findall(r"(?m)^ *print\(.*\)  # (.+)$", example)


def test_every_module_is_described_once():
    """All of emt_core, each module on one page."""
    named = re.findall(r"(?m)^\.\. automodule:: (\S+)$", "".join(PAGES.values()))
    parts = [p.relative_to(ROOT).with_suffix("").parts for p in (ROOT / "emt_core").rglob("*.py") if p.name[0] != "_"]
    assert {".".join(each) for each in parts} - set(named) == set()
    assert len(named) == len(set(named))


def test_the_first_page_leads_to_all_others():
    """The kernels last: who looks for an entry seldom wants one."""
    order = re.findall(r"\{doc\}`api/(\w+)`", INDEX)
    assert sorted(order) == sorted(PAGES) and order[-1] == "kernels"


@each_page
def test_a_page_opens_with_its_table_and_an_example(page):
    """Title, a sentence or two, the table of what is on the page, one short example; then the entries."""
    places = [PAGES[page].find(part) for part in ("\n# ", "```{api-summary}", "```python", ".. automodule::")]
    assert -1 not in places and places == sorted(places)
    (example,) = examples(page)
    lines = [line for line in example.splitlines() if line]
    assert 0 < len(lines) <= 12 and max(map(len, lines)) <= 86


@each_page
def test_the_example_prints_what_it_says(page):
    """Run as it stands on the page."""
    (example,) = examples(page)
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(example, f"book/api/{page}.md", "exec"), {"__name__": "__main__"})
    assert promised(example) and out.getvalue().splitlines() == promised(example)
