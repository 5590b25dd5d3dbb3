"""LSL's clock beside this program's clock, measured by round trips.

A request is not received before it is sent, and an answer does not return before it is given: each round trip bounds
the offset from both sides. The tightest bounds of the last half minute, widened for drift, are kept.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import NamedTuple

# Most that two clocks of computers drift against each other, seconds per second.
_DRIFT = 100e-6
_REMEMBERED = 30


class _RoundTrip(NamedTuple):
    at: float
    low: float
    high: float


class Clock:
    """Estimate of LSL's clock; the local clock is ``time.perf_counter()``, both in seconds.

    Attributes
    ----------
    offset_s : float
        LSL's clock minus the local one in seconds; NaN before the first measurement.
    uncertainty_ms : float
        Most that the offset may be wrong, in milliseconds; infinite before the first measurement.
    jumps : int
        Number of times at which the two clocks jumped against each other.
    """

    def __init__(self) -> None:
        self.offset_s = math.nan
        self.uncertainty_ms = math.inf
        self.jumps = 0
        self._known = threading.Event()
        self._trips: deque[_RoundTrip] = deque(maxlen=_REMEMBERED)

    @property
    def synchronised(self) -> bool:
        """True after the first measurement."""
        return self._known.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the first measurement; return false if the time limit in seconds has passed."""
        return self._known.wait(timeout_s)

    def now(self) -> float:
        """Return LSL's time now in seconds; NaN before the first measurement."""
        return self.to_lsl(time.perf_counter())

    def to_lsl(self, local: float) -> float:
        """Return LSL's time of a moment of ``time.perf_counter()``; both in seconds."""
        return local + self.offset_s

    def to_local(self, lsl: float) -> float:
        """Return the moment of ``time.perf_counter()`` of a time of LSL's clock; both in seconds."""
        return lsl - self.offset_s

    def add(self, sent: float, received: float, answered: float, returned: float) -> None:
        """Take a round trip.

        Parameters
        ----------
        sent, returned : float
            Local times of request and answer in seconds.
        received, answered : float
            LSL's times at the service in seconds.
        """
        newest = _RoundTrip(returned, answered - returned, received - sent)
        if newest.low > newest.high:  # no clock can do that, unless it jumped during the round trip
            return
        self._trips.append(newest)
        low, high = self._bounds(returned)
        if low > high:  # contradicts what was measured before
            self._trips.clear()
            self._trips.append(newest)
            self.jumps += 1
            low, high = newest.low, newest.high
        self.offset_s, self.uncertainty_ms = (low + high) / 2, 1e3 * (high - low) / 2
        self._known.set()

    def _bounds(self, now: float) -> tuple[float, float]:
        low = max(trip.low - _DRIFT * (now - trip.at) for trip in self._trips)
        high = min(trip.high + _DRIFT * (now - trip.at) for trip in self._trips)
        return low, high
