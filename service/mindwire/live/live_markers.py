"""Markers on the network, shown with a stream: cues of a paradigm, annotations, key presses.

They do not affect decoding, and the recorder takes them from the network itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import numpy as np

from mindwire.errors import ResourceError, SourceError
from mindwire.live.stream import Stream
from mindwire.offline.trials import shown
from mindwire.sources.liblsl import LostError, pylsl
from mindwire.sources.lsl_discovery import DESCRIBABLE, FoundStream, ask, found_stream, lsl_resources, quote
from mindwire.sources.markers import EVENT_TYPES, OWN_OUTLETS, SENT_MARKERS, MarkerReader, holds_markers

log = logging.getLogger(__name__)

_SEARCH_EVERY_S = 5.0
_SEARCH_S = 1.0
_POLL_S = 0.05
_LABEL_LENGTH = 200
# Further markers within a second are not shown.
MOST_PER_SECOND = 100


@contextmanager
def showing_markers(streams: Mapping[str, Stream], names: Collection[str] = ()) -> Iterator[None]:
    """Publish markers of the network as events of streams while the context lasts.

    Parameters
    ----------
    streams : mapping of str to Stream
        They may change while the context lasts.
    names : collection of str
        Names or source_ids of the marker streams to show with every stream; without any, those of the host that a
        stream's source runs on are shown with it.
    """
    stop = threading.Event()
    watch = _MarkerWatch(streams, frozenset(names))
    thread = threading.Thread(target=watch.run, args=(stop,), name="mindwire-markers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(2.0)


def marker_predicate(names: Iterable[str]) -> str:
    """Return the XPath of the named outlets, else of all that may hold markers by their format, rate or type."""
    named = [f"name={quote(name)} or source_id={quote(name)}" for name in sorted(names)]
    if named:
        return f"({' or '.join(named)}) and {DESCRIBABLE}"
    kind = f"translate(type,{quote(ascii_uppercase)},{quote(ascii_lowercase)})"
    markers = " or ".join(f"contains({kind},{quote(word)})" for word in EVENT_TYPES)
    own = f"({OWN_OUTLETS}) or ({SENT_MARKERS})"
    return f"(channel_format='string' or nominal_srate=0 or {markers}) and not({own}) and {DESCRIBABLE}"


def marker_label(values: Iterable[Any]) -> str:
    """Return one sample of a marker stream as a label: ``1.0`` is 1, several channels are separated by commas."""
    text = ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return shown(text[: 4 * _LABEL_LENGTH])[:_LABEL_LENGTH]  # cut first: a very long label takes long


class _MarkerWatch:
    """Searches for marker outlets every few seconds, and publishes the markers of those found."""

    def __init__(self, streams: Mapping[str, Stream], names: frozenset[str]) -> None:
        self._streams = streams
        self._names = names
        self._inlets: dict[str, tuple[FoundStream, pylsl.StreamInlet, MarkerReader]] = {}
        self._resolver: pylsl.ContinuousResolver | None = None
        self._search_at = time.monotonic()
        self._second = 0
        self._sent: Counter[str] = Counter()

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(_POLL_S if self._inlets else 5 * _POLL_S):
            hosts = {source.hostname for stream in self._streams.values() if (source := stream.source)}
            if not hosts:
                self._inlets.clear()
                continue
            with suppress(ResourceError):  # no descriptors are left; streams need them more
                self._search(hosts)
            for uid, (found, inlet, reader) in list(self._inlets.items()):
                self._take(uid, found, inlet, reader)

    def _search(self, hosts: Collection[str]) -> None:
        now = time.monotonic()
        if now < self._search_at:
            return
        with lsl_resources():
            if self._resolver is None:
                predicate = marker_predicate(self._names)
                self._resolver = pylsl.ContinuousResolver(pred=predicate, forget_after=2 * _SEARCH_S)
                self._search_at = now + _SEARCH_S
                return
            handles, self._resolver = self._resolver.results(), None
            self._search_at = now + _SEARCH_EVERY_S
            for handle in handles:
                found = found_stream(handle)
                wanted = self._names or (found.info.hostname in hosts and holds_markers(found.info))
                if found.info.uid in self._inlets or not wanted:
                    continue
                inlet = pylsl.StreamInlet(handle, max_buflen=60, recover=False, processing_flags=pylsl.proc_clocksync)
                try:
                    reader = MarkerReader(ask(inlet, found, _SEARCH_S))
                except SourceError as error:
                    log.warning("Markers are not shown: %s", error)
                    continue
                self._inlets[found.info.uid] = found, inlet, reader
                log.info("Markers are shown from %s.", found)

    def _take(self, uid: str, found: FoundStream, inlet: pylsl.StreamInlet, reader: MarkerReader) -> None:
        try:
            values, times = inlet.pull_chunk(0.0)
        except LostError:
            del self._inlets[uid]
            return
        for marker in reader.read(np.array(values), np.array(times)) if times else ():
            self._publish(found, marker_label([marker.label]), marker.time)

    def _publish(self, found: FoundStream, label: str, at: float) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._sent.clear()
        for stream in self._streams.values():
            source = stream.source
            if source is None or not (self._names or source.hostname == found.info.hostname):
                continue
            if found.info.source_id == stream.markers.source_id:
                continue  # shown when they were sent
            self._sent[stream.name] += 1
            if self._sent[stream.name] > MOST_PER_SECOND:
                continue
            kind, message = "marker", f"Marker {label} from {found.info.name}."
            if found.info.source_id == f"{source.source_id}-markers":  # the simulator's own
                kind, message = "cue", f"The simulated person begins to imagine {label.replace('_', ' ')}."
            stream.reporter.show(kind, message, {"label": label, "time": at, "source": found.info.name})
