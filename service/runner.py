"""One thread for many streams: it pulls, conditions, decodes in batches and publishes for all of them in turn.

A thread per stream answers fastest, but its wake-ups cost more than the work they do, and a few dozen streams
fill a core. Here a stream's inlet is asked when its next window can be due, and windows that fall together are
decoded in one batch; none waits for others longer than it is told to. How a stream is found, and what becomes of
it when it is lost, stays with the stream's own thread, which sleeps meanwhile.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.inference.decoder import MAX_BATCH, Decoder
from service.types import Window
from service.worker import Due

BATCH_WAIT_S = 0.002
# A chunk that is late is asked for again after so long, then after twice as long, and so on up to the last.
_FIRST_RETRY_S, _LAST_RETRY_S = 0.001, 0.016
_MARGIN_S = 0.0003
_DELAYS_KEPT = 100
_IDLE_S = 0.25
_CONNECTING = 8


class SharedDecoder:
    """One decoder for many streams, whose buffers take one batch at a time.

    Parameters
    ----------
    decoder : Decoder
    """

    def __init__(self, decoder: Decoder) -> None:
        self.engine = decoder.engine
        self.device = decoder.device
        self.reason = decoder.reason
        self._decoder = decoder
        self._lock = threading.Lock()

    def session(self) -> Any:
        """A fresh state for one stream."""
        return self._decoder.session()

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Logits of windows; see :class:`service.inference.decoder.Decoder`."""
        with self._lock:
            return self._decoder.decode(sessions, windows)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a look at a stream's inlet brought.

    Parameters
    ----------
    due : list of Due
    age_s : float or None
        Age of the newest sample when it was pulled, of which only the differences matter; None when nothing new
        came and what is due had been kept back.
    wanted_s : float
        Seconds of signal after the newest sample until a window can be due.
    """

    due: list[Due]
    age_s: float | None
    wanted_s: float


class Member(Protocol):
    """A connected stream as the runner sees it; all but ``stopping`` is called in the runner's thread."""

    decoder: Decoder
    session: Any

    @property
    def stopping(self) -> bool:
        """Whether the stream is to end."""
        ...

    def look(self) -> Arrived | None:
        """Take what has arrived, without waiting; None when nothing has. What it raises ends the stream."""
        ...

    def publish(self, due: Due, logits: NDArray[np.float32], decode_ms: float) -> None:
        """Complete a window and tell everybody."""
        ...

    def settle(self) -> None:
        """Tell everybody what else happened; called once the windows of a look are published."""
        ...


class _Place:
    """A member's place in the runner, and when its inlet is worth another look."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.ended = threading.Event()
        self.error: Exception | None = None
        self._delay = self._delay_before = float("inf")
        self._looks = 0
        self._retry_s = _FIRST_RETRY_S

    def pause_s(self, arrived: Arrived | None) -> float:
        """Seconds until the next look."""
        if arrived is None or arrived.age_s is None:
            pause, self._retry_s = self._retry_s, min(2 * self._retry_s, _LAST_RETRY_S)
            return pause
        self._retry_s = _FIRST_RETRY_S
        # The least age of late is how long a sample takes to get here; a clock that jumped is soon forgotten.
        self._looks += 1
        if self._looks % _DELAYS_KEPT == 0:
            self._delay_before, self._delay = self._delay, arrived.age_s
        self._delay = min(self._delay, arrived.age_s)
        delay = min(self._delay, self._delay_before)
        return max(0.0, arrived.wanted_s - arrived.age_s + delay + _MARGIN_S)

    def end(self, error: Exception | None) -> None:
        """Give the member back to the thread that waits for it."""
        self.error = error
        self.ended.set()


class Runner:
    """Drives connected streams in one thread of its own.

    Parameters
    ----------
    batch_wait_s : float
        How long a window waits, at most, for others to be decoded with.

    Attributes
    ----------
    batches, windows : int
        Decoded so far.
    connecting : semaphore
        To be held while a stream searches and connects: all at once, they would drown their own answers.
    """

    def __init__(self, batch_wait_s: float = BATCH_WAIT_S) -> None:
        self.batches = 0
        self.windows = 0
        self.connecting = threading.BoundedSemaphore(_CONNECTING)
        self._batch_wait_s = batch_wait_s
        self._lock = threading.Lock()
        self._newcomers: list[_Place] = []
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._count = itertools.count()
        # when to look, a number that settles ties, whom to look at
        self._looks: list[tuple[float, int, _Place]] = []
        self._pending: dict[int, list[tuple[_Place, Due]]] = {}
        self._decode_at = float("inf")

    def drive(self, member: Member) -> None:
        """Drive a stream until it stops; blocks the calling thread, which is the stream's own.

        Parameters
        ----------
        member : Member

        Raises
        ------
        Exception
            Whatever ended the stream.
        """
        place = _Place(member)
        with self._lock:
            self._newcomers.append(place)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mindwire-runner", daemon=True)
                self._thread.start()
        self._wake.set()
        place.ended.wait()
        if place.error is not None:
            raise place.error

    def _run(self) -> None:
        while self._welcome():
            now = time.monotonic()
            while self._looks and self._looks[0][0] <= now:
                self._look(heapq.heappop(self._looks)[2])
                now = time.monotonic()
                if now >= self._decode_at:
                    self._decode_all()
            next_look = self._looks[0][0] if self._looks else now + _IDLE_S
            if self._pending and next_look > self._decode_at:
                self._decode_all()
            pause = min(next_look, self._decode_at) - time.monotonic()
            if pause > 0 and self._wake.wait(pause):
                self._wake.clear()

    def _welcome(self) -> bool:
        """Take in newcomers; whether there is anybody to drive."""
        with self._lock:
            newcomers, self._newcomers = self._newcomers, []
            if not newcomers and not self._looks:
                self._thread = None
                return False
        now = time.monotonic()
        for place in newcomers:
            heapq.heappush(self._looks, (now, next(self._count), place))
        return True

    def _look(self, place: _Place) -> None:
        member = place.member
        if member.stopping:
            self._decode_all()  # what is due is still told
            place.end(None)
            return
        try:
            arrived = member.look()
            if arrived is not None and not arrived.due:
                member.settle()
        except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
            self._decode_all()
            place.end(error)
            return
        if arrived is not None and arrived.due:
            waiting = self._pending.setdefault(id(member.decoder), [])
            waiting += [(place, due) for due in arrived.due]
            self._decode_at = min(self._decode_at, time.monotonic() + self._batch_wait_s)
            if len(waiting) >= MAX_BATCH:
                self._decode(self._pending.pop(id(member.decoder)))
                if not self._pending:
                    self._decode_at = float("inf")
        next_look = time.monotonic() + place.pause_s(arrived)
        heapq.heappush(self._looks, (next_look, next(self._count), place))

    def _decode_all(self) -> None:
        pending, self._pending = self._pending, {}
        self._decode_at = float("inf")
        for waiting in pending.values():
            self._decode(waiting)

    def _decode(self, waiting: list[tuple[_Place, Due]]) -> None:
        decoder = waiting[0][0].member.decoder
        for start in range(0, len(waiting), MAX_BATCH):
            part = waiting[start : start + MAX_BATCH]
            begin = time.perf_counter()
            try:
                logits = decoder.decode([place.member.session for place, _ in part], [due.window for _, due in part])
            except Exception as error:  # noqa: BLE001 - handed to the threads of the streams it concerns
                for place, _ in part:
                    place.end(error)
                self._forget_ended()
                continue
            decode_ms = (time.perf_counter() - begin) * 1e3
            self.batches += 1
            self.windows += len(part)
            for (place, due), row in zip(part, logits, strict=True):
                if not place.ended.is_set():
                    self._publish(place, due, row, decode_ms)

    def _publish(self, place: _Place, due: Due, logits: NDArray[np.float32], decode_ms: float) -> None:
        try:
            place.member.publish(due, logits, decode_ms)
            place.member.settle()
        except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
            place.end(error)
            self._forget_ended()

    def _forget_ended(self) -> None:
        self._looks = [entry for entry in self._looks if not entry[2].ended.is_set()]
        heapq.heapify(self._looks)
