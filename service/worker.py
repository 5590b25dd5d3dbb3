"""From a pulled chunk to timed predictions: the pipeline's two halves with the decoder between them, live.

Fresh beats complete here: after a stall only the newest window is decoded, and the others are counted.
What is skipped is decoding; every sample is conditioned, so the pipeline's state is what a replay has.

An outlet that pushes single samples would have the pipeline run ten times per window. Samples are kept
instead until a window can fall due, which costs no latency and changes, bit for bit, nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.inference.decoder import Decoder
from service.pipeline import Pipeline
from service.types import Chunk, Prediction, Window

# An age outside says that the source's clock is not this machine's, and is no latency.
_PLAUSIBLE_AGE_S = (-0.05, 60.0)
# The signal for display and what happens to it should not wait for a window long due.
_MOST_KEPT_S = 0.04


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
        self._kept: list[Chunk] = []
        self._conditioned: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        self._n_kept = 0
        self._most_kept = max(1, round(_MOST_KEPT_S * pipeline.info.sfreq))
        self._enough = 1

    def take(self, chunk: Chunk, pulled_at: float) -> Iterator[Prediction]:
        """Condition a chunk, once enough has come, then decode the windows due one by one.

        Parameters
        ----------
        chunk : Chunk
            Copied when it is kept.
        pulled_at : float
            When it was pulled, in the clock of the chunk's times.

        Yields
        ------
        Prediction
            With its stage times in milliseconds: ``receive``, the age of the window's last sample when
            its chunk was pulled, unless the clocks do not compare; ``condition``; ``decode``.
        """
        if chunk.broken:
            yield from self.flush(pulled_at)
        if not self._kept and (chunk.broken or len(chunk) >= self._enough):
            yield from self._decode(chunk, pulled_at)
            return
        self._kept.append(Chunk(np.array(chunk.samples), chunk.times))
        self._n_kept += len(chunk)
        if self._n_kept >= self._enough:
            yield from self.flush(pulled_at)

    def flush(self, pulled_at: float) -> Iterator[Prediction]:
        """Condition and decode what was kept back, because nothing more comes.

        Parameters
        ----------
        pulled_at : float
            As in :meth:`take`.

        Yields
        ------
        Prediction
        """
        if self._kept:
            samples = np.concatenate([part.samples for part in self._kept])
            times = np.concatenate([part.times for part in self._kept])
            self._kept.clear()
            self._n_kept = 0
            yield from self._decode(Chunk(samples, times), pulled_at)

    def _decode(self, chunk: Chunk, pulled_at: float) -> Iterator[Prediction]:
        begin = time.perf_counter()
        windows = self._newest(self.pipeline.advance(chunk))
        self._enough = min(self.pipeline.samples_until_due, self._most_kept)
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
        self._conditioned.append(self.pipeline.conditioned())

    def drain_conditioned(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Times and conditioned samples since the last call, as :meth:`Pipeline.conditioned` has them."""
        conditioned, self._conditioned = self._conditioned, []
        return [(times, samples) for times, samples in conditioned if len(times)]

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
