"""The house: imports run from the top floor down, and no room needs another one's tools."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tlw

PACKAGE = Path(tlw.__file__).parent
FLOORS = (
    "cli", "report", "training", "scoring", "networks", "losses", "judge", "backbones", "data",
    "config", "imaging", "runtime",
)  # fmt: skip


def imports(path: Path) -> set[str]:
    """The rooms of the package that a module imports from, wherever in it, but for typing alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    names = [
        name
        for node in ast.walk(tree)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else []
        )
    ]  # fmt: skip
    return {name.split(".")[1] for name in names if name.startswith("tlw.")}


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_imports_only_rooms_below_it(room):
    below = set(FLOORS[FLOORS.index(room) :])
    for path in (PACKAGE / room).rglob("*.py"):
        assert imports(path) <= below, path


def test_every_room_says_what_it_is_for_and_what_may_come_in():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(FLOORS)
    for room in rooms:
        docstring = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
        assert docstring and len(docstring) > 80, room


def test_every_test_file_stands_in_the_room_that_it_tests():
    tests = Path(__file__).parent
    for path in tests.glob("*/test_*.py"):
        assert path.parent.name in (*FLOORS, "workflow", "benchmarks"), path


def test_public_names_are_where_editors_look_and_where_python_looks():
    source = (PACKAGE / "__init__.py").read_text()
    shown = {
        alias.name: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tlw.")
        for alias in node.names
    }
    assert shown == tlw._HOMES
    assert sorted([*shown, "__version__"]) == sorted(tlw.__all__)
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("module", ["tlw", "tlw.config.config", "tlw.cli", "tlw.data.registry"])
def test_what_tells_mistakes_early_does_not_wait_for_torch(module):
    words = [sys.executable, "-c", f"import sys, {module}; sys.exit('torch' in sys.modules)"]
    assert subprocess.run(words).returncode == 0


def test_no_module_of_the_package_uses_a_private_operator_of_torch():
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "torch.ops." not in source and "torch._C" not in source, path
