"""Make a chapter's reading notebook: what it says on its page, in plain Markdown, for any Jupyter.

A page is written in MyST, whose roles and directives plain JupyterLab, Colab and GitHub show as raw markup. Here each
becomes what it means: references with the page's numbers, citations, numbered equations, quotes, captions under
figures, solutions under a folded heading. A paragraph with numbers that the run computed becomes a cell whose folded
code shows it with the values of the run (emt_core.book.text.live). What is not known is an error, never left as markup.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
import nbformat
from chapters import BOOK, chapter_names, has_tag, profile_section, repository
from nbformat.v4 import new_code_cell, new_markdown_cell

FENCE = re.compile(r"^(`{3,}|:{3,})\{([\w:-]+)\}[ \t]*(.*)$")
# a role, a code span, or a link with its attributes: whichever begins first
PIECE = re.compile(
    r"\{(?P<role>[\w:-]+)\}(?P<ticks>`+)(?P<content>.+?)(?P=ticks)"
    r"|(?P<code>`+).+?(?P=code)"
    r"|(?<!!)\[(?P<shown>[^\[\]]*)\]\((?P<target>[^()\s]+)\)(?:\{[^{}]*\})?",
    re.S,
)
TITLED = re.compile(r"^(.*?)\s*<([^<>]+)>$", re.S)
RECORDS = "application/vnd.emt.claims+json"
NAMES = {"figure": "Figure", "table": "Table", "displaymath": "Equation", "code-block": "Listing"}
CALLOUTS = ("note", "tip", "hint", "warning", "important", "seealso", "admonition", "dropdown", "margin")

SETUP = """\
# @title Install the book's library, where it is missing (Colab, or your own Jupyter)
import importlib.util
import sys

if importlib.util.find_spec("emt_core") is None:
    %pip install -q "emt-core[book] @ git+{url}@{branch}"
if "google.colab" in sys.modules:  # so that explorers are shown
    from google.colab import output

    output.enable_custom_widget_manager()

from emt_core.book.text import live"""


@dataclass
class Book:
    """What a chapter may refer to: numbers and places of everything that has a label, as Sphinx gave them."""

    labels: dict[str, dict]  # label -> {"doc", "anchor", "kind", "number", "title"}
    titles: dict[str, str]  # page -> title
    site: str

    def link(self, here: str, doc: str, anchor: str = "") -> str:
        """A place of this notebook, or of the site."""
        if doc == here and anchor:
            return f"#{anchor}"
        return f"{self.site}/book/{doc}.html" + (f"#{anchor}" if anchor else "")


@dataclass
class Page:
    """One chapter on its way: its name, the book, what the run said, and what it cites."""

    name: str
    book: Book
    said: dict[str, object]
    cited: list[str] = field(default_factory=list)


# --- inline -----------------------------------------------------------------------------------------------------------


def inline(text: str, page: Page) -> str:
    """A paragraph's roles and links, outside code, as plain Markdown; values of the run as ``<<name:.2f>>``."""

    def one(match: re.Match) -> str:
        if match["role"]:
            return role(match["role"], match["content"], page)
        if match["target"]:
            return linked(match["shown"], match["target"], page)
        return match[0]

    return PIECE.sub(one, text)


def role(name: str, content: str, page: Page) -> str:
    """What a role means."""
    titled = TITLED.match(content)
    shown, target = (titled[1], titled[2]) if titled else ("", content)
    if name == "glue:text":
        return f"<<{content}>>"
    if name == "math":
        return f"${content}$"
    if name == "doc":
        doc = target.strip("/").removeprefix("book/")
        return f"[{shown or page.book.titles[doc]}]({page.book.link(page.name, doc)})"
    if name in ("eq", "numref", "ref", "prf:ref", "secref"):
        return reference(name, shown, target, page)
    if name in ("footcite", "footcite:p", "footcite:t", "cite", "cite:p", "cite:t"):
        return citation(name, target, page)
    if name in ("py:func", "py:mod", "py:class", "func", "mod", "class", "py:obj", "any"):
        return f"`{(shown or target).lstrip('~.')}`"
    raise ValueError(f"{page.name}: role {{{name}}} has no plain form: {{{name}}}`{content}`")


def reference(name: str, shown: str, target: str, page: Page) -> str:
    """A reference to a numbered thing or a section, with the page's number."""
    label = page.book.labels.get(target)
    if label is None:
        raise ValueError(f"{page.name}: nothing is labelled {target!r}")
    where = page.book.link(page.name, label["doc"], label["anchor"])
    number = label.get("number", "")
    if name == "eq":
        return f"[({number})]({where})"
    if name == "ref" and not number:
        return f"[{shown or label['title']}]({where})"
    words = shown.replace("%s", number).replace("{number}", number) if shown else f"{kind(label)} {number}"
    return f"[{words}]({where})"


def kind(label: dict) -> str:
    """The word before a number."""
    return NAMES.get(label["kind"], label["kind"].capitalize())


def linked(shown: str, target: str, page: Page) -> str:
    """A Markdown link: to a page or a label of the book, or elsewhere; attributes are dropped."""
    if re.match(r"[a-z]+:", target):
        return f"[{shown}]({target})"
    target, _, anchor = target.partition("#")
    doc = target.strip("/").removeprefix("book/").removesuffix(".md").removesuffix(".html")
    if not doc and anchor in page.book.labels:
        return reference("ref", shown, anchor, page)
    if not doc:  # a control of an explorer on the page
        return shown
    return f"[{shown or page.book.titles[doc]}]({page.book.link(page.name, doc, anchor)})"


def citation(name: str, keys: str, page: Page) -> str:
    """Author and year, linked to the notebook's list of references."""
    words = []
    for key in (k.strip() for k in keys.split(",")):
        if key not in page.cited:
            page.cited.append(key)
        authors, year = author_year(key)
        text = f"{authors} ({year})" if name.endswith(":t") else f"{authors}, {year}"
        words.append(f"[{text}](#ref-{key})")
    return "; ".join(words) if name.endswith(":t") else f"({'; '.join(words)})"


def bibliography():
    """The book's references."""
    from pybtex.database import parse_file

    return parse_file(BOOK / "references.bib").entries


def author_year(key: str) -> tuple[str, str]:
    """As in "Karuvally et al." and "2023"."""
    from pybtex.richtext import Text

    entry = bibliography()[key]
    names = [" ".join(person.prelast_names + person.last_names) for person in entry.persons.get("author", [])]
    names = [str(Text.from_latex(name)) for name in names]  # "Csord{\\'a}s" as it is read
    short = names[0] + " et al." if len(names) > 2 else " and ".join(names)
    return short, entry.fields["year"]


def references(page: Page) -> str:
    """The list of what the chapter cites, in Markdown."""
    from io import StringIO

    from pybtex.backends.markdown import Backend
    from pybtex.database import BibliographyData
    from pybtex.style.formatting.plain import Style

    entries = bibliography()
    chosen = BibliographyData({key: entries[key] for key in page.cited})
    lines = []
    for entry in Style().format_bibliography(chosen):
        stream, backend = StringIO(), Backend()
        stream.write(entry.text.render(backend))
        text = re.sub(r"\\([.\-_()])", r"\1", stream.getvalue())  # what need not be escaped is not
        lines.append(f'- <a id="ref-{entry.key}"></a>{text}')
    return "\n".join(lines)


# --- blocks -----------------------------------------------------------------------------------------------------------


def blocks(source: str) -> list[tuple]:
    """A Markdown source as ("text", paragraph) and ("directive", name, argument, options, body), in order."""
    found: list[tuple] = []
    lines, paragraph, i = re.sub(r"<!--.*?-->", "", source, flags=re.S).splitlines(), [], 0

    def close() -> None:
        if any(line.strip() for line in paragraph):
            found.append(("text", "\n".join(paragraph).strip("\n")))
        paragraph.clear()

    while i < len(lines):
        line = lines[i]
        if opening := FENCE.match(line):
            close()
            fence, body = opening[1], []
            while (i := i + 1) < len(lines) and lines[i].rstrip() != fence:
                body.append(lines[i])
            found.append(("directive", opening[2], opening[3], *options_of(body)))
        elif re.match(r"^`{3,}", line):  # a code block: one piece, whatever is in it
            fence = re.match(r"^`{3,}", line)[0]
            paragraph.append(line)
            while (i := i + 1) < len(lines) and lines[i].rstrip() != fence:
                paragraph.append(lines[i])
            paragraph.append(fence)
        elif target := re.match(r"^\(([\w-]+)\)=\s*$", line):
            close()
            found.append(("text", f'<a id="{target[1]}"></a>'))
        elif re.match(r"^(%|\+\+\+)", line) or not line.strip():
            close()
        else:
            paragraph.append(line)
        i += 1
    close()
    return found


def options_of(body: list[str]) -> tuple[dict[str, str], str]:
    """A directive's options, and the rest of its lines."""
    options = {}
    while body and (option := re.match(r"^:([\w-]+):\s*(.*)$", body[0])):
        options[option[1]] = option[2]
        body = body[1:]
    return options, "\n".join(body).strip("\n")


def plain(source: str, page: Page) -> list:
    """The cells of one Markdown cell."""
    cells: list = []
    for block in blocks(source):
        if block[0] == "text":
            add(cells, block[1] if block[1].startswith("```") else inline(block[1], page), page)
        else:
            directive(cells, *block[1:], page)
    return cells


def add(cells: list, text: str, page: Page) -> None:
    """Text to the cell before, if that is plain Markdown too; a paragraph with values of the run gets its own."""
    if "<<" in text and not text.startswith("```"):
        cells.append(live_cell(text, page))
    elif cells and cells[-1].cell_type == "markdown" and not cells[-1].metadata:
        cells[-1].source += "\n\n" + text
    else:
        cells.append(new_markdown_cell(text))


def live_cell(text: str, page: Page):
    """A folded code cell that shows a paragraph with the values of the run."""
    from emt_core.book.text import PLACE, filled

    names = dict.fromkeys(name for name, _ in PLACE.findall(text))
    missing = [name for name in names if name not in page.said]
    if missing:
        raise ValueError(f"{page.name}: the text asks for {', '.join(missing)}, which the run did not say: {text[:80]}")
    values = {name: page.said[name] for name in names}
    shown = filled(text, values)
    quoted = '"""' + text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') + '"""'
    if "\\" in text and '"""' not in text and not text.endswith(("\\", '"')):
        quoted = f'r"""{text}"""'
    arguments = "".join(f", {name}={value!r}" for name, value in values.items())
    output = nbformat.v4.new_output("display_data", {"text/markdown": shown, "text/plain": shown})
    return folded(new_code_cell(f"# @title\nlive({quoted}{arguments})", outputs=[output]))


def folded(cell):
    """A code cell whose source Jupyter and Colab hide until asked."""
    cell.metadata["jupyter"] = {"source_hidden": True}
    cell.metadata["cellView"] = "form"
    return cell


def directive(cells: list, name: str, argument: str, options: dict, body: str, page: Page) -> None:
    """What a directive means."""
    label = page.book.labels.get(options.get("label", ""), {})
    number, anchor = label.get("number", ""), f'<a id="{options["label"]}"></a>' if "label" in options else ""
    if name == "math":
        tag = f" \\tag{{{number}}}" if number else ""
        add(cells, f"{anchor}\n\n$$\n{body.rstrip()}{tag}\n$$".strip(), page)
    elif name in CALLOUTS:
        own = name in ("admonition", "dropdown") and argument
        title = argument if own else "" if name == "margin" else name.capitalize()
        text = body if argument == title else f"{argument}\n{body}".strip()
        quote(cells, f"**{title}.** " if title else "", text, page)
    elif name == "prf:proof":
        quote(cells, "*Proof.* ", body + " $\\square$", page)
    elif name.startswith("prf:"):
        title = f" ({argument})" if argument else ""
        quote(cells, f"{anchor}**{name[4:].capitalize()} {number}{title}.** ", body, page)
    elif name == "exercise":
        add(cells, f"{anchor}\n\n### Exercise {number}", page)
        for cell in plain(body, page):
            cells.append(cell) if cell.cell_type == "code" else add(cells, cell.source, page)
    elif name == "solution-start":
        number = page.book.labels[argument.strip()]["number"]
        heading = new_markdown_cell(f"#### Solution to exercise {number}")
        heading.metadata.update({"jp-MarkdownHeadingCollapsed": True})
        cells.append(heading)
    elif name == "solution-end":
        pass
    elif name == "footbibliography":
        add(cells, references(page), page)
    elif name == "literalinclude":
        add(cells, f"```python\n{included(argument, options)}\n```", page)
    elif name == "raw" and argument == "html":
        add(cells, body, page)
    elif name in ("figure", "image"):
        picture = f"![{options.get('alt', '')}]({page.book.site}/_images/{Path(argument).name})"
        add(cells, f"{picture}\n\n{inline(body, page)}".strip(), page)
    else:
        raise ValueError(f"{page.name}: directive {{{name}}} has no plain form")


def quote(cells: list, opening: str, body: str, page: Page) -> None:
    """A block quote: its paragraphs, equations and all."""
    inner = plain(body, page)
    if len(inner) != 1 or inner[0].cell_type != "markdown":
        raise ValueError(f"{page.name}: a quoted block cannot hold values of the run: {body[:80]}")
    lines = (opening + inner[0].source).splitlines()
    add(cells, "\n".join(f"> {line}".rstrip() for line in lines), page)


def included(path: str, options: dict) -> str:
    """The source of a function of the library."""
    source = (BOOK / path).resolve().read_text(encoding="utf8")
    wanted = options.get("pyobject")
    if wanted is None:
        return source.rstrip()
    for node in ast.walk(ast.parse(source)):
        if getattr(node, "name", None) == wanted.rpartition(".")[2]:  # of a method its own name
            lines = ast.get_source_segment(source, node, padded=True).splitlines()
            first = next(i for i, line in enumerate(lines) if options.get("start-at", "") in line)
            text = "\n".join(lines[first:])
            return textwrap.dedent(text) if "dedent" in options else text
    raise ValueError(f"{path} has no {wanted}")


# --- code cells -------------------------------------------------------------------------------------------------------


def code(cell, page: Page) -> list:
    """A code cell as readers get it, with the caption under its figure."""
    tags = cell.metadata.get("tags", [])
    told = cell.metadata.get("mystnb", {}).get("figure", {})
    outputs = [without_records(output) for output in cell.outputs]
    new = new_code_cell(cell.source, outputs=[o for o in outputs if o], execution_count=cell.execution_count)
    widgets = "ipywidgets" in cell.source  # for readers with a kernel: in sight
    if any(tag in tags for tag in ("hide-input", "remove-input", "hide-cell", "remove-cell")) and not widgets:
        folded(new)
    if not told.get("caption"):
        return [new]
    label = page.book.labels[told["name"]]
    caption = inline(told["caption"], page)
    shown = f'<a id="{told["name"]}"></a>**{kind(label)} {label["number"]}.** {caption}'
    return [new, live_cell(shown, page) if "<<" in shown else new_markdown_cell(shown)]


def without_records(output):
    """An output without what only the site's build reads; None where nothing is left to see."""
    data = output.get("data")
    if data is None:
        return output
    data = {kind: value for kind, value in data.items() if kind != RECORDS and "papermill.record" not in kind}
    return nbformat.from_dict({**output, "data": data, "metadata": {}}) if data else None


def values_said(notebook) -> dict[str, object]:
    """What the run gave to its text."""
    said = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name:
                text = next(value for kind, value in output["data"].items() if kind.endswith("text/plain"))
                try:
                    said[name] = ast.literal_eval(text)
                except (ValueError, SyntaxError):  # nan, inf
                    said[name] = float(text)
    return said


def fast_cell(name: str, cell):
    """One cell further, small values: what the tests run with."""
    source = next(c for c in jupytext.read(BOOK / f"{name}.md").cells if has_tag(c, "parameters")).source
    small = {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(source).body if isinstance(n, ast.Assign)}
    small |= profile_section("smoke", name) | {"profile": "smoke"}
    now = {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(cell.source).body if isinstance(n, ast.Assign)}
    lines = [f"    {key} = {value!r}" for key, value in small.items() if now.get(key) != value]
    if not lines:
        return []
    first = "fast = False  # True: small values; the notebook then runs in seconds, and decides fewer claims"
    return [new_code_cell("\n".join([first, "if fast:", *lines]))]


# --- the notebook -----------------------------------------------------------------------------------------------------


def reading_notebook(name: str, notebook, book: Book):
    """The reading notebook of an executed chapter."""
    page, cells = Page(name, book, values_said(notebook)), []
    place = repository()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cells += plain(cell.source, page)
        elif cell.cell_type == "code":
            cells += code(cell, page)
            if has_tag(cell, "parameters"):
                cells += fast_cell(name, cell)
    first = next(i for i, cell in enumerate(cells) if cell.cell_type == "code")
    setup = folded(new_code_cell(SETUP.format(url=place["url"], branch=place["branch"])))
    address = f"{book.site}/book/{name}.html"
    title, _, rest = cells[0].source.partition("\n")
    book_link = f"[How Recurrent Networks Remember]({book.site}/)"
    cells[0].source = f"{title}\n\n*A chapter of {book_link} as a notebook; [its page]({address}).*\n{rest}"
    cells.insert(first, setup)
    for i, cell in enumerate(cells):
        cell.id = hashlib.sha256(f"{name} {i} {cell.source}".encode()).hexdigest()[:12]
        check(cell, name)
    metadata = {key: notebook.metadata[key] for key in ("widgets",) if key in notebook.metadata}
    metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    collapsed = [cell.id for cell in cells if "jp-MarkdownHeadingCollapsed" in cell.metadata]
    metadata["colab"] = {"collapsed_sections": collapsed, "provenance": []}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def check(cell, name: str) -> None:
    """No markup that only MyST knows may be left."""
    shown = cell.source if cell.cell_type == "markdown" or cell.source.startswith("# @title\nlive(") else ""
    outside = re.sub(r"^```.*?^```", "", shown, flags=re.S | re.M)
    left = re.search(r"\{[a-z][\w:-]*\}`|^(`{3,}|:{3,})\{", outside, flags=re.M)
    if left:
        what = outside[left.start() : left.start() + 60]
        raise ValueError(f"{name}: markup is left in the reading notebook: {what!r}")


def write(executed: Path, labels: Path, out: Path) -> list[Path]:
    """Every chapter's reading notebook, from the notebooks of one profile and the labels that Sphinx wrote."""
    place, found = repository(), json.loads(labels.read_text(encoding="utf8"))
    book, written = Book(found["labels"], found["titles"], place["site"]), []
    out.mkdir(parents=True, exist_ok=True)
    for name in chapter_names():
        notebook = reading_notebook(name, nbformat.read(executed / f"{name}.ipynb", as_version=4), book)
        nbformat.write(notebook, out / f"{name}.ipynb")
        written.append(out / f"{name}.ipynb")
    return written
