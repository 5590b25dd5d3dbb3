"""uvicorn's HTTP protocol with limits: of the time for a request and its response, and of the number of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mindwire.api.audit import Asked
from mindwire.api.limits import CLOSE_S, REQUEST_S, RESPONSE_S, UPLOAD_S, Connections, is_upload

_REFUSED = {
    HTTPStatus.SERVICE_UNAVAILABLE: b'{"detail":"The service has too many connections; try later."}',
    HTTPStatus.TOO_MANY_REQUESTS: b'{"detail":"This address has too many connections; close some of them."}',
}


class RequestProtocol(H11Protocol):
    """Closes connections whose clients send or take too slowly, and those beyond the limit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._all = Connections.of(self.server_state)
        self._timer: asyncio.TimerHandle | None = None
        self._answering = False
        self._uploading = False
        self._discards = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection, or close one: the oldest that waits for a request, or else this one."""
        super().connection_made(transport)
        if (
            self.scheme == "http" and (status := self._all.enter(self._address)) is not None
        ):  # else it was counted before
            self._refuse(status)
            return
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._let_go()
        self._all.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the answer has been given already."""
        if self._discards:
            return
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # it breaks the protocol while its last request is answered
            self._drop_answer()
            self.transport.abort()
        self._allow_upload()
        self._expect_response()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; a request that it was part of gets no other answer."""
        self._drop_answer()
        super().send_400_response(msg)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over, unless there are too many websockets."""
        self._let_go()
        if self._all.websocket_allowed():
            super().handle_websocket_upgrade(event)
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def on_response_complete(self) -> None:
        """Wait for the next request; of one that was answered before it had come, discard the rest."""
        if self.cycle.more_body and not self.transport.is_closing():
            self.flow.resume_reading()
            self._discards = True
            if self.transport.can_write_eof():  # not over TLS
                self.transport.write_eof()
            self._set_timer(CLOSE_S, self.transport.abort)
            self._all.waits(self.transport)
            return
        self._expect_request()
        super().on_response_complete()
        self._expect_response()

    def _expect_request(self) -> None:
        self._answering = self._uploading = False
        self._all.waits(self.transport)
        self._set_timer(REQUEST_S, self.transport.abort)

    def _expect_response(self) -> None:
        """Once a request is complete, give its client time for the response."""
        cycle = self.cycle
        if self._timer is None or self._answering or cycle is None or cycle.more_body or cycle.response_complete:
            return
        self._answering = True
        self._all.keep(self.transport)
        self._set_timer(RESPONSE_S, self.transport.abort)

    def _allow_upload(self) -> None:
        """Give an upload its time; the guard has answered by then if it is refused."""
        cycle = self.cycle
        if self._timer is None or self._uploading or cycle is None or not cycle.more_body or cycle.response_complete:
            return
        if is_upload(cycle.scope["method"], cycle.scope["path"]):
            self._uploading = True
            self._all.keep(self.transport)
            self._set_timer(UPLOAD_S, self.transport.abort)

    def _drop_answer(self) -> None:
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    @property
    def _address(self) -> str:
        return "" if self.client is None else self.client[0]

    def _refuse(self, status: HTTPStatus) -> None:
        Asked(self._address, "someone").refuse("connections", status)
        body = _REFUSED[status]
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\nretry-after: 1\r\n"
        head += (
            f"content-type: application/json\r\nx-content-type-options: nosniff\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _set_timer(self, seconds: float, end: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, end)

    def _let_go(self) -> None:
        self._all.keep(self.transport)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
