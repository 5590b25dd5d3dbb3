"""Training data made by the live pipeline: what trains a model is conditioned and aligned as what it will get.

Each recording runs through a pipeline of its own from beginning to end; of the windows that fall due,
those inside a trial are kept, aligned by the matrix of that moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.contract import Contract
from service.covered_time import CoveredTime
from service.errors import ArgumentError, RecordingError
from service.evaluation import MISSING
from service.pipeline import Pipeline
from service.pseudo_online import Progress, RunSettings, file_sha256
from service.sources.recording import Recording, open_recording
from service.trials import Trial, check_marker_map, left_out_markers, trials_from_markers
from service.types import SUSPECT, Marker, Reason, Window

_SAME_CUE_SECONDS = 0.5
_LONGEST_TRIAL_SECONDS = 5.0
_WINDOW_STEP_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class TrialSpan:
    """Which part of a trial counts, in seconds since its cue.

    Parameters
    ----------
    offset : float
        Where it begins.
    length : float
    decided_at : float
        When a trial is decided: by the newest window that ended by then.
    """

    offset: float
    length: float
    decided_at: float

    def __post_init__(self) -> None:
        if self.offset < 0 or self.length <= 0 or self.decided_at <= 0:
            msg = (
                "Expected a trial's offset of at least 0 s, its length and moment of decision above 0 s, found "
                f"{self.offset:g}, {self.length:g} and {self.decided_at:g}."
            )
            raise ArgumentError(msg)


@dataclass(frozen=True, slots=True)
class RecordedTrials:
    """What one or several recordings give to train on.

    Parameters
    ----------
    windows : ndarray of float32, shape (n_windows, n_chans, n_times)
        Valid windows inside the trials, conditioned and aligned.
    trial : ndarray of int, shape (n_windows,)
        Trial of each window, counted over all cued trials.
    deciding : ndarray of float32, shape (n_decided, n_chans, n_times)
        The window that decides a trial, where it is valid.
    decided : ndarray of int, shape (n_decided,)
        Trial of each of these.
    labels, recording : ndarray of int, shape (n_cued,)
        Class and recording of every cued trial.
    left_out : dict of str to int
        Trials without any valid window, by the reasons of their windows.
    """

    windows: NDArray[np.float32]
    trial: NDArray[np.intp]
    deciding: NDArray[np.float32]
    decided: NDArray[np.intp]
    labels: NDArray[np.intp]
    recording: NDArray[np.intp]
    left_out: dict[str, int]

    @classmethod
    def join(cls, parts: Sequence[RecordedTrials]) -> RecordedTrials:
        """Several recordings as one set; trials and recordings are counted on."""
        trials = np.cumsum([0, *(len(part.labels) for part in parts)])
        recordings = np.cumsum([0, *(int(part.recording.max(initial=-1)) + 1 for part in parts)])
        left_out: Counter[str] = Counter()
        for part in parts:
            left_out.update(part.left_out)
        return cls(
            windows=np.concatenate([part.windows for part in parts]),
            trial=np.concatenate([part.trial + n for part, n in zip(parts, trials, strict=False)]),
            deciding=np.concatenate([part.deciding for part in parts]),
            decided=np.concatenate([part.decided + n for part, n in zip(parts, trials, strict=False)]),
            labels=np.concatenate([part.labels for part in parts]),
            recording=np.concatenate([part.recording + n for part, n in zip(parts, recordings, strict=False)]),
            left_out=dict(left_out),
        )

    @property
    def usable(self) -> NDArray[np.intp]:
        """Trials with at least one valid window, ascending."""
        return np.unique(self.trial)


@dataclass(frozen=True, slots=True)
class RecordingSource:
    """One recording that was trained on.

    Parameters
    ----------
    file, sha256 : str
        Path as given, and hash of its bytes.
    n_cued, n_usable, n_outside : int
        Trials, those that gave a window, and those whose cue lies where there is no signal.
    left_out : tuple of str
        Labels of the markers that stand for none of the classes.
    """

    file: str
    sha256: str
    n_cued: int
    n_usable: int
    n_outside: int = 0
    left_out: tuple[str, ...] = ()


class _Collector:
    """A decoder that keeps the windows of trials and knows nothing of their classes."""

    engine = device = reason = ""

    def __init__(self, trials: Sequence[Trial], span: TrialSpan, contract: Contract) -> None:
        self._n_classes = len(contract.classes)
        tolerance = 0.5 / contract.sfreq
        cues = np.array([trial.cue for trial in trials])
        inside = min(contract.window_samples / contract.sfreq, span.length)
        self._first = cues + span.offset + inside - tolerance
        self._last = cues + span.offset + span.length + tolerance
        self._decided_at = cues + span.decided_at + tolerance
        self._max_age = 1.5 * contract.hop_samples / contract.sfreq
        self._step = _WINDOW_STEP_SECONDS - tolerance
        self._shape = (contract.n_channels, contract.window_samples)
        self.kept: list[list[NDArray[np.float32]]] = [[] for _ in trials]
        self.deciding: list[NDArray[np.float32] | None] = [None for _ in trials]
        self._newest = np.full(len(trials), -np.inf)
        self._reasons: list[Counter[str]] = [Counter() for _ in trials]

    def session(self) -> None:
        """Nothing of a stream needs to be remembered."""

    def decode(self, sessions: Sequence[None], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Keep the windows that belong to a trial; the logits are of no use."""
        del sessions
        for window in windows:
            self._take(window)
        return np.zeros((len(windows), self._n_classes), dtype=np.float32)

    def _take(self, window: Window) -> None:
        time = window.time
        inside = (self._first <= time) & (time <= self._last)
        deciding = (self._decided_at - self._max_age <= time) & (time <= self._decided_at)
        if not (inside | deciding).any():
            return
        aligned = None
        if window.valid:
            aligned = np.ascontiguousarray(window.alignment @ window.samples.T)
        for index in np.flatnonzero(deciding):
            self.deciding[index] = aligned
        for index in np.flatnonzero(inside):
            if aligned is None:
                self._reasons[index].update(Reason(window.reasons & ~SUSPECT).labels)
            elif time >= self._newest[index] + self._step:
                self._newest[index] = time
                self.kept[index].append(aligned)

    def collected(self, labels: NDArray[np.intp]) -> RecordedTrials:
        """Everything kept, as arrays."""
        windows = [window for kept in self.kept for window in kept]
        decisions = [(i, window) for i, window in enumerate(self.deciding) if window is not None]
        left_out: Counter[str] = Counter()
        for kept, reasons in zip(self.kept, self._reasons, strict=True):
            if not kept:
                left_out.update(set(reasons) or {MISSING})
        empty = np.empty((0, *self._shape), dtype=np.float32)
        return RecordedTrials(
            windows=np.stack(windows) if windows else empty,
            trial=np.repeat(np.arange(len(self.kept)), [len(kept) for kept in self.kept]),
            deciding=np.stack([window for _, window in decisions]) if decisions else empty,
            decided=np.array([index for index, _ in decisions], dtype=np.intp),
            labels=labels,
            recording=np.zeros(len(labels), dtype=np.intp),
            left_out=dict(left_out),
        )


def default_length(markers: Sequence[Sequence[Marker]], trials: Sequence[Sequence[Trial]]) -> float:
    """Length of a trial in seconds when nobody states it: the median time to the next marker, at most 5 s.

    Markers within half a second of the cue belong to it.
    """
    gaps = []
    for some, cued in zip(markers, trials, strict=True):
        times = np.sort([marker.time for marker in some])
        cues = np.array([trial.cue for trial in cued])
        following = np.searchsorted(times, cues + _SAME_CUE_SECONDS)
        there = following < len(times)
        gaps += (times[following[there]] - cues[there]).tolist()
    return min(_LONGEST_TRIAL_SECONDS, float(np.median(gaps))) if gaps else _LONGEST_TRIAL_SECONDS


def open_trials(
    paths: Sequence[Path], classes: Sequence[str], settings: RunSettings
) -> tuple[list[Recording], list[list[Trial]], float]:
    """Open recordings and find their trials.

    Parameters
    ----------
    paths : sequence of Path
    classes : sequence of str
    settings : RunSettings

    Returns
    -------
    recordings : list of Recording
    trials : list of list of Trial
        Per recording.
    length : float
        What :func:`default_length` makes of them, in seconds.

    Raises
    ------
    RecordingError
        A recording cannot be read or has no trial.
    UsageError
        The marker map names an unknown class or label.
    """
    recordings = [open_recording(path) for path in paths]
    markers = [recording.markers(settings.marker_stream) for recording in recordings]
    where = "the recording" if len(paths) == 1 else "the set of recordings"
    check_marker_map(settings.markers, classes, [m for some in markers for m in some], where)
    trials = [
        trials_from_markers(some, classes, settings.markers, where=str(recording.path))
        for recording, some in zip(recordings, markers, strict=True)
    ]
    return recordings, trials, default_length(markers, trials)


def collect_trials(
    recordings: Sequence[Recording],
    trials: Sequence[Sequence[Trial]],
    contract: Contract,
    span: TrialSpan,
    *,
    settings: RunSettings,
    progress: Progress | None = None,
) -> tuple[RecordedTrials, list[RecordingSource]]:
    """Run recordings through the live pipeline and keep the windows of their trials.

    Parameters
    ----------
    recordings : sequence of Recording
    trials : sequence of sequence of Trial
        Per recording.
    contract : Contract
    span : TrialSpan
    settings : RunSettings
    progress : callable, optional
        Told the samples done and the samples in all.

    Returns
    -------
    data : RecordedTrials
    sources : list of RecordingSource

    Raises
    ------
    ContractError
        A recording's signal cannot meet the contract.
    RecordingError
        No trial of any recording has a valid window.
    """
    total = sum(recording.signal(settings.stream).n_samples for recording in recordings)
    done = 0

    def taken(n_samples: int) -> None:
        nonlocal done
        done += n_samples
        if progress is not None:
            progress(done, total)

    parts, sources = [], []
    for recording, cued in zip(recordings, trials, strict=True):
        part, n_outside = _collect(recording, cued, contract, span, settings=settings, taken=taken)
        parts.append(part)
        sources.append(
            RecordingSource(
                file=str(recording.path),
                sha256=file_sha256(recording.path),
                n_cued=len(part.labels),
                n_usable=len(part.usable),
                n_outside=n_outside,
                left_out=tuple(
                    left_out_markers(recording.markers(settings.marker_stream), contract.classes, settings.markers)
                ),
            )
        )
    data = RecordedTrials.join(parts)
    if not len(data.windows):
        reasons = ", ".join(f"{name.replace('_', ' ')} ({count} trials)" for name, count in data.left_out.items())
        msg = (
            f"None of the {len(data.labels)} trials has a valid window of "
            f"{contract.window_samples / contract.sfreq:g} s: {reasons}. Record anew, or choose a shorter --window."
        )
        raise RecordingError(msg)
    return data, sources


def _collect(
    recording: Recording,
    trials: Sequence[Trial],
    contract: Contract,
    span: TrialSpan,
    *,
    settings: RunSettings,
    taken: Callable[[int], None],
) -> tuple[RecordedTrials, int]:
    """Windows of a recording's trials, and how many trials' cues lie where there is no signal."""
    signal = recording.signal(settings.stream)
    collector = _Collector(trials, span, contract)
    pipeline = Pipeline(contract, signal.info, collector, settings.pipeline)
    covered = CoveredTime()
    for chunk in signal.chunks():
        pipeline.process(chunk)
        covered.take(chunk.times)
        taken(len(chunk))
    pipeline.finish()
    labels = np.array([contract.classes.index(trial.label) for trial in trials], dtype=np.intp)
    return collector.collected(labels), covered.count_outside(trials, str(recording.path))
