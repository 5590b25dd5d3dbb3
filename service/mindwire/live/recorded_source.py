"""A live source whose signal is recorded: the recorder listens before the first sample is decoded.

So a recording holds all that the predictions in it depend on, and can be verified to the last digit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from mindwire.loops import fence
from mindwire.sinks.recorder import Recorder
from mindwire.sources.live import Connector, Source, Watch
from mindwire.types import Chunk, SignalInfo


class RecordedConnector:
    """A connector that starts the recorder before it opens a source.

    Parameters
    ----------
    connector : Connector
        Finds and opens.
    recorder : Recorder
    details : mapping
        What it takes to repeat the run; goes into the recording.
    known : callable
        Given a signal, says what of its channels, unit and rate is known otherwise; goes into the description.
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

    def __str__(self) -> str:
        return str(self._connector)

    def find(self, timeout: float, cancelled: threading.Event | None = None) -> Any | None:
        """Look for the source; see :meth:`mindwire.sources.live.Connector.find`."""
        return self._connector.find(timeout, cancelled)

    def open(self, found: Any, cancelled: threading.Event | None = None) -> Source:
        """Record what was found, then connect to it."""
        info = self._connector.describe(found, cancelled)
        self._recorder.start(info, cancelled, {"model": self._details["model"], "known": self._known(info)})
        return _RecordedSource(self._connector.open(found, cancelled), self._recorder, self._details)

    def describe(self, found: Any, cancelled: threading.Event | None = None) -> SignalInfo:
        """Everything that what was found says of itself."""
        return self._connector.describe(found, cancelled)

    def accept(self, info: SignalInfo) -> None:
        """Hold to this source's identity from now on."""
        self._connector.accept(info)

    def watch(self, uid: str) -> Watch:
        """Begin to find out whether a silent source is still there."""
        return self._connector.watch(uid)

    def explain(self) -> str:
        """Why nothing is found, in a sentence."""
        return self._connector.explain()


class _RecordedSource:
    """A source that gives the recorder what it gives the pipeline, and has the recording looked after."""

    def __init__(self, source: Source, recorder: Recorder, details: Mapping[str, Any]) -> None:
        self.info = source.info
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

    def now(self) -> float:
        return self._source.now()

    def close(self) -> None:
        self._source.close()
