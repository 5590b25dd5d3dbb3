"""Computation of a window on noise shortly before the next real one, for a connection that is alone in its loop.

Every 40 ms the same work takes several times as long as back to back, because code and data have left the processor's
caches. With one stream the median latency is 0.9 to 1.2 times the floor so, and 1.39 to 1.61 times without, where
1.3 is the limit (chunks of 1, `benchmarks/figures.py latency`). Nothing of the stream's own state is touched.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from mindwire.inference.decoder import Decoder, probabilities
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk

# Early enough to end before the samples arrive, late enough that little has left the caches again.
_LEAD_S = 0.0015
_LEAD_DURATIONS = 2.0  # times as long as a rehearsal takes
_LONGEST_LEAD = 0.25  # of a hop: work that takes longer leaves no pause
_SHORTEST_READ_S = 1e-4
_CHUNKS = 64
_NOISE_MICROVOLTS = 20.0
_MICROVOLTS = {"V": 1e6, "mV": 1e3, "uV": 1.0, "nV": 1e-3}


class Rehearsal:
    """Second pipeline of a stream, which decodes noise of the size of EEG with the stream's decoder."""

    def __init__(self, pipeline: Pipeline, decoder: Decoder) -> None:
        options = replace(pipeline.options, alignment="off", adapt="alignment", commands=(), state=None)
        contract, info, montage = pipeline.contract, pipeline.info, pipeline.montage
        self._decoder = decoder
        self._pipeline = Pipeline(contract, info, decoder, options)
        self._hop_s = pipeline.hop_samples / contract.sfreq
        self._sfreq = options.sfreq or info.sfreq
        self._n_samples = max(1, round(self._hop_s * self._sfreq))
        self._noise = np.zeros((_CHUNKS * self._n_samples, info.n_channels))
        size = _NOISE_MICROVOLTS / (_MICROVOLTS[contract.unit] * montage.scale)
        noise = np.random.default_rng(0).standard_normal((len(self._noise), len(montage.indices)))
        self._noise[:, montage.indices] = noise * size
        self._n_runs = 0
        self._next: float | None = None
        self._duration_s = 0.0
        for _ in range(contract.window_samples // pipeline.hop_samples + 3):
            self.run()

    @staticmethod
    def fits(pipeline: Pipeline) -> bool:
        """Return true if a hop is long enough for the shortest rehearsal."""
        return _LONGEST_LEAD * pipeline.hop_samples / pipeline.contract.sfreq >= _LEAD_S

    def window_arrived(self, at: float) -> None:
        """Plan the next rehearsal, because a window fell due at this monotonic time."""
        lead = max(_LEAD_S, _LEAD_DURATIONS * self._duration_s)
        self._next = at + self._hop_s - lead if lead <= _LONGEST_LEAD * self._hop_s else None

    def limited(self, timeout: float) -> float:
        """Return the seconds that a read may wait, at most ``timeout``; above 0, which would not wait at all."""
        return timeout if self._next is None else min(timeout, max(_SHORTEST_READ_S, self._next - time.monotonic()))

    @property
    def due(self) -> bool:
        """True if it is time."""
        return self._next is not None and time.monotonic() >= self._next

    def run(self) -> None:
        """Decode one window of noise."""
        self._next = None
        begin = time.perf_counter()
        first = self._n_runs * self._n_samples
        self._n_runs += 1
        row = first % len(self._noise)
        times = (first + np.arange(self._n_samples)) / self._sfreq
        for window in self._pipeline.advance(Chunk(self._noise[row : row + self._n_samples], times))[-1:]:
            logits = self._decoder.decode([self._pipeline.session], [window])
            self._pipeline.complete(window, probabilities(logits, self._pipeline.contract.temperature)[0])
            self._duration_s = 0.75 * self._duration_s + 0.25 * (time.perf_counter() - begin)
