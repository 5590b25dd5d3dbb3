"""The listening socket and the server's settings, chosen so that a slow client costs nothing.

Kernel buffers hide minutes of stale messages from a bounded queue; they are made small here. A client that
takes nothing for :data:`STALL_LIMIT_S` is cut off, because what it holds could otherwise be held for ever.
"""

from __future__ import annotations

import errno
import socket
import sys
from functools import partial
from typing import Any

from mindwire.api.limits import BACKLOG
from mindwire.api.protocol import SEND_BUFFER_BYTES, LimitedWebsocket
from mindwire.api.requests import RequestProtocol
from mindwire.api.tls import Certificate, TlsProtocol
from mindwire.errors import ServiceError

STALL_LIMIT_S = 120.0
MAX_INPUT_BYTES = 4096

# Of everything the browser loads: nothing from elsewhere, no framing, no stale copies.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",  # with it a page may read exact times
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_IN_USE = "Port {port} on {host} is already in use; stop the program that uses it or give another with --port."
_NO_RIGHT = "Port {port} on {host} needs more rights than this user has; give one above 1023 with --port."
_REASONS = {
    errno.EADDRINUSE: _IN_USE,
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EADDRNOTAVAIL: "This machine has no address {host}; give one it has with --host, 127.0.0.1 for example.",
}
_OTHER_REASON = "Cannot listen on {host}:{port} ({why}); give another address with --host or --port."

# For uvicorn.Config(app, **SERVER_SETTINGS). Logs stay quiet: an access log would write tokens of the query, and
# strangers could fill a disk with a warning per bad request.
SERVER_SETTINGS: dict[str, Any] = {
    "http": RequestProtocol,
    "ws": LimitedWebsocket,
    "ws_max_size": MAX_INPUT_BYTES,
    "ws_per_message_deflate": False,
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": STALL_LIMIT_S,
    "backlog": BACKLOG,
    "access_log": False,
    "log_config": None,
    "log_level": "error",
    "server_header": False,
    "headers": list(_HEADERS.items()),
    "timeout_graceful_shutdown": 2,
}


def server_settings(certificate: Certificate | None) -> dict[str, Any]:
    """Return the settings of the server, which speaks HTTPS if there is a certificate."""
    if certificate is None:
        return SERVER_SETTINGS
    headers = [*_HEADERS.items(), ("Strict-Transport-Security", "max-age=86400")]
    return {**SERVER_SETTINGS, "http": partial(TlsProtocol, certificate), "headers": headers}


def bind_socket(host: str, port: int, stall_limit_s: float = STALL_LIMIT_S) -> socket.socket:
    """Open the socket that the service listens on, with a small send buffer that connections inherit.

    Port 0 takes any free one. On Linux the kernel ends a connection whose client takes no data for ``stall_limit_s``.

    Raises
    ------
    ServiceError
        The port is taken, impossible or not permitted, or the host is not one of this machine's.
    """
    if not 0 <= port <= 65535:  # getaddrinfo takes it modulo 65536
        msg = f"There is no port {port}; give one from 1 to 65535 with --port, or 0 for any free one."
        raise ServiceError(msg)
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        msg = f"Cannot listen on {host}:{port} because the address is not known ({error}); give another with --host."
        raise ServiceError(msg) from error
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if sys.platform == "linux":  # the kernel itself ends connections whose clients take no data
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall_limit_s * 1000))
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        reason = _REASONS.get(error.errno or 0, _OTHER_REASON)
        raise ServiceError(reason.format(host=host, port=port, why=error.strerror)) from error
    return sock
