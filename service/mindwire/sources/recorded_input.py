"""Comparison of what a recorded run's pipeline was given with the device's own recorded stream.

Both are in the file. The recorder may have missed samples of the device where that was interrupted; a sample that both
have must be the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindwire.sources.own_input import input_parts
from mindwire.sources.xdf import XdfRecording

# Largest change of a clock offset since the connection.
_CLOCKS_S = 0.05
_SAME_SAMPLE_PERIODS = 0.6


@dataclass(frozen=True, slots=True)
class InputComparison:
    """Number of samples that the pipeline was given and the device's recorded stream has, or not.

    Parameters
    ----------
    same : int
        Both have them.
    missed : int
        The device's recorded stream lacks them: the recorder was not yet connected, or not any more.
    different : int
        Both have a sample for that time, but not the same.
    """

    same: int
    missed: int
    different: int


def compare_with_device(
    recording: XdfRecording, input_id: int, signal_id: int, clock_offsets: Mapping[float, float]
) -> InputComparison:
    """Compare what a pipeline was given with what the recorder took from the device itself.

    Parameters
    ----------
    recording : XdfRecording
    input_id, signal_id : int
        The two streams in the file.
    clock_offsets : mapping of float to float
        Seconds that were added to the device's stamps, by the time of a connection's first sample.
    """
    # In the device's own clock: the recorder's measurements of it are few, and as wrong as a busy machine makes them.
    given = _fingerprints(_in_device_clock(recording, input_id, clock_offsets))
    recorded = _fingerprints((values, times) for values, times, _ in recording.as_sent(signal_id))
    tolerance = _SAME_SAMPLE_PERIODS / recording.source(signal_id).info.sfreq
    partner = _partners(given, recorded)
    taken = np.zeros(len(recorded.times) + 1, dtype=bool)
    taken[partner[partner >= 0]] = True
    different = 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], partner < 0, [False]]).astype(np.int8)))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        before = int(partner[start - 1]) if start else -1
        after = int(partner[stop]) if stop < len(partner) else len(recorded.times)
        others = np.arange(before + 1, after)
        others = others[~taken[others]]
        shift = float(recorded.times[before] - given.times[start - 1]) if start else 0.0
        different += _coincide(given.times[start:stop] + shift, recorded.times[others], tolerance)
    same = int((partner >= 0).sum())
    return InputComparison(same, len(partner) - same - different, different)


@dataclass(frozen=True, slots=True)
class _Fingerprints:
    """Hash of each sample's bytes, and its time."""

    hashes: NDArray[np.int64]
    times: NDArray[np.float64]


def _in_device_clock(
    recording: XdfRecording, input_id: int, clock_offsets: Mapping[float, float]
) -> Iterator[tuple[NDArray[np.generic], NDArray[np.float64]]]:
    offset = next(iter(clock_offsets.values()), 0.0)  # of the first connection, if its beginning is not in the file
    for part in input_parts(recording.path, recording.as_sent(input_id)):
        offset = clock_offsets.get(float(part.chunk.times[0]), offset)
        yield part.chunk.samples, part.chunk.times - offset


def _fingerprints(parts: Iterable[tuple[NDArray[np.generic], NDArray[np.float64]]]) -> _Fingerprints:
    hashes, times = [np.empty(0, np.int64)], [np.empty(0)]
    for values, stamps in parts:
        rows = np.ascontiguousarray(values)
        records = rows.view(f"V{rows.dtype.itemsize * rows.shape[1]}")[:, 0].tolist()
        hashes.append(np.fromiter(map(hash, records), np.int64, len(records)))
        times.append(stamps)
    return _Fingerprints(np.concatenate(hashes), np.concatenate(times))


def _partners(given: _Fingerprints, recorded: _Fingerprints) -> NDArray[np.intp]:
    """Index of the nearest recorded sample with the same content at about the time of each given one, or -1."""
    n = len(given.hashes)
    hashes = np.concatenate([given.hashes, recorded.hashes])
    times = np.concatenate([given.times, recorded.times])
    order = np.lexsort((times, hashes))
    is_recorded = order >= n
    position = np.arange(len(order))
    last = np.maximum.accumulate(np.where(is_recorded, position, -1))
    following = np.minimum.accumulate(np.where(is_recorded, position, len(order))[::-1])[::-1]
    partner = np.full(n, -1, dtype=np.intp)
    nearest = np.full(n, _CLOCKS_S)
    mine = np.flatnonzero(~is_recorded)
    for candidates in (last[mine], following[mine]):
        there = (candidates >= 0) & (candidates < len(order))
        me, other = order[mine[there]], order[candidates[there]]
        distance = np.abs(times[other] - times[me])
        better = (hashes[other] == hashes[me]) & (distance <= nearest[me])
        partner[me[better]] = other[better] - n
        nearest[me[better]] = distance[better]
    return partner


def _coincide(times: NDArray[np.float64], others: NDArray[np.float64], tolerance_s: float) -> int:
    """Number of times that one of the others is near."""
    if not len(others):
        return 0
    others = np.sort(others)
    at = np.clip(np.searchsorted(others, times), 1, len(others)) - 1
    nearer = np.minimum(at + 1, len(others) - 1)
    distance = np.minimum(np.abs(others[at] - times), np.abs(others[nearer] - times))
    return int((distance <= tolerance_s).sum())
