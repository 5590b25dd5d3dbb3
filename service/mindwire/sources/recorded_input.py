"""What a recorded run's pipeline was given, and whether the device's own recorded stream says the same.

Both are in the file: the service's word for it, and the device's. The recorder may have missed samples of
the device where that was interrupted; a sample that both have must be the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import RecordingError
from mindwire.sources.input_marks import InputMark
from mindwire.sources.xdf import XdfRecording
from mindwire.types import Chunk

# How far a clock offset may have moved since the connection.
_CLOCKS_S = 0.05
_SAME_SAMPLE_PERIODS = 0.6
_CODES = list(range(2 * max(InputMark)))


@dataclass(frozen=True, slots=True)
class InputPart:
    """Samples that a pipeline was given, one after another.

    Parameters
    ----------
    chunk : Chunk
        With the times and breaks it was given, whatever they are.
    begins : bool
        Whether it was the first of a new pipeline.
    lost : bool
        Whether the file lost samples before it.
    """

    chunk: Chunk
    begins: bool
    lost: bool


def input_parts(recording: XdfRecording, input_id: int) -> Iterator[InputPart]:
    """What the pipeline was given, in its order.

    Parameters
    ----------
    recording : XdfRecording
    input_id : int
        The outlet's stream in the file, as :class:`mindwire.sinks.input.InputOutlet` sends it.

    Yields
    ------
    InputPart

    Raises
    ------
    RecordingError
        It is not what the outlet sent.
    """
    for values, times, broken in recording.as_sent(input_id):
        codes = values[:, -1]
        if not np.isin(codes, _CODES).all():
            msg = f"{recording.path}: what the pipeline was given was changed; nothing can be checked with it."
            raise RecordingError(msg)
        cuts = np.unique([0, *np.flatnonzero(codes).tolist(), len(times)])
        for start, stop in pairwise(cuts.tolist()):
            mark = InputMark(int(codes[start]))
            chunk = Chunk(values[start:stop, :-1], times[start:stop], mark.reason)
            yield InputPart(chunk, InputMark.BEGIN in mark, broken and start == 0)


@dataclass(frozen=True, slots=True)
class InputComparison:
    """The samples that the pipeline was given beside the device's recorded stream.

    Parameters
    ----------
    same : int
        Both have them.
    missed : int
        The device's recorded stream lacks them: the recorder was not yet there, or not any more.
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
        What was added to the device's stamps, in seconds, by the time of a connection's first sample.

    Returns
    -------
    InputComparison
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
    """A number that stands for each sample's bytes, and its time."""

    marks: NDArray[np.int64]
    times: NDArray[np.float64]


def _in_device_clock(
    recording: XdfRecording, input_id: int, clock_offsets: Mapping[float, float]
) -> Iterator[tuple[NDArray[np.generic], NDArray[np.float64]]]:
    offset = next(iter(clock_offsets.values()), 0.0)  # of the first connection, if its beginning is not in the file
    for part in input_parts(recording, input_id):
        offset = clock_offsets.get(float(part.chunk.times[0]), offset)
        yield part.chunk.samples, part.chunk.times - offset


def _fingerprints(parts: Iterator[tuple[NDArray[np.generic], NDArray[np.float64]]]) -> _Fingerprints:
    marks, times = [np.empty(0, np.int64)], [np.empty(0)]
    for values, stamps in parts:
        rows = np.ascontiguousarray(values)
        records = rows.view(f"V{rows.dtype.itemsize * rows.shape[1]}")[:, 0].tolist()
        marks.append(np.fromiter(map(hash, records), np.int64, len(records)))
        times.append(stamps)
    return _Fingerprints(np.concatenate(marks), np.concatenate(times))


def _partners(given: _Fingerprints, recorded: _Fingerprints) -> NDArray[np.intp]:
    """For each given sample the nearest recorded one with the same content at about that time, or -1."""
    n = len(given.marks)
    marks = np.concatenate([given.marks, recorded.marks])
    times = np.concatenate([given.times, recorded.times])
    order = np.lexsort((times, marks))
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
        better = (marks[other] == marks[me]) & (distance <= nearest[me])
        partner[me[better]] = other[better] - n
        nearest[me[better]] = distance[better]
    return partner


def _coincide(times: NDArray[np.float64], others: NDArray[np.float64], tolerance_s: float) -> int:
    """How many of the times have one of the others beside them."""
    if not len(others):
        return 0
    others = np.sort(others)
    at = np.clip(np.searchsorted(others, times), 1, len(others)) - 1
    nearer = np.minimum(at + 1, len(others) - 1)
    distance = np.minimum(np.abs(others[at] - times), np.abs(others[nearer] - times))
    return int((distance <= tolerance_s).sum())
