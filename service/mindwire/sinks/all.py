"""All sinks of a stream as one: each gets everything, and one that fails harms no other."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.loops import fence
from mindwire.status import Event, Sink
from mindwire.types import Prediction

log = logging.getLogger(__name__)

# name of each, and its error
Failed = tuple[tuple[str, Exception], ...]


class Sinks:
    """The sinks of one stream; they may come and go while it runs.

    Each method returns the sinks that raised, although none may, for the first time: one that fails at every prediction
    is reported once.

    Parameters
    ----------
    stream : str
        Its name, for the log.
    sinks : sequence of Sink
    """

    def __init__(self, stream: str, sinks: Sequence[Sink]) -> None:
        self._stream = stream
        self._failures: Counter[str] = Counter()
        self._hold(tuple(sinks))

    def _hold(self, sinks: tuple[Sink, ...]) -> None:
        self._sinks = sinks
        # looked up once, not for every prediction
        self._publish = tuple((sink, sink.publish) for sink in sinks)
        self._signal = tuple((sink, sink.signal) for sink in sinks)

    def add(self, sink: Sink) -> None:
        """Give a sink everything from now on."""
        self._hold((*self._sinks, sink))

    def publish(self, prediction: Prediction) -> Failed:
        """Publish a prediction to all."""
        return self._call(self._publish, prediction)

    def signal(self, times: NDArray[np.float64], samples: NDArray[np.floating[Any]]) -> Failed:
        """Give conditioned samples to all."""
        return self._call(self._signal, times, samples)

    def event(self, event: Event) -> Failed:
        """Give an event to all."""
        return self._call([(sink, sink.event) for sink in self._sinks], event)

    def close(self) -> Failed:
        """Close all."""
        return self._call([(sink, sink.close) for sink in self._sinks])

    def _call(self, ways: Sequence[tuple[Sink, Callable[..., None]]], *what: object) -> Failed:
        failed: Failed = ()
        for sink, way in ways:
            fence()  # a thread that hung in the sink before
            try:
                way(*what)
            except Exception as error:
                name = type(sink).__name__
                self._failures[name] += 1
                if self._failures[name] == 1:
                    log.exception("%s: the sink %s failed", self._stream, name)
                    failed = (*failed, (name, error))
        return failed
