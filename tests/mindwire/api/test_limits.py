"""Strangers who flood, trickle, or open too much: real sockets, and a bystander who must not notice."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import resource
import socket
import time

import psutil
import pytest

from mindwire.api import limits, requests
from mindwire.api.limits import Allowance, max_connections
from tests.support.protocol import connect
from tests.support.raw_websocket import FLOODS, MASK, UPGRADE, dial, flood, upgraded
from tests.support.standin import StandIn, served
from tests.support.streaming import eventually

HEAD = b"POST /v1/streams/eeg/adaptation HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(spawn_for_module):
    return spawn_for_module("standin.py", "--rate", "20")


@pytest.fixture(scope="module")
def address(server, spawn_for_module):
    """A server's address, with a bystander who must not miss a message."""
    where = server.line()
    client = spawn_for_module("client.py", f"ws://{where}/ws")
    assert client.line() == "connected"
    yield where
    report = client.finish()
    assert report["missing"] == 0
    assert report["dropped"] == []
    assert report["closed"] is None


def read_all(sock):
    received = b""
    try:
        while data := sock.recv(65536):
            received += data
    except ConnectionError:
        pass
    return received


def live(address):
    """The status of a new client's request."""
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", "/health/live")
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("kind", FLOODS)
def test_floods_of_frames_end_the_connection(address, server, kind):
    memory = psutil.Process(server.pid).memory_info
    before = memory().rss
    with upgraded(address) as sock:
        assert flood(sock, kind)
    assert memory().rss - before < 8 * 2**20
    assert live(address) == 200


def test_the_goodbye_to_a_flood_says_why(address):
    with upgraded(address) as sock:
        sock.sendall(FLOODS["continuations"][0] + FLOODS["continuations"][1] * 100)
        assert b"Clients may send at most 5 frames per second." in read_all(sock)


def test_a_client_that_was_refused_cannot_flood():
    with served(StandIn(), token="0123456789") as where:
        for kind in ("continuations", "texts"):
            with upgraded(where) as sock:
                assert flood(sock, kind)


def faults(caplog):
    """What was logged as an error of the service."""
    unexpected = [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]
    return [record for record in unexpected if record.name != "mindwire.audit"]


@pytest.mark.parametrize(
    "part",
    [b"", b"GET /v1/streams HTT", b"GET /v1/streams HTTP/1.1\r\nX-a: b\r\n", HEAD + b"Content-Length: 9999\r\n\r\n{"],
    ids=["silent", "half a line", "half a head", "half a body"],
)
def test_unfinished_requests_are_ended(monkeypatch, part):
    monkeypatch.setattr(requests, "REQUEST_S", 0.5)
    with served(StandIn()) as where, dial(where, part) as sock:
        assert read_all(sock) == b""


def test_a_response_that_nobody_takes_is_ended(monkeypatch):
    monkeypatch.setattr(requests, "RESPONSE_S", 0.5)
    streams = [StandIn(f"{k:02}-{'x' * 40}") for k in range(60)]  # a response that no buffer holds
    with served(*streams) as where, dial(where) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.sendall(b"GET /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 40)
        time.sleep(1.5)  # the limit, and as long again
        assert read_all(sock).count(b"HTTP/1.1 200") < 40


def test_a_connection_is_used_again(address):
    connection = http.client.HTTPConnection(address, timeout=20)
    for _ in range(3):
        connection.request(
            "POST", "/v1/streams/eeg/adaptation", '{"action": "freeze"}', {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        assert response.status == 202
        assert json.loads(response.read())["action"] == "freeze"
    connection.close()


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(limits, "max_connections", lambda: 16)


def test_silent_connections_make_room(few):
    with served(StandIn()) as where:
        silent = [dial(where) for _ in range(60)]
        assert live(where) == 200
        assert sum(read_some(sock) == b"" for sock in silent) >= 44
        for sock in silent:
            sock.close()


def read_some(sock):
    sock.settimeout(0.01)
    try:
        return sock.recv(1000)
    except TimeoutError:
        return None
    except ConnectionError:
        return b""


def test_one_address_has_half_of_the_connections(few, monkeypatch):
    monkeypatch.setattr(limits, "is_loopback", lambda _: False)
    with served(StandIn()) as where, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(upgraded(where)) for _ in range(8)]
        with dial(where) as sock:
            refused = read_all(sock)
        assert refused.startswith(b"HTTP/1.1 429 Too Many Requests")
        assert b"retry-after: 1" in refused
        clients.pop().close()
        eventually(lambda: live(where) == 200)


def test_websockets_leave_connections_for_requests(few):
    with served(StandIn()) as where:
        clients = [upgraded(where) for _ in range(12)]
        with dial(where, UPGRADE) as sock:
            assert read_all(sock).startswith(b"HTTP/1.1 503")
        assert live(where) == 200
        for sock in clients:
            sock.close()


def test_refused_websockets_make_room(few):
    with served(StandIn(), token="0123456789") as where:
        refused = [upgraded(where) for _ in range(30)]
        with connect(f"ws://{where}/ws?token=0123456789") as websocket:
            assert "hello" in websocket.recv(timeout=20)
        assert live(where) == 200
        for sock in refused:
            sock.close()


@pytest.mark.parametrize(("soft", "expected"), [(64, 16), (256, 64), (1024, 448), (10**6, 4096)])
def test_the_descriptor_limit_leaves_most_to_others(monkeypatch, soft, expected):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert max_connections() == expected


def test_frames_are_allowed_again_with_time():
    allowance = Allowance(100.0)
    assert allowance.take(20, 100.0)
    assert not allowance.take(1, 100.0)
    assert allowance.take(3, 101.0)
    assert allowance.take(20, 200.0)


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"Content-Length: 200000000\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"8000\r\n" + b"x" * 32768 + b"\r\n") * 3,
        b"GET /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 70000\r\n\r\n",
    ],
    ids=["announced", "chunked", "of a GET"],
)
def test_large_bodies_are_refused(address, request_):
    with dial(address, request_) as sock:
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"Expected a request body of at most 64 KiB, found a larger one." in answer
    assert b"xxxx" not in answer


def test_a_large_body_that_is_sent_all_the_same_is_read_by_nobody(address, server):
    memory = psutil.Process(server.pid).memory_info
    before = memory().rss
    with dial(address, HEAD + b"Content-Length: 50000000\r\n\r\n") as sock:
        with contextlib.suppress(OSError):
            sock.sendall(b"a" * 50_000_000)
        assert read_all(sock).startswith(b"HTTP/1.1 413")
    assert memory().rss - before < 8 * 2**20


@pytest.mark.parametrize(
    ("garbage", "start"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 4"),
        (
            UPGRADE.replace(b"\r\n\r\n", b"\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n"),
            b"HTTP/1.1 431",
        ),
        (UPGRADE.replace(b"Version: 13", b"Version: 12"), b"HTTP/1.1 400"),
    ],
    ids=["TLS", "long head", "many headers", "old websocket"],
)
def test_garbage_is_no_traceback(caplog, garbage, start):
    with caplog.at_level(logging.DEBUG), served(StandIn()) as where:
        with dial(where, garbage) as sock:
            assert read_all(sock).startswith(start)
        for frame in (
            b"\x81\x82" + MASK + b"\xff\xfe",
            b"\x01\x81" + MASK + b"\xff" + b"\x80\x81" + MASK + b"\xff",
            b"\xff" * 9,
        ):
            with upgraded(where) as sock:
                sock.sendall(frame)
                read_all(sock)
        with dial(where, b"GET /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n\xff\xff\r\n\r\n") as sock:
            read_all(sock)
    assert [record.getMessage() for record in faults(caplog)] == []


ODD_REQUESTS = [
    b"GET /static/%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /static/" + b"a" * 3000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /v1/streams/%ed%a0%80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /v1/streams/%1b%5b31m%0a/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /v1/streams?token=%ff%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET //[/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: [::1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://[\r\nAccess-Control-Request-Method: POST\r\n\r\n",
    b"OPTIONS /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://[\r\nAccess-Control-Request-Method: \xff\r\n\r\n",
    b"FOO / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\n\r\n",
    b"GET /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5, 5\r\n\r\nhello",
    b"GET /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"GET /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"GET /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
    b"GET /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"GET /static/page.css HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=9-1,x\r\nIf-Modified-Since: \xff\r\n\r\n",
    HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    HEAD.replace(b"application/json", b"application/json; charset=\xff") + b"Content-Length: 2\r\n\r\n{}",
    HEAD.replace(b"application/json", b"multipart/form-data") + b"Content-Length: 2\r\n\r\n{}",
    UPGRADE.replace(b"/ws", b"/v1/streams/%1b%0a%ed%a0%80/predictions"),
    UPGRADE.replace(b"/ws", b"/ws?\xff"),
    UPGRADE.replace(b"/ws", b"/none"),
    UPGRADE.replace(b"127.0.0.1", b"[::1"),
    UPGRADE.replace(b"Host:", b"Origin: http://[\r\nHost:"),
    UPGRADE.replace(b"Host:", b"Sec-WebSocket-Protocol: \xff,,\r\nHost:"),
    UPGRADE.replace(b"GET", b"POST"),
    UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"),
]


@pytest.mark.parametrize(
    "access", [{}, {"token": "0123456789", "allowed_origins": ["http://["]}], ids=["open", "token"]
)
def test_odd_requests_are_no_errors_of_the_service(caplog, access):
    with caplog.at_level(logging.DEBUG), served(StandIn(), **access) as where:
        for request in ODD_REQUESTS:
            with dial(where, request) as sock:
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(5)
                answer = sock.recv(65536)
                assert answer == b"" or answer.startswith((b"HTTP/1.1 1", b"HTTP/1.1 2", b"HTTP/1.1 4")), (
                    request,
                    answer,
                )
                if b"application/json" in answer:
                    assert answer.partition(b"\r\n\r\n")[2].decode().isprintable()
        assert live(where) == 200
    assert [r.getMessage() + str(r.exc_info) for r in faults(caplog)] == []
