"""From a source's chunks to conditioned samples: montage, time, checks, resampler, filters, scale.

What comes out is contiguous within a segment, at the contract's rate, in its unit and channel order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.contract import Contract, ZScore
from service.signal.filters import CausalFilter
from service.signal.montage import Montage
from service.signal.quality import SampleCheck
from service.signal.resampler import Resampler
from service.signal.timebase import Block, TimeBase
from service.types import Chunk, Reason

_MICROVOLTS = {"V": 1e-6, "mV": 1e-3, "uV": 1.0, "nV": 1e3}
AMPLITUDE_LIMIT_MICROVOLT = 1000.0


@dataclass(frozen=True, slots=True)
class Conditioned:
    """Conditioned samples.

    Parameters
    ----------
    samples : ndarray of float64, shape (n_samples, n_channels)
    times : ndarray of float64, shape (n_samples,)
    flags : ndarray of uint32, shape (n_samples,)
    broken : Reason
        Not NONE: these samples start a new segment, and why.
    gap_seconds : float
        Length of the gap before them, bridged or not.
    """

    samples: NDArray[np.float64]
    times: NDArray[np.float64]
    flags: NDArray[np.uint32]
    broken: Reason
    gap_seconds: float


class Conditioner:
    """Conditions one stream.

    Parameters
    ----------
    contract : Contract
    montage : Montage
    sfreq : float
        Rate the source is taken to have, in hertz.
    bridge_seconds : float
        Gaps up to this are bridged.
    """

    def __init__(self, contract: Contract, montage: Montage, sfreq: float, bridge_seconds: float) -> None:
        self._montage = montage
        microvolt = _MICROVOLTS[contract.unit]
        self._limit = AMPLITUDE_LIMIT_MICROVOLT * microvolt
        self.timebase = TimeBase(sfreq, bridge_seconds)
        self._check = SampleCheck(contract.n_channels, sfreq, microvolt)
        self._resampler = None
        if abs(sfreq / contract.sfreq - 1) > 1e-6:
            low = contract.filters.lowpass
            band = low.freq if low else 0.4 * min(sfreq, contract.sfreq)
            self._resampler = Resampler(sfreq, contract.sfreq, band)
        self._filter = CausalFilter(contract.sos)
        norm = contract.normalisation
        self._shift = np.array(norm.mean) if isinstance(norm, ZScore) else None
        self._gain = 1 / np.array(norm.std) if isinstance(norm, ZScore) else None
        self._settling = contract.settling_samples
        self._settled = 0
        self._previous: tuple[NDArray[np.float64], float] | None = None
        # What broke and how long the gap was, until the segment's first conditioned sample is out.
        self._broken = Reason.NONE
        self._gap = 0.0

    @property
    def resampler_delay_seconds(self) -> float:
        """Constant delay of the resampler; 0 without one."""
        return self._resampler.delay_seconds if self._resampler else 0.0

    def process(self, chunk: Chunk) -> list[Conditioned]:
        """Condition the next chunk."""
        samples = self._montage.apply(chunk.samples)
        blocks = self.timebase.push(samples, chunk.times, chunk.broken)
        return [self._condition(block) for block in blocks]

    def flush(self) -> list[Conditioned]:
        """Condition what the time base still held back, at the end of a recording."""
        return [self._condition(block) for block in self.timebase.flush()]

    def _condition(self, block: Block) -> Conditioned:
        if block.broken:
            self._check.reset()
            self._filter.reset()
            if self._resampler:
                self._resampler.reset()
            self._previous = None
            self._settled = 0
            self._broken = block.broken
        if block.gap_seconds:
            self._gap = block.gap_seconds
        flags = block.flags
        samples = self._check.process(block.samples, flags)
        times = block.times
        if block.missing and self._previous is not None:
            samples, times, flags = self._bridge(samples, times, flags, block.missing)
        self._previous = (samples[-1], float(times[-1]))
        if self._resampler:
            samples, times, flags = self._resampler.process(samples, times, flags)
        samples = self._filter.process(samples)
        flags = flags.copy()
        flags[(np.abs(samples) > self._limit).any(axis=1)] |= Reason.AMPLITUDE.bit
        if self._settled < self._settling:
            flags[: self._settling - self._settled] |= Reason.SETTLING.bit
            self._settled += len(flags)
        if self._shift is not None and self._gain is not None:
            samples = (samples - self._shift) * self._gain
        broken, gap = self._broken, self._gap
        if len(times):
            self._broken, self._gap = Reason.NONE, 0.0
        else:
            broken, gap = Reason.NONE, 0.0
        return Conditioned(samples, times, flags, broken, gap)

    def _bridge(
        self, samples: NDArray[np.float64], times: NDArray[np.float64], flags: NDArray[np.uint32], missing: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint32]]:
        """Fill a short gap by straight lines, flagged."""
        assert self._previous is not None  # noqa: S101 - checked by the caller
        before, time_before = self._previous
        part = (np.arange(1, missing + 1) / (missing + 1))[:, None]
        filler = before + part * (samples[0] - before)
        filler_times = time_before + part[:, 0] * (times[0] - time_before)
        filler_flags = np.full(missing, Reason.GAP, dtype=np.uint32)
        return (
            np.concatenate([filler, samples]),
            np.concatenate([filler_times, times]),
            np.concatenate([filler_flags, flags]),
        )
