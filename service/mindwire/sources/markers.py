"""Markers: the streams and channels that hold events, and their samples as text, numbers, levels or annotations.

Live streams and recordings are read alike.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.types import Marker, SignalInfo

# LSL types of the outlets that Mindwire itself opens.
PREDICTIONS_TYPE = "Probabilities"
EVENTS_TYPE = "Events"
INPUT_TYPE = "Input"
DECISIONS_TYPE = MARKERS_TYPE = "Markers"
AXES_TYPE = "Control"
TIMING_TYPE = "Timing"
# Version of the convention that the outlets of probabilities, decisions, axes and markers state; see docs/convention.md.
CONVENTION = "1"
OUTLET, DECISIONS, AXES, TIMING, MARKERS = "Mindwire-", "-Decisions", "-Axes", "-timing", "-Markers"
_OWN_TYPES = (PREDICTIONS_TYPE, EVENTS_TYPE, INPUT_TYPE, AXES_TYPE, TIMING_TYPE)
_OWN_KINDS = tuple(own.casefold() for own in _OWN_TYPES)


# XPath of Mindwire's own outlets; XPath 1.0 has no ends-with.
def _ends_with(text: str, field: str = "name") -> str:
    return f"substring({field},string-length({field})-{len(text) - 1})='{text}'"


_KINDS = " or ".join([*(f"type='{own}'" for own in _OWN_TYPES), _ends_with(DECISIONS)])
# The outlets of markers that were sent to streams hold the participant's markers. They are known by their source_id alone: others,
# such as the simulator's, may have such a name.
SENT_MARKERS_ID = "-sent-markers"
SENT_MARKERS = _ends_with(SENT_MARKERS_ID, "source_id")
OWN_OUTLETS = f"starts-with(name,'{OUTLET}') and ({_KINDS})"
EVENT_TYPES = ("marker", "stim", "trigger", "event", "annotation", "cue")
_STIM_TYPES = ("stim", "stimulus", "trigger", "trig", "marker", "markers", "event", "events", "status")
_STIM_LABEL = re.compile(r"(sti|stim|trig|trigger|status|markers?|events?)[\s_-]*\d*", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?\d{1,300}\.\d{1,300}\s*")
_MOST_LEVELS = 8
# A level that is repeated after more periods than these is another event.
_HELD_PERIODS = 2.5
# Copies of one marker stream reach the recorder within this.
_SAME_EVENT_S = 5e-3


def is_own(info: SignalInfo) -> bool:
    """Return true for the outlets that Mindwire itself opens."""
    return info.name.startswith(OUTLET) and (info.type.casefold() in _OWN_KINDS or info.name.endswith(DECISIONS))


def holds_markers(info: SignalInfo) -> bool:
    """Return true if a stream holds a person's or a paradigm's events, whatever its sample format and rate.

    Mindwire's own outlets are none of these.
    """
    kind = info.type.casefold()
    if is_own(info):
        return False
    if info.dtype == "string":
        return True
    if any(word in kind for word in EVENT_TYPES):
        return info.sfreq == 0 or info.n_channels <= _MOST_LEVELS  # more are positions of markers on a body
    single = info.sfreq == 0 and info.n_channels == 1 and "eeg" not in kind
    return single and (info.dtype.startswith("int") or not kind)


def stim_channels(info: SignalInfo) -> list[int]:
    """Return the channels of a signal that hold codes of stimuli or triggers."""
    labels, types = info.labels or ("",) * info.n_channels, info.types or ("",) * info.n_channels
    return [
        i
        for i, (label, kind) in enumerate(zip(labels, types, strict=True))
        if kind.casefold() in _STIM_TYPES or _STIM_LABEL.fullmatch(label.strip())
    ]


def tidy_label(label: str) -> str:
    """Return a label as it is shown: a number without meaningless zeros, ``1`` for ``1.000000000000000``."""
    return f"{float(label):.15g}" if _NUMBER.fullmatch(label) else label


class MarkerReader:
    """Reader of a stream's markers, chunk by chunk.

    Text and numbers without a rate are an event each. In a stream with a rate an event is a change to another whole number
    than zero. In annotation streams, which have a channel per label, it is a value other than zero.

    Parameters
    ----------
    info : SignalInfo
    channels : list of int or None
        The channels that count; None for all.
    started : bool
        A level at the very first sample is an event.
    name : str
        The markers' ``stream``.
    """

    def __init__(
        self, info: SignalInfo, channels: list[int] | None = None, *, started: bool = True, name: str = ""
    ) -> None:
        self._channels = channels
        self._name = name
        self._text = info.dtype == "string"
        self._held_s = _HELD_PERIODS / info.sfreq if info.sfreq > 0 else 0.0
        self._labels: tuple[str, ...] | None = None
        several = info.n_channels > 1 and "event" in info.type.casefold()
        if not self._text and info.sfreq == 0 and info.labels and (info.type.casefold() == "annotations" or several):
            self._labels = info.labels
        self._started = started
        self._last: tuple[NDArray[Any], float] | None = None

    def read(self, values: NDArray[Any], times: NDArray[np.float64]) -> list[Marker]:
        """Return the markers of a chunk: ``(n_samples, n_channels)`` values and their times."""
        if self._channels is not None:
            values = values[:, self._channels]
        if self._labels is not None:
            rows, columns = np.nonzero(values)
            return [
                Marker(float(times[row]), tidy_label(self._labels[column]), self._name)
                for row, column in zip(rows, columns, strict=True)
            ]
        if self._held_s and not self._text and len(times):
            chosen = self._changes(values, times)
            values, times = values[chosen], times[chosen]
        labels = (",".join(tidy_label(str(value)) for value in row) for row in values.tolist())
        return [Marker(time, label, self._name) for time, label in zip(times.tolist(), labels, strict=True)]

    def _changes(self, values: NDArray[Any], times: NDArray[np.float64]) -> NDArray[np.bool_]:
        first = self._last is None
        before, time_before = self._last or (values[0], float(times[0]))
        previous = np.concatenate([before[None], values[:-1]])
        elapsed = np.diff(times, prepend=time_before)
        held = (values == previous).all(axis=1) & (np.abs(elapsed) <= self._held_s)
        if first and self._started:
            held[0] = False
        self._last = (values[-1].copy(), float(times[-1]))
        codes = np.nan_to_num(values.astype(float))
        result: NDArray[np.bool_] = ~held & (codes != 0).any(axis=1) & (codes == np.rint(codes)).all(axis=1)
        return result


def merge_markers(streams: Iterable[list[Marker]]) -> list[Marker]:
    """Return markers of several streams in the order of time; equal ones of two streams within 5 ms count once."""
    kept: list[Marker] = []
    seen: dict[str, list[float]] = {}
    for markers in streams:
        new = [marker for marker in markers if not _near(seen.get(marker.label, []), marker.time)]
        for marker in new:
            insort(seen.setdefault(marker.label, []), marker.time)
        kept += new
    return sorted(kept, key=lambda marker: marker.time)


def _near(times: list[float], time: float) -> bool:
    at = bisect_left(times, time)
    return any(abs(other - time) <= _SAME_EVENT_S for other in times[max(at - 1, 0) : at + 1])
