"""Websocket clients written by hand, for frames that no library sends."""

from __future__ import annotations

import socket
import time

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


MASK = b"\x00\x00\x00\x00"


# A first frame, and what follows it without an end.
FLOODS = {
    "continuations": (b"\x01\x80" + MASK, b"\x00\x80" + MASK),
    "pings": (b"", b"\x89\xfd" + MASK + b"p" * 125),
    "pongs": (b"", b"\x8a\x80" + MASK),
    "texts": (b"", b"\x81\x80" + MASK),
    "closes": (b"", b"\x88\x82" + MASK + b"\x03\xe8"),
}


def dial(address, data=b"", timeout=20):
    host, port = address.split(":")
    sock = socket.create_connection((host, int(port)), timeout)
    sock.sendall(data)
    return sock


def upgraded(address, path="/ws"):
    sock = dial(address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.sendall(UPGRADE.replace(b"/ws", path.encode()))
    assert sock.recv(300).startswith(b"HTTP/1.1 101")
    return sock


def flood(sock, kind, seconds=30.0):
    """Send until the connection has ended; returns whether it has."""
    first, again = FLOODS[kind]
    deadline = time.monotonic() + seconds
    try:
        sock.sendall(first)
        while time.monotonic() < deadline:
            sock.sendall(again * 500)
    except OSError:
        return True
    return False
