"""Number of websocket clients that one stream carries: age of its predictions with few and with many clients.

    python benchmarks/clients.py [--counts 1,100,500] [--seconds 15] [--chunk 10] [--hop 10] [--model BUNDLE]

One client has a process of its own, as a user's program would; the others share a process, whose processor time is given
next to the service's. An LSL inlet on the stream's outlet shows what the clients cost the stream itself, and a bare loop
that sends as many messages to as many sockets gives the floor. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import socket
import sys
import time
import uuid
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mindwire.bench.processes import (
    CpuMeter,
    Processes,
    get_json,
    read_line,
    summarise,
    wait_until,
    write_line,
)
from mindwire.bench.roles import say
from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path

_WARM_PREDICTIONS = 50
_OPEN_TIMEOUT_S = 60.0
_RECEIVE_BYTES = 65536
_FILL = "x" * 240


def many_clients(model: Path, counts: list[int], *, seconds: float, chunk: int, hop: int) -> list[dict[str, Any]]:
    """Measure the ages of predictions for different numbers of clients of one stream.

    Returns
    -------
    list of dict
        Per count: ``single`` and ``others`` with ``age_ms`` since the stamp of the window's last sample and ``lost``
        predictions; ``outlet``, the same predictions over LSL; ``sockets``, messages of a bare loop; ``cpu_percent``.
    """
    contract = load_bundle(model).contract
    name = f"clients-{uuid.uuid4().hex[:6]}"
    found: list[dict[str, Any]] = []
    with Processes() as processes:
        outlet = processes.role("outlets", name, ",".join(contract.channels), contract.sfreq, chunk, 1)
        read_line(outlet)
        service, address = processes.serve("--model", model, "--hop", hop, "--stream", f"id=one,name={name}-0")
        port, path = address.rpartition(":")[2], "/v1/streams/one/predictions"
        single = processes.python(__file__, "receive", port, path, 1)
        read_line(single)
        write_line(outlet, "begin")
        filled = contract.window_samples / contract.sfreq
        wait_until(lambda: _predictions(address) > _WARM_PREDICTIONS, 60 + filled, "the stream to predict")
        others: Any = None
        for count in sorted(counts):
            if count > 1:
                if others:
                    others.communicate()  # it ends with its standard input
                others = processes.python(__file__, "receive", port, path, count - 1)
                read_line(others)
            time.sleep(1.0)
            saved = processes.folder / f"{count}.npz"
            inlet = processes.role("pull", "Mindwire-one", seconds, 1, saved)
            read_line(inlet)
            clients = {"single": single, **({"others": others} if others else {})}
            for process in clients.values():
                _results(process)
            meters = {"service": CpuMeter(service.pid), **({"others": CpuMeter(others.pid)} if others else {})}
            time.sleep(seconds)
            row: dict[str, Any] = {"clients": count, "cpu_percent": {who: m.percent() for who, m in meters.items()}}
            row |= {who: _results(process) for who, process in clients.items()}
            inlet.wait(30)
            pulled = np.load(saved)
            found.append({**row, "outlet": {"age_ms": summarise((pulled["received"] - pulled["times"]) * 1e3)}})
    for row in found:
        row["sockets"] = _floor(row["clients"], hop / contract.sfreq, seconds)
    return found


def _floor(count: int, period: float, seconds: float) -> dict[str, Any]:
    """Measure the ages of messages over sockets alone."""
    with Processes() as processes:
        sender = processes.python(__file__, "send", count, period)
        clients = processes.python(__file__, "receive", read_line(sender).strip(), "/", count)
        read_line(clients)
        _results(clients)
        time.sleep(seconds)
        found = _results(clients)
        clients.communicate()
        return found


def _predictions(address: str) -> int:
    (stream,) = get_json(address, "/v1/streams")
    return int(stream["counters"]["predictions"])


def _results(process: Any) -> dict[str, Any]:
    write_line(process, "results")
    found: dict[str, Any] = json.loads(read_line(process))
    return found


@dataclass(slots=True)
class _Client:
    """One connection: bytes of an unfinished frame, and the number of the last prediction."""

    sock: socket.socket
    rest: bytes
    last: int | None = None


class Clients:
    """Websocket clients of one path that cost little: sockets and one epoll.

    All are sent the same bytes, which are parsed once and then only compared.
    """

    def __init__(self, port: int, path: str, n: int) -> None:
        self._clients: dict[int, _Client] = {}
        self._ages = array("d")
        self._lost = 0
        self._known: tuple[bytes, list[tuple[int, float]]] = (b"", [])
        for _ in range(n):
            client = connected(port, path)
            self._clients[client.sock.fileno()] = client

    def receive(self) -> None:
        """Receive until standard input ends; at each of its lines, write what was received since the last."""
        poll = select.epoll()
        commands = sys.stdin.fileno()
        for number in (*self._clients, commands):
            poll.register(number, select.EPOLLIN)
        while True:
            for number, _ in poll.poll():
                if number != commands:
                    self._receive(self._clients[number])
                elif sys.stdin.readline():
                    say(json.dumps(self._summary()))
                else:
                    return

    def _receive(self, client: _Client) -> None:
        data = client.sock.recv(_RECEIVE_BYTES)
        now = time.monotonic()
        if not data:
            msg = "The service closed a connection in the middle of the measurement."
            raise ConnectionError(msg)
        if client.rest:
            data = client.rest + data
        if data == self._known[0]:
            predictions, client.rest = self._known[1], b""
        else:
            predictions, client.rest = parse_frames(data)
            if not client.rest:
                self._known = (data, predictions)
        for seq, stamp in predictions:
            self._ages.append(now - stamp)
            if client.last is not None:
                self._lost += seq - client.last - 1
            client.last = seq

    def _summary(self) -> dict[str, object]:
        ages = np.array(self._ages) * 1e3
        lost, self._lost, self._ages = self._lost, 0, array("d")
        return {"n": len(ages), "lost": lost, "age_ms": summarise(ages) if len(ages) else None}


def receive(port: int, path: str, n: int) -> None:
    """Role of a process: many clients; writes ``ready``, then results at each line read."""
    clients = Clients(port, path, n)
    say("ready")
    clients.receive()


def send(n: int, period: float) -> None:
    """Role of a process: send ``n`` clients a message of 300 bytes every ``period`` seconds until they leave."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=2048) as server,
        contextlib.ExitStack() as stack,
        contextlib.suppress(BrokenPipeError, ConnectionResetError),
    ):
        say(str(server.getsockname()[1]))
        clients = []
        for _ in range(n):
            client = stack.enter_context(server.accept()[0])
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not client.recv(_RECEIVE_BYTES).endswith(b"\r\n\r\n"):
                pass
            client.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            clients.append(client)
        due, seq = time.monotonic(), 0
        while True:
            time.sleep(max(0.0, due - time.monotonic()))
            text = f'{{"type":"prediction","seq":{seq},"time":{time.monotonic():.9f},"fill":"{_FILL}"}}'
            message = frame(text)
            for client in clients:
                client.send(message)
            due, seq = due + period, seq + 1


def frame(text: str) -> bytes:
    """Return a text as an unmasked websocket frame (RFC 6455), shorter than 64 KiB."""
    payload = text.encode()
    length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return b"\x81" + length + payload


def connected(port: int, path: str) -> _Client:
    """Return a new websocket client, and what it was sent with the answer to its request."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=_OPEN_TIMEOUT_S)
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    sock.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = sock.recv(_RECEIVE_BYTES)
        if not part:
            msg = "The service refused a connection."
            raise ConnectionError(msg)
        answer += part
    sock.settimeout(None)  # with a timeout, each receive would take two system calls
    return _Client(sock, answer.partition(b"\r\n\r\n")[2])


def parse_frames(data: bytes) -> tuple[list[tuple[int, float]], bytes]:
    """Return sequence number and time of each prediction in whole frames, and the bytes of the unfinished last one."""
    found = []
    at = 0
    while len(data) - at >= 4:
        size, begin = data[at + 1], at + 2
        if size == 126:
            size, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        if len(data) < begin + size:
            break
        at = begin + size
        payload = data[begin:at]
        if b'"type":"prediction"' in payload:
            seq = int(payload.split(b'"seq":', 1)[1].split(b",", 1)[0])
            found.append((seq, float(payload.split(b'"time":', 1)[1].split(b",", 1)[0])))
    return found, data[at:]


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['clients']:>4} clients"]
    for who in ("single", "others", "outlet", "sockets"):
        if who in row:
            age, lost = row[who]["age_ms"], row[who].get("lost")
            parts.append(f"{who} p50 {age['p50']:.2f}, p99 {age['p99']:.2f}{'' if lost is None else f', lost {lost}'}")
    cpu = ", ".join(f"{who} {percent:g} %" for who, percent in row["cpu_percent"].items())
    return f"{'; '.join(parts)}; CPU of {cpu}"


def main() -> None:
    """Measure and print a line per count, ages in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=zoo_bundle_path())
    parser.add_argument("--counts", default="1,100,500")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--chunk", type=int, default=10)
    parser.add_argument("--hop", type=int, default=10)
    options = parser.parse_args()
    counts = [int(count) for count in options.counts.split(",")]
    for row in many_clients(options.model, counts, seconds=options.seconds, chunk=options.chunk, hop=options.hop):
        print(_line(row))


if __name__ == "__main__":
    if sys.argv[1:2] == ["receive"]:
        receive(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    elif sys.argv[1:2] == ["send"]:
        send(int(sys.argv[2]), float(sys.argv[3]))
    else:
        main()
