"""Assemble the site: executed chapters + static pages -> _build/source/<profile>/ -> Jupyter Book -> the html folder.

    python tools/build_site.py --profile default --html _build/html

Sphinx sees only the staged folder, in which a chapter is its executed notebook. Two pages are made here from what the
chapters recorded: the table of claims, and the execution status. The html folder is replaced only when the build passed
with warnings as errors; when nothing changed since the last one, nothing is done.
"""

import argparse
import hashlib
import html
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from changes import collected, comparison
from chapters import BOOK, CONFIG, ROOT, chapter_names, toc_order
from claims_map import picture
from explorers import without_widgets
from finish import complete


def fill(path: Path, marker: str, text: str) -> None:
    """Replace a page's marker comment by generated text."""
    page, comment = path.read_text(encoding="utf8"), f"<!-- {marker} -->"
    if page.count(comment) != 1:
        raise ValueError(f"{path.name}: expected one marker {comment}, found {page.count(comment)}")
    path.write_text(page.replace(comment, text), encoding="utf8")


def claims_table(notebooks: list[Path]) -> str:
    """Every claim that a chapter recorded, by paper, checks apart; chapters in reading order."""
    from emt_core.book import claims

    records = collected(notebooks)
    if not records:
        return "No chapter has recorded a claim yet."
    papers = [c for c in records if c.kind != "check" and c.claimed != claims.NOT_AT_HAND]
    groups = {
        "Episodic Memory Theory": [c for c in papers if c.paper == "EMT"],
        "Onion representations": [c for c in papers if c.paper == "onion"],
        "Printed, but not at hand": [c for c in records if c.claimed == claims.NOT_AT_HAND],
        "Questions of this book": [c for c in records if c.kind == "asked"],
        "Checks": [c for c in records if c.kind == "check"],
    }
    said = {
        "Checks": "What is true by construction, or was computed twice. These rows test the book, not the papers.\n\n",
        "Printed, but not at hand": "A paper prints these cells; we do not have their values. Nothing is compared.\n\n",
    }
    shown = picture(records)
    blocks = [f"````{{raw}} html\n{shown}\n````"] if shown else []
    blocks.append(contradictions(records))
    for title, group in groups.items():
        if group:
            table = f"````{{raw}} html\n{claims.to_html(group, 'chapter')}\n````"
            blocks.append(f"## {title}\n\n{said.get(title, '')}{table}")
    assert sum(map(len, groups.values())) == len(records)
    return "\n\n".join(blocks)


def contradictions(records: list) -> str:
    """The claims of the papers that failed, first on the page, each a link to its row."""
    from emt_core.book import claims

    blocks = ["## What contradicts the papers"]
    for kind, words in (("stated", "that the papers state"), ("implied", "that they imply, as we read them")):
        decided = [claim for claim in records if claim.kind == kind and claim.verdict in claims.DECIDED]
        failed = [claim for claim in decided if claim.verdict != "holds"]
        items = "".join(f'<li><a href="#claim-{c.id}">{html.escape(c.statement)}</a></li>' for c in failed)
        counts = f"Of {len(decided)} claims {words}, as far as they are decided here, {len(failed)} do not hold"
        blocks.append(f"{counts} by the rules below.")
        if items:
            blocks.append(f'````{{raw}} html\n<ul class="emt-contradictions">{items}</ul>\n````')
    return "\n\n".join(blocks)


def status_table(notebooks: list[Path]) -> str:
    """What all chapters ran with, then one row per chapter: how long it ran, when, and with what else."""
    if not notebooks:
        return "No chapter has been executed yet."
    records = [json.loads(notebook.read_text(encoding="utf8"))["metadata"]["emt"] for notebook in notebooks]
    labels = {"python": "Python"}
    with_what = [
        {"profile": record["profile"]}
        | {labels.get(name, name): number for name, number in record["versions"].items()}
        | {"machine": record["platform"]}
        for record in records
    ]
    same = {name: value for name, value in with_what[0].items() if all(each.get(name) == value for each in with_what)}
    differing = [name for name in with_what[0] if name not in same]
    rows = [["chapter", "seconds", "date", *differing], ["---", "--:", *["---"] * (1 + len(differing))]]
    for notebook, record, each in zip(notebooks, records, with_what, strict=True):
        date = f'<span class="emt-nowrap">{record["date"]}</span>'
        rows.append([f"[](/book/{notebook.stem})", f"{record['seconds']:.1f}", date, *(each[n] for n in differing)])
    rows.append(["**together**", f"{sum(record['seconds'] for record in records):,.1f}", "", *[""] * len(differing)])
    shared = f"All chapters: {', '.join(f'{name} {value}' for name, value in same.items())}.\n\n" if same else ""
    return shared + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def for_sphinx(notebook: Path, static: Path) -> str:
    """The executed notebook as the page shows it: explorers, and tables of claims linked to the page that has all."""
    from emt_core.book import claims

    content = json.loads(notebook.read_text(encoding="utf8"))
    for cell in content["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            cell["metadata"]["mystnb"] = {"code_prompt_show": "Show the parameters of this run"}
        for output in cell.get("outputs", []):
            records = output.get("data", {}).pop(claims.MIME, None)
            if records:
                made = [claims.Claim.from_json(record) for record in records["claims"]]
                output["data"]["text/html"] = claims.to_html(made, "claims")
    without_widgets(content, static / "explorers")
    return json.dumps(content)


def stage(source: Path, executed: Path, vendor: Path) -> None:
    """Lay out what Sphinx reads."""
    shutil.rmtree(source, ignore_errors=True)
    (source / "book").mkdir(parents=True)
    shutil.copytree(ROOT / "theme", source / "theme")
    shutil.copytree(vendor, source / "theme" / "static" / "vendor")
    chapters = chapter_names()
    shutil.copy(BOOK / "references.bib", source / "book")
    for page in BOOK.glob("*.md"):
        if page.stem not in chapters:
            shutil.copy(page, source / "book")
    for folder in ("api", "images", "data"):  # pages of the API; a page may show a picture, or a committed table
        if (BOOK / folder).is_dir():
            shutil.copytree(BOOK / folder, source / "book" / folder)
    # so that `literalinclude` of ../emt_core/x.py works from the staged page as from the real one
    shutil.copytree(ROOT / "emt_core", source / "emt_core", ignore=shutil.ignore_patterns("__pycache__"))
    order = [Path(page).name for page in toc_order()]
    notebooks = [
        executed / f"{name}.ipynb" for name in sorted(chapters, key=lambda n: order.index(n) if n in order else 999)
    ]
    for notebook in notebooks:
        (source / "book" / notebook.name).write_text(for_sphinx(notebook, source / "theme" / "static"), encoding="utf8")
    fill(source / "book" / "claims.md", "claims", claims_table(notebooks))
    fill(source / "book" / "status.md", "status", status_table(notebooks))
    fill(source / "book" / "changes.md", "changes", comparison(collected(notebooks)))


def digest(*roots: Path) -> str:
    """One hash of every file under the roots, by relative name and content."""
    result = hashlib.sha256()
    for root in roots:
        for path in sorted(p for p in [root, *root.rglob("*")] if p.is_file() and "__pycache__" not in p.parts):
            result.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return result.hexdigest()


def run_sphinx(source: Path, web: Path, out: Path) -> Path:
    """Build the staged book from scratch: Sphinx repeats no warning of a page that it need not read again."""
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable,
        "-c",
        "from jupyter_book.cli.main import main; main()",
        "build",
        str(source),
        "--path-output",
        str(out),
    ]
    command += ["--config", str(CONFIG), "--toc", str(ROOT / "_toc.yml"), "-W", "-n", "--keep-going", "-q"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "EMT_WEB": str(web)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\nThe site was not built: see the warnings above, which count as errors.")
    return out / "_build" / "html"


def example_report(out: Path) -> None:
    """What a report looks like: that of a shipped network."""
    from emt_core import report
    from emt_core.networks import load
    from emt_core.tasks import TokenRepeat

    network, _ = load(BOOK / "data" / "gru_48_ar_0.safetensors")
    sequences = TokenRepeat().validation(1000)
    report.write(network, sequences, out, name="A GRU of 48 units that repeats tokens", progress=False)


def main() -> None:
    """Stage, build, and swap the new site in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="default")
    parser.add_argument("--build", type=Path, default=ROOT / "_build")
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html")
    args = parser.parse_args()
    build, target = args.build.resolve(), args.html.resolve()
    sys.path.insert(0, str(ROOT))

    source = build / "source" / args.profile
    stage(source, build / "executed" / args.profile, build / "web" / "vendor")
    inputs = [source, CONFIG, ROOT / "_toc.yml", ROOT / "tools", ROOT / "requirements.txt", ROOT / "CITATION.cff"]
    texts = [BOOK / f"{name}.md" for name in chapter_names()]
    state = digest(*inputs, ROOT / "binder", *texts)
    record = target / ".emt-inputs"
    if record.exists() and record.read_text() == state:
        print(f"site is up to date: {target}")
        return
    new = run_sphinx(source, build / "web", build / "sphinx" / args.profile)
    complete(new, build / "executed" / args.profile)
    example_report(new / "example_report")
    (new / ".emt-inputs").write_text(state)
    old = target.with_name(target.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    print(f"site built: {target}{os.sep}index.html")


if __name__ == "__main__":
    main()
