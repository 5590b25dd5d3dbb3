"""Time of a connection's next poll, from the samples it still needs and the delay of its network."""

from __future__ import annotations

from math import inf

# Pauses before a late chunk is polled for again: the first, doubled up to the last.
_FIRST_RETRY_S, _LAST_RETRY_S = 0.001, 0.016
_MARGIN_S = 0.0003
_POLLS_PER_ESTIMATE = 100


class PollTimer:
    """Schedule of the polls of one connection, by monotonic time in seconds.

    A sample arrives after the network's delay, which is taken as the least age that a pulled sample had within the
    last 100 to 200 polls. Two minima over 100 polls each, used alternately, forget a clock that was set.

    Attributes
    ----------
    next_poll : float
    """

    def __init__(self) -> None:
        self.next_poll = 0.0
        self._delay = self._delay_before = inf
        self._polls = 0
        self._retry_s = _FIRST_RETRY_S

    def received(self, polled_at: float, age_s: float, seconds_awaited: float) -> None:
        """Schedule the next poll after one that brought data.

        Parameters
        ----------
        polled_at : float
        age_s : float
            Age of the newest sample, in whatever clock; only differences matter.
        seconds_awaited : float
            Seconds of signal until a window can fall due.
        """
        self._retry_s = _FIRST_RETRY_S
        if self._polls % _POLLS_PER_ESTIMATE == 0:
            self._delay_before, self._delay = self._delay, age_s
        self._polls += 1
        self._delay = min(self._delay, age_s)
        late_s = age_s - min(self._delay, self._delay_before)
        self.next_poll = polled_at + max(0.0, seconds_awaited - late_s + _MARGIN_S)

    def nothing_received(self, polled_at: float) -> None:
        """Schedule the next poll after one that brought nothing."""
        self.next_poll = polled_at + self._retry_s
        self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)
