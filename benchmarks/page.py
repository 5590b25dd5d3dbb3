"""Frames a second of the live page, its work on the main thread per frame, and what it costs the service.

    python benchmarks/page.py --seconds 20 --channels 64

A service with a network of random weights and a control policy decodes an outlet with that number of channels at 250 Hz. The page is opened in
Chromium without a GPU, as tall as everything on it, so that every plot is drawn. Frames are the calls of requestAnimationFrame; the
main thread's work is the sum of its tasks in Chromium's own trace, by frame. The service's share of a core and the age of predictions at a
websocket client are measured without the page and with it. Needs the extra ``dev`` and Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import websockets
from playwright.sync_api import Page, sync_playwright

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis
from mindwire.sources.loopback import lsl_on_loopback
from mindwire_models.presets import BCIC2A

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.browser.conftest import FLAGS, WITH_WINDOW
from tests.support.bundles import random_bundle
from tests.support.lsl_cap import Cap
from tests.support.service_process import Service, get

LABELS = (
    "Fp1 Fpz Fp2 AF7 AF3 AFz AF4 AF8 F7 F5 F3 F1 Fz F2 F4 F6 F8 FT7 FC5 FC3 FC1 FCz FC2 FC4 FC6 FT8 T7 C5 C3 C1 Cz C2 "
    "C4 C6 T8 TP7 CP5 CP3 CP1 CPz CP2 CP4 CP6 TP8 P7 P5 P3 P1 Pz P2 P4 P6 P8 PO7 PO3 POz PO4 PO8 O1 Oz O2 Iz P9 P10"
).split()
SETTLE_S = 12.0
CATEGORIES = ["devtools.timeline", "toplevel", "disabled-by-default-devtools.timeline"]


class Cost(NamedTuple):
    """Share of a core that the service takes, and ages of predictions in milliseconds."""

    core: float
    p50: float
    p99: float


class Frames(NamedTuple):
    """Frames a second, and milliseconds of the main thread per frame."""

    rate: float
    mean: float
    p50: float
    p99: float
    over: float  # share of frames above 8 ms


async def ages(address: str, seconds: float) -> np.ndarray:
    """Return the ages of predictions at a websocket client, in milliseconds."""
    found = []
    async with websockets.connect(f"ws://{address}/ws", max_size=None) as socket:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            message = json.loads(await socket.recv())
            if message["type"] == "prediction":
                found.append((time.monotonic() - message["time"]) * 1e3)
    return np.array(found)


def cost(process: psutil.Process, address: str, seconds: float) -> Cost:
    """Return what the service takes within these seconds."""
    before = process.cpu_times()
    begin = time.monotonic()
    measured = asyncio.run(ages(address, seconds))
    wall = time.monotonic() - begin
    after = process.cpu_times()
    busy = after.user + after.system - before.user - before.system
    p50, p99 = np.percentile(measured, [50, 99])
    return Cost(busy / wall, float(p50), float(p99))


def frames(events: list[dict[str, Any]]) -> Frames:
    """Return the figures of a trace: tasks of the page's main thread between one animation frame and the next."""
    calls = [event for event in events if event.get("name") == "FireAnimationFrame"]
    thread = max(
        {(one["pid"], one["tid"]) for one in calls}, key=lambda key: sum((c["pid"], c["tid"]) == key for c in calls)
    )
    mine = [event for event in events if (event.get("pid"), event.get("tid")) == thread]
    begins = np.array(sorted(event["ts"] for event in mine if event.get("name") == "FireAnimationFrame"))
    # processor time of the thread, which other load on the machine does not change
    tasks = [
        (event["ts"] + event["dur"], event.get("tdur", event["dur"]))
        for event in mine
        if event.get("name") == "RunTask" and "dur" in event
    ]
    busy = np.zeros(len(begins) - 1)
    for end, duration in tasks:
        # a frame's task begins just before its animation callbacks
        frame = np.searchsorted(begins, end, side="right") - 1
        if 0 <= frame < len(busy):
            busy[frame] += duration / 1e3
    rate = (len(begins) - 1) / ((begins[-1] - begins[0]) / 1e6)
    p50, p99 = np.percentile(busy, [50, 99])
    return Frames(float(rate), float(busy.mean()), float(p50), float(p99), float((busy > 8.0).mean()))


def open_live(page: Page, address: str, span: str) -> None:
    """Open the page, wait until everything on it moves, and make it as tall as its content."""
    page.goto(f"http://{address}/")
    page.get_by_label("Span").select_option(span)
    page.locator(".bar.best").first.wait_for()
    page.wait_for_timeout(int(SETTLE_S * 1000))
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": int(height)})  # type: ignore[index]
    page.wait_for_timeout(1000)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--channels", type=int, default=64, choices=range(1, len(LABELS) + 1), metavar="N")
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--screenshot", type=Path, help="keep a picture of the page")
    options = parser.parse_args()
    labels = tuple(LABELS[: options.channels])
    axes = (Axis(name="x", positive="right_hand", negative="left_hand"),)
    with tempfile.TemporaryDirectory() as folder:
        bundle = random_bundle(Path(folder) / "random", BCIC2A.model_copy(update={"channels": labels}))
        (bundle / "control.json").write_text(ControlPolicy(axes=axes).to_json())
        with (
            lsl_on_loopback(f"page-{time.monotonic_ns()}"),
            Cap("cap", source_id="page", labels=labels, n_channels=len(labels), sfreq=250.0, chunk=10),
        ):
            service = Service("--model", bundle, "--stream", "name=cap")
            try:
                report(service, options)
            finally:
                service.process.kill()
                service.process.communicate()


def report(service: Service, options: argparse.Namespace) -> None:
    """Measure one service without and with the page."""
    address = service.address()
    process = psutil.Process(service.process.pid)
    while get(address, "/v1/streams")[0]["state"] != "live":
        time.sleep(0.5)
    alone = cost(process, address, options.seconds)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=WITH_WINDOW, args=FLAGS)
        page = browser.new_page(viewport={"width": options.width, "height": 900})
        open_live(page, address, "10")
        watched = cost_while_open(page, process, address, options.seconds)
        browser.start_tracing(page=page, categories=CATEGORIES)
        page.wait_for_timeout(int(options.seconds * 1000))
        found = frames(json.loads(browser.stop_tracing())["traceEvents"])
        if options.screenshot:
            page.screenshot(path=options.screenshot)
        browser.close()
    print(f"{options.channels} channels at 250 Hz, {options.width} pixels wide, {options.seconds:g} s")
    print("| | |\n|---|---|")
    print(f"| frames a second | {found.rate:.1f} |")
    print(f"| main thread per frame, mean; p50; p99 | {found.mean:.1f}; {found.p50:.1f}; {found.p99:.1f} ms |")
    print(f"| frames above 8 ms | {100 * found.over:.1f} % |")
    print(f"| service, of a core: alone; with the page | {100 * alone.core:.1f} %; {100 * watched.core:.1f} % |")
    print(f"| age of a prediction, p50: alone; with the page | {alone.p50:.2f}; {watched.p50:.2f} ms |")
    print(f"| the same, p99 | {alone.p99:.2f}; {watched.p99:.2f} ms |")


def cost_while_open(page: Page, process: psutil.Process, address: str, seconds: float) -> Cost:
    """Return what the service takes while the page is open; the page goes on by itself meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:  # playwright's own loop runs in this thread
        result = pool.submit(cost, process, address, seconds)
        while not result.done():
            page.wait_for_timeout(200)
        return result.result()


if __name__ == "__main__":
    main()
