"""Which tests `make check` leaves out: read from their source, so that nobody has to remember a mark.

A test is slow when it, a fixture or a helper that it names starts a process or imports a runtime of models. What
computes for seconds without either is marked `slow` by hand.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
SLOW = {
    "subprocess", "multiprocessing", "tensorflow", "keras",
    "imageserver.inference.server.child_process.ChildProcess", "imageserver.inference.server.engine.Engine",
    "imageserver.inference.server.costly.drawing.DrawingProcess", "imageserver.sidecar.process.Sidecar",
    "imageserver.inference.server.jails.conversions.Conversions",
    "imageserver.inference.server.stateful.models.StatefulModels",
}  # fmt: skip
"""Modules, and what starts processes of its own accord."""
SRC = TESTS.parent / "src"
SLOW |= {
    "imageserver." + ".".join(path.relative_to(SRC).with_suffix("").parts)
    for path in SRC.rglob("*.py")
    if re.search(r"(?m)^(import|from) (tensorflow|keras)\b", path.read_text(encoding="utf-8"))
}


def is_slow(path: Path, name: str) -> bool:
    """Whether the function or class `name` at the top of the test file `path` is slow."""
    return name in slow_names(path)


@functools.cache
def slow_names(path: Path) -> frozenset[str]:
    """The names at the top of a file that lead to something slow, fixtures of the conftest.py above it among them."""
    slow = {name for conftest in conftests(path) for name in slow_names(conftest)}
    statements: list[tuple[set[str], set[str]]] = []  # what each at the top defines, and all that it uses
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        used: set[str] = set()
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                used.add(node.id)
            elif isinstance(node, ast.arg):  # a fixture
                used.add(node.arg)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                slow.update(slow_imports(node))
        statements.append((set(defines(statement)), used))
    found = -1
    while found != len(slow):
        found = len(slow)
        for defined, used in statements:
            if not slow.isdisjoint(used):
                slow |= defined
    return frozenset(slow)


def conftests(path: Path) -> Iterator[Path]:
    """The conftest.py that pytest reads for a file of tests or fixtures: its folder's and those above it."""
    if not path.name.startswith(("test_", "conftest")):
        return
    for folder in path.parents[: len(path.relative_to(TESTS).parts)]:
        if (folder / "conftest.py").is_file() and folder / "conftest.py" != path:
            yield folder / "conftest.py"


def slow_imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The names that an import binds to something slow."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name in SLOW:
                yield alias.asname or alias.name
    elif node.module is not None:
        slow = slow_names_of(node.module)
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            if alias.name in slow or slow_names_of(full) or SLOW & {node.module, full}:
                yield alias.asname or alias.name


def slow_names_of(module: str) -> frozenset[str]:
    """The names at the top of a module of the tests that lead to something slow."""
    file = TESTS.parent / (module.replace(".", "/") + ".py")
    return slow_names(file) if module.startswith("tests.") and file.is_file() else frozenset()


def defines(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement at the top of a file defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
