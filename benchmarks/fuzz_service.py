"""A service with streams that is fuzzed, and a client of one of them that must not notice."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402
from websockets.exceptions import WebSocketException  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from mindwire.sources.loopback import lsl_on_loopback  # noqa: E402
from mindwire_models.bundle import load_bundle  # noqa: E402
from mindwire_models.zoo import zoo_bundle_path  # noqa: E402
from tests.support.lsl_cap import Cap  # noqa: E402

# The stream with the bystander, which only reads of it; and one of which everything may be changed.
WATCHED, FUZZED = "watched", "fuzzed"
MEMORY = 1.03
_JSON = {"Content-Type": "application/json"}


class Bystander(threading.Thread):
    """A websocket client that counts the predictions that are missing."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.predictions = self.missing = 0
        self.ended = ""
        self._url = f"ws://{address}/v1/streams/{WATCHED}/predictions"
        self._end = threading.Event()
        self.start()

    def run(self) -> None:
        last = None
        try:
            with connect(self._url, open_timeout=30) as socket:
                for text in socket:
                    message = json.loads(text)
                    if message["type"] == "prediction":
                        self.missing += 0 if last is None else abs(message["seq"] - last - 1)
                        last = message["seq"]
                        self.predictions += 1
                    if self._end.is_set():
                        return
            self.ended = "closed in order"
        except (WebSocketException, OSError) as error:
            self.ended = str(error)

    def close(self) -> None:
        self._end.set()
        self.join(10)


class FuzzedService:
    """Process of the service and of all its workers."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._log = folder / "serve.log"
        self._models = folder / "models"
        self._models.mkdir()
        names = [f"{name}-{uuid.uuid4().hex[:6]}" for name in (WATCHED, FUZZED)]
        contract = load_bundle(zoo_bundle_path()).contract
        shape = {"labels": tuple(contract.channels), "n_channels": len(contract.channels), "sfreq": contract.sfreq}
        self.caps = [Cap(name, source_id=name, chunk=10, **shape) for name in names]
        specs = [f"id={kind},name={name}" for kind, name in zip((WATCHED, FUZZED), names, strict=True)]
        words = ["--stream", specs[0], "--stream", specs[1], "--port", "0", "--workers", str(workers)]
        # Nothing is skipped to be up to date, however busy the machine is.
        words += ["--model", str(zoo_bundle_path()), "--models", str(self._models), "--max-backlog", "120"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mindwire", "serve", *words],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": os.pathsep.join([str(ROOT / "service"), str(ROOT / "models")]),
                },
            )
        self.address = ""
        for line in self.process.stdout:
            if match := re.search(r"http://(\S+:\d+)", line):
                self.address = match[1]
                break
        for cap in self.caps:
            cap.start()

    def call(self, method: str, path: str, body: object = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.address}{path}", data, _JSON, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def wait_until_live(self) -> None:
        deadline = time.monotonic() + 90
        while not all(one["ready"] for one in self.call("GET", "/v1/streams")):
            if time.monotonic() > deadline or self.process.poll() is not None:
                msg = f"The service's streams did not begin; see {self._log}."
                raise RuntimeError(msg)
            time.sleep(0.2)

    def warm_up(self, rounds: int) -> None:
        """Do once what takes memory for good: load PyTorch, and add and remove streams, whose outlets fragment the heap."""
        for turn in range(rounds):
            for number in range(15):
                spec = {"id": f"warm{number}", "name": "absent", "adapt": "alignment" if turn or number else "entropy"}
                self.call("POST", "/v1/streams", spec)
            self.tidy()

    def tidy(self) -> None:
        """Remove the streams that were added."""
        for one in self.call("GET", "/v1/streams"):
            if one["name"] not in (WATCHED, FUZZED):
                with contextlib.suppress(OSError):
                    self.call("DELETE", f"/v1/streams/{one['name']}")

    def memory(self) -> int:
        """Resident memory of all processes in bytes, after a moment of rest."""
        self.tidy()
        time.sleep(2.0)
        process = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))

    def faults(self) -> list[str]:
        """Return what the log says that it should not."""
        return [line for line in self._log.read_text(errors="replace").splitlines() if "Traceback" in line]

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.stdout.close()
        for cap in self.caps:
            cap.kill()


@contextlib.contextmanager
def fuzzed_service(folder: Path, workers: int):
    """Run a service with two live streams."""
    with lsl_on_loopback(f"fuzz-{uuid.uuid4().hex[:8]}"):
        service = FuzzedService(folder, workers)
        try:
            service.wait_until_live()
            yield service
        finally:
            service.end()


def verdict(
    service: FuzzedService, bystander: Bystander, memory: list[int], **figures: object
) -> tuple[dict, list[str]]:
    """Return the figures, and a sentence for each thing that is not as it should be."""
    alive = service.process.poll() is None
    growth = memory[-1] / memory[0] - 1
    found = {
        "predictions": bystander.predictions, "missing": bystander.missing, "memory_mib": [one >> 20 for one in memory],
        "growth_percent": round(100 * growth, 2), "alive": alive, "tracebacks": len(service.faults()), **figures,
    }  # fmt: skip
    problems = {
        "the service has ended": not alive,
        "the service logged a traceback": service.faults(),
        "the bystander missed predictions": bystander.missing,
        f"the bystander was cut off ({bystander.ended})": bystander.ended,
        "the bystander got nothing": not bystander.predictions,
        "memory grew by more than 3 %": growth > MEMORY - 1,
    }
    return found, [sentence for sentence, so in problems.items() if so]
