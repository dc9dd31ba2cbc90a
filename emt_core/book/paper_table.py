"""The table of arXiv:2310.02430, cell by cell, beside networks trained for it again.

A cell is a task (0 … 3, its place in ``PAPER_TRIPLES``), a number of units and an L2 penalty. The paper trained every
seed of a cell with two curriculum thresholds and took the better result.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emt_core.tasks import PAPER_TRIPLES

CELL = ["task", "hidden", "l2"]


def numbered(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose rows name a task by ``choice``, ``permutation`` and ``signs``, with ``task`` as its number.

    Raises:
        ValueError: a row's task is none of the paper's.
    """
    triples = list(zip(table["choice"], table["permutation"], table["signs"], strict=True))
    if unknown := sorted(set(triples) - set(PAPER_TRIPLES)):
        raise ValueError(f"table must name tasks of PAPER_TRIPLES, got {unknown}")
    return table.assign(task=[PAPER_TRIPLES.index(triple) for triple in triples])


def compared(networks: pd.DataFrame) -> pd.Series:
    """Which networks the paper compares with the theory: accuracy above 0.9, and as many eigenvalues as the theory."""
    return networks["matched"] & (networks["accuracy"] > 0.9)


def per_seed(networks: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and seed: the better of its networks, as the paper counts.

    Of those that are :func:`compared`, the least ``optimal`` and the least ``greedy`` error, NaN where none is; of all,
    the largest ``accuracy``. The index is (task, hidden, l2, seed).
    """
    ok = compared(networks)
    errors = {how: networks[f"error_{how}"].where(ok) for how in ("optimal", "greedy")}
    best = {"optimal": "min", "greedy": "min", "accuracy": "max"}
    return networks.assign(**errors).groupby([*CELL, "seed"]).agg(best)


def by_threshold(networks: pd.DataFrame, cell: tuple, claimed: float) -> dict[float, str]:
    """The :func:`verdict` on the networks of a cell that were trained with one curriculum threshold alone."""
    here = networks[(networks[CELL] == list(cell)).all(axis=1)]
    return {k: verdict(claimed, per_seed(rows)["greedy"]) for k, rows in here.groupby("threshold")}


def verdict(claimed: float, errors: pd.Series) -> str:
    """A cell's printed error beside those of our seeds, in radians.

    ``claimed`` is NaN for a dash, an error is NaN for a seed that does not match.
    A dash "agrees" if none of our seeds matches, else "some match". A number
    "agrees" if our mean is within a factor of two of it, else our mean is "smaller"
    or "larger"; "none match" if there is no mean.
    """
    errors = errors.dropna()
    if np.isnan(claimed):
        return "some match" if len(errors) else "agrees"
    if not len(errors):
        return "none match"
    ratio = errors.mean() / claimed
    return "smaller" if ratio < 0.5 else "larger" if ratio > 2 else "agrees"
