"""Markers that the participant's page or another program sends to a stream, on an LSL outlet of the stream's own.

They count as the participant's markers: recordings hold them, and trials are made of them. Each has the time that its sender
measured, never that of its arrival. Streams import this module, and demonstrations streams: it must not import liblsl, which reads its
configuration when it is imported.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mindwire.errors import ConflictError, UsageError
from mindwire.sources.markers import CONVENTION, MARKERS, MARKERS_TYPE, OUTLET, SENT_MARKERS_ID
from mindwire.status import ClientClock, SentMarker, Sink

if TYPE_CHECKING:
    from mindwire.sources.display_delay import DisplayDelay
    from mindwire.sources.liblsl import pylsl

# How far from the present the time of a marker may be, in seconds.
OLDEST_S, FARTHEST_S = 600.0, 60.0
_REMEMBERED_IDS = 10_000
_BUFFERED = 600  # hundreds of samples


class SentMarkers(Sink):
    """Outlet ``Mindwire-{stream}-Markers`` and what is sent through it.

    Parameters
    ----------
    stream : str
        Name of the stream.
    prefix : str
        Beginning of the ``source_id`` of the stream's outlets; empty where the stream has none, and then takes no markers.
    opened : bool
        Open the outlet now, because a recorder does not take outlets that come later; otherwise with the first marker.

    Attributes
    ----------
    source_id : str
        That of the outlet.
    show : callable
        Publishes an event of a kind, with a message and data.
    delay : DisplayDelay or None
        The measurement of the display's delay that was begun last.
    """

    def __init__(self, stream: str = "", prefix: str = "", *, opened: bool = False) -> None:
        self.source_id = f"{prefix}{SENT_MARKERS_ID}" if prefix else ""
        self.show: Callable[[str, str, Mapping[str, Any]], None] = lambda *_: None
        self.delay: DisplayDelay | None = None
        self._stream = stream
        self._outlet: pylsl.StreamOutlet | None = None
        self._closed = False
        self._ids: OrderedDict[str, None] = OrderedDict()  # of markers that were published
        self._listeners: frozenset[Callable[[str, float], None]] = frozenset()  # replaced as a whole
        self._lock = threading.Lock()
        if opened:
            self._outlet = self._opened()

    def add(self, listener: Callable[[str, float], None]) -> None:
        """Have a function called with the label and time of each marker from now on, once however often it is added."""
        with self._lock:
            self._listeners |= {listener}

    def remove(self, listener: Callable[[str, float], None]) -> None:
        """Call a function no more; one that was not added is no mistake."""
        with self._lock:
            self._listeners -= {listener}

    def measure(self, delay: DisplayDelay | None) -> DisplayDelay | None:
        """Give markers to a measurement of the display's delay from now on, or to none; end and return the one before."""
        with self._lock:
            before, self.delay = self.delay, delay
            self._listeners -= {before.take} if before else set()
            self._listeners |= {delay.take} if delay else set()
        if before is not None:
            before.end()
        return before

    def follow(self, before: SentMarkers) -> None:
        """Take the place of a stream's markers before it began again: the same ids are known, and the same functions called."""
        before.measure(None)
        self._ids, self._listeners = before._ids, before._listeners

    def take(self, markers: Sequence[SentMarker]) -> int:
        """Publish markers, none if one is refused; those whose id was published before are left out. Returns how many were published.

        May be called from any thread.

        Raises
        ------
        ConflictError
            The stream has no outlets on LSL, or has ended.
        UsageError
            A time is not within the last ten minutes and the next one.
        """
        if not self.source_id:
            msg = (
                f"Stream {self._stream!r} has no outlets on LSL, so its markers would be lost; set lsl_outlet to true."
            )
            raise ConflictError(msg)
        from mindwire.sources.liblsl import pylsl

        now = pylsl.local_clock()
        for marker in markers:
            if not -OLDEST_S <= marker.time - now <= FARTHEST_S:
                msg = (
                    f"Expected the time of marker {marker.label!r} in seconds of LSL's clock, from {OLDEST_S:g} s ago to "
                    f"{FARTHEST_S:g} s from now, found {marker.time:.3f}, which is {marker.time - now:+.3f} s from now; "
                    "map times with the clock of /v1/clock."
                )
                raise UsageError(msg)
        new: list[SentMarker] = []
        try:
            with self._lock:
                if self._closed:
                    msg = f"Stream {self._stream!r} has ended and takes no markers."
                    raise ConflictError(msg)
                outlet = self._outlet = self._outlet or self._opened()
                for marker in markers:
                    if marker.id is None or marker.id not in self._ids:
                        outlet.push_sample([marker.label], marker.time)
                        self._note(marker.id)
                        new.append(marker)
        finally:  # also of those that were published before one could not be
            for marker in new:
                data = {"label": marker.label, "time": marker.time, "source": self._name}
                data["uncertainty_ms"] = marker.uncertainty_ms
                self.show("marker", f"Marker {marker.label} from {self._name}.", data)
                for listener in self._listeners:
                    listener(marker.label, marker.time)
        return len(new)

    def report_clock(self, clock: ClientClock) -> None:
        """Publish, and thereby record, how a client's clock was measured; may be called from any thread."""
        jump = " It has jumped." if clock.jump else ""
        message = (
            f"A client's clock is {clock.offset_s:.4f} s from LSL's, uncertain by {clock.uncertainty_ms:.2f} ms, and "
            f"drifts by {clock.drift_ppm:.1f} ppm.{jump}"
        )
        self.show("clock", message, clock.model_dump())

    def close(self) -> None:
        """Take the outlet off the network."""
        self.measure(None)
        with self._lock:
            self._outlet, self._closed = None, True

    @property
    def _name(self) -> str:
        return f"{OUTLET}{self._stream}{MARKERS}"

    def _note(self, marker_id: str | None) -> None:
        """Note the id of a marker that is published."""
        if marker_id is not None:
            self._ids[marker_id] = None
            if len(self._ids) > _REMEMBERED_IDS:
                self._ids.popitem(last=False)

    def _opened(self) -> pylsl.StreamOutlet:
        from mindwire.sources.liblsl import pylsl

        info = pylsl.StreamInfo(self._name, MARKERS_TYPE, 1, pylsl.IRREGULAR_RATE, pylsl.cf_string, self.source_id)
        info.desc().append_child_value("manufacturer", "Mindwire")
        info.desc().append_child_value("convention", CONVENTION)
        return pylsl.StreamOutlet(info, 1, _BUFFERED)
