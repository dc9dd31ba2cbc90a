"""The reading notebooks: plain Markdown only, and they run wherever there is a kernel and the library.

Those of all chapters are the ones that `make test` has just built beside the smoke site.
"""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import reading  # noqa: E402
from chapters import browser, chapter_names, has_tag, repository, run_notebook  # noqa: E402

SITE = Path(os.environ.get("EMT_SITE", ROOT / "_build" / "test" / "html"))
NOTEBOOKS = SITE / "notebooks"
CHAPTERS = chapter_names()
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS)
needs_site = pytest.mark.skipif(not NOTEBOOKS.exists(), reason=f"no site at {SITE}: run `make test`, which builds it")
BROWSER = browser()

LABELS = {
    "eq-a": {"doc": "x", "anchor": "equation-eq-a", "kind": "displaymath", "number": "3.1"},
    "fig-b": {"doc": "y", "anchor": "fig-b", "kind": "figure", "number": "4.2"},
    "sec": {"doc": "x", "anchor": "sec", "kind": "section", "title": "A section"},
    "ex-c": {"doc": "x", "anchor": "ex-c", "kind": "exercise", "number": "3.1"},
    "prop-d": {"doc": "x", "anchor": "prop-d", "kind": "proposition", "number": "3.2"},
}


@pytest.fixture
def page():
    book = reading.Book(LABELS, {"x": "Chapter X", "y": "Chapter Y"}, "https://host/book")
    return reading.Page("x", book, {"n": 3, "error": 0.126})


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("by {eq}`eq-a`,", "by [(3.1)](#equation-eq-a),"),
        ("see {numref}`fig-b`", "see [Figure 4.2](https://host/book/book/y.html#fig-b)"),
        ("see {numref}`panel %s <fig-b>`", "see [panel 4.2](https://host/book/book/y.html#fig-b)"),
        ("in {ref}`sec` and {ref}`there <sec>`", "in [A section](#sec) and [there](#sec)"),
        (
            "in {doc}`y` and [](x)",
            "in [Chapter Y](https://host/book/book/y.html) and [Chapter X](https://host/book/book/x.html)",
        ),
        ("in [words](y.md#part)", "in [words](https://host/book/book/y.html#part)"),
        ("[step 12](#explore?step=12){.emt-set}", "step 12"),
        ("[out](https://x.org/a){.external}", "[out](https://x.org/a)"),
        ("{math}`4N` and $x_{1}`$", "$4N$ and $x_{1}`$"),
        ("`{eq}` and ``a `b` c``", "`{eq}` and ``a `b` c``"),
        ("{prf:ref}`prop-d`", "[Proposition 3.2](#prop-d)"),
    ],
    ids=lambda text: text[:20],
)
def test_inline_markup_becomes_plain(page, source, plain):
    assert reading.inline(source, page) == plain


def test_what_is_unknown_is_an_error(page):
    for source in ("{weird}`x`", "{eq}`eq-nobody`"):
        with pytest.raises(ValueError, match=r"x: (role|nothing is labelled)"):
            reading.inline(source, page)
    with pytest.raises(ValueError, match=r"directive \{weird\}"):
        reading.plain("```{weird}\nbody\n```", page)
    with pytest.raises(ValueError, match="the text asks for missing"):
        reading.plain("{glue:text}`missing`", page)


def test_directives_become_markdown(page):
    source = """Text.

```{math}
:label: eq-a
a = b
```

```{note}
Mind {eq}`eq-a`.
```

```{prf:proposition} Named
:label: prop-d
It is so.
```

```{prf:proof}
Clear.
```

(sec)=
## A section

```python
x = "{eq}`in code`"
```
"""
    (cell,) = reading.plain(source, page)
    assert cell.cell_type == "markdown"
    for text in (
        "$$\na = b \\tag{3.1}\n$$",
        "> **Note.** Mind [(3.1)](#equation-eq-a).",
        '> <a id="prop-d"></a>**Proposition 3.2 (Named).** It is so.',
        "> *Proof.* Clear. $\\square$",
        '<a id="sec"></a>\n\n## A section',
        '```python\nx = "{eq}`in code`"\n```',
    ):
        assert text in cell.source, text


def test_a_paragraph_with_values_is_a_folded_cell_that_shows_them(page):
    before, live, after = reading.plain(
        "Before.\n\nSee {glue:text}`n` of $x_\\mu$, {glue:text}`error:.2f`.\n\nAfter.", page
    )
    assert (before.source, after.source) == ("Before.", "After.")
    assert live.metadata["jupyter"]["source_hidden"] and live.metadata["cellView"] == "form"
    assert live.outputs[0].data["text/markdown"] == "See 3 of $x_\\mu$, 0.13."
    shown = []
    exec(live.source, {"live": lambda template, **values: shown.append((template, values))})
    assert shown == [("See <<n>> of $x_\\mu$, <<error:.2f>>.", {"n": 3, "error": 0.126})]


def test_solutions_are_folded(page):
    source = "```{exercise}\n:label: ex-c\nDo it.\n```\n\n```{solution-start} ex-c\n:class: dropdown\n```\n\nDone."
    exercise, heading, solution = reading.plain(source, page)
    assert "### Exercise 3.1\n\nDo it." in exercise.source
    assert heading.source == "#### Solution to exercise 3.1" and heading.metadata["jp-MarkdownHeadingCollapsed"]
    assert solution.source == "Done."


def read(chapter: str):
    """A chapter's reading notebook."""
    return nbformat.read(NOTEBOOKS / f"{chapter}.ipynb", as_version=4)


@needs_site
@each_chapter
def test_nothing_is_left_of_the_markup(chapter):
    """No role and no directive in what a reader sees, and the notebook is a valid one."""
    notebook = read(chapter)
    nbformat.validate(notebook)
    shown = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    data = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    shown += [bundle["text/markdown"] for bundle in data if "text/markdown" in bundle]
    for text in shown:
        text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
        assert not re.search(r"\{[a-z][\w:-]*\}`", text), text
        assert not re.search(r"^(`{3,}|:{3,})\{", text, flags=re.M), text
        assert "<<" not in text and "?nan?" not in text
    assert not any(reading.RECORDS in bundle for bundle in data)
    pictures = [bundle for bundle in data if "image/svg+xml" in bundle or "image/png" in bundle]
    assert sum("**Figure " in text for text in shown) == len(pictures)


@needs_site
@pytest.mark.slow
@each_chapter
def test_runs_from_top_to_bottom_in_a_folder_of_its_own(chapter, tmp_path, monkeypatch):
    """A plain kernel, nothing beside the notebook; its paragraphs then say what this run found, which is the same."""
    monkeypatch.setattr("chapters.BOOK", tmp_path)
    before = read(chapter)
    after = run_notebook(read(chapter), tmp_path / "out.ipynb")
    for old, new in zip(before.cells, after.cells, strict=True):
        if "live(" in old.source and old.outputs:
            assert new.outputs[0].data["text/markdown"] == old.outputs[0].data["text/markdown"]


@needs_site
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_is_fit_to_be_seen(tmp_path):
    """As nbconvert renders it, in Chromium: no raw markup, no error, and pictures."""
    sync_api = pytest.importorskip("playwright.sync_api")
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(mathjax_url="", require_js_url="")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--headless", "--no-sandbox"])
        page = browser.new_page()
        page.route("http*://**/*", lambda route: route.abort())
        for chapter in CHAPTERS:
            body, _ = exporter.from_notebook_node(read(chapter))
            (tmp_path / "x.html").write_text(body, encoding="utf8")
            page.goto((tmp_path / "x.html").as_uri())
            text = page.locator("body").inner_text()
            assert not re.search(r"\{(glue:text|eq|numref|doc|ref|footcite|math)\}", text), chapter
            assert "Traceback" not in text, chapter
            pictures = page.locator(".jp-OutputArea-output svg, .jp-OutputArea-output img").count()
            assert pictures or chapter == "introduction", chapter  # which shows explorers alone
        browser.close()


@needs_site
def test_the_fast_set_is_one_cell_further(tmp_path):
    """Where the site ran with other values than the tests do, the next cell offers the small ones, switched off."""
    notebook = read("circuit")
    place = next(i for i, cell in enumerate(notebook.cells) if cell.source.startswith("profile ="))
    notebook.cells[place].source = notebook.cells[place].source.replace("random_tasks = 20", "random_tasks = 99")
    (fast,) = reading.fast_cell("circuit", notebook.cells[place])
    names = {"random_tasks": 99}
    exec(fast.source, names)
    assert names["random_tasks"] == 99
    exec(fast.source.replace("fast = False", "fast = True"), names)
    assert names["random_tasks"] == 20


def test_every_place_names_the_same_repository():
    """Binder's files name the repository that _config.yml does."""
    place = repository()
    assert f"git+{place['url']}@{place['branch']}" in (ROOT / "binder" / "postBuild").read_text(encoding="utf8")
    owner, name = place["url"].split("/")[-2:]
    assert place["site"] == f"https://{owner}.github.io/{name}"


@needs_site
@pytest.mark.slow
@pytest.mark.xdist_group("installs")
def test_colab_and_binder_in_an_emulation(tmp_path):
    """A fresh environment without the library and a fresh folder: the first cell installs it, and the notebook runs.

    What the library needs is there (no network), the repository is this one, and Colab is a stub.
    """
    home, folder, source = tmp_path / "venv", tmp_path / "folder", tmp_path / "repository"
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for file in files:
        if (ROOT / file).is_file() and file.split("/")[0] in (
            "emt_core",
            "book",
            "setup.py",
            "pyproject.toml",
            "README.md",
            "LICENSE",
        ):
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, source / file)
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "setuptools"], check=True)  # Python 3.11's is too old
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    own = subprocess.run([sys.executable, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    (Path(site) / "needs.pth").write_text(f"{own}\n")  # its packages, but not what its own .pth files add: emt_core
    assert subprocess.run([python, "-c", "import emt_core"], cwd=tmp_path, capture_output=True).returncode != 0

    def run(chapter: str, colab: bool) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        notebook, place = read(chapter), repository()
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        address = f"git+{place['url']}@{place['branch']}"
        assert first.source.count(address) == 1
        first.source = first.source.replace(address, source.as_uri()).replace("-q", "-q --no-build-isolation")
        if colab:
            (folder / "google" / "colab").mkdir(parents=True)
            stub = "def enable_custom_widget_manager():\n    open('enabled', 'w').close()\n"
            stub += "class _widgets:\n    _installed_url = None\n"  # what anywidget asks it for
            (folder / "google" / "colab" / "output.py").write_text(stub)
            first.source = "import google.colab\n" + first.source
        nbformat.write(notebook, folder / "x.ipynb")
        command = [python, "-m", "nbconvert", "--to", "notebook", "--execute", "x.ipynb", "--output", "out.ipynb"]
        command += ["--ExecutePreprocessor.timeout=600"]  # a cell whose reply is lost must not hang the run
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JUPYTER", "IPYTHON"))}
        clean |= {
            "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"),
            "IPYTHONDIR": str(tmp_path / "ipython"),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    run("circuit", colab=True)
    assert (folder / "enabled").exists()
    said = subprocess.run(
        [python, "-c", "import emt_core; print(emt_core.__file__)"], cwd=folder, capture_output=True, text=True
    )
    assert said.stdout.startswith(site), said
    run("circuit", colab=False)


def test_has_tag_is_what_folds():
    """The tags by which a page folds a cell fold it here too; one with a control of Jupyter's stays in sight."""
    book = reading.Book({}, {}, "https://host")
    page = reading.Page("x", book, {})
    for tag, source, hidden in (
        ("hide-input", "x = 1", True),
        ("remove-cell", "say(x=1)", True),
        ("remove-cell", "from ipywidgets import interact", False),
        ("other", "x = 1", False),
    ):
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": [tag]})
        assert has_tag(cell, tag)
        (new,) = reading.code(cell, page)
        assert ("jupyter" in new.metadata) is hidden, (tag, source)
