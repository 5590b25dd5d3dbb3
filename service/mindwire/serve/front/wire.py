"""What the front door and a worker process say to each other, over the one socket that ties them.

The socket is a pair made by the front door and inherited by the worker, so nobody else can speak on it, and each
side knows at once when the other has died. Messages are MessagePack with their length before them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar, cast

import msgspec

from mindwire.sinks.messages import Encoding, plain

SIGNAL = "signal"
FEEDS = (*(encoding.value for encoding in Encoding), SIGNAL)
# What may wait for the other side before whoever sends is told to keep it.
BUFFER_BYTES = 1 << 20


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Carries its own name, so that the other side knows what it is."""


class Begin(_Message, frozen=True):
    """To a worker, first of all: the settings as JSON, and which of their streams are its own."""

    settings: str
    streams: list[str]
    instance: str
    worker: int
    workers: int
    restarts: int


class Follow(_Message, frozen=True):
    """To a worker: somebody wants one of :data:`FEEDS` of a stream, or nobody any more."""

    stream: str
    feed: str
    wanted: bool


class Adapt(_Message, frozen=True):
    """To a worker: an adaptation command for a stream."""

    stream: str
    action: Literal["freeze", "resume", "rollback"]
    updates: int
    steps: int


class Ask(_Message, frozen=True):
    """To a worker: say what your streams say; without ``reports``, only that you are there."""

    number: int
    reports: bool


class Stop(_Message, frozen=True):
    """To a worker: end your streams, and yourself."""


class Report(_Message, frozen=True):
    """What one stream says of itself: its status, and per stage the counts and sum of its latencies."""

    status: dict[str, Any]
    latency: dict[str, tuple[list[int], float]]


class Introduction(_Message, frozen=True):
    """A stream that a worker has built: what websockets begin with, and its first report."""

    hello: dict[str, Any]
    signal_hello: dict[str, Any]
    report: Report


class Ready(_Message, frozen=True):
    """From a worker: its streams are built and begin."""

    streams: dict[str, Introduction]


class Refused(_Message, frozen=True):
    """From a worker: what the user has to be told before the service ends."""

    message: str
    usage: bool


class Told(_Message, frozen=True):
    """From a worker: an event of a stream."""

    stream: str
    kind: str
    message: str
    unix_time: float
    data: dict[str, Any]


class Frames(_Message, frozen=True):
    """From a worker: encoded messages of one feed of a stream."""

    stream: str
    feed: str
    payloads: list[bytes]


class Missed(_Message, frozen=True):
    """From a worker: so many messages of a stream were dropped because the front door was busy."""

    stream: str
    n: int


class Answer(_Message, frozen=True):
    """From a worker: the answer to :class:`Ask`."""

    number: int
    reports: dict[str, Report]


class Ended(_Message, frozen=True):
    """From a worker: its streams have ended as they should."""


Order = Begin | Follow | Adapt | Ask | Stop
News = Ready | Refused | Told | Frames | Missed | Answer | Ended
Received = TypeVar("Received")

_encoder = msgspec.msgpack.Encoder(enc_hook=plain)


class Link(asyncio.Protocol, Generic[Received]):
    """One end of the socket.

    Parameters
    ----------
    kind : type
        The union of what may come.
    receive : callable
        Takes each message.
    cut : callable
        Called when the other side is gone.
    writable : callable
        Called when the other side takes messages again.

    Attributes
    ----------
    full : bool
        More waits for the other side than should.
    """

    def __init__(
        self,
        kind: Any,
        receive: Callable[[Received], None],
        cut: Callable[[], None],
        writable: Callable[[], None] = lambda: None,
    ) -> None:
        self.full = False
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._receive = receive
        self._cut = cut
        self._writable = writable
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def send(self, message: _Message) -> None:
        """Send a message; one to a side that is gone goes nowhere."""
        if self._transport is not None and not self._transport.is_closing():
            encoded = _encoder.encode(message)
            self._transport.write(len(encoded).to_bytes(4, "big") + encoded)

    def close(self) -> None:
        """Send what waits, then let go."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write, and bound what may wait there."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Take whole messages out of what has come."""
        if self._rest:
            data = self._rest + data
        at, view = 0, memoryview(data)
        while len(data) - at >= 4:
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if len(data) < end:
                break
            self._receive(self._decoder.decode(view[at + 4 : end]))
            at = end
        self._rest = data[at:]

    def pause_writing(self) -> None:
        """Too much waits."""
        self.full = True

    def resume_writing(self) -> None:
        """It has been taken."""
        self.full = False
        self._writable()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended, it has
        """Tell that the other side is gone."""
        self._cut()
