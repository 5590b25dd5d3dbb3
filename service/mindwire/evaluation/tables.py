"""Tables of text: rows made once, rendered for the terminal and in Markdown; for HTML see ``templates/parts.html``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table


def percent(value: float | None) -> str:
    """Return a share in whole percent."""
    return "–" if value is None else f"{value:.0%}"


def number(value: float | None, digits: int = 2) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


@dataclass(frozen=True, slots=True)
class TextTable:
    """Cells under column names; the first column names the rows.

    Names have line breaks for the terminal, after a hyphen inside a word. A row of a single cell is a heading; ``totals`` are
    the rows that are set in bold and end a section. The title is shown in the terminal only.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    totals: Sequence[int] = ()
    title: str = ""

    @property
    def names(self) -> list[str]:
        """Column names, each in one line."""
        return [name.replace("-\n", "").replace("/\n", "/").replace("\n", " ") for name in self.head]

    def terminal(self) -> Table:
        """Return the table for a terminal of 80 columns; only the first column is folded."""
        table = Table(title=escape(self.title), box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column(self.head[0], overflow="fold", min_width=max(map(len, self.head[0].split("\n"))))
        for name in self.head[1:]:
            table.add_column(name, justify="right", no_wrap=True)
        for index, row in enumerate(self.rows):
            total = index in self.totals
            bold = "bold" if total or len(row) == 1 else None
            table.add_row(*map(escape, row), style=bold, end_section=total)
        return table

    def markdown(self) -> list[str]:
        """Return the lines of the table in Markdown."""
        lines = [self.names, ["---"] * len(self.head), *self.rows]
        return ["| " + " | ".join(cells) + " |" for cells in lines]
