"""Many websocket clients in one process that cost next to nothing, so that a measurement of the service is one.

No event loop and no websocket library: sockets, one epoll, and the time of each receive. Every client is sent the
same bytes, so they are taken apart once and afterwards only compared.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import time
from array import array
from dataclasses import dataclass

import numpy as np
from websockets.frames import Frame, Opcode

_OPEN_TIMEOUT_S = 60.0
_RECEIVE_BYTES = 65536
_FILL = "x" * 240


@dataclass(slots=True)
class _Client:
    """One connection: what has come of an unfinished frame, and the last prediction's number."""

    sock: socket.socket
    rest: bytes
    last: int | None = None


class Audience:
    """Clients of one path.

    Parameters
    ----------
    port : int
    path : str
        Where the predictions are; they must come as JSON.
    n : int
        How many.
    """

    def __init__(self, port: int, path: str, n: int) -> None:
        self._clients: dict[int, _Client] = {}
        self._ages = array("d")
        self._lost = 0
        self._known: tuple[bytes, list[tuple[int, float]]] = (b"", [])
        for _ in range(n):
            client = _connected(port, path)
            self._clients[client.sock.fileno()] = client

    def listen(self) -> None:
        """Receive until standard input ends; at each of its lines, say what has been seen since the last."""
        poll = select.epoll()
        listened = sys.stdin.fileno()
        for number in (*self._clients, listened):
            poll.register(number, select.EPOLLIN)
        while True:
            for number, _ in poll.poll():
                if number != listened:
                    self._receive(self._clients[number])
                elif sys.stdin.readline():
                    say(json.dumps(self._told()))
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
            predictions, client.rest = _predictions(data)
            if not client.rest:
                self._known = (data, predictions)
        for seq, stamp in predictions:
            self._ages.append(now - stamp)
            if client.last is not None:
                self._lost += seq - client.last - 1
            client.last = seq

    def _told(self) -> dict[str, object]:
        seen = np.array(self._ages) * 1e3
        lost, self._lost, self._ages = self._lost, 0, array("d")
        quantiles = np.quantile(seen, [0.5, 0.99, 0.999, 1.0]).tolist() if len(seen) else [0.0] * 4
        ages = dict(zip(("p50", "p99", "p99.9", "max"), quantiles, strict=True))
        return {"n": len(seen), "lost": lost, "age_ms": ages}


def audience(port: int, path: str, n: int) -> None:
    """Many clients; says when all are there, and at each line read what they saw since."""
    clients = Audience(port, path, n)
    say("ready")
    clients.listen()


def fan(n: int, period: float) -> None:
    """The floor: a bare loop that sends each of ``n`` clients a message of 300 bytes every ``period`` seconds.

    Says its port, accepts an audience of that size, and ends when it leaves.
    """
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
            frame = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
            for client in clients:
                client.send(frame)
            due, seq = due + period, seq + 1


def say(text: str) -> None:
    """Write one line to whoever started this process."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _connected(port: int, path: str) -> _Client:
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
    sock.settimeout(None)  # with a limit, every receive would ask the kernel twice
    return _Client(sock, answer.partition(b"\r\n\r\n")[2])


def _predictions(data: bytes) -> tuple[list[tuple[int, float]], bytes]:
    """Sequence number and time of each prediction in whole frames, and the bytes of the unfinished last one."""
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
