"""Clock offsets of XDF files: from the sender's stamps to the recording computer's clock.

The mapping is the reference importer's, one robust line between two clock resets, so that stamps agree with other tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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
    """Part of the sender's clock between two resets: ``offset(t) = intercept + slope * (t - origin)`` in seconds."""

    first: float
    last: float
    origin: float
    intercept: float
    slope: float

    def apply(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return stamps in the recording computer's clock."""
        return times + (self.intercept + self.slope * (times - self.origin))


def _fit(times: NDArray[np.float64], values: NDArray[np.float64]) -> ClockSegment:
    """Fit a line that minimises Huber's loss, by iteratively reweighted least squares."""
    origin = float(times[0])
    x = times - origin
    intercept, slope = float(np.median(values)), 0.0
    if np.ptp(x) > 0:
        weights = np.ones_like(x)
        for _ in range(100):
            total = weights.sum()
            mean_x, mean_y = (weights @ x) / total, (weights @ values) / total
            spread = weights @ (x - mean_x) ** 2
            if spread <= 0:
                break
            new_slope = float((weights @ ((x - mean_x) * (values - mean_y))) / spread)
            new_intercept = float(mean_y - new_slope * mean_x)
            moved = abs(new_intercept - intercept) + abs(new_slope - slope) * float(np.ptp(x))
            intercept, slope = new_intercept, new_slope
            residuals = np.abs(values - (intercept + slope * x))
            weights = _HUBER_SECONDS / np.maximum(residuals, _HUBER_SECONDS)
            if moved < 1e-12:
                break
        if abs(slope) > _MAX_DRIFT:
            intercept, slope = float(np.median(values)), 0.0
    return ClockSegment(origin, float(times[-1]), origin, intercept, slope)


def _outlying(steps: NDArray[np.float64], deviations: float, seconds: float) -> NDArray[np.bool_]:
    shift = np.abs(steps - np.median(steps))
    deviation = np.median(shift) + np.finfo(float).eps
    result: NDArray[np.bool_] = (shift / deviation > deviations) & (shift > seconds)
    return result


def fit_segments(times: Sequence[float], values: Sequence[float]) -> tuple[ClockSegment, ...]:
    """Return the segments of a stream's clock between its resets, by its offsets and the times of their measurement.

    A reset shows as measurement times that run backwards, or as a late measurement together with a jump of the offset (a
    restarted or exchanged computer).
    """
    t, v = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    if not len(t):
        return ()
    cuts = [0, len(t)]
    if len(t) > 1:
        late = _outlying(np.diff(t), _RESET_INTERVAL_DEVIATIONS, _RESET_INTERVAL_SECONDS)
        jump = _outlying(np.diff(v), _RESET_OFFSET_DEVIATIONS, _RESET_OFFSET_SECONDS)
        resets = (np.diff(t) < 0) | (late & jump)
        cuts = [0, *(np.flatnonzero(resets) + 1).tolist(), len(t)]
    return tuple(_fit(t[start:stop], v[start:stop]) for start, stop in pairwise(cuts))


def last_is_corrupt(times: Sequence[float], values: Sequence[float]) -> bool:
    """Return true if the last offset is far from all before it, in its interval or its value.

    Older versions of liblsl could end a recording with an uninitialised sample and offset; together with samples beyond the
    footer's count this identifies them.
    """
    if len(times) < 3:
        return False
    intervals = np.diff(times)
    usual = float(np.median(intervals[:-1]))
    last = abs(float(intervals[-1]))
    if last > _CORRUPT_INTERVALS * max(usual, 0.0) and last > 0:
        return True
    earlier = np.asarray(values[:-1])
    middle = np.median(earlier)
    deviation = float(np.median(np.abs(earlier - middle)))
    shift = abs(float(values[-1] - middle))
    return shift > _CORRUPT_DEVIATIONS * max(deviation, 1e-9) and shift > _RESET_OFFSET_SECONDS


class ClockTracker:
    """Application of a stream's segments to its stamps in the order of the file."""

    def __init__(self, segments: Sequence[ClockSegment]) -> None:
        self._segments = segments
        self._current = 0

    def apply(self, times: NDArray[np.float64]) -> list[tuple[int, NDArray[np.float64]]]:
        """Split stamps at clock resets and synchronise each part.

        Parameters
        ----------
        times : ndarray of float64, shape (n_samples,)
            The sender's stamps, continuing those of the call before.

        Returns
        -------
        list of (start, synchronised)
            Each part's first index and its stamps; a reset precedes every part but the first. A first part that is
            empty means that the reset is before ``times``.
        """
        if not self._segments:
            return [(0, times)]
        parts: list[tuple[int, NDArray[np.float64]]] = []
        start = 0
        while self._current + 1 < len(self._segments):
            here, following = self._segments[self._current], self._segments[self._current + 1]
            rest = times[start:]
            beyond = np.abs(rest - here.last) >= np.abs(rest - following.first)
            if not beyond.any():
                break
            cut = start + int(np.argmax(beyond))
            parts.append((start, here.apply(times[start:cut])))
            start = cut
            self._current += 1
        parts.append((start, self._segments[self._current].apply(times[start:])))
        return parts
