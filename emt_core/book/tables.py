"""The tables that the book ships, as data frames: their first lines, marked with #, say what made them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def read(path: str | Path) -> pd.DataFrame:
    """The rows of a shipped table, every number to its last bit (pandas 3 reads them so); NaN where there is none."""
    return pd.read_csv(path, comment="#")


def made_by(path: str | Path) -> dict[str, str]:
    """What made a shipped table: command, commit, date, hardware, versions."""
    with Path(path).open(encoding="utf8") as file:
        lines = [line.removeprefix("#").strip() for line in file if line.startswith("#")]
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
