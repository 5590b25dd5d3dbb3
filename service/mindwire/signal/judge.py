"""Judgement of a stamp that is far off its expectation, from the stamps after it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mindwire.signal.chunk_drift import Floats, chunk_drift
from mindwire.signal.rate import MeasuredRate, believable, measure

_DECIDE_SECONDS = 0.1
_HOLD_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Meaning of a suspicious stamp.

    Parameters
    ----------
    kind : {"late", "shifted", "drifts", "wrong"}
        The next ``count`` samples are contiguous; the stamps moved by ``shift`` seconds; they advance by ``shift`` more per
        sample than the period; or they contradict the rate.
    count : int
        At least one.
    shift : float
    jump : float
        Seconds by which the stamps of a drifting stream jump from chunk to chunk.
    returned : bool
        The stamps after late ones are as expected.
    measured : MeasuredRate or None
        What they contradict the rate with.
    """

    kind: Literal["late", "shifted", "drifts", "wrong"]
    count: int = 1
    shift: float = 0.0
    jump: float = 0.0
    returned: bool = False
    measured: MeasuredRate | None = None


class Judge:
    """Judges suspicious stamps of a stream, by the rate that it is taken to have, in hertz.

    Attributes
    ----------
    hold : int
        Number of samples that always suffice for a verdict.
    """

    def __init__(self, sfreq: float) -> None:
        self._period = 1.0 / sfreq
        self._decide = max(8, math.ceil(_DECIDE_SECONDS * sfreq))
        self.hold = max(self._decide, math.ceil(_HOLD_SECONDS * sfreq))

    def verdict(
        self,
        stamps: Floats,
        expected: Floats,
        tolerance: float,
        earlier: Floats,
        *,
        final: bool,
    ) -> Verdict | None:
        """Judge stamps of which the first is suspicious; None while that is open.

        Parameters
        ----------
        stamps : ndarray of float64, shape (n_samples,)
            At most :attr:`hold`.
        expected : ndarray of float64, shape (n_samples,)
        tolerance : float
            Seconds by which stamps after the first may be off.
        earlier : ndarray of float64, shape (n_earlier,)
            Stamps before these, without the gaps among them.
        final : bool
            Whether nothing comes after them.
        """
        ahead = np.where(believable(stamps), stamps, np.nan) - expected
        sign = -1.0 if ahead[0] < 0 else 1.0
        ahead *= sign
        back = np.flatnonzero(ahead[1:] <= tolerance)
        returned = int(back[0]) + 1 if len(back) else None
        settled = self._settled(ahead, tolerance)
        chunk = chunk_drift(earlier, stamps, self._period, self.hold, final=final)
        # By the first stamp that decides, so that later ones, which may have come with the same chunk, change nothing.
        decided_at = chunk.known_at
        if chunk.drift is None:
            decided_at = len(ahead) if settled is None else max(settled, chunk.known_at)
        if returned is not None and returned <= decided_at:
            return Verdict("late", count=returned, returned=True)
        if chunk.drift is not None:
            return Verdict("drifts", shift=chunk.drift, jump=chunk.jump)
        undecided = settled is None and len(ahead) < self.hold and not final
        if undecided or chunk.known_at >= len(ahead):
            return None
        return self._judged(stamps, ahead, settled, tolerance, sign)

    def _judged(self, stamps: Floats, ahead: Floats, settled: int | None, tolerance: float, sign: float) -> Verdict:
        count = len(ahead) if settled is None else settled + 1
        measured = measure(stamps[:count], self._period)
        if measured is not None and settled is None and measured.wrong:
            return Verdict("wrong", measured=measured)
        # Drift leaves the tolerance by a step at a time; what begins with a jump is none.
        gradual = ahead[0] < self._period and tolerance <= 0.5 * self._period
        if measured is not None and measured.clear and gradual and self._even(stamps[:count]):
            return Verdict("drifts", shift=measured.seconds - self._period)
        agreeing = ahead if settled is None else ahead[settled - self._decide + 1 : count]
        numbers = agreeing[np.isfinite(agreeing)]
        shift = float(numbers.min()) if len(numbers) else 0.0
        if round(shift / self._period) < 1:
            return Verdict("late", count=count)
        return Verdict("shifted", shift=sign * shift)

    def _even(self, stamps: Floats) -> bool:
        """Return true if stamps advance evenly, with neither a burst nor a loss among them, at a rate of their own."""
        steps = np.diff(stamps)
        return bool((steps > 0.5 * self._period).all() and (steps < 1.5 * self._period).all())

    def _settled(self, ahead: Floats, tolerance: float) -> int | None:
        """Index at which the last few stamps agree with each other on being off."""
        if len(ahead) < self._decide:
            return None
        runs = sliding_window_view(ahead, self._decide)
        lowest = runs.min(axis=1)
        agree = (runs.max(axis=1) - lowest <= 2 * tolerance) & (lowest > tolerance)  # no NaN does
        return int(np.argmax(agree)) + self._decide - 1 if agree.any() else None
