"""Numbers for sentences: a chapter says what it found, its prose names it, and the words fit 0, 1 and many.

In a chapter's source, ``{glue:text}`name:.2f``` stands where ``say(name=…)`` put a value. The reading notebook that is
made of a chapter has :func:`live` paragraphs there instead, which are written anew whenever a value is said again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

SPACE = "\N{NO-BREAK SPACE}"
PLACE = re.compile(r"<<([A-Za-z_]\w*)(?::([^<>]+))?>>")
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

_said: dict[str, Any] = {}  # of this kernel: what paragraphs above may still ask for
_paragraphs: list[tuple[str, dict[str, Any], Any]] = []  # template, values of the published run, display handle


def say(**values: Any) -> None:
    """Give values to the chapter's text: numbers, strings, NumPy or torch scalars.

    Raises:
        ValueError: a value is an array of more than one number.
    """
    from myst_nb import glue

    for name, value in values.items():
        if hasattr(value, "item") and not isinstance(value, str):
            if getattr(value, "size", 1) != 1 if isinstance(value, np.ndarray) else value.ndim and value.numel() != 1:
                raise ValueError(f"{name} must be one number or a string, got an array of shape {tuple(value.shape)}")
            value = value.item()
        _said[name] = value
        glue(name, value, display=False)
    for template, before, handle in _paragraphs:
        if any(name in values for name, _ in PLACE.findall(template)):
            handle.update(_markdown(template, before))


def live(template: str, **before: Any) -> None:
    """Show a paragraph of Markdown in which ``<<name:.2f>>`` stands for values: those said in this kernel, and until
    then ``before``, what the published run said. Saying a value again writes the paragraph anew."""
    from IPython.display import display

    handle = display(_markdown(template, before), display_id=True)
    if handle is not None:  # None where nobody looks: in a plain Python process
        _paragraphs.append((template, before, handle))


def _markdown(template: str, before: dict[str, Any]) -> Any:
    from IPython.display import Markdown

    return Markdown(filled(template, before | _said))


def filled(template: str, values: dict[str, Any]) -> str:
    """The template with its values; a name without one stays visible as ``?name?``."""

    def one(match: re.Match) -> str:
        name, form = match.groups()
        return format(values[name], form or "") if name in values else f"?{name}?"

    return PLACE.sub(one, template)


# --- words ------------------------------------------------------------------------------------------------------------


def count(n: int, one: str, many: str = "", *, capital: bool = False) -> str:
    """``count(0, "network")``: "no networks"; 1: "one network"; 3: "three networks"; from 13 on in digits."""
    n = int(n)
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    number = WORDS[n] if n < len(WORDS) else str(n)
    words = f"{number}{SPACE}{one if n == 1 else many or one + 's'}"
    return words[0].upper() + words[1:] if capital else words


def of(n: int, total: int, *, capital: bool = False) -> str:
    """``of(5, 5)``: "all five"; ``of(0, 5)``: "none of the five"; ``of(3, 5)``: "three of the five"; "the only one" or
    "not the only one" of one."""
    n, total = int(n), int(total)
    if not 0 <= n <= total or total == 0:
        raise ValueError(f"n must be from 0 to total, at least 1, got n = {n}, total = {total}")
    small = [WORDS[k] if 0 < k < len(WORDS) else str(k) for k in (n, total)]
    if total == 1:
        words = "the only one" if n else "not the only one"
    elif n == total:
        words = "both" if total == 2 else f"all {small[1]}"
    else:
        words = f"none of the {small[1]}" if n == 0 else f"{small[0]} of the {small[1]}"
    return words[0].upper() + words[1:] if capital else words


def percent(share: float, digits: int = 0) -> str:
    """``percent(0.953)``: "95 %". A share that would be rounded to 0 or 100 % though it is not says so: "<1 %"."""
    share = float(share)
    if not np.isfinite(share):
        return "not measured"
    step = 10.0**-digits
    rounded = round(100 * share, digits)
    if share > 0 and rounded == 0:
        return f"<{step:.{digits}f}{SPACE}%"
    if share < 1 and rounded == 100:
        return f">{100 - step:.{digits}f}{SPACE}%"
    return f"{rounded:.{digits}f}{SPACE}%"


def span(shares: Iterable[float], digits: int = 0) -> str:
    """``span([0.7, 0.53, 0.6])``: "53 % to 70 %", the least and the largest share; one number where both read alike."""
    each = [float(share) for share in shares]
    low, high = percent(min(each), digits), percent(max(each), digits)
    return low if low == high else f"{low} to {high}"


def listed(items: Sequence[object], last: str = "and") -> str:
    """``listed(["a", "b", "c"])``: "a, b and c"; of nothing: "none"."""
    words = [str(item) for item in items]
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words) or "none"
