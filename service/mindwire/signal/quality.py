"""Quality of the signal, channel by channel, online: reasons that make it bad, and reasons that make it suspect.

Bad shows in single samples: not finite, flat, at the rail. Suspect shows in a second of signal: line
noise, drift, muscle. Everything counts samples and looks only back, so nothing depends on chunking;
a second's verdict holds for the samples after it, until the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mindwire.types import Reason

_FLAT_SECONDS = 0.2
_RAIL_SECONDS = 0.02
_RAIL_MIN_MICROVOLT = 100.0
_RAIL_SHARE = 0.999
# No electrode on a head gives a volt; one such sample, of uninitialised memory, would ring in the filters for long.
_IMPOSSIBLE_MICROVOLT = 1e6
# Nor does it jump further from one sample to the next. The filters let through only a part of a jump's first
# sample, which a window may end with.
_STEP_MICROVOLT = 5e3

# A band's power relative to that of 1-40 Hz, or microvolts, above which a channel is suspect. EEG at
# rest falls with frequency, so power above 55 Hz near that below 40 Hz is muscle (Goncharova et al. 2003).
_LINE_LIMIT = 1.0
_MUSCLE_LIMIT = 0.6
_DRIFT_LIMIT_MICROVOLT = 150.0
_SUSPECT_SHARE = 0.1  # of the channels

# Within half a second an electrode on a head moves by more than this, the noise of its amplifier alone does.
_QUIET_MICROVOLT = 0.1
_QUIET_SAMPLES = 16

_USUAL_MICROVOLT = 10.0
# Parts of that below and above which no EEG is, second after second.
_ODD = 1e-2, 200.0
_ODD_SECONDS = 3


class SampleCheck:
    """Finds the samples that are bad by themselves and replaces what is not finite.

    Parameters
    ----------
    n_channels : int
    sfreq : float
        Hertz, of the source.
    microvolt : float
        One microvolt in the unit of the samples.

    Attributes
    ----------
    beyond : float
        Median size of the newest samples that were too large; 0 before any.
    """

    def __init__(self, n_channels: int, sfreq: float, microvolt: float) -> None:
        self._n_channels = n_channels
        self._flat_run = max(2, math.ceil(_FLAT_SECONDS * sfreq))
        self._rail_run = max(4, math.ceil(_RAIL_SECONDS * sfreq))
        self._rail_min = _RAIL_MIN_MICROVOLT * microvolt
        self._impossible = _IMPOSSIBLE_MICROVOLT * microvolt
        self._step = _STEP_MICROVOLT * microvolt
        self.beyond = 0.0
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._last = np.full(self._n_channels, np.nan)
        # Equal samples before the last one, and the largest size so far, per channel; the largest of the last samples.
        self._run = self._no_run = np.zeros(self._n_channels, dtype=np.int64)
        self._peak = np.zeros(self._n_channels)
        self._largest = 0.0

    def process(self, samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.uint32] | None]:
        """Check the next contiguous samples, ``(n_samples, n_channels)``, at least one.

        Returns
        -------
        samples : ndarray of float64, shape (n_samples, n_channels)
            With values that are not finite, or impossible, replaced by the channel's last good one (0 before any).
        flags : ndarray of uint32, shape (n_samples, n_channels), or None
            Bits of :class:`mindwire.types.Reason`; None when nothing is wrong.
        """
        size = np.abs(samples)
        peak, flags = np.maximum.reduce(size), None  # per channel
        largest = peak.item(peak.argmax())
        if not largest < self._impossible:  # no NaN is
            possible = size < self._impossible
            flags = np.zeros(samples.shape, dtype=np.uint32)
            flags[~possible] = np.where(np.isfinite(samples), Reason.AMPLITUDE.bit, Reason.NON_FINITE.bit)[~possible]
            beyond = size[~possible & np.isfinite(size)]
            if len(beyond):
                self.beyond = float(np.partition(beyond, len(beyond) // 2)[len(beyond) // 2])
            samples = self._hold(samples, possible)
            size = np.abs(samples)
            peak = np.maximum.reduce(size)
            largest = peak.item(peak.argmax())
        values = np.concatenate((self._last, samples.ravel()))
        equal = values[self._n_channels :] == values[: -self._n_channels]  # to the one before
        # where all are small, none is far from any other
        large, self._largest = max(largest, self._largest) > 0.5 * self._step, largest
        far = np.abs(np.diff(samples, axis=0, prepend=self._last[None])) > self._step if large else None
        self._last = samples[-1].copy()
        if flags is None and (far is None or not far.any()) and not np.count_nonzero(equal):  # as a rule
            self._run = self._no_run
            self._peak = np.maximum(peak, self._peak)
            return samples, None
        if flags is None:
            flags = np.zeros(samples.shape, dtype=np.uint32)
        if far is not None:
            flags[far] |= Reason.AMPLITUDE.bit
        place = np.arange(len(samples))[:, None]
        last_change = np.maximum.accumulate(np.where(equal.reshape(samples.shape), -1, place), axis=0)
        run = np.where(last_change < 0, self._run + place + 1, place - last_change)
        peaks = np.maximum(np.maximum.accumulate(size, axis=0), self._peak)
        flags[run >= self._flat_run] |= Reason.FLAT.bit
        rail = (run >= self._rail_run) & (size > self._rail_min) & (size >= _RAIL_SHARE * peaks)
        flags[rail] |= Reason.SATURATED.bit
        self._run, self._peak = run[-1], peaks[-1]
        return samples, flags if flags.any() else None

    def _hold(self, samples: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
        held = np.concatenate((np.nan_to_num(self._last)[None], samples))
        source = np.maximum.accumulate(np.where(good, np.arange(1, len(held))[:, None], 0), axis=0)
        return np.asarray(np.take_along_axis(held, source, axis=0))


@dataclass(frozen=True, slots=True)
class ChannelQuality:
    """One channel over the last second.

    Parameters
    ----------
    label : str
    score : float
        1 is good, 0 is bad.
    verdict : {"ok", "suspect", "bad"}
    reasons : list of str
    amplitude : float
        Standard deviation in microvolt, 1-40 Hz.
    line_ratio, muscle_ratio : float
        Power around 50 or 60 Hz, whichever is larger, and above 55 Hz, relative to 1-40 Hz.
    drift : float
        Change of the mean within the second, in microvolt.
    """

    label: str
    score: float
    verdict: Literal["ok", "suspect", "bad"]
    reasons: list[str]
    amplitude: float
    line_ratio: float
    muscle_ratio: float
    drift: float


class _SizeWatch:
    """By how many powers of a thousand a signal is off the size of EEG, as signals in a mistaken unit are."""

    def __init__(self) -> None:
        self.power = self.seconds = 0

    def take(self, microvolts: float) -> bool:
        """Take the size of one second of signal, of which 0 says nothing; return true if the signal is off, and that is new."""
        ratio = microvolts / _USUAL_MICROVOLT
        usual = ratio <= 0 or _ODD[0] <= ratio <= _ODD[1]
        power = 0 if usual else 3 * round(math.log10(ratio) / 3)
        self.seconds = self.seconds + 1 if power == self.power else 1
        self.power = power
        return power != 0 and self.seconds == _ODD_SECONDS


class QualityMeter:
    """Measures each second of source samples, before any filter.

    Parameters
    ----------
    labels : tuple of str
    sfreq : float
        Hertz, of the source.
    microvolt : float
        One microvolt in the unit of the samples.
    most_quiet : int
        Number of channels that may be too small for EEG without making the signal bad.
    units : tuple of str
        Unit that each channel is taken to have at the source.

    Attributes
    ----------
    beyond : float
        Size of samples that were too large to be kept; see :attr:`SampleCheck.beyond`.
    n_units : int
        Number of different units.
    seconds : int
        Seconds measured so far.
    """

    def __init__(
        self, labels: tuple[str, ...], sfreq: float, microvolt: float, most_quiet: int = 0, units: tuple[str, ...] = ()
    ) -> None:
        self._labels = labels
        self._most_quiet = most_quiet
        self._quiet_limit = _QUIET_MICROVOLT * microvolt
        self._microvolt = microvolt
        self._block = max(8, round(sfreq))
        freqs = np.fft.rfftfreq(self._block, 1 / sfreq)
        brain = (freqs >= 1) & (freqs <= 40)
        lines = [np.abs(freqs - line) <= 1.01 for line in (50.0, 60.0)]
        near_line = np.abs((freqs + 5) % 10 - 5) <= 1.01  # 50, 60 and their multiples
        muscle = (freqs >= 55) & ~near_line
        # As matrices, because a product costs a fraction of as many sums over parts.
        self._bands = np.stack([brain, *lines, muscle]).astype(np.float32)
        later = np.arange(self._block) >= self._block // 2
        self._means = np.stack([np.full(self._block, 1 / self._block), later / later.sum() - ~later / (~later).sum()])
        taper = np.hanning(self._block)[:, None]
        self._taper = taper.astype(np.float32)
        self._amplitude_scale = 2 / (self._block * (taper**2).sum())
        # Copied here, for views would keep all they are part of, which for many streams is a lot of memory to wander through.
        self._second = np.empty((self._block, len(labels)), dtype=np.float32)
        self._half = self._block // 2
        self.beyond = 0.0
        self._units = np.array(units or ("",) * len(labels))
        self._sizes = {unit: _SizeWatch() for unit in self._units.tolist()}
        self.n_units = len(self._sizes)
        self._odd: list[tuple[str, int]] = []
        self._required = max(1, math.ceil(_SUSPECT_SHARE * len(labels)))
        n = len(labels)
        self._amplitude, self._line, self._muscle_ratio, self._drift = np.zeros((4, n))
        self._bad = np.zeros(n, dtype=np.uint32)
        self.seconds = 0
        self._n_bad, self._n_troubled = np.zeros((2, n), dtype=np.int64)  # seconds
        self.reset()

    def reset(self, phase: float = 0.0) -> None:
        """Forget the past second; the next begins with the next sample, all after that later by a phase, a part of a second."""
        self._later, self._pause = round(phase * self._block), 0
        self._count, self._measure_at = 0, self._half
        self._seen_bad = np.zeros(len(self._labels), dtype=np.uint32)
        self._suspect = self._quiet = self._standing = np.uint32(0)
        self._sizes = {unit: _SizeWatch() for unit in self._sizes}

    def process(
        self,
        samples: NDArray[np.floating[Any]],
        channel_flags: NDArray[np.uint32] | None,
        flags: NDArray[np.uint32],
    ) -> None:
        """Measure the next contiguous samples, and add the standing verdict to their flags, ``(n_samples,)``, in place.

        The channels' flags have the shape of the samples, ``(n_samples, n_channels)``; None when nothing is wrong.
        """
        start = 0
        while start < len(samples):
            stop = min(len(samples), start + (self._pause or self._measure_at - self._count))
            n = stop - start
            if self._standing:
                flags[start:stop] |= self._standing
            if self._pause:
                self._pause -= n
            else:
                self._second[self._count : self._count + n] = samples[start:stop]
                if channel_flags is not None:
                    self._seen_bad |= np.bitwise_or.reduce(channel_flags[start:stop], axis=0)
                self._count += n
                if self._count == self._measure_at:
                    self._end_half()
            start = stop

    def _end_half(self) -> None:
        """Half a second is over: whether it was too small for EEG; after a whole one, all the rest."""
        whole = self._count == self._block
        newest = self._second[self._half : self._block] if whole else self._second[: self._half]
        some = newest[:: max(1, len(newest) // _QUIET_SAMPLES)]
        quiet = (some.max(axis=0) - some.min(axis=0) < self._quiet_limit) & (self._seen_bad == 0)
        self._quiet = (Reason.AMPLITUDE if np.count_nonzero(quiet) > self._most_quiet else Reason.NONE).bit
        self._measure_at = self._block
        if whole:
            self._measure()
            self._pause, self._later = self._later, 0
            self._measure_at = self._half
        self._standing = self._suspect | self._quiet

    def _measure(self) -> None:
        microvolts = np.divide(self._second, self._microvolt, dtype=np.float64)
        mean, change = self._means @ microvolts
        microvolts -= mean
        # without the mean single precision says enough, in half the time
        spectrum = np.fft.rfft(microvolts.astype(np.float32) * self._taper, axis=0)
        powers = self._bands @ (spectrum.real**2 + spectrum.imag**2)
        brain, line, other_line, muscle = powers.astype(np.float64)
        brain = np.maximum(brain, 1e-12)
        self._amplitude = np.sqrt(brain * self._amplitude_scale)
        self._line = np.maximum(line, other_line) / brain
        self._muscle_ratio = muscle / brain
        self._drift = np.abs(change)
        self._bad = self._seen_bad
        standing = Reason.NONE
        troubled = self._bad != 0
        for reason, exceeded in self._suspects():
            troubled |= exceeded
            if np.count_nonzero(exceeded) >= self._required:
                standing |= reason
        self._suspect = standing.bit
        self.seconds += 1
        self._n_bad += self._bad != 0
        self._n_troubled += troubled
        self._watch_size()
        self._count = 0
        self._seen_bad = np.zeros_like(self._seen_bad)

    def _watch_size(self) -> None:
        for unit, watch in self._sizes.items():
            chosen = self._units == unit
            bad = self._seen_bad[chosen]
            size = sorted(self._amplitude[chosen].tolist())[len(bad) // 2]
            if 2 * np.count_nonzero(bad) > len(bad):  # what was too large is not there any more
                size = max(size, self.beyond / self._microvolt) if (bad & Reason.AMPLITUDE.bit).any() else 0.0
            if watch.take(size):
                self._odd.append((unit, watch.power))

    def drain_odd_sizes(self) -> list[tuple[str, int]]:
        """Return the units found to be mistaken since the last call, each with the power of ten, a multiple of 3, that is off."""
        found, self._odd = self._odd, []
        return found

    def _suspects(self) -> list[tuple[Reason, NDArray[np.bool_]]]:
        return [
            (Reason.LINE_NOISE, self._line > _LINE_LIMIT),
            (Reason.MUSCLE, self._muscle_ratio > _MUSCLE_LIMIT),
            (Reason.DRIFT, self._drift > _DRIFT_LIMIT_MICROVOLT),
        ]

    def bad_shares(self) -> dict[str, float]:
        """Return the share of all seconds so far in which a channel was bad, by label, of those that ever were."""
        return self._shares(self._n_bad)

    def troubled_shares(self) -> dict[str, float]:
        """Return the same of the seconds in which a channel was bad or suspect."""
        return self._shares(self._n_troubled)

    def _shares(self, counts: NDArray[np.int64]) -> dict[str, float]:
        shares = (counts / max(self.seconds, 1)).tolist()
        return {label: share for label, share in zip(self._labels, shares, strict=True) if share}

    def channels(self) -> list[ChannelQuality]:
        """Each channel over the last whole second."""
        suspect = np.zeros_like(self._bad)
        for reason, exceeded in self._suspects():
            suspect[exceeded] |= reason.bit
        bands = (self._line / _LINE_LIMIT, self._muscle_ratio / _MUSCLE_LIMIT, self._drift / _DRIFT_LIMIT_MICROVOLT)
        score = 1 / (1 + np.maximum.reduce(bands) ** 2)
        score[self._bad != 0] = 0.0
        columns = (self._bad, suspect, score, self._amplitude, self._line, self._muscle_ratio, self._drift)
        return [
            ChannelQuality(
                label=label,
                score=round(good, 3),
                verdict="bad" if bad else "suspect" if doubt else "ok",
                reasons=Reason(bad | doubt).labels if bad or doubt else [],
                amplitude=round(amplitude, 2),
                line_ratio=round(line, 3),
                muscle_ratio=round(muscle, 3),
                drift=round(drift, 1),
            )
            for label, bad, doubt, good, amplitude, line, muscle, drift in zip(
                self._labels, *(column.tolist() for column in columns), strict=True
            )
        ]
