"""All sinks of a stream as one: each gets everything, and one that fails harms no other."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from service.status import Sink

log = logging.getLogger(__name__)


class Sinks:
    """The sinks of one stream; they may come and go while it runs.

    Parameters
    ----------
    stream : str
        Its name, for the log.
    sinks : sequence of Sink
    """

    def __init__(self, stream: str, sinks: Sequence[Sink]) -> None:
        self._stream = stream
        self._sinks = tuple(sinks)
        self._failures: Counter[str] = Counter()

    def add(self, sink: Sink) -> None:
        """Give a sink everything from now on."""
        self._sinks = (*self._sinks, sink)

    def remove(self, sink: Sink) -> None:
        """Give a sink nothing more; it is not closed."""
        self._sinks = tuple(other for other in self._sinks if other is not sink)

    def tell(self, give: Callable[[Sink], None]) -> list[tuple[str, Exception]]:
        """Give something to every sink.

        Parameters
        ----------
        give : callable
            Gives it to one sink.

        Returns
        -------
        list of (str, Exception)
            The sinks that raised, although none may, for the first time: one that fails at every prediction
            is told once.
        """
        failed = []
        for sink in self._sinks:
            try:
                give(sink)
            except Exception as error:
                what = type(sink).__name__
                self._failures[what] += 1
                if self._failures[what] == 1:
                    log.exception("%s: the sink %s failed", self._stream, what)
                    failed.append((what, error))
        return failed
