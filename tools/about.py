"""What a page says about itself: its description and OpenGraph tags for search engines and links, and how to cite it.

A Sphinx extension; theme/templates/layout.html writes what is put into the page's context here.
"""

import datetime
import subprocess
from functools import cache
from pathlib import Path

import yaml
from chapters import ROOT, repository
from docutils import nodes

BOOK = (
    "An executable book on how recurrent networks remember: Episodic Memory Theory and onion representations, "
    "derived, trained, and tested claim by claim."
)

SHORTEST, LONGEST = 60, 300  # characters of a description


@cache
def commit() -> tuple[str, str]:
    """Short hash and year of the commit that the site is built from; without git no hash, and this year."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%h %cs"]
    try:
        name, date = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return "", str(datetime.date.today().year)
    return name, date[:4]


@cache
def authors() -> str:
    """The book's authors, as BibTeX joins them; a group's name is kept whole."""
    people = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))["authors"]
    whole = [f"{p['family-names']}, {p['given-names']}" if "family-names" in p else f"{{{p['name']}}}" for p in people]
    return " and ".join(whole)


def bibtex(title: str, book: str, page: str, address: str) -> str:
    """An entry for a chapter; it names the commit, since a later one may say something else."""
    name, year = commit()
    fields = {
        "author": authors(),
        "title": f"{{{title}}}",
        "booktitle": f"{{{book}}}",
        "year": year,
        "url": address,
        "note": f"Commit {name}" if name else "",
    }
    lines = "".join(f"  {field:9} = {{{value}}},\n" for field, value in fields.items() if value)
    return f"@incollection{{emt-{Path(page).name.replace('_', '-')},\n{lines}}}"


def description(doctree: nodes.document | None) -> str:
    """The page's first words: whole sentences of its first long paragraph without mathematics, or the book's."""
    for paragraph in doctree.findall(nodes.paragraph) if doctree else ():
        label = paragraph[0].astext() if paragraph.children and isinstance(paragraph[0], nodes.strong) else ""
        text = " ".join(paragraph.astext().removeprefix(label).split())
        plain = isinstance(paragraph.parent, nodes.section) and not list(paragraph.findall(nodes.math))
        if plain and len(text) >= SHORTEST:
            whole = text[: text[:LONGEST].rfind(". ") + 1]
            if len(text) <= LONGEST:
                return text
            return whole if len(whole) >= SHORTEST else f"{text[: LONGEST - 1]}…"
    return BOOK


def tell(app, pagename, templatename, context, doctree):
    """Put it into the page's context."""
    context["emt_description"] = description(doctree)
    context["emt_address"] = f"{app.config.html_baseurl}{pagename}.html"
    if str(context.get("sourcename", "")).endswith(".ipynb"):
        title = app.env.titles[pagename].astext()
        context["emt_cite"] = bibtex(title, app.config.html_title, pagename, context["emt_address"])


def settle(app, config):
    """The site's address follows the repository's; its name stands beside the logo."""
    config.html_baseurl = repository()["site"] + "/"
    config.html_theme_options["logo"] = {"text": config.html_title}


def setup(app):
    """Register with Sphinx."""
    app.connect("config-inited", settle, priority=100)  # before the theme reads its options
    app.connect("html-page-context", tell)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
