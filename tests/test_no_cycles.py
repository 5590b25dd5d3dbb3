"""No module imports itself by way of others: every module can be read, tested and moved with only those below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOTS = (ROOT / "service", ROOT / "models")


def modules(roots: tuple[Path, ...]) -> dict[str, Path]:
    """Source files by module name."""
    found = {}
    for root in roots:
        for path in root.rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path) -> Iterator[tuple[str, str | None]]:
    """Module and name of each import that is executed, inside functions too; those for type checkers are not."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not used here"
            yield from ((node.module or "", alias.name) for alias in node.names)
        else:
            waiting += ast.iter_child_nodes(node)


def import_graph(roots: tuple[Path, ...]) -> dict[str, set[str]]:
    """Modules of our own that each module imports."""
    files = modules(roots)
    graph = {}
    for name, path in files.items():
        targets = (f"{module}.{part}" if f"{module}.{part}" in files else module for module, part in imported(path))
        graph[name] = {target for target in targets if target in files} - {name}
    return graph


def cycles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Groups of two or more modules that reach each other (strongly connected components)."""

    def reachable(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    reach = {name: reachable(name) for name in graph}
    return {frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]}


def test_no_modules_import_each_other() -> None:
    found = [sorted(group) for group in cycles(import_graph(ROOTS))]
    assert not found, f"modules that import each other: {found}"


def test_a_cycle_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def f():\n    import two\n")
    (tmp_path / "two.py").write_text("from typing import TYPE_CHECKING\nfrom three import f\n")
    (tmp_path / "three.py").write_text("import one\nif TYPE_CHECKING:\n    import four\n")
    (tmp_path / "four.py").write_text("import three\n")
    assert cycles(import_graph((tmp_path,))) == {frozenset({"one", "two", "three"})}
