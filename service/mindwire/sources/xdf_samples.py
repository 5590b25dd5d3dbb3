"""Decoding of XDF sample chunks, whose content may be damaged.

Memory is allocated by the bytes that a chunk has, never by the number of samples that it claims. A stamp that is left
out follows from the one before and the nominal rate; after a stamp that no clock can have, nothing is deduced.

Samples with a stamp on every second one, as LabRecorder writes them, have a parser of their own: with it the replay of one hour
takes 4.5 s of processor time, without it 4.7 s (goal: 800 times real time, 4.5 s; two cores, 22 channels at 250 Hz).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 1 << 20
_STAMP = np.dtype("<f8")
# Seconds (3,000 years) that no clock exceeds; garbage read as a double mostly does.
_MAX_TIME = 1e11

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "double64": np.dtype("<f8"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
}


class DamagedChunkError(Exception):
    """The chunk's content contradicts itself; the reader goes on after it."""


class Samples(NamedTuple):
    """Decoded samples with the sender's stamps.

    Parameters
    ----------
    values : ndarray, shape (n_samples, n_channels)
        Numbers, or Python strings in an object array.
    times : ndarray of float64, shape (n_samples,)
    gap : bool
        Samples before these were lost.
    """

    values: NDArray[Any]
    times: NDArray[np.float64]
    gap: bool


def read_count(content: bytes, position: int = 0) -> tuple[int, int]:
    """Read a variable-length integer; return it and the position after it."""
    width = content[position] if position < len(content) else 0
    end = position + 1 + width
    if width not in (1, 4, 8) or end > len(content):
        msg = "no length where one was due"
        raise DamagedChunkError(msg)
    return int.from_bytes(content[position + 1 : end], "little"), end


def plausible(times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which stamps can be seconds of a clock; NaN cannot."""
    result: NDArray[np.bool_] = np.abs(times) < _MAX_TIME
    return result


class _Parsed(NamedTuple):
    """Whole samples at the beginning of a block."""

    values: NDArray[Any]
    times: NDArray[np.float64]
    stamped: NDArray[np.intp]  # samples that have a stamp; the times of the others are still open
    n_bytes: int


class _Strings:
    """Parser of samples of strings."""

    def __init__(self, n_channels: int) -> None:
        self._n_channels = n_channels
        self.smallest = 1 + 2 * n_channels  # a flag, and per channel the width of a length and a length

    def parse(self, block: bytes, count: int) -> _Parsed:
        """Parse at most ``count`` whole samples."""
        rows: list[list[str]] = []
        times: list[float] = []
        stamped: list[int] = []
        position = 0
        while len(rows) < count and position < len(block):
            flag = block[position]
            _check_flag(flag)
            row, end = self._row(block, position + 1 + flag)
            if row is None:
                break  # the rest of this sample is in the next block, or missing
            if flag:
                stamped.append(len(rows))
            times.append(float(np.frombuffer(block, _STAMP, 1, position + 1)[0]) if flag else 0.0)
            rows.append(row)
            position = end
        values = np.empty((len(rows), self._n_channels), dtype=object)
        if rows:
            values[:] = rows
        return _Parsed(values, np.array(times, dtype=float), np.array(stamped, dtype=np.intp), position)

    def _row(self, block: bytes, position: int) -> tuple[list[str] | None, int]:
        """Return a sample's strings, or None where the block ends before them, and the position after them."""
        row: list[str] = []
        while len(row) < self._n_channels:
            if position >= len(block) or position + 1 + block[position] > len(block):
                return None, position
            size, first = read_count(block, position)
            position = first + size
            if position > len(block):
                return None, position
            row.append(block[first:position].decode("utf-8", "replace"))
        return row, position


class _Numbers:
    """Parser of samples of numbers."""

    def __init__(self, dtype: np.dtype[Any], n_channels: int) -> None:
        self._dtype = dtype
        self._n_channels = n_channels
        self._width = n_channels * dtype.itemsize
        self.smallest = 1 + self._width

    def parse(self, block: bytes, count: int) -> _Parsed:
        """Parse at most ``count`` whole samples."""
        flag = block[0] if block else 0
        _check_flag(flag)
        record = self.smallest + flag
        whole = min(len(block) // record, count)
        table = np.frombuffer(block, np.uint8, whole * record).reshape(whole, record)
        if (table[:, 0] != flag).any() or (whole < count and len(block) - whole * record >= record):
            return self._parse_alternating(block, count) or self._parse_mixed(block, count)
        # All samples of a block have a stamp, or none has, as in most files.
        times = table[:, 1:9].copy().view(_STAMP)[:, 0] if flag else np.zeros(whole)
        values = table[:, 1 + flag :].copy().view(self._dtype).reshape(whole, self._n_channels)
        return _Parsed(values, times, np.arange(whole if flag else 0), whole * record)

    def _parse_alternating(self, block: bytes, count: int) -> _Parsed | None:
        """Parse samples of which every second one has a stamp, as LabRecorder often writes them; None if they are others."""
        flag, width = block[0], self._width
        second = self.smallest + flag  # position of a pair's second sample
        pair = 2 * self.smallest + 8
        pairs = min(len(block) // pair, count // 2)
        n_bytes = pairs * pair
        table = np.frombuffer(block, np.uint8, n_bytes).reshape(pairs, pair)
        if not pairs or (table[:, 0] != flag).any() or (table[:, second] != 8 - flag).any():
            return None
        single = count > 2 * pairs and len(block) - n_bytes >= second and block[n_bytes] == flag
        n = 2 * pairs + single
        values = np.empty((n, width), np.uint8)
        values[0 : 2 * pairs : 2] = table[:, 1 + flag : second]
        values[1::2] = table[:, pair - width :]
        first, stamp = (0, 1) if flag else (1, second + 1)
        times = np.zeros(n)
        times[first : 2 * pairs : 2] = table[:, stamp : stamp + 8].copy().view(_STAMP)[:, 0]
        if single:
            values[-1] = np.frombuffer(block, np.uint8, width, n_bytes + second - width)
            if flag:
                times[-1] = np.frombuffer(block, _STAMP, 1, n_bytes + 1)[0]
            n_bytes += second
        return _Parsed(values.view(self._dtype), times, np.arange(first, n, 2), n_bytes)

    def _parse_mixed(self, block: bytes, count: int) -> _Parsed:
        """Parse samples of which some have a stamp."""
        starts: list[int] = []
        append = starts.append
        position, last, width = 0, len(block) - self._width, self._width
        for _ in range(count):
            if position >= last:
                break
            flag = block[position]
            if flag == 8:
                if position + 9 > last:
                    break
                position += 9
            elif flag == 0:
                position += 1
            else:
                _check_flag(flag)
            append(position)
            position += width
        at = np.array(starts, dtype=np.intp)
        # Overlapping records at every byte, of which only those that begin a sample are copied.
        records = np.ndarray((max(last + 1, 0),), dtype=f"V{width}", buffer=block, strides=(1,))
        values = records[at].view(self._dtype).reshape(len(at), self._n_channels)
        stamped = np.flatnonzero(np.diff(at, prepend=-width) - width == 9)
        times = np.zeros(len(at))
        if len(stamped):
            stamps = np.ndarray((len(block) - 7,), dtype="V8", buffer=block, strides=(1,))
            times[stamped] = stamps[at[stamped] - 8].view(_STAMP)
        return _Parsed(values, times, stamped, position)


def _check_flag(flag: int) -> None:
    """Refuse a first byte of a sample that is not the number of bytes of its stamp, 0 or 8."""
    if flag not in (0, 8):
        msg = f"a stamp of {flag} bytes"
        raise DamagedChunkError(msg)


class SampleDecoder:
    """Decoder of one stream's sample chunks, in the order of the file.

    Parameters
    ----------
    dtype : str
        XDF's name of the sample format.
    n_channels : int
    sfreq : float
        Nominal rate in hertz, 0 when irregular.
    check_times : bool
        Leave out samples after a stamp that no clock can have, up to the next chunk.

    Attributes
    ----------
    refused : float or None
        The newest stamp that no clock can have.
    """

    def __init__(self, dtype: str, n_channels: int, sfreq: float, *, check_times: bool = True) -> None:
        self._parser: _Strings | _Numbers = (
            _Strings(n_channels) if dtype == "string" else _Numbers(DTYPES[dtype], n_channels)
        )
        self._interval = 1.0 / sfreq if sfreq > 0 else 0.0
        self._check_times = check_times
        # The stamp that one left out follows on; None while it is unknown.
        self._last: float | None = 0.0
        self._gap = False
        self.refused: float | None = None

    @property
    def smallest_sample(self) -> int:
        """Fewest bytes that a sample can take."""
        return self._parser.smallest

    def skip(self) -> None:
        """Register that samples before the next chunk are missing: stamps cannot be deduced across them."""
        self._last = None
        self._gap = True

    def decode(self, file: BinaryIO, length: int) -> Iterator[Samples]:
        """Decode the chunk at the file's position.

        Raises
        ------
        DamagedChunkError
            The content does not hold the samples it declares.
        """
        head = file.read(min(9, length))
        count, start = read_count(head)
        left = length - start
        if count * self.smallest_sample > left:
            msg = f"{count} samples cannot fit into {left} bytes"
            raise DamagedChunkError(msg)
        pending: _Parsed | None = None
        block = head[start:]
        left -= len(block)
        while count:
            # A sample longer than a block is read in doubling steps, so that the work stays linear.
            more = file.read(min(max(_BLOCK_BYTES, len(block)), left))
            left -= len(more)
            block += more
            parsed = self._parser.parse(block, count)
            if not len(parsed.times) and not left:
                msg = f"{count} samples are missing at the end of the chunk"
                raise DamagedChunkError(msg)
            block = block[parsed.n_bytes :]
            count -= len(parsed.times)
            # The last piece waits until the chunk has proved to end where it should.
            if pending is not None:
                yield from self._with_times(pending)
            pending = parsed
        if block or left:
            msg = f"{len(block) + left} bytes are left over after the last sample"
            raise DamagedChunkError(msg)
        if pending is not None:
            yield from self._with_times(pending)

    def _with_times(self, parsed: _Parsed) -> Iterator[Samples]:
        """Fill in the stamps that were left out, and yield the samples up to the first impossible one."""
        n = len(parsed.times)
        stop = n
        start = 0
        if self._last is None:
            start = int(parsed.stamped[0]) if len(parsed.stamped) else n
        if start == n:
            return
        stamps = parsed.times if len(parsed.stamped) == n else self._deduced(parsed.times, parsed.stamped)
        if self._check_times and not (possible := plausible(stamps[start:])).all():
            stop = start + int(np.argmin(possible))
        if stop > start:
            yield Samples(parsed.values[start:stop], stamps[start:stop], self._gap)
            self._gap = False
        if stop < n:
            self.refused = float(stamps[stop])
            self.skip()
        else:
            self._last = float(stamps[-1])

    def _deduced(self, times: NDArray[np.float64], stamped: NDArray[np.intp]) -> NDArray[np.float64]:
        """Stamps, each that was left out counted from the one before it."""
        n = len(times)
        # Index of the stamp each sample counts from; -1 for the last one of the chunk before.
        anchor = np.full(n, -1, dtype=np.intp)
        anchor[stamped] = stamped
        np.maximum.accumulate(anchor, out=anchor)
        base = np.where(anchor >= 0, times[np.maximum(anchor, 0)], self._last or 0.0)
        result: NDArray[np.float64] = base + (np.arange(n) - anchor) * self._interval
        return result
