"""One connected source: its decode state and the detection that its data stopped."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import StreamLostError
from mindwire.inference.decoder import Decoder
from mindwire.live.data_timeout import DataTimeout
from mindwire.live.decode_state import DecodeState, DueWindow
from mindwire.live.poll_timer import PollTimer
from mindwire.live.rehearsal import Rehearsal
from mindwire.live.reporter import StreamReporter
from mindwire.loops import LoopStop, fence
from mindwire.options import AdaptationCommand
from mindwire.pipeline import Pipeline
from mindwire.sources.live import Connector, Source
from mindwire.status import StreamState
from mindwire.types import Chunk, Reason

# Time without data after which buffered samples are decoded and the source is checked.
_NO_DATA_S = 0.25


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Time limits of a stream.

    Parameters
    ----------
    wait : bool
        Wait for a source that is absent at the start; otherwise it is refused.
    max_backlog_s : float
        If more than this is due at once, only the newest window is decoded.
    stale_after_s : float
        Time without data after which a connected stream is stale.
    give_up_after_s : float
        Time without data after which a source that no longer answers on the network is lost.
    fresh_s : float
        Age up to which the last prediction counts as fresh.
    """

    wait: bool = True
    max_backlog_s: float = 1.0
    stale_after_s: float = 2.0
    give_up_after_s: float = 10.0
    fresh_s: float = 2.0


class Connection:
    """Connected source of one stream, as a :class:`mindwire.live.loop.LiveLoop` runs it.

    In each turn the loop calls :meth:`poll`, decodes the windows that this returns, calls :meth:`publish` for each,
    and then :meth:`report`. What a method raises ends the connection and no other.

    Parameters
    ----------
    connector : Connector
    source : Source
    pipeline : Pipeline
    decoder : Decoder
    reporter : StreamReporter
    limits : StreamLimits
    stop : LoopStop
        Ends the connection.
    commands : queue of AdaptationCommand
        Carried out between two chunks.
    discontinuity : Reason
        Reason to put on the first chunk, which does not continue what the pipeline has seen before.

    Attributes
    ----------
    decoder : Decoder
    timer : PollTimer
    read_s : float
        Seconds that the last poll waited for data.
    ended : threading.Event
        Set when the loop has finished with the connection.
    error : Exception or None
        What ended it.
    """

    def __init__(
        self,
        connector: Connector,
        source: Source,
        pipeline: Pipeline,
        decoder: Decoder,
        *,
        reporter: StreamReporter,
        limits: StreamLimits,
        stop: LoopStop,
        commands: SimpleQueue[AdaptationCommand],
        discontinuity: Reason = Reason.NONE,
    ) -> None:
        self.decoder = decoder
        self.timer = PollTimer()
        self.read_s = 0.0
        self.ended = threading.Event()
        self.error: Exception | None = None
        self._source = source
        self._pipeline = pipeline
        self._state = DecodeState(pipeline, max_backlog_s=limits.max_backlog_s)
        self._timeout = DataTimeout(connector, source, limits.give_up_after_s)
        self._reporter = reporter
        self._limits = limits
        self._stop = stop
        self._commands = commands
        self._discontinuity = discontinuity
        self._lost: StreamLostError | None = None
        self._n_reported = 0
        self._rehearsal: Rehearsal | None = None
        self._alone_at: float | None = None  # time of the window to rehearse after, once it is published

    @property
    def session(self) -> Any:
        """The decoder's state for this stream."""
        return self._pipeline.session

    def stopped(self) -> bool:
        """Return true if the connection is to end; a sign of life of its loop."""
        return self._stop.is_set()

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
        alone = timeout > 0
        rehearsal = self._rehearsal if alone else None
        timeout = rehearsal.limited(timeout) if rehearsal else timeout
        begin = time.monotonic()
        try:
            chunk = self._source.read(timeout)
        except StreamLostError as error:
            fence()
            self._lost = error
            return self._state.flush(self._source.now())
        fence()
        now = time.monotonic()
        self.read_s = now - begin
        pulled_at = self._source.now()
        while not self._commands.empty():
            self._pipeline.adapt(self._commands.get())
        if chunk is not None and len(chunk):
            self._timeout.data_received(now)
            if self._discontinuity:
                chunk = Chunk(chunk.samples, chunk.times, chunk.discontinuity | self._discontinuity)
                self._discontinuity = Reason.NONE
            self._reporter.counters.samples += len(chunk)
            due = self._state.feed(chunk, pulled_at)
            self._alone_at = now if due and alone else None
            self.timer.received(now, pulled_at - float(chunk.times[-1]), self._state.seconds_awaited)
            return due
        if rehearsal and rehearsal.due:
            rehearsal.run()
        self.timer.nothing_received(now)
        if (seconds := self._timeout.seconds(now)) < _NO_DATA_S:
            return []
        if seconds >= self._limits.stale_after_s:
            name = self._source.info.name
            self._reporter.to_state(StreamState.STALE, f"{name!r} is connected but sends no samples.")
            self._timeout.check(now)
        return self._state.flush(pulled_at)

    def publish(self, due: DueWindow, logits: NDArray[np.floating[Any]], decode_ms: float) -> None:
        """Publish the prediction of a decoded window."""
        self._reporter.publish(self._state.complete(due, logits, decode_ms))

    def report(self) -> None:
        """Report what happened besides predictions, once those of a poll are published."""
        reporter, state = self._reporter, self._state
        if backlog := state.take_backlog():
            reporter.counters.skipped += backlog.windows
            message = (
                f"{backlog.windows} windows of a backlog of {backlog.seconds:.1f} s were skipped to be up to date."
            )
            reporter.emit("skipped", message, {"windows": backlog.windows, "seconds": backlog.seconds})
        for event in self._pipeline.drain_events():
            if event.kind in ("gap", "clock_reset"):
                reporter.counters.gaps += event.data["count"]
            reporter.emit(event.kind, event.message, event.data)
        conditioned = state.take_conditioned()
        for times, samples in conditioned:
            reporter.publish_signal(times, samples)
        predictions = reporter.counters.predictions
        if conditioned and predictions == self._n_reported:
            self._report_filling()
        self._n_reported = predictions
        if self._alone_at is not None:
            self._rehearse_after(self._alone_at)
            self._alone_at = None

    def end(self, error: Exception | None) -> None:
        """End the connection; only the first call counts."""
        if not self.ended.is_set():
            self.error = error
            self.ended.set()

    def close(self) -> None:
        """Disconnect, once the connection has ended."""
        self._timeout.close()
        self._source.close()

    def report_overload(self, load: float) -> None:
        """Report that the loop is nearly always busy."""
        message = (
            f"The streams of this process take {load:.0%} of its live loop's time, and predictions may come late; give "
            "fewer streams, a longer --hop, or as many --workers as there are cores."
        )
        self._reporter.emit("overload", message, {"load": load})

    def _rehearse_after(self, at: float) -> None:
        """Plan a rehearsal before the window that follows one of this time, unless the decoder learns."""
        if self._pipeline.learner is None:
            self._rehearsal = self._rehearsal or Rehearsal(self._pipeline, self.decoder)
            self._rehearsal.window_arrived(at)

    def _report_filling(self) -> None:
        """Leave the states stale and live while samples arrive but the window is not full again."""
        reporter = self._reporter
        age = reporter.prediction_age
        fresh = age is not None and age <= self._limits.fresh_s
        if reporter.state is StreamState.STALE or (reporter.state is StreamState.LIVE and not fresh):
            contract = self._pipeline.contract
            needed = contract.window_samples / contract.sfreq
            reason = f"Samples arrive; {needed:g} s of unbroken signal are needed for the next prediction."
            reporter.to_state(StreamState.SETTLING, reason)
