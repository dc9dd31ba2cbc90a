"""The shipped tables, read."""

import csv
import math

import pandas as pd
import pytest

from emt_core.book import shipped, tables

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


def test_a_shipped_table_is_found_by_its_name(root):
    by_name, by_path = tables.read("onion_gru.csv"), tables.read(root / "book" / "data" / "onion_gru.csv")
    assert by_name.equals(by_path) and len(by_name)
    assert tables.made_by("onion_gru.csv")["commit"]


def test_a_file_that_is_not_shipped_is_named():
    with pytest.raises(FileNotFoundError, match=r"ships no data/onion_grus\.csv; it has .*onion_gru\.csv"):
        tables.read("onion_grus.csv")
    with pytest.raises(FileNotFoundError, match=r"ships no data/zzz$"):
        shipped.path("zzz")


def test_an_installed_library_carries_its_files(tmp_path, monkeypatch):
    """Beside a library that is not in a checkout, files lie in the package, where setup.py copies them."""
    package = tmp_path / "site-packages" / "emt_core" / "book"
    (package / "data").mkdir(parents=True)
    (package / "data" / "x.csv").write_text("a\n1\n")
    monkeypatch.setattr(shipped, "HERE", package)
    assert tables.read("x.csv")["a"].tolist() == [1]


@pytest.mark.parametrize(
    ("values", "shown"), [([], "–"), ([0.5], "0.50 (1)"), ([0.5, 1.0], "0.75 ± 0.35 (2)")], ids=["none", "one", "two"]
)
def test_seeds(values, shown):
    assert tables.seeds(values) == shown


def test_a_table_as_html_and_as_text():
    rows = [{"edit": "a<b", "exact": 0.123, "n": 3, "held": True}, {"edit": "c", "exact": None, "n": 12, "held": False}]
    page = tables.show(rows)._repr_html_()
    assert "a&lt;b" in page and "<td>0.12</td><td>3</td><td>yes</td>" in page and "<td>–</td>" in page
    assert page.count('<th scope="col">') == 4 and page.count('<th scope="row">') == 2
    lines = repr(tables.show(pd.DataFrame(rows), digits=1)).splitlines()
    assert lines == ["edit  exact   n  held", "a<b     0.1   3   yes", "c         –  12    no"]


def test_a_table_refuses_what_is_none():
    with pytest.raises(ValueError, match="at least one row"):
        tables.show([])
    with pytest.raises(ValueError, match=r"rows\[1\] must have the columns \['a'\], got \['b'\]"):
        tables.show([{"a": 1}, {"b": 2}])
