"""Source that gives the chunks and errors that a test queues."""

from __future__ import annotations

import queue

import numpy as np

from mindwire.pipeline import Pipeline
from mindwire.sources.live import Presence
from mindwire.types import Chunk, SignalInfo
from tests.support.linear_decoder import LinearDecoder
from tests.support.lsl_cap import samples_of
from tests.support.streaming import contract

INFO = SignalInfo("cap", "EEG", 100.0, 3, ("C3", "Cz", "C4"), ("uV",) * 3, source_id="a", uid="1")


class Found:
    def __init__(self, info: SignalInfo) -> None:
        self.info = info


class ScriptedWatch:
    def __init__(self, source) -> None:
        self.source = source
        source.watches += 1

    def verdict(self):
        self.source.asked += 1
        return self.source.presence_answer

    def close(self):
        self.source.watches -= 1


class Scripted:
    """A connector and its source: the test puts chunks or errors in, the stream takes them out."""

    def __init__(self, info: SignalInfo = INFO) -> None:
        self.info = info
        self.there: SignalInfo | Exception | None = info
        self.open_error: Exception | None = None
        self.fed: queue.Queue = queue.Queue()
        self.presence_answer: Presence | None = Presence.THERE
        self.accepted: list[SignalInfo] = []
        self.index = 0
        self.clock = 1000.0
        self.closed = 0
        self.finds = 0
        self.asked = 0
        self.watches = 0
        self.clock_offset_s = 0.0

    def __str__(self) -> str:
        return "the scripted cap"

    def find(self, timeout, cancelled=None):
        self.finds += 1
        if isinstance(self.there, Exception):
            raise self.there
        if self.there is None:
            cancelled.wait(0.02)
            return None
        return Found(self.there)

    def open(self, found, cancelled=None):
        if self.open_error:
            raise self.open_error
        self.info = found.info
        return self

    def accept(self, info):
        self.accepted.append(info)

    def watch(self, uid):
        return ScriptedWatch(self)

    def explain(self):
        return "There is nothing here."

    def read(self, timeout):
        try:
            item = self.fed.get(timeout=min(timeout, 0.05))
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def now(self):
        return self.clock

    def close(self):
        self.closed += 1

    def feed(self, count: int, *, size: int = 10, lost: int = 0) -> None:
        """Queue samples in chunks; ``lost`` are skipped first."""
        self.index += lost
        for start in range(0, count, size):
            n = min(size, count - start)
            times = 1000.0 + (self.index + np.arange(n)) / 100.0
            self.fed.put(Chunk(samples_of(self.index, n), times))
            self.index += n


def replayed(count: int, *, start: int = 0) -> list:
    """What the pipeline predicts of the same samples without a stream around it."""
    pipeline = Pipeline(contract(), INFO, LinearDecoder(2))
    chunk = Chunk(samples_of(start, count), 1000.0 + (start + np.arange(count)) / 100.0)
    return pipeline.process(chunk)
