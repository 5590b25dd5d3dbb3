"""The first pass over an XDF file: its streams, their clocks, and what is damaged.

Only chunk headers and descriptions are read. What must be known before the first sample can be stamped
(clock offsets, footers) is spread over the whole file, therefore a pass of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mindwire.errors import RecordingError, SourceError
from mindwire.sources.recording import RecordedStream
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
    """What of a file was damaged and left out, each told once."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def add(self, what: str) -> None:
        """Take note; ``what`` is a sentence without its full stop."""
        if what in self._told or len(self._told) < _MAX_PROBLEMS:
            self._told[what] = self._told.get(what, 0) + 1

    def sentences(self) -> tuple[str, ...]:
        """All of them, in the order they were found."""
        return tuple(f"{what} ({count} times)." if count > 1 else f"{what}." for what, count in self._told.items())


@dataclass(frozen=True, slots=True)
class IndexedStream:
    """A stream and what it takes to read it.

    Parameters
    ----------
    recorded : RecordedStream
    clock : tuple of ClockSegment
    limit : int or None
        Samples behind this count are a known defect of old recorders; None when all are good.
    """

    recorded: RecordedStream
    clock: tuple[ClockSegment, ...]
    limit: int | None

    def decoder(self, *, judge: bool = True) -> SampleDecoder:
        """A fresh decoder for the stream's sample chunks."""
        info = self.recorded.info
        return _decoder(info.original or info, judge=judge)  # stamps that are left out go by the sender's rate


@dataclass(slots=True)
class _Gathered:
    info: SignalInfo
    header: str
    smallest_sample: int
    n_samples: int = 0
    first_chunk: RawChunk | None = None
    offset_times: list[float] = field(default_factory=list)
    offset_values: list[float] = field(default_factory=list)
    footer_count: int | None = None


def _decoder(info: SignalInfo, *, judge: bool = True) -> SampleDecoder:
    return SampleDecoder(info.dtype, info.n_channels, info.sfreq, judge=judge)


def open_file(path: Path) -> BinaryIO:
    """Open an XDF file behind its magic bytes.

    Raises
    ------
    RecordingError
        It cannot be read, or is no XDF.
    """
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
    """Goes over a file's chunks once and gathers its streams.

    Parameters
    ----------
    path : Path
    problems : Problems
        Takes what is damaged.
    """

    def __init__(self, path: Path, problems: Problems) -> None:
        self._problems = problems
        self._found: dict[int, _Gathered] = {}
        with open_file(path) as file:
            self.size = path.stat().st_size
            for chunk in walk(file, self.size):
                file.seek(chunk.offset)
                try:
                    self._take(file, chunk)
                except (SourceError, DamagedChunkError) as error:
                    kind = chunk.tag.name.replace("_", " ").capitalize()
                    problems.add(f"{kind} at byte {chunk.offset} was left out: {str(error).rstrip('.')}")
            self.streams = {number: self._finish(file, number, stream) for number, stream in self._found.items()}

    def _take(self, file: BinaryIO, chunk: RawChunk) -> None:
        """Take note of one chunk in the first pass."""
        tag = chunk.tag
        if tag is Tag.DAMAGE:
            at_end = chunk.offset + chunk.length >= self.size
            what = (
                "The file ends in an incomplete chunk"
                if at_end
                else "Damaged bytes up to the next boundary were ignored"
            )
            place = f"({chunk.length} bytes at {chunk.offset})"
            self._problems.add(f"{what} {place}, which was ignored" if at_end else f"{what} {place}")
        elif tag is Tag.STREAM_HEADER:
            self._take_header(file, chunk)
        elif tag in (Tag.FILE_HEADER, Tag.BOUNDARY):
            return
        elif chunk.stream_id not in self._found:
            self._problems.add(f"Chunks belong to stream {chunk.stream_id}, which has no readable header")
        elif tag is Tag.SAMPLES:
            stream = self._found[chunk.stream_id]
            count, start = read_count(file.read(min(9, chunk.length)))
            if count * stream.smallest_sample <= chunk.length - start:  # else the second pass says what is wrong
                stream.n_samples += count
                if count and stream.first_chunk is None:
                    stream.first_chunk = chunk
        elif tag is Tag.CLOCK_OFFSET:
            pair = np.frombuffer(file.read(16), "<f8") if chunk.length == 16 else np.array([np.nan])
            if not plausible(pair).all():
                msg = "no pair of plausible times"
                raise DamagedChunkError(msg)
            self._found[chunk.stream_id].offset_times.append(float(pair[0]))
            self._found[chunk.stream_id].offset_values.append(float(pair[1]))
        else:
            footer = parse_xml(file.read(min(chunk.length, MAX_XML_BYTES + 1)))
            count_text = child_text(footer, "sample_count")
            believable = count_text.isdecimal() and len(count_text) < 19
            self._found[chunk.stream_id].footer_count = int(count_text) if believable else None

    def _take_header(self, file: BinaryIO, chunk: RawChunk) -> None:
        raw = file.read(min(chunk.length, MAX_XML_BYTES + 1))
        document = parse_xml(raw)
        try:
            info = signal_info(document)
        except SourceError as error:
            msg = f"{child_text(document, 'name')[:40]!r} (type {child_text(document, 'type')[:40]!r}): {error}"
            raise SourceError(msg) from error
        header = decode_xml(raw)
        if chunk.stream_id in self._found:
            first = self._found[chunk.stream_id]
            if first.header != header:
                what = f"stream {chunk.stream_id} has a second header that differs; the first one counts"
                self._problems.add(what.capitalize())
                first.info = replace(first.info, remarks=(*first.info.remarks, what))
            return
        if len(self._found) >= _MAX_STREAMS:
            self._problems.add(f"There are more than {_MAX_STREAMS} streams; the rest was left out")
            return
        self._found[chunk.stream_id] = _Gathered(info, header, _decoder(info).smallest_sample)

    def _finish(self, file: BinaryIO, number: int, stream: _Gathered) -> IndexedStream:
        """What the first pass found of a stream, with its clock and its first time."""
        limit = None
        times, values = stream.offset_times, stream.offset_values
        surplus = stream.footer_count is not None and stream.n_samples > stream.footer_count
        if surplus and last_is_corrupt(times, values):
            limit = stream.footer_count
            times, values = times[:-1], values[:-1]
            self._problems.add(f"Stream {number} {UNINITIALISED_END}")
        clock = fit_segments(times, values)
        return IndexedStream(
            RecordedStream(
                stream_id=number,
                info=stream.info,
                n_samples=stream.n_samples if limit is None else limit,
                first_time=_first_time(file, stream, clock),
                header=stream.header,
            ),
            clock,
            limit,
        )


def _first_time(file: BinaryIO, stream: _Gathered, clock: tuple[ClockSegment, ...]) -> float | None:
    """Time of a stream's first sample; None when it has none that can be read."""
    if stream.first_chunk is None:
        return None
    file.seek(stream.first_chunk.offset)
    try:
        samples = next(_decoder(stream.info).decode(file, stream.first_chunk.length), None)
    except DamagedChunkError:
        return None  # whoever reads the samples hears of it
    if samples is None:
        return None
    return next(float(times[0]) for _, times in ClockTracker(clock).apply(samples.times) if len(times))
