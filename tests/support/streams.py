"""Streams for tests of decoders: windows as the pipeline gives them, and whatever may happen to a stream."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mindwire.types import Reason, Window
from mindwire_models.bundle import Bundle


class Stream:
    """A signal that goes on, with whatever may happen to it."""

    def __init__(self, bundle: Bundle, seed: int = 0) -> None:
        self.n, self.length = bundle.contract.n_channels, bundle.contract.window_samples
        self.rng = np.random.default_rng(seed)
        self.signal = self.rng.standard_normal((self.length, self.n)).astype(np.float32)
        self.alignment = np.eye(self.n, dtype=np.float32)
        self.version = self.segment = 0
        self.end = self.length
        self.seq = 0

    def align(self) -> None:
        half = self.rng.standard_normal((self.n, self.n)) * 0.1
        self.alignment = (np.eye(self.n) + half + half.T).astype(np.float32)
        self.version += 1

    def gap(self) -> None:
        self.segment += 1
        self.end = self.length
        self.signal = self.rng.standard_normal(self.signal.shape).astype(np.float32)

    def move(self, samples: int) -> Window:
        fresh = self.rng.standard_normal((samples, self.n)).astype(np.float32)
        self.signal = np.concatenate([self.signal, fresh])[-self.length :]
        self.end += samples
        self.seq += 1
        return Window(self.seq, 0.0, self.signal, self.alignment, self.version, self.segment, self.end, Reason.NONE)


def eventful(stream: Stream, hops: int, hop: int = 10) -> Iterator[Window]:
    """Alignment updates each second as in life, gaps, and windows that were skipped."""
    for number in range(hops):
        if number % 25 == 11:
            stream.align()
        if number % 911 == 300:
            stream.gap()
        if number % 397 == 77:
            stream.move(3 * hop)
        yield stream.move(hop)
