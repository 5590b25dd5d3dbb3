"""Search for a stream's source: found and opened, attempt after attempt, with every step reported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from mindwire.errors import (
    ContractError,
    ResourceError,
    SourceError,
    StreamChangedError,
    StreamLostError,
    StreamNotFoundError,
)
from mindwire.live.reporter import StreamReporter
from mindwire.sources.live import Connector, Source
from mindwire.status import StreamState

_FIRST_FIND_S = 1.5
_FIND_S = 5.0
_RETRY_S = 1.0
# Pauses after attempts for which the machine had no descriptors or memory; doubled up to the last, without an end.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 30.0


class Search:
    """Search of one stream.

    Parameters
    ----------
    connector : Connector
    reporter : StreamReporter
    wait : bool
        Wait for a source that is absent at the start; otherwise it is refused.
    stop : threading.Event
        Ends every waiting.
    """

    def __init__(self, connector: Connector, reporter: StreamReporter, *, wait: bool, stop: threading.Event) -> None:
        self._connector = connector
        self._reporter = reporter
        self._wait = wait
        self._stop = stop
        self._begun = False
        self._refused_uid = ""
        self._pause_s = _FIRST_PAUSE_S

    def attempt(self, accept: Callable[[Source], None]) -> Source | None:
        """Try once to find and open the source.

        Parameters
        ----------
        accept : callable
            Takes the source; raises ContractError if it cannot be used.

        Returns
        -------
        Source or None
            None if another attempt is needed.

        Raises
        ------
        SourceError, ContractError
            The very first attempt is refused: several streams match, none does and none is to be waited for, or the
            one found cannot be used. Later refusals are reported, and attempts go on.
        """
        if self._reporter.state is not StreamState.SEARCHING or not self._begun:
            self._reporter.to_state(StreamState.SEARCHING, f"Looking for {self._connector}.")
        first, self._begun = not self._begun, True
        uid = ""
        try:
            found = self._find(first=first)
            if found is None:
                return None
            uid = found.info.uid
            if uid == self._refused_uid:
                self._stop.wait(_RETRY_S)
                return None
            self._reporter.to_state(StreamState.CONNECTING, f"Connecting to {found}.")
            return self._open(found, accept)
        except (StreamNotFoundError, StreamChangedError, ContractError) as error:
            if first:
                raise
            self._refuse(str(error), uid)
        except ResourceError as error:
            pause, self._pause_s = self._pause_s, min(2 * self._pause_s, _LAST_PAUSE_S)
            reason = f"{error} Tried again in {pause:g} s; attempts go on until one succeeds."
            self._reporter.to_state(StreamState.SEARCHING, reason)
            self._stop.wait(pause)
        except SourceError as error:
            if first and not isinstance(error, StreamLostError):
                raise
            self._reporter.to_state(StreamState.SEARCHING, str(error))
            self._stop.wait(_RETRY_S)
        return None

    def _find(self, *, first: bool) -> Any | None:
        found = self._connector.find(_FIRST_FIND_S if first else _FIND_S, self._stop)
        if found is None:
            self._pause_s = _FIRST_PAUSE_S
        if found is None and not self._stop.is_set():
            self._refused_uid = ""
            reason = self._connector.explain()
            if first and not self._wait:
                raise StreamNotFoundError(reason)
            self._reporter.to_state(StreamState.SEARCHING, reason)
        return found

    def _open(self, found: Any, accept: Callable[[Source], None]) -> Source:
        source = self._connector.open(found, self._stop)
        try:
            accept(source)
        except BaseException:
            source.close()
            raise
        self._connector.accept(source.info)
        self._refused_uid = ""
        self._pause_s = _FIRST_PAUSE_S
        self._reporter.to_state(StreamState.SETTLING, "Connected; waiting for a whole window of settled signal.")
        return source

    def _refuse(self, reason: str, uid: str) -> None:
        self._refused_uid = uid
        if self._reporter.reason != reason:
            self._reporter.emit("refused", reason)
        self._reporter.to_state(StreamState.SEARCHING, reason)
        self._stop.wait(_RETRY_S)
