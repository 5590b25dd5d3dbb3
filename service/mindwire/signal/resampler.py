"""A causal resampler: from the source's rate to the contract's, whatever the ratio.

Each output is a windowed-sinc interpolation (Kaiser window) of the input around its position, computed
once all taps are there, so it lags by half the filter: a constant, known delay. Outputs are stamped
with the time their position had at the source; the delay shows as age, not as a wrong stamp.
Every phase is scaled to unit gain at DC, so offsets of DC-coupled amplifiers pass without ripple.
Sums run over taps in a fixed order per output, so chunking cannot change a bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import ContractError

_ATTENUATION_DB = 60.0
_BLOCK = 1024  # outputs at a time: bounds memory on long chunks

_Resampled = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint32]]


class Resampler:
    """Resamples one contiguous signal.

    Parameters
    ----------
    rate_in, rate_out : float
        Hertz.
    band : float
        Highest frequency in hertz that the later low-pass keeps; what lies above may fold.

    Raises
    ------
    ContractError
        The source is too slow to carry the band.
    """

    def __init__(self, rate_in: float, rate_out: float, band: float) -> None:
        slower = min(rate_in, rate_out)
        if band >= 0.5 * slower:
            msg = (
                f"The model needs frequencies up to {band:g} Hz, but a stream at {rate_in:g} Hz "
                f"carries less than {0.5 * rate_in:g} Hz; use a faster stream or a model with a lower low-pass."
            )
            raise ContractError(msg)
        passed = min(max(1.5 * band, 0.25 * slower), 0.5 * (band + 0.5 * slower))
        width = (slower - 2 * passed) / rate_in
        # Kaiser's own formulas for the length and shape that reach the attenuation (Kaiser 1974)
        self._half = math.ceil(math.ceil((_ATTENUATION_DB - 7.95) / 2.285 / (math.pi * 2 * width) + 1) / 2)
        self._beta = 0.1102 * (_ATTENUATION_DB - 8.7)
        self._cutoff = slower / rate_in  # in units of the input's half rate
        self._step = rate_in / rate_out
        self.delay_seconds = self._half / rate_in
        self._taps = np.arange(-self._half + 1, self._half + 1)
        self.reset()

    @property
    def taken(self) -> int:
        """Number of samples so far."""
        return self._first + len(self._times)

    def reset(self, taken: int = 0) -> int:
        """Forget the past, and begin as after a number of samples; return the number of the first output."""
        self._samples: NDArray[np.float64] = np.empty((0, 0))
        self._times: NDArray[np.float64] = np.empty(0)
        self._flags: NDArray[np.uint32] = np.empty((0, 0), dtype=np.uint32)
        self._first = taken  # absolute index of the oldest sample kept
        self._next = math.ceil((taken + self._half - 1) / self._step)  # the first output with all its taps
        return self._next - math.ceil((self._half - 1) / self._step)

    def process(
        self, samples: NDArray[np.float64], times: NDArray[np.float64], flags: NDArray[np.uint32]
    ) -> _Resampled:
        """Resample the next contiguous samples, with their times and flags, ``(n_samples, n_flags)``.

        As many come out as are due by now; a flag covers every output whose taps touch it.
        """
        self._samples = np.concatenate((self._samples.reshape(-1, samples.shape[1]), samples))
        self._flags = np.concatenate((self._flags.reshape(-1, flags.shape[1]), flags))
        self._times = np.concatenate((self._times, times))
        end = self._first + len(self._times)
        last = math.ceil((end - self._half) / self._step) - 1
        while math.floor(last * self._step) + self._half > end - 1:  # only by rounding
            last -= 1
        out: list[_Resampled] = [
            (np.empty((0, samples.shape[1])), np.empty(0), np.empty((0, flags.shape[1]), dtype=np.uint32)),
        ]
        while self._next <= last:
            stop = min(last + 1, self._next + _BLOCK)
            out.append(self._outputs(np.arange(self._next, stop)))
            self._next = stop
        past = min(max(0, math.floor(self._next * self._step) - self._half + 1 - self._first), len(self._times))
        self._samples, self._times, self._flags = self._samples[past:], self._times[past:], self._flags[past:]
        self._first += past
        parts = list(zip(*out, strict=True))
        return np.concatenate(parts[0]), np.concatenate(parts[1]), np.concatenate(parts[2])

    def _outputs(self, numbers: NDArray[np.intp]) -> _Resampled:
        positions = numbers * self._step
        whole = np.floor(positions)
        fraction = positions - whole
        distance = self._taps[None, :] - fraction[:, None]
        inside = np.clip(1 - (distance / self._half) ** 2, 0, None)
        weights = self._cutoff * np.sinc(self._cutoff * distance) * np.i0(self._beta * np.sqrt(inside))
        weights /= weights.sum(axis=1, keepdims=True)
        where = whole.astype(np.intp)[:, None] - self._first + self._taps[None, :]
        samples = np.zeros((len(numbers), self._samples.shape[1]))
        for tap in range(len(self._taps)):
            samples += weights[:, tap, None] * self._samples[where[:, tap]]
        base = where[:, self._half - 1]
        times = self._times[base] + fraction * (self._times[base + 1] - self._times[base])
        flags = self._flags[base]
        if self._flags.any():
            flags = np.bitwise_or.reduce(self._flags[where], axis=1)
        return samples, times, flags
