"""Streams of one XDF file appended to another, as the format allows: a stream's header may stand anywhere before its samples."""

from __future__ import annotations

import errno
import os
import struct
from io import FileIO
from pathlib import Path

from mindwire.sources.xdf_chunks import WITH_STREAM, Tag, check_magic, walk


def append_streams(recording: Path, other: Path) -> None:
    """Append all streams of ``other`` to a recording, under numbers that are free there.

    Both must have been recorded on one computer, whose clock the offsets in them refer to. After a failure the
    recording holds the streams it had.

    Raises
    ------
    RecordingError
        One of them is no XDF file.
    OSError
        The disk is full, or a file cannot be read.
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
