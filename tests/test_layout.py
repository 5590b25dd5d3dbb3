"""The shape of the tree: files of a size that can be read, and no test that imports a test."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_no_test_is_imported_by_a_test() -> None:
    pattern = re.compile(r"^from (tests\.\S*\btest_\w+) import", re.MULTILINE)
    found = {name for path in TESTS.rglob("*.py") for name in pattern.findall(path.read_text(encoding="utf-8"))}
    assert not found


def test_no_source_file_has_more_than_400_lines() -> None:
    roots = (TESTS.parent / "service", TESTS.parent / "models", TESTS.parent / "clients" / "python")
    sizes = {
        path.name: len(path.read_text(encoding="utf-8").splitlines()) for root in roots for path in root.rglob("*.py")
    }
    assert {name: size for name, size in sizes.items() if size > 400} == {}


def test_programs_in_benchmarks_start_as_the_documentation_has_them() -> None:
    """Where one imports from the repository it puts its root into the path, unless it is run by ``python -m``."""
    missing = [
        path.name
        for path in (TESTS.parent / "benchmarks").glob("*.py")
        if f"python benchmarks/{path.name}" in (text := path.read_text(encoding="utf-8"))
        and re.search(r"^from (tests|benchmarks)[ .]", text, re.MULTILINE)
        and "sys.path" not in text
    ]
    assert missing == []
