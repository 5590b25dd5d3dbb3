"""Sessions of BCI Competition IV data set 2a, from the competition's GDF files or the BNCI Horizon 2020 MAT files.

Each of nine people was recorded on two days, ``A01T`` to train and ``A01E`` to evaluate, in six runs of 48 trials
each. The GDF files of the second days hold no classes: those lie in MAT files of the same name.

References
----------
Brunner et al. 2008, "BCI Competition 2008 - Graz data set A".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from mindwire.errors import MissingExtraError, RecordingError, UsageError
from mindwire.sources.recording import RecordedSignal, RecordedStream, Selector
from mindwire.types import Chunk, Marker, Reason, SignalInfo
from mindwire_models.presets import BCIC2A_CHANNELS

CLASSES = ("left_hand", "right_hand", "feet", "tongue")  # in the order of their numbers, 1 to 4
_NAME = re.compile(r"A0*(?P<person>[1-9][0-9]*)(?P<day>[TE])", re.IGNORECASE)
_CUE_SECONDS = 2.0  # after the trial's start, which is what the MAT files state
_CUES = {"769": 0, "770": 1, "771": 2, "772": 3}
_UNKNOWN_CUE = "783"
_NEW_RUN = "32766"
_N_CHANNELS = len(BCIC2A_CHANNELS)
_BETWEEN_RUNS_SECONDS = 60.0
_CHUNK_SAMPLES = 250


@dataclass(frozen=True, slots=True)
class Run:
    """One run: signal, cues, classes.

    Parameters
    ----------
    samples : ndarray of float64, shape (n_samples, 22)
        In microvolt.
    cues : ndarray of int, shape (n_trials,)
        Sample at which each trial's cue appears.
    labels : ndarray of int, shape (n_trials,)
        Index into :data:`CLASSES`.
    """

    samples: NDArray[np.float64]
    cues: NDArray[np.intp]
    labels: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Session:
    """One person on one day; also a recording, so that the live pipeline can be run over it.

    Parameters
    ----------
    path : Path
    person : int
    day : {"T", "E"}
    sfreq : float
    runs : tuple of Run
        Those with trials.
    """

    path: Path
    person: int
    day: Literal["T", "E"]
    sfreq: float
    runs: tuple[Run, ...]

    @property
    def info(self) -> SignalInfo:
        """The signal as a source would describe it."""
        return SignalInfo(
            name=self.path.stem,
            type="EEG",
            sfreq=self.sfreq,
            n_channels=_N_CHANNELS,
            labels=BCIC2A_CHANNELS,
            units=("microvolts",) * _N_CHANNELS,
            dtype="double64",
        )

    @property
    def n_samples(self) -> int:
        """Samples of all runs."""
        return sum(len(run.samples) for run in self.runs)

    @property
    def streams(self) -> tuple[RecordedStream, ...]:
        """The signal."""
        return (RecordedStream(1, self.info, self.n_samples),)

    @property
    def problems(self) -> tuple[str, ...]:
        """None."""
        return ()

    def _starts(self) -> NDArray[np.float64]:
        """Return the start of each run in seconds, shape (n_runs,)."""
        lengths = [len(run.samples) / self.sfreq + _BETWEEN_RUNS_SECONDS for run in self.runs]
        return np.cumsum([0.0, *lengths[:-1]])

    def markers(self, stream: str | None = None) -> list[Marker]:
        """Each cue with the name of its class."""
        del stream
        return [
            Marker(float(start + cue / self.sfreq), CLASSES[label])
            for start, run in zip(self._starts(), self.runs, strict=True)
            for cue, label in zip(run.cues, run.labels, strict=True)
        ]

    def signal(self, selector: Selector | None = None) -> RecordedSignal:
        """The session itself, as a source of chunks."""
        del selector
        return self

    def source(self, stream_id: int) -> RecordedSignal:
        """The session itself, as a source of chunks."""
        del stream_id
        return self

    def chunks(self) -> Iterator[Chunk]:
        """Yield all runs in chunks of one second, with a gap between runs."""
        for number, (start, run) in enumerate(zip(self._starts(), self.runs, strict=True)):
            times = start + np.arange(len(run.samples)) / self.sfreq
            for at in range(0, len(times), _CHUNK_SAMPLES):
                piece = slice(at, at + _CHUNK_SAMPLES)
                discontinuity = Reason.GAP if number and not at else Reason.NONE
                yield Chunk(run.samples[piece], times[piece], discontinuity)


def read_sessions(paths: Sequence[Path]) -> list[tuple[Session, Session]]:
    """Read the files of one or several people.

    Parameters
    ----------
    paths : sequence of Path
        ``A01T.gdf``, ``A01E.gdf`` or ``A01T.mat``, ``A01E.mat`` for each person; a GDF file of the second day needs
        the MAT file of the same name, with its classes, in the same folder.

    Returns
    -------
    list of (Session, Session)
        First and second day of each person, in the order of their numbers.

    Raises
    ------
    UsageError
        A file name does not give person and day, or one day of a person is missing.
    RecordingError
        A file cannot be read or is not of this data set.
    MissingExtraError
        A GDF file needs MNE-Python, which is not installed.
    """
    sessions: dict[tuple[int, str], Session] = {}
    for path in paths:
        person, day = _person_and_day(path)
        if (person, day) in sessions:
            msg = f"{path}: the session A{person:02d}{day} is given twice; leave one out."
            raise UsageError(msg)
        sessions[person, day] = read_session(path)
    people = sorted({person for person, _ in sessions})
    for person in people:
        missing = [day for day in "TE" if (person, day) not in sessions]
        if missing:
            msg = f"Expected both days of person {person}, but A{person:02d}{missing[0]} is missing; add that file."
            raise UsageError(msg)
    return [(sessions[person, "T"], sessions[person, "E"]) for person in people]


def _person_and_day(path: Path) -> tuple[int, Literal["T", "E"]]:
    match = _NAME.match(path.name)
    if match is None or path.suffix.casefold() not in {".gdf", ".mat"}:
        msg = f"{path}: expected a file of BCI Competition IV 2a, such as A01T.gdf, A01E.gdf, A01T.mat or A01E.mat."
        raise UsageError(msg)
    return int(match["person"]), "T" if match["day"].upper() == "T" else "E"


def read_session(path: Path) -> Session:
    """Read one file; see :func:`read_sessions`."""
    person, day = _person_and_day(path)
    sfreq, runs = _read_gdf(path) if path.suffix.casefold() == ".gdf" else _read_mat(path)
    runs = [run for run in runs if len(run.cues)]
    if not runs:
        msg = f"{path}: expected trials of motor imagery, found none; is it a file of BCI Competition IV 2a?"
        raise RecordingError(msg)
    return Session(path, person, day, sfreq, tuple(runs))


def _load(path: Path) -> Mapping[str, Any]:
    try:
        return dict(loadmat(path, squeeze_me=True, struct_as_record=False))
    # SciPy's parser raises exceptions of any type on damaged files.
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        msg = f"{path}: expected a MAT file, but it cannot be read ({reason})."
        raise RecordingError(msg) from error


def _read_mat(path: Path) -> tuple[float, list[Run]]:
    cells = np.atleast_1d(np.asarray(_load(path).get("data", ()), dtype=object))
    runs, rates = [], set()
    try:
        for cell in cells:
            rates.add(float(cell.fs))
            starts = np.atleast_1d(cell.trial).astype(np.intp) - 1
            labels = np.atleast_1d(cell.y).astype(np.intp) - 1
            samples = np.asarray(cell.X, dtype=np.float64)[:, :_N_CHANNELS]
            runs.append(_run(path, samples, starts + round(_CUE_SECONDS * float(cell.fs)), labels))
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        msg = (
            f"{path}: expected runs with X, trial, y and fs, the layout of BNCI Horizon 2020, but found another layout."
        )
        raise RecordingError(msg) from error
    if len(rates) != 1:
        msg = f"{path}: expected runs of one sampling rate in a cell array 'data', found {sorted(rates) or 'none'}."
        raise RecordingError(msg)
    return rates.pop(), runs


def _run(path: Path, samples: NDArray[np.float64], cues: NDArray[np.intp], labels: NDArray[np.intp]) -> Run:
    if samples.ndim != 2 or samples.shape[1] != _N_CHANNELS or len(cues) != len(labels):
        msg = (
            f"{path}: expected {_N_CHANNELS} EEG channels and a class for each trial, found {samples.shape} samples, "
            f"{len(cues)} trials and {len(labels)} classes."
        )
        raise RecordingError(msg)
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(CLASSES)):
        msg = f"{path}: expected the classes 1 to 4, found {labels.min() + 1} to {labels.max() + 1}."
        raise RecordingError(msg)
    return Run(np.ascontiguousarray(samples), cues, labels)


def _read_gdf(path: Path) -> tuple[float, list[Run]]:
    try:
        import mne
    except ImportError as error:
        msg = f"{path}: reading GDF needs MNE-Python, which is not installed; pip install '.[train]' in Mindwire's folder."
        raise MissingExtraError(msg) from error
    try:
        raw = mne.io.read_raw_gdf(path, preload=True, verbose="ERROR")
    # MNE-Python's parsers raise exceptions of any type on damaged files.
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        msg = f"{path}: expected a GDF file; MNE says: {reason}"
        raise RecordingError(msg) from error
    sfreq = float(raw.info["sfreq"])
    samples = np.asarray(raw.get_data(), dtype=np.float64)[:_N_CHANNELS].T * 1e6
    at = np.rint((raw.annotations.onset - raw.first_time) * sfreq).astype(np.intp)
    codes = np.array([str(label) for label in raw.annotations.description])
    is_cue = np.isin(codes, [*_CUES, _UNKNOWN_CUE])
    order = np.argsort(at[is_cue], kind="stable")
    cues = at[is_cue][order]
    labels = _gdf_labels(path, codes[is_cue][order])
    return sfreq, list(_split(path, samples, at[codes == _NEW_RUN], cues, labels))


def _gdf_labels(path: Path, codes: NDArray[Any]) -> NDArray[np.intp]:
    if _UNKNOWN_CUE not in codes:
        return np.array([_CUES[code] for code in codes], dtype=np.intp)
    labels_path = path.with_suffix(".mat")
    if not labels_path.exists():
        msg = f"{path} holds no classes; put the competition's {labels_path.name} with the true labels into the same folder."
        raise RecordingError(msg)
    labels = np.atleast_1d(_load(labels_path).get("classlabel", ())).astype(np.intp) - 1
    if len(labels) != len(codes):
        msg = f"{labels_path}: expected 'classlabel' with a class for each of {len(codes)} trials, found {len(labels)}."
        raise RecordingError(msg)
    return labels


def _split(
    path: Path, samples: NDArray[np.float64], starts: NDArray[np.intp], cues: NDArray[np.intp], labels: NDArray[np.intp]
) -> Iterator[Run]:
    """Yield the runs of a GDF file, which are separated by filler samples."""
    # Filler samples are NaN, or the minimum of every channel at once.
    missing = ~np.isfinite(samples).all(axis=1) | (samples == np.nanmin(samples, axis=0)).all(axis=1)
    edges = np.flatnonzero(np.diff(missing)) + 1
    bounds = np.unique(np.concatenate([[0], starts, edges, [len(samples)]]))
    for begin, end in pairwise(bounds):
        inside = (cues >= begin) & (cues < end)
        if not missing[begin] and inside.any():
            yield _run(path, samples[begin:end], cues[inside] - begin, labels[inside])
