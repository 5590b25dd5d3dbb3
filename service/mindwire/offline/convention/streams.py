"""Streams whose rules are checked: a live outlet, listened to for some seconds, or the streams of an XDF recording."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import SourceError, StreamNotFoundError
from mindwire.offline.convention.rules import Kind
from mindwire.sources.liblsl import pylsl
from mindwire.sources.lsl_discovery import FoundStream, Selector, answering, listing, lsl_resources, patiently, search
from mindwire.sources.markers import (
    AXES,
    AXES_TYPE,
    DECISIONS,
    EVENTS_TYPE,
    INPUT_TYPE,
    MARKERS,
    MARKERS_TYPE,
    OUTLET,
    PREDICTIONS_TYPE,
    SENT_MARKERS_ID,
    TIMING_TYPE,
)
from mindwire.sources.recording import Selector as RecordedSelector
from mindwire.sources.stream_xml import child_text, parse_xml, signal_info
from mindwire.sources.xdf import XdfRecording
from mindwire.sources.xdf_file import XdfStream
from mindwire.types import SignalInfo

ENDINGS = {Kind.PROBABILITIES: "", Kind.DECISIONS: DECISIONS, Kind.AXES: AXES, Kind.MARKERS: MARKERS}
_KINDS = {PREDICTIONS_TYPE.casefold(): Kind.PROBABILITIES, AXES_TYPE.casefold(): Kind.AXES}
# Types that the convention does not describe: of signals, and of the service's other outlets.
_OTHERS = tuple(kind.casefold() for kind in ("EEG", EVENTS_TYPE, INPUT_TYPE, TIMING_TYPE))
_ANSWER_S = 5.0
_PULL_S = 0.2
_MOST_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class ObservedStream:
    """A stream as its sender described and stamped it."""

    info: SignalInfo
    header: Element  # its description, LSL's ``<info>``
    kind: Kind
    values: NDArray[Any]  # (n_samples, n_channels): numbers, or text
    times: NDArray[np.float64]  # (n_samples,): the sender's stamps in seconds
    ages: NDArray[np.float64] | None = None  # seconds since each stamp at its arrival; None where that is not known

    @property
    def base(self) -> str:
        """Name without the ending of its kind: the same for all streams of a decoder."""
        ending = ENDINGS[self.kind]
        named = self.info.name.casefold().endswith(ending.casefold())
        return self.info.name[: len(self.info.name) - len(ending)] if ending and named else self.info.name

    def text(self, path: str) -> str:
        """Return the text of an element of the description, empty where there is none."""
        return child_text(self.header, f"desc/{path}")


def kind_of(info: SignalInfo, header: Element) -> Kind:
    """Return which kind a stream means to be: by the ending of its name, its type, and what it holds.

    Raises
    ------
    SourceError
        The convention describes no streams of its type.
    """
    name = info.name.casefold()
    for kind in (Kind.DECISIONS, Kind.AXES, Kind.MARKERS):
        if name.endswith(ENDINGS[kind].casefold()):
            return kind
    if (known := _KINDS.get(info.type.casefold())) is not None:
        return known
    if info.type.casefold() in _OTHERS:
        msg = (
            f"{info.name!r} is of type {info.type}, which the convention does not describe; it describes probabilities "
            f"({OUTLET}STREAM, type {PREDICTIONS_TYPE}), decisions (…{DECISIONS}), axes (…{AXES}) and markers (…{MARKERS})."
        )
        raise SourceError(msg)
    if header.find("desc/classes") is not None:
        return Kind.DECISIONS
    if info.dtype == "string" or info.type == MARKERS_TYPE:
        return Kind.MARKERS
    return Kind.AXES if "normalized" in (info.units or ()) else Kind.PROBABILITIES


def is_recording(target: str) -> bool:
    """Return true if a target is a file instead of the name of an outlet."""
    return Path(target).suffix.casefold() in (".xdf", ".xdfz") or Path(target).is_file()


def listen(name: str, timeout: float, seconds: float, ended: threading.Event | None = None) -> ObservedStream:
    """Find an outlet by its name and take its samples.

    Parameters
    ----------
    name : str
    timeout, seconds : float
        Time to find the outlet, and to take samples.
    ended : threading.Event or None
        Ends the taking of samples before its time.

    Raises
    ------
    StreamNotFoundError
        No outlet, or more than one, has the name.
    SourceError
        The outlet has gone, does not answer, describes itself impossibly, or is none that the convention describes.
    """
    found = _find(name, timeout)
    with lsl_resources(), answering(found, _ANSWER_S):
        inlet = pylsl.StreamInlet(found.handle, recover=False)
        header = parse_xml(patiently(inlet.info, _ANSWER_S, None).as_xml())
        info = signal_info(header)
        kind = kind_of(info, header)
        inlet.open_stream(_ANSWER_S)
        offset = inlet.time_correction(_ANSWER_S)
        rows, times, arrived = _pull(inlet, seconds, ended or threading.Event())
    stamps = np.array(times, dtype=float)
    values = np.array(rows, dtype=object if info.dtype == "string" else float).reshape(len(rows), info.n_channels)
    return ObservedStream(info, header, kind, values, stamps, np.array(arrived) - stamps - offset)


def _find(name: str, timeout: float) -> FoundStream:
    found, others = search(Selector(name=name), timeout)
    if not found:
        msg = (
            f"Expected an outlet named {name!r} within {timeout:g} s, found {listing(others)}; check name and network."
        )
        raise StreamNotFoundError(msg)
    if len(found) > 1:
        msg = f"Expected one outlet named {name!r}, found {len(found)}: {listing(found)}; stop all but one."
        raise StreamNotFoundError(msg)
    return found[0]


def _pull(
    inlet: pylsl.StreamInlet, seconds: float, ended: threading.Event
) -> tuple[list[list[Any]], list[float], list[float]]:
    """Return rows, stamps, and LSL's time at which each row was here."""
    rows: list[list[Any]] = []
    times: list[float] = []
    arrived: list[float] = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not ended.is_set():
        got, stamps = inlet.pull_chunk(min(_PULL_S, left), _MOST_AT_ONCE, min_samples=1)
        rows += got
        times += stamps
        arrived += [pylsl.local_clock()] * len(stamps)
    return rows, times, arrived


def read_streams(recording: XdfRecording, chosen: str | None = None) -> list[ObservedStream]:
    """Return the streams of a recording that the convention speaks of, or those that are chosen.

    Parameters
    ----------
    recording : XdfRecording
    chosen : str or None
        ``name=…,type=…,source_id=…,id=…`` as far as needed, or a name.

    Raises
    ------
    StreamNotFoundError
        There is none.
    SourceError
        One that is chosen is none that the convention describes.
    """
    wanted = RecordedSelector.parse(chosen) if chosen is not None else None
    found = []
    for stream in recording.streams:
        header = parse_xml(stream.header)
        if _is_meant(stream, header) if wanted is None else wanted.matches(stream):
            found.append(_read(recording, stream, header))
    if not found:
        there = "; ".join(stream.describe() for stream in recording.streams)
        expected = "probabilities, decisions, axes or markers of the convention" if wanted is None else repr(chosen)
        msg = f"{recording.path}: expected {expected}, found {there}; choose a stream with --stream id=…."
        raise StreamNotFoundError(msg)
    return found


def _is_meant(stream: XdfStream, header: Element) -> bool:
    info = stream.info
    kind = info.type.casefold()
    if kind in _OTHERS:
        return False
    if kind in _KINDS or child_text(header, "desc/convention") or header.find("desc/classes") is not None:
        return True
    if info.name.casefold().endswith(MARKERS.casefold()):  # the simulator's are not sent to a stream
        return info.source_id.endswith(SENT_MARKERS_ID)
    return info.name.startswith(OUTLET) or info.name.endswith(DECISIONS)


def _read(recording: XdfRecording, stream: XdfStream, header: Element) -> ObservedStream:
    samples = list(recording.as_sent(stream.stream_id))
    text = stream.info.dtype == "string"
    empty = np.empty((0, stream.info.n_channels), dtype=object if text else float)
    values = np.concatenate([empty, *(one.values for one in samples)])
    times = np.concatenate([np.empty(0), *(one.times for one in samples)])
    return ObservedStream(stream.info, header, kind_of(stream.info, header), values, times)
