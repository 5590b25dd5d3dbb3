"""Broken, hostile and odd websocket clients of a running service, while another client of one of its streams must not notice.

    python benchmarks/fuzz_websocket.py [--seconds 600] [--workers 1] [--clients 6] [--seed 1]

Handshakes and frames are made at random from the seed. Ends with 0 if no answer to a handshake was a 5xx (but 503 for too
many connections), the service neither ended nor logged a traceback, the bystander missed no prediction, and memory grew by
at most 3 % since a third of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.fuzz_service import Bystander, fuzzed_service, verdict

PATHS = [
    "/ws",
    "/v1/clock",
    "/v1/streams/fuzzed/predictions",
    "/v1/streams/fuzzed/signal",
    "/v1/streams/watched/predictions",
]
ODD_PATHS = [
    "/v1/streams//predictions",
    "/v1/streams/%00/signal",
    "/v1/streams/none/predictions",
    "/",
    "*",
    "/v1/models",
    "/%ff",
]


class Fuzzer:
    """Clients that connect, misbehave, and go, at random from a seed."""

    def __init__(self, address: str, seed: int) -> None:
        host, _, port = address.partition(":")
        self._host, self._port = host, int(port)
        self._random = random.Random(seed)
        self.answers: Counter[str] = Counter()
        self.frames = 0

    async def run(self, seconds: float, clients: int) -> None:
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._client(end))

    async def _client(self, end: float) -> None:
        while time.monotonic() < end:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                await asyncio.wait_for(self._visit(), 20)
            await asyncio.sleep(self._random.uniform(0.0, 0.1))

    async def _visit(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=1 << 16)
        try:
            await self._send(writer, self._handshake())
            status = (await asyncio.wait_for(reader.readline(), 15))[9:12].decode("latin-1") or "none"
            self.answers[status] += 1
            if status == "101":
                await reader.readuntil(b"\r\n\r\n")
                await self._misbehave(reader, writer)
        finally:
            writer.transport.abort()

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Send at once, in pieces, or not all of it."""
        kind = self._random.random()
        if kind < 0.1:
            data = data[: self._random.randrange(len(data) + 1)]
        at = 0
        while at < len(data):
            n = len(data) if kind < 0.7 else self._random.randint(1, max(1, len(data) // 3))
            writer.write(data[at : at + n])
            at += n
            await writer.drain()
            await asyncio.sleep(0)

    def _handshake(self) -> bytes:
        pick = self._random
        path = pick.choice(PATHS if pick.random() < 0.8 else ODD_PATHS)
        headers = {
            "Host": "127.0.0.1",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(pick.randbytes(16)).decode(),
            "Sec-WebSocket-Version": "13",
        }
        odd = {
            "Host": ["evil.example", "[", "", "127.0.0.1:99999"],
            "Upgrade": ["h2c", "websocket, x", ""],
            "Connection": ["close", "keep-alive, Upgrade", ""],
            "Sec-WebSocket-Key": ["", "short", "x" * 5000, "ä"],
            "Sec-WebSocket-Version": ["", "8", "99999999999", "13, 14", "-1"],
            "Sec-WebSocket-Protocol": [
                "mindwire.v1+msgpack",
                "x," * 500,
                "mindwire.v1+json, mindwire.v1+msgpack",
                ",",
                '"',
            ],
            "Sec-WebSocket-Extensions": [
                "permessage-deflate; client_max_window_bits=99",
                "x;" * 200,
                ";;;",
                "permessage-deflate",
            ],
            "Origin": ["null", "https://evil.example", "http://[", "http://127.0.0.1"],
            "Content-Length": ["5", "-1", "99999999999999999999"],
            "Transfer-Encoding": ["chunked", "gzip"],
            "Authorization": ["Bearer x", "Bearer", "\x00"],
            "X": ["y" * 20_000, "\x01\x02"],
        }
        for _ in range(pick.choice([0, 0, 0, 1, 1, 2, 4])):
            name = pick.choice(list(odd))
            headers[name] = pick.choice(odd[name])
        if pick.random() < 0.05:
            del headers[pick.choice(list(headers))]
        method = "GET" if pick.random() < 0.95 else pick.choice(["POST", "HEAD", "get", "\x80"])
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        text = (
            f"{method} {path} HTTP/{'1.1' if pick.random() < 0.97 else pick.choice(['1.0', '2', '9.9'])}\r\n{head}\r\n"
        )
        return text.encode("latin-1", errors="replace")

    def _frame(self) -> bytes:
        pick = self._random
        opcode = pick.choice([0, 1, 1, 2, 8, 9, 10, pick.randrange(16)])
        fin = 0x80 if pick.random() < 0.8 else 0
        reserved = pick.choice([0, 0, 0, 0, 0x40, 0x20, 0x10])
        size = pick.choice([0, 1, 2, 5, 124, 125, 126, 127, 600, 4096, 4097, 65535, 65536])
        payload = pick.choice([b"x" * size, pick.randbytes(size), "ä€😀".encode() * (size // 9 + 1)])
        if opcode == 8 and pick.random() < 0.8:
            payload = struct.pack("!H", pick.choice([1000, 1001, 1005, 999, 1015, 3000, 65535])) + payload[:100]
        stated = len(payload) if pick.random() < 0.9 else pick.choice([0, 10, 1 << 16, 1 << 40, (1 << 64) - 1])
        masked = 0x80 if pick.random() < 0.9 else 0
        if stated < 126:
            head = struct.pack("!BB", fin | reserved | opcode, masked | stated)
        elif stated < 1 << 16:
            head = struct.pack("!BBH", fin | reserved | opcode, masked | 126, stated)
        else:
            head = struct.pack("!BBQ", fin | reserved | opcode, masked | 127, stated)
        if not masked:
            return head + payload
        mask = pick.randbytes(4)
        key = int.from_bytes(mask * (len(payload) // 4 + 1))
        n = len(mask) * (len(payload) // 4 + 1)
        return head + mask + (int.from_bytes(payload.ljust(n, b"\0")) ^ key).to_bytes(n)[: len(payload)]

    async def _misbehave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pick = self._random
        way = pick.choice(["frames", "frames", "frames", "garbage", "flood", "deaf", "listen", "vanish"])
        if way == "flood":
            one = self._frame()
            for _ in range(2000):
                writer.write(one)
                await writer.drain()
        elif way == "garbage":
            await self._send(writer, pick.randbytes(pick.choice([1, 10, 1000, 100_000])))
        elif way == "deaf":
            await asyncio.sleep(pick.uniform(0, 8))
        elif way == "frames":
            for _ in range(pick.randint(1, 15)):
                self.frames += 1
                await self._send(writer, self._frame())
                await asyncio.sleep(pick.choice([0, 0, 0.1]))
        if way != "vanish":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pick.uniform(0, 1.5)):
                    while await reader.read(65536):
                        pass


def fuzz(seconds: float, workers: int, seed: int, clients: int = 6) -> tuple[dict, list[str]]:
    """Fuzz a service; returns the figures and what went wrong."""
    with tempfile.TemporaryDirectory(prefix="mindwire-fuzz-") as name, fuzzed_service(Path(name), workers) as service:
        bystander = Bystander(service.address)
        memory = []
        fuzzer = Fuzzer(service.address, seed)
        for share in (1 / 3, 2 / 3):
            asyncio.run(fuzzer.run(seconds * share, clients))
            memory.append(service.memory())
        answers = dict(sorted(fuzzer.answers.items()))
        figures, problems = verdict(
            service, bystander, memory, seconds=seconds, workers=workers, answers=answers, frames=fuzzer.frames
        )
        bystander.close()
    wrong = [status for status in answers if status.startswith("5") and status != "503"]
    return figures, [*problems, *(f"a handshake was answered with {status}" for status in wrong)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    figures, problems = fuzz(**vars(parser.parse_args()))
    print(json.dumps(figures))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
