"""What Sphinx leaves to do on a built site: light pages, clean downloads, a first page."""

import hashlib
import html
import os
import re
import shutil
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path

import icons
import reading
from chapters import BOOK, CONFIG, ROOT, chapter_names, toc_order

REDIRECT = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><link rel="icon" href="_static/favicon.svg">
<meta http-equiv="refresh" content="0; url={page}"></head>
<body><main><h1>{title}</h1><p><a href="{page}">Go to the first page</a></p></main></body></html>
"""
PIXELS = {"": 1, "px": 1, "pt": 4 / 3, "in": 96}  # in CSS


def complete(site: Path, executed: Path) -> None:
    """Finish the site that Sphinx built from the executed chapters, in place."""
    icons.write(site / "_static")
    for page in site.rglob("*.html"):
        if "_static" not in page.parts:
            text = lighten(page.read_text(encoding="utf8"), page.parent)
            page.write_text(with_one_style(text, page.parent, site / "_static"), encoding="utf8")
    lay_downloads(site, executed)
    shutil.copytree(ROOT / "binder", site / "binder")  # Binder builds its machine from the branch that holds the site
    first = toc_order()[0] + ".html"
    title = re.search(r"(?m)^title:\s*(.+)$", CONFIG.read_text(encoding="utf8")).group(1)
    (site / "index.html").write_text(REDIRECT.format(title=html.escape(title), page=first), encoding="utf8")
    (site / ".nojekyll").touch()  # GitHub Pages would hide folders that begin with an underscore


def lay_downloads(site: Path, executed: Path) -> None:
    """A reader downloads the reading notebook or the chapter's text, not the executed notebook that Sphinx had."""
    for name in chapter_names():
        (site / "_sources" / "book" / f"{name}.ipynb").unlink()
        shutil.copy(BOOK / f"{name}.md", site / "_sources" / "book")
    labels = site / "labels.json"
    reading.write(executed, labels, site / "notebooks")
    labels.unlink()


def lighten(text: str, folder: Path) -> str:
    """A page whose scripts wait for its text, and whose pictures have their place before they are there."""
    # one script has settings that others, within the page, add to at once
    text = re.sub(r'<script src="(?![^"]*/documentation_options\.js)', '<script defer src="', text)
    return re.sub(r'<img [^>]*?src="([^":]+)"[^>]*?(?=\s*/?>)', lambda found: _sized(found, folder), text)


def with_one_style(text: str, folder: Path, static: Path) -> str:
    """The page with one style sheet in place of a dozen, each of which its first picture would wait for."""
    links = re.findall(r'(?m)^\s*<link (?![^>]*media=)[^>]*rel="stylesheet"[^>]*>\n?', text)
    if not links:
        return text
    paths = [(folder / re.search(r'href="([^"?]+)', link)[1]).resolve() for link in links]
    style = "\n".join(_style(path, static.resolve()) for path in paths)
    name = f"site-{hashlib.sha256(style.encode()).hexdigest()[:12]}.css"
    (static / name).write_text(style, encoding="utf8")
    for link in links[1:]:
        text = text.replace(link, "")
    return text.replace(links[0], f'<link rel="stylesheet" href="{os.path.relpath(static / name, folder)}" />\n')


@cache
def _style(path: Path, static: Path) -> str:
    """A style sheet with what it imports, to be read from the static folder."""

    def moved(found: re.Match) -> str:
        place = found[1].strip("\"'")
        return found[0] if ":" in place else f'url("{os.path.relpath(path.parent / place, static)}")'

    own = re.sub(r"""url\(("[^"]*"|'[^']*'|[^)"']*)\)""", moved, path.read_text(encoding="utf8"))
    return re.sub(r'@import "([^"]+)";', lambda found: _style((path.parent / found[1]).resolve(), static), own)


def _sized(image: re.Match, folder: Path) -> str:
    """The tag with the picture's size, to be loaded when it is near; a logo is there at once."""
    tag, size = image[0], _size(folder / image[1])
    if size and " width=" not in tag and " style=" not in tag:
        tag += f' width="{size[0]:.0f}" height="{size[1]:.0f}"'
    return tag if "logo" in tag else f'{tag} loading="lazy"'


def _size(path: Path) -> tuple[float, float] | None:
    """Width and height of an SVG in pixels."""
    if path.suffix != ".svg":
        return None
    root = ET.parse(path).getroot()
    lengths = [re.fullmatch(r"([\d.]+)([a-z]*)", root.get(name, "")) for name in ("width", "height")]
    if all(length and length[2] in PIXELS for length in lengths):
        return tuple(float(length[1]) * PIXELS[length[2]] for length in lengths)
    return tuple(float(number) for number in root.get("viewBox").split()[2:]) if root.get("viewBox") else None
