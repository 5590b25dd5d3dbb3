"""Honest time stamps and contiguity, causally: which samples follow each other, and when each was taken.

Stamps arrive jittered, in bursts and drifting; a tracker follows them by past samples alone (:mod:`mindwire.signal.tracking`).
From a stamp far off its expectation on, samples are held back, at most two seconds, until those after it show that it was
late, that samples are lost, or that the rate is off. Samples whose stamps contradict the rate pass as they come, marked,
until their stamps agree with it again. All decisions count samples, so chunking cannot matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindwire.signal.judge import HOLD_SECONDS, Judge, Verdict
from mindwire.signal.rate import JUMPING, LARGEST_STAMP, RateMeter, believable
from mindwire.signal.tracking import Tracker, TrackerState
from mindwire.types import Reason

_REANCHOR_SECONDS = 0.5
_NO_CLOCK_SECONDS = 1.5  # no clock is off by more all the time; a stall of two seconds stays below it
# A measured rate that is less certain is no drift to begin with.
_LEAST_CERTAIN = 0.01


@dataclass(frozen=True, slots=True)
class Block:
    """Contiguous samples with honest stamps.

    Parameters
    ----------
    samples : ndarray of float64, shape (n_samples, n_channels)
    times : ndarray of float64, shape (n_samples,)
        Seconds.
    flags : ndarray of uint32, shape (n_samples,)
        Bits of :class:`mindwire.types.Reason`.
    discontinuity : Reason
        Not NONE: the block starts a new segment, and why.
    gap_seconds : float
        Length of the gap before the block, bridged or not; negative when stamps went back.
    missing : int
        Samples the caller bridges before this block; 0 when there is no gap or it is not bridged.
    """

    samples: NDArray[np.float64]
    times: NDArray[np.float64]
    flags: NDArray[np.uint32]
    discontinuity: Reason = Reason.NONE
    gap_seconds: float = 0.0
    missing: int = 0


class TimeBase:
    """Tracks the stamps of one stream.

    Parameters
    ----------
    sfreq : float
        Rate the stream is taken to have, in hertz.
    bridge_seconds : float
        Gaps up to this are bridged, longer ones break the signal.
    rate_accepted : bool
        Whether the user says that this is the rate, against the stamps.

    Attributes
    ----------
    rate : RateMeter
    """

    def __init__(self, sfreq: float, bridge_seconds: float = 0.04, *, rate_accepted: bool = False) -> None:
        self.tracker = Tracker(sfreq)
        self._period = self.tracker.period
        self._bridge = bridge_seconds
        self._judge = Judge(sfreq)
        self._held: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._tracked = TrackerState()
        self.rate = RateMeter(sfreq, accepted=rate_accepted)
        # Stamps are not followed; and the last one that could be a time, with the samples since.
        self._passing = False
        self._last = 0.0
        self._since_last = 1
        self._out: list[Block] = []
        self._restart(Reason.NONE, 0.0)

    @property
    def drift_ppm(self) -> float:
        """Tracked deviation of the sample period from nominal, in parts per million (positive: slow)."""
        return self._tracked.drift / self._period * 1e6

    @property
    def n_held(self) -> int:
        """Samples held back until it is known whether they follow on."""
        return 0 if self._held is None else len(self._held[1])

    def push(
        self, samples: NDArray[np.float64], stamps: NDArray[np.float64], discontinuity: Reason = Reason.NONE
    ) -> list[Block]:
        """Take a chunk; return what is known to be contiguous by now.

        Parameters
        ----------
        samples : ndarray of float64, shape (n_samples, n_channels)
        stamps : ndarray of float64, shape (n_samples,)
            Seconds, as they came.
        discontinuity : Reason
            The source's own knowledge that this chunk does not continue the last.

        Returns
        -------
        list of Block
        """
        self._out = []
        if discontinuity:
            self._finish_held()
            followed = bool(self._tracked.index) and not self._passing
            gap = self._residual(float(stamps[0])) if discontinuity == Reason.GAP and followed and len(stamps) else 0.0
            self._tracked.drift = 0.0
            self._passing = False
            self.rate.restart()
            self._restart(discontinuity, gap if gap > 0.5 * self._period else 0.0)
        if self._held is not None:
            samples = np.concatenate([self._held[0], samples])
            stamps = np.concatenate([self._held[1], stamps])
            self._held = None
        self._walk(samples, stamps, final=False)
        return self._out

    def flush(self) -> list[Block]:
        """Give out the samples still held back, at the end of a recording."""
        self._out = []
        self._finish_held()
        return self._out

    def _finish_held(self) -> None:
        if self._held is not None:
            samples, stamps = self._held
            self._held = None
            self._walk(samples, stamps, final=True)

    def _restart(self, discontinuity: Reason, gap_seconds: float) -> None:
        # what is known of the sender's clock outlives a gap
        self._tracked = TrackerState(
            drift=self._tracked.drift, jitter=self._tracked.jitter, bias_scale=self._tracked.bias_scale
        )
        self._discontinuity = discontinuity
        self._gap = gap_seconds
        self._missing = 0

    def _walk(self, samples: NDArray[np.float64], stamps: NDArray[np.float64], *, final: bool) -> None:
        """Take samples one part after the other.

        It ends: each turn takes at least one sample, or is followed by one that does. The first stamp that a tracker sees is
        never suspicious, nor is any while samples pass; and whether a stamp is suspicious is computed once, by
        :meth:`_start` or :meth:`_track`, and only read from there on.
        """
        position, n = 0, len(stamps)
        while position < n:
            if self._passing:
                position = self._pass(samples, stamps, position)
                continue
            if self._tracked.origin is None:
                self._tracked.origin = (
                    float(stamps[position]) if believable(stamps[position : position + 1])[0] else 0.0
                )
            take = self._start if self._tracked.index < self.tracker.start_samples else self._track
            position, suspicious = take(samples, stamps, position)
            if not suspicious:
                continue
            verdict = self._verdict(stamps[position : position + self._judge.hold], final=final)
            if verdict is None:
                self._held = (samples[position:].copy(), stamps[position:].copy())
                return
            if verdict.kind == "wrong":
                self.rate.mark_wrong(verdict.measured)
                self._passing = True
                self._last = self._tracked.origin + (self._tracked.index - 1) * self._period + self._tracked.offset
                self._since_last = 1
                continue
            if verdict.kind == "drifts":
                residual = self._residual(float(stamps[position]))
                change = residual + self._tracked.drift - verdict.shift - 0.5 * verdict.jump
                self._tracked.offset += 0.0 if math.isnan(residual) else change
                self._tracked.drift = verdict.shift
                self._tracked.jitter = max(self._tracked.jitter, 0.3 * abs(verdict.jump))  # a sawtooth about the line
            if verdict.kind != "shifted" or self._shift(verdict.shift):
                stop = position + verdict.count
                self._follow(samples, stamps, position, stop, returned=verdict.returned)
                position = stop

    def _verdict(self, stamps: NDArray[np.float64], *, final: bool) -> Verdict | None:
        """Return the meaning of a suspicious stamp, from those after it; None while it is open."""
        if self._tracked.jitter > _NO_CLOCK_SECONDS:
            return Verdict("wrong", measured=JUMPING)
        verdict = self._judge.verdict(
            stamps, self._expected(len(stamps)), self._tolerance, self.rate.recent, final=final
        )
        if verdict and verdict.kind == "shifted" and abs(verdict.shift) <= self._bridge + 0.5 * self._period:
            return self._unlearnt() or verdict
        return verdict

    def _unlearnt(self) -> Verdict | None:
        """Return the drift that the tracker has had no time to learn, which is no loss; None where there is none."""
        measured = self.rate.measured
        starting = self._tracked.index < self.tracker.start_samples
        if not starting or measured is None or not measured.clear or measured.margin > _LEAST_CERTAIN:
            return None
        drift = measured.seconds - self._period
        unlearnt = abs(drift - self._tracked.drift) > measured.uncertain * self._period
        return Verdict("drifts", shift=drift) if unlearnt else None

    @property
    def _tolerance(self) -> float:
        return max(0.5 * self._period, 4 * self._tracked.jitter)

    def _residual(self, stamp: float) -> float:
        """Return the seconds by which a stamp is off; NaN for one that is no time."""
        assert self._tracked.origin is not None  # noqa: S101 - set by the walk before any sample is looked at
        residual = (
            stamp
            - self._tracked.origin
            - self._tracked.index * self._period
            - self._tracked.offset
            - self._tracked.drift
        )
        return residual if abs(residual) < LARGEST_STAMP else math.nan

    def _start(self, samples: NDArray[np.float64], stamps: NDArray[np.float64], position: int) -> tuple[int, bool]:
        """Track sample by sample while the tracker's gain still falls; return where it stopped, and if at a suspicious stamp."""
        stop = position
        begin_index = self._tracked.index
        offsets: list[float] = []
        marks: list[bool] = []
        suspicious = False
        while stop < len(stamps) and self._tracked.index < self.tracker.start_samples:
            residual = self._residual(float(stamps[stop]))
            suspicious = self._tracked.index > 0 and not abs(residual) <= self._tolerance
            if suspicious:
                break
            residual = 0.0 if math.isnan(residual) else residual
            offsets.append(self._step(residual, abs(residual)))
            marks.append(self.tracker.is_biased(self._tracked, residual))
            stop += 1
        part = stamps[position:stop]
        self._emit(samples[position:stop], part, begin_index, np.array(offsets), np.array(marks))
        return stop, suspicious

    def _follow(
        self, samples: NDArray[np.float64], stamps: NDArray[np.float64], start: int, stop: int, *, returned: bool
    ) -> None:
        """Take contiguous samples with little weight on their stamps; stamps that were only late do not measure the rate."""
        begin_index = self._tracked.index
        offsets: list[float] = []
        tolerance = self._tolerance
        for stamp in stamps[start:stop].tolist():
            residual = self._residual(stamp)
            if math.isnan(residual):  # which says nothing
                residual, size = 0.0, self._tracked.jitter
            else:
                size = abs(residual)
            offsets.append(self._step(min(max(residual, -tolerance), tolerance), size))
            tolerance = self._tolerance
        part = None if returned else stamps[start:stop]
        self._emit(samples[start:stop], part, begin_index, np.array(offsets))

    def _pass(self, samples: NDArray[np.float64], stamps: NDArray[np.float64], position: int) -> int:
        """Take samples whose stamps contradict the rate, up to where that may end; their times are the stamps as they came."""
        part = stamps[position : position + self.rate.until_measured]
        n = len(part)
        # a stamp that is no time counts on from the last one that is
        counts = np.arange(n)
        newest = np.maximum.accumulate(np.where(believable(part), counts, -self._since_last))
        base = np.where(newest < 0, self._last, part[np.maximum(newest, 0)])
        times = base + (counts - newest) * self._period
        flags = np.zeros(n, dtype=np.uint32)
        self.rate.watch(part, flags)
        self._put(samples[position : position + n], times, flags)
        self._last, self._since_last = float(base[-1]), n - int(newest[-1])
        if self.rate.state != "wrong":
            self._passing = False
            self.rate.restart()
            self._restart(Reason.CLOCK_JUMP, 0.0)
        return position + n

    def _step(self, residual: float, size: float) -> float:
        gain = max(self.tracker.alpha, 1.0 / (self._tracked.index + 1))
        self._tracked.state = None
        self._tracked.offset += self._tracked.drift + gain * residual
        if self._tracked.index >= self.tracker.start_samples:
            self._tracked.drift += self.tracker.beta * residual
        self._tracked.jitter += (
            self.tracker.forget * (min(size, HOLD_SECONDS) - self._tracked.jitter) if self._tracked.index else 0.0
        )
        self._tracked.index += 1
        return self._tracked.offset

    def _track(self, samples: NDArray[np.float64], stamps: NDArray[np.float64], position: int) -> tuple[int, bool]:
        """Track all samples up to the first suspicious stamp at once; return where it stopped, and if at such a stamp."""
        tracked = self._tracked
        assert tracked.origin is not None  # noqa: S101
        stop, suspect = len(stamps), -1
        origin, index, jitter, bias_scale = np.array(
            [[tracked.origin], [tracked.index], [tracked.jitter], [tracked.bias_scale]]
        )
        while True:
            part = stamps[position:stop]
            if not len(part):
                return stop, True
            state = np.array([[self.tracker.state_of(tracked)]])
            elapsed = self.tracker.elapsed(index, len(part))
            followed = self.tracker.follow(part[None], origin, elapsed, state, jitter)
            sizes = followed.sizes[0]
            # Filters are causal: what came before the first suspicious stamp is right as it stands.
            if sizes.max() > 0.5 * self._period:
                before = np.concatenate([[tracked.jitter], followed.jitters[0, :-1]])
                suspicious = sizes > np.maximum(0.5 * self._period, 4 * before)
                if suspicious.any():
                    stop = suspect = position + int(np.argmax(suspicious))
                    continue
            biased = self.tracker.mark_bias(followed.residuals, np.array([[tracked.bias]]), bias_scale)
            marks = bool(biased.marks.any())
            end = position + int(np.argmax(biased.marks[0])) + 1 if marks else stop
            if end == stop:
                break
            stop = end
        begin_index = tracked.index
        first, second = state[0, 0].tolist()
        offsets = followed.offsets[0]
        tracked.offset = float(offsets[-1])
        tracked.drift = self.tracker.drift_after(first, tracked.offset)
        tracked.state = first, second
        tracked.jitter = float(followed.jitters[0, -1])
        tracked.index += len(part)
        first, second = biased.state[0, 0].tolist()
        tracked.bias, tracked.bias_scale = (first, second), float(biased.bias_scale[0])
        self._emit(samples[position:stop], part, begin_index, offsets, biased.marks[0] if marks else None)
        if marks:
            # Samples were lost, less than the jitter shows: follow at once, or the next loss would hide behind this one.
            tracked.offset += float(biased.biases[0, -1])
            tracked.bias, tracked.state = (0.0, 0.0), None
        return stop, stop == suspect

    def _expected(self, n: int) -> NDArray[np.float64]:
        """The stamps that are expected of the next samples."""
        assert self._tracked.origin is not None  # noqa: S101
        steps = np.arange(n)
        return np.asarray(
            self._tracked.origin
            + (self._tracked.index + steps) * self._period
            + self._tracked.offset
            + self._tracked.drift * (steps + 1)
        )

    def _shift(self, shift: float) -> bool:
        """Go on where the stamps moved to; return false if a new segment begins with the next sample."""
        missing = round(shift / self._period)
        self._tracked.state = None
        self._tracked.bias = (0.0, 0.0)
        if 0 < shift <= self._bridge + 0.5 * self._period:
            self._missing = missing
            self._gap = missing * self._period
            self._tracked.index += missing
            self._tracked.offset += self._tracked.drift * missing
            self.rate.skip(self._gap)
        elif -_REANCHOR_SECONDS <= shift < 0:
            self._tracked.offset += shift
            self._gap = shift
        else:
            self.rate.skip(shift)
            self._restart(Reason.GAP if shift > 0 else Reason.CLOCK_JUMP, shift)
            return False
        return True

    def _emit(
        self,
        samples: NDArray[np.float64],
        stamps: NDArray[np.float64] | None,
        begin_index: int,
        offsets: NDArray[np.float64],
        biased: NDArray[np.bool_] | None = None,
    ) -> None:
        """Put out followed samples; the rate is watched by their stamps, or without any by their honest times."""
        if not len(samples):
            return
        assert self._tracked.origin is not None  # noqa: S101
        times = (begin_index + self.tracker.counted(len(samples))) * self._period
        times += self._tracked.origin
        times += offsets
        flags = np.zeros(len(samples), dtype=np.uint32)
        self.rate.watch(times if stamps is None else stamps, flags)
        if biased is not None:
            flags[biased] |= Reason.TIMING.bit
        if self._gap < 0 and not self._discontinuity:
            flags[0] |= Reason.TIMING.bit
        self._put(samples, times, flags)

    def _put(self, samples: NDArray[np.float64], times: NDArray[np.float64], flags: NDArray[np.uint32]) -> None:
        self._out.append(Block(samples, times, flags, self._discontinuity, self._gap, self._missing))
        self._discontinuity, self._gap, self._missing = Reason.NONE, 0.0, 0
