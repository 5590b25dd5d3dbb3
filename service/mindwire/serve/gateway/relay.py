"""Relay between a websocket client of the gateway and the worker that has its stream.

After the upgrade the gateway passes bytes on; one message costs it a read and a write, some 15 µs. Only whole frames go
to the client, so that it can be sent frames of the gateway's own when the worker has ended, and can be connected to the
worker's successor.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import h11
from uvicorn.server import ServerState
from websockets.frames import Close, CloseCode, Frame, Opcode

from mindwire.api.limits import CLOSE_S, Connections
from mindwire.api.protocol import WRITE_BUFFER_BYTES
from mindwire.api.requests import RequestProtocol
from mindwire.serve.gateway.address import Address
from mindwire.sinks.messages import Encoding, Message

# A worker that ends a connection has itself ended, unless it still runs after this time.
_NOTICED_S = 1.0
_HEAD_END = b"\r\n\r\n"


def whole_frames(data: bytes, most: int | None = None) -> tuple[int, bool]:
    """Return the length of the whole frames at the beginning, and true if one of them closes the connection.

    Parameters
    ----------
    data : bytes
        Begins with a frame (RFC 6455, section 5.2), not masked.
    most : int or None
        Number of frames to look for; None for all.
    """
    at, found, closes = 0, 0, False
    while len(data) - at >= 2 and found != most:
        size, begin = data[at + 1] & 0x7F, at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, begin = int.from_bytes(data[begin : begin + width], "big"), begin + width
        if len(data) < begin + size:
            break
        closes |= data[at] & 0x0F == Opcode.CLOSE
        at, found = begin + size, found + 1
    return at, closes


class Relay(asyncio.Protocol):
    """Connection of one client, for as long as the client wants it.

    Parameters
    ----------
    stream : str
    head : bytes
        The client's request as the worker is to see it, without the headers that the worker's address asks for.
    events : bool
        True if the client is sent events, which viewers of the signal are not.
    state : ServerState
        The server's, which counts connections.
    ended : callable
        Called with the relay when the client has gone.
    """

    def __init__(
        self, stream: str, head: bytes, *, events: bool, state: ServerState, ended: Callable[[Relay], None]
    ) -> None:
        self.stream = stream
        self.head = head
        self.open = False
        self.client: asyncio.Transport
        self._encoding = Encoding.JSON
        self._events = events
        self._connections = state.connections
        self._counted = Connections.of(state)
        self._ended = ended
        self._worker: _WorkerSide | None = None
        self._paused = False
        self._tasks: set[asyncio.Task[None]] = set()

    # ── the client's side ────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, and limit what may wait in it."""
        self.client = cast("asyncio.Transport", transport)
        self.client.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._connections.add(cast("Any", self))
        self._counted.websockets += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended
        """Let go of the worker."""
        self._connections.discard(cast("Any", self))
        self._counted.websockets -= 1
        self._ended(self)
        if self._worker is not None:
            self._worker.transport.close()

    def data_received(self, data: bytes) -> None:
        """Pass on what the client sends; the worker limits it. Without a worker only its wish to leave counts."""
        if self._worker is not None:
            self._worker.transport.write(data)
        elif self.open and data[0] & 0x0F == Opcode.CLOSE:
            self.close(CloseCode.NORMAL_CLOSURE, "")

    def pause_writing(self) -> None:
        """Read no more for a client that takes nothing: the worker drops what is old."""
        self._paused = True
        if self._worker is not None:
            self._worker.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        self._paused = False
        if self._worker is not None:
            self._worker.transport.resume_reading()

    def shutdown(self) -> None:
        """Close the connection because the server stops."""
        self.close(CloseCode.SERVICE_RESTART, "")

    # ── said by the gateway ──────────────────────────────────────────────────────────────────────────

    def connect(self, address: Address, alive: Callable[[], bool]) -> None:
        """Connect to a worker, also to one that takes the place of another.

        Parameters
        ----------
        address : Address
        alive : callable
            Returns true while this worker runs.
        """
        task = asyncio.create_task(self._connect(address, alive))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, address: Address, alive: Callable[[], bool]) -> None:
        try:
            await address.connect(lambda: _WorkerSide(self, address, alive))
        except OSError:  # it has just ended; its successor will be connected to
            self._lost(alive)

    def send(self, message: Message) -> None:
        """Send a message of the gateway's own."""
        if self.open and self._events:
            encoded = message.encoded(self._encoding)
            data, opcode = (encoded.encode(), Opcode.TEXT) if isinstance(encoded, str) else (encoded, Opcode.BINARY)
            self.client.write(Frame(opcode, data).serialize(mask=False))

    def refuse(self, reason: str) -> None:
        """Refuse the upgrade, for which there will be no worker."""
        body = json.dumps({"detail": reason}).encode()
        head = f"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        self.client.write(head.encode() + _HEAD_END + body)
        self.client.close()

    def close(self, code: int, reason: str) -> None:
        """Close the connection, and cut it soon."""
        if self.open and not self.client.is_closing():
            self.client.write(Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=False))
        self.client.close()
        asyncio.get_running_loop().call_later(CLOSE_S, self.client.abort)

    # ── said by the worker's side ────────────────────────────────────────────────────────────────────

    def worker_made(self, side: _WorkerSide) -> None:
        """Take a connection to the worker."""
        self._worker = side
        if self.client.is_closing():
            side.transport.close()
        elif self._paused:
            side.transport.pause_reading()

    def answered(self, head: bytes) -> None:
        """Take the worker's answer to the upgrade; its successors' only leads to their frames."""
        if not self.open:
            for encoding in Encoding:
                if encoding.value.encode() in head:
                    self._encoding = encoding
            self.client.write(head)
            self.open = True

    def worker_lost(self, side: _WorkerSide) -> None:
        """Close the client's connection too if the worker has ended it; otherwise wait for the worker's successor."""
        if side is not self._worker:
            return
        self._worker = None
        if side.closed:
            self.client.close()
            asyncio.get_running_loop().call_later(CLOSE_S, self.client.abort)
        else:
            self._lost(side.alive)

    def _lost(self, alive: Callable[[], bool]) -> None:
        def cut_if_alive() -> None:
            if alive() and self._worker is None:
                self.client.abort()

        asyncio.get_running_loop().call_later(_NOTICED_S, cut_if_alive)


class _WorkerSide(asyncio.Protocol):
    """Connection of a relay to a worker."""

    def __init__(self, relay: Relay, address: Address, alive: Callable[[], bool]) -> None:
        self.transport: asyncio.Transport
        self.alive = alive
        self.closed = False  # the worker has ended the conversation
        self._relay = relay
        self._address = address
        self._again = relay.open
        self._upgraded = False
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._relay.worker_made(self)
        lines = [b": ".join(header) for header in self._address.headers]
        self.transport.write(self._relay.head + b"\r\n".join([*lines, b"", b""]))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._relay.worker_lost(self)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if not self._upgraded:
            head, found, data = data.partition(_HEAD_END)
            if not found:
                self._rest = head
                return
            self._upgraded = True
            if not head.startswith(b"HTTP/1.1 101 "):
                self.closed = True
                if self._relay.open:
                    self.transport.close()
                else:  # a refusal, which goes to the client as it is
                    self._relay.client.write(head + found + data)
                return
            self._relay.answered(head + found)
        elif self.closed:
            self._relay.client.write(data)
            return
        begin = 0
        if self._again:  # the client has had its hello
            begin, _ = whole_frames(data, 1)
            self._again = not begin
        end, closes = whole_frames(data[begin:]) if begin else whole_frames(data)
        end = 0 if self._again else begin + end
        self.closed |= closes
        if end > begin:
            self._relay.client.write(data[begin:end])
            self._relay.open = not closes  # nothing may follow
        self._rest = data[end:]

    def pause_writing(self) -> None:
        self._relay.client.pause_reading()

    def resume_writing(self) -> None:
        self._relay.client.resume_reading()


Route = Callable[[h11.Request, ServerState], "Relay | None"]


class GatewayProtocol(RequestProtocol):
    """HTTP protocol that relays websockets of workers' streams; the application answers all others.

    Parameters
    ----------
    route : callable
        Returns the relay for an upgrade; None for one that the application is to answer.
    """

    def __init__(self, *args: Any, route: Route, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._route = route

    def upgrade(self, event: h11.Request) -> None:
        """Hand the connection over."""
        relay = self._route(event, self.server_state)
        if relay is None:
            super().upgrade(event)
            return
        self.connections.discard(self)
        relay.connection_made(self.transport)
        self.transport.set_protocol(relay)
