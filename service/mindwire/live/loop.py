"""The live loop: one thread that reads, decodes and publishes for any number of connections.

    connection.poll ──▶ decoder.decode ──▶ connection.publish ──▶ connection.report
    one after another   all windows due    one after another      one after another

With one connection the loop waits in its read. With several it sleeps until samples for a window should have arrived
at one of them, waits a little longer if another is due soon, and decodes the windows of all in one batch. A thread per
connection would cost more in wake-ups than in work.

A turn is a queue of steps, each with the connections that it concerns. When a step raises, or hangs until
:meth:`LiveLoop.replace_if_hung` is called, those connections end; another thread carries out the rest of the queue.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec

from mindwire.errors import LoopError
from mindwire.inference.decoder import MAX_BATCH, probabilities
from mindwire.live.connection import Connection
from mindwire.live.decode_state import DueWindow
from mindwire.logs import subject
from mindwire.loops import Abandoned, LoopThread, fence
from mindwire.pipeline import Pipeline

log = logging.getLogger(__name__)

BATCH_WAIT_S = 0.002
# Maximum connections per turn; larger turns delay the first: with 150 streams in two workers the 99th percentile of the
# age of predictions is 18 to 22 ms, with 32 connections 45 to 55 ms and with 8 connections 32 to 40 ms.
_MOST_PER_TURN = 16
_READ_S = 0.25
# Share of its time above which the loop reports that it is overloaded, and the seconds over which it is measured.
_OVERLOAD = 0.8
_LOAD_S = 10.0
_DECODING = "decoding"

Batch = list[tuple[Connection, DueWindow]]


class _Step(msgspec.Struct, frozen=True, eq=False):
    """Part of a turn: its name, the connections that end if it fails or hangs, and the call that carries it out."""

    name: str
    connections: Sequence[Connection]
    call: Callable[[], object]


class LiveLoop:
    """Runs connections in one thread of its own.

    Parameters
    ----------
    batch_wait_s : float
        Longest time that a window waits for others to be decoded with.

    Attributes
    ----------
    load : float or None
        Share of the last ten seconds in which the loop worked; None before they have passed.
    """

    def __init__(self, batch_wait_s: float = BATCH_WAIT_S) -> None:
        self.load: float | None = None
        self._batch_wait_s = batch_wait_s
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: LoopThread | None = None
        self._steps: deque[_Step] = deque()
        self._step: _Step | None = None  # that the thread carries out, and since when
        self._since = 0.0
        self._due: Batch = []  # windows of this turn
        self._count = itertools.count()
        # time of the next poll, a number that settles ties, the connection
        self._polls: list[tuple[float, int, Connection]] = []
        self._idle_s, self._measured_at = 0.0, 0.0

    def run(self, connection: Connection) -> None:
        """Run a connection until it ends; blocks the calling thread.

        Raises
        ------
        Exception
            Whatever ended the connection.
        """
        with self._lock:
            self._schedule(connection, 0.0)
            if self._thread is None:
                self._start_thread()
        self._wake.set()
        connection.ended.wait()
        if connection.error is not None:
            raise connection.error

    def replace_if_hung(self, after_s: float, alone_after_s: float) -> None:
        """Replace the thread if it died or hangs in a step; the connections of that step end.

        Parameters
        ----------
        after_s : float
            Time that a step may take.
        alone_after_s : float
            The same while there is no other connection that waits.
        """
        with self._lock:
            thread, step = self._thread, self._step
            if thread is None:
                return
            died = not thread.is_alive()
            concerned = step.connections if step else ()
            waiting = {c for step in self._steps for c in step.connections} | {c for _, _, c in self._polls}
            others = any(not connection.ended.is_set() for connection in waiting.difference(concerned))
            limit = after_s if others else alone_after_s
            if not died and (step is None or time.monotonic() - self._since < limit):
                return
            name = step.name if step else "waiting"
            log.error("The live loop %s while %s.", "died" if died else "hangs", name)
            thread.abandon()
            how = f"Its loop ended while {name}" if died else f"Its loop has not moved for {limit:g} s while {name}"
            for connection in concerned:
                connection.end(LoopError(f"{how}; the other streams go on." if others else f"{how}."))
            self._start_thread()

    def stop(self) -> None:
        """Fence the thread off, because the service ends without waiting for it."""
        with self._lock:
            if self._thread is not None:
                self._thread.abandon()

    def _start_thread(self) -> None:
        self._step = None
        self._idle_s, self._measured_at = 0.0, time.monotonic()
        self._thread = LoopThread(target=self._run, name="mindwire-loop", daemon=True)
        self._thread.start()

    # ── in the thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while (step := self._next_step()) is not None:
            if not [one for one in step.connections if not one.ended.is_set()]:
                continue
            about = step.connections[0].reporter.log_fields if len(step.connections) == 1 else None
            subject.set(about)
            try:
                step.call()
            except Exception as error:  # noqa: BLE001 - raised again in the streams' own threads
                for connection in step.connections:
                    connection.end(error)

    def _next_step(self) -> _Step | None:
        """Return the next step once it is time, also of a turn that the thread before began; None with no connection left."""
        while True:
            with self._lock:
                self._refuse_others()
                self._since = now = time.monotonic()
                pause = 0.0 if self._steps else self._pause(now)
                if not self._steps and self._polls and pause <= 0:
                    self._plan_turn(now)
                self._step = step = self._steps.popleft() if self._steps else None
                if step is not None:
                    return step
                if not self._polls:
                    self._thread = None
                    return None
            if self._wake.wait(pause):
                self._wake.clear()
            self._idle_s += time.monotonic() - now

    def _pause(self, now: float) -> float:
        """Return the seconds until the next turn: to the first poll, or a little longer if another follows soon."""
        while self._polls and self._polls[0][2].ended.is_set():
            heapq.heappop(self._polls)
        if len(self._polls) < 2:
            return 0.0
        first, second = self._polls[0][0], min(self._polls[1:3])[0]  # of a heap the second is one of these
        return first - now + (self._batch_wait_s if second <= first + self._batch_wait_s else 0.0)

    def _plan_turn(self, now: float) -> None:
        self._measure_load(now)
        alone = len(self._polls) == 1
        due: list[Connection] = []
        while self._polls and (alone or self._polls[0][0] <= now) and len(due) < _MOST_PER_TURN:
            due.append(heapq.heappop(self._polls)[2])
        timeout = _READ_S if alone else 0.0
        self._steps.extend(_Step("reading", (one,), partial(self._poll, one, timeout)) for one in due)
        if not alone:
            self._steps.append(_Step("reading", due, self._divide))
        self._steps.extend(_Step("publishing", (one,), partial(self._report, one)) for one in due)

    def _poll(self, connection: Connection, timeout: float) -> None:
        if connection.stop.is_set():
            connection.end(None)
            return
        windows = connection.poll(timeout)
        fence()
        self._due += [(connection, window) for window in windows]
        if timeout:
            self._idle_s += connection.read_s
            self._divide()  # it is alone

    def _divide(self) -> None:
        windows, self._due = self._due, []
        if not windows:
            return
        self._insert(
            _Step(_DECODING, [one for one, _ in batch], partial(self._decode, batch)) for batch in _batches(windows)
        )

    def _decode(self, batch: Batch) -> None:
        batch = [one for one in batch if not one[0].ended.is_set()]
        connections = [connection for connection, _ in batch]
        begin = time.perf_counter()
        try:
            sessions = [due.pipeline.session for _, due in batch]
            first = batch[0][1].pipeline  # all are of one bundle
            logits = first.decoder.decode(sessions, [due.window for _, due in batch])
            rows = probabilities(logits, first.contract.temperature)
        except Exception as error:
            if len(batch) == 1:
                if connections[0].decode_failed(batch[0][1], error):
                    return
                raise
            # one at a time, so that only the connection whose window fails ends
            log.warning("Decoding %d windows in one batch failed; retrying each.", len(batch), exc_info=True)
            self._insert(_Step(_DECODING, (one[0],), partial(self._decode, [one])) for one in batch)
            return
        decode_ms = (time.perf_counter() - begin) * 1e3
        self._insert(
            _Step("publishing", (connection,), partial(connection.publish, due, row, decode_ms))
            for (connection, due), row in zip(batch, rows, strict=True)
        )

    def _report(self, connection: Connection) -> None:
        connection.report()
        with self._lock:
            self._refuse_others()
            self._schedule(connection, connection.timer.next_poll)

    def _insert(self, steps: Iterable[_Step]) -> None:
        """Put steps before those left of the turn."""
        with self._lock:
            self._refuse_others()
            self._steps.extendleft(reversed(list(steps)))

    def _refuse_others(self) -> None:
        """End a thread that was replaced."""
        if threading.current_thread() is not self._thread:
            raise Abandoned

    def _schedule(self, connection: Connection, at: float) -> None:
        heapq.heappush(self._polls, (at, next(self._count), connection))

    def _measure_load(self, now: float) -> None:
        seconds = now - self._measured_at
        if seconds < _LOAD_S:
            return
        before, self.load = self.load or 0.0, max(0.0, 1.0 - self._idle_s / seconds)
        self._idle_s, self._measured_at = 0.0, now
        if self.load >= _OVERLOAD > before:
            connections = [connection for _, _, connection in self._polls]
            self._steps.extend(_Step("publishing", (c,), partial(c.report_overload, self.load)) for c in connections)


def _batches(due: Iterable[tuple[Connection, DueWindow]]) -> list[Batch]:
    """Divide windows into batches of one decoder with at most one window of each pipeline, in their order."""
    rounds: dict[Pipeline, int] = {}
    waiting: dict[tuple[int, int], Batch] = {}
    for one in due:
        pipeline = one[1].pipeline
        rounds[pipeline] = nth = rounds.get(pipeline, 0) + 1
        waiting.setdefault((nth, id(pipeline.decoder)), []).append(one)
    found = []
    for windows in waiting.values():
        size = math.ceil(len(windows) / math.ceil(len(windows) / MAX_BATCH))
        found += [windows[start : start + size] for start in range(0, len(windows), size)]
    return found
