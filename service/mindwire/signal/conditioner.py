"""From a source's chunks to conditioned samples: montage, time, checks, resampler, filters, scale.

What comes out is contiguous within a segment, at the contract's rate, in its unit and channel order.
"""

from __future__ import annotations

import copy
import math
import zlib

import numpy as np
from numpy.typing import NDArray

from mindwire.signal.bad_channels import BadChannelPolicy, BadChannels
from mindwire.signal.filters import CausalFilter
from mindwire.signal.montage import Montage
from mindwire.signal.quality import QualityMeter, SampleCheck
from mindwire.signal.resampler import Resampler
from mindwire.signal.timebase import SignalPart, TimeBase
from mindwire.types import Chunk, Reason
from mindwire_models.contract import Contract, ZScore

_MICROVOLTS = {"V": 1e-6, "mV": 1e-3, "uV": 1.0, "nV": 1e3}
_AMPLITUDE_LIMIT_MICROVOLT = 1000.0
# What of a bridge's error may be left when samples count as settled again.
_RINGING_LEFT = 0.01


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
    bad_channels : {"auto", "interpolate", "invalidate"}
    rate_accepted : bool
        Whether the user says that this is the rate, against the time stamps.

    Attributes
    ----------
    phase : float
        In [0, 1), of the segment's first sample: part of a second by which periodic work is later than
        the count of samples, so that it does not fall at the same moment for all streams that began together. It
        depends on the samples alone.
    settling_left : int
        Conditioned samples until the filters have settled.
    timebase, meter
        Steps whose state others read.
    """

    def __init__(
        self,
        contract: Contract,
        montage: Montage,
        sfreq: float,
        bridge_seconds: float,
        bad_channels: BadChannels = "auto",
        *,
        rate_accepted: bool = False,
    ) -> None:
        self._montage = montage
        microvolt = _MICROVOLTS[contract.unit]
        self._limit = _AMPLITUDE_LIMIT_MICROVOLT * microvolt
        self._little = 0.9 * self._limit**2  # sum of squares without a sample near the limit
        self.timebase = TimeBase(sfreq, bridge_seconds, rate_accepted=rate_accepted)
        self._check = SampleCheck(contract.n_channels, sfreq, microvolt)
        self._policy = BadChannelPolicy(bad_channels, contract.channels, contract.settling_samples)
        self.meter = QualityMeter(contract.channels, sfreq, microvolt, self._policy.most, montage.units)
        self._resampler = None
        self._sfreq = contract.sfreq
        self._ratio = sfreq / contract.sfreq
        if abs(self._ratio - 1) > 1e-6:
            low = contract.filters.lowpass
            band = low.freq if low else 0.4 * min(sfreq, contract.sfreq)
            self._resampler = Resampler(sfreq, contract.sfreq, band)
        self._filter = CausalFilter(contract.sos)
        self._zscore: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        if isinstance(norm := contract.normalisation, ZScore):
            self._zscore = np.array(norm.mean), 1 / np.array(norm.std)
        self._settling = self.settling_left = contract.settling_samples
        self._sos = contract.sos
        self.phase = 0.0
        self._previous: tuple[NDArray[np.float64], float] | None = None
        # What broke and how long the gap was, until the segment's first conditioned sample is out.
        self._discontinuity, self._gap = Reason.NONE, 0.0

    @property
    def resampler_delay_seconds(self) -> float:
        """Constant delay of the resampler; 0 without one."""
        return self._resampler.delay_seconds if self._resampler else 0.0

    def join(self, other: Conditioner, count: int) -> int:
        """Begin where another of the same source is, after ``count`` conditioned samples of its segment.

        The time stamps are followed as there, unless samples are held back. Returns the number, in the segment, of the
        first sample that will be conditioned: samples and windows have the places that they would have had from its beginning.
        """
        held = other.timebase.n_held
        if not held:
            self.timebase = copy.deepcopy(other.timebase)
        taken = (other._resampler.taken if other._resampler else count) + held
        return self._resampler.reset(taken) if self._resampler else taken

    def source_samples(self, conditioned: int) -> int:
        """Return the least number of source samples until this many more conditioned ones are out."""
        needed = math.floor(conditioned * self._ratio) - 1 if self._resampler else conditioned
        return needed - self.timebase.n_held

    def process(self, chunk: Chunk) -> list[SignalPart]:
        """Condition the next chunk."""
        samples = self._montage.apply(chunk.samples)
        return [self._condition(part) for part in self.timebase.push(samples, chunk.times, chunk.discontinuity)]

    def flush(self) -> list[SignalPart]:
        """Condition what the time base still held back, at the end of a recording."""
        return [self._condition(part) for part in self.timebase.flush()]

    def _condition(self, part: SignalPart) -> SignalPart:
        if part.discontinuity:
            self._restart(part.discontinuity)
        if self._previous is None:
            self.phase = zlib.crc32(part.samples[0].tobytes()) / 2**32
            self.meter.reset(self.phase)
        if part.gap_seconds:
            self._gap = part.gap_seconds
        flags, times = part.flags, part.times
        samples, marks = self._check.process(part.samples)
        self.meter.beyond = self._check.beyond
        self.meter.process(samples, marks, flags)
        if self._resampler or (part.missing and self._previous is not None):
            samples, times, flags, marks = self._retime(samples, times, flags, marks, part.missing)
        else:
            self._previous = (samples[-1], float(times[-1]))
        samples = self._filter.process(samples)
        flat = samples.ravel(order="K")
        if not flat.dot(flat) < self._little and (large := np.abs(samples) > self._limit).any():
            marks = np.zeros(samples.shape, dtype=np.uint32) if marks is None else marks
            marks[large] |= Reason.AMPLITUDE.bit
        self._policy.process(samples, marks, flags)
        if self.settling_left:
            flags[: self.settling_left] |= Reason.SETTLING.bit
            self.settling_left = max(0, self.settling_left - len(flags))
        if self._zscore is not None:
            samples = (samples - self._zscore[0]) * self._zscore[1]
        discontinuity, gap = Reason.NONE, 0.0
        if len(times):
            discontinuity, gap, self._discontinuity, self._gap = self._discontinuity, self._gap, Reason.NONE, 0.0
        return SignalPart(samples, times, flags, discontinuity, gap, phase=self.phase)

    def _retime(
        self,
        samples: NDArray[np.float64],
        times: NDArray[np.float64],
        flags: NDArray[np.uint32],
        marks: NDArray[np.uint32] | None,
        missing: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint32], NDArray[np.uint32] | None]:
        """Bridge a short gap and resample, with all flags along."""
        if marks is None:
            marks = np.zeros(samples.shape, dtype=np.uint32)
        together = np.concatenate([flags[:, None], marks], axis=1)
        if missing and self._previous is not None:
            samples, times, together = self._bridge(samples, times, together, missing)
            self.settling_left = max(self.settling_left, self._ringing(missing))
        self._previous = (samples[-1], float(times[-1]))
        if self._resampler:
            samples, times, together = self._resampler.process(samples, times, together)
        marks = together[:, 1:].copy()
        return samples, times, together[:, 0].copy(), marks if marks.any() else None

    def _restart(self, discontinuity: Reason) -> None:
        self._check.reset()
        self._policy.reset()
        self._filter.reset()
        if self._resampler:
            self._resampler.reset()
        self._previous = None
        self.settling_left = self._settling
        self._discontinuity = discontinuity

    def _ringing(self, missing: int) -> int:
        """Conditioned samples until the filters have forgotten a bridge that was wrong by as much as the signal."""
        n = math.ceil(missing / self._ratio)
        late = math.ceil(self.resampler_delay_seconds * self._sfreq)
        pulse = np.zeros((1 + n + self._settling, 1))
        pulse[1 : 1 + n] = 1.0  # behind a zero, for a filter takes what it begins with for the mean
        loud = np.flatnonzero(np.abs(CausalFilter(self._sos).process(pulse)[:, 0]) > _RINGING_LEFT)
        return late + (int(loud[-1]) if len(loud) else 0)

    def _bridge(
        self, samples: NDArray[np.float64], times: NDArray[np.float64], marks: NDArray[np.uint32], missing: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint32]]:
        """Fill a short gap by straight lines, flagged."""
        assert self._previous is not None  # noqa: S101 - checked by the caller
        before, time_before = self._previous
        part = (np.arange(1, missing + 1) / (missing + 1))[:, None]
        filler = before + part * (samples[0] - before)
        filler_times = time_before + part[:, 0] * (times[0] - time_before)
        filler_marks = np.zeros((missing, marks.shape[1]), dtype=np.uint32)
        filler_marks[:, 0] = Reason.GAP.bit
        return (
            np.concatenate([filler, samples]),
            np.concatenate([filler_times, times]),
            np.concatenate([filler_marks, marks]),
        )
