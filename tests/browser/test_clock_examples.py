"""The examples of docs/clock.md and of clients/javascript, as they stand, from another origin than the service's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pylsl
import pytest

from tests.support.standin import StandIn, served
from tests.support.website import website

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
ROOT = Path(__file__).parents[2]


@pytest.fixture
def taken():
    return []


@pytest.fixture
def stream(taken):
    one = StandIn("eeg")
    one.markers.add(lambda label, at: taken.append((label, at)))
    yield one
    one.stop()


@pytest.mark.parametrize("token", [None, "control-token"])
def test_the_example_page_marks_its_cues(open_page, stream, taken, token):
    with (
        website(ROOT / "clients" / "javascript") as origin,
        served(stream, allowed_origins=[origin], token=token) as url,
    ):
        before = pylsl.local_clock()
        given = "" if token is None else f"&token={token}"
        page = open_page(f"{origin}/example.html?service=http://{url}&stream=eeg{given}", may_lose_connection=True)
        expect(page.locator("#state")).to_contain_text("all markers are taken", timeout=60_000)
        assert page.evaluate("crossOriginIsolated") is False
        page.goto("about:blank")
    cues = ["left_hand", "right_hand", "right_hand", "left_hand"]
    assert [label for label, _ in taken] == [*(label for cue in cues for label in ("fixation", cue)), "task_end"]
    times = [before, *(at for _, at in taken), pylsl.local_clock()]
    assert times == sorted(times)


def test_the_example_in_python_sends_a_marker_at_its_time(stream, taken):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "clock.md").read_text("utf-8"), re.DOTALL)
    with served(stream) as address:
        before = pylsl.local_clock()
        done = subprocess.run(
            [sys.executable, "-c", code.replace("127.0.0.1:8000", address)], capture_output=True, text=True, timeout=60
        )
        after = pylsl.local_clock()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"accepted": 1, "repeated": 0}
    ((label, at),) = taken
    assert label == "left_hand"
    assert before < at < after
