"""A live source whose signal is recorded: the recorder receives every chunk before it is decoded.

So a recording holds everything that its predictions depend on, and can be verified to the last digit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from mindwire.loops import fence
from mindwire.sinks.recorder import Recorder
from mindwire.sources.live import Connector, Source
from mindwire.types import Chunk, SignalInfo


class RecordedConnector:
    """Connector that starts the recorder before it opens a source; a :class:`mindwire.sources.live.Connector`.

    Parameters
    ----------
    connector : Connector
        Finds and opens.
    recorder : Recorder
    details : mapping
        Everything needed to repeat the run; written into the recording.
    known : callable
        Given a signal, returns what the user or the bundle says of its channels, unit and rate; written likewise.
    """

    def __init__(
        self,
        connector: Connector,
        recorder: Recorder,
        details: Mapping[str, Any],
        known: Callable[[SignalInfo], Mapping[str, Any]],
    ) -> None:
        self._connector = connector
        self._recorder = recorder
        self._details = details
        self._known = known
        self.find, self.describe = connector.find, connector.describe
        self.accept, self.watch, self.explain = connector.accept, connector.watch, connector.explain

    def __str__(self) -> str:
        return str(self._connector)

    def open(self, found: Any, cancelled: threading.Event | None = None) -> Source:
        """Start the recorder, then connect to what was found."""
        info = self._connector.describe(found, cancelled)
        self._recorder.start(info, cancelled, {"model": self._details["model"], "known": self._known(info)})
        return _RecordedSource(self._connector.open(found, cancelled), self._recorder, self._details)


class _RecordedSource:
    """Source that gives the recorder each chunk that it returns."""

    def __init__(self, source: Source, recorder: Recorder, details: Mapping[str, Any]) -> None:
        self.info = source.info
        self.now, self.close = source.now, source.close
        self._source = source
        self._recorder = recorder
        self._details = details
        self._begun = False

    @property
    def clock_offset_s(self) -> float | None:
        return self._source.clock_offset_s

    def read(self, timeout: float) -> Chunk | None:
        chunk = self._source.read(timeout)
        fence()
        if chunk is None or not len(chunk):
            self._recorder.check(samples=False)
            return chunk
        # Before it is decoded: a recording never holds a prediction without the samples it was made of.
        if self._begun:
            self._recorder.take(chunk)
        else:
            self._begun = True
            details = {**self._details, "clock_offset": self.clock_offset_s or 0.0}
            self._recorder.take_first(chunk, self.info, details)
        self._recorder.check(samples=True)
        return chunk
