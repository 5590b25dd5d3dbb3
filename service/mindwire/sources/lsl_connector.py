"""Connection to the LSL stream that a user selected, and after a loss to the same device again, never to another.

The first time the user's selector decides. From then on the stream's own identity does: its ``source_id`` with its name and
type, or its name, type and host where it has none. A stream that returns under that identity must have the rate, channels,
labels and units it had.
"""

from __future__ import annotations

import threading

from mindwire.errors import StreamChangedError, StreamNotFoundError
from mindwire.sources.live import Presence
from mindwire.sources.lsl import CONNECT_TIMEOUT_S, LslSource
from mindwire.sources.lsl_discovery import (
    ROUND_S,
    FoundStream,
    Selector,
    StreamSearch,
    describe,
    full_info,
    listing,
    search,
)
from mindwire.sources.markers import is_own
from mindwire.types import SignalInfo


class LslWatch:
    """Check that the outlet with this uid still answers, or another one has its identity."""

    def __init__(self, identity: Selector, uid: str) -> None:
        self._search = StreamSearch("")
        self._identity = identity
        self._uid = uid
        self.close = self._search.close

    def verdict(self) -> Presence | None:
        """Return the result, or None while answers are still expected."""
        uids = {stream.info.uid for stream in self._search.results() if self._identity.matches(stream.info)}
        if self._uid in uids:
            return Presence.THERE
        if self._search.age < ROUND_S:
            return None
        return Presence.REPLACED if uids else Presence.ABSENT


class LslConnector:
    """Connections of one stream of the service to its outlet; a :class:`mindwire.sources.live.Connector`.

    The user gives the selector, and the rate in hertz of a stream that states none.
    """

    def __init__(self, selector: Selector, sfreq: float | None = None) -> None:
        self.selector = selector
        self._sfreq = sfreq
        self._known: SignalInfo | None = None
        self._others: list[FoundStream] = []

    def __str__(self) -> str:
        return describe(self._known) if self._known else str(self.selector)

    @property
    def _identity(self) -> Selector:
        known = self._known
        if known is None:
            return self.selector
        key = "source_id" if known.source_id else "hostname"
        return Selector(known.name, known.type, **{key: getattr(known, key)})

    def find(self, timeout: float, cancelled: threading.Event | None = None) -> FoundStream | None:
        """Search for the stream for ``timeout`` seconds; None when it did not answer, see :meth:`explain`.

        Raises
        ------
        StreamNotFoundError
            Several streams match the selector, or have the identity.
        """
        found, self._others = search(self._identity, timeout, cancelled)
        if len(found) > 1:
            raise StreamNotFoundError(self._several(found))
        return found[0] if found else None

    def _several(self, found: list[FoundStream]) -> str:
        if self._known:
            return (
                f"{len(found)} live streams have the identity of {describe(self._known)}: {listing(found)}; "
                "stop all but the right one."
            )
        alike = len({describe(stream.info) for stream in found}) < len(found)
        advice = "stop all but the right one" if alike else "choose one, for example by its source_id"
        return f"{len(found)} streams match {self.selector}: {listing(found)}; {advice}."

    def open(self, found: FoundStream, cancelled: threading.Event | None = None) -> LslSource:
        """Connect to a stream that was found."""
        source = LslSource(found, sfreq=self._sfreq, cancelled=cancelled)
        changes = differences(self._known, source.info) if self._known else ()
        if changes:
            source.close()
            msg = (
                f"Stream {describe(source.info)} came back changed: {'; '.join(changes)}. "
                "Set the device as it was, or restart Mindwire to accept it."
            )
            raise StreamChangedError(msg)
        return source

    def describe(self, found: FoundStream, cancelled: threading.Event | None = None) -> SignalInfo:
        """Return a stream's full description."""
        return full_info(found, CONNECT_TIMEOUT_S, cancelled)

    def accept(self, info: SignalInfo) -> None:
        """Keep to this stream's identity from now on."""
        self._known = info

    def watch(self, uid: str) -> LslWatch:
        """Begin to check an outlet which sends nothing."""
        return LslWatch(self._identity, uid)

    def explain(self) -> str:
        """Return why the last :meth:`find` found nothing, with the streams on the network."""
        there = [stream for stream in self._others if not is_own(stream.info)]
        if self._known:
            namesakes = [s for s in there if (s.info.name, s.info.type) == (self._known.name, self._known.type)]
            if namesakes:
                changes = differences(self._known, namesakes[0].info)[:1] or ["the host changed"]
                return (
                    f"Waiting for {describe(self._known)} to come back; {listing(namesakes)} is there instead "
                    f"({changes[0]}), which is taken for another device: restart Mindwire to accept it."
                )
            return f"Waiting for {describe(self._known)} to come back; on the network: {listing(there)}."
        if any(self.selector.matches(stream.info) for stream in there) and self.selector.predicate is None:
            return (
                f"The description of {self.selector} is too large or too deeply nested to be read "
                f"(on the network: {listing(there)}); mend the program that sends it."
            )
        return f"No stream matches {self.selector}; on the network: {listing(there)}."


def differences(before: SignalInfo, now: SignalInfo) -> list[str]:
    """Return the differences between two descriptions of a stream as phrases for a message.

    The uid differs after every restart of an outlet and is not compared.
    """
    changes = []
    what = {
        "source_id": "source_id",
        "sfreq": "nominal rate",
        "n_channels": "number of channels",
        "dtype": "sample format",
    }
    for key, name in what.items():
        old, new = getattr(before, key), getattr(now, key)
        if old != new:
            changes.append(f"{name} {old or 'none'} became {new or 'none'}")
    if before.n_channels == now.n_channels:
        changes += _channel_changes("label", before.labels, now.labels)
        changes += _channel_changes("unit", before.units, now.units)
    return changes


def _channel_changes(what: str, old: tuple[str, ...] | None, new: tuple[str, ...] | None) -> list[str]:
    if old == new:
        return []
    if old is None or new is None:
        return [f"{what}s {'disappeared' if new is None else 'appeared'}"]
    if sorted(old) == sorted(new):
        return [f"the order of the {what}s changed"]
    index = next(i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
    return [f"{what} of channel {index + 1} changed from {old[index] or 'none'} to {new[index] or 'none'}"]
