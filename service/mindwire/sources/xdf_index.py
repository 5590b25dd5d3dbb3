"""First pass over an XDF file: its streams, their clocks, and what is damaged.

Only chunk headers and descriptions are read. Clock offsets and footers, which must be known before the first sample has
a time, are spread over the whole file; therefore they take a pass of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mindwire.errors import RecordingError, SourceError
from mindwire.sources.recorded_stream import RecordedStream
from mindwire.sources.stream_xml import MAX_XML_BYTES, child_text, decode_xml, parse_xml, signal_info
from mindwire.sources.xdf_chunks import RawChunk, Tag, check_magic, walk
from mindwire.sources.xdf_clock import ClockSegment, ClockTracker, fit_segments, last_is_corrupt
from mindwire.sources.xdf_samples import DamagedChunkError, SampleDecoder, plausible, read_count
from mindwire.types import SignalInfo

_MAX_STREAMS = 4096
_MAX_PROBLEMS = 100
# A defect of old recorders at the end of a stream; nothing that was sent is missing.
UNINITIALISED_END = "ends with uninitialised samples, which were left out"


class Problems:
    """Damage that was left out of a file; repeated problems are counted."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, text: str) -> None:
        """Add a problem: a sentence without its full stop."""
        if text in self._counts or len(self._counts) < _MAX_PROBLEMS:
            self._counts[text] = self._counts.get(text, 0) + 1

    def sentences(self) -> tuple[str, ...]:
        """All problems, in the order they were found."""
        return tuple(f"{text} ({count} times)." if count > 1 else f"{text}." for text, count in self._counts.items())


@dataclass(frozen=True, slots=True)
class IndexedStream:
    """A stream with its clock, and the number of good samples where those of a known defect follow them."""

    recorded: RecordedStream
    clock: tuple[ClockSegment, ...]
    limit: int | None

    def decoder(self, *, check_times: bool = True) -> SampleDecoder:
        """Return a new decoder for the stream's sample chunks."""
        info = self.recorded.info
        # Stamps that are left out follow the sender's rate, not one that the user gave.
        return _decoder(info.original or info, check_times=check_times)


@dataclass(slots=True)
class _Stream:
    """A stream in the course of the first pass."""

    info: SignalInfo
    header: str
    smallest_sample: int
    n_samples: int = 0
    first_chunk: RawChunk | None = None
    offset_times: list[float] = field(default_factory=list)
    offset_values: list[float] = field(default_factory=list)
    footer_count: int | None = None


def _decoder(info: SignalInfo, *, check_times: bool = True) -> SampleDecoder:
    return SampleDecoder(info.dtype, info.n_channels, info.sfreq, check_times=check_times)


def open_file(path: Path) -> BinaryIO:
    """Open an XDF file and read its magic bytes."""
    try:
        file = path.open("rb", buffering=1 << 18)
    except OSError as error:
        msg = f"{path}: the recording cannot be read ({error.strerror}); check the path."
        raise RecordingError(msg) from error
    try:
        check_magic(file, path)
    except BaseException:
        file.close()
        raise
    return file


class Indexer:
    """First pass over a file's chunks.

    Attributes
    ----------
    size : int
        Bytes in the file.
    streams : dict of int to IndexedStream
    """

    def __init__(self, path: Path, problems: Problems) -> None:
        self._problems = problems
        self._found: dict[int, _Stream] = {}
        with open_file(path) as file:
            self.size = path.stat().st_size
            for chunk in walk(file, self.size):
                file.seek(chunk.offset)
                try:
                    self._read(file, chunk)
                except (SourceError, DamagedChunkError) as error:
                    kind = chunk.tag.name.replace("_", " ").capitalize()
                    problems.add(f"{kind} at byte {chunk.offset} was left out: {str(error).rstrip('.')}")
            self.streams = {number: self._finish(file, number, stream) for number, stream in self._found.items()}

    def _read(self, file: BinaryIO, chunk: RawChunk) -> None:
        tag = chunk.tag
        if tag is Tag.DAMAGE:
            place = f"({chunk.length} bytes at {chunk.offset})"
            at_end = chunk.offset + chunk.length >= self.size
            self._problems.add(
                f"The file ends in an incomplete chunk {place}, which was ignored"
                if at_end
                else f"Damaged bytes up to the next boundary were ignored {place}"
            )
        elif tag is Tag.STREAM_HEADER:
            self._read_header(file, chunk)
        elif tag in (Tag.FILE_HEADER, Tag.BOUNDARY):
            return
        elif chunk.stream_id not in self._found:
            self._problems.add(f"Chunks belong to stream {chunk.stream_id}, which has no readable header")
        else:
            self._read_content(file, chunk, self._found[chunk.stream_id])

    def _read_content(self, file: BinaryIO, chunk: RawChunk, stream: _Stream) -> None:
        if chunk.tag is Tag.SAMPLES:
            count, start = read_count(file.read(min(9, chunk.length)))
            if count * stream.smallest_sample <= chunk.length - start:  # else the second pass reports it
                stream.n_samples += count
                if count and stream.first_chunk is None:
                    stream.first_chunk = chunk
        elif chunk.tag is Tag.CLOCK_OFFSET:
            pair = np.frombuffer(file.read(16), "<f8") if chunk.length == 16 else np.array([np.nan])
            if not plausible(pair).all():
                msg = "no pair of plausible times"
                raise DamagedChunkError(msg)
            stream.offset_times.append(float(pair[0]))
            stream.offset_values.append(float(pair[1]))
        else:
            count_text = child_text(parse_xml(file.read(min(chunk.length, MAX_XML_BYTES + 1))), "sample_count")
            believable = count_text.isdecimal() and len(count_text) < 19
            stream.footer_count = int(count_text) if believable else None

    def _read_header(self, file: BinaryIO, chunk: RawChunk) -> None:
        raw = file.read(min(chunk.length, MAX_XML_BYTES + 1))
        document = parse_xml(raw)
        try:
            info = signal_info(document)
        except SourceError as error:
            msg = f"{child_text(document, 'name')[:40]!r} (type {child_text(document, 'type')[:40]!r}): {error}"
            raise SourceError(msg) from error
        header = decode_xml(raw)
        first = self._found.get(chunk.stream_id)
        if first is not None:
            if first.header != header:
                remark = f"stream {chunk.stream_id} has a second header that differs; the first one counts"
                self._problems.add(remark.capitalize())
                first.info = replace(first.info, remarks=(*first.info.remarks, remark))
        elif len(self._found) >= _MAX_STREAMS:
            self._problems.add(f"There are more than {_MAX_STREAMS} streams; the rest was left out")
        else:
            self._found[chunk.stream_id] = _Stream(info, header, _decoder(info).smallest_sample)

    def _finish(self, file: BinaryIO, number: int, stream: _Stream) -> IndexedStream:
        limit = None
        times, values = stream.offset_times, stream.offset_values
        surplus = stream.footer_count is not None and stream.n_samples > stream.footer_count
        if surplus and last_is_corrupt(times, values):
            limit = stream.footer_count
            times, values = times[:-1], values[:-1]
            self._problems.add(f"Stream {number} {UNINITIALISED_END}")
        clock = fit_segments(times, values)
        n_samples = stream.n_samples if limit is None else limit
        first_time = _first_time(file, stream, clock)
        return IndexedStream(RecordedStream(number, stream.info, n_samples, first_time, stream.header), clock, limit)


def _first_time(file: BinaryIO, stream: _Stream, clock: tuple[ClockSegment, ...]) -> float | None:
    """Time of a stream's first sample; None when it has none that can be read."""
    if stream.first_chunk is None:
        return None
    file.seek(stream.first_chunk.offset)
    try:
        samples = next(_decoder(stream.info).decode(file, stream.first_chunk.length), None)
    except DamagedChunkError:
        return None  # reported when the samples are read
    if samples is None:
        return None
    return next(float(times[0]) for _, times in ClockTracker(clock).apply(samples.times) if len(times))
