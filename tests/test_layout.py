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
