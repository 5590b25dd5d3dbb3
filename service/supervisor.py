"""Keeps streams running: a thread for each, restarted with back-off when it dies, given up after repeated failure.

One failing stream harms no other. Nothing here knows LSL or the web.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.errors import MindwireError
from service.status import StreamState
from service.stream import Stream

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a dead stream is started again.

    Parameters
    ----------
    delays_s : tuple of float
        Pause before each restart; one more failure than there are pauses, and the stream has failed.
    healthy_after_s : float
        A stream that ran so long is healthy, and its earlier failures are forgotten.
    hung_after_s : float
        A stream that has not moved for so long is reported.
    """

    delays_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    healthy_after_s: float = 60.0
    hung_after_s: float = 15.0


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
        self._streams = tuple(streams)
        self._on_refused = on_refused
        self._policy = policy or RestartPolicy()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._watch = threading.Thread(target=self._watch_heartbeats, name="mindwire-watch", daemon=True)

    def start(self) -> None:
        """Start every stream."""
        # Daemons, so that a thread stuck in a driver cannot keep the process alive after stop has given up on it.
        self._threads = [
            threading.Thread(target=self._keep_running, args=(stream,), name=f"mindwire-{stream.name}", daemon=True)
            for stream in self._streams
        ]
        for thread in (*self._threads, self._watch):
            thread.start()

    def stop(self, timeout: float) -> bool:
        """Stop every stream and close its sinks.

        Parameters
        ----------
        timeout : float
            Seconds to wait for the streams altogether.

        Returns
        -------
        bool
            Whether all have ended; the sinks of those that have not stay open.
        """
        self._stopping.set()
        for stream in self._streams:
            stream.stop()
        deadline = time.monotonic() + timeout
        ended = True
        for stream, thread in zip(self._streams, self._threads, strict=False):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                log.error("Stream %s does not end; the service goes on stopping without it.", stream.name)
                ended = False
            else:
                stream.close()
        return ended

    def _keep_running(self, stream: Stream) -> None:
        """The whole life of a stream's thread."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                stream.run()
            except Exception as error:  # noqa: BLE001 - whatever kills a stream is reported and survived
                if isinstance(error, MindwireError) and not stream.connected_once:
                    stream.to_state(StreamState.FAILED, str(error))
                    self._on_refused(stream, error)
                    return
                healthy = time.monotonic() - began >= self._policy.healthy_after_s
                failures = 1 if healthy else failures + 1
                self._recover(stream, error, failures)
                if stream.state is StreamState.FAILED:
                    return

    def _recover(self, stream: Stream, error: Exception, failures: int) -> None:
        what = f"{type(error).__name__}: {error}"
        log.error("Stream %s died.", stream.name, exc_info=error)
        if failures > len(self._policy.delays_s):
            stream.to_state(StreamState.FAILED, f"Given up after {failures} failures in a row; the last was {what}")
            return
        delay = self._policy.delays_s[failures - 1]
        stream.emit("error", f"The stream died and restarts in {delay:g} s: {what}", {"failures": failures})
        stream.counters.restarts += 1
        stream.forget_signal()
        self._stopping.wait(delay)

    def _watch_heartbeats(self) -> None:
        hung: set[str] = set()
        while not self._stopping.wait(1.0):
            for stream in self._streams:
                still = time.monotonic() - stream.heartbeat
                if still < self._policy.hung_after_s or stream.state in (StreamState.FAILED, StreamState.STOPPED):
                    hung.discard(stream.name)
                elif stream.name not in hung:
                    hung.add(stream.name)
                    log.error("Stream %s has not moved for %.0f s; its thread hangs.", stream.name, still)
