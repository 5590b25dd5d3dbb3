"""The page of the JavaScript client's README, as it stands, from another origin than the service's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from tests.support.standin import StandIn, served
from tests.support.website import website

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
ROOT = Path(__file__).parents[2]


def test_the_page_of_the_readme_shows_decisions(open_page, tmp_path):
    readme = (ROOT / "clients" / "javascript" / "README.md").read_text("utf-8")
    (text,) = re.findall(r"```html\n(.*?)```", readme, re.DOTALL)
    assert len(text.strip().splitlines()) <= 10
    stream = StandIn("eeg")
    always = Decide(commit=1e-6, release=1e-6, dwell_s=0, refractory_s=0)
    stream.control(ControlPolicy(evidence=Latest(), decide=always))
    with website(tmp_path) as origin, served(stream, allowed_origins=[origin]) as address:
        stream.start()
        (tmp_path / "page.html").write_text(text.replace("127.0.0.1:8000", address), encoding="utf-8")
        (tmp_path / "favicon.ico").touch()
        page = open_page(f"{origin}/page.html")
        playwright.expect(page.locator("#command")).to_have_text(re.compile("feet|left_hand|right_hand|tongue"))
        page.goto("about:blank")
    stream.stop()
