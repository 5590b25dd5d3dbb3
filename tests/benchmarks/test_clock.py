"""The benchmark of markers sees what is on the screen of an X server."""

from __future__ import annotations

import pytest

from benchmarks.clock import FRAME_MS, measure
from tests.browser.conftest import WITH_WINDOW
from tests.support.paint_times import XVFB

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
N = 8


@pytest.mark.browser
@pytest.mark.skipif(XVFB is None or WITH_WINDOW is None, reason="Xvfb or Chromium is not installed")
def test_markers_are_compared_with_pixels():
    with playwright.sync_playwright() as running:
        row = measure(running, N, observer="pixels", jitter_ms=20.0, there_ms=10.0, drift_ppm=100.0)
    assert row["n"] + row["not_observed"] == N
    assert row["n"] > 0
    assert row["median_ms"] < FRAME_MS, row
    assert row["clock"]["synchronised"]
