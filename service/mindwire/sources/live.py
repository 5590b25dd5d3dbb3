"""What a live source is to a stream: something that is found, opened, read, lost, and found again."""

from __future__ import annotations

import threading
from enum import StrEnum
from typing import Any, Protocol

from mindwire.types import Chunk, SignalInfo


class Presence(StrEnum):
    """What the network says of a source that has fallen silent."""

    THERE = "there"
    REPLACED = "replaced"
    ABSENT = "absent"


class Source(Protocol):
    """Where samples come from, live."""

    info: SignalInfo

    @property
    def clock_offset_s(self) -> float | None:
        """What is added to the sender's time stamps; None when the clocks cannot be compared."""
        ...

    def read(self, timeout: float) -> Chunk | None:
        """What has arrived; waits up to ``timeout`` seconds for the first sample only.

        Raises
        ------
        StreamLostError
            The source has gone.
        """
        ...

    def now(self) -> float:
        """The clock that the chunks' times are in, in seconds."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class Watch(Protocol):
    """Finds out whether a silent source is still there, without waiting."""

    def verdict(self) -> Presence | None:
        """To be asked a few times a second; None while the answers are still coming in."""
        ...

    def close(self) -> None:
        """Ask no more."""
        ...


class Connector(Protocol):
    """Finds a source, and the same one again; see :class:`mindwire.sources.lsl_connector.LslConnector`."""

    def find(self, timeout: float, cancelled: threading.Event | None = None) -> Any | None:
        """Look for the source; what is found has its ``info``.

        Raises
        ------
        StreamNotFoundError
            Several answer.
        """
        ...

    def open(self, found: Any, cancelled: threading.Event | None = None) -> Source:
        """Connect to what was found.

        Raises
        ------
        StreamChangedError
            It is not what it was.
        SourceError
            It does not answer or cannot be used.
        """
        ...

    def describe(self, found: Any, cancelled: threading.Event | None = None) -> SignalInfo:
        """Everything that what was found says of itself, labels and units included.

        Raises
        ------
        SourceError
            It does not answer.
        """
        ...

    def accept(self, info: SignalInfo) -> None:
        """Hold to this source's identity from now on."""
        ...

    def watch(self, uid: str) -> Watch:
        """Begin to find out whether the source with this uid is still there."""
        ...

    def explain(self) -> str:
        """Why the last search found nothing, in a sentence."""
        ...
