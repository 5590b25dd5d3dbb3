"""Keeps streams running: a thread for each, replaced when it dies or hangs, given up after repeated failure.

One failing stream harms no other. Nothing here knows LSL or the web.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mindwire.errors import LoopError, MindwireError
from mindwire.live.runner import RELIEVE_AFTER_S
from mindwire.live.stream import Stream
from mindwire.loops import Abandoned, LoopThread, fence
from mindwire.status import StreamState

log = logging.getLogger(__name__)

# A loop that has not moved for so long hangs.
HUNG_AFTER_S = 15.0
_WATCH_EVERY_S = 0.5
# The watch itself woke late by more than this: the whole process stood still, and no loop is to blame.
_WATCH_LATE_S = 1.0
_CLOSE_S = 5.0
_CLOSE_HUNG_S = 0.3


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a stream whose loop died or hangs is started again.

    Parameters
    ----------
    delays_s : tuple of float
        Pause before each restart; one more failure than there are pauses, and the stream has failed.
    healthy_after_s : float
        A stream that ran so long is healthy, and its earlier failures are forgotten.
    hung_after_s : float
        A stream whose loop has not moved for so long hangs, and its thread is replaced.
    relieve_after_s : float
        A step of the thread of many streams that takes longer hangs, and another thread goes on with the others.
    """

    delays_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    healthy_after_s: float = 60.0
    hung_after_s: float = field(default_factory=lambda: HUNG_AFTER_S)
    relieve_after_s: float = field(default_factory=lambda: RELIEVE_AFTER_S)


class _Life:
    """A stream, the thread that runs it now, and how that went."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.thread = LoopThread()
        self.failures = 0
        self.began = 0.0
        # False while the thread only waits before it begins again.
        self.running = False


class Supervisor:
    """Runs streams until told to stop.

    Parameters
    ----------
    streams : sequence of Stream
    on_refused : callable
        Called, from the stream's thread, with the error of a stream whose very first search was refused.
    policy : RestartPolicy
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        *,
        on_refused: Callable[[Stream, MindwireError], None],
        policy: RestartPolicy | None = None,
    ) -> None:
        self._lives = tuple(map(_Life, streams))
        self._runners = {stream.runner for stream in streams if stream.runner is not None}
        self._on_refused = on_refused
        self._policy = policy or RestartPolicy()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watch_loops, name="mindwire-watch", daemon=True)

    def start(self) -> None:
        """Start every stream."""
        for life in self._lives:
            self._begin(life, ())
        self._watch.start()

    def stop(self, timeout: float) -> bool:
        """Stop every stream and close its sinks, also those of a stream that hangs.

        Parameters
        ----------
        timeout : float
            Seconds to wait for the streams altogether.

        Returns
        -------
        bool
            Whether all have ended by themselves.
        """
        self._stopping.set()
        if self._watch.is_alive():
            self._watch.join(_CLOSE_HUNG_S)
        for life in self._lives:
            life.stream.stop()
        deadline = time.monotonic() + timeout
        for life in self._lives:
            life.thread.join(max(0.0, deadline - time.monotonic()))
        hung = [life for life in self._lives if life.thread.is_alive()]
        if hung:
            for runner in self._runners:
                runner.stop()
        for life in hung:
            log.error("Stream %s does not end; the service goes on stopping without it.", life.stream.name)
            life.thread.abandon()
        self._close([life for life in self._lives if life not in hung], _CLOSE_S, "")
        for life in hung:
            self._close([life], _CLOSE_HUNG_S, "The service is stopping; the stream's loop hung and was left behind.")
        return not hung

    @staticmethod
    def _close(lives: Sequence[_Life], patience_s: float, reason: str) -> None:
        """Close sinks in a thread of its own, because what made a loop hang may be one of them."""

        def close() -> None:
            for life in lives:
                if reason:
                    previous = life.stream.state
                    life.stream.abandon(StreamState.STOPPED, reason)
                    life.stream.tell_state(previous)
                life.stream.close()

        thread = threading.Thread(target=close, name="mindwire-close", daemon=True)
        thread.start()
        thread.join(patience_s)
        if thread.is_alive():
            log.error("Not all that streams wrote to could be closed within %g s.", patience_s)

    def _begin(self, life: _Life, tell: Sequence[Callable[[], None]]) -> None:
        """Run a stream in a fresh thread, which tells first what became of the one before."""
        # Daemons, so that a thread stuck in a driver cannot keep the process alive after stop has given up on it.
        thread = LoopThread(
            target=self._keep_running, args=(life, tell), name=f"mindwire-{life.stream.name}", daemon=True
        )
        life.began = time.monotonic()
        life.stream.begin()
        life.running = True
        thread.start()
        life.thread = thread

    def _keep_running(self, life: _Life, tell: Sequence[Callable[[], None]]) -> None:
        """The whole life of a stream's thread."""
        stream = life.stream
        for say in tell:
            say()
        if tell and not self._is_over(stream):
            self._pause(life)
        while not self._is_over(stream):
            life.began = time.monotonic()
            try:
                stream.run()
            except Abandoned:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever kills a stream is reported and survived
                self._recover(life, error)

    def _is_over(self, stream: Stream) -> bool:
        return stream.state is StreamState.FAILED or self._stopping.is_set()

    def _recover(self, life: _Life, error: BaseException) -> None:
        """Report what ended a loop, and wait for the time of its restart."""
        stream = life.stream
        fence()
        if isinstance(error, MindwireError) and not stream.connected_once:
            stream.to_state(StreamState.FAILED, str(error))
            self._on_refused(stream, error)
            return
        if not isinstance(error, LoopError):
            log.error("Stream %s died.", stream.name, exc_info=error)
        for say in self._failed(life, error):
            say()
        if not self._is_over(stream):
            self._pause(life)

    def _pause(self, life: _Life) -> None:
        life.running = False
        self._stopping.wait(self._policy.delays_s[life.failures - 1])
        life.stream.begin()
        life.running = True

    def _failed(self, life: _Life, error: BaseException | None, hung_for_s: float = 0.0) -> list[Callable[[], None]]:
        """Count a failure and let go of the loop; what is then to be told, by a thread that may hang over it."""
        stream, policy = life.stream, self._policy
        healthy = time.monotonic() - life.began >= policy.healthy_after_s
        life.failures = 1 if healthy else life.failures + 1
        previous = stream.state
        if error is None:
            what = f"its loop has not moved for {hung_for_s:.0f} s" if hung_for_s else "its thread ended"
        elif isinstance(error, LoopError):
            what, hung_for_s = str(error), policy.hung_after_s
            stream.drive_itself()
        else:
            what = f"{type(error).__name__}: {error}"
        given_up = life.failures > len(policy.delays_s)
        if given_up:
            reason = f"Given up after {life.failures} failures in a row; the last was {what}"
            stream.abandon(StreamState.FAILED, reason, hung_for_s=hung_for_s)
            return [lambda: stream.tell_state(previous)]
        delay = policy.delays_s[life.failures - 1]
        verb = "hangs and is replaced" if hung_for_s else "died and restarts"
        reason = f"The stream {verb} in {delay:g} s: {what}"
        stream.counters.restarts += 1
        stream.abandon(StreamState.STALE, reason, hung_for_s=hung_for_s)
        failures = life.failures
        return [
            lambda: stream.emit("error", reason, {"failures": failures, "hung": bool(hung_for_s)}),
            lambda: stream.tell_state(previous),
        ]

    # ── the watch, in its own thread ─────────────────────────────────────────────────────────────────

    def _watch_loops(self) -> None:
        policy = self._policy
        every = min(_WATCH_EVERY_S, policy.hung_after_s / 4, policy.relieve_after_s / 4)
        looked = time.monotonic()
        while not self._stopping.wait(every):
            before, looked = looked, time.monotonic()
            if looked - before > every + _WATCH_LATE_S:
                continue
            try:
                for runner in self._runners:
                    runner.relieve(policy.relieve_after_s)
                for life in self._lives:
                    self._look_after(life)
            except Exception:
                log.exception("Streams could not be watched")

    def _look_after(self, life: _Life) -> None:
        """Replace a stream's thread that hangs or is dead."""
        stream, policy = life.stream, self._policy
        if stream.state in (StreamState.FAILED, StreamState.STOPPED):
            return
        alive, still = life.thread.is_alive(), stream.still_s
        # Of a stream that another thread drives, that thread is looked after first.
        patience = 2 * policy.hung_after_s + policy.relieve_after_s if stream.driven else policy.hung_after_s
        if alive and not (life.running and still >= patience):
            return
        life.thread.abandon()
        log.error("Stream %s: %s.", stream.name, f"has not moved for {still:.0f} s" if alive else "its thread ended")
        self._begin(life, self._failed(life, None, still if alive else 0.0))
