"""Distance of the times of markers from what is really on the screen, and if the claimed uncertainty covers it.

    python benchmarks/clock.py
    python benchmarks/clock.py --minutes 30 --drift-ppm 100 --jitter-ms 20 --there-ms 10

A page in Chromium flips a patch and marks each flip with ``client.js``, through a network that delays what it carries. When the patch was
really painted is read from the pixels of an X server by another process (Debian's ``xvfb``), or else taken from the swaps of
Chromium's display compositor (``--observer trace``). Without options: a fast network, a slow one, and a slow one beside clocks that drift apart.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pylsl
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser.conftest import FLAGS, WITH_WINDOW  # noqa: E402
from tests.support.paint_times import FLIP, HEIGHT, WIDTH, XVFB, Trace, framebuffer  # noqa: E402
from tests.support.slow_network import slow_network  # noqa: E402
from tests.support.standin import StandIn, served  # noqa: E402

GAP_MS = 220.0
AT_ONCE = 50
FRAME_MS = 1000 / 60


@contextlib.contextmanager
def drifting_service(ppm: float) -> Iterator[tuple[str, float]]:
    """Yield the address of a service whose clock drifts, and the moment from which it does."""
    stream, begin = StandIn("eeg"), pylsl.local_clock()

    def clock() -> float:
        now = pylsl.local_clock()
        return now + (now - begin) * ppm * 1e-6

    with mock.patch("mindwire.api.websockets._lsl_clock", return_value=clock), served(stream) as address:
        try:
            yield address, begin
        finally:
            stream.stop()


def measure(
    playwright: Any, n: int, *, observer: str, jitter_ms: float = 0.0, there_ms: float = 0.0, drift_ppm: float = 0.0
) -> dict[str, Any]:
    """Flip a patch ``n`` times in a browser of its own, and compare the markers with what was painted."""
    with contextlib.ExitStack() as stack:
        address, begin = stack.enter_context(drifting_service(drift_ppm))
        address = stack.enter_context(slow_network(address, jitter_s=jitter_ms / 1e3, there_s=there_ms / 1e3))
        screen = stack.enter_context(framebuffer()) if observer == "pixels" else None
        flags = [*FLAGS, "--window-position=0,0", f"--window-size={WIDTH},{HEIGHT}"] if screen else FLAGS
        env = {**os.environ, "DISPLAY": screen.display} if screen else None
        browser = playwright.chromium.launch(executable_path=WITH_WINDOW, args=flags, headless=screen is None, env=env)
        stack.callback(browser.close)
        version = browser.version
        page = browser.new_page(no_viewport=True) if screen else browser.new_page()
        page.goto(f"http://{address}/docs")
        trace = None if screen else Trace(browser)
        sent: list[dict[str, Any]] = []
        while len(sent) < n:
            done = page.evaluate(FLIP, [min(AT_ONCE, n - len(sent)), GAP_MS])
            sent += done["sent"]
        paints = screen.paints(sent) if screen else trace.paints(page, [one["label"] for one in sent])
    row = compared(sent, np.array(paints), begin, drift_ppm)
    about = {"jitter_ms": jitter_ms, "there_ms": there_ms, "drift_ppm": drift_ppm, "observer": observer}
    return {**about, "chromium": version, **row, "jumps": done["jumps"], "clock": done["state"]}


def compared(
    sent: list[dict[str, Any]], painted: NDArray[np.float64], begin: float, drift_ppm: float
) -> dict[str, Any]:
    """Return the errors of markers whose stimuli were painted at these times of a clock that does not drift."""
    expected = painted + (painted - begin) * drift_ppm * 1e-6
    error = (np.array([one["time"] for one in sent]) - expected) * 1e3
    claimed = np.array([one["uncertainty_ms"] for one in sent])
    seen = np.isfinite(error)
    painted, error, claimed = painted[seen], error[seen], claimed[seen]
    return {
        "n": len(error),
        "not_observed": int(np.sum(~seen)),
        "minutes": round(float(painted[-1] - painted[0]) / 60, 1),
        "bias_ms": round(float(np.median(error)), 2),
        "median_ms": round(float(np.median(np.abs(error))), 2),
        "p99_ms": round(float(np.quantile(np.abs(error), 0.99)), 2),
        "max_ms": round(float(np.abs(error).max()), 2),
        "claimed_ms": round(float(np.median(claimed)), 2),
        "covered": round(float(np.mean(np.abs(error) <= claimed)), 4),
    }


def main() -> None:
    """Measure and print a line of JSON for each network, and if it is good."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--flips", type=int, default=150)
    parser.add_argument("--minutes", type=float, help="instead of a number of flips")
    parser.add_argument("--jitter-ms", type=float)
    parser.add_argument("--there-ms", type=float, default=0.0)
    parser.add_argument("--drift-ppm", type=float, default=0.0)
    parser.add_argument("--observer", choices=["pixels", "trace"], default="pixels" if XVFB else "trace")
    given = parser.parse_args()
    n = round(given.minutes * 60e3 / (1.5 * GAP_MS)) if given.minutes else given.flips
    slow = {"jitter_ms": 20.0, "there_ms": 10.0}
    runs: list[dict[str, float]] = [{}, slow, slow | {"drift_ppm": 100.0}]
    if given.jitter_ms is not None or given.minutes:
        runs = [{"jitter_ms": given.jitter_ms or 0.0, "there_ms": given.there_ms, "drift_ppm": given.drift_ppm}]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    with sync_playwright() as playwright:
        for run in runs:
            row = measure(playwright, n, observer=given.observer, **run)
            print(json.dumps(row), flush=True)
            good = row["p99_ms"] < FRAME_MS and row["covered"] >= 0.95
            verdict = "good" if good else "NOT GOOD"
            print(f"p99 {row['p99_ms']} ms, a frame {FRAME_MS:.1f} ms; covered {row['covered']:.1%}: {verdict}")


if __name__ == "__main__":
    main()
