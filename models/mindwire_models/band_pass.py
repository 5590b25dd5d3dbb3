"""Band pass of windows, as a step of a scikit-learn pipeline: a member of a filter bank that an ONNX graph can hold."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mindwire_models.errors import ArgumentError, extra

with extra("train", "A band pass in a pipeline needs scikit-learn"):
    from sklearn.base import BaseEstimator, TransformerMixin


class BandPass(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Windows to their part in a band of frequencies, by a linear map over time.

    A window of ``n`` samples is tapered and projected on the sines and cosines of the discrete Fourier frequencies
    ``k sfreq / n`` in the band: ``y[t] = sum_k a_k cos(2π k t / n) + b_k sin(2π k t / n)``, where
    ``a_k = (2 / n) sum_t h[t] x[t] cos(2π k t / n)``, and ``b_k`` likewise with the sine. The taper is Hann's,
    ``h[t] = sqrt(2 / 3) (1 - cos(2π (t + 0.5) / n))``, of a mean square of one: the power of a noise in the band is kept.
    The output is in the unit of the input and has ``2 m`` dimensions for ``m`` frequencies, so that covariances of more channels
    need a shrinking estimator (``lwf``, ``oas``).

    Parameters
    ----------
    low, high : float
        Edges of the band in Hz, inclusive; above zero and below half the sampling rate.
    sfreq : float
        Sampling rate in Hz.
    """

    def __init__(self, low: float, high: float, sfreq: float) -> None:
        self.low = low
        self.high = high
        self.sfreq = sfreq

    def fit(self, X: NDArray[np.floating], y: object = None) -> BandPass:  # noqa: ARG002 - as scikit-learn calls it
        """Check the band against windows ``(n_windows, n_chans, n_times)``, and return self.

        Raises
        ------
        ArgumentError
            The band holds none of the windows' frequencies, or ``X`` has another shape.
        """
        self.basis(_n_times(X))
        return self

    def transform(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the part in the band of windows ``(n_windows, n_chans, n_times)``; the same shape.

        Raises
        ------
        ArgumentError
            As of :meth:`fit`.
        """
        taper, waves = self.basis(_n_times(X))
        return np.asarray(np.asarray(X, dtype=np.float64) @ (taper[:, None] * waves) @ waves.T)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def basis(self, n_times: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the taper, ``(n_times,)``, and orthonormal cosines and sines of the band, ``(n_times, 2 m)``.

        Raises
        ------
        ArgumentError
            The band is empty, or holds none of the frequencies of such windows.
        """
        if not 0 < self.low <= self.high < self.sfreq / 2:
            msg = (
                f"Expected a band with 0 < low <= high < {self.sfreq / 2:g} Hz, half the sampling rate, "
                f"found {self.low:g} to {self.high:g} Hz; choose another."
            )
            raise ArgumentError(msg)
        step = self.sfreq / n_times
        frequencies = np.arange(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        if not len(frequencies):
            msg = (
                f"The band of {self.low:g} to {self.high:g} Hz holds none of the frequencies of a window of {n_times} samples, "
                f"multiples of {step:g} Hz; choose a wider one."
            )
            raise ArgumentError(msg)
        times = np.arange(n_times)
        # Whole turns are left out before the angle is rounded.
        angles = 2 * np.pi / n_times * (np.outer(times, frequencies) % n_times)
        waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * np.sqrt(2 / n_times)
        taper = np.sqrt(2 / 3) * (1 - np.cos(2 * np.pi * (times + 0.5) / n_times))
        return taper, waves


def _n_times(windows: NDArray[np.floating]) -> int:
    shape = np.shape(windows)
    if len(shape) != 3:
        msg = f"Expected windows (n_windows, n_chans, n_times), found the shape {shape}; pass an array of three axes."
        raise ArgumentError(msg)
    return int(shape[2])
