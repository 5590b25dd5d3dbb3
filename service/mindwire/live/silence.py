"""A connected source that sends nothing: whether it is only late, or was replaced, or has gone without a word."""

from __future__ import annotations

import time

from mindwire.errors import ResourceError, StreamLostError
from mindwire.sources.live import Connector, Presence, Source, Watch

_ASK_EVERY_S = 0.25
_ASK_AGAIN_S = 5.0


class Silence:
    """Watches one connected source, as long as it is silent.

    Parameters
    ----------
    connector : Connector
        Knows how to ask the network for it.
    source : Source
    give_up_after_s : float
        Silence after which a source that no longer answers is lost.
    """

    def __init__(self, connector: Connector, source: Source, give_up_after_s: float) -> None:
        self._connector = connector
        self._source = source
        self._give_up_after_s = give_up_after_s
        self._since = time.monotonic()
        self._ask_at = 0.0
        self._watch: Watch | None = None

    def broken(self, now: float) -> None:
        """The source has sent something.

        Parameters
        ----------
        now : float
            Monotonic time in seconds, as below.
        """
        self._since = now
        self.close()

    def seconds(self, now: float) -> float:
        """How long it has lasted."""
        return now - self._since

    def ask(self, now: float) -> None:
        """Find out whether the source is still there, a few times a second at most.

        Raises
        ------
        StreamLostError
            Another outlet has its identity, or it has not answered for too long.
        """
        if now < self._ask_at:
            return
        self._ask_at = now + _ASK_EVERY_S
        try:
            if self._watch is None:
                self._watch = self._connector.watch(self._source.info.uid)
            presence = self._watch.verdict()
        except ResourceError:  # nobody can be asked now; a source that is there may still send
            self.close()
            self._ask_at = now + _ASK_AGAIN_S
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
        """Ask no more, until it is asked for again."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
