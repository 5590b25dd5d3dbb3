"""The client for browsers in a real one: when markers say that something was painted, and what becomes of them on the way."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from unittest import mock

import numpy as np
import pylsl
import pytest

from benchmarks.clock import compared, drifting_service
from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path
from tests.browser.conftest import accessibility_problems
from tests.support.paint_times import FLIP, Trace
from tests.support.photodiode import photodiode
from tests.support.service_process import get, service
from tests.support.slow_network import slow_network
from tests.support.standin import StandIn, served
from tests.support.streaming import eventually, unique

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
FRAME_MS = 1000 / 60
N = 12


@pytest.mark.parametrize("drift_ppm", [0.0, 100.0])
@pytest.mark.parametrize("slow", [False, True], ids=["loopback", "slow network"])
def test_the_claimed_uncertainty_covers_the_error_against_the_compositor(chromium, open_page, slow, drift_ppm):
    with ExitStack() as stack:
        address, begin = stack.enter_context(drifting_service(drift_ppm))
        if slow:
            address = stack.enter_context(slow_network(address, jitter_s=0.020, there_s=0.010))
        page = open_page(f"http://{address}/docs", may_lose_connection=True)
        trace = Trace(chromium)
        done = page.evaluate(FLIP, [N, 100.0])
        painted = np.array(trace.paints(page, [one["label"] for one in done["sent"]]))
        page.goto("about:blank")
    found = compared(done["sent"], painted, begin, drift_ppm)
    assert done["measured"], "the page is isolated, so that it reads exact times"
    assert found["n"] == N
    assert found["covered"] == 1.0, found
    assert found["p99_ms"] < FRAME_MS, found


def test_a_browser_that_reports_no_presentation_claims_more(chromium, open_page):
    with drifting_service(0.0) as (address, begin):
        page = open_page(f"http://{address}/docs", may_lose_connection=True)
        page.evaluate("void Object.defineProperty(PerformanceObserver, 'supportedEntryTypes', { value: [] })")
        trace = Trace(chromium)
        done = page.evaluate(FLIP, [N, 100.0])
        painted = np.array(trace.paints(page, [one["label"] for one in done["sent"]]))
        page.goto("about:blank")
    found = compared(done["sent"], painted, begin, 0.0)
    assert found["claimed_ms"] > 4.0
    assert found["covered"] >= 1 - 1 / N, found


SEND = """async (labels) => {
  const { Clock, Markers } = await import("/client.js");
  const clock = window.clock ??= new Clock();
  clock.start();
  const markers = window.markers ??= new Markers(clock, { stream: "eeg" });
  window.refused ??= [];
  markers.onrefused = (problem, refused) => window.refused.push([problem, refused.map(({ label }) => label)]);
  while (!clock.state.synchronised) await new Promise((resolve) => setTimeout(resolve, 20));
  for (const label of labels) markers.send(label, clock.toLsl(performance.now()), 1);
}"""


def test_no_marker_is_lost_or_doubled_while_the_connection_is(open_page):
    stream = StandIn("eeg")
    taken: list[str] = []
    stream.markers.add(lambda label, _: taken.append(label))
    with served(stream) as address:
        page = open_page(f"http://{address}/docs", may_lose_connection=True)
        page.evaluate(SEND, ["before"])
        page.evaluate("markers.flush()")
        lost = []

        def lose_the_answer(route):
            route.fetch()
            lost.append(route)
            route.abort()

        page.route("**/markers", lose_the_answer, times=2)
        page.evaluate(SEND, ["twice on its way"])
        page.evaluate("markers.flush()")
        assert len(lost) == 2
        assert taken == ["before", "twice on its way"]
    page.evaluate(SEND, ["while it is gone", "and another"])
    assert page.evaluate("markers.waiting") == 2
    with served(stream, port=int(address.rsplit(":", 1)[1])):
        page.evaluate("markers.flush()")
        assert taken == ["before", "twice on its way", "while it is gone", "and another"]
        page.evaluate("markers.send('from the past', clock.toLsl(performance.now()) - 1e6)")
        page.evaluate("markers.flush()")
        ((problem, labels),) = page.evaluate("refused")
        assert "map times with the clock" in problem
        assert labels == ["from the past"]
        page.evaluate(SEND, ["after"])
        page.evaluate("markers.flush()")
        assert taken[-1] == "after"
        page.goto("about:blank")
    stream.stop()


def test_the_clock_is_reported_and_a_jump_is_an_event(open_page):
    stream, ahead_s = StandIn("eeg"), [0.0]
    shown: list[tuple[str, dict]] = []
    stream.markers.show = lambda kind, _, data: shown.append((kind, data))

    def clock() -> float:
        return pylsl.local_clock() + ahead_s[0]

    with mock.patch("mindwire.api.websockets._lsl_clock", return_value=clock), served(stream) as address:
        page = open_page(f"http://{address}/docs", may_lose_connection=True)
        page.evaluate(SEND, [])
        page.evaluate("() => { window.jumps = []; clock.onjump((by) => jumps.push(by)); }")
        eventually(lambda: page.evaluate("clock.state.samples") and shown, 20)
        kind, data = shown[0]
        assert (kind, data["jump"]) == ("clock", False)
        state = page.evaluate("clock.state")
        lsl = page.evaluate("clock.toLsl(performance.now())")
        assert lsl == pytest.approx(time.monotonic(), abs=5.0)
        assert abs(data["offset_s"] - state["offset_s"]) * 1e3 <= data["uncertainty_ms"] + state["uncertainty_ms"]
        assert page.evaluate("clock.toPerformance(clock.toLsl(1000))") == pytest.approx(1000, abs=1e-3)
        ahead_s[0] = 2.5
        eventually(lambda: page.evaluate("jumps.length") and shown[-1][1]["jump"], 20)
        (by,) = page.evaluate("jumps")
        assert by == pytest.approx(2500, abs=50)
        page.evaluate("clock.stop()")
        page.goto("about:blank")
    stream.stop()


DELAY_MS = 41.0


@pytest.mark.parametrize("workers", [1, 2])
def test_the_self_test_measures_the_delay_of_the_display_by_a_photodiode(open_page, workers):
    name = unique("amp")
    labels = load_bundle(zoo_bundle_path()).contract.channels
    with ExitStack() as stack:
        stack.enter_context(photodiode(name, labels, "chair-1", delay_s=DELAY_MS / 1e3))
        stream = f"id=chair-1,name={name}"
        running = stack.enter_context(
            service(
                "--model",
                zoo_bundle_path(),
                "--stream",
                stream,
                "--stream",
                f"id=chair-2,name={name}",
                "--workers",
                workers,
            )
        )
        address = running.address()
        page = open_page(f"http://{address}/clock#chair-1", may_lose_connection=True)
        expect(page.locator("#channel")).to_have_value("Photo", timeout=60_000)  # known by its label
        expect(page.locator("#uncertainty")).to_contain_text("ms")
        page.get_by_role("button", name="Start the test").press("Enter")
        expect(page.locator("#progress")).to_contain_text("Flash", timeout=30_000)
        page.keyboard.press("Escape")
        expect(page.locator("#progress")).to_have_text("Stopped.", timeout=30_000)
        page.get_by_label("Beep too").check()
        page.get_by_role("button", name="Start the test").click()
        expect(page.locator("#progress")).to_have_text("Done.", timeout=60_000)
        expect(page.locator("#responses")).to_have_text(re.compile(r"^(1[89]|20) of 20$"))  # samples may come late
        found = float(page.locator("#delay").inner_text().split()[0])
        assert abs(found - DELAY_MS) <= 2.5, "half of a sample, and the smoothing of time stamps"
        assert get(address, "/v1/streams/chair-1/display_delay")["channel"] is None
        assert accessibility_problems(page) == []
        page.goto("about:blank")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_a_stream_the_page_measures_the_clock_and_flashes(open_page, scheme):
    with served() as address:
        page = open_page(
            f"http://{address}/clock",
            may_lose_connection=True,
            color_scheme=scheme,
            viewport={"width": 360, "height": 800},
        )
        expect(page.locator("#offset")).to_contain_text("s")
        eventually(lambda: page.locator("#samples").inner_text() not in ("–", "0"), 20)
        page.get_by_role("button", name="Start the test").click()
        expect(page.locator("#progress")).to_contain_text("No stream")
        expect(page.locator("#patch")).to_have_class("on")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#progress")).to_have_text("Stopped.")
        assert accessibility_problems(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.get_by_label("Language").select_option("de")
        expect(page.locator("h1")).to_have_text("Selbsttest der Uhr")
        page.goto("about:blank")
