"""Write each chapter's paired notebook: book/x.md -> book/x.ipynb. The .md is the only one that a person edits.

    python tools/sync.py            # make sync: also executes the pairs, for the text that nbval compares
    python tools/sync.py --check    # make lint: says which pairs are out of date; executes nothing

A pair carries the chapter's cells with stable ids, and of the outputs only the text of cells tagged
`nbval-check-output`: no pictures, no times, so that running this twice changes nothing. What readers open elsewhere is
the reading notebook that tools/reading.py makes.
"""

import argparse
import hashlib
import sys

import jupytext
import nbformat
from chapters import BOOK, chapter_names, has_tag, run_notebook

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
KEPT_METADATA = ("kernelspec", "jupytext")


def pair_of(chapter: str):
    """The chapter as a notebook without outputs; a cell's id follows from its text, so it is the same at every run."""
    notebook = jupytext.read(BOOK / f"{chapter}.md")
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        text = f"{cell.cell_type}\n{cell.source}"
        seen[text] = seen.get(text, 0) + 1
        cell.id = hashlib.sha256(f"{text}\n{seen[text]}".encode()).hexdigest()[:12]
    notebook.metadata["kernelspec"] = KERNEL
    notebook.metadata["jupytext"] = {"formats": "ipynb,md:myst", "main_language": "python"}
    notebook.metadata = {key: notebook.metadata[key] for key in KEPT_METADATA}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def checked_text(output) -> dict | None:
    """What of an output nbval compares and a pair may carry."""
    if output.output_type == "stream" and output.name == "stdout":
        return nbformat.v4.new_output("stream", name="stdout", text=output.text)
    text = output.get("data", {}).get("text/plain")
    return text and nbformat.v4.new_output("display_data", data={"text/plain": text})


def with_checked_outputs(notebook):
    """Execute the pair with its own parameters, and keep the text of the cells that ask for it."""
    executed = run_notebook(notebook, None)
    count = 0
    for clean, cell in zip(notebook.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            count += 1
            kept = [checked_text(o) for o in cell.outputs] if has_tag(cell, "nbval-check-output") else []
            clean.outputs = [o for o in kept if o]
            # nbval takes outputs without a count for a mistake; counted in order, it is the same at every run
            clean.execution_count = count if clean.outputs else None
    return notebook


def agrees(chapter: str) -> bool:
    """Whether the pair, outputs aside, is what the .md gives."""
    path = BOOK / f"{chapter}.ipynb"
    if not path.exists():
        return False
    pair = nbformat.read(path, as_version=4)
    for cell in pair.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(pair) == nbformat.writes(pair_of(chapter))


def main() -> int:
    """Check, or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="all by default")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    chapters = args.chapters or chapter_names()
    if args.check:
        stale = [chapter for chapter in chapters if not agrees(chapter)]
        for chapter in stale:
            print(f"book/{chapter}.ipynb is out of date: run `make sync`", file=sys.stderr)
        return 1 if stale else 0
    for chapter in chapters:
        nbformat.write(with_checked_outputs(pair_of(chapter)), BOOK / f"{chapter}.ipynb")
        print(f"book/{chapter}.ipynb written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
