"""The rate at which samples were taken, from their time stamps, and whether it is the one that the signal is taken to have.

Stamps of real devices jitter and come in bursts, so a rate is a least-squares slope over seconds, with a bound on its error.
A rate that is off by more than 1 % is marked; one that is off by more than 5 % contradicts the stamps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mindwire.types import Reason

_POINTS_PER_SECOND = 8
_FAST_POINTS = 4 * _POINTS_PER_SECOND
_FAST_MIN_POINTS = _POINTS_PER_SECOND
_SLOW_POINTS = 30  # one per second of samples
_SLOW_MIN_POINTS = 15
# Deviations above the first enter a state, those below the second leave it.
_OFF = 0.01, 0.005
_WRONG = 0.05, 0.04
# Residuals in bursts and stalls depend on each other, so no root of their number counts. By as many of their sizes a single
# step, wherever it lies, moves the slope at most: what a step explains is not taken for a rate.
_MARGIN_SIZES = 6.0
# Nor does a stall explain more than a part, so that a rate that is off by half needs no long look.
_STALL, _STALL_SIZES = 0.2, 2.0
# A deviation below this is left to the tracker.
_CLEAR = 0.002
# No clock counts further, not even nanoseconds since 1970.
LARGEST_STAMP = 1e19
_MIN_STAMPS = 8
_RECENT = 640  # stamps: more than two chunks
_LARGEST_RATIO = 1e3

RateState = Literal["nominal", "off", "wrong"]


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """A rate measured over some stamps.

    Parameters
    ----------
    seconds : float
        By which the stamps advance per sample; NaN where too few of them are numbers.
    deviation : float
        Of that from the expected period, as a part of it; infinite where the stamps are no numbers or jump about.
    margin : float
        By which the deviation is uncertain.
    """

    seconds: float
    deviation: float
    margin: float

    def per(self, samples: int) -> MeasuredRate:
        """Return the same of single samples, if it was measured at every ``samples``-th."""
        return MeasuredRate(self.seconds / samples, self.deviation, self.margin)

    @property
    def wrong(self) -> bool:
        """True if the stamps contradict the expected rate."""
        return abs(self.deviation) > _WRONG[0] + self.margin

    @property
    def clear(self) -> bool:
        """True if the stamps clearly have another rate than expected."""
        return abs(self.deviation) > self.uncertain

    @property
    def uncertain(self) -> float:
        """The least deviation that is clear."""
        return _CLEAR + self.margin


# What stamps that jump about are measured as.
JUMPING = MeasuredRate(0.0, math.inf, 0.0)


def believable(stamps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return true for each stamp that can be a time at all, in whatever unit."""
    return np.asarray(np.abs(stamps) < LARGEST_STAMP)  # false for NaN


def measure(stamps: NDArray[np.float64], period: float) -> MeasuredRate | None:
    """Measure by how much evenly counted stamps advance, against an expected period in seconds; None for fewer than eight."""
    if len(stamps) < _MIN_STAMPS:
        return None
    if np.abs(stamps).max() < LARGEST_STAMP:  # as a rule; no NaN is
        counts, squares = _centred(len(stamps))
    else:
        good = believable(stamps)
        if 2 * np.count_nonzero(good) < len(stamps):
            return MeasuredRate(math.nan, math.inf, 0.0)
        counts = np.flatnonzero(good).astype(np.float64)
        counts -= counts.mean()
        squares = float(counts @ counts)
        stamps = stamps[good]
    values = stamps - stamps[0]
    sum_of_values = float(values.sum())
    slope = float(counts @ values) / squares
    left = max(0.0, float(values @ values) - sum_of_values**2 / len(values) - slope**2 * squares)
    count = float(counts[-1] - counts[0])
    size = math.sqrt(left / len(values)) / (count * period)
    if size > max(1.0, abs(slope) / period):  # they jump further than they go on
        return JUMPING
    return MeasuredRate(slope, slope / period - 1, min(_MARGIN_SIZES * size, _STALL + _STALL_SIZES * size))


@lru_cache
def _centred(n: int) -> tuple[NDArray[np.float64], float]:
    """0, 1, 2, … less their mean, and the sum of their squares."""
    counts = np.arange(float(n)) - 0.5 * (n - 1)
    return counts, float(counts @ counts)


class RateMeter:
    """Watches the rate of one stream.

    Parameters
    ----------
    sfreq : float
        Rate the stream is taken to have, in hertz.
    accepted : bool
        Whether the user says so, against the stamps: then a rate that contradicts them is marked, but samples stay valid.

    Attributes
    ----------
    sfreq, accepted
        As given.
    effective_rate : float or None
        In hertz, over up to 30 s; None until 15 s were seen.
    measured : MeasuredRate or None
        The newest measurement that the state is of.
    state : {"nominal", "off", "wrong"}
    """

    def __init__(self, sfreq: float, *, accepted: bool = False) -> None:
        self.sfreq = sfreq
        self.accepted = accepted
        self._period = 1.0 / sfreq
        self._step = max(1, round(sfreq / _POINTS_PER_SECOND))
        self._count = 0
        self._points = 0
        self._skipped = 0.0
        self._fast: list[float] = []
        self._slow: list[float] = []
        self.effective_rate: float | None = None
        self.measured: MeasuredRate | None = None
        self.state: RateState = "nominal"
        self._reported: RateState = "nominal"
        self._changes: list[tuple[RateState, MeasuredRate | None]] = []
        self._bits = Reason.NONE.bit
        self._recent = [np.empty(0)]

    @property
    def recent(self) -> NDArray[np.float64]:
        """The newest stamps, as if nothing had been skipped."""
        return np.asarray(np.concatenate(self._recent)[-_RECENT:] + self._skipped)

    @property
    def until_measured(self) -> int:
        """Samples until the state can change; at least 1."""
        return (
            (_POINTS_PER_SECOND - 1 - self._points % _POINTS_PER_SECOND) * self._step + (-self._count % self._step) + 1
        )

    def restart(self) -> None:
        """Forget what was measured, because nothing is known of what lies between."""
        self._fast.clear()
        self._slow.clear()
        self._recent = [np.empty(0)]
        self.measured = None

    def skip(self, seconds: float) -> None:
        """Leave out seconds by which the stamps moved because samples are missing or a clock was set."""
        self._skipped += seconds

    def mark_wrong(self, measured: MeasuredRate | None) -> None:
        """Enter the state that the stamps contradict the rate."""
        self._fast.clear()
        self._enter("wrong", measured)

    def watch(self, stamps: NDArray[np.float64], flags: NDArray[np.uint32]) -> None:
        """Follow the next stamps, in seconds, and mark their flags in place while the rate is not the expected one.

        Both have the shape (n_samples,).
        """
        stamps = stamps - self._skipped
        self._recent.append(stamps)
        done, n = 0, len(stamps)
        while done < n:
            stop = min(n, done + self.until_measured)
            first = done + -self._count % self._step
            if first < stop:
                new = stamps[first : stop : self._step].tolist()
                self._fast += new
                self._points += len(new)
            if self._bits:
                flags[done:stop] |= self._bits
            self._count += stop - done
            done = stop
            if first < stop and self._points % _POINTS_PER_SECOND == 0:
                self._measure()

    def _measure(self) -> None:
        """Once a second of samples: measure over seconds and over many, and enter the state that both say."""
        del self._fast[:-_FAST_POINTS]
        self._recent = [np.concatenate(self._recent)[-_RECENT:]]
        slow = self._measure_slow()
        # What was called wrong is so until the newest stamps are right.
        points = self._fast[-2 * _FAST_MIN_POINTS :] if self.state == "wrong" else self._fast
        fast = measure(np.array(points), self._step * self._period)
        sure = len(self._fast) >= 2 * _FAST_MIN_POINTS
        if fast is None or (self.state == "wrong" and not sure):
            return
        limit, margin = _WRONG[self.state == "wrong"], fast.margin
        if self._reported == "wrong":  # what is uncertain does not put it right
            margin = min(margin, limit)
        elif slow is not None:  # a rate that was right for long hardly changes; a device that stalls does that often
            margin *= 2
        elif not sure:  # at first, while filters settle, a doubt costs little
            margin *= 0.5
        if abs(fast.deviation) > limit + margin:
            self._enter("wrong", fast.per(self._step), sure=sure)
            return
        best, margin = fast.per(self._step), fast.margin
        if slow is not None and self.state != "wrong":  # what was wrong says nothing of what is right
            best, margin = slow, slow.margin / _MARGIN_SIZES
        doubtful = fast.margin > _WRONG[0] or abs(fast.deviation) > limit
        if slow is not None and doubtful and abs(slow.deviation) > limit + slow.margin:
            self._enter("wrong", slow, sure=sure)
        elif abs(best.deviation) > (_OFF[0] + margin if self.state == "nominal" else _OFF[1]):
            self._enter("off", best, sure=sure)
        else:
            self._enter("nominal", best, sure=sure)

    def _measure_slow(self) -> MeasuredRate | None:
        self._slow.append(self._fast[-1])
        del self._slow[:-_SLOW_POINTS]
        if len(self._slow) < _SLOW_MIN_POINTS:
            return None
        samples = self._step * _POINTS_PER_SECOND
        slow = measure(np.array(self._slow), samples * self._period)
        if slow is None:
            return None
        rate = samples / slow.seconds if slow.seconds > 0 else math.inf
        # stamps that stand still have none
        self.effective_rate = rate if rate * self._period < _LARGEST_RATIO else None
        return slow.per(samples)

    def drain_changes(self) -> list[tuple[RateState, MeasuredRate | None]]:
        """The states entered since the last call, each with what was measured then."""
        changes, self._changes = self._changes, []
        return changes

    def _enter(self, state: RateState, measured: MeasuredRate | None, *, sure: bool = True) -> None:
        """Be in a state; one that is not sure is reported only if it stays."""
        if sure and state != self._reported:
            self._reported = state
            self._changes.append((state, measured))
        self.state, self.measured = state, measured
        reasons = Reason.NONE if state == "nominal" else Reason.RATE
        ascends = measured is not None and measured.seconds > 0 and math.isfinite(measured.deviation)
        if state == "wrong" and not (self.accepted and ascends):
            reasons |= Reason.WRONG_RATE
        self._bits = reasons.bit
