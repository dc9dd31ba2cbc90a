"""Shapes and types of emt_core are checked in every test: the hook must stand before emt_core is first imported."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("emt_core", "beartype.beartype")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent
