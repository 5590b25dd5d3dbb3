"""The live loop: one thread that reads, decodes and publishes for any number of connections.

    connection.poll ──▶ decoder.decode ──▶ connection.publish ──▶ connection.report
    one after another   all windows due    one after another      one after another

With one connection the loop waits in its read. With several it sleeps until samples for a window should have arrived
at one of them, waits a little longer if another is due soon, and decodes the windows of all in one batch. A thread per
connection would cost more in wake-ups than in work.

Before each step the thread notes the connections concerned. When a step raises, or hangs until
:meth:`LiveLoop.replace_if_hung` is called, those connections end; another thread finishes the rest of the turn.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from mindwire.errors import LoopError
from mindwire.inference.decoder import MAX_BATCH
from mindwire.live.connection import Connection
from mindwire.live.decode_state import DueWindow
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.loops import Abandoned, LoopThread, fence

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_WAIT_S = 0.002
# Maximum connections per turn; larger turns delay the first: with 150 streams in two workers the 99th percentile of the
# age of predictions is 18 to 22 ms, with 32 connections 45 to 55 ms and with 8 connections 32 to 40 ms.
_MOST_PER_TURN = 16
_READ_S = 0.25
# Share of its time above which the loop reports that it is overloaded, and the seconds over which it is measured.
_OVERLOAD = 0.8
_LOAD_S = 10.0
_DECODING = "decoding"


class _Turn:
    """Work left of one turn; each step removes what it begins."""

    def __init__(self, connections: Sequence[Connection] = (), timeout: float = 0.0) -> None:
        self.timeout = timeout
        self.to_poll = deque(connections)
        self.due: list[tuple[Connection, DueWindow]] = []
        self.batches: deque[list[tuple[Connection, DueWindow]]] = deque()
        self.decoded: deque[tuple[Connection, DueWindow, NDArray[np.float32], float]] = deque()
        self.to_report: deque[Connection] = deque()


class _Step(msgspec.Struct, frozen=True, eq=False):
    """Name, connections and beginning of the step that the thread carries out."""

    name: str
    connections: Sequence[Connection]
    since: float


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
        self._turn = _Turn()
        self._step: _Step | None = None
        self._count = itertools.count()
        # time of the next poll, a number that settles ties, the connection
        self._polls: list[tuple[float, int, Connection]] = []
        self._busy_s, self._idle_s = 0.0, 0.0

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
            others = self._others(concerned)
            limit = after_s if others else alone_after_s
            if not died and (step is None or time.monotonic() - step.since < limit):
                return
            name = step.name if step else "waiting"
            log.error("The live loop %s while %s.", "died" if died else "hangs", name)
            thread.abandon()
            how = f"Its loop ended while {name}" if died else f"Its loop has not moved for {limit:g} s while {name}"
            for connection in concerned:
                connection.end(LoopError(f"{how}; the other streams go on." if others else f"{how}."))
                if name == _DECODING and isinstance(connection.decoder, SharedDecoder):
                    connection.decoder.replace()
            self._step = None
            self._start_thread()

    def stop(self) -> None:
        """Fence the thread off, because the service ends without waiting for it."""
        with self._lock:
            if self._thread is not None:
                self._thread.abandon()

    def _others(self, connections: Sequence[Connection]) -> bool:
        """Return true if the loop has connections besides these."""
        turn = self._turn
        all_of_them = {*turn.to_poll, *turn.to_report, *(connection for _, _, connection in self._polls)}
        return any(not connection.ended.is_set() for connection in all_of_them.difference(connections))

    def _start_thread(self) -> None:
        self._thread = LoopThread(target=self._run, name="mindwire-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self._finish_turn()  # also what is left of a turn of the thread before
                if not self._begin_turn():
                    return
            except Exception as error:
                log.exception("The live loop failed; its connections end.")
                with self._lock:
                    turn, self._turn = self._turn, _Turn()
                    everyone = [*turn.to_poll, *turn.to_report, *(connection for _, _, connection in self._polls)]
                for connection in everyone:
                    connection.end(error)

    def _begin_turn(self) -> bool:
        """Wait for the next turn; return false when no connection is left."""
        while True:
            with self._lock:
                self._refuse_others()
                self._step = None
                while self._polls and self._polls[0][2].ended.is_set():
                    heapq.heappop(self._polls)
                if not self._polls:
                    self._thread = None
                    return False
                now = time.monotonic()
                alone = len(self._polls) == 1
                pause = 0.0 if alone else self._turn_at() - now
                if pause <= 0:
                    due: list[Connection] = []
                    while self._polls and (alone or self._polls[0][0] <= now) and len(due) < _MOST_PER_TURN:
                        due.append(heapq.heappop(self._polls)[2])
                    self._turn = _Turn(due, _READ_S if alone else 0.0)
                    return True
            if self._wake.wait(pause):
                self._wake.clear()
            self._measure_load(idle_s=time.monotonic() - now)

    def _turn_at(self) -> float:
        """Return the time of the next turn: of the first poll, or a little later if another follows soon."""
        first = self._polls[0][0]
        second = min(self._polls[1:3])[0]  # of a heap the next one is here
        return first + self._batch_wait_s if second <= first + self._batch_wait_s else first

    def _finish_turn(self) -> None:
        turn = self._turn
        begin, read_s = time.monotonic(), 0.0
        while turn.to_poll:
            connection = turn.to_poll.popleft()
            if connection.stopped():
                connection.end(None)
                continue
            turn.to_report.append(connection)
            for due in self._do("reading", connection, connection.poll, turn.timeout) or ():
                turn.due.append((connection, due))
            read_s += connection.read_s if turn.timeout else 0.0
        turn.batches.extend(_batches(turn.due))
        turn.due.clear()
        while turn.batches:
            self._decode(turn, turn.batches.popleft())
            while turn.decoded:
                connection, *decoded = turn.decoded.popleft()
                self._do("publishing", connection, connection.publish, *decoded)
        while turn.to_report:
            connection = turn.to_report.popleft()
            self._do("publishing", connection, connection.report)
            if not connection.ended.is_set():
                with self._lock:
                    self._schedule(connection, connection.timer.next_poll)
        self._measure_load(idle_s=read_s, busy_s=time.monotonic() - begin - read_s)

    def _decode(self, turn: _Turn, batch: list[tuple[Connection, DueWindow]]) -> None:
        batch = [one for one in batch if not one[0].ended.is_set()]
        if not batch:
            return
        connections = [connection for connection, _ in batch]
        begin = time.perf_counter()
        try:
            self._begin_step(_DECODING, connections)
            sessions = [connection.session for connection in connections]
            logits = connections[0].decoder.decode(sessions, [due.window for _, due in batch])
            fence()
        except Exception as error:
            if len(batch) == 1:
                connections[0].end(error)
            else:  # one at a time, so that only the connection whose window fails ends
                log.warning("Decoding %d windows in one batch failed; retrying each.", len(batch), exc_info=True)
                turn.batches.extendleft([one] for one in reversed(batch))
            return
        decode_ms = (time.perf_counter() - begin) * 1e3
        turn.decoded.extend((*one, row, decode_ms) for one, row in zip(batch, logits, strict=True))

    def _do(self, name: str, connection: Connection, call: Callable[..., T], *arguments: Any) -> T | None:
        """Carry out a step for a connection; what it raises ends the connection."""
        if connection.ended.is_set():
            return None
        try:
            self._begin_step(name, (connection,))
            result = call(*arguments)
            fence()
        except Exception as error:  # noqa: BLE001 - raised again in the stream's own thread
            connection.end(error)
            return None
        return result

    def _begin_step(self, name: str, connections: Sequence[Connection]) -> None:
        step = _Step(name, connections, time.monotonic())
        with self._lock:
            self._refuse_others()
            self._step = step

    def _refuse_others(self) -> None:
        """End a thread that was replaced."""
        if threading.current_thread() is not self._thread:
            raise Abandoned

    def _schedule(self, connection: Connection, at: float) -> None:
        heapq.heappush(self._polls, (at, next(self._count), connection))

    def _measure_load(self, *, idle_s: float, busy_s: float = 0.0) -> None:
        self._busy_s += busy_s
        self._idle_s += idle_s
        total = self._busy_s + self._idle_s
        if total < _LOAD_S:
            return
        before, self.load = self.load or 0.0, self._busy_s / total
        self._busy_s = self._idle_s = 0.0
        if self.load >= _OVERLOAD > before:
            with self._lock:
                connections = [connection for _, _, connection in self._polls]
            for connection in connections:
                self._do("publishing", connection, connection.report_overload, self.load)


def _batches(due: Sequence[tuple[Connection, DueWindow]]) -> list[list[tuple[Connection, DueWindow]]]:
    """Divide windows into batches of one decoder with at most one window of each connection, in their order."""
    rounds: dict[Connection, int] = {}
    waiting: dict[tuple[int, int], list[tuple[Connection, DueWindow]]] = {}
    for one in due:
        connection = one[0]
        rounds[connection] = nth = rounds.get(connection, 0) + 1
        waiting.setdefault((nth, id(connection.decoder)), []).append(one)
    found = []
    for windows in waiting.values():
        size = math.ceil(len(windows) / math.ceil(len(windows) / MAX_BATCH))
        found += [windows[start : start + size] for start in range(0, len(windows), size)]
    return found
