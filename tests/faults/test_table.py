"""The table of faults names tests that exist, and the document is the table."""

from __future__ import annotations

import re

import pytest

from tests.faults.table import DOCUMENT, ROOT, ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_every_fault_has_its_test_and_its_line(row):
    path, name = row.test.split("::")
    assert re.search(rf"^def {re.escape(name.split('[')[0])}\(", (ROOT / path).read_text(), re.MULTILINE)
    assert f"| {row.fault} | {row.does} |" in DOCUMENT.read_text()
