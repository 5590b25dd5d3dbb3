"""Training data from the live pipeline: conditioned and aligned as the model's input will be.

Each recording runs through a pipeline of its own, with a window due at every sample. Those of a trial are kept, a tenth of a
second apart, aligned by the matrix of that moment. Trials are decided at the contract's own hops, as they are live.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import ArgumentError, RecordingError
from mindwire.evaluation.pseudo_online import Progress, RunSettings, file_sha256, signal_problems
from mindwire.live.warm_start import NoDecoder
from mindwire.offline.covered_time import CoveredTime
from mindwire.offline.trial_end import TrialEnd, find_trial_end
from mindwire.offline.trials import Trial, check_marker_map, left_out_markers, trials_from_markers
from mindwire.pipeline import Pipeline
from mindwire.signal.events import doubts, warn_of
from mindwire.sources.recording import Recording, open_recording
from mindwire.types import SUSPECT, Reason, Window
from mindwire_models.contract import Contract

_WINDOW_STEP_SECONDS = 0.1
# Share of its length that a window may reach beyond a trial's end; docs/training.md has the comparison.
SLIDE = 0.18
START_OF_RECORDING, END_OF_RECORDING = "start_of_recording", "end_of_recording"


@dataclass(frozen=True, slots=True)
class TrialSpan:
    """Part of a trial that counts, in seconds since its cue, and when the newest window decides it.

    Windows may reach ``slide`` beyond the end of a trial that is hardly longer than they are.
    """

    offset: float
    length: float
    decided_at: float
    slide: float = 0.0

    def __post_init__(self) -> None:
        if self.slide < 0:
            msg = f"Expected windows to reach at least 0 s beyond a trial's end, found {self.slide:g} s; see --slide."
            raise ArgumentError(msg)
        if self.offset < 0 or self.length <= 0 or self.decided_at <= 0:
            msg = (
                "Expected a trial's offset of at least 0 s, its length and moment of decision above 0 s, found "
                f"{self.offset:g}, {self.length:g} and {self.decided_at:g}."
            )
            raise ArgumentError(msg)

    def window_ends(self, contract: Contract) -> tuple[float, float]:
        """Return when the first and the last window of a trial end, in seconds since its cue.

        The first ends when the trial fills it (or it holds all of the trial). The last ends with the trial, or
        ``slide`` after the first if that is later.
        """
        first = self.offset + min(contract.window_samples / contract.sfreq, self.length)
        return first, max(self.offset + self.length, first + self.slide)


@dataclass(frozen=True, slots=True)
class RecordedTrials:
    """Windows to train on, of one or several recordings.

    Parameters
    ----------
    windows : ndarray of float32, shape (n_windows, n_chans, n_times)
        Valid windows of the trials, conditioned and aligned.
    trial : ndarray of int, shape (n_windows,)
        Trial of each window, counted over all cued trials.
    deciding : ndarray of float32, shape (n_decided, n_chans, n_times)
        The window that decides a trial, where it is valid.
    decided : ndarray of int, shape (n_decided,)
        Trial of each of these.
    labels, recording : ndarray of int, shape (n_cued,)
        Class and recording of every cued trial.
    left_out : dict of str to int
        Trials without any valid window, each by the most frequent reason.
    classes : tuple of str
    decided_at : float
        Seconds after its cue at which a trial is decided.
    powers : ndarray of float64, shape (n_decided, n_chans)
        Power of each electrode in the deciding windows in decibels, before the alignment.
    """

    windows: NDArray[np.float32]
    trial: NDArray[np.intp]
    deciding: NDArray[np.float32]
    decided: NDArray[np.intp]
    labels: NDArray[np.intp]
    recording: NDArray[np.intp]
    left_out: dict[str, int]
    classes: tuple[str, ...]
    decided_at: float
    powers: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def why_left_out(self) -> str:
        """Reasons of the trials without a window, with their counts, the most frequent first."""
        ordered = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in ordered)

    @property
    def usable(self) -> NDArray[np.intp]:
        """Trials with at least one valid window, ascending."""
        return np.unique(self.trial)


@dataclass(frozen=True, slots=True)
class RecordingSource:
    """Recording that was trained on: numbers of trials, of those with a window, of those with a cue outside the signal.

    ``left_out`` are the labels of markers of no class, ``problems`` sentences on damage of the file and interruptions,
    ``troubled`` the share of time in which an electrode was bad or suspect, by label.
    """

    path: Path
    sha256: str
    n_cued: int
    n_usable: int
    n_outside: int
    left_out: tuple[str, ...]
    problems: tuple[str, ...]
    troubled: Mapping[str, float] = field(default_factory=dict)


class _Collector:
    """Windows of the trials of one recording, in the order of its cues."""

    def __init__(self, trials: Sequence[Trial], span: TrialSpan, contract: Contract) -> None:
        self._contract = contract
        self.labels = np.array([contract.classes.index(trial.label) for trial in trials], dtype=np.intp)
        tolerance = 0.5 / contract.sfreq
        cues = np.array([trial.cue for trial in trials])
        first, last = span.window_ends(contract)
        self._first, self._last = cues + first - tolerance, cues + last + tolerance
        self._decided_at = cues + span.decided_at + tolerance
        self._oldest = self._decided_at - 1.5 * contract.hop_samples / contract.sfreq
        self._step = _WINDOW_STEP_SECONDS - tolerance
        self.kept: list[list[NDArray[np.float32]]] = [[] for _ in trials]
        self.deciding: list[NDArray[np.float32] | None] = [None for _ in trials]
        self.powers: list[NDArray[np.float64] | None] = [None for _ in trials]
        self._newest = np.full(len(trials), -np.inf)
        self._reasons: list[Counter[str]] = [Counter() for _ in trials]

    def take(self, windows: Sequence[Window]) -> None:
        """Keep the windows that belong to a trial."""
        times = np.array([window.time for window in windows])
        for trial, i in np.argwhere((self._first[:, None] <= times) & (times <= self._last[:, None])).tolist():
            self._keep(trial, windows[i])
        for trial, i in np.argwhere((self._oldest[:, None] <= times) & (times <= self._decided_at[:, None])).tolist():
            window = windows[i]
            if (window.end - self._contract.window_samples) % self._contract.hop_samples == 0:
                self.deciding[trial] = _aligned(window) if window.valid else None
                self.powers[trial] = _powers(window) if window.valid else None

    def _keep(self, trial: int, window: Window) -> None:
        if not window.valid:
            reason = window.reasons & ~SUSPECT
            # Filters settle at the start and after gaps; then the gap is the cause.
            after_gap = bool(window.segment) and reason == Reason.SETTLING
            self._reasons[trial].update((Reason.GAP if after_gap else Reason(reason)).labels)
        elif window.time >= self._newest[trial] + self._step:
            self._newest[trial] = window.time
            self.kept[trial].append(_aligned(window))

    def left_out(self, extent: tuple[float, float]) -> Counter[str]:
        """Count the trials without a window by reason; ``extent`` is when the recording began and ended."""
        return Counter(self._why_none(i, extent) for i, windows in enumerate(self.kept) if not windows)

    def _why_none(self, trial: int, extent: tuple[float, float]) -> str:
        if self._reasons[trial]:
            return self._reasons[trial].most_common(1)[0][0]
        if self._first[trial] > extent[1]:
            return END_OF_RECORDING
        if self._last[trial] < extent[0] + self._contract.window_samples / self._contract.sfreq:
            return START_OF_RECORDING
        return Reason.GAP.labels[0]


def _aligned(window: Window) -> NDArray[np.float32]:
    return np.ascontiguousarray(window.alignment @ window.samples.T)


def _powers(window: Window) -> NDArray[np.float64]:
    """Return the power of each electrode in decibels."""
    variances = window.samples.astype(np.float64).var(axis=0)
    return np.asarray(10 * np.log10(np.maximum(variances, np.finfo(np.float64).tiny)))


def open_trials(
    paths: Sequence[Path], classes: Sequence[str], settings: RunSettings
) -> tuple[list[Recording], list[list[Trial]], TrialEnd]:
    """Open recordings and find the trials of each, and when trials end according to the markers."""
    recordings = [open_recording(path) for path in paths]
    markers = [recording.markers(settings.marker_stream) for recording in recordings]
    where = "the recording" if len(paths) == 1 else "the set of recordings"
    check_marker_map(settings.markers, classes, [m for some in markers for m in some], where)
    trials = [
        trials_from_markers(some, classes, settings.markers, where=str(recording.path))
        for recording, some in zip(recordings, markers, strict=True)
    ]
    return recordings, trials, find_trial_end(markers, trials)


def collect_trials(
    recordings: Sequence[Recording],
    trials: Sequence[Sequence[Trial]],
    contract: Contract,
    span: TrialSpan,
    *,
    settings: RunSettings,
    progress: Progress | None = None,
    hashes: Mapping[Path, str] | None = None,
) -> tuple[RecordedTrials, list[RecordingSource]]:
    """Run recordings through the live pipeline and keep the windows of their trials; progress counts samples.

    ``hashes`` are those of the recordings, where they are known.

    A RecordingError says that no trial has a valid window.
    """
    total = sum(recording.signal(settings.stream).n_samples for recording in recordings)
    done = 0
    collectors, sources = [], []
    left_out: Counter[str] = Counter()
    doubtful: list[str] = []
    for recording, cued in zip(recordings, trials, strict=True):
        signal = recording.signal(settings.stream)
        collector, covered = _Collector(cued, span, contract), CoveredTime()
        decoder = NoDecoder(len(contract.classes))
        pipeline = Pipeline(contract, signal.info, decoder, replace(settings.pipeline, hop_samples=1))
        for chunk in signal.chunks():
            collector.take(pipeline.advance(chunk))
            covered.take(chunk.times)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        pipeline.finish()
        collectors.append(collector)
        left_out += collector.left_out(covered.extent)
        events, markers = pipeline.drain_events(), recording.markers(settings.marker_stream)
        sources.append(
            RecordingSource(
                path=recording.path,
                sha256=file_sha256(recording.path) if hashes is None else hashes[recording.path],
                n_cued=len(cued),
                n_usable=sum(map(bool, collector.kept)),
                n_outside=covered.count_outside(cued, str(recording.path)),
                left_out=tuple(left_out_markers(markers, contract.classes, settings.markers)),
                problems=signal_problems(recording, events),
                troubled=pipeline.conditioner.meter.troubled_shares(),
            )
        )
        found = doubts(events)
        warn_of(found, str(recording.path))
        doubtful += found
    kept = [windows for one in collectors for windows in one.kept]
    deciding = [window for one in collectors for window in one.deciding]
    powers = [power for one in collectors for power in one.powers if power is not None]
    shape = (-1, contract.n_channels, contract.window_samples)
    data = RecordedTrials(
        windows=np.array([window for windows in kept for window in windows], dtype=np.float32).reshape(shape),
        trial=np.repeat(np.arange(len(kept)), [len(windows) for windows in kept]),
        deciding=np.array([window for window in deciding if window is not None], dtype=np.float32).reshape(shape),
        decided=np.flatnonzero([window is not None for window in deciding]),
        labels=np.concatenate([one.labels for one in collectors]),
        recording=np.repeat(np.arange(len(collectors)), [len(one.labels) for one in collectors]),
        left_out=dict(left_out),
        classes=contract.classes,
        decided_at=span.decided_at,
        powers=np.array(powers).reshape(-1, contract.n_channels),
    )
    if not len(data.windows):
        then = "Mend what is said above." if doubtful else "Record longer trials, or choose a shorter --window."
        msg = (
            f"None of the {len(data.labels)} trials has a valid window of "
            f"{contract.window_samples / contract.sfreq:g} s: {data.why_left_out}. {then}"
        )
        raise RecordingError(msg)
    return data, sources
