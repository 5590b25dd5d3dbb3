"""One thread for many streams: it pulls, conditions, decodes and publishes for all that are due together.

A thread per stream answers fastest, but its wake-ups cost more than the work they do, and a few dozen streams
fill a core. Here a stream's inlet is asked when its next window can be due; the streams that are due within so
short a time that nobody notices go through the pipeline together. How a stream is found, and what becomes of
it when it is lost, stays with the stream's own thread, which sleeps meanwhile.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.inference.decoder import MAX_BATCH, Decoder
from service.signal.together import condition_together
from service.types import Chunk, Window
from service.worker import Due, Worker

BATCH_WAIT_S = 0.002
# A chunk that is late is asked for again after so long, then after twice as long, and so on up to the last.
_FIRST_RETRY_S, _LAST_RETRY_S = 0.001, 0.016
_MARGIN_S = 0.0003
_DELAYS_KEPT = 100
_CONNECTING = 8
# So many take part in a turn; with more, the first would wait long for the last.
_MOST_AT_ONCE = 32


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


class Look(msgspec.Struct, frozen=True, eq=False):
    """What a look at a stream's inlet brought.

    Parameters
    ----------
    chunks : list of Chunk
        To be conditioned now; they stay valid until the next look.
    pulled_at : float
        When it was, in the clock of the chunks' times.
    since : float
        When it was, by ``time.perf_counter``.
    age_s : float or None
        Age of the newest sample when it was pulled, of which only the differences matter; None when nothing new
        came and the chunks had been kept back.
    """

    chunks: list[Chunk]
    pulled_at: float
    since: float
    age_s: float | None


class Member(Protocol):
    """A connected stream as the runner sees it; all but ``stopping`` is used in the runner's thread."""

    worker: Worker

    @property
    def stopping(self) -> bool:
        """Whether the stream is to end."""
        ...

    def look(self) -> Look | None:
        """Take what has arrived, without waiting; None when nothing has. What it raises ends the stream."""
        ...

    def publish(self, due: Due, probabilities: NDArray[np.float64], decode_ms: float) -> None:
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

    def pause_s(self, look: Look | None) -> float:
        """Seconds until the next look."""
        if look is None or look.age_s is None:
            pause, self._retry_s = self._retry_s, min(2 * self._retry_s, _LAST_RETRY_S)
            return pause
        self._retry_s = _FIRST_RETRY_S
        # The least age of late is how long a sample takes to get here; a clock that jumped is soon forgotten.
        self._looks += 1
        if self._looks % _DELAYS_KEPT == 0:
            self._delay_before, self._delay = self._delay, look.age_s
        self._delay = min(self._delay, look.age_s)
        delay = min(self._delay, self._delay_before)
        due = self.member.worker.seconds_awaited - look.age_s + delay + _MARGIN_S
        return max(0.0, due - (time.perf_counter() - look.since))

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
            # The first that is due waits a little for others; one alone would wait for nobody.
            turn_at = self._looks[0][0] + (self._batch_wait_s if len(self._looks) > 1 else 0.0)
            pause = turn_at - time.monotonic()
            if pause > 0:
                if self._wake.wait(pause):
                    self._wake.clear()
                continue
            now = time.monotonic()
            places: list[_Place] = []
            while self._looks and self._looks[0][0] <= now and len(places) < _MOST_AT_ONCE:
                places.append(heapq.heappop(self._looks)[2])
            self._turn(places)

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

    def _turn(self, places: list[_Place]) -> None:
        """Take some streams from the pull to the publication."""
        looks = {place: look for place in places if not place.ended.is_set() and (look := self._look(place))}
        due = [*self._condition_together(looks), *self._condition_rest(looks)]
        self._decode_all(due)
        for place, look in looks.items():
            self._settle(place, look)

    def _look(self, place: _Place) -> Look | None:
        if place.member.stopping:
            place.end(None)
            return None
        try:
            look = place.member.look()
        except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
            place.end(error)
            return None
        if look is None:
            self._look_again(place, None)
        return look

    def _condition_together(self, looks: dict[_Place, Look]) -> list[tuple[_Place, Due]]:
        """Condition whoever is in the usual course; what is left to do stays in the looks' chunks."""
        places = [place for place, look in looks.items() if len(look.chunks) == 1]
        begin = time.perf_counter()
        conditioners = [place.member.worker.pipeline.conditioner for place in places]
        found = condition_together(conditioners, [looks[place].chunks[0] for place in places])
        each_ms = (time.perf_counter() - begin) * 1e3
        due: list[tuple[_Place, Due]] = []
        for place, conditioned in zip(places, found, strict=True):
            if conditioned is None:
                continue
            worker, look = place.member.worker, looks[place]
            look.chunks.clear()
            begin = time.perf_counter()
            try:
                windows = worker.pipeline.take(conditioned)
            except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
                place.end(error)
                continue
            condition_ms = each_ms + (time.perf_counter() - begin) * 1e3
            since = look.since + condition_ms / 1e3
            due += [(place, one) for one in worker.due(windows, look.pulled_at, condition_ms, since)]
        return due

    @staticmethod
    def _condition_rest(looks: dict[_Place, Look]) -> list[tuple[_Place, Due]]:
        due: list[tuple[_Place, Due]] = []
        for place, look in looks.items():
            try:
                for chunk in look.chunks:
                    due += [(place, one) for one in place.member.worker.condition(chunk, look.pulled_at)]
            except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
                place.end(error)
        return due

    def _decode_all(self, due: list[tuple[_Place, Due]]) -> None:
        """In rounds, because a batch holds one window of each stream, and a stream that is behind has several."""
        rounds: dict[_Place, int] = {}
        waiting: dict[tuple[int, int], list[tuple[_Place, Due]]] = {}
        for one in due:
            place = one[0]
            rounds[place] = nth = rounds.get(place, 0) + 1
            waiting.setdefault((nth, id(place.member.worker.decoder)), []).append(one)
        for together in waiting.values():
            size = math.ceil(len(together) / math.ceil(len(together) / MAX_BATCH))
            for start in range(0, len(together), size):
                self._decode(together[start : start + size])

    def _decode(self, part: list[tuple[_Place, Due]]) -> None:
        begin = time.perf_counter()
        try:
            sessions = [place.member.worker.pipeline.session for place, _ in part]
            logits = part[0][0].member.worker.decoder.decode(sessions, [due.window for _, due in part])
        except Exception as error:  # noqa: BLE001 - handed to the threads of the streams it concerns
            for place, _ in part:
                place.end(error)
            return
        decode_ms = (time.perf_counter() - begin) * 1e3
        self.batches += 1
        self.windows += len(part)
        # one decoder, one bundle, one temperature
        probabilities = part[0][0].member.worker.pipeline.probabilities(logits)
        for (place, due), row in zip(part, probabilities, strict=True):
            try:
                if not place.ended.is_set():
                    place.member.publish(due, row, decode_ms)
            except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
                place.end(error)

    def _settle(self, place: _Place, look: Look) -> None:
        if place.ended.is_set():
            return
        try:
            place.member.settle()
        except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
            place.end(error)
            return
        self._look_again(place, look)

    def _look_again(self, place: _Place, look: Look | None) -> None:
        heapq.heappush(self._looks, (time.monotonic() + place.pause_s(look), next(self._count), place))
