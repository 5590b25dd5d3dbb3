"""Recordings in any format that MNE-Python reads, with their annotations as markers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import MissingExtraError, RecordingError, StreamNotFoundError
from service.sources.recording import RecordedSignal, RecordedStream, Selector, choose_signal
from service.types import Chunk, Marker, Reason, SignalInfo

_CHUNK_SECONDS = 1.0
# A recording's own description of a stretch without data.
_NO_DATA = ("bad_acq_skip", "edge boundary", "bad boundary", "boundary")


class MneRecording:
    """A recording that :func:`mne.io.read_raw` opens, read in pieces from disk.

    Times count in seconds from the recording's first sample, as MNE's do.

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
                "pip install 'mindwire[train]'."
            )
            raise MissingExtraError(msg) from error
        self.path = Path(path)
        try:
            self._raw: Any = mne.io.read_raw(self.path, preload=False, verbose="ERROR")
        # MNE's readers raise whatever their parsers stumble over.
        except Exception as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            msg = f"{path}: expected a recording in XDF or a format that MNE-Python reads; MNE says: {reason}"
            raise RecordingError(msg) from error
        self._picks = np.asarray(mne.pick_types(self._raw.info, eeg=True, exclude=()))
        labels = tuple(str(self._raw.ch_names[pick]) for pick in self._picks)
        self._info = SignalInfo(
            name=self.path.name,
            type="EEG",
            sfreq=float(self._raw.info["sfreq"]),
            n_channels=len(labels),
            labels=labels,
            units=("V",) * len(labels),  # MNE converts to volts
            dtype="double64",
        )

    @property
    def streams(self) -> tuple[RecordedStream, ...]:
        """The EEG channels as one stream, and the annotations."""
        eeg = RecordedStream(1, self._info, len(self._raw.times) if len(self._picks) else 0, 0.0)
        annotations = self._raw.annotations
        info = SignalInfo(name="annotations", type="Markers", sfreq=0.0, n_channels=1, dtype="string")
        first = float(annotations.onset[0]) - self._raw.first_time if len(annotations) else None
        return (eeg, RecordedStream(2, info, len(annotations), first))

    @property
    def problems(self) -> tuple[str, ...]:
        """None: MNE either reads a file or refuses it."""
        return ()

    def markers(self, stream: str | None = None) -> list[Marker]:
        """The annotations, each at its onset.

        Parameters
        ----------
        stream : str or None
            None or ``annotations``.

        Returns
        -------
        list of Marker

        Raises
        ------
        StreamNotFoundError
            Another name was given.
        """
        if stream not in (None, "annotations"):
            msg = f"{self.path}: expected a marker stream named {stream!r}, found 'annotations'."
            raise StreamNotFoundError(msg)
        annotations = self._raw.annotations
        found = [
            Marker(float(onset) - self._raw.first_time, str(label))
            for onset, label in zip(annotations.onset, annotations.description, strict=True)
        ]
        return sorted(found, key=lambda marker: marker.time)

    def signal(self, selector: Selector | None = None) -> RecordedSignal:
        """The EEG channels as a source of chunks.

        Raises
        ------
        StreamNotFoundError
            The selector asks for another stream.
        RecordingError
            There are no EEG channels.
        """
        return self.source(choose_signal(self.path, self.streams, selector).stream_id)

    def source(self, stream_id: int) -> RecordedSignal:
        """The EEG channels (1) or the annotations (2)."""
        if stream_id == 1:
            return MneSource(self._raw, self._picks, self._info)
        return _MarkerSource(self.streams[1].info, tuple(self.markers()))


class MneSource:
    """The EEG channels of an MNE recording; made by :meth:`MneRecording.signal`."""

    def __init__(self, raw: Any, picks: np.ndarray, info: SignalInfo) -> None:
        self._raw = raw
        self._picks = picks
        self._info = info

    @property
    def info(self) -> SignalInfo:
        """What the recording says of the signal."""
        return self._info

    @property
    def n_samples(self) -> int:
        """Samples in the recording."""
        return len(self._raw.times)

    def chunks(self) -> Iterator[Chunk]:
        """The samples from the beginning in pieces of a second, in volts; may be called again.

        Yields
        ------
        Chunk
            Stretches that the recording marks as not acquired are left out, and ``broken`` is ``GAP`` behind them.
        """
        size = max(1, int(self._info.sfreq * _CHUNK_SECONDS))
        keep = self._acquired()
        times = self._raw.times
        skipped = False
        for start in range(0, len(times), size):
            stop = min(start + size, len(times))
            edges = np.flatnonzero(np.diff(keep[start:stop])) + 1
            samples = self._raw[self._picks, start:stop][0].T
            for piece in np.split(np.arange(stop - start), edges):
                if not keep[start + piece[0]]:
                    skipped = True
                    continue
                broken = Reason.GAP if skipped and start + piece[0] > 0 else Reason.NONE
                yield Chunk(samples[piece], times[start + piece], broken)
                skipped = False

    def _acquired(self) -> np.ndarray:
        """Which samples were recorded, by the recording's own annotations."""
        keep = np.ones(len(self._raw.times), dtype=bool)
        annotations = self._raw.annotations
        for onset, duration, label in zip(
            annotations.onset, annotations.duration, annotations.description, strict=True
        ):
            if str(label).casefold() in _NO_DATA and duration > 0:
                first = self._raw.time_as_index(max(onset - self._raw.first_time, 0.0), use_rounding=True)[0]
                keep[first : first + round(duration * self._info.sfreq)] = False
        return keep


@dataclass(frozen=True, slots=True)
class _MarkerSource:
    """Annotations as chunks of strings."""

    info: SignalInfo
    markers: tuple[Marker, ...]

    @property
    def n_samples(self) -> int:
        return len(self.markers)

    def chunks(self) -> Iterator[Chunk]:
        if self.markers:
            labels = np.array([[marker.label] for marker in self.markers], dtype=object)
            yield Chunk(labels, np.array([marker.time for marker in self.markers]))
