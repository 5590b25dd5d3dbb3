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

Offsets = Sequence[float] | NDArray[np.float64]
Followed = tuple[Offsets, list[int], bool]


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
        self._alpha = a = 2 * _DAMPING * _BANDWIDTH / sfreq
        self._beta = b = (_BANDWIDTH / sfreq) ** 2
        self._forget = f = 1.0 / (_JITTER_SECONDS * sfreq)
        self._start_samples = math.ceil(1 / a)
        self._sections = np.array([[a, b - a, 0.0, 1.0, a + b - 2, 1 - a]])
        self._smoother = np.array([[f, 0.0, 0.0, 1.0, f - 1.0, 0.0]])
        short = 1.0 / _BIAS_SAMPLES
        self._bias_section = (short - f, f - short, 0.0, 1.0, short + f - 2, (1 - short) * (1 - f))
        self._bias_smoother = np.array([self._bias_section])
        self._counts = np.arange(256.0)
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
        return max(0.5 * self.period, 4 * self.jitter)

    def times(self, index: int, offsets: Offsets) -> NDArray[np.float64]:
        """Return the times of samples from a number on, given their offsets."""
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
        offsets: list[float] = []
        biased: list[int] = []
        for number, stamp in enumerate(stamps[: self._start_samples - self.index].tolist()):
            residual = self.residual(stamp)
            if self.index and not abs(residual) <= self.tolerance:
                return offsets, biased, True
            residual = 0.0 if math.isnan(residual) else residual
            offsets.append(self._step(residual, abs(residual)))
            if self._is_biased(residual):
                biased.append(number)
        return offsets, biased, False

    def follow_loosely(self, stamps: NDArray[np.float64]) -> list[float]:
        """Follow contiguous samples with little weight on their stamps; return their offsets."""
        offsets = []
        for stamp in stamps.tolist():
            residual, tolerance = self.residual(stamp), self.tolerance
            if math.isnan(residual):
                offsets.append(self._step(0.0, self.jitter))
            else:
                offsets.append(self._step(min(max(residual, -tolerance), tolerance), abs(residual)))
        return offsets

    def follow(self, stamps: NDArray[np.float64]) -> Followed:
        """Follow stamps up to the first that is suspicious, or is suddenly biased.

        Returns
        -------
        offsets : array_like of float, shape (n_followed,)
        biased : list of int
            Places of those at which stamps suddenly keep to one side of their expectation.
        suspicious : bool
            The next stamp is far off its expectation.
        """
        suspicious = False
        while len(stamps):
            n = len(stamps)
            rest = 1 - self._alpha
            state = np.array([[self._state or (rest * (self.offset + self.drift), -rest * self.offset)]])
            deviation = stamps - self.origin
            deviation -= (self.index + self._counted(n)) * self.period
            finite = np.isfinite(deviation)
            if not finite.all():
                deviation[~finite] = 1e9
            offsets = deviation[None].copy()
            run_sections(self._sections, offsets, state)
            residuals = np.empty((2, n))  # and their bias
            residuals[:] = (deviation - offsets[0]) / rest
            bias = np.array([[self._bias]])
            run_sections(self._bias_smoother, residuals[1:], bias)
            sizes = np.abs(residuals)
            levels = sizes.copy()
            kept = 1 - self._forget
            run_sections(
                self._smoother, levels, np.array([[[kept * self.jitter, 0.0]], [[kept * self._bias_scale, 0.0]]])
            )
            biased = False
            # Filters are causal: what came before the first suspicious or biased stamp is right as it stands.
            if sizes.max() > 0.5 * self.period:
                before = np.concatenate([[self.jitter], levels[0, :-1]])
                far = sizes[0] > np.maximum(0.5 * self.period, 4 * before)
                if far.any():
                    stamps, suspicious = stamps[: int(np.argmax(far))], True
                    continue
                marks = sizes[1] > np.maximum(_BIAS_PERIODS * self.period, _BIAS_SCALES * levels[1])
                biased = bool(marks.any())
                if biased and (last := int(np.argmax(marks)) + 1) < n:
                    stamps, suspicious = stamps[:last], False
                    continue
            first, second = state[0, 0].tolist()
            self.offset = float(offsets[0, -1])
            self.drift = first / rest - self.offset
            self._state, self._bias = (first, second), tuple(bias[0, 0].tolist())
            self.jitter, self._bias_scale = levels[:, -1].tolist()
            self.index += n
            if biased:
                # Samples were lost, less than the jitter shows: follow at once, or the next loss would hide behind this one.
                self.offset += float(residuals[1, -1])
                self._moved()
            return offsets[0], [n - 1] if biased else [], suspicious
        return [], [], True

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
