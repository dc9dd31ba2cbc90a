"""The notation page: each symbol and word has a place of its own, and what the library calls it is there."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
PAGE = (BOOK / "notation.md").read_text(encoding="utf8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| [")]
IDS = re.findall(r"\]\{#((?:symbol|word)-[a-z0-9-]+)\}", PAGE)
WORDS = (
    *("overlap", "alignment", "additive-share", "effective-rank", "dimension", "layer", "onion", "peeling", "profile"),
    *("variable-memory", "dual-basis", "privileged-basis", "grounding", "spectral-error", "exact-match", "curriculum"),
    *("unigram", "oracle", "autoregressive", "horizon"),
)


def resolves(name: str) -> bool:
    """Whether a dotted name is a module's, or of something in it."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def test_every_row_is_whole():
    """Symbol, meaning, place, and the library's name: four cells, none empty, each symbol with an id of its own."""
    assert len(ROWS) > 50
    assert [row for row in ROWS if len(row) != 4 or not all(cell.strip() for cell in row)] == []
    assert len(IDS) == len(set(IDS)) == len(ROWS) + len(re.findall(r"(?m)^\[.*\]\{#word-", PAGE))


@pytest.mark.parametrize("word", WORDS)
def test_the_words_of_the_book_are_defined(word):
    assert f"word-{word}" in IDS


def test_an_onion_is_what_is_measured():
    """The book's one definition: shared directions, and an order in which one can peel."""
    entry = PAGE.split("{#word-onion}")[1].split("\n[")[0]
    assert "overlap near 1" in entry and "peels forwards" in entry and "backwards" in entry


def test_the_library_has_what_is_named():
    names = re.findall(r"\{(?:func|class|meth)\}`~?(emt_core[\w.]+)`", PAGE)
    assert len(names) > 40 and [name for name in names if not resolves(name)] == []


def test_equations_and_pages_are_there():
    """Each link to a label or a page leads somewhere, whichever chapter has it."""
    text = "".join(path.read_text(encoding="utf8") for path in BOOK.rglob("*.md"))
    labels = re.findall(r"\{(?:eq|ref)\}`([\w-]+)`", PAGE)
    assert [name for name in labels if f":label: {name}\n" not in text and f"({name})=\n" not in text] == []
    assert [page for page in re.findall(r"\{doc\}`([\w/]+)`", PAGE) if not (BOOK / f"{page}.md").exists()] == []
