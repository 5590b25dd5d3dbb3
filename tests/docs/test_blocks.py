"""Blocks of the documentation: all are of a kind that is run or marked, and those of cheap pages are run as they stand.

``python -m tests.docs.blocks`` runs all pages and prints the counts; trainings and recorded sessions take minutes.
"""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from tests.docs.blocks import ROOT, Page, blocks, pages
from tests.docs.prepared import Prepared

QUICK = ["docs/clock.md", "docs/index.md", "docs/my-program.md", "docs/session-page.md"]


def test_every_command_is_in_a_block_of_a_language():
    found = []
    for page in pages():
        for token in MarkdownIt("commonmark").parse((ROOT / page).read_text("utf-8")):
            indented = token.type == "code_block"
            bare = (
                token.type == "fence" and not token.info and re.match(r"(mindwire|python3?|pip|curl) ", token.content)
            )
            if indented or bare:
                found.append(f"{page}:{token.map[0] + 1}")
    assert found == []


def test_fewer_than_a_tenth_of_the_blocks_are_marked_and_each_has_a_reason():
    every = [block for page in pages() for block in blocks(page)]
    marked = [block for block in every if block.reason is not None]
    assert len(marked) < len(every) / 10, [block.place for block in marked]
    assert all(block.reason.strip() for block in marked)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", QUICK)
def test_blocks_run_as_they_stand(page, prepared):
    assert blocks(page)
    assert {block.place: why for block, why in Page(page, prepared).run().items()} == {}


@pytest.fixture(scope="module")
def prepared():
    with Prepared() as made:
        yield made
