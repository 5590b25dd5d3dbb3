"""Recordings in XDF, read as a stream of chunks: memory stays flat however long the file is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from mindwire.errors import RecordingError, StreamNotFoundError
from mindwire.sources.markers import MarkerReader, merge_markers, stim_channels
from mindwire.sources.own_input import OwnInput, input_parts, own_inputs, same_device
from mindwire.sources.recorded_stream import RecordedSignal, Recording, Selector, first_problems
from mindwire.sources.xdf_clock import ClockTracker
from mindwire.sources.xdf_file import XdfFile, XdfStream
from mindwire.sources.xdf_samples import Samples
from mindwire.types import Chunk, Marker, Reason

# Seconds since 1970 in the years 2001 to 2100, as milliseconds.
_MILLISECONDS = 1e12, 4.1e12
# Jittered stamps step back a little within a stream; more than this is another order or another clock.
_MAX_BACKWARD_SECONDS = 0.25


class XdfRecording(Recording):
    """A recording in XDF, refused unless it holds a readable stream."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = XdfFile(self.path)
        if not self._file.streams:
            msg = f"{path}: expected streams, found no readable stream header; the file is empty or damaged."
            raise RecordingError(msg)
        self._inputs = own_inputs(self.streams)
        for own in self._inputs:
            # The service knew the channels, unit and rate of its device when it recorded.
            device = same_device(self.streams, own.info)
            if device is not None and own.info.original is not None and device.info.n_channels == own.info.n_channels:
                here = {key: getattr(device.info, key) for key in ("uid", "hostname", "dtype")}
                device.info = replace(own.info, original=device.info, **here)

    @property
    def streams(self) -> tuple[XdfStream, ...]:
        """Streams in the order of the file."""
        return tuple(self._file.streams.values())

    @property
    def problems(self) -> tuple[str, ...]:
        """Damage that was left out, one sentence each; complete once everything has been read."""
        return self._file.problems

    def markers(self, stream: str | None = None) -> list[Marker]:
        """Return the markers in the order of time; see :meth:`Recording.markers`.

        Raises
        ------
        StreamNotFoundError
            There is no such stream.
        """
        there = [s for s in self.streams if s.is_markers]
        if stream is None:
            return self._stream_markers(there) or self._stim_markers(None)
        wanted = Selector.parse(stream)
        if chosen := [s for s in self.streams if wanted.matches(s) or stream in (s.info.source_id, str(s.stream_id))]:
            return self._stream_markers(chosen)
        if found := self._stim_markers(stream):
            return found
        names = ", ".join(repr(s.info.name) for s in there) or "none"
        msg = f"{self.path}: expected a marker stream named {stream!r}, found {names}.{first_problems(self.problems)}"
        raise StreamNotFoundError(msg)

    def _stream_markers(self, streams: Sequence[XdfStream]) -> list[Marker]:
        names = Counter(stream.info.name for stream in streams)
        readers = {}
        for stream in streams:
            name = stream.info.name if names[stream.info.name] == 1 else f"id={stream.stream_id}"
            readers[stream.stream_id] = MarkerReader(stream.info, name=name)
        return self._read_markers(readers)

    def _stim_markers(self, label: str | None) -> list[Marker]:
        """Events of the stimulus channels within signals, of all or of one by its label."""
        readers: dict[int, MarkerReader] = {}
        for stream in self.streams:
            info = stream.info
            channels = [i for i in stim_channels(info) if label is None or (info.labels and info.labels[i] == label)]
            if channels and stream.is_signal:
                readers[stream.stream_id] = MarkerReader(info, channels, started=False)
        return self._read_markers(readers)

    def _read_markers(self, readers: Mapping[int, MarkerReader]) -> list[Marker]:
        """Markers of several streams, by their numbers in the file."""
        streams = {number: self._file.streams[number] for number in readers}
        trackers = {number: ClockTracker(stream.clock) for number, stream in streams.items()}
        found: dict[int, list[Marker]] = {number: [] for number in streams}
        for number, samples in self._file.decode({number: s.decoder() for number, s in streams.items()}):
            times, _ = trackers[number].apply(samples.times)
            found[number] += readers[number].read(samples.values, times)
        return merge_markers(found.values())

    def signal(self, selector: Selector | None = None) -> RecordedSignal:
        """Return the selected signal; else that of a live run, or the only stream of type EEG.

        Raises
        ------
        StreamNotFoundError
            No stream matches, or several; the message lists all streams.
        RecordingError
            The stream is empty, or no signal.
        """
        own = self._own_input(selector)
        if own is None:
            return super().signal(selector)
        device = same_device(self.streams, own.info)
        if device is not None and device.n_samples and selector is None:
            return self.source(device.stream_id)
        return RecordedSignal(own.info, own.stream.n_samples, partial(self._input_chunks, own.stream.stream_id))

    def _own_input(self, selector: Selector | None) -> OwnInput | None:
        """Return the input of a live run's pipeline, where that is selected, or nothing is and there is one."""
        chosen = self._inputs
        if selector is not None:
            chosen = [own for own in chosen if selector.matches(own.stream)]
            if any(stream.is_signal and selector.matches(stream) for stream in self.streams):
                return None
        return chosen[0] if len(chosen) == 1 else None

    def as_sent(self, stream_id: int) -> Iterator[Samples]:
        """Yield a stream's samples with its sender's own stamps, neither corrected nor checked."""
        decoder = self._file.streams[stream_id].decoder(check_times=False)
        for _, samples in self._file.decode({stream_id: decoder}):
            yield samples

    def source(self, stream_id: int) -> RecordedSignal:
        """Return a stream by its number in the file, whatever it holds."""
        stream = self._file.streams[stream_id]
        return RecordedSignal(stream.info, stream.n_samples, partial(self._chunks, stream))

    def _chunks(self, stream: XdfStream) -> Iterator[Chunk]:
        """Yield a stream's samples, with stamps in the recording computer's clock, not dejittered.

        A ``GAP`` precedes a chunk after damage, a ``CLOCK_JUMP`` after a clock reset or where stamps run backwards.
        """
        tracker = ClockTracker(stream.clock)
        left = self._file.size if stream.limit is None else stream.limit
        last: float | None = None
        decoder = stream.decoder()
        for _, samples in self._file.decode({stream.stream_id: decoder}):
            reason = Reason.GAP if samples.gap else Reason.NONE
            times, resets = tracker.apply(samples.times[:left])
            left -= len(times)
            back = np.flatnonzero(times[1:] - times[:-1] < -_MAX_BACKWARD_SECONDS) + 1
            for start, stop in pairwise(sorted({0, *resets, *back.tolist(), len(times)})):
                if last is None:
                    reason = Reason.NONE  # nothing precedes that could go on
                elif start in resets or times[start] < last - _MAX_BACKWARD_SECONDS:
                    reason |= Reason.CLOCK_JUMP
                yield Chunk(samples.values[start:stop], times[start:stop], reason)
                last = float(times[stop - 1])
                reason = Reason.NONE
        if last is None and decoder.refused is not None:
            in_milliseconds = _MILLISECONDS[0] < decoder.refused < _MILLISECONDS[1]
            guess = " they seem to be milliseconds since 1970;" if in_milliseconds else ""
            msg = (
                f"{self.path}: no time stamp of {stream.info.name!r} can be seconds, {decoder.refused:.10g} for example;"
                f"{guess} correct them, in the file or where they are made."
            )
            raise RecordingError(msg)

    def _input_chunks(self, stream_id: int) -> Iterator[Chunk]:
        """Yield a pipeline's input with the times and discontinuities that it was given."""
        first = True
        for part in input_parts(self.path, self.as_sent(stream_id)):
            reason = part.chunk.discontinuity | (Reason.GAP if part.lost or part.begins else Reason.NONE)
            yield Chunk(part.chunk.samples, part.chunk.times, Reason.NONE if first else reason)
            first = False
