"""Playback of a recording's streams through real LSL outlets in real time: a stand-in for a cap and its cues.

A receiver sees what the recorder saw: labels, units, types and descriptions, format and rate, and each sample's own
time stamp. All stamps are moved to now by the same amount, so that EEG and markers keep their distances.
"""

from __future__ import annotations

import heapq
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import RecordingError
from mindwire.sources.liblsl import pylsl
from mindwire.sources.recording import RecordedStream, Recording, Selector, choose_signal
from mindwire.sources.stream_xml import parse_xml

# Longer pauses in the recording are shortened to this.
LONGEST_PAUSE_SECONDS = 10.0
_LINGER_SECONDS = 2.0
_CONSUMER_POLL_SECONDS = 0.2
_MARKER_CONSUMER_SECONDS = 1.0
_BUFFER_SECONDS = 360


@dataclass(frozen=True, slots=True)
class PlaybackOptions:
    """Options of a playback.

    ``name`` is that of the signal's outlet, and before a hyphen of the marker outlets'; None keeps the recorded names.
    ``source_id`` is made of the file's name and the stream's number by default, and ``chunk_samples`` to push about every 40 ms.
    After the last sample the outlets stay open for ``linger_seconds``, for receivers to drain.
    """

    name: str | None = None
    source_id: str | None = None
    chunk_samples: int | None = None
    wait_for_consumer: bool = True
    linger_seconds: float = _LINGER_SECONDS


@dataclass(frozen=True, slots=True)
class Timeline:
    """Map from the recording's times to seconds of playback, with long pauses shortened.

    ``starts`` are the first times of the parts between long pauses, ascending, and ``shifts`` the seconds to add there.
    """

    starts: NDArray[np.float64]
    shifts: NDArray[np.float64]
    duration: float

    @classmethod
    def build(cls, spans: Sequence[tuple[float, float]], longest_pause: float = LONGEST_PAUSE_SECONDS) -> Timeline:
        """Lay out the parts between the first and last times of stretches with samples: at least one, in any order."""
        ordered = sorted(spans)
        starts, shifts = [ordered[0][0]], [-ordered[0][0]]
        end = ordered[0][1]
        for first, last in ordered[1:]:
            if first - end > longest_pause:
                shifts.append(shifts[-1] - (first - end - longest_pause))
                starts.append(first)
            end = max(end, last)
        return cls(np.array(starts), np.array(shifts), end + shifts[-1])

    def place(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Playback seconds of recorded times."""
        part = np.maximum(np.searchsorted(self.starts, times, side="right") - 1, 0)
        result: NDArray[np.float64] = times + self.shifts[part]
        return result


class _PlayedStream:
    """One stream: its outlet, and its samples in pieces."""

    def __init__(
        self, recording: Recording, stream: RecordedStream, name: str, source_id: str, push: int | None
    ) -> None:
        self.stream = stream
        self.name = name
        self._recording = recording
        info = stream.info
        self._push = push or max(1, round(info.sfreq * 0.04))
        self.outlet = pylsl.StreamOutlet(_outlet_info(stream, name, source_id), 0, _BUFFER_SECONDS)

    def spans(self, longest_pause: float) -> Iterator[tuple[float, float]]:
        """Stretches with samples, cut at long pauses."""
        for chunk in self._recording.source(self.stream.stream_id).chunks():
            cuts = np.flatnonzero(np.abs(np.diff(chunk.times)) > longest_pause) + 1
            for part in np.split(chunk.times, cuts):
                yield float(part.min()), float(part.max())

    def pieces(
        self, timeline: Timeline
    ) -> Iterator[tuple[float, pylsl.StreamOutlet, NDArray[np.float64], NDArray[Any]]]:
        """Due time, outlet, playback times and samples of each push."""
        for chunk in self._recording.source(self.stream.stream_id).chunks():
            times = timeline.place(chunk.times)
            for start in range(0, len(times), self._push):
                part = slice(start, start + self._push)
                yield float(times[part][-1]), self.outlet, times[part], chunk.samples[part]


class Playback:
    """The outlets of one recording: its signal, by default the only one of type EEG, and all its markers.

    Raises
    ------
    StreamNotFoundError, RecordingError
        There is no such signal, or nothing in it.

    Attributes
    ----------
    names : tuple of str
        The outlets' names, the signal's first.
    """

    def __init__(
        self, recording: Recording, selector: Selector | None = None, options: PlaybackOptions | None = None
    ) -> None:
        options = options or PlaybackOptions()
        self._options = options
        signal = choose_signal(recording.path, recording.streams, selector)
        markers = [stream for stream in recording.streams if stream.is_markers and stream is not signal]
        stem = options.source_id or f"mindwire-replay-{re.sub(r'[^A-Za-z0-9._-]+', '-', recording.path.stem)}"
        self._streams: list[_PlayedStream] = []
        for stream in (signal, *markers):
            name, source_id = stream.info.name or "recording", f"{stem}-{stream.stream_id}"
            if options.name is not None:
                name = options.name if stream is signal else f"{options.name}-{name}"
            if options.source_id is not None and stream is signal:
                source_id = options.source_id
            push = options.chunk_samples if stream is signal else None
            self._streams.append(_PlayedStream(recording, stream, name, source_id, push))
        spans = [span for played in self._streams for span in played.spans(LONGEST_PAUSE_SECONDS)]
        if not spans:
            msg = f"{recording.path}: expected samples to play, found none that can be read."
            raise RecordingError(msg)
        self._timeline = Timeline.build(spans)
        self.names = tuple(played.name for played in self._streams)

    @property
    def duration(self) -> float:
        """Seconds of playback, without waiting and lingering."""
        return self._timeline.duration

    @property
    def shortened_pauses(self) -> int:
        """Number of pauses that are shortened."""
        return len(self._timeline.starts) - 1

    def run(self, stop: threading.Event, on_time: Callable[[float], None] | None = None) -> None:
        """Play to the end, or until stopped; ``on_time`` is called after each push with the seconds played so far."""
        if self._options.wait_for_consumer and not self._wait_for_consumer(stop):
            return
        epoch = pylsl.local_clock()
        pieces = (played.pieces(self._timeline) for played in self._streams)
        for when, outlet, times, samples in heapq.merge(*pieces, key=itemgetter(0)):
            wait = epoch + when - pylsl.local_clock()
            if stop.wait(wait) if wait > 0 else stop.is_set():
                return
            outlet.push_chunk(samples.tolist() if samples.dtype == object else samples, (epoch + times).tolist())
            if on_time is not None:
                on_time(min(when, self.duration))
        stop.wait(self._options.linger_seconds)

    def _wait_for_consumer(self, stop: threading.Event) -> bool:
        """Wait for a receiver of the signal, which may be about to connect to the markers too; return false if stopped."""
        signal, *others = self._streams
        while not signal.outlet.wait_for_consumers(_CONSUMER_POLL_SECONDS):
            if stop.is_set():
                return False
        deadline = pylsl.local_clock() + _MARKER_CONSUMER_SECONDS
        for other in others:
            left = deadline - pylsl.local_clock()
            if left > 0 and not stop.is_set():
                other.outlet.wait_for_consumers(left)
        return not stop.is_set()


def _outlet_info(stream: RecordedStream, name: str, source_id: str) -> pylsl.StreamInfo:
    """Return the recorded description with another name and source id."""
    info = stream.info
    outlet = pylsl.StreamInfo(
        name, info.type, info.n_channels, info.sfreq, getattr(pylsl, f"cf_{info.dtype}"), source_id
    )
    desc = parse_xml(stream.header).find("desc") if stream.header else None
    if desc is not None:
        _copy_children(desc, outlet.desc())
    elif info.labels:
        outlet.set_channel_labels(info.labels)
        outlet.set_channel_units(info.units or [""] * info.n_channels)
        outlet.set_channel_types(info.type)
    return outlet


def _copy_children(source: Element, target: pylsl.XMLElement) -> None:
    for child in source:
        text = (child.text or "").strip()
        if len(child):
            _copy_children(child, target.append_child(child.tag))
        else:
            target.append_child_value(child.tag, text)
