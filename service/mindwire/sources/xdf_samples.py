"""Decoding of XDF sample chunks: values and time stamps out of bytes that may lie.

Nothing is allocated by what a chunk claims, only by the bytes it has. A stamp that is absent follows
from the one before and the nominal rate; a stamp that cannot be one ends what is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 1 << 20
_STAMP = np.dtype("<f8")
# Seconds beyond which no clock can be (3,000 years); garbage read as a double mostly is.
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
    """The chunk's content contradicts itself; internal to the reader, which goes on behind it."""


class Samples(NamedTuple):
    """Decoded samples with the sender's stamps.

    Parameters
    ----------
    values : ndarray, shape (n_samples, n_channels)
        Numbers, or Python strings in an object array.
    times : ndarray of float64, shape (n_samples,)
    broken : bool
        They do not continue the samples before.
    """

    values: NDArray[Any]
    times: NDArray[np.float64]
    broken: bool


def read_count(content: bytes, position: int = 0) -> tuple[int, int]:
    """A variable-length integer and the position behind it.

    Raises
    ------
    DamagedChunkError
        There is none.
    """
    width = content[position] if position < len(content) else 0
    end = position + 1 + width
    if width not in (1, 4, 8) or end > len(content):
        msg = "no length where one was due"
        raise DamagedChunkError(msg)
    return int.from_bytes(content[position + 1 : end], "little"), end


def plausible(times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which stamps can be some clock's seconds."""
    result: NDArray[np.bool_] = np.abs(times) < _MAX_TIME  # false for NaN
    return result


class _Parsed(NamedTuple):
    """Whole samples at the beginning of a block."""

    values: NDArray[Any]
    times: NDArray[np.float64]
    explicit: NDArray[np.intp]  # which samples have a stamp; the times of the others are still open
    used: int  # bytes


class _Strings:
    """Samples of strings."""

    def __init__(self, n_channels: int) -> None:
        self._n_channels = n_channels
        # A flag, and per channel the width of a length and a length.
        self.smallest = 1 + 2 * n_channels

    def parse(self, block: bytes, count: int) -> _Parsed:
        """At most ``count`` whole samples."""
        rows: list[list[str]] = []
        times: list[float] = []
        explicit: list[int] = []
        used = 0
        while len(rows) < count and used < len(block):
            flag = block[used]
            _check_flag(flag)
            row, end = self._row(block, used + 1 + flag)
            if row is None:
                break  # the rest of this sample is in the next block, or missing
            if flag:
                explicit.append(len(rows))
            times.append(float(np.frombuffer(block, _STAMP, 1, used + 1)[0]) if flag else 0.0)
            rows.append(row)
            used = end
        values = np.empty((len(rows), self._n_channels), dtype=object)
        if rows:
            values[:] = rows
        return _Parsed(values, np.array(times, dtype=float), np.array(explicit, dtype=np.intp), used)

    def _row(self, block: bytes, position: int) -> tuple[list[str] | None, int]:
        """One sample's strings and the position behind them; None when the block ends before they do."""
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
    """Samples of numbers."""

    def __init__(self, dtype: np.dtype[Any], n_channels: int) -> None:
        self._dtype = dtype
        self._n_channels = n_channels
        self._width = n_channels * dtype.itemsize
        self.smallest = 1 + self._width

    def parse(self, block: bytes, count: int) -> _Parsed:
        """At most ``count`` whole samples."""
        none = np.empty(0, dtype=np.intp)
        if len(block) < self.smallest:
            return _Parsed(np.empty((0, self._n_channels), self._dtype), np.empty(0), none, 0)
        flag = block[0]
        _check_flag(flag)
        # In many files all samples of a chunk have a stamp, or none has.
        record = self.smallest + flag
        whole = min(len(block) // record, count)
        table = np.frombuffer(block, np.uint8, whole * record).reshape(whole, record)
        if (table[:, 0] == flag).all() and (whole == count or len(block) - whole * record < record):
            times = table[:, 1:9].copy().view(_STAMP)[:, 0] if flag else np.zeros(whole)
            values = table[:, 1 + flag :].copy().view(self._dtype)
            return _Parsed(values, times, np.arange(whole) if flag else none, whole * record)
        return self._alternating(block, count) or self._mixed(block, count)

    def _alternating(self, block: bytes, count: int) -> _Parsed | None:
        """Samples of which every second one has a stamp, as LabRecorder often writes them; None if they are others."""
        flag, width = block[0], self._width
        second = 1 + flag + width  # where a pair's second sample begins
        pair = 2 * self.smallest + 8
        pairs = min(len(block) // pair, count // 2)
        used = pairs * pair
        table = np.frombuffer(block, np.uint8, used).reshape(pairs, pair)
        if not pairs or (table[:, 0] != flag).any() or (table[:, second] != 8 - flag).any():
            return None
        single = count > 2 * pairs and len(block) - used >= second and block[used] == flag
        n = 2 * pairs + single
        values = np.empty((n, width), np.uint8)
        values[0 : 2 * pairs : 2] = table[:, 1 + flag : second]
        values[1::2] = table[:, pair - width :]
        first, stamp = (0, 1) if flag else (1, second + 1)
        explicit = np.arange(first, n, 2)
        times = np.zeros(n)
        times[first : 2 * pairs : 2] = table[:, stamp : stamp + 8].copy().view(_STAMP)[:, 0]
        if single:
            values[-1] = np.frombuffer(block, np.uint8, width, used + second - width)
            if flag:
                times[-1] = np.frombuffer(block, _STAMP, 1, used + 1)[0]
            used += second
        return _Parsed(values.view(self._dtype), times, explicit, used)

    def _mixed(self, block: bytes, count: int) -> _Parsed:
        """Samples with and without a stamp in one block; LabRecorder often writes every second one."""
        starts: list[int] = []
        found = starts.append
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
            found(position)
            position += width
        at = np.array(starts, dtype=np.intp)
        # Overlapping records at every byte, of which only those that begin a sample are copied.
        records = np.ndarray((max(last + 1, 0),), dtype=f"V{width}", buffer=block, strides=(1,))
        values = records[at].view(self._dtype).reshape(len(at), self._n_channels)
        explicit = np.flatnonzero(np.diff(at, prepend=-width) - width == 9)
        times = np.zeros(len(at))
        if len(explicit):
            stamps = np.ndarray((len(block) - 7,), dtype="V8", buffer=block, strides=(1,))
            times[explicit] = stamps[at[explicit] - 8].view(_STAMP)
        return _Parsed(values, times, explicit, position)


def _check_flag(flag: int) -> None:
    """A sample begins with the number of bytes of its stamp, 0 or 8."""
    if flag not in (0, 8):
        msg = f"a stamp of {flag} bytes"
        raise DamagedChunkError(msg)


class SampleDecoder:
    """Decodes the sample chunks of one stream in the order of the file.

    Parameters
    ----------
    dtype : str
        XDF's name of the sample format.
    n_channels : int
    sfreq : float
        Nominal rate in hertz, 0 when irregular.
    judge : bool
        Whether stamps that no clock can have end what is believed.

    Attributes
    ----------
    refused : float or None
        The newest stamp that no clock can have.
    """

    def __init__(self, dtype: str, n_channels: int, sfreq: float, *, judge: bool = True) -> None:
        self._parser: _Strings | _Numbers = (
            _Strings(n_channels) if dtype == "string" else _Numbers(DTYPES[dtype], n_channels)
        )
        self._interval = 1.0 / sfreq if sfreq > 0 else 0.0
        self._judge = judge
        # The time that an absent stamp follows on; None while it is unknown.
        self._last: float | None = 0.0
        self._broken = False
        self.refused: float | None = None

    @property
    def smallest_sample(self) -> int:
        """Fewest bytes that a sample can take."""
        return self._parser.smallest

    def lose_track(self) -> None:
        """Take note that samples before the next chunk are missing: stamps cannot be deduced across them."""
        self._last = None
        self._broken = True

    def decode(self, file: BinaryIO, length: int) -> Iterator[Samples]:
        """Decode the chunk at the file's position.

        Parameters
        ----------
        file : binary file
            At the first byte of the chunk's content.
        length : int
            Bytes of content.

        Yields
        ------
        Samples
            In pieces of about a megabyte; never empty.

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
            block = block[parsed.used :]
            count -= len(parsed.times)
            # The last piece waits until the chunk has proved to end where it should.
            if pending is not None:
                yield from self._believe(pending)
            pending = parsed
        if block or left:
            msg = f"{len(block) + left} bytes are left over behind the last sample"
            raise DamagedChunkError(msg)
        if pending is not None:
            yield from self._believe(pending)

    def _believe(self, parsed: _Parsed) -> Iterator[Samples]:
        """Fill in absent stamps and pass on what has a time that can be true."""
        values, times, explicit, _ = parsed
        n = len(times)
        start = 0
        if self._last is None:
            start = int(explicit[0]) if len(explicit) else n
        if start >= n:
            return
        stamps = times if len(explicit) == n else self._deduced(times, explicit)
        stop = n
        believable = plausible(stamps[start:]) if self._judge else np.ones(n - start, dtype=bool)
        if not believable.all():
            stop = start + int(np.argmin(believable))
        if stop > start:
            yield Samples(values[start:stop], stamps[start:stop], self._broken)
            self._broken = False
        if stop < n:
            self.refused = float(stamps[stop])
            self.lose_track()
        else:
            self._last = float(stamps[-1])

    def _deduced(self, times: NDArray[np.float64], explicit: NDArray[np.intp]) -> NDArray[np.float64]:
        """Stamps, each absent one counted from the stamp before it."""
        n = len(times)
        # Index of the stamp each sample counts from; -1 for the last one of the chunk before.
        anchor = np.full(n, -1, dtype=np.intp)
        anchor[explicit] = explicit
        np.maximum.accumulate(anchor, out=anchor)
        carried = self._last if self._last is not None else 0.0
        base = np.where(anchor >= 0, times[np.maximum(anchor, 0)], carried)
        result: NDArray[np.float64] = base + (np.arange(n) - anchor) * self._interval
        return result
