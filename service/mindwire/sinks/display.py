"""The conditioned signal at a rate for display."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_RATE = 125.0
_BLOCK_S = 0.04


class DisplaySignal:
    """Means over a few samples each, in blocks.

    Parameters
    ----------
    sfreq : float
        Rate of the conditioned signal in hertz.

    Attributes
    ----------
    sfreq : float
        Rate of the signal for display in hertz.
    """

    def __init__(self, sfreq: float) -> None:
        self._factor = max(1, round(sfreq / _RATE))
        self.sfreq = sfreq / self._factor
        self._gap_s = 1.5 / sfreq
        self._block_samples = max(self._factor, _BLOCK_S * sfreq)
        self.clear()

    def clear(self) -> None:
        """Forget samples that no block has taken yet."""
        self._pending: list[tuple[NDArray[np.float64], NDArray[np.float32]]] = []

    def block(self, times: NDArray[np.float64], samples: NDArray[np.floating[Any]]) -> bytes | None:
        """Take samples; return the next block, if they complete one.

        Parameters
        ----------
        times : ndarray of float64, shape (n_samples,)
            LSL time in seconds.
        samples : ndarray, shape (n_samples, n_channels)
            Copied before this returns.

        Returns
        -------
        bytes or None
            Little-endian: float64 time of the first sample, uint32 n_samples, uint32 n_channels, then the samples as
            float32, time-major.
        """
        if self._pending and abs(times[0] - self._pending[-1][0][-1]) > self._gap_s:
            self.clear()
        self._pending.append((times, np.array(samples, dtype=np.float32)))
        if sum(len(part) for part, _ in self._pending) < self._block_samples:
            return None
        times, samples = map(np.concatenate, zip(*self._pending, strict=True))
        whole = len(samples) // self._factor * self._factor
        self._pending = [(times[whole:], samples[whole:])] if whole < len(samples) else []
        # a mean over each group keeps frequencies that the lower rate cannot show from folding back
        shown = samples[:whole].reshape(-1, self._factor, samples.shape[1]).mean(axis=1, dtype="<f4")
        head = np.array((times[0], *shown.shape), dtype=[("time", "<f8"), ("n_samples", "<u4"), ("n_channels", "<u4")])
        return bytes(head.tobytes() + shown.tobytes())
