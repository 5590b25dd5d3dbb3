"""From a pulled chunk to timed predictions: the pipeline's two halves with the decoder between them, live.

Fresh beats complete here: after a stall only the newest window is decoded, and the others are counted.
What is skipped is decoding; every sample is conditioned, so the pipeline's state is what a replay has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from service.inference.decoder import Decoder
from service.pipeline import Pipeline
from service.types import Chunk, Prediction, Window

# An age outside says that the source's clock is not this machine's, and is no latency.
_PLAUSIBLE_AGE_S = (-0.05, 60.0)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Windows that were due but not decoded, and the seconds of signal they span."""

    windows: int
    seconds: float


class Worker:
    """Drives one pipeline with what a live source gives.

    Parameters
    ----------
    pipeline : Pipeline
    decoder : Decoder
    max_backlog_s : float
        When more than this is due at once, only the newest window is decoded.

    Attributes
    ----------
    pipeline : Pipeline
    """

    def __init__(self, pipeline: Pipeline, decoder: Decoder, *, max_backlog_s: float) -> None:
        self.pipeline = pipeline
        self._decoder = decoder
        self._max_backlog_s = max_backlog_s
        self._hop_s = pipeline.hop_samples / pipeline.contract.sfreq
        self._backlog: Backlog | None = None

    def take(self, chunk: Chunk, pulled_at: float) -> Iterator[Prediction]:
        """Condition a chunk, then decode the windows due one by one.

        Parameters
        ----------
        chunk : Chunk
        pulled_at : float
            When it was pulled, in the clock of the chunk's times.

        Yields
        ------
        Prediction
            With its stage times in milliseconds: ``receive``, the age of the window's last sample when
            its chunk was pulled, unless the clocks do not compare; ``condition``; ``decode``.
        """
        begin = time.perf_counter()
        windows = self._newest(self.pipeline.advance(chunk))
        start = time.perf_counter()
        condition_ms = (start - begin) * 1e3
        for window in windows:
            logits = self._decoder.decode([self.pipeline.session], [window])[0]
            prediction = self.pipeline.complete(window, logits)
            latency = {"condition": condition_ms, "decode": (time.perf_counter() - start) * 1e3}
            age = pulled_at - window.time
            if _PLAUSIBLE_AGE_S[0] <= age <= _PLAUSIBLE_AGE_S[1]:
                latency["receive"] = age * 1e3
            yield replace(prediction, latency_ms=latency)
            start = time.perf_counter()

    def drain_backlog(self) -> Backlog | None:
        """What the last chunk made the worker skip, if anything; told once."""
        backlog, self._backlog = self._backlog, None
        return backlog

    def _newest(self, windows: list[Window]) -> list[Window]:
        seconds = (len(windows) - 1) * self._hop_s
        if seconds <= self._max_backlog_s:
            return windows
        self._backlog = Backlog(len(windows) - 1, seconds)
        return windows[-1:]
