"""Time of a connection's next poll, from the samples it still needs and the delay of its network.

A sample arrives after the network's delay, which is taken as the least age that a pulled sample had within the last
100 to 200 polls. Every 16th poll is early, because a connection that is only polled late never shows how soon its
samples arrive: with eight streams the median age of predictions is 4 ms, and was 14 ms without (`mindwire bench`).
"""

from __future__ import annotations

from math import inf

# Pause before a late chunk is polled for again: half the time that it is late, within these limits.
_SHORTEST_RETRY_S, _LONGEST_RETRY_S = 0.001, 0.016
_MARGIN_S = 0.0003
# How much earlier than expected the early polls are: twice as much after one that brought data, half after another.
_LEAST_EARLY_S, _MOST_EARLY_S = 0.001, 0.004
_EARLY_EVERY = 16
_POLLS_PER_ESTIMATE = 100


class PollTimer:
    """Schedule of the polls of one connection, by monotonic time in seconds.

    Attributes
    ----------
    next_poll : float
    """

    def __init__(self) -> None:
        self.next_poll = 0.0
        self._expected = 0.0
        # Two minima over 100 polls each, used in turn, forget a clock that was set.
        self._delay = self._delay_before = inf
        self._polls = 0
        self._polls_to_early = 0
        self._early_s = _MOST_EARLY_S
        self._missed = False

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
        if self._polls % _POLLS_PER_ESTIMATE == 0:
            self._delay_before, self._delay = self._delay, age_s
        self._polls += 1
        self._delay = min(self._delay, age_s)
        late_s = age_s - min(self._delay, self._delay_before)
        self._expected = polled_at + max(0.0, seconds_awaited - late_s + _MARGIN_S)
        if self._missed:
            self._early_s = max(self._early_s / 2, _LEAST_EARLY_S)
            self._polls_to_early = _EARLY_EVERY
        elif self._polls_to_early == 0:
            self._early_s = min(self._early_s * 2, _MOST_EARLY_S)
        else:
            self._polls_to_early -= 1
        self._missed = False
        self.next_poll = self._expected - (0.0 if self._polls_to_early else self._early_s)

    def nothing_received(self, polled_at: float) -> None:
        """Schedule the next poll after one that brought nothing."""
        self._missed = True
        late_s = polled_at - self._expected
        pause = min(max(late_s / 2, _SHORTEST_RETRY_S), _LONGEST_RETRY_S)
        self.next_poll = self._expected if late_s < 0 else polled_at + pause
