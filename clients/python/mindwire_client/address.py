"""Addresses of a service's websockets and of its REST interface."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, quote, unquote, urlsplit

_SCHEMES = {"ws": False, "http": False, "wss": True, "https": True}


@dataclass(frozen=True)
class Address:
    """Address of a service, the stream that it named, and the token that it carried."""

    place: str  # host, port, and the prefix of a reverse proxy
    encrypted: bool
    stream: str | None = None
    token: str | None = None

    def websocket(self, path: str) -> str:
        """Return the address of a websocket."""
        return f"{'wss' if self.encrypted else 'ws'}://{self.place}{path}"

    def rest(self, path: str) -> str:
        """Return the address of a request."""
        return f"{'https' if self.encrypted else 'http'}://{self.place}{path}"


def stream_path(stream: str, rest: str = "") -> str:
    """Return the path of a stream, or of a part of it."""
    return f"/v1/streams/{quote(stream, safe='')}{rest}"


def parse_address(url: str) -> Address:
    """Return the address that a user gave: ``ws://HOST:PORT/ws``, one of a stream's predictions, or ``HOST:PORT``.

    Raises
    ------
    ValueError
        It is no such address.
    """
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    if parts.scheme not in _SCHEMES or not parts.hostname:
        msg = f"Expected an address such as ws://127.0.0.1:8000/ws, found {url!r}; give host and port of the service."
        raise ValueError(msg)
    path, stream = parts.path.rstrip("/"), None
    if path.endswith("/predictions") and "/v1/streams/" in path:
        path, _, name = path.removesuffix("/predictions").rpartition("/v1/streams/")
        stream = unquote(name)
    elif path.endswith("/ws"):
        path = path.removesuffix("/ws")
    token = parse_qs(parts.query).get("token", [None])[0]
    return Address(parts.netloc + path, _SCHEMES[parts.scheme], stream, token)
