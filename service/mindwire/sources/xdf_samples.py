"""Decoding of XDF sample chunks, whose content may be damaged.

Memory is allocated by the bytes that a chunk has, never by the number of samples that it claims. A stamp that is left
out follows from the one before and the nominal rate; after a stamp that no clock can have, nothing is deduced.

Samples are copied together where the stamps follow a usual pattern: with it the replay of one hour takes 4.5 s of
processor time, walked from sample to sample 4.7 s (goal: 800 times real time, 4.5 s; two cores, 22 channels at 250 Hz).
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


class DamagedChunkError(Exception):
    """The chunk's content contradicts itself; the reader goes on after it."""


class Samples(NamedTuple):
    """Decoded samples with the sender's stamps."""

    values: NDArray[Any]  # (n_samples, n_channels): numbers, or strings in an object array
    times: NDArray[np.float64]  # (n_samples,)
    gap: bool  # samples before these were lost


class _Parsed(NamedTuple):
    """Whole samples at the beginning of a block; the times of those without a stamp are still open."""

    values: NDArray[Any]
    times: NDArray[np.float64]
    stamped: NDArray[np.bool_]
    n_bytes: int


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
    """

    def __init__(self, dtype: str, n_channels: int, sfreq: float, *, check_times: bool = True) -> None:
        text = dtype == "string"
        self._dtype = np.dtype(object if text else dtype.replace("double", "float")).newbyteorder("<")
        self._n_channels = n_channels
        # Fewest bytes of a sample; a string takes at least the width of its length, and that.
        self.smallest_sample = 1 + n_channels * (2 if text else self._dtype.itemsize)
        self._parse = self._parse_strings if text else self._parse_numbers
        self._interval = 1.0 / sfreq if sfreq > 0 else 0.0
        self._check_times = check_times
        # The stamp that one left out follows on; None while it is unknown.
        self._last: float | None = 0.0
        self._gap = False
        self.refused: float | None = None  # the newest stamp that no clock can have

    def skip(self) -> None:
        """Register that samples before the next chunk are missing: stamps cannot be deduced across them."""
        self._last = None
        self._gap = True

    def decode(self, file: BinaryIO, length: int) -> Iterator[Samples]:
        """Decode the chunk at the file's position; raise DamagedChunkError unless it holds the samples that it declares."""
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
            parsed = self._parse(block, count)
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

    def _parse_strings(self, block: bytes, count: int) -> _Parsed:
        """Parse at most ``count`` whole samples of strings."""
        rows: list[list[str]] = []
        times: list[float] = []
        stamped: list[bool] = []
        position = 0
        while len(rows) < count and position < len(block):
            flag = block[position]
            _check_flag(flag)
            row: list[str] = []
            end = position + 1 + flag
            while len(row) < self._n_channels and end < len(block) and end + block[end] < len(block):
                size, first = read_count(block, end)
                end = first + size
                row.append(block[first:end].decode("utf-8", "replace"))
            if len(row) < self._n_channels or end > len(block):
                break  # the rest of this sample is in the next block, or missing
            times.append(float(np.frombuffer(block, _STAMP, 1, position + 1)[0]) if flag else 0.0)
            stamped.append(flag > 0)
            rows.append(row)
            position = end
        values = np.array(rows, dtype=object).reshape(len(rows), self._n_channels)
        return _Parsed(values, np.array(times, dtype=float), np.array(stamped, dtype=bool), position)

    def _parse_numbers(self, block: bytes, count: int) -> _Parsed:
        """Parse at most ``count`` whole samples of numbers, of which all have a stamp, none has, or every second one."""
        smallest, width = self.smallest_sample, self.smallest_sample - 1
        first = block[0] if block else 0
        second = block[smallest + first] if len(block) > smallest + first and count > 1 else first
        pair = 2 * smallest + first + second
        n = min(count, len(block) // pair * 2 + (len(block) % pair >= smallest + first))
        flags = np.ndarray((n // 2, 2), np.uint8, block, strides=(pair, smallest + first))
        as_first = {first, second} <= {0, 8} and bool((flags == (first, second)).all())
        if not as_first or (n % 2 and block[n // 2 * pair] != first):
            return self._walk(block, count)
        values, times, stamped = np.empty((n, width), np.uint8), np.zeros(n), np.zeros(n, dtype=bool)
        for odd, flag in enumerate((first, second)[:n]):
            at, rows = odd * (smallest + first) + 1, (n + 1 - odd) // 2
            values[odd::2] = np.ndarray((rows, width), np.uint8, block, at + flag, (pair, 1))
            if flag:
                times[odd::2] = np.ndarray((rows,), _STAMP, block, at, (pair,))
                stamped[odd::2] = True
        n_bytes = n // 2 * pair + n % 2 * (smallest + first)
        return _Parsed(values.view(self._dtype), times, stamped, n_bytes)

    def _walk(self, block: bytes, count: int) -> _Parsed:
        """Parse at most ``count`` whole samples of numbers from sample to sample."""
        smallest, width = self.smallest_sample, self.smallest_sample - 1
        found: list[int] = []
        position = 0
        while len(found) < count and position + smallest <= len(block):
            flag = block[position]
            if flag not in (0, 8):
                _check_flag(flag)
            if position + smallest + flag > len(block):
                break
            found.append(position)
            position += smallest + flag
        starts = np.array(found, dtype=np.intp)
        flags = np.frombuffer(block, np.uint8)[starts]
        # Overlapping records at every byte, of which only those that begin a sample are copied.
        records = np.ndarray((max(len(block) - width + 1, 0),), f"V{width}", block, strides=(1,))
        values = records[starts + 1 + flags].view(self._dtype).reshape(len(starts), self._n_channels)
        stamped = flags > 0
        times = np.zeros(len(starts))
        if stamped.any():
            times[stamped] = np.ndarray((len(block) - 7,), "V8", block, strides=(1,))[starts[stamped] + 1].view(_STAMP)
        return _Parsed(values, times, stamped, position)

    def _with_times(self, parsed: _Parsed) -> Iterator[Samples]:
        """Fill in the stamps that were left out, and yield the samples up to the first impossible one."""
        n = stop = len(parsed.times)
        start = 0
        if self._last is None:
            start = int(np.argmax(parsed.stamped)) if parsed.stamped.any() else n
        if start == n:
            return
        stamps = parsed.times if parsed.stamped.all() else self._deduced(parsed.times, parsed.stamped)
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

    def _deduced(self, times: NDArray[np.float64], stamped: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Stamps, each that was left out counted from the one before it."""
        index = np.arange(len(times))
        # Index of the stamp each sample counts from; -1 for the last one of the chunk before.
        anchor = np.maximum.accumulate(np.where(stamped, index, -1))
        base = np.where(anchor >= 0, times[np.maximum(anchor, 0)], self._last or 0.0)
        result: NDArray[np.float64] = base + (index - anchor) * self._interval
        return result
