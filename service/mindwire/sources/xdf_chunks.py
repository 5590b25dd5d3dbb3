"""Framing of XDF files: the sequence of chunks, its resumption after damage, and streams appended to a file.

Specification: https://github.com/sccn/xdf/wiki/Specifications (XDF 1.0).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mindwire.errors import RecordingError

MAGIC = b"XDF:"
GZIP_MAGIC = b"\x1f\x8b"
BOUNDARY_UUID = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
_SEARCH_BLOCK = 1 << 20
# length's own length, length, tag, stream id
_LONGEST_HEADER = 1 + 8 + 2 + 4


class Tag(IntEnum):
    """Kinds of chunks."""

    DAMAGE = 0  # not in any file: bytes that are no chunk
    FILE_HEADER = 1
    STREAM_HEADER = 2
    SAMPLES = 3
    CLOCK_OFFSET = 4
    BOUNDARY = 5
    STREAM_FOOTER = 6


WITH_STREAM = frozenset({Tag.STREAM_HEADER, Tag.SAMPLES, Tag.CLOCK_OFFSET, Tag.STREAM_FOOTER})


class RawChunk(NamedTuple):
    """Position of a chunk's content in the file."""

    tag: Tag
    stream_id: int  # 0 for chunks of no stream
    offset: int  # first byte of the content, after tag and stream id
    length: int  # bytes of content


def check_magic(file: BinaryIO, path: object) -> None:
    """Read the magic bytes."""
    file.seek(0)
    magic = file.read(len(MAGIC))
    if magic.startswith(GZIP_MAGIC):
        msg = f"{path} is compressed; unpack it (gunzip) first."
        raise RecordingError(msg)
    if magic != MAGIC:
        msg = f"{path} is no XDF recording: expected the file to begin with 'XDF:', found {magic!r}."
        raise RecordingError(msg)


def _header_at(file: BinaryIO, position: int, size: int) -> RawChunk | None:
    """Return the chunk that begins at a position; None when no whole, known chunk does."""
    file.seek(position)
    head = file.read(_LONGEST_HEADER)
    if not head or head[0] not in (1, 4, 8):
        return None
    start = 1 + head[0]
    length = int.from_bytes(head[1:start], "little")
    if length < 2 or position + start + length > size:
        return None
    tag = int.from_bytes(head[start : start + 2], "little")
    if tag in WITH_STREAM and length >= 6:
        stream_id = int.from_bytes(head[start + 2 : start + 6], "little")
        return RawChunk(Tag(tag), stream_id, position + start + 6, length - 6)
    if tag in (Tag.FILE_HEADER, Tag.BOUNDARY):
        return RawChunk(Tag(tag), 0, position + start + 2, length - 2)
    return None


def _after_next_boundary(file: BinaryIO, position: int) -> int | None:
    """Return the first byte after the next boundary chunk from a position on; None when there is none."""
    while True:
        file.seek(position)
        block = file.read(_SEARCH_BLOCK)
        found = block.find(BOUNDARY_UUID)
        if found >= 0:
            return position + found + len(BOUNDARY_UUID)
        if len(block) < _SEARCH_BLOCK:
            return None
        position += len(block) - len(BOUNDARY_UUID) + 1


def walk(file: BinaryIO, size: int) -> Iterator[RawChunk]:
    """Yield a file's chunks in order.

    Where bytes are no chunk, one chunk of tag ``DAMAGE`` stands for all up to the end of the next boundary chunk, or of the
    file. The caller may move the file's position between two steps. Bytes that a recorder appends after the first ``size``
    are not read.
    """
    position = len(MAGIC)
    while position < size:
        chunk = _header_at(file, position, size)
        if chunk is None:
            after = _after_next_boundary(file, position + 1)
            end = size if after is None else after
            chunk = RawChunk(Tag.DAMAGE, 0, position, end - position)
        yield chunk
        position = chunk.offset + chunk.length


def append_streams(recording: Path, other: Path) -> None:
    """Append all streams of ``other`` to a recording, under numbers that are free there.

    Both must have been recorded on one computer, whose clock the offsets in them refer to. After a failure the
    recording holds the streams it had. Raise RecordingError if one of them is no XDF file.
    """
    with recording.open("r+b", buffering=0) as target, other.open("rb") as source:
        check_magic(target, recording)
        check_magic(source, other)
        size = end = target.seek(0, os.SEEK_END)
        last_id = 0
        for chunk in walk(target, size):
            last_id = max(last_id, chunk.stream_id)
            if chunk.tag is Tag.DAMAGE and chunk.offset + chunk.length == size:
                end = chunk.offset  # an incomplete chunk would swallow what follows it
        target.truncate(end)
        target.seek(end)
        try:
            for chunk in walk(source, os.fstat(source.fileno()).st_size):
                if chunk.tag in (Tag.DAMAGE, Tag.FILE_HEADER):
                    continue
                stream_id = struct.pack("<I", chunk.stream_id + last_id) if chunk.tag in WITH_STREAM else b""
                source.seek(chunk.offset)
                content = struct.pack("<H", chunk.tag) + stream_id + source.read(chunk.length)
                framed = b"\x08" + struct.pack("<Q", len(content)) + content
                _write(target, framed)
            os.fsync(target.fileno())
        except BaseException:
            target.truncate(end)
            raise


def _write(file: FileIO, data: bytes) -> None:
    if file.write(data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
