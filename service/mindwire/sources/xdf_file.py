"""Streams of an XDF file, their clocks, and what is damaged.

Clock offsets and footers, which must be known before the first sample has a time, are spread over the whole file; therefore
they take a pass of their own, which reads no more than chunk headers and descriptions.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mindwire.errors import RecordingError, SourceError
from mindwire.sources.recorded_stream import RecordedStream
from mindwire.sources.stream_xml import MAX_XML_BYTES, child_text, decode_xml, parse_xml, signal_info
from mindwire.sources.xdf_chunks import RawChunk, Tag, check_magic, walk
from mindwire.sources.xdf_clock import ClockSegment, fit_segments, last_is_corrupt
from mindwire.sources.xdf_samples import DamagedChunkError, SampleDecoder, Samples, plausible, read_count

_MAX_STREAMS = 4096
_MAX_PROBLEMS = 100
# LabRecorder writes twice a second; only a file that was changed since may still be written.
_RECENT_S = 10.0
# A defect of old recorders at the end of a stream; nothing that was sent is missing.
UNINITIALISED_END = "ends with uninitialised samples, which were left out"


@dataclass(slots=True)
class XdfStream(RecordedStream):
    """A stream of an XDF file, filled in the course of the first pass."""

    smallest_sample: int = 1  # fewest bytes that a sample can take
    offsets: list[tuple[float, float]] = field(default_factory=list)  # time and clock offset in seconds
    footer_count: int | None = None
    clock: tuple[ClockSegment, ...] = ()
    limit: int | None = None  # number of good samples, where those of a known defect follow them

    def decoder(self, *, check_times: bool = True) -> SampleDecoder:
        """Return a new decoder for the stream's sample chunks."""
        # Stamps that are left out follow the sender's rate, not one that the user gave.
        info = self.info.original or self.info
        return SampleDecoder(info.dtype, info.n_channels, info.sfreq, check_times=check_times)


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb", buffering=1 << 18)
    except OSError as error:
        msg = f"{path}: the recording cannot be read ({error.strerror}); check the path."
        raise RecordingError(msg) from error
    with file:
        check_magic(file, path)
        yield file


def _is_open_for_writing(path: Path) -> bool:
    """Return true if a process of this user has a file open for writing, which Linux tells."""
    if sys.platform != "linux":
        return False
    import psutil

    name = str(path.resolve())
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(one.path == name and one.mode != "r" for one in process.open_files()):
                return True
    return False


class XdfFile:
    """Streams of a file by their numbers, as a first pass over its chunks finds them, and their samples."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.streams: dict[int, XdfStream] = {}
        self._problems: Counter[str] = Counter()
        with _open(path) as file:
            stat = path.stat()
            self.size = stat.st_size
            for chunk in walk(file, self.size):
                file.seek(chunk.offset)
                try:
                    self._index(file, chunk)
                except (SourceError, DamagedChunkError) as error:
                    kind = chunk.tag.name.replace("_", " ").capitalize()
                    self._report(f"{kind} at byte {chunk.offset} was left out: {str(error).rstrip('.')}")
        for stream in self.streams.values():
            offsets = np.array(stream.offsets).reshape(-1, 2)
            surplus = stream.footer_count is not None and stream.n_samples > stream.footer_count
            if surplus and last_is_corrupt(offsets):
                stream.limit = stream.n_samples = stream.footer_count or 0
                offsets = offsets[:-1]
                self._report(f"Stream {stream.stream_id} {UNINITIALISED_END}")
            stream.clock = fit_segments(offsets)
        unfinished = any(stream.footer_count is None for stream in self.streams.values())
        self._is_open = unfinished and time.time() - stat.st_mtime < _RECENT_S and _is_open_for_writing(path)

    @property
    def problems(self) -> tuple[str, ...]:
        """Damage that was left out so far, and that the file is still being written, one sentence each."""
        found = [f"{text} ({count} times)." if count > 1 else f"{text}." for text, count in self._problems.items()]
        with suppress(OSError):  # it is no longer there
            if self._is_open or self.path.stat().st_size > self.size:
                found.append("The file is still being written; what came after it was opened is left out.")
        return tuple(found)

    def _report(self, problem: str) -> None:
        """Count a problem: a sentence without its full stop."""
        if problem in self._problems or len(self._problems) < _MAX_PROBLEMS:
            self._problems[problem] += 1

    def decode(self, decoders: Mapping[int, SampleDecoder]) -> Iterator[tuple[int, Samples]]:
        """Yield all samples of some streams in the order of the file, with the sender's stamps."""
        with _open(self.path) as file:
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
                        self._report(f"A chunk of samples at byte {chunk.offset} contradicts itself ({error})")
                        decoder.skip()

    def _index(self, file: BinaryIO, chunk: RawChunk) -> None:
        if chunk.tag is Tag.DAMAGE:
            place = f"({chunk.length} bytes at {chunk.offset})"
            at_end = chunk.offset + chunk.length >= self.size
            self._report(
                f"The file ends in an incomplete chunk {place}, which was ignored"
                if at_end
                else f"Damaged bytes up to the next boundary were ignored {place}"
            )
        elif chunk.tag is Tag.STREAM_HEADER:
            self._index_header(chunk.stream_id, file.read(min(chunk.length, MAX_XML_BYTES + 1)))
        elif chunk.tag in (Tag.FILE_HEADER, Tag.BOUNDARY):
            return
        elif (stream := self.streams.get(chunk.stream_id)) is None:
            self._report(f"Chunks belong to stream {chunk.stream_id}, which has no readable header")
        elif chunk.tag is Tag.SAMPLES:
            count, start = read_count(file.read(min(9, chunk.length)))
            if count * stream.smallest_sample <= chunk.length - start:  # else the second pass reports it
                stream.n_samples += count
        elif chunk.tag is Tag.CLOCK_OFFSET:
            pair = np.frombuffer(file.read(16), "<f8") if chunk.length == 16 else np.array([np.nan])
            if not plausible(pair).all():
                msg = "no pair of plausible times"
                raise DamagedChunkError(msg)
            stream.offsets.append((float(pair[0]), float(pair[1])))
        else:
            count_text = child_text(parse_xml(file.read(min(chunk.length, MAX_XML_BYTES + 1))), "sample_count")
            believable = count_text.isdecimal() and len(count_text) < 19
            stream.footer_count = int(count_text) if believable else None

    def _index_header(self, number: int, document: bytes) -> None:
        element = parse_xml(document)
        try:
            info = signal_info(element)
        except SourceError as error:
            msg = f"{child_text(element, 'name')[:40]!r} (type {child_text(element, 'type')[:40]!r}): {error}"
            raise SourceError(msg) from error
        header = decode_xml(document)
        first = self.streams.get(number)
        if first is not None:
            if first.header != header:
                remark = f"stream {number} has a second header that differs; the first one counts"
                self._report(remark.capitalize())
                first.info = replace(first.info, remarks=(*first.info.remarks, remark))
        elif len(self.streams) >= _MAX_STREAMS:
            self._report(f"There are more than {_MAX_STREAMS} streams; the rest was left out")
        else:
            stream = self.streams[number] = XdfStream(number, info, 0, header)
            stream.smallest_sample = stream.decoder().smallest_sample
