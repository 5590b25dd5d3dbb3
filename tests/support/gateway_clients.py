"""A websocket client that remembers everything, and the worker processes of a gateway."""

from __future__ import annotations

import json
import threading
import urllib.request

import msgspec
import psutil
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from mindwire.sinks.messages import Encoding
from tests.support.protocol import connect
from tests.support.streaming import eventually


class Listener:
    """A websocket client in a thread of its own, from before the first prediction to the end."""

    def __init__(self, address: str, stream: str, encoding: Encoding) -> None:
        self.messages: list[dict] = []
        self.closed: int | None = None
        self._url = f"ws://{address}/v1/streams/{stream}/predictions"
        self._encoding = encoding
        self._socket: ClientConnection | None = None
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        eventually(lambda: self.messages, 30)

    def _listen(self) -> None:
        decode = json.loads if self._encoding is Encoding.JSON else msgspec.msgpack.decode
        with connect(self._url, subprotocols=[self._encoding]) as self._socket:
            try:
                while True:
                    self.messages.append(decode(self._socket.recv()))
            except ConnectionClosed as closed:
                self.closed = closed.rcvd.code if closed.rcvd else None

    def predictions(self) -> list[dict]:
        return [message for message in self.messages if message["type"] == "prediction"]

    def states(self) -> list[str]:
        return [message["data"]["state"] for message in self.messages if message.get("kind") == "state"]

    def end(self) -> None:
        self._socket.close()
        self._thread.join(10)


def workers_of(running) -> list[psutil.Process]:
    """In the order in which they were started."""
    children = psutil.Process(running.process.pid).children()
    return sorted(
        (child for child in children if "mindwire.serve.gateway.program" in str(child.cmdline())), key=lambda c: c.pid
    )


def samples_of(address: str) -> dict[str, dict[tuple, float]]:
    """The metrics of a service, by name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    found: dict[str, dict[tuple, float]] = {}
    for family in families:
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), "each metric is told once"
            found[sample.name][labels] = sample.value
    return found
