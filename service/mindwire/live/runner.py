"""One thread for many streams: it pulls, conditions, decodes and publishes for all that are due together.

A thread per stream answers fastest, but its wake-ups cost more than the work they do, and a few dozen streams
fill a core. Here a stream's inlet is asked when its next window can be due; the streams that are due within so
short a time that nobody notices go through the pipeline together. How a stream is found, and what becomes of
it when it is lost, stays with the stream's own thread, which sleeps meanwhile.

Before each step the thread notes which streams take part. When a step raises, or takes so long that
:meth:`Runner.relieve` is called, only those streams end; the rest of the turn is finished, by another thread if need be.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from mindwire.errors import LoopError
from mindwire.inference.decoder import MAX_BATCH
from mindwire.live.decode_loop import Due
from mindwire.live.place import Look, Member, Place
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.loops import Abandoned, LoopThread
from mindwire.signal.conditioner import Conditioned
from mindwire.signal.together import condition_together

log = logging.getLogger(__name__)

BATCH_WAIT_S = 0.002
# A step that takes longer hangs: the streams that do not take part in it go on without it.
RELIEVE_AFTER_S = 3.0
_CONNECTING = 8
# So many take part in a turn; with more, the first would wait long for the last.
_MOST_AT_ONCE = 32
_DECODING = "decoding"


class _Turn:
    """What is still to be done for the streams of one turn; each step takes out what it begins."""

    def __init__(self, places: Sequence[Place] = ()) -> None:
        self.places = deque(places)
        self.looks: dict[Place, Look] = {}
        self.conditioned: deque[tuple[Place, Conditioned, float]] = deque()
        self.due: list[tuple[Place, Due]] = []
        self.batches: deque[list[tuple[Place, Due]]] = deque()
        self.decoded: deque[tuple[Place, Due, NDArray[np.float64], float]] = deque()


class _Step(msgspec.Struct, frozen=True, eq=False):
    """What the thread is doing: since when, and for which streams."""

    what: str
    places: Sequence[Place]
    since: float


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
        To be held while a stream connects, never while it searches: all at once, they would drown their own answers.
    """

    def __init__(self, batch_wait_s: float = BATCH_WAIT_S) -> None:
        self.batches = 0
        self.windows = 0
        self.connecting = threading.BoundedSemaphore(_CONNECTING)
        self._batch_wait_s = batch_wait_s
        self._lock = threading.Lock()
        self._newcomers: list[Place] = []
        self._wake = threading.Event()
        self._thread: LoopThread | None = None
        self._now = _Turn()
        self._step: _Step | None = None
        self._count = itertools.count()
        # when to look, a number that settles ties, whom to look at
        self._looks: list[tuple[float, int, Place]] = []

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
        place = Place(member)
        with self._lock:
            self._newcomers.append(place)
            if self._thread is None:
                self._start()
        self._wake.set()
        place.ended.wait()
        if place.error is not None:
            raise place.error

    def relieve(self, after_s: float = RELIEVE_AFTER_S) -> None:
        """Have another thread go on when the present one hangs in a step; the streams of that step end.

        Parameters
        ----------
        after_s : float
            How long a step may take.
        """
        with self._lock:
            thread, step = self._thread, self._step
            if thread is None:
                return
            dead = not thread.is_alive()
            if not dead and (step is None or time.monotonic() - step.since < after_s):
                return
            what = step.what if step else "waiting"
            places = step.places if step else ()
            log.error("The thread of many streams %s while %s.", "died" if dead else "hangs", what)
            thread.abandon()
            for place in places:
                how = (
                    f"Its thread ended while {what}" if dead else f"It did not return from {what} within {after_s:g} s"
                )
                msg = f"{how}; the other streams go on without it."
                place.end(LoopError(msg))
                decoder = place.member.worker.decoder
                if what == _DECODING and isinstance(decoder, SharedDecoder):
                    decoder.renew()
            self._step = None
            self._start()

    def stop(self) -> None:
        """Fence the thread off, because the service ends without waiting for it."""
        with self._lock:
            if self._thread is not None:
                self._thread.abandon()

    def _start(self) -> None:
        self._thread = LoopThread(target=self._run, name="mindwire-runner", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self._finish(self._now)  # what is left of a turn that was interrupted
                self._drive()
            except Exception as error:  # noqa: BLE001 - handed to the streams' own threads
                self._fail(error)
            else:
                return

    def _fail(self, error: Exception) -> None:
        """End the streams of the step that failed, or all when it was of none."""
        step = self._step
        log.error("The thread of many streams failed while %s.", step.what if step else "waiting", exc_info=error)
        places = [place for place in step.places if not place.ended.is_set()] if step else []
        if not places:
            places = [*self._now.looks, *self._now.places, *(place for _, _, place in self._looks)]
            self._now = _Turn()
        for place in places:
            place.end(error)

    def _drive(self) -> None:
        while self._welcome():
            # The first that is due waits a little for others; one alone would wait for nobody.
            turn_at = self._looks[0][0] + (self._batch_wait_s if len(self._looks) > 1 else 0.0)
            pause = turn_at - time.monotonic()
            if pause > 0:
                if self._wake.wait(pause):
                    self._wake.clear()
                continue
            now = time.monotonic()
            places: list[Place] = []
            while self._looks and self._looks[0][0] <= now and len(places) < _MOST_AT_ONCE:
                places.append(heapq.heappop(self._looks)[2])
            self._turn(places)

    def _enter(self, what: str, places: Sequence[Place]) -> None:
        """Note what is begun for whom; ends a thread that was relieved."""
        thread = threading.current_thread()
        with self._lock:
            if thread is not self._thread:
                raise Abandoned
            self._step = _Step(what, places, time.monotonic())

    def _welcome(self) -> bool:
        """Take in newcomers; whether there is anybody to drive."""
        with self._lock:
            if threading.current_thread() is not self._thread:
                raise Abandoned
            self._step = None
            newcomers, self._newcomers = self._newcomers, []
            if not newcomers and not self._looks:
                self._thread = None
                return False
        now = time.monotonic()
        for place in newcomers:
            heapq.heappush(self._looks, (now, next(self._count), place))
        return True

    def _turn(self, places: list[Place]) -> None:
        """Take some streams from the pull to the publication."""
        self._now = _Turn(places)
        self._finish(self._now)

    def _finish(self, turn: _Turn) -> None:
        while turn.places:
            self._look(turn, turn.places.popleft())
        self._condition_together(turn)
        while turn.conditioned:
            self._take(turn, *turn.conditioned.popleft())
        for place, look in list(turn.looks.items()):
            self._condition_rest(turn, place, look)
        self._gather_batches(turn)
        while turn.batches:
            self._decode(turn, turn.batches.popleft())
            while turn.decoded:
                self._publish(*turn.decoded.popleft())
        while turn.looks:
            self._settle(*turn.looks.popitem())

    def _look(self, turn: _Turn, place: Place) -> None:
        if place.ended.is_set():
            return
        self._enter("reading", (place,))
        if place.member.stopping:
            place.end(None)
            return
        try:
            look = place.member.look()
            if look is None:
                self._look_again(place, None)
            else:
                turn.looks[place] = look
        except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
            place.end(error)

    def _condition_together(self, turn: _Turn) -> None:
        """Condition whoever is in the usual course; what is left to do stays in the looks' chunks."""
        looks = list(turn.looks.items())
        places = [place for place, look in looks if len(look.chunks) == 1 and not place.ended.is_set()]
        if not places:
            return
        self._enter("conditioning", places)
        begin = time.perf_counter()
        conditioners = [place.member.worker.pipeline.conditioner for place in places]
        found = condition_together(conditioners, [turn.looks[place].chunks[0] for place in places])
        each_ms = (time.perf_counter() - begin) * 1e3
        for place, conditioned in zip(places, found, strict=True):
            if conditioned is not None:
                turn.looks[place].chunks.clear()
                turn.conditioned.append((place, conditioned, each_ms))

    def _take(self, turn: _Turn, place: Place, conditioned: Conditioned, each_ms: float) -> None:
        self._enter("conditioning", (place,))
        worker, look = place.member.worker, turn.looks[place]
        begin = time.perf_counter()
        try:
            windows = worker.pipeline.take(conditioned)
            condition_ms = each_ms + (time.perf_counter() - begin) * 1e3
            since = look.since + condition_ms / 1e3
            turn.due += [(place, one) for one in worker.due(windows, look.pulled_at, condition_ms, since)]
        except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
            place.end(error)

    def _condition_rest(self, turn: _Turn, place: Place, look: Look) -> None:
        while look.chunks and not place.ended.is_set():
            self._enter("conditioning", (place,))
            try:
                due = place.member.worker.condition(look.chunks.pop(0), look.pulled_at)
                turn.due += [(place, one) for one in due]
            except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
                place.end(error)

    @staticmethod
    def _gather_batches(turn: _Turn) -> None:
        """In rounds, because a batch holds one window of each stream, and a stream that is behind has several."""
        rounds: dict[Place, int] = {}
        waiting: dict[tuple[int, int], list[tuple[Place, Due]]] = {}
        for one in turn.due:
            place = one[0]
            rounds[place] = nth = rounds.get(place, 0) + 1
            waiting.setdefault((nth, id(place.member.worker.decoder)), []).append(one)
        for together in waiting.values():
            size = math.ceil(len(together) / math.ceil(len(together) / MAX_BATCH))
            turn.batches.extend(together[start : start + size] for start in range(0, len(together), size))
        turn.due.clear()

    def _decode(self, turn: _Turn, part: list[tuple[Place, Due]]) -> None:
        part = [one for one in part if not one[0].ended.is_set()]
        if not part:
            return
        places = [place for place, _ in part]
        self._enter(_DECODING, places)
        begin = time.perf_counter()
        try:
            sessions = [place.member.worker.pipeline.session for place in places]
            logits = places[0].member.worker.decoder.decode(sessions, [due.window for _, due in part])
            # one decoder, one bundle, one temperature
            probabilities = places[0].member.worker.pipeline.probabilities(logits)
        except Exception as error:
            if len(part) == 1:
                places[0].end(error)
            else:  # each by itself, so that only the one whose window it is ends
                log.warning("Decoding %d windows together failed; each is decoded by itself.", len(part), exc_info=True)
                turn.batches.extendleft([one] for one in reversed(part))
            return
        decode_ms = (time.perf_counter() - begin) * 1e3
        self.batches += 1
        self.windows += len(part)
        turn.decoded.extend((*one, row, decode_ms) for one, row in zip(part, probabilities, strict=True))

    def _publish(self, place: Place, due: Due, row: NDArray[np.float64], decode_ms: float) -> None:
        if place.ended.is_set():
            return
        self._enter("publishing", (place,))
        try:
            place.member.publish(due, row, decode_ms)
        except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
            place.end(error)

    def _settle(self, place: Place, look: Look) -> None:
        if place.ended.is_set():
            return
        self._enter("publishing", (place,))
        try:
            place.member.settle()
            self._look_again(place, look)
        except Exception as error:  # noqa: BLE001 - handed to the stream's own thread
            place.end(error)

    def _look_again(self, place: Place, look: Look | None) -> None:
        heapq.heappush(self._looks, (time.monotonic() + place.pause_s(look), next(self._count), place))
