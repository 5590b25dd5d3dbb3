"""Every link between files of the repository leads to a file, and to a heading of it where it names one."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / "clients").glob("*/*.md"),
]


def tokens(path: Path):
    return MarkdownIt("commonmark").enable("table").parse(path.read_text("utf-8"))


@cache
def anchors(path: Path) -> set[str]:
    """Names that a forge gives the headings of a page."""
    found: Counter[str] = Counter()
    names = set()
    parsed = tokens(path)
    for opening, inline in pairwise(parsed):
        if opening.type == "heading_open":
            text = "".join(part.content for part in inline.children if part.type in {"text", "code_inline"})
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
            found[slug] += 1
    return names


def links(path: Path) -> list[str]:
    parts = [part for token in tokens(path) for part in token.children or ()]
    return [
        str(part.attrs.get("href") or part.attrs.get("src") or "")
        for part in parts
        if part.type in {"link_open", "image"}
    ]


def faults(path: Path) -> list[str]:
    found = []
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists():
            found.append(f"{link}: no such file")
        elif not target.is_relative_to(ROOT):
            found.append(f"{link}: outside the repository")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            found.append(f"{link}: no such heading")
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    assert faults(path) == []


def test_wrong_links_are_found(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b`, c\n\n[x](#a-b-c) [x](#other) [x](nothing.md) [x](page.md#a-b-c) [x](https://example.org)\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert faults(page) == ["#other: no such heading", "nothing.md: no such file"]
