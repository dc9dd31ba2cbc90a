"""The smoke site as a reader meets it: in Chromium, with no network, by keyboard, in both colour schemes, on a phone.

`make test` builds the site into _build/test/html first; EMT_SITE names another folder to look at. Requests to any
other host are aborted and counted as failures.
"""

import functools
import http.server
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = Path(os.environ.get("EMT_SITE", ROOT / "_build" / "test" / "html"))
AXE = ROOT / "_build" / "web" / "axe.min.js"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
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
CHAPTERS = sorted(p.stem for p in (ROOT / "book").glob("*.md") if re.search(r"(?m)^jupytext:", p.read_text("utf8")))

pytestmark = pytest.mark.skipif(not PAGES, reason=f"no site at {SITE}: run `make test`, which builds it")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves the folder without a line per request."""

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The site on a loopback port."""
    handler = functools.partial(QuietHandler, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


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
    """Errors and warnings, but for a remark that the widget manager's schema checker makes about its own schema."""
    if message.type == "warning" and message.text.startswith("strict mode: use allowUnionTypes"):
        return "vendor/embed-amd.js" not in message.location["url"]
    return message.type in {"error", "warning"}


def settle(page) -> None:
    """Wait until formulas and widgets have been drawn."""
    page.wait_for_load_state("networkidle")
    page.evaluate("async () => { if (window.MathJax?.startup?.promise) await MathJax.startup.promise; }")
    for _ in range(50):  # widgets appear after the loader's modules; 5 s at most
        views = page.locator("script[type='application/vnd.jupyter.widget-view+json']").count()
        if page.locator(".cell_output .jupyter-widgets, .cell_output .emt-explorer").count() >= views:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{page.url}: not every widget was drawn")


def violations(page) -> list[str]:
    """What axe-core objects to, one line per element."""
    found = page.evaluate("async () => (await axe.run()).violations")
    return [f"{v['id']}: {n['html'][:200]} {n['failureSummary'][:300]}" for v in found for n in v["nodes"]]


@needs_browser
@pytest.mark.parametrize("path", PAGES)
def test_page_loads_alone_and_is_accessible(browser, origin, path):
    """No foreign request, no error, every formula drawn, and no axe violation in either colour scheme."""
    with watched_page(browser, origin, viewport={"width": 1280, "height": 900}) as (page, problems):
        page.goto(f"{origin}/{path}")
        settle(page)
        page.add_script_tag(path=AXE)
        assert page.locator("mjx-merror").count() == 0, "a formula could not be read"
        formulas = page.locator("article .math").count()
        assert formulas == 0 or page.locator("mjx-container").count() >= formulas, "formulas are not drawn"
        found = {}
        for scheme in ("light", "dark"):
            page.evaluate(
                "s => { document.documentElement.dataset.theme = document.documentElement.dataset.mode = s; }", scheme
            )
            page.wait_for_timeout(300)  # colours change by a transition
            found[scheme] = violations(page)
        assert problems == []
        assert found == {"light": [], "dark": []}


@needs_browser
@pytest.mark.parametrize("path", PAGES)
def test_no_sideways_scroll_on_a_phone(browser, origin, path):
    """At 390 pixels wide tables, formulas, code scroll inside themselves, and can be reached by keyboard."""
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
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_opens_from_a_plain_folder(browser, chapter):
    """Without any server, straight from the disk: no error, formulas and widgets drawn."""
    with watched_page(browser, "file:") as (page, problems):
        page.goto((SITE / "book" / f"{chapter}.html").as_uri())
        settle(page)
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
def test_search_finds_a_phrase(browser, origin):
    """Search works without a server's help."""
    with watched_page(browser, origin) as (page, problems):
        page.goto(f"{origin}/search.html?q=privileged+basis")
        page.wait_for_selector("#search-results li a", timeout=10_000)
        assert page.locator("#search-results li a").count() >= 1
        assert problems == []


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
    """In the static page, with no kernel, an arrow key on an explorer's slider or choice changes what it says."""
    seen = 0
    for chapter in CHAPTERS:
        with watched_page(browser, origin) as (page, problems):
            page.goto(f"{origin}/book/{chapter}.html")
            settle(page)
            for explorer in page.locator(".emt-explorer").all():
                status = explorer.locator(".emt-status").first
                before = status.inner_text()
                explorer.locator("input").first.focus()
                page.keyboard.press("ArrowRight")
                page.wait_for_timeout(200)
                assert status.inner_text() != before, f"{chapter}: an explorer does not answer the keyboard"
                seen += 1
            assert problems == []
    assert seen, "no page shows an explorer"
