"""Connected streams as the runner of many streams sees them, and when each is worth another look."""

from __future__ import annotations

import threading
import time
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from mindwire.live.decode_loop import Due, Worker
from mindwire.types import Chunk

# A chunk that is late is asked for again after so long, then after twice as long, and so on up to the last.
_FIRST_RETRY_S, _LAST_RETRY_S = 0.001, 0.016
_MARGIN_S = 0.0003
_DELAYS_KEPT = 100


class Look(msgspec.Struct, frozen=True, eq=False):
    """What a look at a stream's inlet brought.

    Parameters
    ----------
    chunks : list of Chunk
        To be conditioned now; they stay valid until the next look.
    pulled_at : float
        When it was, in the clock of the chunks' times.
    since : float
        When it was, by ``time.perf_counter``.
    age_s : float or None
        Age of the newest sample when it was pulled, of which only the differences matter; None when nothing new
        came and the chunks had been kept back.
    """

    chunks: list[Chunk]
    pulled_at: float
    since: float
    age_s: float | None


class Member(Protocol):
    """A connected stream as the runner sees it; all but ``stopping`` is used in the runner's thread."""

    worker: Worker

    @property
    def stopping(self) -> bool:
        """Whether the stream is to end."""
        ...

    def look(self) -> Look | None:
        """Take what has arrived, without waiting; None when nothing has. What it raises ends the stream."""
        ...

    def publish(self, due: Due, probabilities: NDArray[np.float64], decode_ms: float) -> None:
        """Complete a window and tell everybody."""
        ...

    def settle(self) -> None:
        """Tell everybody what else happened; called once the windows of a look are published."""
        ...


class Place:
    """A member's place in the runner, and when its inlet is worth another look."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.ended = threading.Event()
        self.error: Exception | None = None
        self._delay = self._delay_before = float("inf")
        self._looks = 0
        self._retry_s = _FIRST_RETRY_S

    def pause_s(self, look: Look | None) -> float:
        """Seconds until the next look."""
        if look is None or look.age_s is None:
            pause, self._retry_s = self._retry_s, min(2 * self._retry_s, _LAST_RETRY_S)
            return pause
        self._retry_s = _FIRST_RETRY_S
        # The least age of late is how long a sample takes to get here; a clock that jumped is soon forgotten.
        self._looks += 1
        if self._looks % _DELAYS_KEPT == 0:
            self._delay_before, self._delay = self._delay, look.age_s
        self._delay = min(self._delay, look.age_s)
        delay = min(self._delay, self._delay_before)
        due = self.member.worker.seconds_awaited - look.age_s + delay + _MARGIN_S
        return max(0.0, due - (time.perf_counter() - look.since))

    def end(self, error: Exception | None) -> None:
        """Give the member back to the thread that waits for it; the first reason counts."""
        if not self.ended.is_set():
            self.error = error
            self.ended.set()
