"""Clock offsets of XDF files: from the sender's stamps to the recording computer's clock.

The mapping is the reference importer's, one robust line between two clock resets, so that stamps agree with other tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Offsets vary by tens of microseconds; those further from the line are outliers.
_HUBER_SECONDS = 1e-4
# No clock drifts by more; a steeper line was fitted to too little.
_MAX_DRIFT = 1e-3
_RESET_INTERVAL_SECONDS, _RESET_INTERVAL_DEVIATIONS = 5.0, 5.0
_RESET_OFFSET_SECONDS, _RESET_OFFSET_DEVIATIONS = 1.0, 10.0
_CORRUPT_INTERVALS, _CORRUPT_DEVIATIONS = 10.0, 10.0


@dataclass(frozen=True, slots=True)
class ClockSegment:
    """Part of the sender's clock between two resets: ``offset(t) = intercept + slope * (t - first)`` in seconds."""

    first: float
    last: float
    intercept: float
    slope: float

    def apply(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return stamps in the recording computer's clock."""
        return times + (self.intercept + self.slope * (times - self.first))


def _fit(times: NDArray[np.float64], values: NDArray[np.float64]) -> ClockSegment:
    """Fit a line that minimises Huber's loss, by iteratively reweighted least squares."""
    x = times - times[0]
    median = float(np.median(values))
    intercept, slope = median, 0.0
    fitted, weights = np.full_like(x, median), np.ones_like(x)
    for _ in range(100 if np.ptp(x) > _HUBER_SECONDS else 0):
        total = weights.sum()
        mean_x, mean_y = weights @ x / total, weights @ values / total
        slope = float(weights @ ((x - mean_x) * (values - mean_y)) / (weights @ (x - mean_x) ** 2))
        intercept = float(mean_y - slope * mean_x)
        before, fitted = fitted, intercept + slope * x
        if np.abs(fitted - before).max() < 1e-12:
            break
        weights = _HUBER_SECONDS / np.maximum(np.abs(values - fitted), _HUBER_SECONDS)
    if abs(slope) > _MAX_DRIFT:
        intercept, slope = median, 0.0
    return ClockSegment(float(times[0]), float(times[-1]), intercept, slope)


def _outlying(steps: NDArray[np.float64], deviations: float, seconds: float) -> NDArray[np.bool_]:
    shift = np.abs(steps - np.median(steps))
    deviation = np.median(shift) + np.finfo(float).eps
    result: NDArray[np.bool_] = (shift / deviation > deviations) & (shift > seconds)
    return result


def split_at_resets(offsets: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return a stream's offsets, ``(n_offsets, 2)``, time and offset, in parts between the resets of its clock.

    A reset shows as measurement times that run backwards, or as a late measurement together with a jump of the offset (a
    restarted or exchanged computer).
    """
    if not len(offsets):
        return []
    steps = np.diff(offsets, axis=0)
    resets = steps[:, 0] < 0
    if len(steps):
        late = _outlying(steps[:, 0], _RESET_INTERVAL_DEVIATIONS, _RESET_INTERVAL_SECONDS)
        resets |= late & _outlying(steps[:, 1], _RESET_OFFSET_DEVIATIONS, _RESET_OFFSET_SECONDS)
    return np.split(offsets, np.flatnonzero(resets) + 1)


def fit_segments(offsets: NDArray[np.float64]) -> tuple[ClockSegment, ...]:
    """Return the segments of a stream's clock between its resets, by its offsets as of :func:`split_at_resets`."""
    return tuple(_fit(*part.T) for part in split_at_resets(offsets))


def last_is_corrupt(offsets: NDArray[np.float64]) -> bool:
    """Return true if the last offset is far from all before it, in its interval or its value.

    Older versions of liblsl could end a recording with an uninitialised sample and offset; together with samples beyond the
    footer's count this identifies them.
    """
    if len(offsets) < 3:
        return False
    intervals = np.diff(offsets[:, 0])
    if abs(intervals[-1]) > max(_CORRUPT_INTERVALS * np.median(intervals[:-1]), 0.0):
        return True
    shifts = np.abs(offsets[:, 1] - np.median(offsets[:-1, 1]))
    return bool(shifts[-1] > max(_CORRUPT_DEVIATIONS * np.median(shifts[:-1]), _RESET_OFFSET_SECONDS))


class ClockTracker:
    """Application of a stream's segments to its stamps in the order of the file."""

    def __init__(self, segments: Sequence[ClockSegment]) -> None:
        self._segments = segments
        self._current = 0

    def apply(self, times: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[int]]:
        """Synchronise the sender's stamps, which continue those of the call before.

        Return them with the indices of those before which the clock was reset.
        """
        if not self._segments:
            return times, []
        result = self._segments[self._current].apply(times)
        resets: list[int] = []
        start = 0
        while self._current + 1 < len(self._segments):
            here, following = self._segments[self._current : self._current + 2]
            rest = times[start:]
            beyond = np.abs(rest - here.last) >= np.abs(rest - following.first)
            if not beyond.any():
                break
            start += int(np.argmax(beyond))
            result[start:] = following.apply(times[start:])
            resets.append(start)
            self._current += 1
        return result, resets
