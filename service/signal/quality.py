"""What can be said of a sample as it comes: not finite, flat, saturated.

Everything here counts samples and looks only back, so flags do not depend on chunking.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from service.types import Reason

_FLAT_SECONDS = 0.2
_RAIL_SECONDS = 0.02
_RAIL_MIN_MICROVOLT = 100.0
_RAIL_SHARE = 0.999


class SampleCheck:
    """Flags samples of one contiguous signal and replaces what is not finite.

    Parameters
    ----------
    n_channels : int
    sfreq : float
        Hertz, of the source.
    microvolt : float
        One microvolt in the unit of the samples.
    """

    def __init__(self, n_channels: int, sfreq: float, microvolt: float) -> None:
        self._n_channels = n_channels
        self._flat_run = max(2, math.ceil(_FLAT_SECONDS * sfreq))
        self._rail_run = max(4, math.ceil(_RAIL_SECONDS * sfreq))
        self._rail_min = _RAIL_MIN_MICROVOLT * microvolt
        self.flat_channels = np.zeros(n_channels, dtype=bool)
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._last = np.full(self._n_channels, np.nan)
        self._run = np.zeros(self._n_channels, dtype=np.int64)
        self._peak = np.zeros(self._n_channels)

    def process(self, samples: NDArray[np.float64], flags: NDArray[np.uint32]) -> NDArray[np.float64]:
        """Check the next contiguous samples.

        Parameters
        ----------
        samples : ndarray of float64, shape (n_samples, n_channels)
        flags : ndarray of uint32, shape (n_samples,)
            Reasons are added in place.

        Returns
        -------
        ndarray of float64, shape (n_samples, n_channels)
            With values that are not finite replaced by the channel's last good one (0 before any).
        """
        if not len(samples):
            return samples
        samples = self._replace_non_finite(samples, flags)
        equal = samples == np.concatenate([self._last[None, :], samples[:-1]])
        position = np.arange(len(samples))[:, None]
        last_change = np.maximum.accumulate(np.where(equal, -1, position), axis=0)
        run = np.where(last_change < 0, self._run + position + 1, position - last_change)
        size = np.abs(samples)
        peak = np.maximum(np.maximum.accumulate(size, axis=0), self._peak)
        flat = run >= self._flat_run
        rail = (run >= self._rail_run) & (size > self._rail_min) & (size >= _RAIL_SHARE * peak)
        flags[flat.any(axis=1)] |= Reason.FLAT.bit
        flags[rail.any(axis=1)] |= Reason.SATURATED.bit
        self.flat_channels = flat[-1]
        self._last, self._run, self._peak = samples[-1].copy(), run[-1], peak[-1]
        return samples

    def _replace_non_finite(self, samples: NDArray[np.float64], flags: NDArray[np.uint32]) -> NDArray[np.float64]:
        bad = ~np.isfinite(samples)
        if not bad.any():
            return samples
        flags[bad.any(axis=1)] |= Reason.NON_FINITE.bit
        held = np.concatenate([np.nan_to_num(self._last)[None, :], samples])
        rows = np.arange(len(held))[:, None]
        source = np.maximum.accumulate(np.where(np.concatenate([np.zeros((1, bad.shape[1]), bool), bad]), 0, rows), 0)
        return np.asarray(np.take_along_axis(held, source, axis=0)[1:])
