"""Messages by which a client measures its clock beside LSL's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from starlette.exceptions import WebSocketException
from websockets.frames import CloseCode

_EXACT = 2**53  # whole numbers up to it are exact in JavaScript


class ClockHello(msgspec.Struct, tag_field="type", tag="hello", forbid_unknown_fields=True):
    """First message of the clock's websocket."""

    version: Literal[1] = 1


class ClockQuestion(msgspec.Struct, tag_field="type", tag="clock"):
    """Request for a reading of LSL's clock; `sent` is the client's own time in milliseconds."""

    id: Annotated[int, msgspec.Meta(ge=-_EXACT, le=_EXACT)]
    sent: float


class ClockAnswer(msgspec.Struct, tag_field="type", tag="clock", forbid_unknown_fields=True):
    """LSL's clock in seconds when the request was received and when it was answered; `id` and `sent` are the request's."""

    id: int
    sent: float
    received: float
    answered: float


_decoder = msgspec.json.Decoder(ClockQuestion)
HELLO = msgspec.json.encode(ClockHello()).decode()


def answer_clock(text: str, received: float, local_clock: Callable[[], float]) -> str:
    """Return the answer to a request that was received at this time of LSL's clock.

    Raises
    ------
    WebSocketException
        The text is no such request.
    """
    try:
        question = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        question = None
    if question is None or not math.isfinite(question.sent):
        msg = 'Expected {"type":"clock","id":integer,"sent":milliseconds}.'
        raise WebSocketException(CloseCode.INVALID_DATA, msg)
    answer = ClockAnswer(question.id, question.sent, received, local_clock())
    return msgspec.json.encode(answer).decode()
