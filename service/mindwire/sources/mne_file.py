"""Recordings in any format that MNE-Python reads, with their annotations or stimulus channels as markers."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import MindwireError, MissingExtraError, RecordingError, StreamNotFoundError
from mindwire.sources.edf_header import EdfHeader
from mindwire.sources.markers import MarkerReader, merge_markers, tidy_label
from mindwire.sources.mne_cuts import cut, timeline_of_annotations, timeline_of_records
from mindwire.sources.recorded_stream import FORMATS, RecordedSignal, RecordedStream, Recording
from mindwire.types import Chunk, Marker, Reason, SignalInfo

_CHUNK_SECONDS = 1.0
_ANNOTATIONS = "annotations"
_MAT_SECONDS = 120.0
# What MNE-Python does with the file: variables are read, and skipped. Version 7.3 (HDF5) has another reader.
_READ_MAT = """
import sys
from contextlib import suppress
from scipy.io import loadmat, whosmat
with suppress(NotImplementedError):
    for read in loadmat, whosmat, lambda path: loadmat(path, variable_names=["-"]):
        read(sys.argv[1])
"""
# BioSemi keeps its own bits above these.
_TRIGGER_BITS = 0xFFFF


class MneRecording(Recording):
    """A recording that :func:`mne.io.read_raw` opens, read in pieces from disk.

    Times are seconds from the recording's first sample, with the pauses whose length the file states. Values are in the unit
    that the file states, or in microvolts where its format fixes it.

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
        self._suffix = self.path.suffix.casefold()
        header = EdfHeader.read(self.path) if self._suffix in (".edf", ".bdf", ".gdf") else None
        if self._suffix == ".set":
            _require_sound_mat(self.path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._raw: Any = mne.io.read_raw(self.path, preload=False, verbose="ERROR")
                self._describe(mne, header)
        except MindwireError:
            raise
        # MNE's readers raise whatever their parsers stumble over.
        except Exception as error:
            msg = f"{path}: expected a recording in {FORMATS}, found something else or a damaged file{_reason(error)}."
            raise RecordingError(msg) from error

    def _describe(self, mne: Any, header: EdfHeader | None) -> None:
        """Read channels, units, times and annotations."""
        raw, info = self._raw, self._raw.info
        self._picks = np.asarray(mne.pick_types(info, eeg=True, exclude=()))
        stims = mne.pick_types(info, meg=False, stim=True, exclude=())
        self._stims = {str(info["ch_names"][pick]): int(pick) for pick in stims}
        units, self._factors = _units(raw, self._picks, header, self._suffix)
        self._info = SignalInfo(
            name=self.path.name,
            type="EEG",
            sfreq=float(info["sfreq"]),
            n_channels=len(self._picks),
            labels=tuple(str(info["ch_names"][pick]) for pick in self._picks),
            units=units,
            dtype="double64",
        )
        self._n = len(raw.times)
        records = None if header is None else header.paused_records()
        if header is not None and records is not None:
            onsets, found = records
            self._timeline = timeline_of_records(header, onsets, self._info.sfreq, self._n)
        else:
            self._timeline = timeline_of_annotations(raw, self.path)
            times = (self._timeline.of(float(onset) - raw.first_time) for onset in raw.annotations.onset)
            found = list(zip(times, map(str, raw.annotations.description), strict=True))
        events = [(time, text) for time, text in found if math.isfinite(time) and not cut(text, self._suffix)]
        self._annotated = [Marker(time, tidy_label(text)) for time, text in sorted(events, key=itemgetter(0))]

    @cached_property
    def streams(self) -> tuple[RecordedStream, ...]:
        """EEG channels as one stream, and the markers."""
        info = SignalInfo(name=_ANNOTATIONS, type="Markers", sfreq=0.0, n_channels=1, dtype="string")
        eeg = RecordedStream(1, self._info, self._n if len(self._picks) else 0)
        return (eeg, RecordedStream(2, info, len(self.markers())))

    @cached_property
    def _stimuli(self) -> list[Marker]:
        """Events of all stimulus channels."""
        return merge_markers(self._levels(pick) for pick in self._stims.values())

    def markers(self, stream: str | None = None) -> list[Marker]:
        """Return the annotations (``annotations``) or a stimulus channel's events; by default those where cues are.

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
        values = self._read([pick], 0, self._n)[:, 0]
        if self._suffix == ".bdf":
            values = np.asarray(np.nan_to_num(values).astype(np.int64) & _TRIGGER_BITS, dtype=float)
        reader = MarkerReader(replace(self._info, type="stim", n_channels=1, labels=None), started=False)
        return reader.read(values[:, None], self._timeline.at(np.arange(len(values))))

    def source(self, stream_id: int) -> RecordedSignal:
        """Return the EEG channels (1) or the markers (2)."""
        chunks = self._chunks if stream_id == 1 else self._marker_chunks
        return RecordedSignal(self.streams[stream_id - 1].info, self.streams[stream_id - 1].n_samples, chunks)

    def _chunks(self) -> Iterator[Chunk]:
        """Yield the EEG channels in pieces of a second, without the samples that are marked as not acquired.

        A ``GAP`` precedes the chunk after these, and wherever else samples are missing.
        """
        size = max(1, int(self._info.sfreq * _CHUNK_SECONDS))
        keep, breaks = self._timeline.kept, self._timeline.breaks
        gap = begun = False
        for start in range(0, self._n, size):
            stop = min(start + size, self._n)
            inside = breaks[(breaks > start) & (breaks < stop)] - start
            edges = np.union1d(np.flatnonzero(np.diff(keep[start:stop])) + 1, inside)
            samples = self._read(self._picks, start, stop) / self._factors
            for piece in np.split(np.arange(stop - start), edges):
                first = start + int(piece[0])
                gap |= bool(np.isin(first, breaks)) or not keep[first]
                if keep[first]:
                    reason = Reason.GAP if gap and begun else Reason.NONE
                    yield Chunk(samples[piece], self._timeline.at(start + piece), reason)
                    gap, begun = False, True

    def _marker_chunks(self) -> Iterator[Chunk]:
        if markers := self.markers():
            labels = np.array([[marker.label] for marker in markers], dtype=object)
            yield Chunk(labels, np.array([marker.time for marker in markers]))

    def _read(self, picks: Any, start: int, stop: int) -> NDArray[np.float64]:
        """Read samples as MNE gives them, ``(n_samples, n_channels)``."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return np.asarray(self._raw[picks, start:stop][0].T)
        # MNE's readers raise whatever they stumble over in a damaged file.
        except Exception as error:
            msg = f"{self.path}: the samples from {start} on cannot be read{_reason(error)}; is the file whole?"
            raise RecordingError(msg) from error


def _require_sound_mat(path: Path) -> None:
    """Read an EEGLAB file in a process of its own first: some damage makes SciPy's reader end the process.

    What raises an error there may end the process here, so it is refused as well.
    """
    command = [sys.executable, "-P", "-c", _READ_MAT, str(path)]
    strict = {**os.environ, "PYTHONMALLOC": "debug"}  # else a reader that writes out of bounds may end well by chance
    try:
        status = subprocess.run(command, capture_output=True, check=False, timeout=_MAT_SECONDS, env=strict).returncode
    except subprocess.TimeoutExpired:
        status = -1
    if status < 0:
        msg = f"{path}: expected an EEGLAB recording, found a damaged file, which cannot be read; use another copy."
        raise RecordingError(msg)
    if status:
        msg = f"{path}: expected a recording in {FORMATS}, found something else or a damaged file; use another copy."
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
