"""The chapters: their form, their pairs, and that each runs with more parameters than it was written with.

The smoke profile's notebooks are those that `make test` has just executed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from emt_core.book import claims

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from chapters import (  # noqa: E402
    BOOK,
    chapter_names,
    check_parameters,
    has_tag,
    profile_section,
    run_notebook,
    toc_order,
)
from check_code import complaints  # noqa: E402
from sync import pair_of  # noqa: E402

CHAPTERS = chapter_names()
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS)


def code_cells(notebook) -> list:
    """The code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read_pair(chapter: str):
    """The committed .ipynb of a chapter."""
    return nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4)


def checked_cells(chapter: str) -> list:
    """The cells of a chapter whose text nbval compares."""
    return [cell for cell in code_cells(pair_of(chapter)) if has_tag(cell, "nbval-check-output")]


def read_smoke(chapter: str):
    """The chapter as the smoke profile executed it."""
    path = ROOT / "_build" / "executed" / "smoke" / f"{chapter}.ipynb"
    if not path.exists():
        pytest.fail(f"{path} is missing: run `make test`, which executes the smoke profile first")
    return nbformat.read(path, as_version=4)


def test_every_page_is_in_the_table_of_contents():
    """No chapter is forgotten, and no entry leads nowhere."""
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in BOOK.rglob("*.md")}
    assert pages == set(toc_order())


def test_pairs_are_in_sync():
    """Every .ipynb is what `make sync` would write, outputs aside."""
    done = subprocess.run([sys.executable, "tools/sync.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_cell_id_is_stable():
    """Ids follow from the text: made twice, they are the same."""
    for chapter in CHAPTERS:
        assert nbformat.writes(pair_of(chapter)) == nbformat.writes(pair_of(chapter))


@each_chapter
def test_pair_carries_only_text_that_is_compared(chapter):
    """No pictures, no times, no widget state: the text of the cells tagged `nbval-check-output`, and nothing else."""
    notebook = read_pair(chapter)
    assert set(notebook.metadata) == {"kernelspec", "jupytext"}
    for cell in code_cells(notebook):
        assert cell.outputs or cell.execution_count is None
        if not has_tag(cell, "nbval-check-output"):
            assert cell.outputs == []
        for output in cell.outputs:
            assert output.output_type in {"stream", "display_data"}
            assert output.get("name", "stdout") == "stdout"
            assert set(output.get("data", {})) <= {"text/plain"}
        assert cell.outputs or not has_tag(cell, "nbval-check-output"), f"nothing to compare: {cell.source}"


@each_chapter
def test_form_of_the_code_cells(chapter):
    """First the parameters with a comment each; ideas and no plumbing (tools/check_code.py)."""
    cells = code_cells(read_pair(chapter))
    assert has_tag(cells[0], "parameters")
    for line in cells[0].source.splitlines():
        assert ("=" in line and "#" in line) or not line.strip(), f"a parameter wants a comment: {line}"
    assert complaints(read_pair(chapter)) == []


@each_chapter
def test_every_claim_of_the_file_is_in_the_chapter(chapter):
    """book/claims/x.toml holds the claims that x shows, and no other; several values say what each is of."""
    shown = claims.collect(ROOT / "_build" / "executed" / "smoke" / f"{chapter}.ipynb")
    written = set(claims.written(chapter)) if (BOOK / "claims" / f"{chapter}.toml").exists() else set()
    assert {claim.id for claim in shown} == written
    assert [claim.id for claim in shown if len(claim.values) > 1 and not claim.per] == []


@each_chapter
def test_every_figure_has_caption_alt_and_name(chapter):
    """A cell that shows a picture says in its metadata what it is called, what it shows, and what it looks like."""
    for cell in code_cells(read_smoke(chapter)):
        pictures = [o for o in cell.outputs if any(kind.startswith("image/") for kind in o.get("data", {}))]
        if pictures and not has_tag(cell, "remove-cell") and not has_tag(cell, "remove-output"):
            told = cell.metadata.get("mystnb", {})
            for part, key in (("figure", "name"), ("figure", "caption"), ("image", "alt")):
                assert told.get(part, {}).get(key), f"mystnb.{part}.{key} is missing: {cell.source}"


@each_chapter
def test_figures_are_referred_to(chapter):
    """The text speaks of every figure."""
    text = (BOOK / f"{chapter}.md").read_text(encoding="utf8")
    for cell in code_cells(pair_of(chapter)):
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        assert (
            name is None or any(f"{{{role}}}`{name}`" in text for role in ("numref", "ref")) or f"(#{name})" in text
        ), name


@each_chapter
def test_pair_is_what_the_smoke_profile_ran(chapter):
    """The smoke profile changes no value of a chapter: that its pair runs as it stands, the build has shown."""
    written: dict = {}
    exec(code_cells(read_pair(chapter))[0].source, written)
    assert (written["profile"], profile_section("smoke", chapter)) == ("smoke", {})


@pytest.mark.slow
@pytest.mark.xdist_group("nbval")  # one at a time: its kernels take TCP ports, see run_notebook
@pytest.mark.parametrize("chapter", [chapter for chapter in CHAPTERS if checked_cells(chapter)])
def test_pair_gives_its_committed_text(chapter, tmp_path):
    """nbval runs the committed notebook as it stands, and compares the text of the tagged cells, where there are some.

    In a process of its own, since nbval's cells share a kernel, and pytest-xdist would spread them over its workers.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-header"]
    command += ["--nbval-lax", "--nbval-current-env", f"book/{chapter}.ipynb"]
    kernel = {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1", "PYTHONHASHSEED": "0", "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | kernel, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def undecided_or_met(notebook) -> list[str]:
    """The claims of an executed notebook whose verdict is not what the book says."""
    return [
        f"{claim.id}: {claim.statement} {claim.verdict}, {claim.rule}, obtained {claim.obtained}"
        for claim in claims.collect(notebook)
        if not claim.as_expected
    ]


@each_chapter
def test_smoke_run_is_quiet_and_its_claims_hold(chapter):
    """No warning on a page; no claim fails but those of which the book says so."""
    notebook = read_smoke(chapter)
    noise = [o.text for cell in code_cells(notebook) for o in cell.outputs if o.get("name") == "stderr"]
    assert [text for text in noise if "font cache" not in text] == []
    assert undecided_or_met(ROOT / "_build" / "executed" / "smoke" / f"{chapter}.ipynb") == []


def test_claims_have_distinct_ids():
    """An id names one claim in the whole book."""
    paths = [ROOT / "_build" / "executed" / "smoke" / f"{chapter}.ipynb" for chapter in CHAPTERS]
    ids = [claim.id for path in paths for claim in claims.collect(path)]
    assert len(ids) == len(set(ids))


MORE = yaml.safe_load((BOOK / "profiles" / "tests.yml").read_text(encoding="utf8")) or {}


@each_chapter
def test_has_two_more_parameter_sets(chapter):
    """book/profiles/tests.yml holds at least two for every chapter, which differ from each other."""
    sets = MORE.get(chapter, [])
    assert len({json.dumps(s, sort_keys=True) for s in sets}) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(("chapter", "number"), [(c, i) for c in CHAPTERS for i in range(len(MORE.get(c, [])))])
def test_runs_with_other_parameters(chapter, number, tmp_path):
    """A chapter is not written for one set of numbers."""
    parameters = {**profile_section("smoke", chapter), **MORE[chapter][number], "profile": "smoke"}
    notebook = pair_of(chapter)
    check_parameters(notebook, parameters, chapter)
    run_notebook(notebook, tmp_path / "out.ipynb", parameters)
    assert undecided_or_met(tmp_path / "out.ipynb") == []
