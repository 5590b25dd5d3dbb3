"""A system that changes while it runs: 24 streams of three bundles in two worker processes.

Streams are added, changed and removed over REST, a worker is killed, a model is swapped, shadowed, promoted and rolled
back; the clients of untouched streams miss nothing and get nothing twice.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import ExitStack

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from mindwire.control.policy import ControlPolicy
from tests.support.bundles import random_bundle
from tests.support.gateway_clients import workers_of
from tests.support.many_caps import ManyCaps
from tests.support.protocol import connect
from tests.support.service_process import service
from tests.support.streaming import contract, eventually, unique

pytest.importorskip("torch")
pytestmark = pytest.mark.faults

N_STREAMS = 24
JSON = {"Content-Type": "application/json"}
POLICY = ControlPolicy(decide={"commit": 0.9}).model_dump(mode="json", exclude_none=True)


class Client:
    """A websocket client that checks ``seq``, and connects again when it is closed with 1012."""

    def __init__(self, address: str, stream: str) -> None:
        self.stream = stream
        self.runs: list[list[int]] = []  # numbers of the predictions since each hello or restart
        self.events: list[dict] = []
        self.closed: list[int] = []
        self._url = f"ws://{address}/v1/streams/{stream}/predictions"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            with connect(self._url) as client:
                self.runs.append([])
                try:
                    while True:
                        self._take(json.loads(client.recv()))
                except ConnectionClosed as closed:
                    self.closed.append(closed.rcvd.code if closed.rcvd else 0)
                    if self.closed[-1] != 1012:
                        return

    def _take(self, message: dict) -> None:
        if message["type"] == "event":
            self.events.append(message)
        elif message["type"] == "prediction":
            if self.runs[-1] and message["seq"] == 0:  # of the worker's successor
                self.runs.append([])
            self.runs[-1].append(message["seq"])

    @property
    def newest(self) -> int:
        return self.runs[-1][-1] if self.runs and self.runs[-1] else -1

    def of(self, kind: str) -> list[dict]:
        return [event for event in self.events if event["kind"] == kind]

    def assert_unbroken(self, runs: int) -> None:
        """Nothing is missing and nothing doubled in any of so many runs."""
        assert len(self.runs) == runs, (self.stream, self.closed, self.events)
        for seqs in self.runs:
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), self.stream
        assert not self.of("dropped")
        assert not self.of("skipped")


def go_on(clients) -> None:
    """Wait until each client has some more predictions."""
    before = {client: (len(client.runs), client.newest) for client in clients}
    for client, (runs, newest) in before.items():
        eventually(lambda client=client, now=(runs, newest + 5): (len(client.runs), client.newest) >= now, 60)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two", "three")):
        random_bundle(folder / name, contract(window_samples=200), seed=seed)
    return folder


def test_a_running_system_changes_and_untouched_streams_miss_nothing(bundles, tmp_path):
    sources = [unique("cap") for _ in range(N_STREAMS + 1)]
    models = ("one", "two", "three")
    file = tmp_path / "clinic.toml"
    file.write_text(f'models = "{bundles}"\nlsl_outlet = false\nworkers = 2\nmax_backlog = 60\nlog_level = "error"\n')
    with ExitStack() as stack:
        stack.enter_context(ManyCaps(sources))
        running = stack.enter_context(service("--config", file, "--save-config"))
        running.discard_log()
        address = running.address()
        rest = stack.enter_context(httpx.Client(base_url=f"http://{address}", timeout=30, headers=JSON))

        def asked(method: str, path: str, body=None, *, status: int = 200):
            answer = rest.request(method, path, json=body, headers=JSON)
            assert answer.status_code == status, (method, path, answer.status_code, answer.text)
            return answer.json() if answer.content else None

        names = [f"s{number:02}" for number in range(N_STREAMS)]
        for number, (name, source) in enumerate(zip(names, sources, strict=False)):
            asked("POST", "/v1/streams", {"id": name, "name": source, "model": models[number % 3]}, status=201)
        eventually(lambda: rest.get("/health/ready").status_code == 200, 60)
        clients = {name: Client(address, name) for name in names}
        go_on(clients.values())
        # the gateway places the streams in turn, so that each worker has a half
        halves = names[0::2], names[1::2]

        # streams come, change and go
        asked("POST", "/v1/streams", {"id": "late", "name": sources[-1], "model": "two"}, status=201)
        eventually(lambda: asked("GET", "/v1/streams/late")["state"] == "live", 60)
        late = Client(address, "late")
        go_on([late])
        changed, controlled, ended = clients["s03"], clients["s04"], clients["s05"]
        asked("PATCH", "/v1/streams/s03", {"hop": 5})
        asked("PATCH", "/v1/streams/s04", {"control": POLICY, "paused": True})
        asked("DELETE", "/v1/streams/s05", status=204)
        asked("DELETE", "/v1/streams/late", status=204)
        eventually(lambda: late.closed == ended.closed == [1001], 30)
        eventually(lambda: len(changed.runs) == 2 and changed.newest > 5, 60)
        assert changed.closed == [1012]
        assert len(controlled.of("control")) == 1

        # models are swapped, compared in the shadow, promoted and rolled back
        def states(name: str) -> list[str]:
            return [event["data"]["state"] for event in clients[name].of("model")]

        def given_another(name: str, when: str, done) -> None:
            """A model is given again where a busy machine had made it too slow."""
            rest.post(f"/v1/streams/{name}/model", json={"model": "three", "when": when})
            given = len(states(name))
            while not done():
                eventually(lambda given=given: done() or "refused" in states(name)[given:], 40)
                if not done():
                    given = len(states(name))
                    rest.post(f"/v1/streams/{name}/model", json={"model": "three", "when": when})

        given_another("s01", "ready", lambda: "swapped" in states("s01"))
        given_another(
            "s07", "shadow", lambda: (asked("GET", "/v1/streams/s07/model")["candidate"] or {}).get("comparison")
        )
        asked("POST", "/v1/streams/s07/model/promote", status=202)
        asked("POST", "/v1/streams/s01/model/rollback", status=202)
        eventually(lambda: "rolled_back" in states("s01") and "swapped" in states("s07"), 60)
        eventually(lambda: asked("GET", "/v1/streams/s07/config")["model"] == str(bundles / "three"), 30)

        touched = {"s03", "s05"}
        whole = [client for name, client in clients.items() if name not in touched]
        go_on(whole)
        for client in whole:
            client.assert_unbroken(1)

        # a worker is killed: the other's streams hear nothing of it
        os.kill(workers_of(running)[0].pid, signal.SIGKILL)
        for name in halves[0]:
            eventually(lambda name=name: len(clients[name].runs) == 2 and clients[name].newest > 5, 60)
        present = {spec["id"]: spec for spec in asked("GET", "/v1/config")["stream"]}
        assert sorted(present) == [name for name in names if name != "s05"]
        assert asked("GET", "/v1/streams/s04")["control"]["paused"]
        del clients["s05"]
        go_on(clients.values())
        for name, client in clients.items():
            client.assert_unbroken(2 if name in halves[0] or name in touched else 1)
        assert changed.runs[-1][0] == 0
