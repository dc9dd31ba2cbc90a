"""A table of what a page of the API describes: `api-summary` stands at its top, autodoc's entries below.

Made from the page itself once it has been read, so that it cannot miss an entry: a row for each, with the first
sentence of its docstring, under the title of its section.
"""

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective


class ApiSummary(nodes.General, nodes.Element):
    """Holds the table's place until the page has been read."""


class ApiSummaryDirective(SphinxDirective):
    """`{api-summary}`, without argument or content."""

    def run(self) -> list[nodes.Node]:
        return [ApiSummary()]


def first_sentence(description: addnodes.desc_content) -> list[nodes.Node]:
    """The first paragraph of a docstring up to its first full stop, with its links."""
    paragraph = next((node for node in description if isinstance(node, nodes.paragraph)), nodes.paragraph())
    kept: list[nodes.Node] = []
    for node in paragraph:
        stop = isinstance(node, nodes.Text) and re.search(r"\.(?=\s|$)|:$", node)
        kept.append(nodes.Text(node[: stop.start()]) if stop else node.deepcopy())
        if stop:
            break
    return kept


def entry(*content: nodes.Node, **options) -> nodes.entry:
    """A table's cell."""
    return nodes.entry("", nodes.paragraph("", "", *content), **options)


def row_of(description: addnodes.desc) -> nodes.row:
    """Name, a link to the entry, and its first sentence."""
    signature = description[0]
    name = nodes.literal("", signature["fullname"])
    link = nodes.reference("", "", name, refid=signature["ids"][0], internal=True)
    return nodes.row("", entry(link), entry(*first_sentence(description[-1])))


def section_of(node: nodes.Node) -> nodes.section:
    """The section that a node stands in."""
    while not isinstance(node, nodes.section):
        node = node.parent
    return node


def table_of(doctree: nodes.document) -> nodes.table:
    """A row for each entry that stands in no other, after a row for its section where there are several."""
    entries = [node for node in doctree.findall(addnodes.desc) if not isinstance(node.parent, addnodes.desc_content)]
    sections = dict.fromkeys(map(section_of, entries))
    body = nodes.tbody()
    for section in sections:
        if len(sections) > 1 and not isinstance(section.parent, nodes.document):
            title = nodes.reference("", section[0].astext(), refid=section["ids"][0], internal=True)
            body += nodes.row("", entry(nodes.strong("", "", title), morecols=1), classes=["api-section"])
        body += [row_of(node) for node in entries if section_of(node) is section]
    heads = (nodes.Text(word) for word in ("name", "what it is"))
    head = nodes.thead("", nodes.row("", *map(entry, heads)))
    columns = [nodes.colspec(colwidth=1), nodes.colspec(colwidth=2)]
    return nodes.table("", nodes.tgroup("", *columns, head, body, cols=2), classes=["api-summary"])


def fill(app, doctree: nodes.document) -> None:
    """Put the table where the directive stood."""
    for place in list(doctree.findall(ApiSummary)):
        place.replace_self(table_of(doctree))


def setup(app):
    """Register with Sphinx."""
    app.add_node(ApiSummary)
    app.add_directive("api-summary", ApiSummaryDirective)
    app.connect("doctree-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
