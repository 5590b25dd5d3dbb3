"""Address at which a worker is reached, and requests to it; how the worker was started does not matter here."""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from typing import Any, NamedTuple

import h11
import msgspec
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.typing import Subprotocol


class Address(msgspec.Struct, frozen=True):
    """Address of a worker: a Unix socket, or a TCP port that asks for a token.

    The worker's own access rules apply, not those of the gateway's clients.
    """

    path: str = ""  # of the Unix socket; empty for TCP
    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    certificate: str = ""  # PEM; with it the worker speaks TLS, and none but this one is accepted

    @property
    def access(self) -> dict[str, str]:
        """Headers with the token."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    async def websocket(self, path: str, subprotocol: str) -> ClientConnection:
        """Open a websocket; raises OSError or InvalidHandshake.

        Few messages wait on this side, because the worker drops messages for its slow clients.
        """
        options: dict[str, Any] = {"compression": None, "ping_interval": None, "max_queue": 1, "open_timeout": None}
        options |= {"additional_headers": self.access, "subprotocols": [Subprotocol(subprotocol)]}
        if self.path:
            return await unix_connect(self.path, f"ws://localhost{path}", **options)
        scheme, tls = ("wss", _trusting(self.certificate)) if self.certificate else ("ws", None)
        return await connect(f"{scheme}://{host_in_url(self.host)}:{self.port}{path}", proxy=None, ssl=tls, **options)


@lru_cache(64)
def _trusting(certificate: str) -> ssl.SSLContext:
    """Return the context of a client that accepts one certificate, whatever host has it."""
    context = ssl.create_default_context(cadata=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an authority's certificate is not needed
    context.check_hostname = False
    return context


def host_in_url(host: str) -> str:
    """Return a host or IP address as a URL has it."""
    return f"[{host}]" if ":" in host else host


class Answer(NamedTuple):
    """Response of a worker."""

    status: int
    content_type: str
    body: bytes


async def request(
    address: Address, target: str, *, method: str = "GET", body: bytes = b"", content_type: str = ""
) -> Answer:
    """Send a request and read the whole response; raises OSError if the worker is not reached or ends meanwhile."""
    headers = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body)), **address.access}
    if content_type:
        headers["Content-Type"] = content_type
    http = h11.Connection(h11.CLIENT)
    head = h11.Request(
        method=method, target=target, headers=[(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
    )
    if address.path:
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        tls = _trusting(address.certificate) if address.certificate else None
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls)
    try:
        writer.write(b"".join(http.send(event) or b"" for event in (head, h11.Data(data=body), h11.EndOfMessage())))
        http.receive_data(await reader.read())
        http.receive_data(b"")
        response, parts = http.next_event(), []
        while isinstance(event := http.next_event(), h11.Data):
            parts.append(bytes(event.data))
    except h11.ProtocolError as error:
        msg = "The worker ended before it had answered."
        raise ConnectionResetError(msg) from error
    finally:
        writer.transport.abort()  # all is read; over TLS a polite end would wait for an answer
    assert isinstance(response, h11.Response)  # noqa: S101 - anything else is an error of the protocol
    kind = dict(response.headers).get(b"content-type", b"application/octet-stream")
    return Answer(response.status_code, kind.decode("latin-1"), b"".join(parts))
