"""uvicorn's websocket protocol with limits for slow and hostile clients.

Little may wait in the transport for a slow client, because the hub's queue, in which the newest wins, only begins before
it. Clients may send few frames, of whatever kind, and none are read while the connection takes no answers.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from mindwire.api.audit import Asked
from mindwire.api.limits import CLOSE_S, FRAMES_PER_SECOND, Allowance, Connections

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent

WRITE_BUFFER_BYTES: Final = 8 * 1024
SEND_BUFFER_BYTES: Final = 16 * 1024
# Parsed at once: few enough frames that the others do not notice, though all of them be empty.
_PIECE_BYTES: Final = 512


class LimitedWebsocket(WebSocketsSansIOProtocol):
    """Ends the connection of a client that sends too many frames, and buffers few messages for a slow one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._all = Connections.of(kwargs["server_state"])
        self._allowance = Allowance(self.loop.time())
        self._ended = False
        self.close_timeout = CLOSE_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Limit what may wait in the transport."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock.family not in (socket.AF_INET, socket.AF_INET6):  # the others do not inherit it from the listening one
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._all.websockets += 1
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._all.websockets -= 1
        self._all.keep(self.transport)
        self._all.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, piece by piece, until the connection has had enough of it."""
        if not self.handshake_initiated:
            super().data_received(data)
            if not self.handshake_initiated:  # a head that websockets has refused
                self.transport.write(b"".join(self.conn.data_to_send()))
                self.transport.close()
            return
        for at in range(0, len(data), _PIECE_BYTES):
            if self._ended or self.transport.is_closing():
                return
            super().data_received(data[at : at + _PIECE_BYTES])

    def handle_events(self) -> None:
        """Handle frames of whatever kind, as many as are allowed."""
        n = sum(isinstance(event, Frame) for event in self.conn.events)
        if not self._allowance.take(n, self.loop.time()):
            self._end(CloseCode.POLICY_VIOLATION, f"Clients may send at most {FRAMES_PER_SECOND:g} frames per second.")
            return
        super().handle_events()

    def send_receive_event_to_app(self) -> None:
        """Pass a message on; one that is no text though it says so ends the connection."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._end(CloseCode.INVALID_DATA, "Text messages must be UTF-8.")
                return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """End the connection of a client that broke the protocol."""
        self._end(CloseCode.PROTOCOL_ERROR, "The client broke the websocket protocol.")

    def keepalive_timeout(self) -> None:
        """Cut off a client that takes nothing; it would not read a goodbye either."""
        self.transport.abort()

    def pause_writing(self) -> None:
        """Read nothing either, because what is read may have to be answered."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again, unless a message waits for the application."""
        super().resume_writing()
        if not (self.read_paused or self._ended):
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message; reading stays paused while answers wait."""
        message = await super().receive()
        if not self.writable.is_set():
            self.transport.pause_reading()
        return message

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says; a connection that it closes or refuses has little time left."""
        await super().send(message)
        if self.close_sent:
            self.handshake_complete = True  # uvicorn forgets it when the handshake is refused, and logs an error
            self._all.refused(self.transport)

    @property
    def _address(self) -> str:
        return "" if self.client is None else self.client[0]

    def _end(self, code: int, reason: str) -> None:
        """Say why, parse nothing more, and cut the connection soon; at once if it was said before."""
        if self.close_sent or not self.handshake_complete:
            self.transport.abort()
            return
        kind = "frames" if code == CloseCode.POLICY_VIOLATION else "websocket"
        Asked(self._address, "someone", "websocket", self.scope["path"]).refuse(kind, code)
        self.conn.fail(code, reason)  # does nothing where the parser has failed the connection itself
        closed = self.conn.close_sent
        code, reason = (code, reason) if closed is None else (closed.code, closed.reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.transport.can_write_eof():  # not over TLS
            self.transport.write_eof()
        self.transport.pause_reading()
        self.read_paused = False  # nothing the application does resumes it
        self.close_sent = self._ended = True
        self._all.refused(self.transport)
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
