"""One connected source: read, conditioned, published, and checked when its data stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import ResourceError, StreamLostError
from mindwire.live.decode_state import DecodeState, DueWindow
from mindwire.live.poll_timer import PollTimer
from mindwire.live.rehearsal import Rehearsal
from mindwire.live.reporter import StreamReporter
from mindwire.loops import LoopStop, fence
from mindwire.pipeline import Pipeline
from mindwire.sources.live import Connector, Presence, Source, Watch
from mindwire.status import StreamState
from mindwire.types import Chunk, Reason

if TYPE_CHECKING:
    from mindwire.live.model_swap import ModelSwap
    from mindwire.sinks.recorder import Recorder

# Wait for the next chunk, until the loop counts as one that does not move.
_NEXT_CHUNK_S = 2.0
# Time without data after which buffered samples are decoded.
_NO_DATA_S = 0.25
# Interval of the questions if a source that sends nothing still exists, and after one that could not be asked.
_CHECK_EVERY_S, _CHECK_AGAIN_S = 0.25, 5.0


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Time limits of a stream, in seconds."""

    wait: bool = True  # for a source that is absent at the start; otherwise it is refused
    max_backlog_s: float = 1.0  # if more than this is due at once, only the newest window is decoded
    stale_after_s: float = 2.0  # time without data after which a connected stream is stale
    give_up_after_s: float = 10.0  # the same after which a source that no longer answers on the network is lost
    fresh_s: float = 2.0  # age up to which the last prediction counts as fresh


@dataclass(eq=False)
class Connection:
    """Connected source of one stream, as a :class:`mindwire.live.loop.LiveLoop` runs it.

    In each turn the loop calls :meth:`poll`, decodes the windows that this returns, calls :meth:`publish` for each,
    and then :meth:`report`. What a method raises ends the connection and no other.

    Attributes
    ----------
    timer : PollTimer
    read_s : float
        Seconds that the last poll waited for data.
    ended : threading.Event
        Set when the loop has finished with the connection.
    error : Exception or None
        What ended it.
    """

    connector: Connector
    source: Source
    pipeline: Pipeline
    reporter: StreamReporter
    limits: StreamLimits
    stop: LoopStop  # ends the connection; checking it shows that the loop moves
    commands: SimpleQueue[Callable[[Pipeline], None]]  # carried out between two chunks
    discontinuity: Reason = Reason.NONE  # put on the first chunk, which does not continue what the pipeline has seen
    recorder: Callable[[], Recorder | None] = lambda: None  # the present one
    swap: ModelSwap | None = None  # of the stream's model

    def __post_init__(self) -> None:
        """Begin without data."""
        self.timer = PollTimer()
        self.read_s = 0.0
        self.ended = threading.Event()
        self.error: Exception | None = None
        self._state = DecodeState(self.pipeline, max_backlog_s=self.limits.max_backlog_s, swap=self.swap)
        self._data_at = time.monotonic()
        self._check_at = 0.0
        self._watch: Watch | None = None
        self._lost: StreamLostError | None = None
        self._n_reported = 0
        self._rehearsal: Rehearsal | None = None
        self._alone_at: float | None = None  # time of the window to rehearse after, once it is published

    def poll(self, timeout: float) -> list[DueWindow]:
        """Read what has arrived, condition it, and return the windows due.

        Parameters
        ----------
        timeout : float
            Seconds to wait for the first sample; above 0 only for a connection that is alone in its loop.

        Raises
        ------
        StreamLostError
            The source is gone. Windows that had fallen due before are returned first.
        """
        if self._lost:
            raise self._lost
        rehearsal = self._rehearsal if timeout > 0 else None
        begin = time.monotonic()
        try:
            chunk = self.source.read(rehearsal.limited(timeout) if rehearsal else timeout)
        except StreamLostError as error:
            fence()
            self._lost = error
            return self._state.flush(self.source.now())
        fence()
        now = time.monotonic()
        self.read_s = now - begin
        pulled_at = self.source.now()
        while not self.commands.empty():
            self.commands.get()(self.pipeline)
        if self.swap is not None and self.swap.active:
            self._use(self.swap.step(self.pipeline))
        recorder = self.recorder()
        if recorder is not None:  # before decoding: a recording holds no prediction without its samples
            recorder.take(chunk, self.source)
        if chunk is None or not len(chunk):
            if rehearsal and rehearsal.due:
                rehearsal.run()
            return self._wait_for_data(now, pulled_at)
        self._data_at = now
        self._end_watch()
        if self.discontinuity:
            chunk = Chunk(chunk.samples, chunk.times, chunk.discontinuity | self.discontinuity)
            self.discontinuity = Reason.NONE
        self.reporter.counters.samples += len(chunk)
        due = self._state.feed(chunk, pulled_at)
        self._alone_at = now if due and timeout > 0 else None
        self.timer.received(now, pulled_at - float(chunk.times[-1]), self._state.seconds_awaited)
        return due

    def publish(self, due: DueWindow, row: NDArray[np.float64], decode_ms: float) -> None:
        """Publish the prediction of a decoded window from its probabilities, ``(n_classes,)``."""
        if due.pipeline is not self.pipeline:
            if self.swap is not None:
                self.swap.take(due.pipeline, due.window, row, due.latency_ms["condition"] + decode_ms)
            return
        prediction = self._state.complete(due, row, decode_ms)
        self.reporter.publish(prediction)
        if self.swap is not None and self.swap.comparing:
            self.swap.compare(prediction)

    def decode_failed(self, due: DueWindow, error: Exception) -> bool:
        """Refuse the candidate that a window is of; return false if it is of the pipeline in use."""
        if due.pipeline is self.pipeline or self.swap is None:
            return False
        self.swap.fail(due.pipeline, error)
        return True

    def _use(self, pipeline: Pipeline) -> None:
        if pipeline is not self.pipeline:
            self.pipeline, self._rehearsal = pipeline, None
            self._state.use(pipeline)

    def report(self) -> None:
        """Report what happened besides predictions, once those of a poll are published."""
        reporter, counters = self.reporter, self.reporter.counters
        self.pipeline.catch_up()  # the next window would wait a millisecond for the alignment's update
        windows, seconds = self._state.take_backlog()
        if windows:
            counters.skipped += windows
            message = f"{windows} windows of a backlog of {seconds:.1f} s were skipped to be up to date."
            reporter.emit("skipped", message, {"windows": windows, "seconds": seconds})
        for event in self.pipeline.drain_events():
            if event.kind in ("gap", "clock_reset"):
                counters.gaps += event.data["count"]
            data = self.swap.of_pipeline(self.pipeline, event.data) if self.swap is not None else event.data
            reporter.emit(event.kind, event.message, data)
        if self.swap is not None and self.swap.active:
            self.swap.report()
        conditioned = self._state.take_conditioned()
        for times, samples in conditioned:
            reporter.publish_signal(times, samples)
        if conditioned and counters.predictions == self._n_reported:
            self._report_filling()
        self._n_reported = counters.predictions
        if self._alone_at is not None and self.pipeline.learner is None and Rehearsal.fits(self.pipeline):
            self._rehearsal = self._rehearsal or Rehearsal(self.pipeline, self.pipeline.decoder)
            self._rehearsal.window_arrived(self._alone_at)
        self._alone_at = None

    def report_overload(self, load: float) -> None:
        """Report that the loop is nearly always busy."""
        message = (
            f"The streams of this process take {load:.0%} of its live loop's time, and predictions may come late; give "
            "fewer streams, a longer --hop, or as many --workers as there are cores."
        )
        self.reporter.emit("overload", message, {"load": load})

    def renew(self, pipeline: Pipeline) -> None:
        """Continue with another pipeline of the same contract from the next chunk on; called between two chunks."""
        for event in self.pipeline.drain_events():
            self.reporter.emit(event.kind, event.message, event.data)
        self.pipeline = pipeline
        self._state = DecodeState(pipeline, max_backlog_s=self.limits.max_backlog_s, swap=self.swap)
        self._rehearsal = self._alone_at = None

    def end(self, error: Exception | None) -> None:
        """End the connection; only the first call counts."""
        if not self.ended.is_set():
            self.error = error
            self.ended.set()

    def close(self) -> None:
        """Disconnect, once the connection has ended."""
        self._end_watch()
        self.source.close()

    def _wait_for_data(self, now: float, pulled_at: float) -> list[DueWindow]:
        """Check the source if it sends nothing; return the windows due of the samples buffered."""
        self.timer.nothing_received(now)
        if (seconds := now - self._data_at) < _NO_DATA_S:
            return []
        if seconds >= self.limits.stale_after_s:
            name = self.source.info.name
            self.reporter.to_state(StreamState.STALE, f"{name!r} is connected but sends no samples.")
            presence = self._presence(now)
            if presence is Presence.REPLACED:
                msg = f"{name!r} is silent, and another outlet has its identity."
                raise StreamLostError(msg)
            if presence is Presence.ABSENT and seconds > self.limits.give_up_after_s:
                msg = f"{name!r} has been silent for {seconds:.0f} s and no longer answers on the network."
                raise StreamLostError(msg)
        return self._state.flush(pulled_at)

    def _presence(self, now: float) -> Presence | None:
        """Return the source's state on the network, asked for at most four times a second; None while it is unknown."""
        if now < self._check_at:
            return None
        self._check_at = now + _CHECK_EVERY_S
        try:
            self._watch = self._watch or self.connector.watch(self.source.info.uid)
            presence = self._watch.verdict()
        except ResourceError:  # the network cannot be asked now; the source may still send
            self._check_at = now + _CHECK_AGAIN_S
            self._end_watch()
            return None
        if presence is not None:
            self._end_watch()
        return presence

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _report_filling(self) -> None:
        """Leave the states stale and live while samples arrive but the window is not full again."""
        reporter = self.reporter
        age = reporter.prediction_age
        fresh = age is not None and age <= self.limits.fresh_s
        if reporter.state is StreamState.STALE or (reporter.state is StreamState.LIVE and not fresh):
            contract = self.pipeline.contract
            needed = contract.window_samples / contract.sfreq
            reason = f"Samples arrive; {needed:g} s of unbroken signal are needed for the next prediction."
            reporter.to_state(StreamState.SETTLING, reason)


def carry_out(action: Callable[[], None], commands: SimpleQueue[Callable[[Pipeline], None]] | None) -> None:
    """Carry out an action as a command between two chunks, and wait for it; at once where no loop takes commands."""
    done, once = threading.Event(), threading.Lock()

    def act(_: Pipeline | None = None) -> None:
        with once:
            if not done.is_set():
                action()
                done.set()

    if commands is not None:
        commands.put(act)
        done.wait(_NEXT_CHUNK_S)
    act()
