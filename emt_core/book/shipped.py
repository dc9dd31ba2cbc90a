"""The files that come with the book, wherever a chapter runs: in a checkout, or beside an installed library."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent


def path(name: str, folder: str = "data") -> Path:
    """Where ``book/data/name`` (or another folder of ``book``) lies here.

    Raises:
        FileNotFoundError: the book ships no such file; the message lists those with a similar name.
    """
    for root in (HERE.parents[1] / "book", HERE):  # a checkout; what setup.py copies into the package
        if (found := root / folder / name).is_file():
            return found
    near = {p.name for root in (HERE.parents[1] / "book", HERE) for p in (root / folder).glob(f"{name[:4]}*")}
    raise FileNotFoundError(f"the book ships no {folder}/{name}" + (f"; it has {', '.join(sorted(near))}" * bool(near)))
