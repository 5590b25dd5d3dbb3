"""Times at which a patch on a page was really painted, seen from outside of the page, and what the page marks.

Two observers, both by CLOCK_MONOTONIC, which LSL's clock is on Linux:

- :class:`Framebuffer` reads the pixels of an X server (Xvfb) from a process of its own, as a photodiode reads a screen;
- :class:`Trace` takes the times at which Chromium's display compositor swaps frames, by its own trace, where there is no X server.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

XVFB = shutil.which("Xvfb")
WIDTH, HEIGHT = 800, 600
_POLL_S = 0.0002
LONGEST_UNSEEN_S = 0.002
_CATEGORIES = ["blink.user_timing", "viz", "devtools.timeline"]

# Flips a patch that fills the page every fifth to half of a second, and marks each flip.
FLIP = """async ([n, gap]) => {
  const { Clock, Markers } = await import("/static/client.js");
  if (!window.measured) {
    const clock = new Clock();
    clock.start();
    window.measured = { clock, markers: new Markers(clock, { stream: "eeg" }), jumps: [], flips: 0 };
    clock.onjump((by) => window.measured.jumps.push(by));
    document.body.replaceChildren();
    Object.assign(document.body.style, { margin: 0, background: "#000" });
    const patch = document.createElement("div");
    Object.assign(patch.style, { position: "fixed", inset: 0, background: "#000" });
    document.body.append(patch);
    window.measured.patch = patch;
  }
  const { clock, markers, patch } = window.measured;
  while (!clock.state.synchronised) await new Promise((resolve) => setTimeout(resolve, 50));
  const sent = [];
  for (let i = 0; i < n; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, gap * (1 + Math.random())));
    const number = window.measured.flips++;
    sent.push(await new Promise((resolve) => requestAnimationFrame(() => {
      patch.style.background = number % 2 ? "#000" : "#fff";
      performance.mark(`flip-${number}`);
      resolve(markers.atPaint(`flip-${number}`));
    })));
  }
  await markers.flush();
  return { sent, state: clock.state, jumps: window.measured.jumps, measured: crossOriginIsolated };
}"""


class Trace:
    """Swaps of the display compositor while the context lasts."""

    def __init__(self, browser) -> None:
        self._session = browser.new_browser_cdp_session()
        self._events: list[dict] = []
        self._complete = False
        self._session.on("Tracing.dataCollected", lambda message: self._events.extend(message["value"]))
        self._session.on("Tracing.tracingComplete", lambda _: setattr(self, "_complete", True))

        config = {"recordMode": "recordAsMuchAsPossible", "includedCategories": _CATEGORIES}
        self._session.send("Tracing.start", {"traceConfig": config, "transferMode": "ReportEvents"})

    def paints(self, page, labels: list[str]) -> list[float]:
        """Return the seconds at which the frames were swapped in which marks with these labels were set."""
        self._session.send("Tracing.end")
        deadline = time.monotonic() + 60
        while not self._complete:
            assert time.monotonic() < deadline, "the trace did not end"
            page.wait_for_timeout(20)
        marks = {event["name"]: event for event in self._events if "blink.user_timing" in event["cat"]}
        swaps = sorted(event["ts"] for event in self._events if event["name"].endswith("SwapBuffers"))
        ends = sorted(e["ts"] for e in self._events if e["name"] == "AnimationFrame" and e["ph"] == "e")
        found = []
        for label in labels:
            frame_made = ends[np.searchsorted(ends, marks[label]["ts"])]
            found.append(swaps[np.searchsorted(swaps, frame_made)] / 1e6)
        return found


class Framebuffer:
    """An X server without a screen, and a process that watches one of its pixels, left below the middle."""

    def __init__(self, folder: Path) -> None:
        read, write = os.pipe()
        self._server = subprocess.Popen(
            [XVFB, "-displayfd", str(write), "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-fbdir", str(folder), "-nolisten", "tcp"],
            pass_fds=[write], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(write)
        _prefer(self._server.pid)
        with os.fdopen(read) as display:
            self.display = f":{display.readline().strip()}"
        self._watcher = subprocess.Popen(
            [sys.executable, __file__, str(folder / "Xvfb_screen0")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        _prefer(self._watcher.pid)

    def paints(self, markers: list[dict]) -> list[float]:
        """End it, and return the seconds at which the pixel changed for each of these markers of the page.

        NaN where the process that watches did not run for milliseconds, so that it does not know.
        """
        out, _ = self._watcher.communicate("", timeout=20)
        changes = np.array([list(map(float, line.split())) for line in out.splitlines()])
        bright = {number: changes[changes[:, 1] == number] for number in (0, 1)}
        found = []
        for marker in markers:
            those = bright[1 - int(marker["label"].split("-")[1]) % 2]
            time, _, unseen = those[np.argmin(np.abs(those[:, 0] - marker["time"]))]
            found.append(float(time) if unseen <= LONGEST_UNSEEN_S else float("nan"))
        return found

    def end(self) -> None:
        for process in (self._watcher, self._server):
            if process.poll() is None:
                process.kill()
            process.wait(10)


def _prefer(pid: int) -> None:
    """Let a process run before others, where that is allowed."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, -15)


@contextlib.contextmanager
def framebuffer() -> Iterator[Framebuffer]:
    with tempfile.TemporaryDirectory() as folder:
        screen = Framebuffer(Path(folder))
        try:
            yield screen
        finally:
            screen.end()


def watch(path: str) -> None:
    """Print when a pixel of an X server's screen changes its brightness, until the input ends."""
    import select

    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        header = struct.unpack(">25I", memory[:100])
        offset = (
            header[0] + header[19] * 12 + 3 * HEIGHT // 4 * header[12] + WIDTH // 4 * 4
        )  # the pointer is in the middle
        bright, before = None, 0.0
        found = []
        while not select.select([sys.stdin], [], [], 0)[0]:
            now = memory[offset + 1] > 127
            at = time.monotonic()
            if bright is not None and now != bright:
                found.append(f"{at:.6f} {now:d} {at - before:.6f}")
            bright, before = now, at
            time.sleep(_POLL_S)
    print("\n".join(found))


if __name__ == "__main__":
    watch(sys.argv[1])
