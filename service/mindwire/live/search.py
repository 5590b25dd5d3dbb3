"""Finding and opening a stream's source, again and again until it works, and saying at each step where it stands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from mindwire.errors import (
    ContractError,
    ResourceError,
    SourceError,
    StreamChangedError,
    StreamLostError,
    StreamNotFoundError,
)
from mindwire.sources.live import Connector, Source
from mindwire.status import StreamState

_FIRST_FIND_S = 1.5
_FIND_S = 5.0
_RETRY_S = 1.0
# Pause after an attempt for which the machine had no descriptors or memory; doubled up to the last, without an end.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 30.0


class Standing(Protocol):
    """Who searches: takes the states and what is refused."""

    @property
    def state(self) -> StreamState:
        """Where it stands."""
        ...

    @property
    def reason(self) -> str:
        """Why it stands there."""
        ...

    def to_state(self, state: StreamState, reason: str) -> None:
        """Enter a state, and tell everybody if it or its reason is new."""
        ...

    def emit(self, kind: str, message: str) -> None:
        """Tell everybody that something happened."""
        ...


class Search:
    """The search of one stream.

    Parameters
    ----------
    connector : Connector
    standing : Standing
    wait : bool
        Whether a source that is absent at the start is waited for; otherwise it is refused.
    stop : threading.Event
        Ends every waiting.
    turn : callable
        Returns a context to be entered while a source is opened, and never while it is searched for; it yields whether
        to open it.
    """

    def __init__(
        self,
        connector: Connector,
        standing: Standing,
        *,
        wait: bool,
        stop: threading.Event,
        turn: Callable[[], AbstractContextManager[bool]],
    ) -> None:
        self._connector = connector
        self._standing = standing
        self._wait = wait
        self._stop = stop
        self._turn = turn
        self._begun = False
        self._refused_uid = ""
        self._pause_s = _FIRST_PAUSE_S

    def attempt(self, accept: Callable[[Source], None]) -> Source | None:
        """One attempt to find and open the source.

        Parameters
        ----------
        accept : callable
            Takes the source in; raises ContractError if it cannot be used.

        Returns
        -------
        Source or None
            None when there will have to be another attempt.

        Raises
        ------
        SourceError, ContractError
            The very first attempt is refused: several streams match, none does and none is to be waited for, or
            what is found cannot be used. Later on that is told, and tried again.
        """
        if self._standing.state is not StreamState.SEARCHING or not self._begun:
            self._standing.to_state(StreamState.SEARCHING, f"Looking for {self._connector}.")
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
            self._standing.to_state(StreamState.CONNECTING, f"Connecting to {found}.")
            with self._turn() as mine:
                return self._open(found, accept) if mine else None
        except (StreamNotFoundError, StreamChangedError, ContractError) as error:
            if first:
                raise
            self._refuse(str(error), uid)
        except ResourceError as error:
            pause, self._pause_s = self._pause_s, min(2 * self._pause_s, _LAST_PAUSE_S)
            reason = f"{error} Tried again in {pause:g} s; attempts go on until one succeeds."
            self._standing.to_state(StreamState.SEARCHING, reason)
            self._stop.wait(pause)
        except SourceError as error:
            if first and not isinstance(error, StreamLostError):
                raise
            self._standing.to_state(StreamState.SEARCHING, str(error))
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
            self._standing.to_state(StreamState.SEARCHING, reason)
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
        self._standing.to_state(StreamState.SETTLING, "Connected; waiting for a whole window of settled signal.")
        return source

    def _refuse(self, reason: str, uid: str) -> None:
        self._refused_uid = uid
        if self._standing.reason != reason:
            self._standing.emit("refused", reason)
        self._standing.to_state(StreamState.SEARCHING, reason)
        self._stop.wait(_RETRY_S)
