"""HTTPS: certificates read and read again, clients who handshake badly, and the limits over TLS."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from mindwire.api import limits, tls
from mindwire.api.tls import Certificate
from mindwire.errors import UsageError
from tests.support.certificates import make_certificate, trusting
from tests.support.protocol import connect
from tests.support.raw_websocket import UPGRADE, dial
from tests.support.standin import StandIn, served
from tests.support.streaming import eventually


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def stream():
    one = StandIn(rate=50.0)
    one.start()
    yield one
    one.stop()


@pytest.fixture
def address(stream, files):
    with served(stream, certificate=Certificate(*files)) as where:
        yield where


def secured(address, files, data=b""):
    sock = trusting(files[0]).wrap_socket(dial(address), server_hostname="127.0.0.1")
    sock.sendall(data)
    return sock


def test_rest_and_websocket_are_served_over_tls_with_all_headers(address, files):
    with httpx.Client(base_url=f"https://{address}", verify=trusting(files[0])) as http:
        for path in ("/", "/docs", "/v1/streams", "/static/page.css", "/v1/nowhere"):
            headers = http.get(path).headers
            assert headers["strict-transport-security"] == "max-age=86400"
            assert "default-src 'none'" in headers["content-security-policy"]
        freeze = http.post("/v1/streams/eeg/adaptation", json={"action": "freeze"})
        assert freeze.status_code == 202
        large = http.put(
            "/v1/streams/eeg/control", content=b"x" * 300_000, headers={"Content-Type": "application/json"}
        )
        assert large.status_code == 413
    with connect(f"wss://{address}/ws", ssl=trusting(files[0])) as websocket:
        seqs = [m["seq"] for m in (json.loads(websocket.recv(5)) for _ in range(60)) if m["type"] == "prediction"]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        with contextlib.suppress(ConnectionClosed):
            for _ in range(1000):
                websocket.send("hello?")
        with contextlib.suppress(ConnectionClosed):
            while True:
                websocket.recv(5)
        assert websocket.close_code == 1008


def test_without_tls_there_is_no_strict_transport_security():
    with served(StandIn()) as where:
        assert "strict-transport-security" not in httpx.get(f"http://{where}/").headers


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_old_versions_are_refused(address, files, version):
    context = trusting(files[0])
    context.minimum_version = context.maximum_version = version
    assert httpx.get(f"https://{address}/health/live", verify=context).status_code == 200
    old = trusting(files[0])
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with dial(address) as sock, pytest.raises((ssl.SSLError, ConnectionError)):
        old.wrap_socket(sock, server_hostname="127.0.0.1")


def test_what_is_no_tls_is_dropped_and_nothing_is_logged(address, files, caplog):
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 500, b"\0" * 70_000, b""):
        with dial(address) as sock, contextlib.suppress(OSError):
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
    assert httpx.get(f"https://{address}/health/live", verify=trusting(files[0])).status_code == 200
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_clients_who_do_not_handshake_are_cut_and_make_room(monkeypatch, stream, files):
    monkeypatch.setattr(limits, "max_connections", lambda: 16)
    monkeypatch.setattr(tls, "HANDSHAKE_S", 1.0)
    with served(stream, certificate=Certificate(*files)) as where:
        silent = [dial(where) for _ in range(40)]
        assert httpx.get(f"https://{where}/health/live", verify=trusting(files[0])).status_code == 200
        for sock in silent:
            with sock, contextlib.suppress(ConnectionError):
                assert sock.recv(1) == b""  # within the time of dial
        with contextlib.ExitStack() as stack:  # the places are free again
            for _ in range(12):
                sock = stack.enter_context(secured(where, files, UPGRADE))
                assert sock.recv(12) == b"HTTP/1.1 101"


def test_a_client_that_reads_nothing_waits_behind_few_messages(files):
    """What a stalled client finds when it reads again is fresh, and it is told what it missed."""
    stream = StandIn(rate=400.0)
    stream.start()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with (
        served(stream, certificate=Certificate(*files)) as where,
        trusting(files[0]).wrap_socket(raw, server_hostname="127.0.0.1") as sock,
    ):
        host, _, port = where.partition(":")
        sock.connect((host, int(port)))
        sock.sendall(UPGRADE)
        eventually(lambda: stream.hub.dropped > 100, 30)
        received = b""
        while b'"kind":"dropped"' not in received:
            received += sock.recv(65536)
        assert len(received) < 300_000  # else the kernel and the transport held minutes
    stream.stop()


def test_the_certificate_is_read_again_and_a_wrong_one_changes_nothing(stream, tmp_path, caplog):
    one, other = make_certificate(tmp_path, "one"), make_certificate(tmp_path, "other")
    used = tmp_path / "used.crt", tmp_path / "used.key"
    for source, target in zip(one, used, strict=True):
        shutil.copy(source, target)
    certificate = Certificate(*used)
    with (
        served(stream, certificate=certificate) as where,
        connect(f"wss://{where}/ws", ssl=trusting(one[0])) as websocket,
    ):
        shutil.copy(other[0], used[0])  # and not the key
        certificate.reload()
        assert httpx.get(f"https://{where}/", verify=trusting(one[0])).status_code == 200
        assert caplog.records[-1].getMessage().endswith("stays in use.")
        shutil.copy(other[1], used[1])
        certificate.reload()
        assert httpx.get(f"https://{where}/", verify=trusting(other[0])).status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://{where}/", verify=trusting(one[0]))
        assert websocket.recv(5)  # goes on


def test_files_that_are_no_certificate_and_key_are_refused_in_a_sentence(files, tmp_path):
    certificate, key = files
    other, other_key = make_certificate(tmp_path, "other")
    sealed = tmp_path / "sealed.key"
    subprocess.run(
        ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", sealed],
        check=True,
        capture_output=True,
    )
    text = tmp_path / "text"
    text.write_text("hello")
    for pair, sentence in [
        ((tmp_path / "none", key), "cannot be read"),
        ((certificate, tmp_path / "none"), "after --tls-key"),
        ((certificate, tmp_path), "cannot be read"),
        ((certificate, other_key), "is not that of the certificate"),
        ((text, key), "PEM"),
        ((certificate, text), "PEM"),
        ((other, sealed), "is encrypted"),
    ]:
        with pytest.raises(UsageError, match=sentence) as refused:
            Certificate(*pair)
        assert "\n" not in str(refused.value)
