"""Sphinx's part in the reading notebooks: the numbers of what has a label, and the buttons that lead to them."""

import json
from pathlib import Path

from chapters import repository

FILE = "labels.json"


def labels(env) -> dict:
    """Every label with its page, place, kind and number; every page with its title."""
    found: dict[str, dict] = {}
    standard = env.get_domain("std")
    for label, (doc, anchor, title) in standard.labels.items():
        found[label] = {"doc": name(doc), "anchor": anchor, "kind": "section", "title": str(title)}
    for doc, kinds in env.toc_fignumbers.items():
        for kind, numbers in kinds.items():
            for anchor, number in numbers.items():
                label = anchor.removeprefix("equation-") if kind == "displaymath" else anchor
                where = {"doc": name(doc), "anchor": anchor, "kind": kind, "number": ".".join(map(str, number))}
                found[label] = found.get(label, {}) | where
    for label, (doc, anchor) in standard.anonlabels.items():
        found.setdefault(label, {"doc": name(doc), "anchor": anchor, "kind": "section", "title": label})
    return {"labels": found, "titles": {name(doc): title.astext() for doc, title in env.titles.items()}}


def name(doc: str) -> str:
    """`book/x` is x."""
    return doc.removeprefix("book/")


def write_labels(app, exception) -> None:
    """Lay the labels beside the pages, from where the build takes them."""
    if exception is None and app.builder.format == "html":
        Path(app.outdir, FILE).write_text(json.dumps(labels(app.env), sort_keys=True), encoding="utf8")


def lead_to_reading(app, pagename, templatename, context, doctree) -> None:
    """Binder, Colab and the download give the reading notebook, which is published beside the site."""
    chapter = pagename.removeprefix("book/")
    if not str(context.get("sourcename", "")).endswith(".ipynb"):
        return
    project = repository()["url"].removeprefix("https://github.com/")
    path = f"notebooks/{chapter}.ipynb"
    addresses = {
        "Binder": f"https://mybinder.org/v2/gh/{project}/gh-pages?urlpath=lab/tree/{path}",
        "Colab": f"https://colab.research.google.com/github/{project}/blob/gh-pages/{path}",
        ".ipynb": context["pathto"](path, 1),
    }
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("text") in addresses:
                button["url"] = addresses[button["text"]]


def setup(app):
    """Register with Sphinx; 950 is after the theme and emt_sphinx have made their menus."""
    app.connect("build-finished", write_labels)
    app.connect("html-page-context", lead_to_reading, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
