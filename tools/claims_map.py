"""All decided claims in one picture, for the page of claims: a dot each, on the side of its rule on which it lies.

Right of the middle a claim holds, left of it it fails, and how far off says by how many factors of two the obtained
value is clear of the rule's bound. Dots are links to their rows, so that the picture works by keyboard and by touch.
"""

import html
import math
from collections.abc import Sequence

REACH = 3.0  # factors of two, at most, to either side
WIDTH, RADIUS, LEFT, RIGHT = 400.0, 6.5, 12.0, 388.0
GROUPS = {
    ("EMT", "stated"): "Episodic Memory Theory, stated",
    ("EMT", "implied"): "Episodic Memory Theory, implied",
    ("onion", "stated"): "Onion representations, stated",
    ("onion", "implied"): "Onion representations, implied",
    ("", "asked"): "Asked by this book",
}


def margin(rule, x: float) -> float:
    """By how many factors of two a value is clear of the bound of a rule; negative where it is on the wrong side.

    Of shares above a half, their complements are compared: 0.99 is as far from 0.98 as 0.02 from 0.01.
    """
    if rule.upper is not None:
        return min(clear(x, rule.bound, above=True), clear(x, rule.upper, above=False))
    if rule.relation == "=":
        off = min(abs(clear(x, rule.bound, above=True)), abs(clear(x, rule.bound, above=False)))
        return REACH if x == rule.bound else -off
    return clear(x, rule.bound, above=rule.relation == "≥")


def clear(x: float, bound: float, above: bool) -> float:
    """By how many factors of two x lies above, or below, the bound."""
    if above and 0.5 <= bound <= 1 and x <= 1:
        x, bound, above = 1 - x, 1 - bound, False
    better, worse = (x, bound) if above else (bound, x)
    if better == worse:
        return 0.0
    if min(better, worse) <= 0:
        return REACH if better > worse else -REACH
    return min(REACH, max(-REACH, math.log2(better / worse)))


def placed(margins: Sequence[float]) -> list[tuple[float, int]]:
    """Where dots stand: x, and a row from 0 on, each in the first row where it hides none."""
    rows: list[list[float]] = []
    found: list[tuple[float, int]] = [(0.0, 0)] * len(margins)
    for i in sorted(range(len(margins)), key=lambda i: margins[i]):
        x = LEFT + (margins[i] + REACH) / (2 * REACH) * (RIGHT - LEFT)
        row = next((k for k, taken in enumerate(rows) if x - taken[-1] >= 2 * RADIUS + 1), len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(x)
        found[i] = x, row
    return found


def picture(claims: Sequence) -> str:
    """The picture as HTML, with boxes to choose papers and kinds by; empty where nothing is decided."""
    from emt_core.book.claims import DECIDED

    decided = [c for c in claims if c.verdict in DECIDED and c.kind != "check"]
    if not decided:
        return ""
    parts, top = [], 4.0
    for (paper, kind), title in GROUPS.items():
        group = [c for c in decided if c.kind == kind and paper in ("", c.paper)]
        if not group:
            continue
        spots = placed([margin(c.rule, c.obtained) for c in group])
        height = (max(row for _, row in spots) + 1) * (2 * RADIUS + 1)
        base = top + 18 + height - RADIUS
        dots = "".join(dot(c, x, base - row * (2 * RADIUS + 1)) for c, (x, row) in zip(group, spots, strict=True))
        parts.append(f'<g><text x="{LEFT - 6}" y="{top + 11}">{html.escape(title)} ({len(group)})</text>{dots}</g>')
        top = base + RADIUS + 8
    middle = WIDTH / 2
    axis = f'<line x1="{middle}" x2="{middle}" y1="20" y2="{top}"/>'
    for factor in (-3, -2, -1, 1, 2, 3):
        x = middle + factor / REACH * (RIGHT - LEFT) / 2
        sign = "≥ " if abs(factor) == 3 else ""
        axis += f'<text class="emt-tick" x="{x:.0f}" y="{top + 12}">{sign}{2 ** abs(factor)} ×</text>'
    axis += f'<text class="emt-tick" x="{middle}" y="{top + 12}">bound</text>'
    axis += f'<text class="emt-tick" x="{LEFT + 60}" y="{top + 26}">← fails by</text>'
    axis += f'<text class="emt-tick" x="{RIGHT - 60}" y="{top + 26}">holds by →</text>'
    opening = f'<svg viewBox="0 0 {WIDTH:.0f} {top + 32:.0f}" role="group" aria-label="All decided claims">'
    return f'<div class="emt-claims-map">{boxes()}{opening}{axis}{"".join(parts)}</svg></div>'


def boxes() -> str:
    """What to show."""
    words = {"EMT": "Episodic Memory Theory", "onion": "onion representations"}
    words |= {"stated": "stated", "implied": "implied", "asked": "asked by this book"}
    each = [f'<label><input type="checkbox" checked data-shows="{key}"> {text}</label>' for key, text in words.items()]
    return f'<p class="emt-shows">Show: {" ".join(each)}</p>'


def dot(claim, x: float, y: float) -> str:
    """One claim, a link to its row; hollow if it rests on a single value."""
    said, single = html.escape(f"{claim.statement}: {claim.verdict}"), len(claim.values) == 1
    link = f'href="#claim-{html.escape(claim.id)}" data-paper="{claim.paper}" data-kind="{claim.kind}"'
    circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}" data-verdict="{claim.verdict}" data-single="{single}"/>'
    return f'<a {link} aria-label="{said}">{circle}<title>{said}</title></a>'
