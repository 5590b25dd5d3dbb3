"""Supervision of streams: a thread for each, replaced when it dies or hangs, given up after repeated failure.

One failing stream harms no other. Nothing here knows LSL or the web.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mindwire.errors import LoopError, MindwireError
from mindwire.live.stream import Stream
from mindwire.logs import subject
from mindwire.loops import Abandoned, LoopThread, fence
from mindwire.status import StreamState

log = logging.getLogger(__name__)

_WATCH_EVERY_S = 0.5
# If the watch itself woke late by more than this, the whole process stood still, and no loop is to blame.
_WATCH_LATE_S = 1.0
# A stream that ran for this long is healthy, and its earlier failures are forgotten.
_HEALTHY_AFTER_S = 60.0
_CLOSE_S = 5.0
_CLOSE_HUNG_S = 0.3


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Times of the replacement of streams that died, hang or were refused, in seconds."""

    # Pause before each restart; after one more failure than there are pauses the stream has failed.
    delays_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    hung_after_s: float = 15.0  # time without a check by its loop after which a stream hangs
    loop_hung_after_s: float = 3.0  # the same for one step of a loop that other streams wait for
    refused_s: float = 5.0  # pause after a refusal at the start, before the stream is searched for again


class _Run:
    """A stream, the thread that runs it now, and its failures."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.thread = LoopThread()
        self.failures = 0
        self.began = 0.0
        self.removed = False


class Supervisor:
    """Runs streams until it is stopped; streams are added and removed, by one thread at a time, while others run.

    Parameters
    ----------
    streams : sequence of Stream
    on_refused : callable
        Called, from the stream's thread, with the error of a stream whose very first search was refused. The stream is
        searched for again a few seconds later, unless the supervisor is stopped.
    policy : RestartPolicy
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        *,
        on_refused: Callable[[Stream, MindwireError], None],
        policy: RestartPolicy | None = None,
    ) -> None:
        self._runs = {stream: _Run(stream) for stream in streams}  # replaced as a whole: the watch iterates over it
        self._started = False
        self._on_refused = on_refused
        self._policy = policy or RestartPolicy()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watch_loops, name="mindwire-watch", daemon=True)

    def start(self) -> None:
        """Start every stream."""
        self._started = True
        for run in self._runs.values():
            self._begin(run, None)
        self._watch.start()

    def add(self, stream: Stream) -> None:
        """Run one more stream, from the start of the others at the earliest."""
        run = _Run(stream)
        self._runs = {**self._runs, stream: run}
        if self._started:
            self._begin(run, None)

    def remove(self, stream: Stream, reason: str, timeout: float) -> bool:
        """Stop one stream and close its sinks, as :meth:`stop` does for all; the others are not touched.

        Parameters
        ----------
        stream : Stream
        reason : str
            Why it ends, in one sentence for its clients.
        timeout : float
            Seconds to wait for it.

        Returns
        -------
        bool
            True if it has ended by itself.
        """
        run = self._runs[stream]
        run.removed = True
        self._runs = {one: other for one, other in self._runs.items() if one is not stream}
        return self._end([run], timeout, reason)

    def stop(self, timeout: float) -> bool:
        """Stop every stream and close its sinks, also those of a stream that hangs.

        Parameters
        ----------
        timeout : float
            Seconds to wait for all streams.

        Returns
        -------
        bool
            True if all have ended by themselves.
        """
        self._stopping.set()
        if self._watch.is_alive():
            self._watch.join(_CLOSE_HUNG_S)
        runs = list(self._runs.values())
        return self._end(runs, timeout, "The service is stopping.")

    def _end(self, runs: Sequence[_Run], timeout: float, reason: str) -> bool:
        for run in runs:
            run.stream.stop(reason)
        deadline = time.monotonic() + timeout
        for run in runs:
            if run.thread.ident is not None:
                run.thread.join(max(0.0, deadline - time.monotonic()))
        hung = [run for run in runs if run.thread.is_alive()]
        for run in hung:
            log.error(
                "The stream does not end; the service goes on without it.", extra=run.stream.reporter.log_fields()
            )
            if self._stopping.is_set():
                run.stream.loop.stop()  # otherwise it is also that of other streams
            run.thread.abandon()
        # in threads of their own, because one of the sinks may be what a loop hangs in
        self._close(
            [run.stream for run in runs if run not in hung], _CLOSE_S, "" if self._stopping.is_set() else reason
        )
        for run in hung:
            why = f"{reason.rstrip('.')}; its loop hung and was left behind."
            self._close([run.stream], _CLOSE_HUNG_S, why, hung=True)
        return not hung

    @staticmethod
    def _close(streams: Sequence[Stream], patience_s: float, reason: str, *, hung: bool = False) -> None:
        def close() -> None:
            for stream in streams:
                subject.set(stream.reporter.log_fields)
                if hung:
                    previous = stream.state
                    stream.abandon(StreamState.STOPPED, reason)
                    stream.reporter.report_state(previous)
                elif stream.state is not StreamState.STOPPED and reason:  # it had failed, or waited for another attempt
                    stream.reporter.to_state(StreamState.STOPPED, reason)
                stream.reporter.close()

        thread = threading.Thread(target=close, name="mindwire-close", daemon=True)
        thread.start()
        thread.join(patience_s)
        if thread.is_alive():
            log.error("Not all sinks of the streams could be closed within %g s.", patience_s)

    # ── in the streams' threads ──────────────────────────────────────────────────────────────────────

    def _begin(self, run: _Run, report: Callable[[], None] | None) -> None:
        """Run a stream in a new thread, which first reports the failure of the one before."""
        # Daemons, so that a thread stuck in a driver cannot keep the process alive after it was given up.
        run.thread = LoopThread(
            target=self._keep_running, args=(run, report), name=f"mindwire-{run.stream.name}", daemon=True
        )
        run.began = time.monotonic()
        run.stream.wait(0.0)
        run.thread.start()

    def _keep_running(self, run: _Run, report: Callable[[], None] | None) -> None:
        subject.set(run.stream.reporter.log_fields)
        if report is not None:
            report()
            self._pause(run)
        while not self._over(run):
            run.began = time.monotonic()
            try:
                run.stream.run()
            except Abandoned:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever ends a stream is reported and survived
                self._recover(run, error)

    def _over(self, run: _Run) -> bool:
        return self._stopping.is_set() or run.removed or run.stream.state is StreamState.FAILED

    def _recover(self, run: _Run, error: BaseException) -> None:
        """Report what ended a stream, and wait for the time of its restart."""
        stream = run.stream
        fence()
        if isinstance(error, MindwireError) and not stream.connected_once:
            stream.reporter.to_state(StreamState.FAILED, str(error))
            self._on_refused(stream, error)
            stream.wait(self._policy.refused_s)
            if not (self._stopping.is_set() or run.removed):
                stream.reporter.to_state(StreamState.SEARCHING, str(error))
            return
        if isinstance(error, LoopError):
            stream.leave_loop()
            report = self._count_failure(run, str(error), self._policy.hung_after_s)
        else:
            log.error("The stream died.", exc_info=error)
            report = self._count_failure(run, f"{type(error).__name__}: {error}")
        report()
        self._pause(run)

    def _pause(self, run: _Run) -> None:
        if not self._over(run):
            run.stream.wait(self._policy.delays_s[run.failures - 1])

    def _count_failure(self, run: _Run, what: str, hung_for_s: float = 0.0) -> Callable[[], None]:
        """Count a failure and abandon the loop; return the report to make, by a thread that may hang over it."""
        stream, delays = run.stream, self._policy.delays_s
        healthy = time.monotonic() - run.began >= _HEALTHY_AFTER_S
        run.failures = 1 if healthy else run.failures + 1
        previous = stream.state
        if run.failures > len(delays):
            reason = f"Given up after {run.failures} failures in a row; the last was {what}"
            stream.abandon(StreamState.FAILED, reason, hung_for_s=hung_for_s)
            return lambda: stream.reporter.report_state(previous)
        verb = "hangs and is replaced" if hung_for_s else "died and restarts"
        reason = f"The stream {verb} in {delays[run.failures - 1]:g} s: {what}"
        stream.counters.restarts += 1
        stream.abandon(StreamState.STALE, reason, hung_for_s=hung_for_s)

        def report() -> None:
            stream.reporter.emit("error", reason, {"failures": run.failures, "hung": bool(hung_for_s)})
            stream.reporter.report_state(previous)

        return report

    # ── in the watch's own thread ────────────────────────────────────────────────────────────────────

    def _watch_loops(self) -> None:
        policy = self._policy
        every = min(_WATCH_EVERY_S, policy.hung_after_s / 4, policy.loop_hung_after_s / 4)
        woke = time.monotonic()
        while not self._stopping.wait(every):
            before, woke = woke, time.monotonic()
            if woke - before > every + _WATCH_LATE_S:
                continue
            try:
                for loop in {stream.loop for stream in self._runs}:
                    loop.replace_if_hung(policy.loop_hung_after_s, policy.hung_after_s)
                for run in self._runs.values():
                    self._check(run)
            except Exception:
                log.exception("Streams could not be watched")

    def _check(self, run: _Run) -> None:
        """Replace a stream's thread that hangs or is dead; the connection of one that is connected is its loop's."""
        stream, alive = run.stream, run.thread.is_alive()
        if run.removed or stream.state in (StreamState.FAILED, StreamState.STOPPED):
            return
        still_s = stream.still_s if alive else 0.0
        if alive and (stream.source is not None or still_s < self._policy.hung_after_s):
            return
        run.thread.abandon()
        what = f"its loop has not moved for {still_s:.0f} s" if alive else "its thread ended"
        log.error("The stream is replaced: %s.", what, extra=run.stream.reporter.log_fields())
        self._begin(run, self._count_failure(run, what, still_s))
