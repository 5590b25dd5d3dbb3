"""Finding the LSL stream that is meant, and after a loss the same device again, never another.

The first time the user's description decides. From then on the stream's own identity does: its
``source_id`` with its name and type, or its name, type and host where it has none. What comes back under
that identity must have the rate, channels, labels and units it had.
"""

from __future__ import annotations

import threading

from service.errors import StreamChangedError, StreamNotFoundError
from service.sources.live import Presence
from service.sources.lsl import LslSource
from service.sources.lsl_discovery import FoundStream, Selector, describe, differences, listing, resolve
from service.types import SignalInfo

# How long a second stream of the same description may take to answer, once the first has.
_FIRST_TWIN_S = 0.5
_TWIN_S = 0.25


class LslConnector:
    """Connects one stream of the service to its outlet, again and again.

    Parameters
    ----------
    selector : Selector
        What the user says of the stream.
    """

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self._known: SignalInfo | None = None

    def __str__(self) -> str:
        return describe(self._known) if self._known else str(self.selector)

    @property
    def _identity(self) -> Selector:
        known = self._known
        if known is None:
            return self.selector
        if known.source_id:
            return Selector(name=known.name, type=known.type, source_id=known.source_id)
        return Selector(name=known.name, type=known.type, hostname=known.hostname)

    def find(self, timeout: float) -> FoundStream | None:
        """Look for the stream once.

        Parameters
        ----------
        timeout : float
            Seconds to wait for an answer.

        Returns
        -------
        FoundStream or None
            None when nothing answered.

        Raises
        ------
        StreamNotFoundError
            Several streams answer the description, or the identity.
        """
        xpath = self._identity.xpath
        found = {stream.info.uid: stream for stream in resolve(xpath, timeout=timeout, minimum=1)}
        if not found:
            return None
        twin_s = _TWIN_S if self._known else _FIRST_TWIN_S
        found.update({stream.info.uid: stream for stream in resolve(xpath, timeout=twin_s, minimum=len(found) + 1)})
        if len(found) > 1:
            raise StreamNotFoundError(self._several(list(found.values())))
        return next(iter(found.values()))

    def _several(self, found: list[FoundStream]) -> str:
        if self._known:
            return (
                f"{len(found)} live streams have the identity of {describe(self._known)}: {listing(found)}; "
                "stop all but the right one."
            )
        return (
            f"{len(found)} streams match {self.selector}: {listing(found)}; "
            "say which one, for example by its source_id."
        )

    def open(self, found: FoundStream, cancelled: threading.Event | None = None) -> LslSource:
        """Connect to what was found, and make sure that it is what it was.

        Raises
        ------
        StreamChangedError
            It has the identity of the stream that was lost, but another rate, format or layout.
        SourceError
            It does not answer, or is of a kind that cannot be decoded.
        """
        source = LslSource(found, cancelled=cancelled)
        changes = differences(self._known, source.info) if self._known else ()
        if changes:
            source.close()
            msg = (
                f"Stream {describe(source.info)} came back changed: {'; '.join(changes)}. "
                "Set the device as it was, or restart Mindwire to accept it."
            )
            raise StreamChangedError(msg)
        return source

    def accept(self, info: SignalInfo) -> None:
        """Hold to this stream's identity from now on."""
        self._known = info

    def presence(self, uid: str, timeout: float) -> Presence:
        """Whether a silent outlet still answers, or another one has taken its identity.

        Parameters
        ----------
        uid : str
            Of the outlet that is connected.
        timeout : float
            Seconds to wait for answers.
        """
        uids = {stream.info.uid for stream in resolve(self._identity.xpath, timeout=timeout)}
        if uid in uids:
            return Presence.THERE
        return Presence.REPLACED if uids else Presence.ABSENT

    def explain(self, timeout: float) -> str:
        """Why nothing is found, with what is there instead.

        Parameters
        ----------
        timeout : float
            Seconds to look around.
        """
        there = [stream for stream in resolve("", timeout=timeout) if not stream.info.name.startswith("Mindwire-")]
        if self._known:
            namesakes = [s for s in there if (s.info.name, s.info.type) == (self._known.name, self._known.type)]
            if namesakes:
                changes = differences(self._known, namesakes[0].info)[:1] or ["the host changed"]
                return (
                    f"Waiting for {describe(self._known)} to come back; {listing(namesakes)} is there instead "
                    f"({changes[0]}), which is taken for another device: restart Mindwire to accept it."
                )
            return f"Waiting for {describe(self._known)} to come back; on the network: {listing(there)}."
        return f"No stream matches {self.selector}; on the network: {listing(there)}."
