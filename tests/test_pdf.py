"""The book on paper: a few pages of the smoke site, printed by Chromium and opened with pypdf.

As in test_site.py: `make test` builds the site into _build/test/html first; EMT_SITE names another folder.
"""

import html
import os
import re
import sys
from pathlib import Path

import pytest
from pypdf import PdfReader
from pypdf.generic import ArrayObject

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")

import pdf  # noqa: E402
from chapters import browser  # noqa: E402

SITE = Path(os.environ.get("EMT_SITE", ROOT / "_build" / "test" / "html"))
PAGES = ["book/introduction", "book/probes", "book/api/theory"]  # an explorer, a wide formula, signatures
BROWSER = browser()

needs_site = pytest.mark.skipif(
    not all((SITE / f"{name}.html").exists() for name in PAGES), reason=f"no site at {SITE}: run `make test`"
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
pytestmark = pytest.mark.xdist_group("pdf")  # printed once


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> PdfReader:
    """Three pages of the site, bound."""
    out = tmp_path_factory.mktemp("pdf") / "book.pdf"
    sheets = pdf.print_book(SITE, out, PAGES)
    reader = PdfReader(out)
    assert len(reader.pages) == sheets and list(out.parent.iterdir()) == [out]
    return reader


@pytest.fixture(scope="module")
def prepared():
    """Opens a page as it will be printed."""
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=pdf.FLAGS)
        page = chromium.new_page()

        def open_page(name: str):
            pdf.prepare(page, (SITE / f"{name}.html").as_uri())
            return page

        yield open_page
        chromium.close()


def title_of(name: str) -> str:
    """What the site calls a page."""
    return html.unescape(
        re.search(r"<title>(.*?)(?: – .*)?</title>", (SITE / f"{name}.html").read_text("utf8")).group(1)
    )


def squeezed(text: str) -> str:
    """Without spaces, which depend on where lines break, or capitals: the front page's heading is the book's name."""
    return "".join(text.split()).casefold()


def starts(book: PdfReader) -> list[int]:
    """The sheets on which the pages of the site begin, by the bookmarks."""
    first_level = [item for item in book.outline if not isinstance(item, list)]
    return [book.get_destination_page_number(item) for item in first_level]


@needs_site
@needs_browser
def test_it_has_a_title_contents_bookmarks_and_page_numbers(book):
    """Every page of the site under its title, on a sheet with its number."""
    first, contents = (book.pages[i].extract_text() for i in (0, 1))
    assert pdf.about()["title"] in " ".join(first.split()) and "Contents" in contents
    assert book.metadata.title == pdf.about()["title"]
    assert len(starts(book)) == len(PAGES) and starts(book)[0] == 2
    for name, sheet in zip(PAGES, starts(book), strict=True):
        text = book.pages[sheet].extract_text()
        assert squeezed(title_of(name)) in squeezed(text) and squeezed(title_of(name)) in squeezed(contents)
        assert str(sheet - 1) in text.split() and str(sheet - 1) in contents.split()
    assert len(book.pages) > len(PAGES) + 6


@needs_site
@needs_browser
def test_every_font_is_embedded(book):
    """It reads alike where the fonts of this machine are not."""
    seen = 0
    for sheet in book.pages:
        for font in sheet["/Resources"].get("/Font", {}).values():
            font, seen = font.get_object(), seen + 1
            for part in font.get("/DescendantFonts", [font]):
                descriptor = part.get_object().get("/FontDescriptor", {})
                drawn = "/CharProcs" in part.get_object()
                assert drawn or {"/FontFile", "/FontFile2", "/FontFile3"} & set(descriptor), font.get("/BaseFont")
    assert seen


@needs_site
@needs_browser
def test_links_lead_into_the_document_or_out_of_it(book):
    """None to this machine's files; those within it to a sheet, those between pages of the site among them."""
    sheets = {sheet.indirect_reference.idnum: number for number, sheet in enumerate(book.pages)}
    within, chapters = [], starts(book)
    for number, sheet in enumerate(book.pages):
        for link in (reference.get_object() for reference in sheet.get("/Annots", [])):
            if "/Dest" in link:
                assert isinstance(link["/Dest"], ArrayObject)
                within.append((number, sheets[link["/Dest"][0].idnum]))
            else:
                assert str(link["/A"]["/URI"]).startswith("https://")
    assert {(1, sheet) for sheet in chapters} <= set(within)  # from the contents
    assert any(number >= chapters[0] and abs(number - target) > 1 for number, target in within)


@needs_site
@needs_browser
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_at_the_edge(prepared, name):
    """Formulas, code, tables, signatures and pictures are as wide as the paper at most, and the test would see more."""
    page = prepared(name)
    assert pdf.too_wide(page) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= pdf.WIDTH
    page.evaluate("""() => document.querySelector("article").insertAdjacentHTML("beforeend",
        '<div class="math"><div style="min-width: 700px">wide</div></div>')""")
    assert any("wide" in found for found in pdf.too_wide(page))
    page.evaluate(pdf.FIT, [pdf.WIDE, pdf.WIDTH])
    assert pdf.too_wide(page) == []


@needs_site
@needs_browser
def test_what_only_a_screen_needs_is_not_printed(prepared):
    """No sidebar, no buttons, no controls of explorers; the heading and what explorers draw are there."""
    page = prepared("book/introduction")
    for what in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-area", ".emt-explorer button", ".headerlink"):
        assert not any(element.is_visible() for element in page.locator(what).all()), what
    assert page.locator("article h1").is_visible()
    assert page.locator(".emt-explorer :is(svg, canvas)").first.is_visible()


def test_without_a_browser_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(SystemExit, match="install one of chromium, chromium-browser, google-chrome"):
        pdf.browser_path()


def test_a_page_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no book/tasks: `make book` builds it"):
        pdf.print_book(tmp_path, tmp_path / "book.pdf", ["book/tasks"])
