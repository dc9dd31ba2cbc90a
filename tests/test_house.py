"""The library's shape, read from its source: floors that import downwards, no circle, files that can be read."""

import ast
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parent.parent / "emt_core"
# from the ground up
FLOORS = ("support", "tasks", "theory", "networks", "training", "analysis", "experiments", "book", "report")
FILES = sorted(CORE.rglob("*.py"))
LONGEST = 400  # lines


def name_of(path: Path) -> str:
    """The module that a file is."""
    parts = path.relative_to(CORE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """The modules of emt_core that a file imports, wherever in it the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= full & MODULES.keys()
            if full - MODULES.keys():  # a name that is no module: the folder's face has it
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found & MODULES.keys() - {name_of(path)}


def floor(module: str) -> int:
    """0 is the ground; what stands in the house's root is above all."""
    parts = module.split(".")
    return FLOORS.index(parts[1]) if len(parts) > 1 and parts[1] in FLOORS else len(FLOORS)


def test_every_file_stands_on_a_floor():
    rooms = {name for name in MODULES if floor(name) == len(FLOORS)}
    assert rooms == {"emt_core"}
    assert {floor(name) for name in MODULES} == set(range(len(FLOORS) + 1))


@pytest.mark.parametrize("name", MODULES)
def test_nobody_imports_upwards(name):
    above = {other for other in imported(MODULES[name]) if floor(other) > floor(name)}
    assert not above, f"{name} imports from above: {sorted(above)}"


def test_no_circle():
    arrows = {name: imported(path) for name, path in MODULES.items()}
    left = dict(arrows)
    while free := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    assert not left, f"these import each other: {sorted(left)}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_is_read_in_one_go(path):
    assert len(path.read_text(encoding="utf8").splitlines()) <= LONGEST


def test_an_import_within_a_function_is_seen(tmp_path, monkeypatch):
    (tmp_path / "x.py").write_text("def f():\n    from emt_core.book import claims\n")
    monkeypatch.setitem(globals(), "name_of", lambda path: "emt_core.support.x")
    assert imported(tmp_path / "x.py") == {"emt_core.book.claims"}


def test_no_two_files_of_tests_have_one_name():
    """pytest would import the first for both, and not run the second."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
