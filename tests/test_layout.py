"""No test imports a test: what several tests share lies in ``tests/support``."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_no_test_is_imported_by_a_test() -> None:
    pattern = re.compile(r"^from (tests\.\S*\btest_\w+) import", re.MULTILINE)
    found = {name for path in TESTS.rglob("*.py") for name in pattern.findall(path.read_text(encoding="utf-8"))}
    assert not found
