"""Check that cues lie within the time of the signal: markers stamped by another clock belong to no sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import RecordingError
from mindwire.offline.trials import Trial

# Shorter pauses and jitter do not end a stretch of signal.
_PAUSE_S = 1.0
_JITTER_S = 0.25
# Seconds since 1970 are of this size; LSL counts from the computer's start.
_UNIX_S = 1e9


class CoveredTime:
    """Stretches of time for which there are samples, gathered chunk by chunk."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def take(self, times: NDArray[np.float64]) -> None:
        """Add a chunk's time stamps."""
        times = times[np.isfinite(times)]
        if not len(times):
            return
        steps = np.diff(times)
        cuts = np.flatnonzero((steps > _PAUSE_S) | (steps < -_JITTER_S)) + 1
        for piece in np.split(times, cuts):
            first, last = float(piece[0]), float(piece[-1])
            if self._spans and -_JITTER_S <= first - self._spans[-1][1] <= _PAUSE_S:
                self._spans[-1] = (self._spans[-1][0], last)
            else:
                self._spans.append((first, last))

    @property
    def extent(self) -> tuple[float, float]:
        """Earliest and latest time of a sample."""
        return min((first for first, _ in self._spans), default=np.inf), max(
            (last for _, last in self._spans), default=-np.inf
        )

    def distances(self, trials: Sequence[Trial]) -> NDArray[np.float64]:
        """Seconds from each trial's cue to the nearest sample; 0 within the signal."""
        cues = np.array([trial.cue for trial in trials], dtype=np.float64)
        spans = np.array(self._spans, dtype=np.float64).reshape(-1, 2)
        if not len(spans):
            return np.full(len(cues), np.inf)
        before, after = spans[:, 0] - cues[:, None], cues[:, None] - spans[:, 1]
        nearest: NDArray[np.float64] = np.maximum(np.maximum(before, after), 0.0).min(axis=1)
        return nearest

    def count_outside(self, trials: Sequence[Trial], where: str) -> int:
        """Count the trials whose cues lie outside the signal's time.

        Raises
        ------
        RecordingError
            All do: the message says how far apart the two are, and what to do.
        """
        distances = self.distances(trials)
        outside = int((~(distances <= _JITTER_S)).sum())
        if not self._spans or not outside or outside < len(trials):
            return outside
        first, last = min(low for low, _ in self._spans), max(high for _, high in self._spans)
        cues = [trial.cue for trial in trials]
        clocks = "the two were stamped by different clocks"
        if (first > _UNIX_S) != (cues[0] > _UNIX_S):
            eeg, other = ("Unix time", "the time of LSL") if first > _UNIX_S else ("the time of LSL", "Unix time")
            clocks = f"the EEG counts {eeg}, the cues {other}"
        msg = (
            f"{where}: none of the {len(trials)} cues lies within the EEG's time: the EEG runs from {first:.1f} to "
            f"{last:.1f} s, the cues from {min(cues):.1f} to {max(cues):.1f} s, {distances.min():.1f} s apart; {clocks}. "
            "Record both with LSL's clock, or correct the time stamps in the file."
        )
        raise RecordingError(msg)
