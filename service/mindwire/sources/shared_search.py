"""One search for all streams of the process that ask the network the same, however many they are.

A search of its own for each stream would have every outlet asked as often as there are streams, and threads and sockets
for each. Outlets are asked for streams of any kind; each stream looks for its own among the answers.
"""

from __future__ import annotations

import threading
import time
from typing import Self

from mindwire.sources.lsl_discovery import FoundStream, StreamSearch

_REFRESH_S = 0.05


class _Shared:
    """A search and what it last found, for those who have joined it."""

    def __init__(self, xpath: str) -> None:
        self.search = StreamSearch(xpath)
        self.members = 0
        self.asked_at = self.search.asked_at
        self.found: list[tuple[float, FoundStream]] = []
        self._refreshed = 0.0
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Look at the answers, if that is due and nobody else does; nobody waits for a search that hangs."""
        if time.monotonic() - self._refreshed < _REFRESH_S or not self._lock.acquire(blocking=False):
            return
        try:
            self.found = self.search.answers()
            self.asked_at = self.search.asked_at
            self._refreshed = time.monotonic()
        finally:
            self._lock.release()


_shared: dict[str, _Shared] = {}
_lock = threading.Lock()


class SharedSearch:
    """A search that goes on until closed, used as a :class:`~mindwire.sources.lsl_discovery.StreamSearch`.

    Only answers to questions that were asked after it began count: who answered before may be gone.

    Parameters
    ----------
    xpath : str
        XPath 1.0 predicate; empty for every stream. All with the same are one search.

    Raises
    ------
    ResourceError
        LSL has no descriptor, thread or memory left.
    """

    def __init__(self, xpath: str) -> None:
        self._xpath = xpath
        self._joined = time.monotonic()
        self._asked_at: float | None = None
        with _lock:
            shared = _shared.get(xpath)
            if shared is None:
                shared = _shared[xpath] = _Shared(xpath)
            shared.members += 1
        self._shared: _Shared | None = shared

    @property
    def age(self) -> float:
        """Seconds since the first question whose answers count; 0 before that."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    def results(self) -> list[FoundStream]:
        """Streams that answered within the last two seconds; to be called a few times a second."""
        shared = self._shared
        if shared is None:
            return []
        shared.refresh()
        if self._asked_at is None:
            self._asked_at = min((at for at in shared.asked_at if at >= self._joined), default=None)
        return [found for at, found in shared.found if at >= self._joined]

    def close(self) -> None:
        """Leave the search; it ends with the last."""
        shared, self._shared = self._shared, None
        if shared is None:
            return
        with _lock:
            shared.members -= 1
            if shared.members:
                return
            del _shared[self._xpath]
        shared.search.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
