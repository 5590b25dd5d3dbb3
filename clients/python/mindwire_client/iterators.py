"""Iterators over messages, each with a bounded queue in which the newest wins.

The connection is read by a thread of the client whatever the user does; a slow user misses messages, which are counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, cast

from mindwire_client.messages import Axes, Message, Missed, Prediction, Shadow

if TYPE_CHECKING:
    import asyncio

MessageT = TypeVar("MessageT", bound=Message)

CAPACITY = 64
# Waits are cut into pieces, because on some systems an interrupt is not noticed while a thread waits.
_PIECE_S = 1.0
_EXPENDABLE = (Prediction, Axes, Shadow)


class Loss(NamedTuple):
    """Predictions that were lost, after one that arrived."""

    n: int
    after: int | None
    dropped: int = 0
    reconnected: bool = False
    restarted: bool = False

    def and_then(self, later: Loss | None) -> Loss:
        """Return this loss and a later one as one."""
        if later is None:
            return self
        return Loss(
            self.n + later.n,
            self.after,
            self.dropped + later.dropped,
            self.reconnected or later.reconnected,
            self.restarted or later.restarted,
        )

    def notice(self, prediction: Prediction) -> Missed:
        """Return the notice that goes before a prediction."""
        return Missed(
            received=prediction.received,
            count=self.n,
            after=self.after,
            before=prediction.seq,
            dropped=self.dropped,
            reconnected=self.reconnected,
            restarted=self.restarted,
        )


class Entry(NamedTuple):
    """Message as the connection gives it; for a prediction also what was lost directly before it."""

    message: Message
    loss: Loss | None = None


class Messages(Generic[MessageT]):
    """Iterator over messages of a stream, for ``for`` and ``async for``; made by the methods of a stream.

    It has the messages from its creation on. When its queue is full, the predictions and axes in it are dropped;
    decisions, events and notices are kept, and dropped only if nothing else is left, the oldest first.

    Attributes
    ----------
    dropped : int
        Messages that this program was too slow for.
    missed : int
        Predictions that were not delivered, for whatever reason.
    """

    def __init__(self, wanted: Callable[[Message], bool], *, notices: bool = False, capacity: int = CAPACITY) -> None:
        if capacity < 1:
            msg = f"Expected a capacity of at least 1 message, found {capacity}; leave it out for {CAPACITY}."
            raise ValueError(msg)
        self.dropped = 0
        self.missed = 0
        self._wanted = wanted
        self._notices = notices
        self._capacity = capacity
        self._queue: deque[Entry] = deque()
        self._left_out: Loss | None = None  # before predictions that are not wanted, since the last queued one
        self._lost: Loss | None = None  # dropped from the queue since the last delivered prediction
        self._ready: Message | None = None  # follows the notice that was given
        self._last: int | None = None  # seq of the last prediction that was delivered
        self._ended = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def __iter__(self) -> Messages[MessageT]:
        return self

    def __aiter__(self) -> Messages[MessageT]:
        return self

    def __next__(self) -> MessageT:
        with self._changed:
            while (message := self._next()) is None:
                if self._ended:
                    self._raise_error()
                    raise StopIteration
                self._changed.wait(_PIECE_S)
            return message

    async def __anext__(self) -> MessageT:
        import asyncio  # as the module does: the program that runs this coroutine has it

        event = asyncio.Event()
        while True:
            with self._changed:
                if (message := self._next()) is not None:
                    return message
                if self._ended:
                    self._raise_error()
                    raise StopAsyncIteration
                event.clear()
                self._waiting = asyncio.get_running_loop(), event
            await event.wait()

    def poll(self, timeout_s: float = 0.0) -> MessageT | None:
        """Return the next message, or None if there is none within ``timeout_s`` seconds or after the last."""
        until = time.monotonic() + timeout_s
        with self._changed:
            while (message := self._next()) is None:
                left = until - time.monotonic()
                if self._ended:
                    self._raise_error()
                    return None
                if left <= 0:
                    return None
                self._changed.wait(min(left, _PIECE_S))
            return message

    def close(self) -> None:
        """End the iteration after what waits in the queue."""
        self.end()

    # ── from the thread of the connection ────────────────────────────────────────────────────────────

    def offer(self, entry: Entry) -> None:
        """Queue a message if it is one of those that are wanted."""
        with self._changed:
            if self._ended:
                return
            if isinstance(entry.message, Prediction):
                if not self._wanted(entry.message) and self._notices and entry.loss is not None:
                    entry = Entry(entry.loss.notice(entry.message))
                else:
                    entry = entry._replace(loss=_both(self._left_out, entry.loss))
                    self._left_out = None
            if not self._wanted(entry.message):
                self._left_out = _both(self._left_out, entry.loss)
                return
            if len(self._queue) >= self._capacity:
                self._make_room()
            self._queue.append(entry)
            self._wake()

    def end(self, error: Exception | None = None) -> None:
        """Give no more after what waits in the queue; then raise the error, if there is one."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._wake()

    def _wake(self) -> None:
        self._changed.notify_all()
        if self._waiting is not None:
            loop, event = self._waiting
            self._waiting = None
            with suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(event.set)

    # ── under the lock ───────────────────────────────────────────────────────────────────────────────

    def _next(self) -> MessageT | None:
        if self._ready is not None:
            message, self._ready = self._ready, None
            return cast("MessageT", message)
        if not self._queue:
            return None
        message, loss = self._queue.popleft()
        if isinstance(message, Prediction):
            loss, self._lost = _both(self._lost, loss), None
            if loss is not None:
                self.missed += loss.n
                loss = loss if self._last is None else loss._replace(after=self._last)
            self._last = message.seq
            if loss is not None and self._notices:
                self._ready = message
                return cast("MessageT", loss.notice(message))
        return cast("MessageT", message)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _make_room(self) -> None:
        kept: deque[Entry] = deque()
        for entry in self._queue:
            if not isinstance(entry.message, _EXPENDABLE):
                kept.append(entry)
                continue
            self.dropped += 1
            if isinstance(entry.message, Prediction):
                itself = Loss(1, None, dropped=1)
                self._lost = _both(self._lost, _both(entry.loss, itself))
        if len(kept) == len(self._queue):
            kept.popleft()
            self.dropped += 1
        self._queue = kept


def _both(earlier: Loss | None, later: Loss | None) -> Loss | None:
    return later if earlier is None else earlier.and_then(later)
