"""The contract's causal filters with their state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mindwire.signal.recursion import resting_state, run_sections
from mindwire_models.contract import Sections


class CausalFilter:
    """Second-order sections that carry their state from chunk to chunk.

    The state starts as if the first sample had been there for ever, so the offset of a DC-coupled
    amplifier causes no step.

    Parameters
    ----------
    sections : tuple of 6-tuples
        As :func:`scipy.signal.sosfilt` takes them; none means the signal passes unchanged.

    Attributes
    ----------
    sections : ndarray of float64, shape (n_sections, 6), or None
    state : ndarray of float64, shape (n_channels, n_sections, 2), or None
        None before the first sample.
    """

    def __init__(self, sections: Sections) -> None:
        self.sections = np.array(sections, dtype=np.float64) if sections else None
        self._rest = resting_state(self.sections) if self.sections is not None else None
        self.state: NDArray[np.float64] | None = None

    def reset(self) -> None:
        """Forget the past."""
        self.state = None

    def process(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Filter the next contiguous samples, ``(n_samples, n_channels)``."""
        if self.sections is None or self._rest is None or not len(samples):
            return samples
        if self.state is None:
            self.state = self._rest * samples[0][:, None, None]
        filtered = samples.T.copy()  # one row per channel, as the recursion wants it; changed in place
        run_sections(self.sections, filtered, self.state)
        return filtered.T
