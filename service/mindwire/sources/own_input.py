"""The input of a live run's pipeline, as its recording holds it, and its comparison with the device's own stream.

The service writes channels, unit, rate and bundle into the description of its own stream ``Mindwire-{stream}-input``, so
that a recording is read without giving them again. The stream's samples are those that the pipeline was given, with a
channel more that marks discontinuities.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntFlag
from functools import reduce
from itertools import pairwise
from operator import or_
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mindwire.errors import RecordingError, SourceError
from mindwire.sources.markers import INPUT_TYPE
from mindwire.sources.recorded_stream import RecordedStream
from mindwire.sources.stream_xml import child_text, parse_xml
from mindwire.sources.xdf_samples import Samples
from mindwire.types import Chunk, Reason, SignalInfo

# Element of the stream's description.
RUN = "run"


class InputMark(IntFlag):
    """Last channel of a sample that the pipeline was given; small enough for eight bits."""

    NONE = 0
    GAP = 1
    CLOCK_JUMP = 2
    RECONNECT = 4
    BEGIN = 8  # first sample of a new pipeline

    @property
    def reason(self) -> Reason:
        """The chunk's discontinuity."""
        return reduce(or_, (Reason[name] for name in _REASONS if InputMark[name] in self), Reason.NONE)

    @classmethod
    def of(cls, reason: Reason) -> InputMark:
        """Return the mark of a chunk with this discontinuity."""
        return reduce(or_, (cls[name] for name in _REASONS if Reason[name] in reason), cls.NONE)


_REASONS = ("GAP", "CLOCK_JUMP", "RECONNECT")
_CODES = list(range(2 * max(InputMark)))


@dataclass(frozen=True, slots=True)
class InputPart:
    """Consecutive samples that a pipeline was given, with the times and discontinuities it was given."""

    chunk: Chunk
    begins: bool  # the first of a new pipeline
    lost: bool  # the file lost samples before it


def input_parts(path: Path, samples: Iterable[Samples]) -> Iterator[InputPart]:
    """Cut the service's own stream, as :meth:`mindwire.sources.xdf.XdfRecording.as_sent` gives it, where it is marked.

    Raise RecordingError if the samples are not those that the service sent.
    """
    for values, times, gap in samples:
        codes = values[:, -1]
        if not np.isin(codes, _CODES).all():
            msg = f"{path}: what the pipeline was given was changed; nothing can be checked with it."
            raise RecordingError(msg)
        cuts = np.unique([0, *np.flatnonzero(codes).tolist(), len(times)])
        for start, stop in pairwise(cuts.tolist()):
            mark = InputMark(int(codes[start]))
            chunk = Chunk(values[start:stop, :-1], times[start:stop], mark.reason)
            yield InputPart(chunk, InputMark.BEGIN in mark, gap and start == 0)


@dataclass(frozen=True, slots=True)
class InputComparison:
    """Number of samples that the pipeline was given and the device's recorded stream has, or not.

    The recorder may have missed samples of the device where that was interrupted; where the pipeline's input is continuous,
    both must be the same.
    """

    same: int  # both have them
    missed: int  # the device's recorded stream lacks them
    different: int  # the device's recorded stream has others in their place
    at_time: float | None = None  # of the first different one, in seconds


def compare_with_device(parts: Iterable[InputPart], samples: Iterable[Samples]) -> InputComparison:
    """Compare a pipeline's input with the samples of the device's own stream, by their values."""
    device = {row: place for place, row in enumerate(row for piece in samples for row in _hashes(piece.values))}
    same = missed = different = 0
    at_time: float | None = None
    absent, last = (
        list[float](),
        None,
    )  # times of samples that the device's stream lacks, since the one that it has here
    for part in parts:
        if part.begins or part.lost or part.chunk.discontinuity:
            missed, absent, last = missed + len(absent), [], None
        for row, time in zip(_hashes(part.chunk.samples), part.chunk.times.tolist(), strict=True):
            place = device.get(row)
            if place is None:
                absent.append(time)
                continue
            others = min(len(absent), max(0, place - last - 1)) if last is not None else 0
            at_time = absent[0] if others and at_time is None else at_time
            same, missed, different = same + 1, missed + len(absent) - others, different + others
            absent, last = [], place
    return InputComparison(same, missed + len(absent), different, at_time)


def _hashes(values: NDArray[np.generic]) -> Iterator[int]:
    rows = np.ascontiguousarray(values)
    return map(hash, rows.view(f"V{rows.dtype.itemsize * rows.shape[1]}")[:, 0].tolist())


@dataclass(frozen=True, slots=True)
class OwnInput:
    """Description of a pipeline's input in a recording: the service's own stream, the device's signal, and the bundle.

    Name and hash are empty for a stream that ran without a model.
    """

    stream: RecordedStream
    info: SignalInfo
    model_name: str
    model_sha256: str
    model_path: Path | None


def known_info(info: SignalInfo, details: Mapping[str, Any]) -> SignalInfo:
    """Return a device's signal with the channels, unit and rate that the user gave or the bundle remembered."""
    known = details.get("known", {})
    channels, unit, sfreq = known.get("channels"), known.get("unit"), known.get("sfreq")
    labels = tuple(channels) if channels and len(channels) == info.n_channels else info.labels
    units = (str(unit),) * info.n_channels if unit else info.units
    changed = replace(info, labels=labels, units=units, sfreq=float(sfreq) if sfreq else info.sfreq)
    return info if changed == info else replace(changed, original=info, remarks=() if labels else info.remarks)


def own_inputs(streams: Sequence[RecordedStream]) -> list[OwnInput]:
    """Return the described inputs of pipelines among the streams of a recording."""
    found = []
    for stream in streams:
        if stream.info.type != INPUT_TYPE or not stream.info.name.startswith("Mindwire-"):
            continue
        # Where it was made by an earlier version, or changed since, the streams' own descriptions count.
        with suppress(SourceError, ValueError, TypeError, KeyError, AttributeError):
            run = json.loads(child_text(parse_xml(stream.header), f"desc/{RUN}"))
            info = known_info(msgspec.convert(run["source"], SignalInfo), run)
            model = run["model"] or {"name": "", "sha256": ""}
            path = model.get("path")
            found.append(OwnInput(stream, info, str(model["name"]), str(model["sha256"]), Path(path) if path else None))
    return found


def same_device(streams: Sequence[RecordedStream], info: SignalInfo) -> RecordedStream | None:
    """Return the device's own stream in a recording: the same outlet, or one of the same identity."""
    signals = [stream for stream in streams if stream.is_signal]
    for key in ("uid", "source_id", "name"):
        wanted = getattr(info, key)
        same = [stream for stream in signals if wanted and getattr(stream.info, key) == wanted]
        if len(same) == 1:
            return same[0]
    return None
