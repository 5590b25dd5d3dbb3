"""The work of the next window, done on noise a moment before its samples arrive.

Done every 40 ms, the same work takes several times as long as back to back: code, weights and buffers have left
the processor's caches meanwhile, and the core sleeps. So a shadow of the stream goes through it just before the
next window is due. It costs as much processor time as the stream itself, a percent or two, and saves the person
most of what the pause would cost. Nothing of the stream's own state is touched.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from mindwire.inference.decoder import Decoder
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk

# Long enough to be done before the samples come, short enough that little is forgotten again.
_LEAD_S = 0.0015
_SHORTEST_S = 1e-4
_MARGIN = 2.0  # times as long as it took before
_MOST = 0.25  # of the time between windows: who works longer than that has no pause in which to forget
_CHUNKS = 64


class Rehearsal:
    """The shadow of one stream, and when it works.

    Parameters
    ----------
    pipeline : Pipeline
        The stream's own.
    decoder : Decoder
        Likewise; used with a session of the shadow's.
    """

    def __init__(self, pipeline: Pipeline, decoder: Decoder) -> None:
        options = replace(pipeline.options, alignment="off", adapt="alignment", commands=(), state=None)
        self._decoder = decoder
        self._shadow = Pipeline(pipeline.contract, pipeline.info, decoder, options)
        self._sfreq = options.sfreq or pipeline.info.sfreq
        self._n = max(1, round(pipeline.hop_samples / pipeline.contract.sfreq * self._sfreq))
        self._every_s = pipeline.hop_samples / pipeline.contract.sfreq
        rng = np.random.default_rng(0)
        self._noise = rng.standard_normal((_CHUNKS * self._n, pipeline.info.n_channels))
        self._turn = 0
        self._at: float | None = None
        self._takes_s = 0.0
        windows = int(pipeline.contract.window_samples / pipeline.hop_samples) + 3
        for _ in range(windows):
            self.run()

    def window_came(self, arrived: float) -> None:
        """A window's samples have arrived; the next is expected a hop later.

        Parameters
        ----------
        arrived : float
            Monotonic time in seconds.
        """
        lead = max(_LEAD_S, _MARGIN * self._takes_s)
        self._at = arrived + self._every_s - lead if lead <= _MOST * self._every_s else None

    def pause(self, longest: float) -> float:
        """How long the stream may wait for samples before it is time to rehearse; never nothing, which is another way to read.

        Parameters
        ----------
        longest : float
            Seconds, where nothing is to be rehearsed.
        """
        return longest if self._at is None else min(longest, max(_SHORTEST_S, self._at - time.monotonic()))

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return self._at is not None and time.monotonic() >= self._at

    def run(self) -> None:
        """Go through a window's work once."""
        self._at = None
        begin = time.perf_counter()
        first = self._turn * self._n
        row = first % len(self._noise)
        times = (first + np.arange(self._n)) / self._sfreq
        self._turn += 1
        for window in self._shadow.advance(Chunk(self._noise[row : row + self._n], times))[-1:]:
            self._shadow.complete(window, self._decoder.decode([self._shadow.session], [window])[0])
            self._takes_s = 0.75 * self._takes_s + 0.25 * (time.perf_counter() - begin)
