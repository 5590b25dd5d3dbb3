"""What the tests of the participant's and the operator's page share: a service with a simulated person, and short tasks."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress

import httpx

from mindwire_models import zoo
from tests.support.service_process import ROOT, get
from tests.support.streaming import eventually

STREAM = "chair"
CUED = {
    "format": "mindwire-paradigm",
    "version": 1,
    "name": "short",
    "title": "Short run",
    "kind": "cued",
    "classes": ["left_hand", "right_hand"],
    "trials_per_class": 1,
    "fixation_s": 0.5,
    "cue_s": 0.75,
    "imagery_s": 4.0,
    "pause_s": [0.5, 0.5],
}
CONTROL = {
    "format": "mindwire-paradigm",
    "version": 1,
    "name": "one-target",
    "title": "One target",
    "kind": "control",
    "classes": ["left_hand", "right_hand"],
    "targets": 1,
    "distance": 1,
    "limit_s": 60,
    "rest_s": 4,
}


@contextmanager
def person(name, stream=STREAM):
    """A simulated person with a cap, who does what the markers of the stream say."""
    arguments = ("--name", name, "--source-id", name, "--follow", stream, "--classes", "left_hand,right_hand")
    process = subprocess.Popen(
        [sys.executable, "-m", "mindwire", "simulate", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def free_port():
    """A port of loopback that was free a moment ago, for a service that is started again on it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def with_demo_model(sessions, name="demo"):
    """The arguments of a service whose folder of models has the bundle for demonstration."""
    shutil.copytree(zoo.zoo_bundle_path(), sessions / "models" / name)
    return ("--sessions", sessions)


def add_stream(address, source, model=None):
    """A stream from a source, once it is live."""
    wanted = {"id": STREAM, "name": source, "source_id": source, **({"model": model} if model else {})}
    assert httpx.post(f"http://{address}/v1/streams", json=wanted, timeout=30).status_code == 201
    until_live(address)


def until_live(address):
    """Wait for the signal."""
    eventually(lambda: get(address, f"/v1/streams/{STREAM}")["state"] == "live", 60)


class Tasks:
    """The tasks of a stream, over REST."""

    def __init__(self, address) -> None:
        self._client = httpx.Client(base_url=f"http://{address}/v1/streams/{STREAM}", timeout=40, verify=False)

    def begin(self, paradigm, participant="P01") -> dict:
        wanted = {"participant": participant, "paradigm": paradigm, "seed": 1}
        answer = self._client.post("/task", json=wanted)
        assert answer.status_code == 201, answer.text
        return answer.json()

    @property
    def now(self) -> dict:
        return self._client.get("/task").json()

    def reaches(self, state, page, seconds=60) -> dict:
        """The task, once it is in a state; a page's requests pass through this process, so that it has to wait in the page's loop."""
        deadline = time.monotonic() + seconds
        while not self._is(state):
            assert time.monotonic() < deadline, f"expected {state}, found {self.now}"
            page.wait_for_timeout(100)
        return self.now

    def _is(self, state) -> bool:
        if self.now["state"] != state:
            return False
        return state != "done" or not self._client.get("/recording").json()["recording"]  # its file is complete

    def close(self) -> None:
        """Leave no task behind."""
        with closing(self._client), suppress(httpx.TransportError):  # the service has been killed
            self._client.post("/task/abort", json={})
            self._client.post("/control/resume", json={})

    @property
    def control(self) -> dict:
        return self._client.get("/control").json()
