"""Honest time stamps and contiguity, causally: which samples follow each other, and when each was taken.

Stamps arrive jittered, in bursts and drifting; a tracker follows them by past samples alone (:mod:`mindwire.signal.tracking`).
From a stamp far off its expectation on, samples are held back, at most two seconds, until those after it show that it was
late, that samples are lost, or that the rate is off. Samples whose stamps contradict the rate pass as they come, marked,
until their stamps agree with it again. All decisions count samples, so chunking cannot matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from mindwire.signal.judge import Judge, Verdict
from mindwire.signal.rate import JUMPING, LARGEST_STAMP, RateMeter, believable
from mindwire.signal.tracking import Times, Tracker
from mindwire.types import Reason

_REANCHOR_SECONDS = 0.5
_NO_CLOCK_SECONDS = 1.5  # no clock is off by more all the time; a stall of two seconds stays below it
# A measured rate that is less certain is no drift to begin with.
_LEAST_CERTAIN = 0.01


class SignalPart(msgspec.Struct, frozen=True, eq=False):
    """Contiguous samples with honest stamps, before conditioning and after it.

    Parameters
    ----------
    samples : ndarray of float64, shape (n_samples, n_channels)
    times : ndarray of float64, shape (n_samples,)
        Seconds.
    flags : ndarray of uint32, shape (n_samples,)
        Bits of :class:`mindwire.types.Reason`.
    discontinuity : Reason
        Not NONE: these samples start a new segment, and why.
    gap_seconds : float
        Length of the gap before them, bridged or not; negative when stamps went back.
    missing : int
        Samples to be bridged before them; 0 when there is no gap or it is not bridged.
    phase : float
        Their segment's, once conditioned; see :attr:`mindwire.signal.conditioner.Conditioner.phase`.
    """

    samples: NDArray[np.float64]
    times: NDArray[np.float64]
    flags: NDArray[np.uint32]
    discontinuity: Reason = Reason.NONE
    gap_seconds: float = 0.0
    missing: int = 0
    phase: float = 0.0


def joined(parts: Sequence[SignalPart], n_channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the times, shape (n_samples,), and samples, shape (n_samples, n_channels), of parts one after the other."""
    if len(parts) == 1:
        return parts[0].times, parts[0].samples
    empty = (np.empty(0), np.empty((0, n_channels)))
    times, samples = zip(empty, *((part.times, part.samples) for part in parts), strict=True)
    return np.concatenate(times), np.concatenate(samples)


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
        self._tracker = Tracker(sfreq)
        self._period = self._tracker.period
        self._most_bridged = bridge_seconds + 0.5 * self._period
        self._judge = Judge(sfreq)
        self._held: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self.rate = RateMeter(sfreq, accepted=rate_accepted)
        # Stamps are not followed; and the last one that could be a time, with the samples since.
        self._passing = False
        self._last, self._since_last = 0.0, 1
        self._out: list[SignalPart] = []
        self._restart(Reason.NONE, 0.0)

    @property
    def drift_ppm(self) -> float:
        """Tracked deviation of the sample period from nominal, in parts per million (positive: slow)."""
        return self._tracker.drift / self._period * 1e6

    @property
    def n_held(self) -> int:
        """Samples held back until it is known whether they follow on."""
        return 0 if self._held is None else len(self._held[1])

    def push(
        self, samples: NDArray[np.float64], stamps: NDArray[np.float64], discontinuity: Reason = Reason.NONE
    ) -> list[SignalPart]:
        """Take a chunk, ``(n_samples, n_channels)``, with its stamps; return what is known to be contiguous by now.

        A discontinuity is the source's own knowledge that the chunk does not continue the last.
        """
        self._out = []
        if discontinuity:
            self._finish_held()
            followed = self._tracker.index and not self._passing and len(stamps)
            gap = self._tracker.residual(float(stamps[0])) if discontinuity == Reason.GAP and followed else 0.0
            self._tracker.drift = 0.0
            self._passing = False
            self.rate.restart()
            self._restart(discontinuity, gap if gap > 0.5 * self._period else 0.0)
        if self._held is not None:
            samples = np.concatenate([self._held[0], samples])
            stamps = np.concatenate([self._held[1], stamps])
            self._held = None
        self._walk(samples, stamps, final=False)
        return self._out

    def flush(self) -> list[SignalPart]:
        """Give out the samples still held back, at the end of a recording."""
        self._out = []
        self._finish_held()
        return self._out

    def _finish_held(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._walk(*held, final=True)

    def _restart(self, discontinuity: Reason, gap_seconds: float) -> None:
        self._tracker.restart()
        self._discontinuity, self._gap, self._missing = discontinuity, gap_seconds, 0

    def _walk(self, samples: NDArray[np.float64], stamps: NDArray[np.float64], *, final: bool) -> None:
        """Take samples one part after the other.

        It ends: each turn takes at least one sample, or is followed by one that does. The first stamp that a tracker sees is
        never suspicious, nor is any while samples pass; and whether a stamp is suspicious is computed once.
        """
        tracker, position = self._tracker, 0
        while position < len(stamps):
            if self._passing:
                position += self._pass(samples[position:], stamps[position:])
                continue
            if math.isnan(tracker.origin):
                stamp = float(stamps[position])
                tracker.origin = stamp if abs(stamp) < LARGEST_STAMP else 0.0
            follow = tracker.start if tracker.starting else tracker.follow
            times, biased, suspicious = follow(stamps[position:])
            stop = position + len(times)
            self._emit(samples[position:stop], stamps[position:stop], times, biased)
            position = stop
            if not suspicious:
                continue
            verdict = self._verdict(stamps[position : position + self._judge.hold], final=final)
            if verdict is None:
                self._held = samples[position:].copy(), stamps[position:].copy()
                return
            position += self._act_on(verdict, samples[position:], stamps[position:])

    def _verdict(self, stamps: NDArray[np.float64], *, final: bool) -> Verdict | None:
        """Return the meaning of a suspicious stamp, from those after it; None while it is open."""
        tracker = self._tracker
        if tracker.jitter > _NO_CLOCK_SECONDS:
            return Verdict("wrong", measured=JUMPING)
        expected = tracker.expected(len(stamps))
        verdict = self._judge.verdict(stamps, expected, tracker.tolerance, self.rate.recent, final=final)
        if verdict and verdict.kind == "shifted" and abs(verdict.shift) <= self._most_bridged:
            return self._unlearnt() or verdict
        return verdict

    def _unlearnt(self) -> Verdict | None:
        """Return the drift that the tracker has had no time to learn, which is no loss; None where there is none."""
        measured = self.rate.measured
        if not self._tracker.starting or measured is None or not measured.clear or measured.margin > _LEAST_CERTAIN:
            return None
        drift = measured.seconds - self._period
        unlearnt = abs(drift - self._tracker.drift) > measured.uncertain * self._period
        return Verdict("drifts", shift=drift) if unlearnt else None

    def _act_on(self, verdict: Verdict, samples: NDArray[np.float64], stamps: NDArray[np.float64]) -> int:
        """Act on the verdict on the first of some samples; return how many of them it takes."""
        tracker = self._tracker
        if verdict.kind == "wrong":
            self.rate.mark_wrong(verdict.measured)
            self._passing = True
            self._last, self._since_last = tracker.last, 1
            return 0
        if verdict.kind == "drifts":
            tracker.adopt_drift(verdict.shift, verdict.jump, float(stamps[0]))
        if verdict.kind == "shifted" and not self._shift(verdict.shift):
            return 0
        n = verdict.count
        # Stamps that were only late do not measure the rate.
        self._emit(samples[:n], None if verdict.returned else stamps[:n], tracker.follow_loosely(stamps[:n]))
        return n

    def _shift(self, shift: float) -> bool:
        """Go on where the stamps moved to; return false if a new segment begins with the next sample."""
        if 0 < shift <= self._most_bridged:
            self._missing = round(shift / self._period)
            self._gap = self._missing * self._period
            self._tracker.skip(self._missing)
            self.rate.skip(self._gap)
        elif -_REANCHOR_SECONDS <= shift < 0:
            self._tracker.shift(shift)
            self._gap = shift
        else:
            self.rate.skip(shift)
            self._restart(Reason.GAP if shift > 0 else Reason.CLOCK_JUMP, shift)
            return False
        return True

    def _pass(self, samples: NDArray[np.float64], stamps: NDArray[np.float64]) -> int:
        """Take samples whose stamps contradict the rate, up to where that may end; their times are the stamps as they came."""
        part = stamps[: self.rate.until_measured]
        n = len(part)
        # a stamp that is no time counts on from the last one that is
        counts = np.arange(n)
        newest = np.maximum.accumulate(np.where(believable(part), counts, -self._since_last))
        base = np.where(newest < 0, self._last, part[np.maximum(newest, 0)])
        flags = np.zeros(n, dtype=np.uint32)
        self.rate.watch(part, flags)
        self._put(samples[:n], base + (counts - newest) * self._period, flags)
        self._last, self._since_last = float(base[-1]), n - int(newest[-1])
        if self.rate.state != "wrong":
            self._passing = False
            self.rate.restart()
            self._restart(Reason.CLOCK_JUMP, 0.0)
        return n

    def _emit(
        self,
        samples: NDArray[np.float64],
        stamps: NDArray[np.float64] | None,
        times: Times,
        biased: Sequence[int] = (),
    ) -> None:
        """Put out followed samples; the rate is watched by their stamps, or without any by their honest times."""
        if not len(samples):
            return
        flags = np.zeros(len(samples), dtype=np.uint32)
        self.rate.watch(times if stamps is None else stamps, flags)
        if biased:
            flags[biased] |= Reason.TIMING.bit
        if self._gap < 0 and not self._discontinuity:
            flags[0] |= Reason.TIMING.bit
        self._put(samples, times, flags)

    def _put(self, samples: NDArray[np.float64], times: NDArray[np.float64], flags: NDArray[np.uint32]) -> None:
        self._out.append(SignalPart(samples, times, flags, self._discontinuity, self._gap, self._missing))
        self._discontinuity, self._gap, self._missing = Reason.NONE, 0.0, 0
