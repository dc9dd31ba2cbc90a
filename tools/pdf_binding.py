"""Printed pages of the site → one PDF: links between pages become links within it, headings become bookmarks."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, FloatObject, NameObject, NullObject

Target = tuple[str, str]  # page of the site, id; "" is its start
Place = tuple[int, float, float]  # sheet, left, top
TOP = 842.0  # of an A4 sheet, in points


@dataclass(frozen=True)
class Printed:
    """A page of the site on paper: its name as in _toc.yml, the caption of the part that it opens or "", its first
    sheet (0: the one after the front matter), its headings, the first of which is its title, and the sheets."""

    name: str
    part: str
    start: int
    headings: list[str]
    reader: PdfReader

    @property
    def title(self) -> str:
        return self.headings[0]


def page_named(path: str, site: Path) -> str:
    """The name of a page of the site from its file's path."""
    return os.path.relpath(Path(path).with_suffix(""), site).replace(os.sep, "/")


def places(printed: Sequence[Printed], front: int) -> dict[Target, Place]:
    """Where the ids lie, and where the pages start."""
    found: dict[Target, Place] = {}
    for one in printed:
        first = front + one.start
        found[one.name, ""] = (first, 0.0, TOP)
        for name, destination in one.reader.named_destinations.items():
            number = one.reader.get_destination_page_number(destination)
            left, top = (float(x) if isinstance(x, int | float) else 0.0 for x in (destination.left, destination.top))
            found[one.name, unquote(name.lstrip("/"))] = (first + number, left, top)
    return found


def target_of(annotation: dict, here: str, site: Path) -> Target | None:
    """The page and the id that a link leads to; None where it leads out of the site."""
    if "/Dest" in annotation:
        return here, unquote(str(annotation["/Dest"]).lstrip("/"))
    uri = str(annotation.get("/A", {}).get("/URI", ""))
    if not uri.startswith("file:"):
        return None
    path, fragment = urldefrag(uri)
    return page_named(unquote(urlparse(path).path), site), unquote(fragment)


def relink(writer: PdfWriter, sheets: Sequence[int], here: str, known: dict[Target, Place], site: Path) -> None:
    """Lead the links on a page's sheets to places in the document; those to what was not printed are taken away."""
    for number in sheets:
        sheet, kept = writer.pages[number], ArrayObject()
        for reference in sheet.get("/Annots", []):
            annotation = reference.get_object()
            target = target_of(annotation, here, site)
            place = known.get(target) or known.get((target[0], "")) if target else None
            if place:
                annotation.pop("/A", None)
                at = [writer.pages[place[0]].indirect_reference, NameObject("/XYZ"), *map(FloatObject, place[1:])]
                annotation[NameObject("/Dest")] = ArrayObject([*at, NullObject()])
            if place or target is None:
                kept.append(reference)
        if "/Annots" in sheet:
            sheet[NameObject("/Annots")] = kept


def bookmarks(writer: PdfWriter, one: Printed, start: int, parent) -> None:
    """A page's headings, below its part's. Chromium leaves out the spaces at which a heading was broken."""
    words = {"".join(heading.split()): heading for heading in one.headings}

    def add(outline: Sequence, parent) -> None:
        last = parent
        for item in outline:
            if isinstance(item, list):
                add(item, last)
            elif heading := words.get("".join(str(item.title).split()).rstrip("#")):
                sheet = start + one.reader.get_destination_page_number(item)
                last = writer.add_outline_item(title=heading, page_number=sheet, parent=parent, is_open=False)

    add(one.reader.outline, parent)


def bind(front: PdfReader, printed: Sequence[Printed], site: Path, about: dict[str, str]) -> PdfWriter:
    """The front matter and all pages as one document."""
    writer, part, shift = PdfWriter(), None, len(front.pages)
    for reader in (front, *(one.reader for one in printed)):
        writer.append(reader, import_outline=False)
    known = places(printed, shift)
    relink(writer, range(shift), "", known, site)
    for one in printed:
        first = shift + one.start
        relink(writer, range(first, first + len(one.reader.pages)), one.name, known, site)
        part = (
            writer.add_outline_item(title=one.part, page_number=first, bold=True, is_open=False) if one.part else part
        )
        bookmarks(writer, one, first, part)
    for names in ("/Names", "/Dests"):  # of pages by themselves: the same id may be on several
        writer.root_object.pop(names, None)
    writer.add_metadata(about)
    writer.page_mode = "/UseOutlines"
    return writer
