"""Bounded queue of one websocket client, in which the newest wins and what is lost is reported."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import NamedTuple

from mindwire.sinks.messages import Encoding, Message, event_payload
from mindwire.status import Event


class Goodbye(NamedTuple):
    """Code and reason with which a websocket is closed."""

    code: int
    reason: str


STOPPED = Goodbye(1001, "The stream has stopped.")
RESTARTS = Goodbye(1012, "The stream begins again with other settings; connect again.")


class Subscription:
    """Bounded queue of one client; lives on the event loop.

    Parameters
    ----------
    stream : str
        Name of the stream, for reports of dropped messages.
    encoding : Encoding
    capacity : int
        Most messages that wait for this client.
    report_drops : bool
        Send a client that missed messages an event that counts them.

    Attributes
    ----------
    dropped, sent : int
        Messages that the client missed, and that it was given.
    goodbye : Goodbye
        How the client is closed after the last message.
    """

    def __init__(self, stream: str, encoding: Encoding, capacity: int, *, report_drops: bool = True) -> None:
        self.encoding = encoding
        self.goodbye = STOPPED
        self.dropped = 0
        self.sent = 0
        self._stream = stream
        self._capacity = capacity
        self._report_drops = report_drops
        self._unreported = 0
        self._closed = False
        self._queue: deque[Message] = deque()
        self._wakeup = asyncio.Event()

    def offer(self, message: Message) -> None:
        """Queue a message.

        When the queue is full every expendable message makes room: a client that late is better served with the present
        than with a past that stays as old as the queue is long.
        """
        if len(self._queue) >= self._capacity:
            before = len(self._queue)
            self._queue = deque(message for message in self._queue if not message.expendable)
            if len(self._queue) == before:
                self._queue.popleft()
            self.miss(before - len(self._queue))
        self._queue.append(message)
        self._wakeup.set()

    def miss(self, n: int) -> None:
        """Count ``n`` messages that the client does not get, and report them to it."""
        self.dropped += n
        self._unreported += n * self._report_drops
        self._wakeup.set()

    def close(self, goodbye: Goodbye = STOPPED) -> None:
        """Let the sender finish: :meth:`next` returns None once what waits has been taken."""
        self.goodbye = goodbye
        self._closed = True
        self._wakeup.set()

    async def next(self) -> Message | None:
        """Return the next message to send; None after the last."""
        while not self._queue and not self._unreported:
            if self._closed:
                return None
            self._wakeup.clear()
            await self._wakeup.wait()
        if self._unreported and (not self._queue or self._queue[0].expendable):  # hello and events go first
            count, self._unreported = self._unreported, 0
            text = f"{count} messages were dropped because this client reads too slowly."
            data = {"count": count, "total": self.dropped}
            return Message(event_payload(Event(self._stream, "dropped", text, time.time(), data)))
        self.sent += 1
        return self._queue.popleft()
