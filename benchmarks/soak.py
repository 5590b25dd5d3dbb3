"""An hour of everything that goes wrong, from a seed, against a running ``mindwire serve``.

    python benchmarks/soak.py --minutes 60 --streams 4 --clients 20 --seed 1

Software caps, each a process of its own, are killed, frozen, silenced, cut, delayed and spoilt at random, one
fault at a time per cap; the service itself is stopped for seconds; websocket clients come, stall, send garbage
and vanish. Every cap repeats a known signal, so what each window must give is computed beforehand by other
means than the pipeline's. Twice, at minute 10 and at the end, all of it pauses for a while: what the service uses
is compared between two moments with the same streams and clients. At last every recording is verified. Ends with 0
if no unflagged prediction was wrong, nothing grew and the recordings give what they contain, else with 1.
Needs the extras ``train`` and ``record`` and psutil.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import psutil  # noqa: E402
import websockets  # noqa: E402

from benchmarks.soak_faults import Faults  # noqa: E402
from benchmarks.soak_truth import Truth, make_bundle  # noqa: E402
from mindwire.sources.loopback import lsl_on_loopback  # noqa: E402
from tests.support.lsl_cap import TABLE  # noqa: E402

# Settled means that one percent of a gap's transient is left; a window that mixes two signals differs by tenths.
TOLERANCE = 0.05
# A window decoded as a stream and as a whole agree within float32 rounding, which this network's temperature enlarges.
VERIFY_TOLERANCE = 1e-5
# Valid predictions of what was interpolated, or where samples may be missing, are marked: they need not be the true ones.
MARKED = {"interpolated", "timing"}
# A pause: until everything has recovered, at most; and how long the service is then measured.
CALM_S, MEASURE_S = 60.0, 10.0


class Clients:
    """Websocket clients: one that stays per stream and checks everything, and others that come and go."""

    def __init__(
        self, address: str, truths: dict[str, Truth], seed: int, end: float, pause: threading.Event, log
    ) -> None:
        self.address, self.truths, self.end, self.pause, self.log = address, truths, end, pause, log
        self.random = random.Random(f"{seed}-clients")
        self.seen: Counter[str] = Counter()
        self.errors: list[float] = []
        self.wrong: list[str] = []
        self.reasons: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.ways: Counter[str] = Counter()
        self.last_seq: dict[str, int] = {}
        self.valid_at: dict[str, float] = {}
        self.visiting = 0

    def calm(self) -> bool:
        """Return true if every stream gives valid predictions and every visitor has gone."""
        now = time.monotonic()
        return not self.visiting and all(now - self.valid_at.get(name, 0.0) < 1.0 for name in self.truths)

    def check(self, name: str, message: dict) -> None:
        if message["type"] == "event":
            self.events[message["kind"]] += 1
        if message["type"] != "prediction":
            return
        if message["seq"] <= self.last_seq.get(name, -1):
            self.wrong.append(f"{name} seq {message['seq']} came after {self.last_seq[name]}")
        self.last_seq[name] = message["seq"]
        self.seen["all"] += 1
        self.reasons.update(message["reasons"])
        if not message["valid"]:
            self.seen["flagged"] += 1
            return
        self.seen["valid"] += 1
        self.valid_at[name] = time.monotonic()
        if MARKED & set(message["reasons"]):
            self.seen["marked"] += 1
            return
        if unknowable := self.truths[name].unknowable(message["time"]):
            self.seen[unknowable] += 1
            return
        error = self.truths[name].error(message["time"], message["probabilities"])
        self.errors.append(error)
        if error > TOLERANCE:
            self.wrong.append(f"{name} seq {message['seq']} at {message['time']:.3f}: off by {error:.3f}")
            self.log("WRONG " + self.wrong[-1] + f" {message['reasons']}")

    def url(self, name: str) -> str:
        return f"ws://{self.address}/v1/streams/{name}/predictions"

    async def stay(self, name: str) -> None:
        while time.monotonic() < self.end:
            with contextlib.suppress(websockets.ConnectionClosed, OSError):
                async with websockets.connect(self.url(name), ping_timeout=60) as connection:
                    while time.monotonic() < self.end:
                        with contextlib.suppress(TimeoutError):
                            self.check(name, json.loads(await asyncio.wait_for(connection.recv(), 1.0)))
            if time.monotonic() < self.end:
                self.ways["checker cut off"] += 1

    async def come_and_go(self) -> None:
        while time.monotonic() < self.end:
            if self.pause.is_set():
                await asyncio.sleep(1.0)
                continue
            name = self.random.choice(list(self.truths))
            way = self.random.choice(["listen", "listen", "listen", "stall", "vanish", "garbage", "flood"])
            self.ways[way] += 1
            self.visiting += 1
            with contextlib.suppress(websockets.ConnectionClosed, OSError, TimeoutError):
                async with websockets.connect(self.url(name), max_queue=4) as connection:
                    leave = min(self.end, time.monotonic() + self.random.uniform(1, 60))
                    if way == "garbage":
                        connection.transport.write(b"\x8f\x80\x00\x00\x00\x00")
                    if way == "flood":
                        for _ in range(10_000):
                            await connection.send("hello?")
                    while time.monotonic() < leave and not self.pause.is_set():
                        if way == "stall":
                            await asyncio.sleep(0.5)
                            continue
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(connection.recv(), 1.0)
                    if way in ("vanish", "stall"):
                        connection.transport.abort()
            self.visiting -= 1
            await asyncio.sleep(self.random.uniform(0, 2))

    async def run(self, n: int) -> None:
        async with asyncio.TaskGroup() as group:
            for name in self.truths:
                group.create_task(self.stay(name))
            for _ in range(n):
                group.create_task(self.come_and_go())


@dataclass
class Usage:
    """Resources that the service's process uses while everything pauses."""

    minute: float
    rss: float
    threads: int
    fds: int
    calm: bool


class Watch(threading.Thread):
    """Stops the service's process for seconds now and then, and measures what it uses while everything pauses."""

    def __init__(self, pid: int, seed: int, begin: float, end: float, clients: Clients, log) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.random = random.Random(f"{seed}-watch")
        self.begin, self.end, self.clients, self.log = begin, end, clients, log
        self.used: list[Usage] = []
        self.stopped = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            stop_at = self.begin + self.random.uniform(60, 120)
            report_at = self.begin + 60
            last = self.end - CALM_S - MEASURE_S - 5
            measure_at = [min(self.begin + 600, (self.begin + last) / 2), last]
            while (now := time.monotonic()) < self.end:
                if measure_at and now >= measure_at[0]:
                    measure_at.pop(0)
                    self.measure()
                elif now >= stop_at and now < self.end - 20:
                    self.stopped += 1
                    self.log("service: stopped for 5 s")
                    self.process.suspend()
                    time.sleep(5)
                    self.process.resume()
                    stop_at = now + self.random.uniform(180, 600)
                if now >= report_at:
                    self.log(str(self.usage(calm=False)))
                    report_at += 60
                time.sleep(1)
        except BaseException as error:  # noqa: BLE001 - reported at the end
            self.failure = error

    def usage(self, *, calm: bool) -> Usage:
        minute = (time.monotonic() - self.begin) / 60
        rss = self.process.memory_info().rss / 2**20
        return Usage(round(minute, 1), round(rss, 1), self.process.num_threads(), self.process.num_fds(), calm)

    def measure(self) -> None:
        """Have everything pause, wait until it has recovered, and measure."""
        self.clients.pause.set()
        give_up = time.monotonic() + CALM_S
        since = time.monotonic()
        while time.monotonic() < give_up and time.monotonic() - since < MEASURE_S:
            if not self.clients.calm():
                since = time.monotonic()
            time.sleep(0.2)
        self.used.append(self.usage(calm=self.clients.calm()))
        self.log(f"pause: {self.used[-1]}")
        self.clients.pause.clear()


def start_service(folder: Path, bundle: Path, names: list[str], *, record: bool) -> tuple[subprocess.Popen, str]:
    streams = [part for name in names for part in ("--stream", f"id={name},name={name}")]
    recording = ["--record", str(folder / "recordings")] if record else []
    process = subprocess.Popen(
        [sys.executable, "-m", "mindwire", "serve", "--model", str(bundle), "--port", "0", *streams, *recording],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=(folder / "serve.log").open("w"),
        text=True,
    )
    for line in process.stdout:
        if match := re.search(r"http://(\S+:\d+)", line):
            return process, match[1]
    raise SystemExit((folder / "serve.log").read_text())


def check_recordings(folder: Path, bundle: Path, streams: int) -> tuple[list[str], list[str]]:
    """Check that replaying each stream's recording gives the predictions in it; return findings and problems."""
    from mindwire.errors import MindwireError
    from mindwire.inference.load import load_decoder
    from mindwire.offline.recorded_run import recorded_run
    from mindwire.offline.verify import verify
    from mindwire.sources.recording import open_recording
    from mindwire_models.bundle import load_bundle

    loaded, lines, problems = load_bundle(bundle), [], []
    paths = sorted((folder / "recordings").glob("*.xdf"))
    for path in paths:
        try:
            run = recorded_run(open_recording(path))
            found = verify(run, loaded, load_decoder(loaded, device="cpu"), VERIFY_TOLERANCE)
        except MindwireError as error:
            problems.append(str(error))
            continue
        lines.append(f"{path.name}: {' '.join(found.lines())}")
        if not found.agrees:
            problems.append(f"{path.name} does not give the predictions it contains")
    if len(paths) != streams:
        problems.append(f"expected {streams} recordings, found {len(paths)}")
    return lines, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-record", action="store_true", help="Record nothing.")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mindwire-soak-"))
    session = uuid.uuid4().hex[:8]
    lsl = lsl_on_loopback(f"soak-{session}")
    lsl.__enter__()
    atexit.register(lsl.__exit__, None, None, None)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    bundle, tables = make_bundle(folder, options.streams)
    neighbours = float(np.mean([np.abs(t - np.roll(t, TABLE // 2, axis=0)).max(axis=1).mean() for t in tables]))
    # liblsl's recovery, which the recorder relies on, crosses sessions.
    names = [f"soak{k}-{session}" for k in range(options.streams)]
    begin = time.monotonic()
    end = begin + options.minutes * 60

    def log(text: str) -> None:
        print(f"{(time.monotonic() - begin) / 60:7.2f}  {text}", flush=True)

    log(f"files in {folder}; a wrong window differs by {neighbours:.2f} on average")
    truths = {name: Truth(table) for name, table in zip(names, tables, strict=True)}
    service, address = start_service(folder, bundle, names, record=not options.no_record)
    pause = threading.Event()
    faults = [Faults(k, name, options.seed, truths[name], end, pause, log) for k, name in enumerate(names)]
    clients = Clients(address, truths, options.seed, end, pause, log)
    watch = Watch(service.pid, options.seed, begin, end, clients, log)
    try:
        for thread in (*faults, watch):
            thread.start()
        asyncio.run(clients.run(options.clients))
        for thread in (*faults, watch):
            thread.join(30)
        alive = service.poll() is None
    finally:
        for fault in faults:
            fault.cap.kill()
        with contextlib.suppress(ProcessLookupError):
            service.send_signal(signal.SIGTERM)
        service.wait(20)
    return report(options, folder, bundle, faults, watch, clients, alive=alive)


def grown(early: Usage | None, late: Usage | None) -> list[str]:
    """Return a message for each resource of which the service uses more at the end."""
    if early is None or late is None:
        return ["the service was not measured twice"]
    return [
        *(["not everything had recovered when the service was measured"] if not (early.calm and late.calm) else []),
        *(["memory grew"] if late.rss > 1.05 * early.rss else []),
        *(["threads grew"] if late.threads > early.threads else []),
        *(["file descriptors grew"] if late.fds > early.fds else []),
    ]


def report(options, folder, bundle, faults, watch, clients, *, alive: bool) -> int:
    failures = [thread.failure for thread in (*faults, watch) if thread.failure]
    early, late = watch.used if len(watch.used) == 2 else (None, None)
    errors = np.array(clients.errors or [np.nan])
    happened = sum((fault.happened for fault in faults), Counter())
    print(f"\n{options.minutes:g} minutes, {options.streams} streams, {options.clients} clients, seed {options.seed}")
    print(f"faults: {sum(happened.values())} {dict(happened)}, service stopped {watch.stopped} times")
    print(f"clients: {dict(clients.ways)}")
    print(f"predictions: {dict(clients.seen)}")
    print(f"reasons: {dict(clients.reasons)}")
    print(f"events: {dict(clients.events)}")
    print(f"unflagged wrong: {len(clients.wrong)}; error p50 {np.quantile(errors, 0.5):.1e}, p99.9 "
          f"{np.quantile(errors, 0.999):.1e}, largest {errors.max():.1e}")  # fmt: skip
    if early and late:
        print(
            f"memory: {early.rss} MiB at minute {early.minute}, {late.rss} at {late.minute} ({late.rss / early.rss - 1:+.1%})"
        )
        print(f"threads: {early.threads}, {late.threads}; file descriptors: {early.fds}, {late.fds}")
    tracebacks = (folder / "serve.log").read_text().count("Traceback")
    print(f"service alive to the end: {alive}; tracebacks in its log: {tracebacks}")
    lines, unverified = ([], []) if options.no_record else check_recordings(folder, bundle, options.streams)
    print("recordings:", *lines, sep="\n  ")
    problems = [
        *clients.wrong[:20],
        *unverified,
        *grown(early, late),
        *([] if alive else ["the service died"]),
        *(["something raised in the service"] if tracebacks else []),
        *([] if clients.seen["valid"] else ["no valid prediction"]),
        *(repr(failure) for failure in failures),
    ]
    print("failed:" if problems else "passed", *problems, sep="\n  ")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
