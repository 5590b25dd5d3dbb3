"""Search for a stream's source: found and opened, attempt after attempt, with every step reported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from mindwire.sinks.recorder import Recorder

_FIRST_FIND_S = 1.5
_FIND_S = 5.0
_RETRY_S = 1.0
# Pauses after attempts for which the machine had no descriptors or memory; doubled up to the last, without an end.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 30.0


@dataclass(eq=False)
class Search:
    """Search of one stream."""

    connector: Connector
    reporter: StreamReporter
    wait: bool  # for a source that is absent at the start; otherwise it is refused
    stop: threading.Event  # ends every waiting
    recorder: Callable[[], Recorder | None] = lambda: None  # started before a source is opened

    def __post_init__(self) -> None:
        """Begin without an attempt."""
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
        first, self._begun = not self._begun, True
        if first or self.reporter.state is not StreamState.SEARCHING:
            self.reporter.to_state(StreamState.SEARCHING, f"Looking for {self.connector}.")
        uid = ""
        try:
            found = self.connector.find(_FIRST_FIND_S if first else _FIND_S, self.stop)
            if found is None:
                self._report_absent(first=first)
                return None
            uid = found.info.uid
            if uid == self._refused_uid:
                self.stop.wait(_RETRY_S)
                return None
            return self._open(found, accept)
        except (StreamNotFoundError, StreamChangedError, ContractError) as error:
            if first:
                raise
            self._refused_uid = uid
            if self.reporter.reason != str(error):
                self.reporter.emit("refused", str(error))
            self._pause(str(error), _RETRY_S)
        except ResourceError as error:
            pause, self._pause_s = self._pause_s, min(2 * self._pause_s, _LAST_PAUSE_S)
            self._pause(f"{error} Tried again in {pause:g} s; attempts go on until one succeeds.", pause)
        except SourceError as error:
            if first and not isinstance(error, StreamLostError):
                raise
            self._pause(str(error), _RETRY_S)
        return None

    def _report_absent(self, *, first: bool) -> None:
        self._pause_s = _FIRST_PAUSE_S
        if self.stop.is_set():
            return
        self._refused_uid = ""
        reason = self.connector.explain()
        if first and not self.wait:
            raise StreamNotFoundError(reason)
        self.reporter.to_state(StreamState.SEARCHING, reason)

    def _open(self, found: Any, accept: Callable[[Source], None]) -> Source:
        self.reporter.to_state(StreamState.CONNECTING, f"Connecting to {found}.")
        if (recorder := self.recorder()) is not None:
            recorder.start(self.connector.describe(found, self.stop), self.stop)
        source = self.connector.open(found, self.stop)
        try:
            accept(source)
        except BaseException:
            source.close()
            raise
        self.connector.accept(source.info)
        self._refused_uid = ""
        self._pause_s = _FIRST_PAUSE_S
        self.reporter.to_state(StreamState.SETTLING, "Connected; waiting for a whole window of settled signal.")
        return source

    def _pause(self, reason: str, seconds: float) -> None:
        self.reporter.to_state(StreamState.SEARCHING, reason)
        self.stop.wait(seconds)
