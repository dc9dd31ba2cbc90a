"""Tables: those that the book ships, as data frames, and how a page shows one.

A shipped table's first lines, marked with #, say what made it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emt_core.book import shipped


def read(table: str | Path) -> pd.DataFrame:
    """The rows of a shipped table, every number to its last bit (pandas 3 reads them so); NaN where there is none.
    ``table`` is a path, or the name of a file in ``book/data``."""
    return pd.read_csv(_found(table), comment="#")


def made_by(table: str | Path) -> dict[str, str]:
    """What made a shipped table: command, commit, date, hardware, versions."""
    with _found(table).open(encoding="utf8") as file:
        lines = [line.removeprefix("#").strip() for line in file if line.startswith("#")]
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _found(table: str | Path) -> Path:
    return Path(table) if Path(table).is_file() else shipped.path(str(table))


def seeds(values: Sequence[float] | np.ndarray, digits: int = 2) -> str:
    """Values of several networks in a cell: mean ± standard deviation (number of networks); "–" of none."""
    values = np.asarray(values, dtype=float).ravel()
    if not values.size:
        return "–"
    spread = f" ± {values.std(ddof=1):.{digits}f}" if values.size > 1 else ""
    return f"{values.mean():.{digits}f}{spread} ({values.size})"


@dataclass(frozen=True)
class Shown:
    """A table as a page shows it: HTML that fits, and plain text for a terminal."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def _repr_html_(self) -> str:
        def line(cells: Iterable[str], first: str, rest: str) -> str:
            kinds = [first] + [rest] * (len(self.head) - 1)
            inner = [f"<{kind}>{html.escape(c)}</{kind[:2]}>" for kind, c in zip(kinds, cells, strict=True)]
            return f"<tr>{''.join(inner)}</tr>"

        head = line(self.head, 'th scope="col"', 'th scope="col"')
        body = "".join(line(row, 'th scope="row"', "td") for row in self.rows)
        return f'<table class="emt-table"><thead>{head}</thead><tbody>{body}</tbody></table>'

    def __repr__(self) -> str:
        every = [self.head, *self.rows]
        widths = [max(len(row[i]) for row in every) for i in range(len(self.head))]
        lines = []
        for row in every:
            cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
            lines.append("  ".join(cells))
        return "\n".join(line.rstrip() for line in lines)


def show(rows: pd.DataFrame | Iterable[Mapping[str, Any]], digits: int = 2) -> Shown:
    """Rows as a table, the first column naming each; end a cell with it.

    Columns are those of the first row. Numbers that are not whole are written with ``digits`` digits after the point,
    what is missing as "–", booleans as yes and no.

    Raises:
        ValueError: there are no rows, or one has other columns than the first.
    """
    records = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else [dict(row) for row in rows]
    if not records:
        raise ValueError("rows must hold at least one row, got none")
    head = list(records[0])
    for i, row in enumerate(records):
        if list(row) != head:
            raise ValueError(f"rows[{i}] must have the columns {head}, got {list(row)}")
    cells = tuple(tuple(_cell(row[name], digits) for name in head) for row in records)
    return Shown(tuple(str(name) for name in head), cells)


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return "–"
    if isinstance(value, int | np.integer | str):
        return str(value)
    if isinstance(value, float | np.floating):
        return f"{value:.{digits}f}"
    return str(value)
