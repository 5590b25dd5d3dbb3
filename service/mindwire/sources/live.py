"""Interfaces of live sources: found, opened, read, lost, and found again."""

from __future__ import annotations

import threading
from enum import StrEnum
from typing import Any, Protocol

from mindwire.types import Chunk, SignalInfo


class Presence(StrEnum):
    """State on the network of a source that sends nothing."""

    THERE = "there"
    REPLACED = "replaced"
    ABSENT = "absent"


class Source(Protocol):
    """A live source of samples."""

    info: SignalInfo

    @property
    def clock_offset_s(self) -> float | None:
        """Seconds that are added to the sender's stamps; None when the clocks cannot be compared."""

    def read(self, timeout: float) -> Chunk | None:
        """Return the samples that have arrived, which stay valid until the next read; None when there are none.

        Wait up to ``timeout`` seconds for the first one only. Raise StreamLostError when the source has gone.
        """

    def now(self) -> float:
        """Return the clock of the chunks' times, in seconds."""

    def close(self) -> None:
        """Disconnect; reading afterwards is an error."""


class Watch(Protocol):
    """Check, without waiting, that a source which sends nothing is still on the network."""

    def verdict(self) -> Presence | None:
        """Return the result, or None while answers are still expected; to be called a few times a second."""

    def close(self) -> None:
        """End the check."""


class Connector(Protocol):
    """Search for a source, and for the same one again; see :class:`mindwire.sources.lsl_connector.LslConnector`."""

    def find(self, timeout: float, cancelled: threading.Event | None = None) -> Any | None:
        """Search for ``timeout`` seconds; the result has its ``info``. Raise StreamNotFoundError when several answer."""

    def open(self, found: Any, cancelled: threading.Event | None = None) -> Source:
        """Connect to a source that was found.

        Raise StreamChangedError when it is not what it was, SourceError when it does not answer or cannot be used.
        """

    def describe(self, found: Any, cancelled: threading.Event | None = None) -> SignalInfo:
        """Return the full description of a source that was found."""

    def accept(self, info: SignalInfo) -> None:
        """Keep to this source's identity from now on."""

    def watch(self, uid: str) -> Watch:
        """Begin to check that the source with this uid is still on the network."""

    def explain(self) -> str:
        """Return a sentence on why the last search found nothing."""
