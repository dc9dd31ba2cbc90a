"""The page of a report: one file that needs nothing else, to be read with or without the book."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from emt_core.report import pictures, verdicts
from emt_core.report.measures import KICK, Numbers
from emt_core.report.verdicts import Verdict

#: where the book is read
BOOK = "https://emt-book.github.io/emt/book"

STYLE = """
:root { color-scheme: light dark; --text: #222832; --page: #fff; --soft: #f3f4f5; --line: #d1d5da; --link: #176de8;
  --strong: #0b5394 }
@media (prefers-color-scheme: dark) { :root { --text: #ced6dd; --page: #14181e; --soft: #222832; --line: #48566b;
  --link: #77b6fb; --strong: #9cc9ff } svg { filter: invert(0.92) hue-rotate(180deg) } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); line-height: 1.6;
  font-family: -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif }
main, footer { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem } h1 { font-size: 1.9rem; line-height: 1.25 }
h2 { font-size: 1.35rem; margin: 2.4rem 0 .4rem; border-top: 1px solid var(--line); padding-top: 1.4rem }
a { color: var(--link); text-underline-offset: .15em } figure { margin: 1rem 0 } .wide { overflow-x: auto }
svg { display: block; width: 100%; height: auto; background: #fff } figcaption {
font-size: .92rem } .verdicts { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)) }
.verdict { background: var(--soft); border-left: .3rem solid var(--strong); padding: .7rem 1rem }
.verdict b { display: block; font-size: 1.25rem; color: var(--strong) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .8rem 0 }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0; text-align: left }
.swipe { display: none } @media (max-width: 34rem) { .swipe { display: block; opacity: .8 } }
details { margin: .6rem 0 } summary { cursor: pointer } code { background: var(--soft); padding: 0 .2em }
"""


def page(name: str, found: dict[str, Numbers], about: dict[str, Any], words: dict[str, Verdict]) -> str:
    """The HTML of what was ``found``."""
    parts = [_head(name, found, words)]
    for key, (title, chapter, told) in SECTIONS.items():
        link = f'<p>The book explains it: <a href="{BOOK}/{chapter[0]}.html">{escape(chapter[1])}</a>.</p>'
        body = told(found) if "missing" not in found[key] else f"<p>Not measured: {escape(found[key]['missing'])}.</p>"
        parts.append(f'<section id="{key}"><h2>{escape(title)}</h2>{body}{link}</section>')
    made = "".join(f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in about.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: how it remembers</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main><footer><h2>How this was made</h2>{_table(made)}"
        "<p>All numbers are in <code>report.json</code> beside this page.</p></footer></body></html>\n"
    )


def _head(name: str, found: dict[str, Numbers], words: dict[str, Verdict]) -> str:
    boxes = "".join(
        f'<div class="verdict">{escape(asks)} <b>{escape(words[key].word)}</b> {escape(words[key].why)}.</div>'
        for key, asks in (("code", "How are positions stored?"), ("memory", "What becomes of errors?"))
    )
    return (
        f"<h1>{escape(name)}: how it remembers</h1><p>This page looks into one recurrent network: how well it does its "
        "task, how the sequence that it has read is stored in its state, and how much the state may be disturbed. Each "
        "verdict follows a stated rule; the numbers behind it are below.</p>"
        f'<div class="verdicts">{boxes}</div><details><summary>The rules</summary><p>{escape(verdicts.CODE_RULE)}</p>'
        f"<p>{escape(verdicts.MEMORY_RULE)}</p><p>The lines were drawn on networks whose code is known. They are "
        "conventions.</p></details>"
    )


def _accuracy(found: dict[str, Numbers]) -> str:
    n = found["accuracy"]
    return (
        f"<p>Share of sequences without a mistake: {_said(n['exact'])}. Share of tokens that are right: "
        f"{n['tokens']:.3f}; always writing the most frequent token would give {n['chance']:.3f}.</p>"
        + _figure(pictures.accuracy(n), "Bars are Wilson’s 95 % intervals over sequences.")
    )


def _code(found: dict[str, Numbers]) -> str:
    n = found["code"]
    text = (
        "<p>The <em>layer</em> of a token at a position is what it adds to the last state, on average over the other "
        "tokens. Subspaces give every position directions of its own; an onion puts all positions into the same "
        f"directions, at different sizes. Measured with {n['tokens']} tokens and {n['sequences']:,} sequences of "
        f"length {n['length']}, which {len(n['dimension'])} draws share among them; means and, in parentheses, ranges "
        "over the draws.</p>"
        f"<p>The sum of the layers explains {_range(n['additive'])} of the variance of the states, which fill "
        f"{_range(n['dimension'], 1)} of {n['units']} dimensions. The overlap of two positions is 1 if they use the "
        "same directions and 0 if orthogonal ones: of neighbours it is "
        f"{_range(n['overlap_neighbours'])}, of all pairs {_range(n['overlap_all'])}. The cosine between a token’s "
        f"layers at neighbouring positions is {_range(n['alignment_neighbours'])}; with the tokens of each position "
        f"shuffled it is {_range(n['alignment_by_chance'])}.</p>"
    )
    return text + _figure(
        pictures.code(n),
        "Left: how large each position’s layers are; a line a draw, dotted what a mean over as many sequences gives by "
        "chance. Then the overlap of positions. Right, where it could be measured: how well a reader that peels layers "
        "off does, beginning with the largest (forwards) or the smallest.",
    )


def _disturbed(found: dict[str, Numbers]) -> str:
    kicks, coarse = found["disturbed"]["kicks"], found["disturbed"]["rounding"]
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{_said(share)}</td></tr>"
        for name, share in coarse["forms"].items()
        if not name.isdigit()
    )
    when = "after every step" if coarse["every_step"] else "once, when reading ends"
    return (
        f"<p>Left: the state is kicked once, when reading ends, in a random direction among its {kicks['units']} "
        f"numbers. Right: it is rounded {when}.</p>"
        + _figure(pictures.disturbed(kicks, coarse), "Exact match, with Wilson’s 95 % intervals over sequences.")
        + _table(f"<tr><th>format</th><th>without a mistake</th></tr>{rows}")
    )


def _lasting(found: dict[str, Numbers]) -> str:
    n = found["lasting"]
    return (
        f"<p>The network runs on, reading {escape(n['reads'])}. A memory that corrects errors lets a small kick "
        f"({100 * KICK:g} % of the state) die out and still keeps sequences apart.</p>"
        + _figure(pictures.lasting(n), "Medians over sequences, relative to what they were when reading ended.")
    )


def _fixed(found: dict[str, Numbers]) -> str:
    n = found["fixed_points"]
    kinds = ", ".join(f"{count} {_named(kind, count)}" for kind, count in n["found"].items()) or "none"
    attract = f"Attracting fixed points: {n['stable']}. " if n["found"].get("converged") else ""
    nowhere = f"{n['failed']} {'start' if n['failed'] == 1 else 'starts'} led nowhere."
    text = (
        f"<p>A fixed point is a state that one step (reading {escape(n['reads'])}) does not change; at a slow point it "
        f"changes little. A search from {n['starts']} states, those at the end of reading and those 50 steps later, "
        f"found: {escape(kinds)}. {attract}{nowhere}</p>"
    )
    if not n["multipliers"]:
        return text
    caption = "Eigenvalues of the step’s Jacobian at what was found, up to forty each. Inside the circle errors shrink."
    return text + _figure(pictures.multipliers(n), caption)


def _named(kind: str, count: int) -> str:
    """What a search found, in the words of the text."""
    return {"converged": "fixed point", "slow": "slow point"}[kind] + ("" if count == 1 else "s")


def _edits(found: dict[str, Numbers]) -> str:
    n = found["edits"]
    said = "; ".join(f"{escape(name)} {_said(share)}" for name, share in n["success"].items())
    return (
        "<p>If states are sums of layers, one token’s layer can be exchanged for another’s. Success is to write what "
        "the network itself writes after the sequence with the other token. That shows that layers add up; it does not "
        f"show that they are magnitudes. {n['cases']:,} cases of length {n['length']}: {said}.</p>"
        + _figure(pictures.edits(n), "Left: all positions, and the controls. Right: by position.")
    )


def _learned(found: dict[str, Numbers]) -> str:
    rows = "".join(
        f"<tr><td>{escape(kind)}</td>" + "".join(f"<td>{_said(shares[way])}</td>" for way in WAYS) + "</tr>"
        for kind, shares in found["learned"]["kinds"].items()
    )
    heads = "".join(f"<th>{escape(way)}</th>" for way in WAYS)
    return (
        "<p>Edits of two forms, learned on the frozen network: one exchanges coordinates, the hypothesis of subspaces; "
        "the other adds a token’s vector at its position’s magnitude, the hypothesis of an onion.</p>"
        + _table(f"<tr><th>edit</th>{heads}</tr>{rows}")
    )


WAYS = "edited", "no edit", "random", "oracle"
#: title, chapter of the book, and what is said
SECTIONS = {
    "accuracy": ("Does it do its task?", ("gru_repeat", "GRUs that repeat tokens"), _accuracy),
    "code": ("How are positions stored?", ("onions", "Onions"), _code),
    "edits": ("Can a token be exchanged?", ("interventions", "Interventions"), _edits),
    "disturbed": ("How exact must the state be?", ("bits", "What a memory costs in bits"), _disturbed),
    "lasting": (
        "What becomes of errors?",
        ("analog_or_digital", "Away from the origin: analog and digital memories"),
        _lasting,
    ),
    "fixed_points": (
        "Where does it come to rest?",
        ("analog_or_digital", "Away from the origin: analog and digital memories"),
        _fixed,
    ),
    "learned": ("What do learned edits say?", ("interventions", "Interventions"), _learned),
}


def _figure(figure: Any, caption: str) -> str:
    wide = bool(figure.get_figwidth() > 5)
    swipe = '<span class="swipe">Swipe the picture sideways to see all of it.</span>' if wide else ""
    return (
        f'<figure><div class="wide" tabindex="0">{_labelled(pictures.svg(figure), caption, wide)}</div>'
        f"<figcaption>{swipe}{escape(caption)}</figcaption></figure>"
    )


def _table(rows: str) -> str:
    return f'<div class="wide" tabindex="0"><table>{rows}</table></div>'


def _labelled(svg: str, caption: str, wide: bool) -> str:
    """The picture named by its caption, no larger than it was drawn, and on a phone not too small to be read."""
    width = re.search(r'width="([\d.]+)pt"', svg).group(1)  # type: ignore[union-attr]
    sized = f"max-width: {width}pt" + ("; min-width: 30rem" if wide else "")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(caption, quote=True)}" style="{sized}" ', 1)


def _said(share: list[float | int]) -> str:
    value, low, high, n = share
    return f"{value:.3f} [{low:.3f}, {high:.3f}], n = {n:,}"


def _range(values: list[float], digits: int = 2) -> str:
    mean, low, high = (round(x, digits) + 0.0 for x in (sum(values) / len(values), min(values), max(values)))  # no -0
    return f"{mean:.{digits}f} ({low:.{digits}f} … {high:.{digits}f})"
