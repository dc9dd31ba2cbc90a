"""Signatures on the API's pages: defaults as their source has them."""

import inspect
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import api_signatures

NOTHING = object()


@dataclass
class Settings:
    """Defaults that Python shows as an address, as a factory, as another number, and as they are."""

    first: int
    what: object = NOTHING
    many: dict[str, int] = field(default_factory=dict)
    steps: int = 40_000
    none: int | None = field(default=None, repr=False)

    @property
    def double(self) -> int:
        return 2 * self.first


def test_defaults_are_shown_as_they_are_written():
    made = Settings.__init__
    api_signatures.defaults_as_written(None, made, True)
    shown = {
        name: repr(p.default) for name, p in inspect.signature(made).parameters.items() if p.default is not p.empty
    }
    assert shown == {"what": "NOTHING", "many": "dict()", "steps": "40_000", "none": "None"}
    assert Settings(1).many == {} and Settings(1).steps == 40000  # only what is shown has changed


def test_other_functions_are_left_alone():
    for other in (Settings.double.fget, written := lambda x=NOTHING: x, int.__init__):
        api_signatures.defaults_as_written(None, other, True)
        assert not hasattr(other, "__signature__")
    assert written() is NOTHING
