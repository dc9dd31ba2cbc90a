"""The bibliography's labels: authors and year, as citations have them, in place of numbers that nothing refers to."""

from collections import Counter, defaultdict
from string import ascii_lowercase

from pybtex.plugin import register_plugin
from pybtex.richtext import Text
from pybtex.style.formatting.plain import Style
from pybtex.style.labels import BaseLabelStyle


class NamesAndYear(BaseLabelStyle):
    """Karuvally et al., 2023a: one name, two, or the first of more; a letter where several would be the same."""

    def format_labels(self, sorted_entries):
        """One label an entry, in their order."""
        labels = [f"{self._names(entry)}, {entry.fields.get('year', 'n.d.')}" for entry in sorted_entries]
        several, seen = Counter(labels), defaultdict(int)
        for label in labels:
            if several[label] == 1:
                yield label
            else:
                yield label + ascii_lowercase[seen[label]]
                seen[label] += 1

    @staticmethod
    def _names(entry):
        people = entry.persons.get("author") or entry.persons.get("editor") or []
        written = [" ".join(person.prelast_names + person.last_names) for person in people]
        names = [str(Text.from_latex(name)) for name in written]
        if not names:
            return entry.key
        return names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."


class NamesAndYearStyle(Style):
    """pybtex's plain style with those labels."""

    default_label_style = NamesAndYear


def setup(app):
    """Make `bibtex_default_style: names_and_year` known."""
    register_plugin("pybtex.style.formatting", "names_and_year", NamesAndYearStyle)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
