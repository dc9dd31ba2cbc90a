"""The rule by which networks become a cell of the paper's table, and by which a cell agrees, on cells made by hand."""

import math

import pandas as pd
import pytest

from emt_core.book import paper_table, tables
from emt_core.tasks import PAPER_TRIPLES


def networks(*rows):
    """Rows of (seed, matched, accuracy, optimal error, greedy error) in one cell."""
    names = ["seed", "matched", "accuracy", "error_optimal", "error_greedy"]
    return pd.DataFrame(rows, columns=names).assign(task=2, hidden=64, l2=0.0)


def test_a_seed_is_the_better_of_its_runs():
    table = networks(
        (0, True, 0.99, 0.004, 0.009),
        (0, True, 0.95, 0.002, 0.010),
        (1, False, 0.999, math.nan, math.nan),
        (1, True, 0.98, 0.005, 0.005),
    )
    best = paper_table.per_seed(table).loc[2, 64, 0.0]
    assert best.loc[0].to_list() == [0.002, 0.009, 0.99]
    assert best.loc[1].to_list() == [0.005, 0.005, 0.999]


def test_a_match_of_a_network_that_does_not_solve_its_task_is_not_compared():
    table = networks((0, True, 0.9, 0.001, 0.001), (0, False, 0.99, math.nan, math.nan))
    assert not paper_table.compared(table).any()
    assert paper_table.per_seed(table)["greedy"].isna().all()


def test_the_better_of_two_thresholds_can_hide_the_other():
    table = networks((0, True, 0.99, 0.01, 0.01), (0, True, 0.99, 0.03, 0.03)).assign(threshold=[0.9, 0.98])
    other = table.assign(hidden=128)
    both = pd.concat([table, other.assign(error_greedy=9.0)])
    assert paper_table.by_threshold(both, (2, 64, 0.0), 0.01) == {0.9: "agrees", 0.98: "larger"}
    assert paper_table.verdict(0.01, paper_table.per_seed(table)["greedy"]) == "agrees"


@pytest.mark.parametrize(
    ("claimed", "errors", "expected"),
    [
        (math.nan, [math.nan, math.nan], "agrees"),
        (math.nan, [math.nan, 0.1], "some match"),
        (0.01, [math.nan], "none match"),
        (0.01, [0.004, 0.006, math.nan], "agrees"),
        (0.01, [0.004, 0.005], "smaller"),
        (0.01, [0.02], "agrees"),
        (0.01, [0.03, 0.02], "larger"),
    ],
)
def test_verdict(claimed, errors, expected):
    assert paper_table.verdict(claimed, pd.Series(errors)) == expected


def test_tasks_are_numbered_as_the_paper_lists_them():
    printed = paper_table.numbered(tables.read("paper_table.csv"))
    assert (printed["task"] + 1 == tables.read("paper_table.csv")["task"]).all()
    row = dict(zip(("choice", "permutation", "signs"), PAPER_TRIPLES[3], strict=True))
    assert paper_table.numbered(pd.DataFrame([row]))["task"].to_list() == [3]
    with pytest.raises(ValueError, match="PAPER_TRIPLES"):
        paper_table.numbered(pd.DataFrame([row | {"signs": 1}]))
