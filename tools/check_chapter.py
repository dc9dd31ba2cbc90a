"""Run a chapter with parameters of your own and decide its claims: a chapter as a test.

    python tools/check_chapter.py circuit history=5 dim=3 'triple=[7, 0, 5]'

Values are YAML. Prints each claim with its verdict; exits with 1 if a cell raises or a verdict is not the one that the
chapter's text expects. The executed notebook goes to _build/checked/.
"""

import argparse
import sys

import yaml
from chapters import BOOK, ROOT, check_parameters, run_notebook


def main() -> int:
    import jupytext

    from emt_core.book import claims

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter")
    parser.add_argument("parameter", nargs="*", help="NAME=VALUE, over the values in the chapter's parameters cell")
    args = parser.parse_args()
    if not all("=" in p for p in args.parameter):
        parser.error(f"parameters must be NAME=VALUE, got {args.parameter}")
    parameters = {name: yaml.safe_load(value) for name, _, value in (p.partition("=") for p in args.parameter)}
    notebook = jupytext.read(BOOK / f"{args.chapter}.md")
    check_parameters(notebook, parameters, args.chapter)
    output = ROOT / "_build" / "checked" / f"{args.chapter}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    run_notebook(notebook, output, parameters)
    found = claims.collect(output)
    for claim in found:
        print(f"{claim.verdict:>16}  {claim.id}: {claim.statement}")
    return int(any(not claim.as_expected for claim in found))


if __name__ == "__main__":
    sys.exit(main())
