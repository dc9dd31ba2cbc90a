"""Labels of the bibliography: what a reader sees there is what citations say."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("pybtex")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from pybtex.database import BibliographyData, Entry, Person
from references import NamesAndYear


def entry(*names, year="2023", role="author"):
    return Entry("misc", fields=[("year", year)], persons={role: [Person(name) for name in names]})


def labels(**entries) -> list[str]:
    data = BibliographyData(entries)
    return list(NamesAndYear().format_labels(data.entries.values()))


def test_labels_name_the_authors_as_citations_do():
    found = labels(
        one=entry("Seung, H. S.", year="1996"), two=entry("Sussillo, David", "Barak, Omri", year="2013"),
        three=entry("Jim, A.", "Giles, B.", "Horne, C.", year="1996"), prefix=entry("van der Maaten, L.", year="2008"),
        edited=entry("Bishop, C.", role="editor"), accent=entry("Csord{\\'a}s, R{\\'o}bert", year="2024"),
    )  # fmt: skip
    wanted = ["Seung, 1996", "Sussillo and Barak, 2013", "Jim et al., 1996", "van der Maaten, 2008", "Bishop, 2023"]
    wanted.append("Csordás, 2024")
    assert found == wanted


def test_several_of_one_year_get_letters_and_nobody_is_called_by_the_key():
    same = {key: entry("Karuvally, A.", "D.", "S.") for key in "xyz"}
    assert labels(**same, other=entry("Karuvally, A.", "D.", "S.", year="2024")) == [
        "Karuvally et al., 2023a", "Karuvally et al., 2023b", "Karuvally et al., 2023c", "Karuvally et al., 2024",
    ]  # fmt: skip
    nobody = Entry("misc", fields=[("title", "Anonymous")])
    assert labels(nobody=nobody) == ["nobody, n.d."]
