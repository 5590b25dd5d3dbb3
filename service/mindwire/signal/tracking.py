"""Tracker of time stamps.

A second-order tracker (an alpha-beta filter, the steady state of a Kalman filter for constant drift;
Benedict & Bordner 1962), together with the mean
size of its residuals, the jitter, and their bias to one side. All three are recursions, run by a compiled kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindwire.signal.recursion import run_sections

Floats = NDArray[np.float64]

_BANDWIDTH = 0.1  # rad/s of the tracker: deviations slower than some ten seconds are followed as drift
_DAMPING = math.sqrt(0.5)
_JITTER_SECONDS = 2.0
# Losses shorter than the jitter show as a bias: the residuals' short mean is suddenly off their longer one, far
# above its own usual size. A persistent bias is not marked: the tracker merely lags.
_BIAS_SAMPLES = 12
_BIAS_PERIODS = 0.75
_BIAS_SCALES = 5.0


@dataclass(slots=True)
class TrackerState:
    """State of the tracker of one stream.

    Attributes
    ----------
    origin : float or None
        First stamp in seconds, from which offsets count; None before any.
    index : int
        Samples since then.
    offset, drift : float
        Seconds by which the next sample is off its nominal time, and by which that grows per sample.
    state : tuple of two floats or None
        The recursion's own state: offset and drift give it only up to rounding, and chunks may end anywhere.
    jitter, bias_scale : float
        Mean size of the residuals and of their bias, in seconds.
    bias : tuple of two floats
        The state of the bias's recursion.
    """

    origin: float | None = None
    index: int = 0
    offset: float = 0.0
    drift: float = 0.0
    state: tuple[float, float] | None = None
    jitter: float = 0.0
    bias_scale: float = 0.0
    bias: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class BiasMarks:
    """Samples at which stamps are suddenly biased to one side, a row per stream.

    Parameters
    ----------
    marks : ndarray of bool, shape (n_streams, n_samples)
    biases : ndarray of float64, shape (n_streams, n_samples)
        Seconds.
    state : ndarray of float64, shape (n_streams, 1, 2)
    bias_scale : ndarray of float64, shape (n_streams,)
    """

    marks: NDArray[np.bool_]
    biases: Floats
    state: Floats
    bias_scale: Floats


@dataclass(frozen=True, slots=True)
class Followed:
    """Result of following stamps, a row per stream.

    Parameters
    ----------
    offsets : ndarray of float64, shape (n_streams, n_samples)
    residuals : ndarray of float64, shape (n_streams, n_samples)
        Of each stamp, before it was taken into account.
    jitters : ndarray of float64, shape (n_streams, n_samples)
    sizes : ndarray of float64, shape (n_streams, n_samples)
        Of the residuals.
    state : ndarray of float64, shape (n_streams, 1, 2)
    """

    offsets: Floats
    residuals: Floats
    jitters: Floats
    sizes: Floats
    state: Floats


class Tracker:
    """Tracker at one sampling rate.

    Parameters
    ----------
    sfreq : float
        Hertz.
    """

    def __init__(self, sfreq: float) -> None:
        self.period = 1.0 / sfreq
        self.alpha = 2 * _DAMPING * _BANDWIDTH / sfreq
        self.beta = (_BANDWIDTH / sfreq) ** 2
        self.forget = 1.0 / (_JITTER_SECONDS * sfreq)
        self.start_samples = math.ceil(1 / self.alpha)
        self._least_bias = _BIAS_PERIODS * self.period
        a, b, f = self.alpha, self.beta, self.forget
        self._sections = np.array([[a, b - a, 0.0, 1.0, a + b - 2, 1 - a]])
        self._smoother = np.array([[f, 0.0, 0.0, 1.0, f - 1.0, 0.0]])
        short = 1.0 / _BIAS_SAMPLES
        self._bias_section = (short - f, f - short, 0.0, 1.0, short + f - 2, (1 - short) * (1 - f))
        self._bias_smoother = np.array([self._bias_section])
        self._steps = np.arange(256.0)

    def counted(self, n: int) -> Floats:
        """0, 1, 2, …: a view of what is kept for chunks of the usual size."""
        return self._steps[:n] if n <= len(self._steps) else np.arange(float(n))

    def elapsed(self, index: Floats, n: int) -> Floats:
        """Nominal seconds since the origin of the next samples, (n_streams, n_samples).

        Parameters
        ----------
        index : ndarray of float64, shape (n_streams,)
        n : int
        """
        return np.asarray((index[:, None] + self.counted(n)) * self.period)

    def state_of(self, tracked: TrackerState) -> tuple[float, float]:
        """Return the state of the recursion at a state of the tracker."""
        if tracked.state is not None:
            return tracked.state
        rest = 1 - self.alpha
        return rest * (tracked.offset + tracked.drift), -rest * tracked.offset

    def drift_after(self, state: float, offset: float) -> float:
        """Drift per sample, from the recursion's first state and the offset it gave."""
        return state / (1 - self.alpha) - offset

    def follow(self, stamps: Floats, origin: Floats, elapsed: Floats, state: Floats, jitter: Floats) -> Followed:
        """Follow stamps, as if none of them were suspicious.

        Parameters
        ----------
        stamps, elapsed : ndarray of float64, shape (n_streams, n_samples)
        origin, jitter : ndarray of float64, shape (n_streams,)
        state : ndarray of float64, shape (n_streams, 1, 2)
            Changed in place.

        Returns
        -------
        Followed
        """
        deviation = stamps - origin[:, None]
        deviation -= elapsed
        finite = np.isfinite(deviation)
        if not finite.all():
            deviation[~finite] = 1e9
        offsets = deviation.copy()
        run_sections(self._sections, offsets, state)
        deviation -= offsets
        deviation /= 1 - self.alpha
        sizes = np.abs(deviation)
        jitters = sizes.copy()
        run_sections(self._smoother, jitters, self._first_state(1 - self.forget, jitter))
        return Followed(offsets, deviation, jitters, sizes, state)

    def mark_bias(self, residuals: Floats, state: Floats, bias_scale: Floats) -> BiasMarks:
        """Mark stamps that suddenly keep to one side of their expectation.

        Parameters
        ----------
        residuals : ndarray of float64, shape (n_streams, n_samples)
            Overwritten.
        state : ndarray of float64, shape (n_streams, 1, 2)
            Changed in place.
        bias_scale : ndarray of float64, shape (n_streams,)

        Returns
        -------
        BiasMarks
        """
        run_sections(self._bias_smoother, residuals, state)
        sizes = np.abs(residuals)
        scales = sizes.copy()
        run_sections(self._smoother, scales, self._first_state(1 - self.forget, bias_scale))
        marks = sizes > np.maximum(self._least_bias, _BIAS_SCALES * scales)
        return BiasMarks(marks, residuals, state, scales[:, -1])

    def is_biased(self, tracked: TrackerState, residual: float) -> bool:
        """Return true if one stamp begins or continues a sudden bias; updates the bias and its scale."""
        b0, b1, _, _, a1, a2 = self._bias_section
        first, second = tracked.bias
        bias = b0 * residual + first
        tracked.bias = b1 * residual - a1 * bias + second, -a2 * bias
        tracked.bias_scale += self.forget * (abs(bias) - tracked.bias_scale)
        return abs(bias) > max(self._least_bias, _BIAS_SCALES * tracked.bias_scale)

    def _first_state(self, kept: float, level: Floats) -> Floats:
        """State of a first-order smoother that stands at a level, (n_streams, 1, 2)."""
        state = np.zeros((len(level), 1, 2))
        state[:, 0, 0] = kept * level
        return state
