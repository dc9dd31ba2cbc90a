"""What the claims of this build are compared with: a record of those of the last release, and the page that compares.

    python tools/changes.py                  # after `make book`: write book/claims_of_release.csv, and commit it

The record lies beside the chapters and not in book/data, on which the chapters' results depend: releasing must not make
every chapter run again. tools/build_site.py puts the comparison into the page book/changes.md.
"""

import argparse
import csv
import html
import io
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from chapters import BOOK, ROOT, chapter_names

RECORD = BOOK / "claims_of_release.csv"
COLUMNS = ("id", "paper", "statement", "verdict", "obtained", "n")
# a value has moved if it differs by more than a tenth of itself, and by more than a hundredth of its rule's bound
OF_ITSELF, OF_BOUND = 0.1, 0.01


def collected(notebooks: Sequence[Path]) -> list:
    """The claims that executed notebooks carry, in their order."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from emt_core.book import claims

    return [claim for notebook in notebooks for claim in claims.collect(notebook)]


def row_of(claim) -> dict[str, str]:
    """A claim as it stands in the record; no number where the value is missing."""
    obtained = "" if math.isnan(claim.obtained) else repr(claim.obtained)
    words = " ".join(claim.statement.split())
    values = (claim.id, claim.paper, words, claim.verdict, obtained, str(len(claim.values)))
    return dict(zip(COLUMNS, values, strict=True))


def write_record(claims: Sequence, path: Path, about: dict[str, str]) -> None:
    """The claims as a table, after lines that say which release they are of and what made it."""
    profiles = sorted({claim.profile for claim in claims})
    if len(profiles) != 1:
        raise ValueError(f"claims must be of one profile, got {profiles or 'none'}")
    text = io.StringIO()
    text.writelines(f"# {key}: {value}\n" for key, value in (about | {"profile": profiles[0]}).items())
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(row_of, claims))
    path.write_text(text.getvalue(), encoding="utf8")


def read_record(path: Path) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """What the first lines say, and the rows by id."""
    lines = path.read_text(encoding="utf8").splitlines()
    about = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    return about, {row["id"]: row for row in csv.DictReader(line for line in lines if not line.startswith("#"))}


def has_moved(old: dict[str, str], claim) -> bool:
    """Whether the value is another one, as far as that matters for its rule; a value that was or is missing is."""
    before, now = float(old["obtained"] or "nan"), claim.obtained
    if before == now or (math.isnan(before) and math.isnan(now)):
        return False
    if not (math.isfinite(before) and math.isfinite(now)):
        return True
    far = abs(now - before)
    return far > OF_ITSELF * max(abs(before), abs(now)) and far > OF_BOUND * abs(claim.rule.bound or 0)


def result(obtained: float | str, verdict: str) -> str:
    """What came out, in a cell."""
    number = float(obtained or "nan")
    return verdict if math.isnan(number) else f"{number:.3g}, {verdict}"


def row_text(row: dict[str, str] | None, claim) -> str:
    """A claim with what came out before and now; one that is still made is a link to the page of all claims."""
    name = html.escape(claim.statement if claim else row["statement"])
    name = f'<a href="claims.html#claim-{html.escape(claim.id)}">{name}</a>' if claim else name
    before = result(row["obtained"], row["verdict"]) if row else "—"
    now = result(claim.obtained, claim.verdict) if claim else "—"
    return f'<tr><th scope="row">{name}</th><td>{before}</td><td>{now}</td></tr>'


def section(title: str, pairs: Sequence[tuple]) -> str:
    """A table of claims under its title; nothing where there are none."""
    if not pairs:
        return ""
    head = "".join(f'<th scope="col">{word}</th>' for word in ("Claim", "Before", "Now"))
    body = "".join(row_text(*pair) for pair in pairs)
    table = f'<table class="emt-claims"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f"## {title}\n\n````{{raw}} html\n{table}\n````\n\n"


def comparison(claims: Sequence, path: Path = RECORD) -> str:
    """The page's text: what is new, gone, decided otherwise, or has moved since the release in the record."""
    if not path.exists():
        return "This is the first release: there is none before it to compare with."
    about, old = read_record(path)
    profiles = sorted({claim.profile for claim in claims})
    since = f"release {about['release']} ({about['date']})"
    if profiles != [about["profile"]]:
        built = f"with the profile {' and '.join(profiles)}" if profiles else "without any claim"
        return (
            f"Nothing is compared here: this site was built {built}, and the record of {since} "
            f"holds what the profile {about['profile']} gives."
        )
    new = {claim.id: claim for claim in claims}
    both = [(old[id], claim) for id, claim in new.items() if id in old]
    turned = [pair for pair in both if pair[0]["verdict"] != pair[1].verdict]
    moved = [pair for pair in both if pair not in turned and has_moved(*pair)]
    added = [(None, claim) for id, claim in new.items() if id not in old]
    gone = [(row, None) for id, row in old.items() if id not in new]
    titles = "Another verdict", "Another value", "New claims", "Claims that are no longer made"
    sections = "".join(map(section, titles, (turned, moved, added, gone)))
    kept = len(both) - len(turned) - len(moved)
    counted = f"Of {len(old)} claims of {since}, {kept} have the same verdict and much the same value."
    return f"{counted}\n\n{sections}" if sections else f"{counted} Nothing else changed."


def main() -> int:
    """Record the claims of an executed book as those of a release."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="default")
    parser.add_argument("--build", type=Path, default=ROOT / "_build")
    parser.add_argument("--out", type=Path, default=RECORD)
    args = parser.parse_args()
    notebooks = [args.build / "executed" / args.profile / f"{name}.ipynb" for name in chapter_names()]
    missing = ", ".join(notebook.stem for notebook in notebooks if not notebook.exists())
    if missing:
        print(f"error: not executed with profile {args.profile}: {missing}; `make book` does that", file=sys.stderr)
        return 1
    claims = collected(notebooks)
    records = [json.loads(notebook.read_text(encoding="utf8"))["metadata"]["emt"] for notebook in notebooks]
    version = re.search(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf8")).group(1)
    last = max(records, key=lambda record: record["date"])
    versions = ", ".join(f"{name} {number}" for name, number in last["versions"].items())
    about = {"release": version, "date": last["date"][:10], "hardware": last["platform"], "versions": versions}
    write_record(claims, args.out, about)
    print(f"{args.out}: {len(claims)} claims of release {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
