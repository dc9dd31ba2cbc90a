"""The smoke site as a reader meets it: in Chromium, with no network, by keyboard, in both colour schemes, on a phone.

`make test` builds the site into _build/test/html first; EMT_SITE names another folder to look at. Requests to any
other host are aborted and counted as failures.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from chapters import browser as find_browser  # noqa: E402
from serve import serving  # noqa: E402

SITE = Path(os.environ.get("EMT_SITE", ROOT / "_build" / "test" / "html"))
AXE = ROOT / "_build" / "web" / "axe.min.js"
BROWSER = find_browser()
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",
]
# all but the theme's templates, which Sphinx copies along, and the first page, which leads on to the introduction
PAGES = sorted({str(p.relative_to(SITE)) for p in SITE.rglob("*.html") if "_static" not in p.parts} - {"index.html"})
EXAMPLE = "example_report/report.html"  # a page of its own, not one of the book's
PAGES = [page for page in PAGES if page != EXAMPLE]
CHAPTERS = sorted(p.stem for p in (ROOT / "book").glob("*.md") if re.search(r"(?m)^jupytext:", p.read_text("utf8")))

pytestmark = pytest.mark.skipif(not PAGES, reason=f"no site at {SITE}: run `make test`, which builds it")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The site on a loopback port, compressed as its host does."""
    with serving(SITE) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    """Chromium for all tests of this module."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def watched_page(browser, origin: str, **context):
    """A page, and the list of everything that went wrong on it: console, exceptions, failed and foreign requests."""
    problems: list[str] = []
    with browser.new_context(**context) as scene:

        def guard(route):
            url = route.request.url
            if url.startswith((origin, "blob:", "data:")):
                route.continue_()
            else:
                problems.append(f"request to another host: {url}")
                route.abort()

        scene.route("**/*", guard)
        page = scene.new_page()
        page.on("console", lambda m: problems.append(f"console {m.type}: {m.text}") if is_problem(m) else None)
        page.on("pageerror", lambda e: problems.append(f"exception: {e}"))
        page.on("requestfailed", lambda r: problems.append(f"request failed: {r.url} {r.failure}"))
        page.on("response", lambda r: problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        yield page, problems


def is_problem(message) -> bool:
    """Errors and warnings."""
    return message.type in {"error", "warning"}


def settle(page) -> None:
    """Wait until fonts are there and explorers, which are drawn when a reader comes near, have been drawn."""
    page.wait_for_load_state("networkidle")
    page.evaluate("async () => { await document.fonts.ready; }")
    for place in page.locator(".emt-slot").all():
        place.scroll_into_view_if_needed()
    page.wait_for_function("!document.querySelector('.emt-slot:not(.emt-drawn)')", timeout=10_000)
    page.evaluate("scrollTo(0, 0)")


def violations(page) -> list[str]:
    """What axe-core objects to, one line per element, with every colour at the end of its transition."""
    page.add_style_tag(content="*, *::before, *::after { transition: none !important; }")
    found = page.evaluate("async () => (await axe.run()).violations")
    return [f"{v['id']}: {n['html'][:200]} {n['failureSummary'][:300]}" for v in found for n in v["nodes"]]


@needs_browser
@pytest.mark.parametrize("path", [*PAGES, EXAMPLE])
def test_page_loads_alone_and_is_accessible(browser, origin, path):
    """No foreign request, no error, every formula drawn, and no axe violation in either colour scheme."""
    with watched_page(browser, origin, viewport={"width": 1280, "height": 900}) as (page, problems):
        page.goto(f"{origin}/{path}")
        settle(page)
        page.add_script_tag(path=AXE)
        assert page.locator(".math:not(:has(.katex-html)), .katex-error").count() == 0, "formulas are not drawn"
        found = {}
        for scheme in ("light", "dark"):
            page.evaluate(
                "s => { document.documentElement.dataset.theme = document.documentElement.dataset.mode = s; }", scheme
            )
            found[scheme] = violations(page)
        assert problems == []
        assert found == {"light": [], "dark": []}


@needs_browser
@pytest.mark.parametrize("path", [*PAGES, EXAMPLE])
def test_no_sideways_scroll_on_a_phone(browser, origin, path):
    """At 390 pixels wide the page is no wider, and accessible."""
    with watched_page(browser, origin, viewport={"width": 390, "height": 844}) as (page, problems):
        page.goto(f"{origin}/{path}")
        settle(page)
        page.add_script_tag(path=AXE)
        wide = """() => [...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right > 391)
                 .map(e => e.tagName + '.' + e.className).slice(0, 5)"""
        width = page.evaluate("document.scrollingElement.scrollWidth")
        assert width <= 390, f"the page is {width} pixels wide: {page.evaluate(wide)}"
        assert violations(page) == []
        assert problems == []


@needs_browser
def test_a_stacked_table_says_what_its_rows_are(browser, origin):
    """On a phone a wide table loses its row of heads: the first stands above it, the others before each cell."""
    heads = """() => [...document.querySelectorAll('table.emt-stacked')].filter(e => e.offsetParent).map(e =>
                [e.tHead?.rows[0]?.cells[0]?.textContent.trim() ?? '', getComputedStyle(e, '::before').content])"""
    with watched_page(browser, origin, viewport={"width": 390, "height": 844}) as (page, problems):
        page.goto(f"{origin}/book/causal_tests.html")
        settle(page)
        found = page.evaluate(heads)
        assert any(head for head, _ in found)
        assert all(shown == (f'"{head}"' if head else "none") for head, shown in found), found
        assert problems == []


CUT = """() => [...document.querySelectorAll(
    'article :is(div.math, .emt-equation, .katex-display, pre, table, figure, .pst-scrollable-table-container)')]
  .filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 2 && getComputedStyle(e).display !== 'inline')
  .map(e => `${e.tagName}.${e.className} ${e.scrollWidth} > ${e.clientWidth}: ${e.innerText.slice(0, 80)}`)"""
SMALL = """() => [...document.querySelectorAll('.emt-equation .katex')]
  .filter(e => e.offsetParent && parseFloat(getComputedStyle(e).fontSize) < 9.99).length"""


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_cut(browser, origin, path, width):
    """No equation, code, table or figure is wider than its place, and no equation too small to be read."""
    with watched_page(browser, origin, viewport={"width": width, "height": 900}) as (page, problems):
        page.goto(f"{origin}/{path}")
        settle(page)
        assert page.evaluate(CUT) == []
        assert page.evaluate(SMALL) == 0
        assert problems == []


@needs_browser
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_is_light(browser, origin, chapter):
    """With all its figures and explorers it is at most 2 MB, and busy for at most 1.5 s until the first can be used.

    The time is that of the page's main thread, so that a busy machine does not fail it.
    """
    with watched_page(browser, origin, viewport={"width": 1280, "height": 900}) as (page, problems):
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        session.send("Network.enable")
        sizes: list[float] = []
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        page.goto(f"{origin}/book/{chapter}.html")
        if page.locator(".emt-slot").count():
            page.locator(".emt-slot").first.scroll_into_view_if_needed()
            page.wait_for_selector(".emt-slot.emt-drawn", timeout=10_000)
        metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
        settle(page)
        for picture in page.locator("article img").all():
            picture.scroll_into_view_if_needed()
        page.wait_for_load_state("networkidle")
        assert 0 < sum(sizes) <= 2e6
        assert 0 < metrics["TaskDuration"] <= 1.5
        assert problems == []


@needs_browser
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_opens_from_a_plain_folder(browser, chapter):
    """Without any server, straight from the disk: no error, formulas and widgets drawn."""
    with watched_page(browser, "file:") as (page, problems):
        page.goto((SITE / "book" / f"{chapter}.html").as_uri())
        settle(page)
        link = page.locator("article a[href*='.html#']").first
        if link.count():
            link.hover()  # no preview can be fetched, and nothing says so
            page.wait_for_timeout(400)
        assert problems == []


def local_targets(path: str) -> list[str]:
    """Every link, image, script and style of a page that stays on this site."""
    text = (SITE / path).read_text(encoding="utf8")
    text = re.sub(r"<script(?![^>]*\ssrc=)[^>]*>.*?</script>", "", text, flags=re.S)  # data, not markup
    targets = re.findall(r"""<[a-z][^>]*?\s(?:href|src)=["']([^"']+)["']""", text)
    return [t for t in targets if not urlparse(t).scheme and not t.startswith("//")]


@pytest.mark.parametrize("path", PAGES)
def test_no_broken_link(path):
    """Every file that a page points to is there, and so is the place in it."""
    broken = []
    for target in local_targets(path):
        place, fragment = urldefrag(urljoin(path, target))
        file = SITE / unquote(urlparse(place).path)
        if not file.is_file():
            broken.append(target)
        elif fragment and file.suffix == ".html":
            anchor = rf"""\s(?:id|name)=["']{re.escape(unquote(fragment))}["']"""
            broken += [] if re.search(anchor, file.read_text("utf8")) else [target]
    assert broken == []


def test_no_page_names_a_script_host():
    """Scripts, styles, fonts and pictures are the site's own: what a page loads has no scheme."""
    for path in PAGES:
        text = (SITE / path).read_text(encoding="utf8")
        loads = re.findall(r"""<(?:script|img|iframe|source)[^>]*\ssrc=["'](https?:[^"']+)""", text)
        loads += re.findall(
            r"""<link[^>]*rel=["'](?:stylesheet|preload|icon|preconnect)["'][^>]*href=["'](https?:[^"']+)""", text
        )
        assert loads == [], path


@needs_browser
def test_the_folder_opens_on_the_introduction(browser, origin):
    """The site's own address leads to the first page."""
    with watched_page(browser, origin) as (page, _):
        page.goto(f"{origin}/")
        page.wait_for_url("**/book/introduction.html")


@needs_browser
@pytest.mark.parametrize(("words", "first"), [("overlap", False), ("circuit", False), ("variable_memories", True)])
def test_search_shows_chapters_before_the_reference(browser, origin, words, first):
    """But a name of the library is looked up there."""
    with watched_page(browser, origin) as (page, _):
        page.goto(f"{origin}/search.html?q={words}")
        page.wait_for_selector("#search-results .search-summary:has-text('found')", timeout=20_000)
        pages = [link.get_attribute("href") for link in page.locator("#search-results li > a").all()]
        in_reference = ["/api/" in place for place in pages]
        assert in_reference[0] == first and any(in_reference)
        assert first or in_reference == sorted(in_reference)


@needs_browser
@pytest.mark.parametrize("words", ["privileged basis", "learning rate"])
def test_search(browser, origin, words):
    """Search works without a server's help; it lists nothing twice, and quotes the text, not the toolbar."""
    with watched_page(browser, origin) as (page, problems):
        page.goto(f"{origin}/search.html?q={words.replace(' ', '+')}")
        page.wait_for_selector("#search-results .search-summary:has-text('found')", timeout=20_000)
        results = page.locator("#search-results li")
        titles = [result.locator("a").first.inner_text() for result in results.all()]
        assert titles
        assert len(set(titles)) == len(titles)
        quoted = " ".join(results.all_inner_texts())
        assert words.split()[0] in quoted.lower()
        for foreign in (".pdf", "Open issue", "Cite this", "\\Psi"):
            assert foreign not in quoted
        assert page.locator("input[type=search]:visible").count() == 1
        assert problems == []


@needs_browser
def test_links_show_what_they_lead_to(browser, origin):
    """A pointer over a link, or the keyboard on it, opens a card; Esc closes it; a finger opens none."""
    links = {
        "circuit": [
            "article a[href^='tasks.html#equation-']",
            "article a[href^='#fig-']:not(.headerlink)",
            "article a[href^='#footcite-']",
        ],
        "claims": [".emt-contradictions a[href^='#claim-']"],
    }
    for name, selectors in links.items():
        with watched_page(browser, origin, viewport={"width": 1280, "height": 900}) as (page, problems):
            page.goto(f"{origin}/book/{name}.html")
            settle(page)
            for selector in selectors:
                link = page.locator(selector).first
                link.scroll_into_view_if_needed()
                page.wait_for_timeout(100)
                link.hover()
                card = page.wait_for_selector(".emt-preview", timeout=5_000)
                assert card.inner_text().strip() or card.query_selector("img")
                assert card.query_selector("a, button, [id]") is None
                assert link.get_attribute("aria-describedby") == "emt-preview"
                page.keyboard.press("Escape")
                assert page.locator(".emt-preview").count() == 0
                page.mouse.move(0, 0)
            page.locator(selectors[0]).first.focus()
            page.keyboard.press("Shift+Tab")
            page.keyboard.press("Tab")
            page.wait_for_selector(".emt-preview", timeout=5_000)
            page.add_script_tag(path=AXE)
            assert violations(page) == []
            assert problems == []


@needs_browser
def test_previews_of_symbols_and_words(browser, origin):
    """Over a symbol in the text its row of the notation appears; over a link to a word, its definition."""
    with watched_page(browser, origin, viewport={"width": 1280, "height": 900}) as (page, problems):
        page.goto(f"{origin}/book/circuit.html")
        settle(page)
        symbol = page.locator("article p .katex", has=page.locator("annotation", has_text=re.compile(r"^\\Phi$"))).first
        symbol.scroll_into_view_if_needed()
        page.wait_for_timeout(100)
        symbol.hover()
        assert "interaction of the variables" in page.wait_for_selector(".emt-preview", timeout=5_000).inner_text()
        page.goto(f"{origin}/book/probes.html")
        settle(page)
        word = page.locator("article a[href$='#word-onion']").first
        word.scroll_into_view_if_needed()
        page.wait_for_timeout(100)
        word.hover()
        assert "two measured properties" in page.wait_for_selector(".emt-preview", timeout=5_000).inner_text()
        assert problems == []


@needs_browser
def test_figures_open_larger_on_a_phone(browser, origin):
    """A tap opens a figure at twice its size or more, with its text alternative; Esc closes it."""
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with watched_page(browser, origin, **phone) as (page, problems):
        page.goto(f"{origin}/book/circuit.html")
        settle(page)
        figure = page.locator("article figure img, article .cell_output img").first
        figure.scroll_into_view_if_needed()
        before = figure.bounding_box()["width"]
        figure.tap()
        large = page.locator("dialog[open] img")
        assert large.bounding_box()["width"] >= 2 * before - 1
        assert large.get_attribute("alt")
        page.add_script_tag(path=AXE)
        assert violations(page) == []
        page.keyboard.press("Escape")
        assert page.locator("dialog").count() == 0
        assert problems == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_says_what_it_is(path):
    """Title, description and OpenGraph tags; the book has one name everywhere."""
    name = "How Recurrent Networks Remember"
    text = (SITE / path).read_text(encoding="utf8")
    title = re.search(r"<title>([^<]*)</title>", text)[1].strip()
    assert title == name or title.endswith(f" – {name}")
    content = dict(re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)"', text))
    assert content["og:title"] == title
    assert content["og:site_name"] == name
    assert content["og:url"].endswith(path)
    assert 40 <= len(content["description"]) <= 320
    assert content["og:description"] == content["description"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_says_how_to_cite_it(chapter):
    """BibTeX with the chapter, the book and its address; the commit where there is git."""
    text = (SITE / "book" / f"{chapter}.html").read_text(encoding="utf8")
    entry = re.search(r'<details class="emt-cite.*?<pre>(.*?)</pre>', text, flags=re.S)[1]
    heading = re.search(r"(?m)^# (.+)$", (ROOT / "book" / f"{chapter}.md").read_text("utf8"))[1]
    assert f"title     = {{{{{heading}}}}}" in entry
    assert "booktitle = {{How Recurrent Networks Remember}}" in entry
    assert f"/book/{chapter}.html}}" in entry
    assert not (ROOT / ".git").exists() or re.search(r"note +=\s\{Commit [0-9a-f]{7,}\}", entry)


@needs_browser
def test_favicon(browser, origin):
    """Every page names an icon that is there."""
    with watched_page(browser, origin) as (page, problems):
        page.goto(f"{origin}/{PAGES[0]}")
        icon = page.locator("link[rel~='icon']").first.get_attribute("href")
        assert page.request.get(urljoin(page.url, icon)).ok
        assert problems == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_launch_and_download_buttons(chapter):
    """Binder and Colab open the reading notebook, which downloads too, as the chapter's text does."""
    text = (SITE / "book" / f"{chapter}.html").read_text(encoding="utf8")
    config = (ROOT / "_config.yml").read_text("utf8")
    repository = re.search(r"(?m)^\s*url:\s*https://github\.com/(\S+)", config).group(1)
    path = f"notebooks/{chapter}.ipynb"
    assert f"https://mybinder.org/v2/gh/{repository}/gh-pages?urlpath=lab/tree/{path}" in text
    assert f"https://colab.research.google.com/github/{repository}/blob/gh-pages/{path}" in text
    assert f'href="../{path}"' in text and (SITE / path).is_file()
    assert f'href="../_sources/book/{chapter}.md"' in text
    assert (SITE / "_sources" / "book" / f"{chapter}.md").read_bytes() == (ROOT / "book" / f"{chapter}.md").read_bytes()
    assert not (SITE / "_sources" / "book" / f"{chapter}.ipynb").exists()


@needs_browser
def test_explorers_react_to_the_keyboard(browser, origin):
    """In the static page, with no kernel, an arrow key on an explorer's slider, choice or dot changes what it says."""
    seen = 0
    for chapter in CHAPTERS:
        with watched_page(browser, origin) as (page, problems):
            page.goto(f"{origin}/book/{chapter}.html")
            settle(page)
            for explorer in page.locator(".emt-explorer").all():
                status = explorer.locator(".emt-status").first
                before = status.inner_text()
                inputs = explorer.locator("input")
                (inputs if inputs.count() else explorer.locator(".emt-network[tabindex='0']")).first.focus()
                # a slider may stand at its end, or have to compute; a dot is chosen by Enter
                for key in ("ArrowRight", "Enter", *["ArrowLeft"] * 9):
                    page.keyboard.press(key)
                    page.wait_for_timeout(200)
                    if status.inner_text() != before:
                        break
                assert status.inner_text() != before, f"{chapter}: an explorer does not answer the keyboard"
                seen += 1
            assert problems == []
    assert seen, "no page shows an explorer"
