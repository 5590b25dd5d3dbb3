"""The conditioned signal at a rate for display."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.sinks.messages import signal_block

DISPLAY_RATE = 125.0
BLOCK_SECONDS = 0.04


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
        self._factor = max(1, round(sfreq / DISPLAY_RATE))
        self.sfreq = sfreq / self._factor
        self._source_sfreq = sfreq
        self._block_samples = max(self._factor, BLOCK_SECONDS * sfreq)
        self._last_time = 0.0
        self.clear()

    def clear(self) -> None:
        """Forget samples that no block has taken yet."""
        self._pending: list[NDArray[np.float32]] = []
        self._pending_samples = 0

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
            As :func:`mindwire.sinks.messages.signal_block` makes it.
        """
        if self._pending and abs(times[0] - self._last_time) > 1.5 / self._source_sfreq:
            self.clear()
        if not self._pending:
            self._time = float(times[0])
        self._last_time = float(times[-1])
        self._pending.append(np.array(samples, dtype=np.float32))
        self._pending_samples += len(samples)
        if self._pending_samples < self._block_samples:
            return None
        block = np.concatenate(self._pending)
        whole = len(block) // self._factor * self._factor
        # a mean over each group keeps frequencies that the lower rate cannot show from folding back
        shown = block[:whole].reshape(-1, self._factor, block.shape[1]).mean(axis=1, dtype=np.float32)
        begin = self._time
        self._pending = [block[whole:]] if whole < len(block) else []
        self._pending_samples = len(block) - whole
        self._time += whole / self._source_sfreq
        return signal_block(begin, shown)
