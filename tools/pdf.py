"""The whole book as one PDF, printed by Chromium from the built site, in the order of _toc.yml.

    python tools/pdf.py --html _build/html --out _build/emt.pdf [book/tasks …]

Each page is printed by itself, as theme/static/print.css says, once its formulas and explorers are drawn. Then pypdf
binds them (tools/pdf_binding.py). The title page is printed last, when it is known where each chapter begins.
"""

import argparse
import html
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import yaml
from chapters import BROWSERS, CONFIG, ROOT, browser, toc_order
from pdf_binding import Printed, bind, page_named
from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--force-prefers-reduced-motion"]
WIDTH = 657  # CSS pixels between the margins of print.css: (210 - 36) mm at 96 dots an inch
WIDE = "article :is(div.math, div.math > *, span.math, pre, table, dt.sig, svg, img)"  # what might not fit

# by how much an element is wider than its room, 1 if it fits; what is inline has none of its own
OVER = """const over = e => {
  const { width, right } = e.getBoundingClientRect();
  const around = e.parentElement.clientWidth || Infinity;
  const inline = !e.clientWidth || getComputedStyle(e).display.startsWith('inline');
  const inside = inline ? 1 : e.scrollWidth / e.clientWidth;
  return width ? Math.max(1, inside, width / around, right / WIDTH) : 1;
};"""
# each of them smaller by what it is too wide; two looks, since what is smaller breaks its lines elsewhere
FIT = """([selector, WIDTH]) => { OVER
  for (let look = 0; look < 2; look++)
    for (const e of document.querySelectorAll(selector))
      if (over(e) > 1.002) e.style.zoom = (e.currentCSSZoom || 1) / over(e) * 0.99;
}""".replace("OVER", OVER)
TOO_WIDE = """([selector, WIDTH]) => { OVER
  return [...document.querySelectorAll(selector)].filter(e => over(e) > 1.002)
    .map(e => `${e.tagName}.${e.className}, ${over(e).toFixed(2)} times: ${e.textContent.trim().slice(0, 60)}`);
}""".replace("OVER", OVER)
# explorers draw when a reader comes near them, or before printing
DRAWN = """() => !document.querySelector(".emt-slot:not(.emt-drawn)")"""
# an empty link to every id that something links to: Chromium notes in the PDF where it lies
ANCHORS = """ids => ids.filter(id => document.getElementById(id)).forEach(id => {
  const a = document.createElement("a");
  a.href = "#" + id;
  document.querySelector("article").append(a);
})"""
NUMBERED = "html {{ counter-reset: page {before}; }}"
TITLE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
@page {{ size: A4; margin: 20mm 18mm; }}
body {{ font: 10.5pt/1.5 sans-serif; }} h1 {{ font-size: 28pt; margin: 60mm 0 6mm; }} a {{ color: #0b3d75; }}
nav {{ break-before: page; }} nav a {{ color: #000; text-decoration: none; }}
nav p {{ display: flex; margin: 0.1em 0; }} nav p span {{ margin-left: auto; }} nav h3 {{ margin: 1em 0 0.2em; }}
</style></head><body><h1>{title}</h1><p>{author}</p><p>Version {version}. The book itself runs, and its explorers move:
<a href="{url}">{url}</a></p><nav><h2>Contents</h2>{contents}</nav></body></html>"""


def browser_path() -> str:
    """The browser of this machine; the program ends with a word on what to install where there is none."""
    found = browser()
    if found is None:
        sys.exit(f"make pdf prints with Chromium: install one of {', '.join(BROWSERS)} (Debian: apt install chromium)")
    return found


def parts() -> dict[str, str]:
    """The caption of the part that each page opens, for those that open one."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
    return {part["chapters"][0]["file"]: part["caption"] for part in toc.get("parts", [])}


def wanted_ids(site: Path, pages: Sequence[str]) -> dict[str, list[str]]:
    """The ids of each page to which some page links."""
    found: dict[str, set[str]] = {page: set() for page in pages}
    for page in pages:
        here = site / f"{page}.html"
        for target in re.findall(r'<a[^>]*\shref="([^"]*#[^"]+)"', here.read_text(encoding="utf8")):
            path, fragment = urldefrag(html.unescape(target))
            name = page if not path else page_named(str(here.parent / unquote(path)), site)
            if name in found and not urlparse(path).scheme:
                found[name].add(unquote(fragment))
    return {page: sorted(ids) for page, ids in found.items()}


def prepare(page: Page, url: str) -> None:
    """Open a page as it will be printed: light, on paper, all drawn, nothing wider than the paper."""
    page.set_viewport_size({"width": WIDTH, "height": 900})
    page.emulate_media(media="print", color_scheme="light")
    page.goto(url)
    page.wait_for_load_state("networkidle")
    page.evaluate("() => { document.documentElement.dataset.theme = document.documentElement.dataset.mode = 'light'; }")
    page.evaluate("() => { window.dispatchEvent(new Event('beforeprint')); }")  # opens solutions, draws explorers
    page.wait_for_function(DRAWN)
    page.evaluate("async () => { await document.fonts.ready; }")
    page.evaluate(FIT, [WIDE, WIDTH])


def too_wide(page: Page) -> list[str]:
    """Formulas, code, tables, pictures of a prepared page that would be cut."""
    return page.evaluate(TOO_WIDE, [WIDE, WIDTH])


def print_page(page: Page, ids: Sequence[str], before: int, path: Path) -> PdfReader:
    """Print a prepared page, whose first page is the one after `before`."""
    page.evaluate(ANCHORS, list(ids))
    page.add_style_tag(content=NUMBERED.format(before=before))
    page.pdf(path=path, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
    return PdfReader(path)


def print_pages(page: Page, site: Path, names: Sequence[str], scratch: Path) -> list[Printed]:
    """All pages, one after the other."""
    ids, captions, printed, before = wanted_ids(site, names), parts(), [], 0
    for name in names:
        prepare(page, (site / f"{name}.html").as_uri())
        headings = [
            " ".join(text.rstrip("#").split()) for text in page.locator("article :is(h1, h2, h3)").all_inner_texts()
        ]
        reader = print_page(page, ids[name], before, scratch / "page.pdf")
        printed.append(Printed(name, captions.get(name, ""), before, headings, reader))
        before += len(reader.pages)
    return printed


def about() -> dict[str, str]:
    """Title, author and version of the book, and where it lives."""
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf8"))
    version = re.search(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf8"))
    words = {"title": settings["title"], "author": settings["author"], "url": settings["repository"]["url"]}
    return words | {"version": version[1] if version else ""}


def print_front(page: Page, site: Path, printed: Sequence[Printed], path: Path) -> PdfReader:
    """The title page and the contents."""
    lines = []
    for one in printed:
        lines += [f"<h3>{html.escape(one.part)}</h3>"] if one.part else []
        link = f'<a href="{(site / f"{one.name}.html").as_uri()}">{html.escape(one.title)}</a>'
        lines.append(f"<p>{link}<span>{one.start + 1}</span></p>")
    words = {key: html.escape(word) for key, word in about().items()}
    page.set_content(TITLE.format(**words, contents="".join(lines)))
    page.pdf(path=path, prefer_css_page_size=True)
    return PdfReader(path)


def print_book(site: Path, out: Path, names: Sequence[str]) -> int:
    """Print these pages of a built site as one PDF; returns how many sheets it has.

    Raises:
        FileNotFoundError: the site lacks a page.
    """
    site = site.resolve()
    missing = ", ".join(name for name in names if not (site / f"{name}.html").is_file())
    if missing:
        raise FileNotFoundError(f"html must be a built site, {site} has no {missing}: `make book` builds it")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chromium = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
        page, scratch = chromium.new_page(), Path(folder)
        printed = print_pages(page, site, names, scratch)
        front = print_front(page, site, printed, scratch / "front.pdf")
        chromium.close()
    words = about()
    document = bind(front, printed, site, {"/Title": words["title"], "/Author": words["author"]})
    out.parent.mkdir(parents=True, exist_ok=True)
    whole = out.with_name(f".{out.name}.part")
    document.write(whole)
    whole.replace(out)
    return len(document.pages)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("pages", nargs="*", help="as named in _toc.yml; by default all")
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "emt.pdf")
    args = parser.parse_args()
    try:
        sheets = print_book(args.html, args.out, args.pages or toc_order())
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {sheets} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
