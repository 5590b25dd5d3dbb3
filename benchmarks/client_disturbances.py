"""Disturbances of a client at random: it goes on after each, and reports exactly what it missed.

    python benchmarks/client_disturbances.py [--client python|javascript] [--count 100] [--seed 1]

A real service is killed and started again, ended in order, stopped for some seconds, or again and again for 40 ms; the
stream is removed and added again; the network is cut, or cut and slow afterwards; the program reads nothing for a while. A
second connection that is not disturbed writes down the numbers of the predictions. Linux only.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "clients" / "python")]

from websockets.exceptions import WebSocketException  # noqa: E402
from websockets.sync.client import connect as websocket  # noqa: E402

from mindwire.sources.loopback import lsl_on_loopback  # noqa: E402
from mindwire_client import Connection, Event, Hello, Message, Missed, Prediction, connect  # noqa: E402
from tests.support.bundles import random_bundle  # noqa: E402
from tests.support.javascript_client import JavascriptMessages  # noqa: E402
from tests.support.lsl_cap import Cap  # noqa: E402
from tests.support.relay import Relay  # noqa: E402
from tests.support.service_process import Service, request, until  # noqa: E402
from tests.support.streaming import contract  # noqa: E402
from tests.support.threads import meanwhile  # noqa: E402

STREAM = "eeg"
KINDS = ("kill", "end", "stop", "remove", "cut", "slow", "starve", "trickle")
_PATIENCE_S = 60.0
_STOPPED_S, _RUNNING_S = 0.04, 0.01
_BYTES_PER_S = 1000.0
_UNTIL_DROPPED = 400  # predictions that the service and the buffers on the way do not hold
_CAPACITY = 32


class Observed(threading.Thread):
    """Numbers and times of predictions by instance of the stream, read by a plain websocket client that always reads."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.times: dict[tuple[str, int], float] = {}
        self._url = f"ws://{address}/v1/streams/{STREAM}/predictions"
        self._end = threading.Event()

    def __enter__(self) -> Observed:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join(30)

    def run(self) -> None:
        while not self._end.is_set():
            try:
                with websocket(self._url, open_timeout=2) as socket:
                    self._read(socket)
            except (WebSocketException, OSError):
                self._end.wait(0.1)

    def newest(self, instance: str) -> int:
        """Return the largest number of an instance of the stream; -1 if there is none."""
        return max((seq for name, seq in list(self.times) if name == instance), default=-1)

    def _read(self, socket: Any) -> None:
        instance = ""
        while not self._end.is_set():
            try:
                message = json.loads(socket.recv(timeout=0.5))
            except TimeoutError:
                continue
            if message["type"] == "hello":
                instance = message["instance"]
            elif message["type"] == "prediction":
                self.times[instance, message["seq"]] = message["time"]


def make_model(folder: Path, hop_samples: int = 4) -> Path:
    """Return a bundle for the stream."""
    return random_bundle(folder / "bundle", contract(window_samples=200, hop_samples=hop_samples))


class Disturbed:
    """A service with one stream of a cap, and what is done to it."""

    def __init__(self, model: Path, *options: object) -> None:
        self.cap_name = f"cap-{uuid.uuid4().hex[:8]}"
        self._options = ("--model", model, "--stream", f"id={STREAM},name={self.cap_name}", *options)
        self.address = ""
        self.service: Service | None = None
        self.cap = Cap(self.cap_name, source_id=self.cap_name)

    def __enter__(self) -> Disturbed:
        self.cap.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.service is not None:
            self.service.process.kill()
            self.service.process.communicate()
        self.cap.kill()

    def start(self) -> None:
        """Start the service, on the port that it had."""
        port = self.address.rpartition(":")[2]
        self.service = Service(*self._options, *(("--port", port) if port else ()))
        self.address = self.service.address()
        self.service.discard_log()

    def end(self, number: int) -> None:
        """End the service with a signal."""
        self.service.end(number)
        self.service.process.stdout.close()
        self.service.process.stderr.close()

    def kill(self) -> None:
        """Kill the service, and start it again."""
        self.end(signal.SIGKILL)
        self.start()

    def stop(self, seconds: float) -> None:
        """Stop the service, and let it go on."""
        self.service.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.service.process.send_signal(signal.SIGCONT)

    def starved(self) -> AbstractContextManager[None]:
        """Return a context in which the service runs for a fifth of the time."""

        def hold_back(end: threading.Event) -> None:
            while not end.wait(_RUNNING_S):
                self.stop(_STOPPED_S)

        return meanwhile(hold_back)

    def remove(self) -> None:
        """Remove the stream, and add it again."""
        assert self.remove_stream() == 204
        self.add_stream()

    def remove_stream(self) -> int:
        """Remove the stream; return the status of the answer."""
        try:
            return request(self.address, "DELETE", f"/v1/streams/{STREAM}")[0]
        except json.JSONDecodeError:  # 204 has no content
            return 204

    def add_stream(self) -> None:
        """Add the stream again."""
        status, answer = request(self.address, "POST", "/v1/streams", {"id": STREAM, "name": self.cap_name})
        assert status == 201, answer


def check(messages: list[Message], observed: dict[tuple[str, int], float]) -> dict[str, int]:
    """Compare what a client was given with the numbers that were observed; return counts.

    Every prediction is there once, in order, and at the observed time; between two of them as many are missing as the
    notice says and as the signal has in that time, and all that were observed are among the numbers in between.
    """
    counts: Counter[str] = Counter()
    instance, hop_s, last, last_time, notice = "", math.nan, None, 0.0, None
    for message in messages:
        if isinstance(message, Hello):
            instance, hop_s = message.instance, message.hop_samples / message.sfreq
            counts["connections"] += 1
        elif isinstance(message, Connection):
            counts["lost"] += not message.connected
        elif isinstance(message, Event) and message.kind == "dropped":
            counts["dropped_by_service"] += message.data["count"]
        elif isinstance(message, Missed):
            assert notice is None
            notice = message
        elif isinstance(message, Prediction):
            here = (instance, message.seq)
            assert observed.get(here, message.time) == message.time
            counts["delivered"] += 1
            counts["compared"] += here in observed
            if last is not None:
                restarted = instance != last[0]
                first = 0 if restarted else last[1] + 1
                between = set(range(first, message.seq))
                known = {seq for name, seq in observed if name == instance and first <= seq < message.seq}
                assert message.seq >= first
                if not restarted:  # the signal itself says how many there were
                    assert round((message.time - last_time) / hop_s) == message.seq - last[1]
                assert known <= between
                count, dropped = (notice.count, notice.dropped) if notice else (0, 0)
                # Of the earlier numbers only those count that arrived and were dropped.
                assert len(between) <= count <= len(between) + dropped * restarted, (last, here, notice)
                assert (notice.restarted if notice else False) == restarted
                counts["missed"] += len(between)
                counts["missed_but_observed"] += len(known)
                counts["restarted"] += restarted
                if notice:
                    assert (notice.after, notice.before) == (last[1], message.seq)
                    counts["dropped"] += notice.dropped
            last, last_time, notice = here, message.time, None
    return dict(counts)


@contextmanager
def python_messages(address: str) -> Iterator[tuple[Any, Any]]:
    """Open a stream with the Python client; yield what has its ``hello``, and an iterator over its messages."""
    with connect(address, stream=STREAM, timeout_s=_PATIENCE_S) as stream:
        yield stream, stream.messages(capacity=_CAPACITY)


@contextmanager
def javascript_messages(address: str) -> Iterator[tuple[Any, Any]]:
    """Open a stream with the JavaScript client in Node; yield as the Python client does."""
    with JavascriptMessages(address, stream=STREAM, timeout_ms=1e3 * _PATIENCE_S, capacity=_CAPACITY) as messages:
        yield messages, messages


CLIENTS = {"python": python_messages, "javascript": javascript_messages}


class Client:
    """A client with the messages that it was given."""

    def __init__(self, stream: Any, iterator: Any) -> None:
        self._stream, self._iterator = stream, iterator
        self.messages: list[Message] = [stream.hello]

    @property
    def instance(self) -> str:
        """Name of the beginning of the stream to which the numbers belong."""
        return str(self._stream.hello.instance)

    def read(self, wanted: Callable[[Message], bool], count: int = 1) -> None:
        """Read until some of the messages were wanted ones."""
        deadline = time.monotonic() + _PATIENCE_S
        while count:
            assert time.monotonic() < deadline, "The iteration does not go on."
            if (message := self._iterator.poll(1.0)) is not None:
                self.messages.append(message)
                count -= wanted(message)

    def read_predictions(self, after: int = -1) -> None:
        """Read until there were five more predictions, of larger numbers than ``after``."""
        self.read(lambda one: isinstance(one, Prediction) and one.seq > after, 5)


def run(model: Path, kinds: list[str], chance: random.Random, *clients: str) -> list[dict[str, int]]:
    """Disturb clients at once; return for each the counts of its messages."""
    with (
        Disturbed(model) as disturbed,
        Relay(disturbed.address) as relay,
        Observed(disturbed.address) as observed,
        ExitStack() as stack,
    ):
        opened = [Client(*stack.enter_context(CLIENTS[name](relay.address))) for name in clients]
        for client in opened:
            client.read_predictions()
        for kind in kinds:
            with disturbance(kind, disturbed, relay, observed, chance.uniform(0.5, 3.0)):
                for client in opened:
                    if kind in ("kill", "end", "remove", "cut", "trickle"):
                        client.read(lambda one: isinstance(one, Connection) and one.connected)
                    client.read_predictions(-1 if kind == "trickle" else observed.newest(client.instance))
            for client in opened:
                client.read_predictions(observed.newest(client.instance))
        for client in opened:
            last = [one.seq for one in client.messages if isinstance(one, Prediction)][-1]
            until(lambda n=last, name=client.instance: observed.newest(name) >= n)
        times = dict(observed.times)
    return [check(client.messages, times) for client in opened]


@contextmanager
def disturbance(kind: str, disturbed: Disturbed, relay: Relay, observed: Observed, seconds: float) -> Iterator[None]:
    """Do one thing to the service, the network or, by not reading, the client; some of them last."""
    n = len(observed.times)
    if kind == "kill":
        disturbed.kill()
    elif kind == "end":
        disturbed.end(signal.SIGTERM)
        disturbed.start()
    elif kind in ("stop", "long stop"):
        disturbed.stop(seconds if kind == "stop" else 10.0)
    elif kind == "remove":
        disturbed.remove()
    elif kind in ("cut", "trickle"):
        relay.bytes_per_s = math.inf if kind == "cut" else _BYTES_PER_S
        relay.cut()
    elif kind == "slow":  # more predictions than the iterator holds
        until(lambda: len(observed.times) > n + 40)
    with disturbed.starved() if kind == "starve" else nullcontext():
        yield
    if kind == "trickle":
        until(lambda: len(observed.times) > n + _UNTIL_DROPPED)
    relay.bytes_per_s = math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--client", choices=CLIENTS, default="python")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    kinds = [chance.choice(KINDS) for _ in range(arguments.count)]
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, lsl_on_loopback(f"disturbances-{uuid.uuid4().hex[:8]}"):
        [counts] = run(make_model(Path(folder)), kinds, chance, arguments.client)
    print(
        json.dumps(
            {"client": arguments.client, "seconds": round(time.monotonic() - begin), "kinds": Counter(kinds), **counts}
        )
    )


if __name__ == "__main__":
    main()
