"""Websocket endpoints: a sender task per client, little patience with what clients send, none with stalls."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from mindwire.api.server import MAX_INPUT_BYTES, STALL_LIMIT_S
from mindwire.api.streams import RunningStream, running_streams_of, unknown_stream
from mindwire.sinks.messages import Encoding, Message
from mindwire.sinks.subscription import Subscription

CLOSE_GOING_AWAY = 1001
CLOSE_PROTOCOL_ERROR = 1002
CLOSE_UNSUPPORTED = 1003
CLOSE_TOO_BIG = 1009
CLOSE_UNKNOWN_STREAM = 4404
STALL_CHECK_S = 5.0

router = APIRouter()


class _Goodbye(Exception):  # noqa: N818 - the end of a conversation, not a fault of the service
    """Ends a connection with a close code and one sentence."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class _Connection:
    """One accepted client."""

    def __init__(self, websocket: WebSocket, subscription: Subscription) -> None:
        self._websocket = websocket
        self._subscription = subscription
        self._sending_since: float | None = None

    async def serve(self) -> None:
        """Send and listen until either side has had enough."""
        parts = [asyncio.create_task(self._send()), asyncio.create_task(self._listen())]
        try:
            ended: set[asyncio.Task[None]] = set()
            while not ended:
                ended, _ = await asyncio.wait(parts, timeout=STALL_CHECK_S, return_when=asyncio.FIRST_COMPLETED)
                if self._stalled_for() > STALL_LIMIT_S:
                    return  # it would not read a goodbye either
            for part in ended:
                await part
        except WebSocketDisconnect:
            return
        except _Goodbye as goodbye:
            with suppress(WebSocketDisconnect):  # it has gone meanwhile
                await self._websocket.close(goodbye.code, goodbye.reason)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    def _stalled_for(self) -> float:
        return 0.0 if self._sending_since is None else time.monotonic() - self._sending_since

    async def _send(self) -> None:
        encoding = self._subscription.encoding
        while (message := await self._subscription.next()) is not None:
            self._sending_since = time.monotonic()
            try:
                await self._websocket.send(_event(message, encoding))
            except RuntimeError as error:  # the server has closed the connection because the client broke the protocol
                raise WebSocketDisconnect(CLOSE_PROTOCOL_ERROR) from error
            self._sending_since = None
        raise _Goodbye(CLOSE_GOING_AWAY, "The stream has stopped.")

    async def _listen(self) -> None:
        """Read on, so that the end is heard; nothing a client says has a meaning yet, and the protocol counts it."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", CLOSE_GOING_AWAY))
            text = message.get("text")
            if text is None:
                raise _Goodbye(CLOSE_UNSUPPORTED, "Clients may not send binary messages here.")
            if len(text) > MAX_INPUT_BYTES:
                raise _Goodbye(CLOSE_TOO_BIG, f"Messages of clients may have at most {MAX_INPUT_BYTES} bytes.")


def _event(message: Message, encoding: Encoding) -> dict[str, Any]:
    encoded = message.encoded(encoding)
    return {"type": "websocket.send", "text" if isinstance(encoded, str) else "bytes": encoded}


def _wanted_encoding(websocket: WebSocket) -> Encoding | None:
    """The first sub-protocol of the client's list that we know."""
    known = {encoding.value: encoding for encoding in Encoding}
    return next((known[name] for name in websocket.scope.get("subprotocols", ()) if name in known), None)


async def _refuse(websocket: WebSocket, sentence: str) -> None:
    await websocket.accept()
    await websocket.close(CLOSE_UNKNOWN_STREAM, sentence.encode()[:120].decode(errors="ignore"))


async def _serve_predictions(websocket: WebSocket, stream: RunningStream) -> None:
    encoding = _wanted_encoding(websocket)
    await websocket.accept(subprotocol=encoding)
    subscription = stream.hub.subscribe(stream.hello(), encoding or Encoding.JSON)
    try:
        await _Connection(websocket, subscription).serve()
    finally:
        stream.hub.unsubscribe(subscription)


@router.websocket("/ws")
async def the_only_stream(websocket: WebSocket) -> None:
    """Predictions and events of the only stream there is."""
    streams = running_streams_of(websocket)
    if len(streams) == 1:
        await _serve_predictions(websocket, next(iter(streams.values())))
    else:
        names = ", ".join(sorted(streams)) or "none"
        await _refuse(websocket, f"/ws needs exactly one stream, but there are {len(streams)}: {names}.")


@router.websocket("/v1/streams/{stream}/predictions")
async def predictions(websocket: WebSocket, stream: str) -> None:
    """Predictions and events of a stream."""
    streams = running_streams_of(websocket)
    if stream in streams:
        await _serve_predictions(websocket, streams[stream])
    else:
        await _refuse(websocket, unknown_stream(stream, streams))


@router.websocket("/v1/streams/{stream}/signal")
async def signal(websocket: WebSocket, stream: str) -> None:
    """The conditioned signal at a display rate: a JSON ``hello``, then binary blocks."""
    streams = running_streams_of(websocket)
    if stream not in streams:
        await _refuse(websocket, unknown_stream(stream, streams))
        return
    await websocket.accept()
    hub = streams[stream].hub
    subscription = hub.subscribe_signal()
    try:
        await _Connection(websocket, subscription).serve()
    finally:
        hub.unsubscribe(subscription)
