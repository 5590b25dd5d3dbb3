"""A client that stops reading, vanishes or misbehaves harms nobody: separate processes, real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time

import psutil
import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed

from mindwire.api.server import SERVER_SETTINGS
from tests.support.protocol import connect
from tests.support.standin import StandIn, served

RATE = 200
STALL_S = float(os.environ.get("MINDWIRE_TEST_STALL_S", "8"))


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


@pytest.mark.timeout(max(120, 3 * STALL_S))
def test_client_that_stops_reading_changes_nothing_for_others(spawn):
    # the others may be late by 1.3 s without losing anything, however busy the machine that runs this
    server = spawn("standin.py", "--rate", str(RATE), "--capacity", "256")
    url = f"ws://{server.line()}/ws"
    healthy = [spawn("client.py", url) for _ in range(3)]
    stalled = spawn("client.py", url, "--receive-buffer", "65536")
    for client in (*healthy, stalled):
        assert client.line() == "connected"
    memory = psutil.Process(server.pid).memory_info
    time.sleep(1.0)  # the buffers that any client needs have been made

    os.kill(stalled.pid, signal.SIGSTOP)
    time.sleep(STALL_S / 2)  # its buffers and its queue are full by now
    early = memory().rss
    time.sleep(STALL_S / 2)
    late = memory().rss
    os.kill(stalled.pid, signal.SIGCONT)
    assert stalled.line() == "fresh"

    others = [client.finish() for client in healthy]
    report = stalled.finish()
    server.say("slowest")
    slowest = float(server.line())
    print(
        f"stall {STALL_S:g} s at {RATE}/s; memory {early / 2**20:.2f} → {late / 2**20:.2f} MiB; publish {slowest=:.6f}"
    )
    print("others:", *others, "stalled:", report, sep="\n  ")
    assert late - early < 3 * 2**20  # its queue fills to the bound meanwhile, and no further
    for other in others:
        assert other["missing"] == 0
        assert other["in_order"]
        assert other["dropped"] == []
        assert other["received"] >= RATE * STALL_S * 0.9
    assert report["closed"] is None
    assert report["in_order"]
    assert sum(report["dropped"]) == report["missing"] > 0
    assert report["last_age_ms"] < 1000.0  # back in the present


def test_vanished_clients_are_forgotten(spawn):
    server = spawn("standin.py")
    address = server.line()
    clients = [spawn("client.py", f"ws://{address}/ws") for _ in range(4)]
    for client in clients:
        assert client.line() == "connected"
    connections = psutil.Process(server.pid).net_connections

    def established():
        return sum(connection.status == psutil.CONN_ESTABLISHED for connection in connections())

    wait_until(lambda: established() == 4)
    for client in clients:
        os.kill(client.pid, signal.SIGKILL)
    wait_until(lambda: established() == 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own limit exists on Linux only")
def test_client_that_stalls_beyond_the_limit_is_cut_off(spawn):
    server = spawn("standin.py", "--rate", "1000", "--stall-limit", "2")
    client = spawn("client.py", f"ws://{server.line()}/ws")
    assert client.line() == "connected"
    connections = psutil.Process(server.pid).net_connections
    os.kill(client.pid, signal.SIGSTOP)
    wait_until(lambda: all(c.status != psutil.CONN_ESTABLISHED for c in connections()), 40)


@pytest.fixture(scope="module")
def other(spawn_for_module):
    """A server's address, and a bystander who must not notice what others do."""
    address = spawn_for_module("standin.py", "--rate", "10").line()
    client = spawn_for_module("client.py", f"ws://{address}/ws")
    assert client.line() == "connected"
    yield address
    report = client.finish()
    assert report["missing"] == 0
    assert report["received"] > 0
    assert report["closed"] is None


def read_to_the_end(websocket) -> int:
    with pytest.raises(ConnectionClosed) as caught:
        repeat(lambda: websocket.recv(timeout=5), 1000)
    return caught.value.rcvd.code


def repeat(function, times):
    for _ in range(times):
        function()


def test_flooding_client_is_closed(other):
    with connect(f"ws://{other}/ws") as websocket:
        with pytest.raises(ConnectionClosed):
            repeat(lambda: websocket.send("hello?"), 100_000)
        assert read_to_the_end(websocket) == 1008


def test_a_few_messages_are_ignored(other):
    with connect(f"ws://{other}/ws") as websocket:
        for text in ("ping", "{}", "", "\0\0"):
            websocket.send(text)
        for _ in range(10):
            websocket.recv(timeout=5)


def test_five_hundred_clients_at_once(other):
    async def client():
        async with connect_async(f"ws://{other}/ws", compression=None, open_timeout=60) as websocket:
            return [json.loads(await asyncio.wait_for(websocket.recv(), 60)) for _ in range(5)]

    async def all_of_them():
        return await asyncio.gather(*(client() for _ in range(500)))

    for hello, state, *predictions in asyncio.run(all_of_them()):
        assert hello["type"] == "hello"
        assert state["kind"] == "state"
        assert all(message["type"] == "prediction" or message["kind"] == "dropped" for message in predictions)


def test_oversize_message_is_closed(other):
    with connect(f"ws://{other}/ws") as websocket:
        websocket.send("x" * 5000)
        assert read_to_the_end(websocket) == 1009


def test_binary_message_is_closed(other):
    with connect(f"ws://{other}/ws") as websocket:
        websocket.send(b"\x00\xff")
        assert read_to_the_end(websocket) == 1003


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (b"\x8f\x80\x00\x00\x00\x00", 1002),
        (b"\x81\x82\x00\x00\x00\x00\xff\xfe", 1007),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
    ],
    ids=["reserved opcode", "not UTF-8", "no websocket at all"],
)
def test_garbage_is_closed(other, garbage, code):
    with connect(f"ws://{other}/ws") as websocket:
        websocket.socket.sendall(garbage)
        assert read_to_the_end(websocket) == code


def test_the_service_itself_lets_go_of_a_client_that_takes_nothing(monkeypatch):
    """Where the kernel has no such limit; the connection's own buffers are the kernel's business."""
    monkeypatch.setitem(SERVER_SETTINGS, "ws_ping_interval", 0.1)
    monkeypatch.setitem(SERVER_SETTINGS, "ws_ping_timeout", 0.5)
    stream = StandIn(rate=1000)
    request = (
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with served(stream) as address, socket.create_connection(address.split(":")) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(request.encode())
        wait_until(lambda: stream.hub.n_clients == 1)
        stream.start()
        wait_until(lambda: stream.hub.n_clients == 0, 30)
        assert stream.hub.dropped > 0
        stream.stop()
