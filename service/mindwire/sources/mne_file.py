"""Recordings in any format that MNE-Python reads, with their annotations or stimulus channels as markers."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import MindwireError, MissingExtraError, RecordingError, StreamNotFoundError
from mindwire.sources.edf_header import EdfHeader
from mindwire.sources.markers import MarkerReader, merge_markers, tidy_label
from mindwire.sources.mne_cuts import Timeline, is_cut, timeline_of_annotations, timeline_of_records
from mindwire.sources.recorded_stream import FORMATS, RecordedSignal, RecordedStream, Selector, choose_signal
from mindwire.types import Chunk, Marker, Reason, SignalInfo

_CHUNK_SECONDS = 1.0
_ANNOTATIONS = "annotations"
_MAT_SECONDS = 120.0
# What MNE-Python does with the file: variables are read, and skipped.
_READ_MAT = """
import sys
from contextlib import suppress
from scipy.io import loadmat, whosmat
for read in loadmat, whosmat, lambda path: loadmat(path, variable_names=["-"]):
    with suppress(Exception):
        read(sys.argv[1])
"""
_STATED_UNITS = (".edf", ".bdf", ".gdf")
# BioSemi keeps its own bits above these.
_TRIGGER_BITS = 0xFFFF


class MneRecording:
    """A recording that :func:`mne.io.read_raw` opens, read in pieces from disk.

    Times are seconds from the recording's first sample, with the pauses whose length the file states. Values are in the unit
    that the file states, or in microvolts where its format fixes it.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    RecordingError
        MNE cannot open the file.
    MissingExtraError
        MNE is not installed.
    """

    def __init__(self, path: Path | str) -> None:
        try:
            import mne
        except ImportError as error:
            msg = (
                f"{path} is no XDF recording, and other formats take MNE-Python, which is not installed; "
                "pip install '.[train]' in Mindwire's folder."
            )
            raise MissingExtraError(msg) from error
        self.path = Path(path)
        self._header = EdfHeader.read(self.path) if self.path.suffix.casefold() in _STATED_UNITS else None
        if self.path.suffix.casefold() == ".set":
            _require_sound_mat(self.path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._raw: Any = mne.io.read_raw(self.path, preload=False, verbose="ERROR")
                self._describe(mne)
        except MindwireError:
            raise
        # MNE's readers raise whatever their parsers stumble over.
        except Exception as error:
            msg = f"{path}: expected a recording in {FORMATS}, found something else or a damaged file{_reason(error)}."
            raise RecordingError(msg) from error

    def _describe(self, mne: Any) -> None:
        """Read channels, units, times and annotations."""
        info = self._raw.info
        self._picks = np.asarray(mne.pick_types(info, eeg=True, exclude=()))
        self._stims = {
            str(info["ch_names"][pick]): int(pick) for pick in mne.pick_types(info, meg=False, stim=True, exclude=())
        }
        header = self._header
        units, self._factors = _units(self._raw, self._picks, header, self.path.suffix.casefold())
        labels = tuple(str(info["ch_names"][pick]) for pick in self._picks)
        self._info = SignalInfo(
            name=self.path.name,
            type="EEG",
            sfreq=float(info["sfreq"]),
            n_channels=len(labels),
            labels=labels,
            units=units,
            dtype="double64",
        )
        n = len(self._raw.times)
        records = None if header is None else header.paused_records()
        if header is not None and records is not None:
            onsets, annotations = records
            self._timeline = timeline_of_records(header, onsets, self._info.sfreq, n)
            found = [(onset, text) for onset, _, text in annotations]
        else:
            self._timeline = timeline_of_annotations(self._raw, self.path)
            own = self._raw.annotations
            found = [
                (self._timeline.of(float(onset) - self._raw.first_time), str(label))
                for onset, label in zip(own.onset, own.description, strict=True)
            ]
        suffix = self.path.suffix.casefold()
        events = [
            Marker(time, tidy_label(text)) for time, text in found if math.isfinite(time) and not is_cut(text, suffix)
        ]
        self._annotated = tuple(sorted(events, key=lambda marker: marker.time))

    @property
    def streams(self) -> tuple[RecordedStream, ...]:
        """EEG channels as one stream, and the markers."""
        eeg = RecordedStream(1, self._info, len(self._raw.times) if len(self._picks) else 0, 0.0)
        markers = self.markers()
        info = SignalInfo(name=_ANNOTATIONS, type="Markers", sfreq=0.0, n_channels=1, dtype="string")
        return (eeg, RecordedStream(2, info, len(markers), markers[0].time if markers else None))

    @property
    def problems(self) -> tuple[str, ...]:
        """Empty: MNE either reads a file or refuses it."""
        return ()

    @cached_property
    def _stimuli(self) -> list[Marker]:
        """Events of all stimulus channels."""
        return merge_markers(self._levels(pick) for pick in self._stims.values())

    def markers(self, stream: str | None = None) -> list[Marker]:
        """Return the annotations, each at its onset; where there is no cue among them, the stimulus channels' events.

        ``stream`` is ``annotations``, or the label of a stimulus channel.

        Raises
        ------
        StreamNotFoundError
            There is no stream of that name.
        """
        if stream == _ANNOTATIONS or (stream is None and any(_is_cue(marker) for marker in self._annotated)):
            return list(self._annotated)
        if stream is not None and stream not in self._stims:
            there = ", ".join(map(repr, (_ANNOTATIONS, *self._stims)))
            msg = f"{self.path}: expected a marker stream named {stream!r}, found {there}."
            raise StreamNotFoundError(msg)
        found = [*self._stimuli, *self._annotated] if stream is None else self._levels(self._stims[stream])
        return sorted(found, key=lambda marker: marker.time)

    def _levels(self, pick: int) -> list[Marker]:
        values = _read(self._raw, [pick], 0, len(self._raw.times), self.path)[:, 0]
        if self.path.suffix.casefold() == ".bdf":
            values = np.asarray(np.nan_to_num(values).astype(np.int64) & _TRIGGER_BITS, dtype=float)
        reader = MarkerReader(replace(self._info, type="stim", n_channels=1, labels=None), started=False)
        return reader.read(values[:, None], self._timeline.at(np.arange(len(values))))

    def signal(self, selector: Selector | None = None) -> RecordedSignal:
        """Return the EEG channels as a source of chunks."""
        return self.source(choose_signal(self.path, self.streams, selector).stream_id)

    def source(self, stream_id: int) -> RecordedSignal:
        """Return the EEG channels (1) or the markers (2)."""
        if stream_id == 1:
            return MneSource(self.path, self._raw, self._picks, self._info, self._factors, self._timeline)
        return _MarkerSource(self.streams[1].info, tuple(self.markers()))


@dataclass(frozen=True, slots=True)
class MneSource:
    """EEG channels of an MNE recording; made by :meth:`MneRecording.signal`."""

    path: Path
    raw: Any
    picks: NDArray[np.intp]
    info: SignalInfo
    factors: NDArray[np.float64]
    timeline: Timeline

    @property
    def n_samples(self) -> int:
        """Samples in the recording."""
        return len(self.raw.times)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the samples from the beginning in pieces of a second; may be called again.

        Yields
        ------
        Chunk
            Samples that the recording marks as not acquired are left out; a ``GAP`` precedes the chunk after them, and
            wherever else samples are missing.
        """
        size = max(1, int(self.info.sfreq * _CHUNK_SECONDS))
        keep, breaks = self.timeline.kept, self.timeline.breaks()
        gap = begun = False
        for start in range(0, self.n_samples, size):
            stop = min(start + size, self.n_samples)
            inside = breaks[(breaks > start) & (breaks < stop)] - start
            edges = np.union1d(np.flatnonzero(np.diff(keep[start:stop])) + 1, inside)
            samples = _read(self.raw, self.picks, start, stop, self.path) / self.factors
            for piece in np.split(np.arange(stop - start), edges):
                first = start + int(piece[0])
                gap |= bool(np.isin(first, breaks)) or not keep[first]
                if keep[first]:
                    reason = Reason.GAP if gap and begun else Reason.NONE
                    yield Chunk(samples[piece], self.timeline.at(start + piece), reason)
                    gap, begun = False, True


@dataclass(frozen=True, slots=True)
class _MarkerSource:
    """Markers as chunks of strings."""

    info: SignalInfo
    markers: tuple[Marker, ...]

    @property
    def n_samples(self) -> int:
        return len(self.markers)

    def chunks(self) -> Iterator[Chunk]:
        if self.markers:
            labels = np.array([[marker.label] for marker in self.markers], dtype=object)
            yield Chunk(labels, np.array([marker.time for marker in self.markers]))


def _read(raw: Any, picks: Any, start: int, stop: int, path: Path) -> NDArray[np.float64]:
    """Read samples as MNE gives them, ``(n_samples, n_channels)``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(raw[picks, start:stop][0].T)
    # MNE's readers raise whatever they stumble over in a damaged file.
    except Exception as error:
        msg = f"{path}: the samples from {start} on cannot be read{_reason(error)}; is the file whole?"
        raise RecordingError(msg) from error


def _require_sound_mat(path: Path) -> None:
    """Read an EEGLAB file in a process of its own first: some damage makes SciPy's reader end the process."""
    command = [sys.executable, "-P", "-c", _READ_MAT, str(path)]
    try:
        status = subprocess.run(command, capture_output=True, check=False, timeout=_MAT_SECONDS).returncode
    except subprocess.TimeoutExpired:
        status = -1
    if status < 0:
        msg = f"{path}: expected an EEGLAB recording, found a damaged file, which cannot be read; use another copy."
        raise RecordingError(msg)


def _reason(error: Exception) -> str:
    """Return MNE's message, where it is readable."""
    text = next(iter(str(error).splitlines()), "").strip()
    if not text or not text.isprintable() or isinstance(error, TypeError | AttributeError | KeyError | IndexError):
        return ""
    return f" (MNE-Python: {text[:150].rstrip('.')})"


def _is_cue(marker: Marker) -> bool:
    """Return true if an annotation may be a paradigm's, and does not mark bad signal."""
    text = marker.label.strip().casefold()
    return bool(text) and not text.startswith(("bad", "edge"))


def _units(
    raw: Any, picks: NDArray[np.intp], header: EdfHeader | None, suffix: str
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the unit that the file states for each channel, and MNE's factor for the file's values."""
    if header is not None:
        # MNE takes what has no unit, or one that it does not know, for volts.
        if len(header.units) != len(raw.ch_names):
            return ("",) * len(picks), np.ones(len(picks))
        return tuple(header.units[pick] for pick in picks), np.array([header.factors[pick] for pick in picks])
    if suffix in (".fif", ".gz"):
        volts = [str(raw.info["chs"][pick]["unit"]).endswith("(FIFF_UNIT_V)") for pick in picks]
        return tuple("V" if known else "" for known in volts), np.ones(len(picks))
    return ("uV",) * len(picks), np.full(len(picks), 1e-6)
