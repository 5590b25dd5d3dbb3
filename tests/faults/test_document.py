"""docs/faults.md is what ``python -m tests.faults.table`` writes, apart from the times that it measures."""

from __future__ import annotations

from tests.faults.table import DOCUMENT, HEAD, ROWS, TAIL, line


def test_the_document_of_faults_has_the_rows_and_texts_that_it_is_written_from() -> None:
    def said(row: str) -> list[str]:
        return row.split(" | ")[:2]

    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.startswith(HEAD)
    assert text.endswith(TAIL)
    rows = text.removeprefix(HEAD).removesuffix(TAIL).splitlines()
    assert [said(row) for row in rows] == [said(line(row, [])) for row in ROWS]
