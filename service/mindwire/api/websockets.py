"""Websocket endpoints: a sender task per client, and little patience with what clients send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from fastapi import APIRouter
from starlette.exceptions import WebSocketException
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.frames import CloseCode

from mindwire.api.clock import HELLO, answer_clock
from mindwire.api.server import MAX_INPUT_BYTES
from mindwire.api.streams import StreamLike, streams_of, unknown_stream
from mindwire.sinks.messages import Encoding
from mindwire.sinks.subscription import Subscription

CLOSE_UNKNOWN_STREAM = 4404

router = APIRouter()


@router.websocket("/ws")
async def the_only_stream(websocket: WebSocket) -> None:
    """Predictions and events of the only stream there is."""
    streams = streams_of(websocket)
    if len(streams) == 1:
        await predictions(websocket, next(iter(streams)))
    else:
        names = ", ".join(sorted(streams)) or "none"
        await _refuse(websocket, f"/ws needs exactly one stream, but there are {len(streams)}: {names}.")


@router.websocket("/v1/streams/{stream}/predictions")
async def predictions(websocket: WebSocket, stream: str) -> None:
    """Predictions and events of a stream, in the first known sub-protocol of the client's list."""
    known = {encoding.value: encoding for encoding in Encoding}
    encoding = next((known[name] for name in websocket.scope.get("subprotocols", ()) if name in known), None)
    await _serve(
        websocket, stream, lambda one: one.hub.subscribe(one.hello(), encoding or Encoding.JSON), subprotocol=encoding
    )


@router.websocket("/v1/streams/{stream}/signal")
async def signal(websocket: WebSocket, stream: str) -> None:
    """The conditioned signal at a display rate: a JSON ``hello``, then binary blocks."""
    await _serve(websocket, stream, lambda one: one.hub.subscribe_signal())


@router.websocket("/v1/clock")
async def clock(websocket: WebSocket) -> None:
    """Readings of LSL's clock, by which a client measures how its own clock runs beside it."""
    local_clock = await asyncio.to_thread(_lsl_clock)
    await websocket.accept()
    try:
        await _say(websocket, HELLO)
        while True:
            message = await websocket.receive()
            received = local_clock()
            await _say(websocket, answer_clock(_text(message), received, local_clock))
    except WebSocketDisconnect:
        return
    except WebSocketException as goodbye:
        with suppress(WebSocketDisconnect, RuntimeError):  # it has gone meanwhile, or was closed for another reason
            await websocket.close(goodbye.code, goodbye.reason)


async def _serve(
    websocket: WebSocket, name: str, subscribe: Callable[[StreamLike], Subscription], subprotocol: str | None = None
) -> None:
    """Send and listen until either side has had enough."""
    streams = streams_of(websocket)
    if (stream := streams.get(name)) is None:
        await _refuse(websocket, unknown_stream(name, streams))
        return
    await websocket.accept(subprotocol)
    subscription = subscribe(stream)
    parts = [asyncio.create_task(_send(websocket, subscription)), asyncio.create_task(_listen(websocket))]
    try:
        ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in ended:
            await part
    except WebSocketDisconnect:
        return
    except WebSocketException as goodbye:
        with suppress(WebSocketDisconnect):  # it has gone meanwhile
            await websocket.close(goodbye.code, goodbye.reason)
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        stream.hub.unsubscribe(subscription)


def _lsl_clock() -> Callable[[], float]:
    """Return LSL's clock in seconds; the process may load the library for it."""
    from mindwire.sources.liblsl import pylsl

    clock: Callable[[], float] = pylsl.local_clock
    return clock


async def _say(websocket: WebSocket, encoded: str | bytes) -> None:
    try:
        await websocket.send({"type": "websocket.send", "text" if isinstance(encoded, str) else "bytes": encoded})
    except RuntimeError as error:  # the server has closed the connection because the client broke the protocol
        raise WebSocketDisconnect(CloseCode.PROTOCOL_ERROR) from error


async def _send(websocket: WebSocket, subscription: Subscription) -> None:
    while (message := await subscription.next()) is not None:
        await _say(websocket, message.encoded(subscription.encoding))
    raise WebSocketException(*subscription.goodbye)


async def _listen(websocket: WebSocket) -> None:
    """Read on, so that the end is noticed; nothing a client says has a meaning yet, and the protocol counts it."""
    while True:
        _text(await websocket.receive())


def _text(message: Message) -> str:
    """Return a client's text message; its end, and what may not be sent, are raised."""
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", CloseCode.GOING_AWAY))
    text: str | None = message.get("text")
    if text is None:
        raise WebSocketException(CloseCode.UNSUPPORTED_DATA, "Clients may not send binary messages here.")
    if len(text) > MAX_INPUT_BYTES:
        raise WebSocketException(
            CloseCode.MESSAGE_TOO_BIG, f"Messages of clients may have at most {MAX_INPUT_BYTES} bytes."
        )
    return text


async def _refuse(websocket: WebSocket, sentence: str) -> None:
    await websocket.accept()
    await websocket.close(CLOSE_UNKNOWN_STREAM, sentence.encode()[:120].decode(errors="ignore"))
