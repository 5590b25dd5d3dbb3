"""Markers with times of LSL's clock, sent by a thread of their own until the service has taken them."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any

from mindwire_client.address import stream_path
from mindwire_client.clock import Clock
from mindwire_client.errors import ClientError, ProtocolError, RefusedError, TokenError, UnreachableError

if TYPE_CHECKING:
    from mindwire_client.rest import Rest

# As many as one request may have.
_BATCH = 100
_WAITING = 10_000
_RETRY_S = 0.5
_LAST_S = 2.0  # for those that wait at the end
# Statuses that another attempt does not change; with others the stream may come back.
_FINAL = (400, 413, 415, 422)


class Markers:
    """Queue of markers of one stream; each has an id, so that one whose answer was lost is not published twice.

    Attributes
    ----------
    refused : list of tuple of str and dict
        Sentence and marker of those that were refused for good, or not taken before the end.
    """

    def __init__(self, rest: Rest, stream: str, clock: Clock) -> None:
        self.refused: list[tuple[str, dict[str, Any]]] = []
        self._rest, self._stream, self._clock = rest, stream, clock
        self._queue: deque[dict[str, Any]] = deque()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._prefix = uuid.uuid4().hex[:12]
        self._n = 0

    @property
    def waiting(self) -> int:
        """Number of markers that the service has not taken yet."""
        return len(self._queue)

    def send(self, label: str, time: float | None = None, uncertainty_ms: float | None = None) -> float:
        """Queue a marker; it is sent at once by another thread.

        Parameters
        ----------
        label : str
        time : float, optional
            LSL time in seconds, ``stream.clock.to_lsl(time.perf_counter())`` for example; now if left out.
        uncertainty_ms : float, optional
            Most that the time may be wrong, in milliseconds; that of the clock if left out.

        Returns
        -------
        float
            LSL time of the marker in seconds.

        Raises
        ------
        ClientError
            No time of LSL's clock is known, the uncertainty is no number of milliseconds, or too many markers wait.
        """
        at = self._clock.now() if time is None else time
        if not math.isfinite(at):
            msg = (
                f"Expected a time of LSL's clock for the marker {label!r}, found {at}; call stream.clock.wait() before."
            )
            raise ClientError(msg)
        if uncertainty_ms is None and self._clock.synchronised:
            uncertainty_ms = self._clock.uncertainty_ms
        if uncertainty_ms is not None and not 0 <= uncertainty_ms < math.inf:
            msg = f"Expected an uncertainty of the marker {label!r} of 0 ms or more, found {uncertainty_ms}; leave it out if it is not known."
            raise ClientError(msg)
        marker: dict[str, Any] = {"label": str(label), "time": at}
        if uncertainty_ms is not None:
            marker["uncertainty_ms"] = uncertainty_ms
        with self._changed:
            if len(self._queue) >= _WAITING:
                msg = f"{_WAITING} markers wait for the service, which cannot be reached; the marker {label!r} is not sent."
                raise ClientError(msg)
            self._n += 1
            self._queue.append({**marker, "id": f"{self._prefix}-{self._n}"})
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="mindwire-markers", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return at

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until the service has taken or refused all; return false if the time limit in seconds has passed."""
        until = time.monotonic() + timeout_s
        with self._changed:
            while self._queue:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def close(self) -> None:
        """End the thread, after a last attempt of two seconds to send what waits; :attr:`refused` has what is lost."""
        self.flush(_LAST_S)
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        lost = "The connection was closed before the service took the marker."
        self.refused += [(lost, marker) for marker in self._queue]
        self._queue.clear()

    def _work(self) -> None:
        while not self._closed.is_set():
            with self._changed:
                while not self._queue and not self._closed.is_set():
                    self._changed.wait()
                batch = list(self._queue)[:_BATCH]
            if batch and not self._sent(batch):
                self._closed.wait(_RETRY_S)

    def _sent(self, batch: list[dict[str, Any]]) -> bool:
        """Send markers; return false if it must be tried again."""
        refusal = ""
        try:
            self._rest.ask("POST", stream_path(self._stream, "/markers"), {"markers": batch})
        except (UnreachableError, ProtocolError):
            return False
        except RefusedError as error:
            if error.status not in _FINAL:
                return False
            if len(batch) > 1:  # all or none are taken: find those that are refused
                return all(self._sent([marker]) for marker in batch)
            refusal = str(error)
        except TokenError as error:
            refusal = str(error)
        with self._changed:
            done = {marker["id"] for marker in batch}
            if refusal:
                self.refused += [(refusal, marker) for marker in batch]
            self._queue = deque(marker for marker in self._queue if marker["id"] not in done)
            self._changed.notify_all()
        return True
