"""Limits of the web server: connections, time for a request, requests and frames of a client.

All of one server's connections share a :class:`Connections`, which knows those that can be closed without harm:
connections that wait for a request, and websockets that were refused.
"""

from __future__ import annotations

import ipaddress
import resource
from collections import Counter, OrderedDict
from http import HTTPStatus
from typing import Final, Protocol

from uvicorn.server import ServerState

# Time of a client for a whole request, and to take the response.
REQUEST_S: Final = 10.0
HANDSHAKE_S: Final = 10.0  # of TLS
RESPONSE_S: Final = 30.0
# Seconds until a connection that has been answered or refused is cut, read or not.
CLOSE_S: Final = 2.0
MAX_BODY_BYTES: Final = 64 * 1024
# Of an uploaded model, and the time for it.
MAX_UPLOAD_BYTES: Final = 256 * 1024 * 1024
UPLOAD_S: Final = 300.0
_UPLOAD = ("POST", "/v1/models")
# Requests of one address, and those of them without the token that they need.
REQUESTS_PER_SECOND: Final = 200.0
REQUEST_BURST: Final = 1000.0
FAILURES_PER_SECOND: Final = 1.0
FAILURE_BURST: Final = 60.0
# Frames of any kind that a websocket client may send.
FRAMES_PER_SECOND: Final = 5.0
FRAME_BURST: Final = 20.0
# Connections that may wait to be accepted; they arrive in one go, before any of them can be refused.
BACKLOG: Final = 128
MAX_CONNECTIONS: Final = 4096
_MIN_CONNECTIONS: Final = 16
_WEBSOCKETS: Final = 0.75
# Share of the connections that one address may have. Loopback is exempt: behind a reverse proxy all clients have it.
_ONE_CLIENT: Final = 0.5
_KNOWN_CLIENTS: Final = 4096


def is_upload(method: str, path: str) -> bool:
    """Return true for the one request that may be large and take its time."""
    return (method, path) == _UPLOAD


def max_body_bytes(method: str, path: str) -> int:
    """Return the size that a request's body may have."""
    return MAX_UPLOAD_BYTES if is_upload(method, path) else MAX_BODY_BYTES


def max_connections() -> int:
    """Return the number of connections that the descriptor limit allows; LSL, recordings and the backlog keep over half."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(_MIN_CONNECTIONS, min(MAX_CONNECTIONS, (soft - BACKLOG) // 2))


def is_loopback(host: str) -> bool:
    """Return true if a host name or address means this machine only."""
    if host.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Abortable(Protocol):
    """Transport, or what else ends a connection at once."""

    def abort(self) -> None:
        """End it."""


class Connections:
    """The connections of one server that are counted, and those that may be closed to make room."""

    def __init__(self) -> None:
        self._n = 0
        self._of: Counter[str] = Counter()  # by client
        self.websockets = 0  # accepted or refused, until they end
        self._refused: dict[Abortable, None] = {}
        self._waiting: dict[Abortable, None] = {}

    @classmethod
    def of(cls, server: ServerState) -> Connections:
        """Return those of a server."""
        found: Connections = vars(server).setdefault("mindwire_connections", cls())
        return found

    def enter(self, client: str) -> HTTPStatus | None:
        """Count a connection; returns the status with which it is refused, None if it may stay. It leaves in any case."""
        self._n += 1
        self._of[client_key(client)] += 1
        exempt = not client or is_loopback(client)  # a worker's gateway, a reverse proxy
        if not exempt and self._of[client_key(client)] > _ONE_CLIENT * max_connections():
            return HTTPStatus.TOO_MANY_REQUESTS
        if self._n > max_connections() and not self.make_room(for_websocket=False):
            return HTTPStatus.SERVICE_UNAVAILABLE
        return None

    def leave(self, client: str) -> None:
        """Count a connection no more."""
        self._n -= 1
        self._of[client_key(client)] -= 1
        if not self._of[client_key(client)]:
            del self._of[client_key(client)]

    def waits(self, transport: Abortable) -> None:
        """Note a connection whose client has not sent its request yet."""
        self._waiting.pop(transport, None)
        self._waiting[transport] = None

    def refused(self, transport: Abortable) -> None:
        """Note a websocket that only waits for its client to close it."""
        self._refused[transport] = None

    def keep(self, transport: Abortable) -> None:
        """Note that a connection is in use, or has ended."""
        self._waiting.pop(transport, None)
        self._refused.pop(transport, None)

    def make_room(self, *, for_websocket: bool) -> bool:
        """Cut the oldest connection that may be closed; returns False when there is none."""
        for group in (self._refused,) if for_websocket else (self._refused, self._waiting):
            if group:
                transport = next(iter(group))
                del group[transport]
                transport.abort()
                return True
        return False

    def websocket_allowed(self) -> bool:
        """Return true if one more websocket may be accepted; a part of the connections is kept for requests."""
        return self.websockets < _WEBSOCKETS * max_connections() or self.make_room(for_websocket=True)


class Allowance:
    """A number that refills with time, in seconds of a monotonic clock: by default frames."""

    def __init__(self, now: float, rate: float = FRAMES_PER_SECOND, burst: float = FRAME_BURST) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, n: int, now: float) -> bool:
        """Take ``n`` if there are as many; return true if there were."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < n:
            return False
        self._left -= n
        return True


class ClientAllowances:
    """An allowance of each client that was seen lately, by address; the addresses of one IPv6 network are one client."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._known: OrderedDict[str, Allowance] = OrderedDict()

    def take(self, client: str, now: float) -> bool:
        """Take one; return true if there was one."""
        key = client_key(client)
        if key not in self._known and len(self._known) >= _KNOWN_CLIENTS:
            self._known.popitem(last=False)
        found = self._known.setdefault(key, Allowance(now, self._rate, self._burst))
        self._known.move_to_end(key)
        return found.take(1, now)


def client_key(client: str) -> str:
    """Return what one client cannot change of its address: all of it, or the first half of IPv6."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return client
    return str(address.ipv4_mapped or address.packed[:8].hex())
