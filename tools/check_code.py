"""Counts what code a chapter shows, and fails where it shows plumbing: `make lint` runs it over all chapters.

    python tools/check_code.py [chapter …]

A page shows the code cells that are neither folded nor removed. Of these: no cell over 12 lines, half of them at most
6, no line over 86 columns, and at least 80 % of the lines about the subject. A statement is plumbing if it imports, or
names anything that draws, prints, tabulates or gives values to the text. Parameters are folded, and a figure or an
explorer stands above the first code.
"""

import argparse
import ast
import statistics
import sys

import jupytext
from chapters import BOOK, chapter_names, has_tag

FOLDED = ("remove-cell", "remove-input", "hide-input", "hide-cell")
PLUMBING = {"plt", "fig", "figure", "ax", "axes", "panel", "panels", "figures", "diagrams", "explorers"}
PLUMBING |= {"onion_explorers", "memory_explorers", "basis_explorers", "memory_kicks", "basis_knobs"}
PLUMBING |= {"map_explorers", "bits_explorers", "network_map", "memory_bits"}
PLUMBING |= {"print", "say", "text", "tables", "claims", "display", "glue", "interact"}
LINES, MEDIAN, COLUMNS, SUBJECT = 12, 6, 86, 0.8


def is_plumbing(statement: ast.stmt) -> bool:
    """Whether a statement imports, or names what draws, prints or tabulates."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return True
    return any(isinstance(node, ast.Name) and node.id in PLUMBING for node in ast.walk(statement))


def lines_of(source: str) -> list[str]:
    """The lines that are neither empty nor a comment."""
    return [line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]


def subject_lines(source: str) -> int:
    """How many of a cell's lines are about its subject."""
    tree = ast.parse("\n".join("pass" if line.startswith(("%", "!")) else line for line in source.splitlines()))
    about, rows = 0, source.splitlines()
    for statement in tree.body:
        if not is_plumbing(statement):
            first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
            about += len(lines_of("\n".join(rows[first - 1 : statement.end_lineno])))
    return about


def shows_picture(cell) -> bool:
    """Whether a cell carries a figure, or calls an explorer."""
    return bool(cell.metadata.get("mystnb", {}).get("figure")) or "explorers." in cell.source


def complaints(notebook) -> list[str]:
    """What is wrong with the code that a chapter shows; empty where nothing is."""
    found, counts, about = [], [], 0
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    visible = [cell for cell in code if not any(has_tag(cell, tag) for tag in FOLDED)]
    for cell in code:
        if has_tag(cell, "parameters") and cell in visible:
            found.append("the parameters are not folded (tag hide-input)")
    if visible and not any(shows_picture(cell) for cell in code[: code.index(visible[0])]):
        found.append("no figure and no explorer stands above the first visible code")
    for cell in visible:
        lines = lines_of(cell.source)
        counts.append(len(lines))
        about += subject_lines(cell.source)
        where = f"the cell that begins with {lines[0].strip()!r}" if lines else "an empty cell"
        if len(lines) > LINES:
            found.append(f"{where} has {len(lines)} lines, {LINES} are allowed")
        wide = max(map(len, cell.source.splitlines()), default=0)
        if wide > COLUMNS:
            found.append(f"{where} is {wide} columns wide, {COLUMNS} are allowed")
    if counts and statistics.median(counts) > MEDIAN:
        found.append(f"the median visible cell has {statistics.median(counts):g} lines, {MEDIAN} are allowed")
    if counts and about < SUBJECT * sum(counts):
        found.append(
            f"{about / sum(counts):.0%} of the visible lines are about the subject, of {SUBJECT:.0%} asked for"
        )
    return found


def main() -> int:
    """Say per chapter what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="all by default")
    names = parser.parse_args().chapters or chapter_names()
    found = {name: complaints(jupytext.read(BOOK / f"{name}.md")) for name in names}
    for name, wrong in found.items():
        for what in wrong:
            print(f"book/{name}.md: {what}", file=sys.stderr)
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
