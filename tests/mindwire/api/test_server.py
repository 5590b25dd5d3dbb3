"""The listening socket: what it inherits to connections, and what it says when it cannot be had."""

from __future__ import annotations

import socket

import pytest

from mindwire.api.limits import is_loopback
from mindwire.api.server import bind_socket
from mindwire.errors import ServiceError


def test_connections_inherit_a_small_send_buffer():
    with bind_socket("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        listening.settimeout(5)
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 4 * 16 * 1024


def test_port_in_use_is_one_sentence():
    with bind_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"^Port {port} on 127\.0\.0\.1 is already in use; .*--port\.$"):
            bind_socket("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid", "a..b"])
def test_hosts_that_are_not_ours(host):
    with pytest.raises(ServiceError, match="--host"):
        bind_socket(host, 0)


def test_an_impossible_port_is_refused():
    with pytest.raises(ServiceError, match="There is no port 70000"):
        bind_socket("127.0.0.1", 70000)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"])
def test_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "localhost.evil.example", ""])
def test_not_loopback(host):
    assert not is_loopback(host)
