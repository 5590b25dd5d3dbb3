"""Tracker of time stamps: what a stamp is expected to be, by past stamps alone.

A second-order tracker (an alpha-beta filter, the steady state of a Kalman filter for constant drift; Benedict & Bordner 1962),
together with the mean size of its residuals, the jitter, and their bias to one side. All three are recursions, run by a
compiled kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mindwire.signal.filters import run_sections
from mindwire.signal.rate import LARGEST_STAMP

_BANDWIDTH = 0.1  # rad/s of the tracker: deviations slower than some ten seconds are followed as drift
_DAMPING = math.sqrt(0.5)
_JITTER_SECONDS = 2.0
_LARGEST_RESIDUAL = 2.0  # seconds that one residual adds to the jitter at most
# Losses shorter than the jitter show as a bias: the residuals' short mean is suddenly off their longer one, far
# above its own usual size. A persistent bias is not marked: the tracker merely lags.
_BIAS_SAMPLES = 12
_BIAS_PERIODS = 0.75
_BIAS_SCALES = 5.0

Times = NDArray[np.float64]
Followed = tuple[Times, list[int], bool]


class Tracker:
    """Tracker of the stamps of one stream.

    Parameters
    ----------
    sfreq : float
        Rate the stream is taken to have, in hertz.

    Attributes
    ----------
    origin : float
        First stamp in seconds, from which offsets count; NaN before any.
    index : int
        Samples since then.
    offset, drift : float
        Seconds by which the next sample is off its nominal time, and by which that grows per sample.
    jitter : float
        Mean size of the residuals, in seconds.
    """

    def __init__(self, sfreq: float) -> None:
        self.period = 1.0 / sfreq
        self._near = 0.5 * self.period
        self._alpha = a = 2 * _DAMPING * _BANDWIDTH / sfreq
        self._rest = 1 - a
        self._beta = b = (_BANDWIDTH / sfreq) ** 2
        self._forget = f = 1.0 / (_JITTER_SECONDS * sfreq)
        self._start_samples = math.ceil(1 / a)
        self._sections = np.array([[a, b - a, 0.0, 1.0, a + b - 2, 1 - a]])
        self._smoother = np.array([[f, 0.0, 0.0, 1.0, f - 1.0, 0.0]])
        short = 1.0 / _BIAS_SAMPLES
        self._bias_section = (short - f, f - short, 0.0, 1.0, short + f - 2, (1 - short) * (1 - f))
        self._bias_smoother = np.array([self._bias_section])
        self._kept = 1 - f
        self._counts = np.arange(256.0)
        # states of the three recursions while a chunk is followed
        self._states = np.empty((1, 1, 2)), np.empty((1, 1, 2)), np.empty((2, 1, 2))
        self.drift = self.jitter = self._bias_scale = 0.0
        self.restart()

    def restart(self) -> None:
        """Begin at another origin; what is known of the sender's clock stays."""
        self.origin, self.index, self.offset = math.nan, 0, 0.0
        self._moved()

    def _moved(self) -> None:
        # The recursion's own state, which offset and drift give only up to rounding: chunks may end anywhere.
        self._state: tuple[float, float] | None = None
        self._bias = (0.0, 0.0)

    @property
    def starting(self) -> bool:
        """True while the gain still falls."""
        return self.index < self._start_samples

    @property
    def tolerance(self) -> float:
        """Seconds by which a stamp may be off."""
        return max(self._near, 4 * self.jitter)

    @property
    def last(self) -> float:
        """Time of the last sample."""
        return float(self._times(self.index - 1, [self.offset])[0])

    def _times(self, index: int, offsets: Sequence[float]) -> Times:
        times = (index + self._counted(len(offsets))) * self.period
        times += self.origin
        times += offsets
        return times

    def expected(self, n: int) -> NDArray[np.float64]:
        """Return the stamps that are expected of the next samples."""
        steps = np.arange(n)
        nominal = self.origin + (self.index + steps) * self.period
        return np.asarray(nominal + self.offset + self.drift * (steps + 1))

    def residual(self, stamp: float) -> float:
        """Return the seconds by which a stamp is off; NaN for one that is no time."""
        residual = stamp - self.origin - self.index * self.period - self.offset - self.drift
        return residual if abs(residual) < LARGEST_STAMP else math.nan

    def start(self, stamps: NDArray[np.float64]) -> Followed:
        """Follow stamps one by one while the gain still falls; otherwise as :meth:`follow`."""
        first, offsets = self.index, list[float]()
        biased: list[int] = []
        for number, stamp in enumerate(stamps[: self._start_samples - self.index].tolist()):
            residual = self.residual(stamp)
            if self.index and not abs(residual) <= self.tolerance:
                return self._times(first, offsets), biased, True
            residual = 0.0 if math.isnan(residual) else residual
            offsets.append(self._step(residual, abs(residual)))
            if self._is_biased(residual):
                biased.append(number)
        return self._times(first, offsets), biased, False

    def follow_loosely(self, stamps: NDArray[np.float64]) -> Times:
        """Follow contiguous samples with little weight on their stamps; return their times."""
        first, offsets = self.index, list[float]()
        for stamp in stamps.tolist():
            residual, tolerance = self.residual(stamp), self.tolerance
            if math.isnan(residual):
                offsets.append(self._step(0.0, self.jitter))
            else:
                offsets.append(self._step(min(max(residual, -tolerance), tolerance), abs(residual)))
        return self._times(first, offsets)

    def follow(self, stamps: NDArray[np.float64]) -> Followed:
        """Follow stamps up to the first that is suspicious, or is suddenly biased.

        Returns
        -------
        times : ndarray of float64, shape (n_followed,)
            Seconds.
        biased : list of int
            Places of those at which stamps suddenly keep to one side of their expectation.
        suspicious : bool
            The next stamp is far off its expectation.
        """
        suspicious, rest, kept = False, self._rest, self._kept
        state, bias, level = self._states
        while n := len(stamps):
            times = (float(self.index) + self._counted(n)) * self.period  # an int takes numpy twice as long
            deviation = stamps - self.origin
            deviation -= times
            finite = np.isfinite(deviation)
            if np.count_nonzero(finite) < n:
                deviation[~finite] = 1e9
            offsets = deviation.reshape(1, n).copy()
            state[0, 0, 0], state[0, 0, 1] = self._state or (rest * (self.offset + self.drift), -rest * self.offset)
            run_sections(self._sections, offsets, state)
            residuals = np.empty((2, n))  # and their bias
            np.divide(deviation - offsets, rest, residuals)
            bias[0, 0, 0], bias[0, 0, 1] = self._bias
            run_sections(self._bias_smoother, residuals[1:], bias)
            sizes = np.abs(residuals)
            levels = sizes.copy()
            level[0, 0, 0], level[1, 0, 0] = kept * self.jitter, kept * self._bias_scale
            level[0, 0, 1] = level[1, 0, 1] = 0.0
            run_sections(self._smoother, levels, level)
            biased = False
            # Filters are causal: what came before the first suspicious or biased stamp is right as it stands.
            if sizes.item(sizes.argmax()) > self._near:
                before = np.concatenate([[self.jitter], levels[0, :-1]])
                far = sizes[0] > np.maximum(self._near, 4 * before)
                if far.any():
                    stamps, suspicious = stamps[: int(np.argmax(far))], True
                    continue
                marks = sizes[1] > np.maximum(_BIAS_PERIODS * self.period, _BIAS_SCALES * levels[1])
                biased = bool(marks.any())
                if biased and (last := int(np.argmax(marks)) + 1) < n:
                    stamps, suspicious = stamps[:last], False
                    continue
            times += self.origin
            times += offsets[0]
            self.offset = offsets.item(-1)
            self._state, self._bias = (state.item(0), state.item(1)), (bias.item(0), bias.item(1))
            self.drift = self._state[0] / rest - self.offset
            self.jitter, self._bias_scale = levels.item(n - 1), levels.item(-1)
            self.index += n
            if biased:
                # Samples were lost, less than the jitter shows: follow at once, or the next loss would hide behind this one.
                self.offset += residuals.item(-1)
                self._moved()
            return times, [n - 1] if biased else [], suspicious
        return np.empty(0), [], True

    def skip(self, missing: int) -> None:
        """Leave out missing samples."""
        self.index += missing
        self.offset += self.drift * missing
        self._moved()

    def shift(self, seconds: float) -> None:
        """Go on where the stamps moved to."""
        self.offset += seconds
        self._moved()

    def adopt_drift(self, drift: float, jump: float, stamp: float) -> None:
        """Follow a drift that was measured otherwise, with the jump by which chunks' stamps differ, from a stamp on."""
        residual = self.residual(stamp)
        self.offset += 0.0 if math.isnan(residual) else residual + self.drift - drift - 0.5 * jump
        self.drift = drift
        self.jitter = max(self.jitter, 0.3 * abs(jump))  # a sawtooth about the line

    def _step(self, residual: float, size: float) -> float:
        gain = max(self._alpha, 1.0 / (self.index + 1))
        self._state = None
        self.offset += self.drift + gain * residual
        if not self.starting:
            self.drift += self._beta * residual
        if self.index:
            self.jitter += self._forget * (min(size, _LARGEST_RESIDUAL) - self.jitter)
        self.index += 1
        return self.offset

    def _is_biased(self, residual: float) -> bool:
        """Return true if one stamp begins or continues a sudden bias."""
        b0, b1, _, _, a1, a2 = self._bias_section
        first, second = self._bias
        bias = b0 * residual + first
        self._bias = b1 * residual - a1 * bias + second, -a2 * bias
        self._bias_scale += self._forget * (abs(bias) - self._bias_scale)
        return abs(bias) > max(_BIAS_PERIODS * self.period, _BIAS_SCALES * self._bias_scale)

    def _counted(self, n: int) -> NDArray[np.float64]:
        """0, 1, 2, …: a view of what is kept for chunks of the usual size."""
        return self._counts[:n] if n <= len(self._counts) else np.arange(float(n))
