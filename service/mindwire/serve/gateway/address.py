"""Address at which a worker is reached, and requests to it; how the worker was started does not matter here."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import h11
import msgspec
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.typing import Subprotocol


class Address(msgspec.Struct, frozen=True):
    """Address of a worker: a Unix socket, or a TCP port that asks for a token.

    Parameters
    ----------
    path : str
        Path of the Unix socket; empty for TCP.
    host : str
    port : int
    token : str or None
    """

    path: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of every request: the worker's own access rules apply, not those of the gateway's clients."""
        named = [(b"host", b"localhost")]
        return named if self.token is None else [*named, (b"authorization", f"Bearer {self.token}".encode())]

    async def websocket(self, path: str, subprotocol: Subprotocol) -> ClientConnection:
        """Open a websocket; raises OSError or InvalidHandshake.

        Few messages wait on this side, because the worker drops messages for its slow clients.
        """
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        options: dict[str, Any] = {"additional_headers": headers, "compression": None, "ping_interval": None}
        options |= {"max_queue": 1, "open_timeout": None}
        if self.path:
            return await unix_connect(self.path, f"ws://localhost{path}", subprotocols=[subprotocol], **options)
        return await connect(f"ws://{self.host}:{self.port}{path}", subprotocols=[subprotocol], proxy=None, **options)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection as two streams; raises OSError."""
        if self.path:
            return await asyncio.open_unix_connection(self.path)
        return await asyncio.open_connection(self.host, self.port)


class Answer(NamedTuple):
    """Response of a worker."""

    status: int
    content_type: str
    body: bytes


async def request(
    address: Address, target: str, *, method: str = "GET", body: bytes = b"", content_type: str = ""
) -> Answer:
    """Send a request and read the whole response.

    Raises
    ------
    OSError
        The worker cannot be reached, or ended before it had answered.
    """
    headers = [*address.headers, (b"connection", b"close"), (b"content-length", str(len(body)).encode())]
    if content_type:
        headers.append((b"content-type", content_type.encode("latin-1")))
    http = h11.Connection(h11.CLIENT)
    reader, writer = await address.open()
    try:
        sent = [h11.Request(method=method, target=target, headers=headers), h11.Data(data=body), h11.EndOfMessage()]
        writer.write(b"".join(http.send(event) or b"" for event in sent))
        http.receive_data(await reader.read())
        http.receive_data(b"")
        response, parts = http.next_event(), []
        while isinstance(event := http.next_event(), h11.Data):
            parts.append(bytes(event.data))
    except h11.ProtocolError as error:
        msg = "The worker ended in the middle of its answer."
        raise ConnectionResetError(msg) from error
    finally:
        writer.close()
    if not isinstance(response, h11.Response) or not isinstance(event, h11.EndOfMessage):
        msg = "The worker ended before it had answered."
        raise ConnectionResetError(msg)
    kinds = [value.decode("latin-1") for name, value in response.headers if name == b"content-type"]
    return Answer(response.status_code, kinds[0] if kinds else "application/octet-stream", b"".join(parts))
