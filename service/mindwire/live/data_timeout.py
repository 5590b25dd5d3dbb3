"""Detection of a connected source that stops sending: late, replaced by another outlet, or gone."""

from __future__ import annotations

import time

from mindwire.errors import ResourceError, StreamLostError
from mindwire.sources.live import Connector, Presence, Source, Watch

_CHECK_EVERY_S = 0.25
_RETRY_S = 5.0


class DataTimeout:
    """Time since the last data of one connected source, and the check that follows when it is long.

    Parameters
    ----------
    connector : Connector
        Asks the network for the source.
    source : Source
    give_up_after_s : float
        Time without data after which a source that no longer answers on the network is lost.
    """

    def __init__(self, connector: Connector, source: Source, give_up_after_s: float) -> None:
        self._connector = connector
        self._source = source
        self._give_up_after_s = give_up_after_s
        self._since = time.monotonic()
        self._check_at = 0.0
        self._watch: Watch | None = None

    def data_received(self, now: float) -> None:
        """Restart the timeout.

        Parameters
        ----------
        now : float
            Monotonic time in seconds, as in the other methods.
        """
        self._since = now
        self.close()

    def seconds(self, now: float) -> float:
        """Return the time since the last data."""
        return now - self._since

    def check(self, now: float) -> None:
        """Find out if the source still exists, at most four times a second.

        Raises
        ------
        StreamLostError
            Another outlet has its identity, or it has not answered for too long.
        """
        if now < self._check_at:
            return
        self._check_at = now + _CHECK_EVERY_S
        try:
            if self._watch is None:
                self._watch = self._connector.watch(self._source.info.uid)
            presence = self._watch.verdict()
        except ResourceError:  # the network cannot be asked now; the source may still send
            self.close()
            self._check_at = now + _RETRY_S
            return
        if presence is not None:
            self.close()
        name = self._source.info.name
        if presence is Presence.REPLACED:
            msg = f"{name!r} is silent, and another outlet has its identity."
            raise StreamLostError(msg)
        if presence is Presence.ABSENT and self.seconds(now) > self._give_up_after_s:
            msg = f"{name!r} has been silent for {self.seconds(now):.0f} s and no longer answers on the network."
            raise StreamLostError(msg)

    def close(self) -> None:
        """End a check in progress."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
