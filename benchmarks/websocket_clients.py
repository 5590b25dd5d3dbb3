"""How many websocket clients one stream carries: time from publish to receive, with few and with many clients.

    python benchmarks/websocket_clients.py --clients 500 --seconds 30

The service runs in one process with a stand-in stream (no model, the hub and the API are the real ones), the
clients in others. A client notes how old each prediction is when it arrives; both sides read one monotonic
clock. Clients are of two kinds: a few in a process of their own whose ages are reported, as a person's program
would be, and the crowd, all in one process, whose ages contain that process's own congestion.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import psutil
import uvicorn
import uvloop

from models.presets import BCIC2A
from service.api.app import create_app
from service.api.server import SERVER_SETTINGS, bind_socket
from service.sinks.hub import PredictionHub
from service.sinks.messages import Encoding, Message, prediction_payload
from service.status import ModelStatus, StreamState, StreamStatus
from service.types import Prediction

RATE = 25.0


class Source:
    """Publishes predictions from a thread, at a steady rate, and notes how long each publish took."""

    def __init__(self, publish: Callable[[Prediction], None] | None = None) -> None:
        self.name = "bench"
        self.ready = True
        self.hub = PredictionHub(self.name, BCIC2A)
        self._publish = publish or self.hub.publish
        self.took: list[float] = []
        self.late: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        probabilities = np.array([0.1, 0.2, 0.3, 0.4])
        stages = {"receive": 0.4, "condition": 0.1, "decode": 0.2}
        begin, seq = time.monotonic() + 0.1, 0
        while not self._stop.wait(max(0.0, begin + seq / RATE - time.monotonic())):
            now = time.monotonic()
            self.late.append(now - (begin + seq / RATE))
            self._publish(Prediction(seq, now, probabilities, latency_ms=stages))
            self.took.append(time.monotonic() - now)
            seq += 1

    def hello(self) -> dict:
        return {"type": "hello", "version": 1, "stream": self.name, "classes": list(BCIC2A.classes)}

    def status(self) -> StreamStatus:
        return StreamStatus(
            name=self.name, state=StreamState.LIVE, state_reason="", state_since_unix=0.0, ready=True, source=None,
            model=ModelStatus(name="", sha256="", engine="", device="", engine_reason=""), classes=[], channels=[],
            sfreq=250.0, window_samples=1000, hop_samples=10, resampler_delay_ms=0.0, settling_ms=0.0, counters={},
        )  # fmt: skip


def serve(pipe: Connection) -> None:
    """The service's process: says its port, measures between two messages, reports."""
    source = Source()
    sock = bind_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app({source.name: source}), **SERVER_SETTINGS))
    threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    source.start()
    pipe.send(sock.getsockname()[1])
    pipe.recv()
    usage = Usage(source)
    pipe.recv()
    pipe.send(usage.report())
    server.should_exit = True


class Bare(asyncio.Protocol):
    """The floor: answers the handshake and is written to, with nothing between the loop and the socket."""

    def __init__(self, connected: list[asyncio.Transport]) -> None:
        self._connected = connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, _: bytes) -> None:
        self._transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self._connected.append(self._transport)


def serve_bare(pipe: Connection) -> None:
    """The floor's process: the same thread, rate and bytes, and a loop over bare transports."""
    uvloop.run(_serve_bare(pipe))


async def _serve_bare(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    connected: list[asyncio.Transport] = []
    sock = bind_socket("127.0.0.1", 0)
    await loop.create_server(lambda: Bare(connected), sock=sock)

    def write(frame: bytes) -> None:
        for transport in connected:
            if not transport.is_closing():
                transport.write(frame)

    def publish(prediction: Prediction) -> None:
        payload = prediction_payload(prediction, prediction.time)
        loop.call_soon_threadsafe(write, Message(payload).frame(Encoding.JSON))

    source = Source(publish)
    source.start()
    pipe.send(sock.getsockname()[1])
    await asyncio.to_thread(pipe.recv)
    usage = Usage(source)
    await asyncio.to_thread(pipe.recv)
    pipe.send(usage.report())


class Usage:
    """What the service's process uses and how its publishing thread fares, from now on."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._process = psutil.Process()
        source.took.clear()
        source.late.clear()
        self._used, self._begun = sum(self._process.cpu_times()[:2]), time.monotonic()

    def report(self) -> dict:
        busy = (sum(self._process.cpu_times()[:2]) - self._used) / (time.monotonic() - self._begun)
        self._source.stop()
        return {
            "cpu_percent": 100 * busy,
            "memory_mib": self._process.memory_info().rss / 2**20,
            "dropped": self._source.hub.dropped,
            "publish_ms_p99": 1e3 * float(np.quantile(self._source.took, 0.99)),
            "thread_late_ms_p50": 1e3 * float(np.quantile(self._source.late, 0.5)),
            "thread_late_ms_p99": 1e3 * float(np.quantile(self._source.late, 0.99)),
        }


class Listener(asyncio.Protocol):
    """A client that costs next to nothing: it splits frames and looks for two numbers in each."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._rest = b""
        self._open = False
        self._last: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        request = (
            "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        data = self._rest + data
        if not self._open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = head
                return
            assert b" 101 " in head, head
            self._open = True
            self._tally.connected.release()
        at = 0
        while len(data) - at >= 4:
            size, begin = data[at + 1], at + 2
            if size == 126:
                size, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            if len(data) < begin + size:
                break
            at = begin + size
            self._take(data[begin:at], now)
        self._rest = data[at:]

    def _take(self, payload: bytes, now: float) -> None:
        if not self._tally.collecting or b'"prediction"' not in payload:
            self._last = None
            return
        seq = int(payload.split(b'"seq":', 1)[1].split(b",", 1)[0])
        self._tally.ages.append(now - float(payload.split(b'"time":', 1)[1].split(b",", 1)[0]))
        self._tally.lost += 0 if self._last is None else seq - self._last - 1
        self._last = seq


class Tally:
    """What all listeners of a process have seen."""

    def __init__(self) -> None:
        self.ages: list[float] = []
        self.lost = 0
        self.collecting = False
        self.connected = asyncio.Semaphore(0)


def listen(port: int, n: int, pipe: Connection) -> None:
    """A process of ``n`` clients: connects them all, then collects ages between two messages."""
    uvloop.run(_listen(port, n, pipe))


async def _listen(port: int, n: int, pipe: Connection) -> None:
    tally = Tally()
    loop = asyncio.get_running_loop()
    transports = []
    for _ in range(n):
        transport, _protocol = await loop.create_connection(lambda: Listener(tally), "127.0.0.1", port)
        transports.append(transport)
        await tally.connected.acquire()
    pipe.send("connected")
    await asyncio.to_thread(pipe.recv)
    tally.collecting = True
    await asyncio.to_thread(pipe.recv)
    tally.collecting = False
    for transport in transports:
        transport.abort()
    quantiles = map(float, np.quantile(tally.ages, [0.5, 0.99, 1.0]) * 1e3)
    p50, p99, worst = quantiles
    pipe.send({"n": n, "received": len(tally.ages), "lost": tally.lost, "p50_ms": p50, "p99_ms": p99, "max_ms": worst})


def measure(service_process: Callable[[Connection], None], clients: int, seconds: float) -> dict:
    """One run with a crowd and one client apart; ages in milliseconds."""
    spawn = multiprocessing.get_context("spawn")

    def start(target, *arguments):
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=target, args=(*arguments, theirs), daemon=True)
        process.start()
        return process, ours

    server, service = start(service_process)
    port = service.recv()
    apart, single = start(listen, port, 1)
    crowd = [start(listen, port, clients - 1)] if clients > 1 else []
    pipes = [single, *(pipe for _, pipe in crowd)]
    for pipe in pipes:
        pipe.recv()
    time.sleep(1.0)
    for pipe in (*pipes, service):
        pipe.send("begin")
    time.sleep(seconds)
    for pipe in (*pipes, service):
        pipe.send("end")
    report = {"clients": clients, "apart": single.recv(), "service": service.recv()}
    if crowd:
        report["crowd"] = crowd[0][1].recv()
    for process in (apart, server, *(process for process, _ in crowd)):
        process.join(5)
        if process.is_alive():
            process.kill()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 100, 500])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line instead of a table")
    arguments = parser.parse_args()
    if not arguments.json:
        print(
            "        clients   one client apart: p50    p99    max   crowd: p50    p99   lost   service: CPU   MiB   thread late p99"
        )
    processes = {"floor": serve_bare, "service": serve}
    for clients, (name, process) in itertools.product(arguments.clients, processes.items()):
        report = {"what": name, **measure(process, clients, arguments.seconds)}
        if arguments.json:
            print(json.dumps(report), flush=True)
            continue
        one, many, service = report["apart"], report.get("crowd", report["apart"]), report["service"]
        lost = one["lost"] + many["lost"]
        print(
            f"{name:8}{clients:7d} {one['p50_ms']:23.2f} {one['p99_ms']:6.2f} {one['max_ms']:6.2f} {many['p50_ms']:12.2f} "
            f"{many['p99_ms']:6.2f} {lost:6d} {service['cpu_percent']:13.1f}% {service['memory_mib']:5.0f} "
            f"{service['thread_late_ms_p99']:14.2f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
