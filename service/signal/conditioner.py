"""From a source's chunks to conditioned samples: montage, time, checks, resampler, filters, scale.

What comes out is contiguous within a segment, at the contract's rate, in its unit and channel order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.contract import Contract, ZScore
from service.errors import ArgumentError, ContractError
from service.signal.filters import CausalFilter
from service.signal.interpolation import Interpolator
from service.signal.montage import Montage
from service.signal.quality import ChannelQuality, QualityMeter, SampleCheck
from service.signal.resampler import Resampler
from service.signal.timebase import Block, TimeBase
from service.types import Chunk, Reason

BadChannels = Literal["auto", "interpolate", "invalidate"]

_MICROVOLTS = {"V": 1e-6, "mV": 1e-3, "uV": 1.0, "nV": 1e3}
_AMPLITUDE_LIMIT_MICROVOLT = 1000.0
_LARGE = (Reason.AMPLITUDE | Reason.SATURATED).bit
_SHARE = {"auto": 0.15, "interpolate": 0.5, "invalidate": 0.0}


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


class BadChannelPolicy:
    """What becomes of channels that are bad: interpolated when few, else their windows are invalid.

    A channel stays replaced until the filters have forgotten what it did.

    Parameters
    ----------
    mode : {"auto", "interpolate", "invalidate"}
        ``auto`` interpolates up to 15 % of the channels, ``interpolate`` up to half.
    labels : tuple of str
    hold_samples : int
        Conditioned samples for which a channel that was bad stays so: the filters' settling. A channel
        that was out of range stays bad for twice as long, because one percent of it would still be much.

    Raises
    ------
    ContractError
        ``interpolate`` was asked for, and a label has no place on the head.
    """

    def __init__(self, mode: BadChannels, labels: tuple[str, ...], hold_samples: int) -> None:
        self._most = int(_SHARE[mode] * len(labels))
        self._hold = max(1, hold_samples)
        self._since = np.zeros(len(labels), dtype=np.int64)
        self._since_large = np.zeros(len(labels), dtype=np.int64)
        self.reset()
        self._interpolator = None
        if not self._most:
            return
        try:
            self._interpolator = Interpolator(labels)
        except ArgumentError as error:
            self._most = 0
            if mode == "interpolate":
                msg = f"Bad channels cannot be interpolated: {error} Use --bad-channels invalidate."
                raise ContractError(msg) from error

    def reset(self) -> None:
        """Forget the past."""
        self._since[:] = self._hold
        self._since_large[:] = 2 * self._hold
        self._quiet = True

    def process(
        self, samples: NDArray[np.float64], marks: NDArray[np.uint32] | None, flags: NDArray[np.uint32]
    ) -> None:
        """Replace or condemn, in place.

        Parameters
        ----------
        samples : ndarray of float64, shape (n_samples, n_channels)
        marks : ndarray of uint32, shape (n_samples, n_channels), or None
            What is wrong with each channel; None when nothing is.
        flags : ndarray of uint32, shape (n_samples,)
        """
        if not len(samples) or (self._quiet and marks is None):
            return
        if marks is None:
            marks = np.zeros(samples.shape, dtype=np.uint32)
        since = _since(marks != 0, self._since)
        since_large = _since(marks & _LARGE != 0, self._since_large)
        self._since, self._since_large = since[-1], since_large[-1]
        self._quiet = bool((self._since >= self._hold).all() and (self._since_large >= 2 * self._hold).all())
        whole = np.bitwise_or.reduce(marks, axis=1)
        bad = (since < self._hold) | (since_large < 2 * self._hold)
        count = bad.sum(axis=1)
        flags[count > self._most] |= whole[count > self._most]
        # Once too many channels were bad, their filters still ring: no interpolation hides that.
        flags[(count > self._most) & (whole == 0)] |= Reason.AMPLITUDE.bit
        if self._interpolator is None:
            return
        few = (count > 0) & (count <= self._most)
        flags[few] |= Reason.INTERPOLATED.bit
        changes = np.flatnonzero((bad[1:] != bad[:-1]).any(axis=1)) + 1
        for start, stop in zip([0, *changes], [*changes, len(bad)], strict=True):
            if start < stop and few[start]:
                self._interpolator.fill(samples[start:stop], bad[start])


def _since(marked: NDArray[np.bool_], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Samples since the last marked one, per channel, given how many it had been before these."""
    position = np.arange(len(marked))[:, None]
    last = np.maximum.accumulate(np.where(marked, position, -1), axis=0)
    return np.asarray(np.where(last < 0, before + position + 1, position - last))


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
    """

    def __init__(
        self,
        contract: Contract,
        montage: Montage,
        sfreq: float,
        bridge_seconds: float,
        bad_channels: BadChannels = "auto",
    ) -> None:
        self._montage = montage
        microvolt = _MICROVOLTS[contract.unit]
        self._limit = _AMPLITUDE_LIMIT_MICROVOLT * microvolt
        self.timebase = TimeBase(sfreq, bridge_seconds)
        self._check = SampleCheck(contract.n_channels, sfreq, microvolt)
        self._meter = QualityMeter(contract.channels, sfreq, microvolt)
        self._policy = BadChannelPolicy(bad_channels, contract.channels, contract.settling_samples)
        self._resampler = None
        self._ratio = sfreq / contract.sfreq
        if abs(self._ratio - 1) > 1e-6:
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

    def channel_quality(self) -> list[ChannelQuality]:
        """Each channel over the last whole second."""
        return self._meter.channels()

    def source_samples(self, conditioned: int) -> int:
        """At least how many source samples it takes until so many more conditioned ones are out."""
        needed = math.floor(conditioned * self._ratio) - 1 if self._resampler else conditioned
        return needed - self.timebase.n_held

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
            self._restart(block.broken)
        if block.gap_seconds:
            self._gap = block.gap_seconds
        flags, times = block.flags, block.times
        samples, marks = self._check.process(block.samples)
        self._meter.process(samples, marks, flags)
        if self._resampler or (block.missing and self._previous is not None):
            samples, times, flags, marks = self._retime(samples, times, flags, marks, block.missing)
        else:
            self._previous = (samples[-1], float(times[-1]))
        samples = self._filter.process(samples)
        size = np.abs(samples)
        if len(size) and size.max() > self._limit:
            marks = np.zeros(samples.shape, dtype=np.uint32) if marks is None else marks
            marks[size > self._limit] |= Reason.AMPLITUDE.bit
        self._policy.process(samples, marks, flags)
        if self._settled < self._settling:
            flags[: self._settling - self._settled] |= Reason.SETTLING.bit
            self._settled += len(flags)
        if self._shift is not None and self._gain is not None:
            samples = (samples - self._shift) * self._gain
        if not len(times):
            return Conditioned(samples, times, flags, Reason.NONE, 0.0)
        broken, gap = self._broken, self._gap
        self._broken, self._gap = Reason.NONE, 0.0
        return Conditioned(samples, times, flags, broken, gap)

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
        self._previous = (samples[-1], float(times[-1]))
        if self._resampler:
            samples, times, together = self._resampler.process(samples, times, together)
        marks = together[:, 1:].copy()
        return samples, times, together[:, 0].copy(), marks if marks.any() else None

    def _restart(self, broken: Reason) -> None:
        self._check.reset()
        self._meter.reset()
        self._policy.reset()
        self._filter.reset()
        if self._resampler:
            self._resampler.reset()
        self._previous = None
        self._settled = 0
        self._broken = broken

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
