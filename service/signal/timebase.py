"""Honest time stamps and contiguity, causally: which samples follow each other, and when each was taken.

Stamps arrive jittered, in bursts and drifting; a tracker follows them with samples of the past only
(:mod:`service.signal.tracking`). A stamp far off the tracker's expectation is not judged at once: the samples that
follow tell whether it was late (they catch up) or whether samples are lost (they stay behind). Until
then they are held back, at most two seconds. All decisions count samples, so chunking cannot matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from service.signal.tracking import Course, Tracker
from service.types import Reason

_DECIDE_SECONDS = 0.1
_HOLD_SECONDS = 2.0
_RATE_POINTS = 30  # one per second of samples
_RATE_MIN_POINTS = 15
_RATE_TOLERANCE = 0.01
_LONG_GAP_SECONDS = 1.0
_REANCHOR_SECONDS = 0.5
_UNKNOWN_SECONDS = 1e9  # stands for a stamp that is no number


@dataclass(frozen=True, slots=True)
class Block:
    """Contiguous samples with honest stamps.

    Parameters
    ----------
    samples : ndarray of float64, shape (n_samples, n_channels)
    times : ndarray of float64, shape (n_samples,)
        Seconds.
    flags : ndarray of uint32, shape (n_samples,)
        Bits of :class:`service.types.Reason`.
    broken : Reason
        Not NONE: the block starts a new segment, and why.
    gap_seconds : float
        Length of the gap before the block, bridged or not; negative when stamps went back.
    missing : int
        Samples the caller bridges before this block; 0 when there is no gap or it is not bridged.
    """

    samples: NDArray[np.float64]
    times: NDArray[np.float64]
    flags: NDArray[np.uint32]
    broken: Reason = Reason.NONE
    gap_seconds: float = 0.0
    missing: int = 0


@dataclass(frozen=True, slots=True)
class _Verdict:
    """``late``: the next ``count`` samples are contiguous; otherwise the stamps moved by ``shift`` seconds."""

    late: bool
    count: int = 0
    shift: float = 0.0


class TimeBase:
    """Tracks the stamps of one stream.

    Parameters
    ----------
    sfreq : float
        Rate the stream is taken to have, in hertz.
    bridge_seconds : float
        Gaps up to this are bridged, longer ones break the signal.
    """

    def __init__(self, sfreq: float, bridge_seconds: float = 0.04) -> None:
        self.tracker = Tracker(sfreq)
        self._period = self.tracker.period
        self._bridge = bridge_seconds
        self._decide = max(8, math.ceil(_DECIDE_SECONDS * sfreq))
        self._hold = max(self._decide, math.ceil(_HOLD_SECONDS * sfreq))
        self._rate_block = max(1, round(sfreq))
        self._sfreq = sfreq
        self._held: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self.course = Course()
        self._rate_stamps: list[float] = []
        self._rate_count = 0
        self.effective_rate: float | None = None
        self.rate_is_off = False
        self._out: list[Block] = []
        self._restart(Reason.NONE, 0.0)

    @property
    def drift_ppm(self) -> float:
        """Tracked deviation of the sample period from nominal, in parts per million (positive: slow)."""
        return self.course.drift / self._period * 1e6

    @property
    def n_held(self) -> int:
        """Samples held back until it is known whether they follow on."""
        return 0 if self._held is None else len(self._held[1])

    @property
    def steady(self) -> bool:
        """Whether the next samples can be followed as they come: the start is over and nothing is in doubt."""
        course = self.course
        return self._held is None and course.origin is not None and course.index >= self.tracker.start_samples

    def push(
        self, samples: NDArray[np.float64], stamps: NDArray[np.float64], broken: Reason = Reason.NONE
    ) -> list[Block]:
        """Take a chunk; return what is known to be contiguous by now.

        Parameters
        ----------
        samples : ndarray of float64, shape (n_samples, n_channels)
        stamps : ndarray of float64, shape (n_samples,)
            Seconds, as they came.
        broken : Reason
            The source's own knowledge that this chunk does not continue the last.

        Returns
        -------
        list of Block
        """
        self._out = []
        if broken:
            self._finish_held()
            gap = self._residual(stamps[0]) if broken == Reason.GAP and self.course.index and len(stamps) else 0.0
            self.course.drift = 0.0
            self._rate_stamps.clear()
            self._restart(broken, gap if 0.5 * self._period < gap < _UNKNOWN_SECONDS else 0.0)
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

    def _restart(self, broken: Reason, gap_seconds: float) -> None:
        # what is known of the sender's clock outlives a gap
        self.course = Course(drift=self.course.drift, jitter=self.course.jitter, swing=self.course.swing)
        self._broken = broken
        self._gap = gap_seconds
        self._missing = 0

    def _walk(self, samples: NDArray[np.float64], stamps: NDArray[np.float64], *, final: bool) -> None:
        position, n = 0, len(stamps)
        while position < n:
            if self.course.origin is None:
                self.course.origin = stamps[position] if math.isfinite(stamps[position]) else 0.0
            stop = (
                self._start(samples, stamps, position)
                if self.course.index < self.tracker.start_samples
                else self._track(samples, stamps, position)
            )
            position = stop
            if position == n or abs(self._residual(stamps[position])) <= self._tolerance:
                continue  # the chunk or the start-up ended, nothing is suspicious
            verdict = self._judge(stamps[position:], final=final)
            if verdict is None:
                self._held = (samples[position:].copy(), stamps[position:].copy())
                return
            if verdict.late:
                stop = position + verdict.count
                self._follow(samples, stamps, position, stop)
                position = stop
            else:
                self._shift(verdict.shift)

    @property
    def _tolerance(self) -> float:
        return max(0.5 * self._period, 4 * self.course.jitter)

    def _residual(self, stamp: float) -> float:
        assert self.course.origin is not None  # noqa: S101 - set by the walk before any sample is looked at
        residual = (
            stamp - self.course.origin - self.course.index * self._period - self.course.offset - self.course.drift
        )
        return residual if math.isfinite(residual) else _UNKNOWN_SECONDS

    def _start(self, samples: NDArray[np.float64], stamps: NDArray[np.float64], position: int) -> int:
        """Sample by sample while the tracker's gain still falls; stops at a suspicious stamp."""
        stop = position
        begin_index = self.course.index
        offsets: list[float] = []
        leans: list[bool] = []
        while stop < len(stamps) and self.course.index < self.tracker.start_samples:
            residual = self._residual(stamps[stop])
            if begin_index + len(offsets) > 0 and abs(residual) > self._tolerance:
                break
            offsets.append(self._step(residual, residual))
            leans.append(self.tracker.leans(self.course, residual))
            stop += 1
        self._emit(samples[position:stop], stamps[position:stop], begin_index, np.array(offsets), np.array(leans))
        return stop

    def _follow(self, samples: NDArray[np.float64], stamps: NDArray[np.float64], start: int, stop: int) -> None:
        """Take samples whose stamps were late: contiguous, but their stamps hardly count."""
        begin_index = self.course.index
        offsets: list[float] = []
        for stamp in stamps[start:stop]:
            residual = self._residual(stamp)
            tolerance = self._tolerance
            offsets.append(self._step(min(max(residual, -tolerance), tolerance), residual))
        self._emit(samples[start:stop], stamps[start:stop], begin_index, np.array(offsets))

    def _step(self, residual: float, jitter: float) -> float:
        gain = max(self.tracker.alpha, 1.0 / (self.course.index + 1))
        self.course.state = None
        self.course.offset += self.course.drift + gain * residual
        if self.course.index >= self.tracker.start_samples:
            self.course.drift += self.tracker.beta * residual
        self.course.jitter += (
            self.tracker.forget * (min(abs(jitter), _HOLD_SECONDS) - self.course.jitter) if self.course.index else 0.0
        )
        self.course.index += 1
        return self.course.offset

    def _track(self, samples: NDArray[np.float64], stamps: NDArray[np.float64], position: int) -> int:
        """All samples up to the first suspicious stamp, at once."""
        course = self.course
        assert course.origin is not None  # noqa: S101
        stop = len(stamps)
        origin, index, jitter = (np.array([value]) for value in (course.origin, float(course.index), course.jitter))
        while True:
            part = stamps[position:stop]
            if not len(part):
                return stop
            state = np.array([[self.tracker.state_of(course)]])
            elapsed = self.tracker.elapsed(index, len(part))
            followed = self.tracker.follow(part[None], origin, elapsed, state, jitter)
            sizes = followed.sizes[0]
            # Filters are causal: what came before the first suspicious stamp is right as it stands.
            if sizes.max() > 0.5 * self._period:
                before = np.concatenate([[course.jitter], followed.jitters[0, :-1]])
                suspicious = sizes > np.maximum(0.5 * self._period, 4 * before)
                if suspicious.any():
                    stop = position + int(np.argmax(suspicious))
                    continue
            leaning = self.tracker.leaning(followed.residuals, np.array([[course.lean]]), np.array([course.swing]))
            end = position + int(np.argmax(leaning.marks[0])) + 1 if leaning.marks.any() else stop
            if end == stop:
                break
            stop = end
        begin_index = course.index
        first, second = state[0, 0].tolist()
        offsets = followed.offsets[0]
        course.offset = float(offsets[-1])
        course.drift = self.tracker.drift_after(first, course.offset)
        course.state = first, second
        course.jitter = float(followed.jitters[0, -1])
        course.index += len(part)
        first, second = leaning.state[0, 0].tolist()
        course.lean, course.swing = (first, second), float(leaning.swing[0])
        self._emit(samples[position:stop], part, begin_index, offsets, leaning.marks[0])
        if leaning.marks[0, -1]:
            # Samples were lost, less than the jitter shows: follow at once, or the next loss would hide behind this one.
            course.offset += float(leaning.leans[0, -1])
            course.lean, course.state = (0.0, 0.0), None
        return stop

    def _judge(self, stamps: NDArray[np.float64], *, final: bool) -> _Verdict | None:
        """What a suspicious stamp means, from the samples after it; None while that is open."""
        assert self.course.origin is not None  # noqa: S101
        steps = np.arange(len(stamps))
        expected = (
            self.course.origin
            + (self.course.index + steps) * self._period
            + self.course.offset
            + self.course.drift * (steps + 1)
        )
        residuals = stamps - expected
        residuals[~np.isfinite(residuals)] = _UNKNOWN_SECONDS
        sign = 1.0 if residuals[0] > 0 else -1.0
        ahead = residuals[: self._hold] * sign
        tolerance = self._tolerance
        back = np.flatnonzero(ahead <= tolerance)
        returned = int(back[0]) if len(back) else None
        settled = self._settled(ahead, tolerance)
        if returned is not None and (settled is None or returned <= settled):
            return _Verdict(late=True, count=returned)
        if settled is not None:
            shift = float(ahead[settled - self._decide + 1 : settled + 1].min())
        elif len(ahead) == self._hold or final:
            shift = float(ahead.min())
        else:
            return None
        if round(shift / self._period) < 1:
            return _Verdict(late=True, count=len(ahead) if settled is None else settled + 1)
        return _Verdict(late=False, shift=sign * shift)

    def _settled(self, ahead: NDArray[np.float64], tolerance: float) -> int | None:
        """Index at which the last few stamps agree with each other on being off."""
        if len(ahead) < self._decide:
            return None
        runs = sliding_window_view(ahead, self._decide)
        agree = (np.ptp(runs, axis=1) <= 2 * tolerance) & (runs.min(axis=1) > tolerance)
        return int(np.argmax(agree)) + self._decide - 1 if agree.any() else None

    def _shift(self, shift: float) -> None:
        missing = round(shift / self._period)
        self.course.state = None
        self.course.lean = (0.0, 0.0)
        if 0 < shift <= self._bridge + 0.5 * self._period:
            self._missing = missing
            self._gap = missing * self._period
            self.course.index += missing
            self.course.offset += self.course.drift * missing
        elif -_REANCHOR_SECONDS <= shift < 0:
            self.course.offset += shift
            self._gap = shift
        else:
            if shift > _LONG_GAP_SECONDS or shift < 0:
                self._rate_stamps.clear()
            self._restart(Reason.GAP if shift > 0 else Reason.CLOCK_JUMP, shift)

    def _emit(
        self,
        samples: NDArray[np.float64],
        stamps: NDArray[np.float64],
        begin_index: int,
        offsets: NDArray[np.float64],
        leaning: NDArray[np.bool_] | None = None,
    ) -> None:
        if not len(samples):
            return
        assert self.course.origin is not None  # noqa: S101
        times = (begin_index + self.tracker.counted(len(samples))) * self._period
        times += self.course.origin
        times += offsets
        flags = np.zeros(len(samples), dtype=np.uint32)
        self.watch_rate(stamps, flags)
        if leaning is not None and leaning.any():
            flags[leaning] |= Reason.TIMING.bit
        if self._gap < 0 and not self._broken:
            flags[0] |= Reason.TIMING.bit
        self._out.append(Block(samples, times, flags, self._broken, self._gap, self._missing))
        self._broken, self._gap, self._missing = Reason.NONE, 0.0, 0

    def watch_rate(self, stamps: NDArray[np.float64], flags: NDArray[np.uint32]) -> None:
        """Once per second of samples: the slope of the recent stamps against the count of samples.

        Parameters
        ----------
        stamps : ndarray of float64, shape (n_samples,)
            As they came.
        flags : ndarray of uint32, shape (n_samples,)
            Marked in place where the rate is not the nominal one.
        """
        first = -self._rate_count % self._rate_block
        if first >= len(stamps) and not self.rate_is_off:  # as a rule
            self._rate_count += len(stamps)
            return
        done = 0
        for position in range(first, len(stamps), self._rate_block):
            if self.rate_is_off:
                flags[done:position] |= Reason.RATE.bit
            done = position
            self._rate_stamps.append(float(stamps[position]))
            del self._rate_stamps[:-_RATE_POINTS]
            if len(self._rate_stamps) >= _RATE_MIN_POINTS and all(map(math.isfinite, self._rate_stamps)):
                counts = (np.arange(len(self._rate_stamps)) - 0.5 * (len(self._rate_stamps) - 1)) * self._rate_block
                # least squares, in which the centred counts leave the mean of the stamps out
                slope = float(counts @ (np.array(self._rate_stamps) - self._rate_stamps[0]) / (counts @ counts))
                self.effective_rate = float(1 / slope) if slope > 0 else None
                self.rate_is_off = self.effective_rate is None or (
                    abs(self.effective_rate / self._sfreq - 1) > _RATE_TOLERANCE
                )
        if self.rate_is_off:
            flags[done:] |= Reason.RATE.bit
        self._rate_count += len(stamps)
