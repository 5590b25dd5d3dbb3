"""Simulated EEG of a person imagining movements, for demonstrations and tests.

It resembles EEG where that matters to a motor-imagery decoder: a 1/f background correlated across the head, mu and beta rhythms
over the sensorimotor strip that desynchronise where the imagined limb is represented, and the artefacts of real recordings
(blinks, muscle bursts, drifts, line noise). It does not predict how well a model decodes real EEG.

Signals are generated in blocks of one second, so the samples of a seed are the same in chunks of any size.

References
----------
Pfurtscheller & Lopes da Silva 1999, "Event-related EEG/MEG synchronization and desynchronization: basic
principles", https://doi.org/10.1016/S1388-2457(99)00141-8
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from mindwire.errors import ArgumentError
from mindwire.sources.board import REST
from mindwire.types import Chunk, Marker, SignalInfo
from mindwire_models.electrodes import on_sphere, positions, spread
from mindwire_models.presets import BCIC2A_CHANNELS

Floats = NDArray[np.float64]

# Julius O. Smith, "Spectral Audio Signal Processing": three poles and zeros whose response is 1/f in power.
_PINK_B = (0.049922035, -0.095993537, 0.050612699, -0.004408786)
_PINK_A = (1.0, -2.494956002, 2.017265875, -0.522189400)

# Where the limbs are represented: (degrees from the vertex, degrees from the nose), left to right.
_AREAS = ((60.0, -82.0), (36.0, -90.0), (8.0, 180.0), (36.0, 90.0), (60.0, 82.0))
# Desynchronisation of these areas by each imagery, as a share of the participant's depth; negative: synchronisation.
_DESYNCHRONISATION = {
    "feet": (0.0, -0.2, 1.0, -0.2, 0.0),
    "left_hand": (0.0, 0.2, -0.15, 1.0, 0.15),
    "right_hand": (0.15, 1.0, -0.15, 0.2, 0.0),
    "tongue": (1.0, 0.1, -0.1, 0.1, 1.0),
}
CLASSES = tuple(_DESYNCHRONISATION)
EYES_CLOSED = "eyes_closed"  # what an intention returns for closed eyes

_N_BACKGROUND = 32
_BACKGROUND_UV = 8.0
_SENSOR_UV = 0.7
_DRIFT_UV = 25.0
_DRIFT_SECONDS = 15.0
_LINE_UV = 3.0
_BLINK_UV = 140.0
_MUSCLE_UV = 18.0
_EYES_CLOSED_GAIN = 3.0  # of the amplitude of the occipital alpha
_GAIN_SECONDS = 0.15  # time constant of a rhythm's amplitude
# Shortest and longest rest before a cue, and time from the cue to the end of the imagery.
_REST_SECONDS = (2.0, 3.0)
_IMAGERY_SECONDS = (4.2, 5.0)
_ASK_EVERY_S = 0.1


class Intention(Protocol):
    """Imagery that does not follow cues, for instance of a participant who reacts to decisions."""

    def imagined(self, time: float) -> str | None:
        """Return the class imagined from a time on, in seconds of the signal, ``eyes_closed``, or None for rest; times ascend."""
        ...

    def drain_markers(self) -> list[Marker]:
        """Return the markers since the last call."""
        ...


class Artefacts(Flag):
    """Artefacts other than line noise."""

    NONE = 0
    BLINKS = auto()
    MUSCLE = auto()
    DRIFT = auto()
    ALL = BLINKS | MUSCLE | DRIFT


@dataclass(frozen=True, slots=True)
class _Trial:
    """One imagery from its first sample, a reaction time after the cue, to the one after its last."""

    label: str
    start: int
    stop: int
    depth: float  # share by which the amplitude of the most affected area falls


@dataclass(frozen=True, slots=True)
class _Burst:
    """An artefact: one waveform, and its weight in each channel."""

    start: int
    waveform: Floats
    weights: Floats

    @property
    def stop(self) -> int:
        return self.start + len(self.waveform)


@dataclass(slots=True)
class _LowPass:
    """First-order low-pass filter of columns."""

    pole: float
    state: NDArray[Any]

    def filter(self, values: NDArray[Any]) -> NDArray[Any]:
        """Filter the next rows."""
        filtered: NDArray[Any]
        filtered, self.state = lfilter([1.0], [1.0, -self.pole], values, axis=0, zi=self.state)
        return filtered


class Simulator:
    """EEG of a participant who follows cues or an intention; the same arguments give the same samples.

    Parameters
    ----------
    seed : int
        Of the participant (rhythms, their places and strengths), the noise and the order of the trials.
    sfreq : float
        Sampling rate in hertz.
    channels : sequence of str
        Labels of the 10-10 system.
    line_freq : float or None
        Frequency of the line noise in hertz; None for none.
    artefacts : Artefacts
    name : str
        Name of the signal.
    rest_s : float
        Length of a run of rest before each round of eight trials, in seconds; 0 for none.
    depth : float or None
        Share by which imagery lowers the amplitude of the most affected rhythm; None draws it from 0.72 to 0.9. Real
        imagery often lowers the power of these rhythms by a half, the amplitude by 0.3.
    intention : Intention or None
        Imagery instead of cued trials. It is asked every 0.1 s, and the signal is generated in blocks of that length.

    Raises
    ------
    ArgumentError
        A channel is unknown, or a rate or frequency is out of range.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        sfreq: float = 250.0,
        channels: Sequence[str] = BCIC2A_CHANNELS,
        line_freq: float | None = 50.0,
        artefacts: Artefacts = Artefacts.ALL,
        name: str = "Mindwire-Simulator",
        rest_s: float = 0.0,
        depth: float | None = None,
        intention: Intention | None = None,
    ) -> None:
        _check(seed, sfreq, channels, line_freq)
        _check_imagery(rest_s, depth)
        self.seed = seed
        self.sfreq = float(sfreq)
        self.info = SignalInfo(
            name=name,
            type="EEG",
            sfreq=self.sfreq,
            n_channels=len(channels),
            labels=tuple(channels),
            units=("microvolts",) * len(channels),
        )
        person, noise, events, trials = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4))
        self._noise_rng, self._event_rng, self._trial_rng = noise, events, trials
        self._artefacts = artefacts
        self._intention = intention
        self._imagined: str | None = None
        self._rest_samples = round(rest_s * self.sfreq)
        self._block_samples = (
            max(round(self.sfreq), 8) if intention is None else max(round(self.sfreq * _ASK_EVERY_S), 1)
        )
        self._electrodes = positions(channels)
        self._make_person(person, line_freq)
        if depth is not None:
            self._depth = depth

        self.samples_read = 0
        self._made = 0  # samples generated
        self._rest = np.empty((0, len(channels)), np.float32)  # those not read yet
        self._trials: deque[_Trial] = deque()
        self._markers: deque[tuple[int, str]] = deque()
        self._labels: deque[str] = deque()
        self._bursts: list[_Burst] = []
        self._next_cue = self._after(0, _REST_SECONDS, trials)
        self._next_blink = self._after(0, (1.0, 6.0), events)
        self._next_muscle = self._after(0, (5.0, 60.0), events)

    def read(self, n_samples: int) -> Chunk:
        """Return the next samples: float32 in µV, at the sample's number divided by ``sfreq``."""
        stop = self.samples_read + n_samples
        blocks = [self._rest]
        while self._made < stop:
            blocks.append(self._make_block())
        samples = np.concatenate(blocks)
        times = np.arange(self.samples_read, stop) / self.sfreq
        self.samples_read, self._rest = stop, samples[n_samples:]
        return Chunk(samples[:n_samples], times)

    def drain_markers(self) -> list[Marker]:
        """Return the cues among the samples read since the last call, stamped at their onset."""
        due = []
        while self._markers and self._markers[0][0] < self.samples_read:
            cue, label = self._markers.popleft()
            due.append(Marker(cue / self.sfreq, label))
        return due

    def _after(self, sample: int, seconds: tuple[float, float], rng: np.random.Generator) -> int:
        return sample + round(rng.uniform(*seconds) * self.sfreq)

    def _make_person(self, rng: np.random.Generator, line_freq: float | None) -> None:
        """Draw everything about the participant, the cap and the room that does not change."""
        n_areas, n_channels = len(_AREAS), len(self._electrodes)
        radians_per_hertz = 2 * np.pi / self.sfreq

        # Rhythms: mu and beta of each area, then one occipital alpha that no imagery touches.
        places = np.stack([on_sphere(p + rng.normal(0, 2.0), a + rng.normal(0, 4.0)) for p, a in _AREAS])
        occiput = on_sphere(66.0, 180.0 + rng.normal(0, 6.0))[None]
        mu = rng.uniform(9.8, 12.0) + rng.normal(0, 0.25, n_areas)
        beta = rng.uniform(18.0, 23.0) + rng.normal(0, 0.5, n_areas)
        freqs = np.concatenate([mu, beta, [mu.mean() - 0.7]])
        strength = rng.uniform(0.85, 1.15, n_areas)
        microvolts = np.concatenate([8.0 * strength, 3.5 * strength, [rng.uniform(6.0, 10.0)]])
        near = spread(self._electrodes, places, 16.0)
        self._rhythm_mix = np.hstack([near, near, spread(self._electrodes, occiput, 28.0)]) * microvolts
        self._rhythm_step = radians_per_hertz * freqs
        self._rhythm_phase = rng.uniform(0, 2 * np.pi, len(freqs))
        self._depth = rng.uniform(0.72, 0.9)

        # A rhythm is low-pass noise in the complex plane, rotated at the rhythm's frequency: its amplitude varies within
        # about half a second, as that of real ones.
        self._waxing = _LowPass(math.exp(-radians_per_hertz * 0.8), np.zeros((1, len(freqs)), complex))

        golden = np.pi * (3 - math.sqrt(5))
        heights = 1 - (np.arange(_N_BACKGROUND) + 0.5) / _N_BACKGROUND * 1.3
        cortex = np.stack([on_sphere(np.degrees(np.arccos(z)), np.degrees(golden * k)) for k, z in enumerate(heights)])
        background = spread(self._electrodes, cortex, 32.0) * rng.uniform(0.7, 1.3, _N_BACKGROUND)
        impulse = np.zeros(round(20 * self.sfreq))
        impulse[0] = 1.0
        pink_rms = math.sqrt(float(np.sum(lfilter(_PINK_B, _PINK_A, impulse) ** 2)))
        rms = np.linalg.norm(background, axis=1, keepdims=True) * pink_rms
        self._background_mix = background / rms * _BACKGROUND_UV
        self._pink_state = np.zeros((len(_PINK_A) - 1, _N_BACKGROUND))

        pole = math.exp(-1 / (_DRIFT_SECONDS * self.sfreq))
        self._drift_uv = _DRIFT_UV * rng.uniform(0.5, 1.5, n_channels)
        self._drift = _LowPass(pole, rng.standard_normal((1, n_channels)) * pole)
        self._line_step = None if line_freq is None else radians_per_hertz * line_freq
        self._line = _LINE_UV * rng.uniform(0.5, 1.5, n_channels) * np.exp(1j * rng.normal(0.0, 0.6, n_channels))

        pole = math.exp(-1 / (_GAIN_SECONDS * self.sfreq))
        self._gain = _LowPass(pole, np.full((1, n_areas), pole))
        self._alpha_gain = _LowPass(pole, np.full((1, 1), pole))
        eyes = np.stack([on_sphere(86.0, -16.0), on_sphere(86.0, 16.0)])
        self._blink_weights = spread(self._electrodes, eyes, 24.0).sum(axis=1) / 1.2

    def _make_block(self) -> NDArray[np.float32]:
        start, n = self._made, self._block_samples
        stop = start + n
        rng = self._noise_rng
        self._schedule(stop)

        white = rng.standard_normal((n, _N_BACKGROUND))
        pink, self._pink_state = lfilter(_PINK_B, _PINK_A, white, axis=0, zi=self._pink_state)
        samples: Floats = pink @ self._background_mix.T
        samples += _SENSOR_UV * rng.standard_normal(samples.shape)

        drive = rng.standard_normal((n, len(self._rhythm_step), 2)).view(complex)[..., 0]
        waxing = self._waxing.filter(drive * math.sqrt(1 - self._waxing.pole**2))
        index = np.arange(start, stop)[:, None]
        rhythms = (waxing * np.exp(1j * (self._rhythm_step * index + self._rhythm_phase))).real
        gain = self._gains(start, stop)
        rhythms[:, :-1] *= np.hstack([gain, gain])
        if self._intention is not None:
            alpha = np.full((n, 1), _EYES_CLOSED_GAIN if self._imagined == EYES_CLOSED else 1.0)
            rhythms[:, -1:] *= self._alpha_gain.filter(alpha * (1 - self._alpha_gain.pole))
        samples += rhythms @ self._rhythm_mix.T

        if self._line_step is not None:
            samples += (np.exp(1j * self._line_step * index) * self._line).real
        if Artefacts.DRIFT in self._artefacts:
            kick = rng.standard_normal(samples.shape) * math.sqrt(1 - self._drift.pole**2)
            samples += self._drift.filter(kick) * self._drift_uv
        for burst in self._bursts:
            first, last = max(burst.start, start), min(burst.stop, stop)
            if first < last:
                waveform = burst.waveform[first - burst.start : last - burst.start]
                samples[first - start : last - start] += waveform[:, None] * burst.weights
        self._bursts = [burst for burst in self._bursts if burst.stop > stop]
        self._made = stop
        return samples.astype(np.float32)

    def _gains(self, start: int, stop: int) -> Floats:
        """Gain of each area's rhythms, ``(n_samples, n_areas)``: one at rest."""
        target = np.ones((stop - start, len(_AREAS)))
        if self._intention is not None:
            self._imagined = label = self._intention.imagined(start / self.sfreq)
            self._markers.extend((round(m.time * self.sfreq), m.label) for m in self._intention.drain_markers())
            if label is not None and label != EYES_CLOSED:
                target -= self._depth * np.array(_DESYNCHRONISATION[label])
        for trial in self._trials:
            first, last = max(trial.start, start), min(trial.stop, stop)
            if first < last:
                target[first - start : last - start] -= trial.depth * np.array(_DESYNCHRONISATION[trial.label])
        while self._trials and self._trials[0].stop <= stop:
            self._trials.popleft()
        return self._gain.filter(target * (1 - self._gain.pole))

    def _schedule(self, stop: int) -> None:
        """Plan trials and artefacts that begin before sample ``stop``."""
        while self._intention is None and (cue := self._next_cue) < stop:
            if not self._labels:  # each class twice in random order, so that the next one cannot be guessed
                self._labels.extend(str(label) for label in self._trial_rng.permutation(CLASSES * 2))
                if self._rest_samples:
                    self._markers.append((cue, REST))
                    self._next_cue += self._rest_samples
                    continue
            label = self._labels.popleft()
            end = self._after(cue, _IMAGERY_SECONDS, self._trial_rng)
            reaction = self._after(cue, (0.2, 0.4), self._trial_rng)
            depth = min(self._depth + self._trial_rng.normal(0, 0.04), 0.97)
            self._trials.append(_Trial(label, reaction, end, depth))
            self._markers.append((cue, label))
            self._next_cue = self._after(end, _REST_SECONDS, self._trial_rng)
        rng = self._event_rng
        while self._next_blink < stop:
            if Artefacts.BLINKS in self._artefacts:
                n = round(rng.uniform(0.25, 0.4) * self.sfreq)
                waveform = _BLINK_UV * rng.uniform(0.6, 1.3) * np.hanning(n + 2)[1:-1] ** 2
                self._bursts.append(_Burst(self._next_blink, waveform, self._blink_weights))
            self._next_blink = self._after(self._next_blink, (1.5, 8.0), rng)
        while self._next_muscle < stop:
            if Artefacts.MUSCLE in self._artefacts:
                n = round(rng.uniform(0.3, 1.2) * self.sfreq)
                place = on_sphere(80.0, rng.choice((-1.0, 1.0)) * rng.uniform(60.0, 110.0))[None]
                # The difference of white noise: the power of muscles lies at high frequencies.
                waveform = _MUSCLE_UV * np.diff(rng.standard_normal(n + 1)) / math.sqrt(2) * np.hanning(n + 2)[1:-1]
                self._bursts.append(_Burst(self._next_muscle, waveform, spread(self._electrodes, place, 25.0)[:, 0]))
            self._next_muscle = self._after(self._next_muscle, (10.0, 60.0), rng)


def _check(seed: int, sfreq: float, channels: Sequence[str], line_freq: float | None) -> None:
    msg = ""
    if seed < 0:
        msg = f"A seed must be zero or larger, found {seed}."
    elif not 64 <= sfreq <= 20_000:
        msg = f"The sampling rate must lie between 64 and 20000 Hz to carry the rhythms, found {sfreq:g} Hz."
    elif not channels:
        msg = "The simulator needs at least one channel, found none; give labels of the 10-10 system such as C3."
    elif len({label.casefold() for label in channels}) < len(channels):
        msg = f"Each channel may be named once, found {', '.join(channels)}."
    elif line_freq is not None and not 0 < line_freq < sfreq / 2:
        nyquist = f"half the sampling rate ({sfreq / 2:g} Hz)"
        msg = f"The line noise must lie between 0 and {nyquist}, found {line_freq:g} Hz."
    if msg:
        raise ArgumentError(msg)


def _check_imagery(rest_s: float, depth: float | None) -> None:
    msg = ""
    if not 0 <= rest_s <= 3600:
        msg = f"A run of rest must last 0 to 3600 s, found {rest_s:g}."
    elif depth is not None and not 0 <= depth <= 1:
        msg = f"The depth of the imagery must lie between 0 and 1, found {depth:g}."
    if msg:
        raise ArgumentError(msg)
