"""Comparison of a recorded run's input with the device's own recorded stream.

Both are in the file. The recorder may have missed samples of the device where that was interrupted; where the pipeline's
input is continuous, both must be the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindwire.sources.own_input import input_parts
from mindwire.sources.xdf import XdfRecording


@dataclass(frozen=True, slots=True)
class InputComparison:
    """Number of samples that the pipeline was given and the device's recorded stream has, or not.

    Parameters
    ----------
    same : int
        Both have them.
    missed : int
        The device's recorded stream lacks them.
    different : int
        The device's recorded stream has others in their place.
    """

    same: int
    missed: int
    different: int


def compare_with_device(recording: XdfRecording, input_id: int, signal_id: int) -> InputComparison:
    """Compare two streams of a recording by their values; their numbers are those in the file."""
    rows = (row for samples in recording.as_sent(signal_id) for row in _hashes(samples.values))
    device = {row: place for place, row in enumerate(rows)}
    same = missed = different = 0
    absent, last = 0, None  # samples that the device's stream lacks, since the one that it has at this place
    for part in input_parts(recording.path, recording.as_sent(input_id)):
        if part.begins or part.lost or part.chunk.discontinuity:
            missed, absent, last = missed + absent, 0, None
        for row in _hashes(part.chunk.samples):
            place = device.get(row)
            if place is None:
                absent += 1
                continue
            others = min(absent, max(0, place - last - 1)) if last is not None else 0
            same, missed, different = same + 1, missed + absent - others, different + others
            absent, last = 0, place
    return InputComparison(same, missed + absent, different)


def _hashes(values: NDArray[np.generic]) -> Iterator[int]:
    rows = np.ascontiguousarray(values)
    return map(hash, rows.view(f"V{rows.dtype.itemsize * rows.shape[1]}")[:, 0].tolist())
