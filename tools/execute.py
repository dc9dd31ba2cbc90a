"""Execute one chapter with a profile's parameters: book/x.md -> _build/executed/<profile>/x.ipynb.

    python tools/execute.py x --profile smoke

A chapter is executed again exactly when its text, emt_core, setup.py, the lock, the data or its own section of the
profile changed: a hash of all of these is kept in the executed notebook. (jupyter-cache looks at the text alone.) The
notebook appears under its final name only when every cell ran; a chapter that fails leaves nothing to publish, and its
notebook goes to _build/failed/<profile>/ instead.
"""

import argparse
import ast
import hashlib
import json
import os
import platform
import signal
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from chapters import BOOK, ROOT, check_parameters, has_tag, profile_section, run_notebook


def inputs_hash(chapter: str, profile: str) -> str:
    """A digest of everything that a chapter's results may depend on."""
    digest = hashlib.sha256()
    # the kernels' sources with their headers, and setup.py for the flags they are compiled with
    library = [
        p for p in (ROOT / "emt_core").rglob("*") if p.suffix in {".py", ".cpp", ".h", ".js", ".css", ".mplstyle"}
    ]
    data = [p for p in (BOOK / "data").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    build = [ROOT / "requirements.txt", ROOT / "setup.py"]
    own = [path for path in (BOOK / f"{chapter}.md", BOOK / "claims" / f"{chapter}.toml") if path.exists()]
    for path in [*own, *build, *sorted(library), *sorted(data)]:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(ROOT).as_posix()} {content}\n".encode())
    section = json.dumps(profile_section(profile, chapter), sort_keys=True)
    digest.update(f"{profile} {section}\n".encode())
    return digest.hexdigest()


def is_current(target: Path, digest: str) -> bool:
    """Whether the executed notebook was made from these inputs."""
    if not target.exists():
        return False
    return json.loads(target.read_text(encoding="utf8"))["metadata"].get("emt", {}).get("inputs") == digest


def describe_failure(chapter: str, error) -> str:
    """Which chapter, which cell, its source and its traceback: what a person needs to mend it."""
    from nbconvert.filters import strip_ansi

    lines = [f"chapter {chapter} failed: book/{chapter}.md, cell In [{error.exec_count}]:", ""]
    lines += [f"    {line}" for line in error.source.splitlines()]
    lines += ["", strip_ansi("\n".join(error.traceback) or f"{error.ename}: {error.evalue}")]
    return "\n".join(lines)


def with_parameters(notebook, parameters: dict):
    """The notebook as it ran: the parameters' cell holds this run's values, and papermill's cell after it is gone."""
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "code" and has_tag(cell, "parameters"):
            cell.source = with_values(cell.source, parameters)
    notebook.cells = [cell for cell in notebook.cells if not has_tag(cell, "injected-parameters")]
    return notebook


def with_values(source: str, values: dict) -> str:
    """A cell of assignments, one a line, with other values; comments stay."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        name = node.targets[0].id if isinstance(node, ast.Assign) else ""
        if name in values:
            rest = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
            lines[node.lineno - 1 : node.end_lineno] = [f"{name} = {values[name]!r}{rest}"] + [""] * (
                node.end_lineno - node.lineno
            )
    return "\n".join(lines)


def finish(notebook, digest: str, profile: str, seconds: float, parameters: dict):
    """Record what made the notebook, for the status page and for the next build."""
    notebook.metadata["emt"] = {
        "inputs": digest,
        "profile": profile,
        "seconds": round(seconds, 1),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in ("torch", "numpy")}},
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    del notebook.metadata["papermill"]  # it holds this machine's paths
    return with_parameters(notebook, parameters)


def execute(chapter: str, profile: str, build: Path) -> int:
    """Bring one executed notebook up to date; the exit status."""
    target = build / "executed" / profile / f"{chapter}.ipynb"
    digest = inputs_hash(chapter, profile)
    if is_current(target, digest):
        return 0
    # imported here, as asking a chapter that is up to date should cost nothing
    import jupytext
    import nbformat
    from papermill.exceptions import PapermillExecutionError

    print(f"executing {chapter} ({profile})", flush=True)
    notebook = jupytext.read(BOOK / f"{chapter}.md")
    parameters = {**profile_section(profile, chapter), "profile": profile}
    failed = build / "failed" / profile / f"{chapter}.ipynb"
    failed.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    for left_over in target.parent.glob(f".{chapter}.*.ipynb"):  # by a build that was killed
        left_over.unlink()
    unfinished = target.parent / f".{chapter}.{os.getpid()}.ipynb"
    start = time.perf_counter()
    try:
        check_parameters(notebook, parameters, chapter)
        done = run_notebook(notebook, unfinished, parameters)
        nbformat.write(finish(done, digest, profile, time.perf_counter() - start, parameters), unfinished)
        unfinished.replace(target)
    except Exception as error:
        target.unlink(missing_ok=True)
        if not isinstance(
            error, PapermillExecutionError
        ):  # a dead kernel, an unknown parameter, a full disk: ours to see
            raise
        print(describe_failure(chapter, error), file=sys.stderr)
        if unfinished.exists():
            failed.parent.mkdir(parents=True, exist_ok=True)
            unfinished.replace(failed)
            print(f"\nNothing of {chapter} is published; the notebook as far as it came: {failed}", file=sys.stderr)
        return 1
    finally:
        unfinished.unlink(missing_ok=True)
    print(f"executed  {chapter} ({profile}) in {time.perf_counter() - start:.0f} s", flush=True)
    return 0


def main() -> int:
    """Parse the command line; an interrupt or a kill ends the build without leaving files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--build", type=Path, default=ROOT / "_build")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return execute(args.chapter, args.profile, args.build.resolve())
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
