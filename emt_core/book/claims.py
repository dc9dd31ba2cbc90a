"""Claims of the papers beside what was obtained here, with a verdict that is computed by a stated rule.

What is claimed, where, and the rule that decides stand in ``book/claims/<chapter>.toml``, one table a claim; a chapter
joins them with what it obtained, ``claims.table("circuit", profile, {"circuit-exact": errors})``, and ends a cell with
it. The table carries the records in the notebook's output, from where the book's page of all claims and the tests
collect them.
"""

from __future__ import annotations

import html
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emt_core.book import intervals, shipped

MIME = "application/vnd.emt.claims+json"
PROFILES = ("smoke", "default", "full")
STATISTICS: dict[str, Any] = {"median": np.median, "mean": np.mean, "min": np.min, "max": np.max}
KINDS = {  # what a claim is to its paper, or to this book
    "stated": "stated by the paper",
    "implied": "implied by the paper, as we read it",
    "check": "a check: true by construction, no evidence",
    "asked": "asked by this book",
}
RELATIONS = ("≤", "≥", "=", "in")
DECIDED = ("holds", "fails", "lower", "higher")  # the last two of a claim that gives a range
NOT_AT_HAND = "not at hand"  # "claimed" of a value that a paper prints and we have not seen; its rule is a statistic


@dataclass(frozen=True)
class Rule:
    """``statistic`` of the values ``relation`` ``bound``, as in ``Rule("median", "≤", 0.005)``; where a paper gives a
    range, "in" ``bound`` … ``upper``. ``Rule("mean")`` names what is shown, and decides nothing."""

    statistic: str
    relation: str = ""
    bound: float | int | None = None
    upper: float | int | None = None

    def __post_init__(self) -> None:
        for name, table in (("statistic", STATISTICS), ("relation", RELATIONS)):
            if getattr(self, name) not in table and (self.relation or name == "statistic"):
                raise ValueError(f"{name} must be one of {list(table)}, got {getattr(self, name)!r}")
        if bool(self.relation) != (self.bound is not None) or not math.isfinite(self.bound or 0):
            raise ValueError(f"bound must be a finite number, and None without a relation, got {self.bound}")
        if (self.relation == "in") != (self.upper is not None) or (
            self.upper is not None and self.bound is not None and not self.bound < self.upper
        ):
            raise ValueError(
                f'upper must be above bound for "in", and None else, got {self.upper} for {self.relation!r}'
            )

    def __str__(self) -> str:
        if self.bound is None:
            return self.statistic
        return f"{self.statistic} {self.relation} {self.bound:g}" + ("" if self.upper is None else f" … {self.upper:g}")

    def verdict(self, x: float) -> str:
        """Of the statistic: "holds" or "fails", or where a range is given "lower", "holds" or "higher"; without a bound
        "not compared"."""
        if self.bound is None:
            return "not compared"
        if self.upper is not None:
            return "lower" if x < self.bound else "higher" if x > self.upper else "holds"
        return "holds" if {"≤": x <= self.bound, "≥": x >= self.bound, "=": x == self.bound}[self.relation] else "fails"

    @classmethod
    def parse(cls, text: str) -> Rule:
        """The inverse of ``str``: ``Rule.parse("median ≤ 0.005")``."""
        words = text.split()
        if len(words) == 1:
            return cls(words[0])
        if len(words) not in (3, 5) or words[3:4] not in ([], ["…"]):
            raise ValueError(f'rule must read as "median ≤ 0.005", "mean in 0.1 … 0.2" or "mean", got {text!r}')
        return cls(words[0], words[1], float(words[2]), float(words[4]) if len(words) == 5 else None)


@dataclass(frozen=True)
class Claim:
    """One claim, with one value per seed (or a single one, where nothing is random)."""

    id: str  #: short name, unique in the book
    paper: str  #: ``"EMT"``, ``"onion"``, or ``"book"`` for what this book adds
    place: str  #: where the claim stands, as in ``"Table 1, row 2"``
    statement: str  #: the claim in words
    claimed: str  #: the paper's value, as it is written there, or ``NOT_AT_HAND``
    values: Any  #: what was obtained here, a number or an array, stored as a tuple of floats; NaN where one is missing
    rule: Rule  #: decides the verdict from ``values``
    profile: str  #: the profile of this run
    needs: str = "smoke"  #: the smallest profile that can decide the claim
    kind: str = "asked"  #: one of ``KINDS``
    per: str = ""  #: what each value is of, as in ``"network"``; empty if there is only one
    chapter: str = ""  #: whose table has the claim
    expected: str = "holds"  #: the verdict that the book's text speaks of, one of ``DECIDED``; the tests check it

    def __post_init__(self) -> None:
        for name in ("profile", "needs"):
            if getattr(self, name) not in PROFILES:
                raise ValueError(f"{name} must be one of {PROFILES}, got {getattr(self, name)!r}")
        for name, table in (("kind", tuple(KINDS)), ("expected", DECIDED)):
            if getattr(self, name) not in table:
                raise ValueError(f"{name} must be one of {table}, got {getattr(self, name)!r}")
        if (self.claimed == NOT_AT_HAND) != (self.rule.bound is None):  # what was not seen is not compared with
            raise ValueError(f"rule of claim {self.id!r} must be a statistic alone just where it is {NOT_AT_HAND}")
        values = tuple(float(v) for v in np.asarray(self.values, dtype=float).ravel())
        if not values:
            raise ValueError(f"values of claim {self.id!r} must hold at least one number, got none")
        object.__setattr__(self, "values", values)

    @property
    def obtained(self) -> float:
        """The rule's statistic of the values."""
        return float(STATISTICS[self.rule.statistic](self.values))

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest value of those that are not missing; NaN where all are."""
        present = [v for v in self.values if not math.isnan(v)]
        return min(present, default=math.nan), max(present, default=math.nan)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the statistic (:mod:`emt_core.book.intervals`); None of extremes, of values that are alike,
        and of too few values to have one."""
        x, statistic = np.array(self.values), self.rule.statistic
        if np.isnan(x).any() or len(x) < intervals.FEWEST or statistic not in ("mean", "median"):
            return None
        hits = bool(((x == 0) | (x == 1)).all())
        of = intervals.median if statistic == "median" else intervals.wilson if hits else intervals.mean
        _, low, high = of(x)
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None

    @property
    def near(self) -> bool:
        """Whether a bound of the rule lies within the interval of a mean or median, or where it has none, within its
        values: other networks might turn the verdict."""
        low, high = self.interval or self.spread
        bounds = [bound for bound in (self.rule.bound, self.rule.upper) if bound is not None]
        return self.rule.statistic in ("mean", "median") and any(low < bound < high for bound in bounds)

    @property
    def turned_by(self) -> str:
        """The smallest effect that would have turned the verdict: of a share of hits how many values would have had to
        be otherwise, else by how much the statistic would have had to be lower or higher. Empty if nothing is decided
        or nothing would turn it."""
        x, n = np.array(self.values), len(self.values)
        if self.verdict not in DECIDED or not np.isfinite(x).all():
            return ""
        if n > 1 and ((x == 0) | (x == 1)).all() and self.rule.statistic in ("mean", "median"):
            hits, judged = int(x.sum()), STATISTICS[self.rule.statistic]
            turning = [
                k for k in range(n + 1) if self.rule.verdict(float(judged(1.0 * (np.arange(n) < k)))) != self.verdict
            ]
            return f"{min(abs(k - hits) for k in turning)} of {n} otherwise" if turning else ""
        away = [bound - self.obtained for bound in (self.rule.bound, self.rule.upper) if bound is not None]
        if self.verdict in ("lower", "higher"):  # the nearer end of the range is the one to reach
            away = [min(away, key=abs)]
        return " or ".join(f"{_number(abs(d))} {'lower' if d < 0 else 'higher'}" for d in away if d) or "any change"

    @property
    def verdict(self) -> str:
        """One of ``DECIDED``, ``"no data"`` (a value is missing), ``"not decided here"`` (below ``needs``) or ``"not
        compared"`` (the paper's value is not at hand)."""
        if PROFILES.index(self.profile) < PROFILES.index(self.needs):
            return "not decided here"
        if math.isnan(self.obtained):  # every rule is about all values: one that is missing leaves nothing to judge
            return "no data"
        return self.rule.verdict(self.obtained)

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is what the book's text says, or nothing is decided. Missing data is never expected."""
        return self.verdict in ("not decided here", "not compared", self.expected)

    def to_json(self) -> dict:
        """The record with what is computed from it, for the notebook's output."""
        derived = {"obtained": self.obtained, "spread": self.spread, "seeds": len(self.values)}
        derived |= {"turned_by": self.turned_by, "verdict": self.verdict}
        # JSON has neither NaN nor infinities: a missing value is null, an infinite one its name
        text = json.dumps(asdict(self) | derived)
        return json.loads(text, parse_constant=lambda name: None if name == "NaN" else name)

    @classmethod
    def from_json(cls, record: dict) -> Claim:
        """The inverse of :meth:`to_json`; the verdict is computed anew."""
        # NumPy reads null as NaN, and an infinity by its name
        own = {name: record[name] for name in cls.__dataclass_fields__}
        return cls(**own | {"rule": Rule(**record["rule"])})


@dataclass(frozen=True)
class Table:
    """Claims as a notebook shows them: an HTML table, a text version, and the records themselves."""

    claims: tuple[Claim, ...]

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {
            "text/html": to_html(self.claims),
            "text/plain": "\n".join(f"{c.id}: {c.verdict} ({c.rule}; {_number(c.obtained)})" for c in self.claims),
            MIME: {"claims": [c.to_json() for c in self.claims]},
        }


def written(chapter: str) -> dict[str, dict]:
    """The claims of a chapter as ``book/claims/<chapter>.toml`` has them: id to what :class:`Claim` holds of it.

    Raises:
        ValueError: a claim lacks a line or has one too many.
    """
    records = tomllib.loads(shipped.path(f"{chapter}.toml", "claims").read_text(encoding="utf8"))
    required = {"paper", "place", "statement", "claimed", "kind", "rule"}
    for name, record in records.items():
        wrong = (required - record.keys()) | (record.keys() - required - {"needs", "expected", "per"})
        if wrong:
            raise ValueError(f"claim {name!r} of {chapter} must have {sorted(required)}; amiss: {sorted(wrong)}")
        allowed = ("asked", "check") if record["paper"] == "book" else ("stated", "implied", "check")
        if record["kind"] not in allowed:
            raise ValueError(f"kind of claim {name!r} must be one of {allowed}, got {record['kind']!r}")
        record["rule"] = Rule.parse(record["rule"])
    return records


def table(chapter: str, profile: str, obtained: Mapping[str, Any]) -> Table:
    """The claimed / obtained table of a chapter: of those claims whose values ``obtained`` has. End a cell with it.

    Raises:
        ValueError: ``obtained`` is empty or names a claim that the chapter's file does not have.
    """
    records = written(chapter)
    if not obtained or (unknown := sorted(obtained.keys() - records.keys())):
        raise ValueError(
            f"obtained must name claims of book/claims/{chapter}.toml, got {unknown if obtained else 'none'}"
        )
    made = (Claim(k, values=v, profile=profile, chapter=chapter, **records[k]) for k, v in obtained.items())
    return Table(tuple(made))


def collect(notebook: str | Path) -> list[Claim]:
    """The claims that an executed notebook carries in its outputs."""
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    bundles = [output["data"][MIME] for output in outputs if MIME in output.get("data", {})]
    return [Claim.from_json(record) for bundle in bundles for record in bundle["claims"]]


def to_html(claims: Iterable[Claim], links: str = "") -> str:
    """One row per claim: statement, kind, claimed, obtained (with spread and number of values), rule, verdict.

    On the site where a claim stands is a link, to its row on the page of all ``links`` = "claims", or in its "chapter".
    """
    head = "".join(f'<th scope="col">{h}</th>' for h in ("Claim", "Claimed", "Obtained", "Values", "Rule", "Verdict"))
    rows = []
    for c in claims:
        low, high = c.spread
        spread = f"<br><small>{_number(low)} … {_number(high)}</small>" if low < high else ""
        place = html.escape(f"{c.paper}, {c.place}")
        if links:
            page = c.chapter if links == "chapter" else links
            place = f'<a href="{page}.html#claim-{html.escape(c.id)}">{place}</a>'
        values = f"{len(c.values)}" if len(c.values) > 1 else "1 <small>(no spread)</small>"
        values += f"<br><small>per {html.escape(c.per)}</small>" if c.per else ""
        named = f"{c.rule.statistic} " if len(c.values) > 1 else ""
        turned = f"<br><small>turned by: {c.turned_by}</small>" if c.turned_by and c.kind != "check" else ""
        if c.interval is not None:
            spread += f"<br><small>95 %: [{', '.join(map(_number, c.interval))}]</small>"
        around = "values" if c.interval is None else "interval"
        doubt = f"<br><small>bound within the {around}</small>" if c.near and c.verdict in DECIDED else ""
        needs = f"<br><small>needs profile {c.needs}</small>" if c.verdict == "not decided here" else ""
        rule = "–" if c.rule.bound is None else html.escape(str(c.rule))
        rows.append(
            f'<tr id="claim-{html.escape(c.id)}"><th scope="row">{html.escape(c.statement)}<br>'
            f"<small>{place} · {KINDS[c.kind].partition(':')[0]}</small></th><td>{html.escape(c.claimed)}</td>"
            f"<td>{named}{_number(c.obtained)}{spread}</td><td>{values}</td><td>{rule}{turned}</td>"
            f'<td class="emt-verdict" data-verdict="{c.verdict}">{c.verdict}{needs}{doubt}</td></tr>'
        )
    return f'<table class="emt-claims"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _number(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "—")
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if 100 <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 100 else f"{value:.1e}"
