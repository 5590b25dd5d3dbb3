"""The contract's causal filters with their state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from models.contract import Sections


class CausalFilter:
    """Second-order sections that carry their state from chunk to chunk.

    The state starts as if the first sample had been there for ever, so the offset of a DC-coupled
    amplifier causes no step.

    Parameters
    ----------
    sections : tuple of 6-tuples
        As :func:`scipy.signal.sosfilt` takes them; none means the signal passes unchanged.
    """

    def __init__(self, sections: Sections) -> None:
        self._sos = np.array(sections, dtype=np.float64) if sections else None
        self._rest = signal.sosfilt_zi(self._sos) if self._sos is not None else None
        self._state: NDArray[np.float64] | None = None

    def reset(self) -> None:
        """Forget the past."""
        self._state = None

    def process(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Filter the next contiguous samples, ``(n_samples, n_channels)``."""
        if self._sos is None or self._rest is None or not len(samples):
            return samples
        if self._state is None:
            self._state = self._rest[:, :, None] * samples[0]
        filtered, self._state = signal.sosfilt(self._sos, samples, axis=0, zi=self._state)
        return np.asarray(filtered)
