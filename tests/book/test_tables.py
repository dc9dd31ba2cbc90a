"""The shipped tables, read."""

import csv
import math

import pytest

from emt_core.book import tables

ROWS = "# command: python -m x: y\n# commit: abc\nname,on,share,empty\na,true,0.1,\nb,false,0.30000000000000004,2\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(ROWS)
    return path


def test_numbers_keep_their_last_bit_and_nothing_is_nan(file):
    table = tables.read(file)
    assert table["share"].tolist() == [0.1, 0.30000000000000004]
    assert table["on"].tolist() == [True, False] and table["name"].tolist() == ["a", "b"]
    assert math.isnan(table["empty"][0]) and table["empty"][1] == 2


def test_what_made_it(file):
    assert tables.made_by(file) == {"command": "python -m x: y", "commit": "abc"}


def test_every_shipped_table_reads_as_it_is_written(root):
    for path in sorted((root / "book" / "data").glob("*.csv")):
        table = tables.read(path)
        with path.open(newline="", encoding="utf8") as lines:
            rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        assert len(table) == len(rows) > 0 and list(table.columns) == list(rows[0])
        for name in table.columns:
            if table[name].dtype.kind == "f":
                wanted = [float(row[name]) if row[name] else math.nan for row in rows]
                assert all(x == y or (x != x and y != y) for x, y in zip(table[name], wanted, strict=True)), name
            elif table[name].dtype.kind in "iu":
                assert table[name].tolist() == [int(row[name]) for row in rows], name


def test_every_table_says_what_made_it(root):
    for path in sorted((root / "book" / "data").glob("*.csv")):
        if path.name != "paper_table.csv":  # the paper's numbers
            assert {"command", "commit", "hardware", "versions"} <= tables.made_by(path).keys(), path.name
