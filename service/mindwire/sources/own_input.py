"""The input of a live run's pipeline, as its recording holds it.

The service writes channels, unit, rate and bundle into the description of its own stream ``Mindwire-{stream}-input``, so
that a recording is read without giving them again. The stream's samples are those that the pipeline was given, with a
channel more that marks discontinuities.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntFlag
from functools import reduce
from itertools import pairwise
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np

from mindwire.errors import RecordingError, SourceError
from mindwire.sources.recorded_stream import RecordedStream
from mindwire.sources.stream_xml import child_text, parse_xml
from mindwire.sources.xdf_samples import Samples
from mindwire.types import Chunk, Reason, SignalInfo

# Element of the stream's description, and the stream's LSL type.
RUN = "run"
_TYPE = "Input"


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
        return reduce(or_, (reason for mark, reason in _REASONS.items() if mark in self), Reason.NONE)

    @classmethod
    def of(cls, reason: Reason) -> InputMark:
        """Return the mark of a chunk with this discontinuity."""
        return reduce(or_, (mark for mark, each in _REASONS.items() if each in reason), cls.NONE)


_REASONS = {
    InputMark.GAP: Reason.GAP,
    InputMark.CLOCK_JUMP: Reason.CLOCK_JUMP,
    InputMark.RECONNECT: Reason.RECONNECT,
}
_CODES = list(range(2 * max(InputMark)))


@dataclass(frozen=True, slots=True)
class InputPart:
    """Consecutive samples that a pipeline was given.

    Parameters
    ----------
    chunk : Chunk
        With the times and discontinuities it was given, whatever they are.
    begins : bool
        It was the first of a new pipeline.
    lost : bool
        The file lost samples before it.
    """

    chunk: Chunk
    begins: bool
    lost: bool


def input_parts(path: Path, samples: Iterable[Samples]) -> Iterator[InputPart]:
    """Cut the service's own stream, as :meth:`mindwire.sources.xdf.XdfRecording.as_sent` gives it, where it is marked.

    Raises
    ------
    RecordingError
        They are not those that the service sent.
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
class OwnInput:
    """Description of a pipeline's input in a recording: the service's own stream, the device's signal, and the bundle."""

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
    own = [s for s in streams if s.info.type == _TYPE and s.info.name.startswith("Mindwire-")]
    return [found for stream in own if (found := _own_input(stream)) is not None]


def _own_input(stream: RecordedStream) -> OwnInput | None:
    try:
        run = json.loads(child_text(parse_xml(stream.header), f"desc/{RUN}"))
        device = signal_from_json(run["source"])
        model = run["model"]
        path = model.get("path")
        info = known_info(device, run)
        return OwnInput(stream, info, str(model["name"]), str(model["sha256"]), Path(path) if path else None)
    except (SourceError, ValueError, TypeError, KeyError, AttributeError):
        return None  # of an earlier version, or changed since: then the streams' own descriptions count


def signal_from_json(source: Mapping[str, Any]) -> SignalInfo:
    """Return a signal's description from JSON, which has lists where it has tuples."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in source.items()}
    return SignalInfo(**values)


def same_device(streams: Sequence[RecordedStream], info: SignalInfo) -> RecordedStream | None:
    """Return the device's own stream in a recording: the same outlet, or one of the same identity."""
    signals = [stream for stream in streams if stream.is_signal]
    for key in ("uid", "source_id", "name"):
        wanted = getattr(info, key)
        same = [stream for stream in signals if wanted and getattr(stream.info, key) == wanted]
        if len(same) == 1:
            return same[0]
    return None
