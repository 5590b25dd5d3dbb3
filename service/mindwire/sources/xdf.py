"""Recordings in XDF, read as a stream of chunks: memory stays flat however long the file is.

A first pass over the chunks' headers makes the index; each reading of a signal is a second pass that decodes only that
signal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import RecordingError, StreamNotFoundError
from mindwire.sources.markers import MarkerReader, merge_markers, stim_channels
from mindwire.sources.own_input import OwnInput, input_parts, own_inputs, same_device
from mindwire.sources.recorded_stream import RecordedSignal, RecordedStream, Selector, choose_signal, first_problems
from mindwire.sources.xdf_chunks import Tag, walk
from mindwire.sources.xdf_clock import ClockTracker
from mindwire.sources.xdf_index import IndexedStream, Indexer, Problems, open_file
from mindwire.sources.xdf_samples import DamagedChunkError, SampleDecoder, Samples
from mindwire.types import Chunk, Marker, Reason, SignalInfo

# Seconds since 1970 in the years 2001 to 2100, as milliseconds.
_MILLISECONDS = 1e12, 4.1e12
# Jittered stamps step back a little within a stream; more than this is another order or another clock.
_MAX_BACKWARD_SECONDS = 0.25


class _File:
    """Index and problems of a file, shared by the sources of its signals."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems = Problems()
        index = Indexer(path, self.problems)
        self.size = index.size
        self.streams = index.streams

    def decode(self, decoders: Mapping[int, SampleDecoder]) -> Iterator[tuple[int, Samples]]:
        """Yield all samples of some streams in the order of the file, with the sender's stamps."""
        with open_file(self.path) as file:
            for chunk in walk(file, self.size):
                if chunk.tag is Tag.DAMAGE:
                    for decoder in decoders.values():  # the lost bytes may have been of any stream
                        decoder.skip()
                elif chunk.tag is Tag.SAMPLES and chunk.stream_id in decoders:
                    decoder = decoders[chunk.stream_id]
                    file.seek(chunk.offset)
                    try:
                        for samples in decoder.decode(file, chunk.length):
                            yield chunk.stream_id, samples
                    except DamagedChunkError as error:
                        self.problems.add(f"A chunk of samples at byte {chunk.offset} contradicts itself ({error})")
                        decoder.skip()


class XdfRecording:
    """A recording in XDF.

    Raises
    ------
    RecordingError
        The file cannot be opened, is no XDF, or holds no readable stream.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = _File(self.path)
        if not self._file.streams:
            msg = f"{path}: expected streams, found no readable stream header; the file is empty or damaged."
            raise RecordingError(msg)
        self._inputs = own_inputs(self.streams)
        for own in self._inputs:
            self._complete_device(own)

    def _complete_device(self, own: OwnInput) -> None:
        """Give the device's stream the channels, unit and rate that the service knew when it recorded."""
        device = same_device(self.streams, own.info)
        if device is None or own.info.original is None or device.info.n_channels != own.info.n_channels:
            return
        stream = self._file.streams[device.stream_id]
        info = replace(
            own.info, uid=device.info.uid, hostname=device.info.hostname, dtype=device.info.dtype, original=device.info
        )
        self._file.streams[device.stream_id] = replace(stream, recorded=replace(device, info=info))

    @property
    def streams(self) -> tuple[RecordedStream, ...]:
        """Streams in the order of the file."""
        return tuple(stream.recorded for stream in self._file.streams.values())

    @property
    def problems(self) -> tuple[str, ...]:
        """Damage that was left out, one sentence each; complete once everything has been read."""
        return self._file.problems.sentences()

    def markers(self, stream: str | None = None) -> list[Marker]:
        """Return markers in the order of their times.

        Parameters
        ----------
        stream : str or None
            Name, source id or number in the file of a marker stream, ``id=…`` and the like, or the label of a stimulus
            channel; None merges all marker streams, and takes stimulus channels where these hold nothing.

        Raises
        ------
        StreamNotFoundError
            There is no such stream.
        """
        there = {n: s for n, s in self._file.streams.items() if s.recorded.is_markers}
        if stream is None:
            return self._read_markers(there) or self._stim_markers(None)
        if chosen := {n: s for n, s in self._file.streams.items() if _is_named(s.recorded, stream)}:
            return self._read_markers(chosen)
        if found := self._stim_markers(stream):
            return found
        names = ", ".join(repr(s.recorded.info.name) for s in there.values()) or "none"
        msg = f"{self.path}: expected a marker stream named {stream!r}, found {names}.{first_problems(self.problems)}"
        raise StreamNotFoundError(msg)

    def _read_markers(self, streams: Mapping[int, IndexedStream]) -> list[Marker]:
        names = Counter(stream.recorded.info.name for stream in streams.values())
        readers = {}
        for number, stream in streams.items():
            info = stream.recorded.info
            readers[number] = MarkerReader(info, name=info.name if names[info.name] == 1 else f"id={number}")
        return merge_markers(self._markers_by(readers).values())

    def _stim_markers(self, label: str | None) -> list[Marker]:
        """Events of the stimulus channels within signals, of all or of one by its label."""
        readers: dict[int, MarkerReader] = {}
        for number, stream in self._file.streams.items():
            info = stream.recorded.info
            channels = [i for i in stim_channels(info) if label is None or (info.labels and info.labels[i] == label)]
            if channels and stream.recorded.is_signal:
                readers[number] = MarkerReader(info, channels, started=False)
        return merge_markers(self._markers_by(readers).values())

    def _markers_by(self, readers: Mapping[int, MarkerReader]) -> dict[int, list[Marker]]:
        """Markers of several streams, by their numbers in the file."""
        streams = {number: self._file.streams[number] for number in readers}
        trackers = {number: ClockTracker(stream.clock) for number, stream in streams.items()}
        found: dict[int, list[Marker]] = {number: [] for number in streams}
        for number, samples in self._file.decode({number: s.decoder() for number, s in streams.items()}):
            for start, times in trackers[number].apply(samples.times):
                found[number] += readers[number].read(samples.values[start : start + len(times)], times)
        return found

    def signal(self, selector: Selector | None = None) -> RecordedSignal:
        """Return the selected signal as a source of chunks; else that of a live run, or the only stream of type EEG.

        Raises
        ------
        StreamNotFoundError
            No stream matches, or several; the message lists all streams.
        RecordingError
            The stream is empty, or no signal.
        """
        own = self._own_input(selector)
        if own is None:
            return self.source(choose_signal(self.path, self.streams, selector, self.problems).stream_id)
        device = same_device(self.streams, own.info)
        if device is not None and device.n_samples and selector is None:
            return self.source(device.stream_id)
        return InputSource(self, own)

    def _own_input(self, selector: Selector | None) -> OwnInput | None:
        """Return the input of a live run's pipeline, where that is selected, or nothing is and there is one."""
        if selector is not None:
            chosen = [own for own in self._inputs if selector.matches(own.stream)]
            others = [stream for stream in self.streams if stream.is_signal and selector.matches(stream)]
            return chosen[0] if len(chosen) == 1 and not others else None
        return self._inputs[0] if len(self._inputs) == 1 else None

    def as_sent(self, stream_id: int) -> Iterator[Samples]:
        """Yield a stream's samples with its sender's own stamps, neither corrected nor checked."""
        decoder = self._file.streams[stream_id].decoder(check_times=False)
        for _, samples in self._file.decode({stream_id: decoder}):
            yield samples

    def source(self, stream_id: int) -> XdfSource:
        """Return a stream by its number in the file, whatever it holds."""
        return XdfSource(self._file, self._file.streams[stream_id])


class XdfSource:
    """One stream of a recording as a source of chunks; made by :meth:`XdfRecording.signal`."""

    def __init__(self, file: _File, stream: IndexedStream) -> None:
        self._file = file
        self._stream = stream

    @property
    def info(self) -> SignalInfo:
        """Description of the signal."""
        return self._stream.recorded.info

    @property
    def n_samples(self) -> int:
        """Number of samples as the file states it."""
        return self._stream.recorded.n_samples

    def chunks(self) -> Iterator[Chunk]:
        """Yield the samples from the beginning, in the order of the file; may be called again.

        Yields
        ------
        Chunk
            Stamps are in the recording computer's clock, not dejittered. A ``GAP`` precedes it after damage, a
            ``CLOCK_JUMP`` after a clock reset or where stamps run backwards.
        """
        tracker = ClockTracker(self._stream.clock)
        left = self._stream.limit if self._stream.limit is not None else self._file.size
        last: float | None = None
        decoder = self._stream.decoder()
        for _, samples in self._file.decode({self._stream.recorded.stream_id: decoder}):
            reason = Reason.GAP if samples.gap else Reason.NONE
            for position, (start, times) in enumerate(tracker.apply(samples.times)):
                if position:
                    reason |= Reason.CLOCK_JUMP
                values = samples.values[start : start + len(times)]
                for piece_values, piece_times in _forward_pieces(values[:left], times[:left]):
                    if last is None:
                        reason = Reason.NONE  # nothing precedes that could go on
                    elif piece_times[0] < last - _MAX_BACKWARD_SECONDS:
                        reason |= Reason.CLOCK_JUMP
                    yield Chunk(piece_values, piece_times, reason)
                    left -= len(piece_times)
                    last = float(piece_times[-1])
                    reason = Reason.NONE
        if last is None and decoder.refused is not None:
            in_milliseconds = _MILLISECONDS[0] < decoder.refused < _MILLISECONDS[1]
            guess = " they seem to be milliseconds since 1970;" if in_milliseconds else ""
            msg = (
                f"{self._file.path}: no time stamp of {self.info.name!r} can be seconds, {decoder.refused:.10g} for example;"
                f"{guess} correct them, in the file or where they are made."
            )
            raise RecordingError(msg)


class InputSource:
    """Input of a live run's pipeline as a source of chunks; the device's own stream may be missing."""

    def __init__(self, recording: XdfRecording, own: OwnInput) -> None:
        self.info = own.info
        self.n_samples = own.stream.n_samples
        self._recording = recording
        self._stream_id = own.stream.stream_id

    def chunks(self) -> Iterator[Chunk]:
        """Yield the samples from the beginning, with the times and discontinuities that the pipeline was given."""
        first = True
        for part in input_parts(self._recording.path, self._recording.as_sent(self._stream_id)):
            reason = part.chunk.discontinuity | (Reason.GAP if part.lost or part.begins else Reason.NONE)
            yield Chunk(part.chunk.samples, part.chunk.times, Reason.NONE if first else reason)
            first = False


def _is_named(stream: RecordedStream, text: str) -> bool:
    if text in (stream.info.name, stream.info.source_id, str(stream.stream_id)):
        return True
    return "=" in text and Selector.parse(text).matches(stream)


def _forward_pieces(
    values: NDArray[Any], times: NDArray[np.float64]
) -> Iterator[tuple[NDArray[Any], NDArray[np.float64]]]:
    """Cut where stamps step back further than jitter does."""
    if not len(times):
        return
    steps = times[1:] - times[:-1]
    if not len(steps) or steps.min() >= -_MAX_BACKWARD_SECONDS:
        yield values, times
        return
    cuts = np.flatnonzero(steps < -_MAX_BACKWARD_SECONDS) + 1
    yield from zip(np.split(values, cuts), np.split(times, cuts), strict=True)
