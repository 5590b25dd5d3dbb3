"""A live source whose signal is recorded: the recorder receives every chunk before it is decoded.

So a recording holds everything that its predictions depend on, and can be verified to the last digit.
"""

from __future__ import annotations

import threading
from typing import Any

from mindwire.loops import fence
from mindwire.sinks.recorder import Recorder
from mindwire.sources.live import Connector, Source
from mindwire.types import Chunk


class RecordedConnector:
    """Connector that starts the recorder before it opens a source; a :class:`mindwire.sources.live.Connector`.

    Parameters
    ----------
    connector : Connector
        Finds and opens.
    recorder : Recorder
    """

    def __init__(self, connector: Connector, recorder: Recorder) -> None:
        self._connector = connector
        self._recorder = recorder
        self.find, self.describe = connector.find, connector.describe
        self.accept, self.watch, self.explain = connector.accept, connector.watch, connector.explain

    def __str__(self) -> str:
        return str(self._connector)

    def open(self, found: Any, cancelled: threading.Event | None = None) -> Source:
        """Start the recorder, then connect to what was found."""
        self._recorder.start(self._connector.describe(found, cancelled), cancelled)
        return _RecordedSource(self._connector.open(found, cancelled), self._recorder)


class _RecordedSource:
    """Source that gives the recorder each chunk that it returns."""

    def __init__(self, source: Source, recorder: Recorder) -> None:
        self.info = source.info
        self.now, self.close = source.now, source.close
        self._source = source
        self._recorder = recorder
        self._begun = False

    @property
    def clock_offset_s(self) -> float | None:
        return self._source.clock_offset_s

    def read(self, timeout: float) -> Chunk | None:
        chunk = self._source.read(timeout)
        fence()
        samples = chunk is not None and len(chunk) > 0
        if chunk is not None and samples:
            # Before it is decoded: a recording never holds a prediction without the samples it was made of.
            self._recorder.take(chunk, None if self._begun else self)
            self._begun = True
        self._recorder.check(samples=samples)
        return chunk
