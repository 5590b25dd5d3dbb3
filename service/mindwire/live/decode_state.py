"""Decode state of one connection: from a pulled chunk to the windows due, and from logits to a timed prediction.

Live, fresh beats complete: after a stall only the newest window is decoded, and the others are counted. Decoding
is skipped, never conditioning, so the pipeline's state is the one that a replay has.

Samples are buffered until a window can fall due, which adds no latency and changes no prediction. For outlets that
push single samples a prediction takes 235 µs of processor time so, and 785 µs without (22 channels, hop 10).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mindwire.pipeline import Pipeline
from mindwire.types import PLAUSIBLE_AGE_S, Chunk, Prediction, Window

if TYPE_CHECKING:
    from mindwire.live.model_swap import ModelSwap

# Longest buffering: the display signal and its events should not wait for a window that is due much later.
_MOST_BUFFERED_S = 0.04


class DueWindow(msgspec.Struct, frozen=True, eq=False):
    """Window to decode, its pipeline, the milliseconds spent on it per stage, and the ``perf_counter`` time since it waits."""

    window: Window
    pipeline: Pipeline
    latency_ms: Mapping[str, float]
    since: float


class DecodeState:
    """Pipeline of one connection with the samples buffered before it and the backlog after it.

    The pipelines of ``swap`` are given the same samples. If windows of more than ``max_backlog_s`` are due at once, only the newest is decoded.
    """

    def __init__(self, pipeline: Pipeline, *, max_backlog_s: float, swap: ModelSwap | None = None) -> None:
        self._max_backlog_s = max_backlog_s
        self._swap = swap
        self._sfreq = pipeline.options.sfreq or pipeline.info.sfreq
        self._most_buffered = max(1, round(_MOST_BUFFERED_S * self._sfreq))
        self._backlog = (0, 0.0)
        self._buffered: list[Chunk] = []
        self._n_buffered = 0
        self.use(pipeline)
        self._conditioned: list[tuple[NDArray[np.float64], NDArray[np.floating[Any]]]] = []

    def use(self, pipeline: Pipeline) -> None:
        """Give the samples to this pipeline from now on."""
        self._pipeline = pipeline
        self._hop_s = pipeline.hop_samples / pipeline.contract.sfreq
        self._n_wanted = 1

    @property
    def seconds_awaited(self) -> float:
        """Seconds of signal until a window can fall due."""
        return max(1, self._n_wanted - self._n_buffered) / self._sfreq

    def feed(self, chunk: Chunk, pulled_at: float) -> list[DueWindow]:
        """Condition a chunk as soon as enough samples have arrived; return the windows due.

        Parameters
        ----------
        chunk : Chunk
            Copied if it is buffered.
        pulled_at : float
            Time of the pull, in the clock of the chunk's times.

        Returns
        -------
        list of DueWindow
            Each with its stage times: ``condition``, and ``receive``, the age of the window's last sample when it
            was pulled, unless the clocks do not compare.
        """
        due = self.flush(pulled_at) if chunk.discontinuity else []
        if not self._buffered and (chunk.discontinuity or len(chunk) >= self._n_wanted):
            return due + self._condition(chunk, pulled_at)
        self._buffered.append(Chunk(np.array(chunk.samples), chunk.times))
        self._n_buffered += len(chunk)
        return due + self.flush(pulled_at) if self._n_buffered >= self._n_wanted else due

    def flush(self, pulled_at: float) -> list[DueWindow]:
        """Condition the buffered samples, because no more arrive; otherwise as :meth:`feed`."""
        if not self._buffered:
            return []
        samples = np.concatenate([part.samples for part in self._buffered])
        times = np.concatenate([part.times for part in self._buffered])
        self._buffered.clear()
        self._n_buffered = 0
        return self._condition(Chunk(samples, times), pulled_at)

    def complete(self, due: DueWindow, row: NDArray[np.float64], decode_ms: float) -> Prediction:
        """Return the prediction of a window from its probabilities, ``(n_classes,)``, with the stages ``wait`` and ``decode``."""
        waited_ms = (time.perf_counter() - due.since) * 1e3 - decode_ms
        return self._pipeline.complete(due.window, row, {**due.latency_ms, "wait": waited_ms, "decode": decode_ms})

    def take_backlog(self) -> tuple[int, float]:
        """Return the number of windows skipped since the last call, and the seconds of signal that they span."""
        backlog, self._backlog = self._backlog, (0, 0.0)
        return backlog

    def take_conditioned(self) -> list[tuple[NDArray[np.float64], NDArray[np.floating[Any]]]]:
        """Return times and samples conditioned since the last call, as :meth:`Pipeline.conditioned` gives them."""
        conditioned, self._conditioned = self._conditioned, []
        return conditioned

    def _condition(self, chunk: Chunk, pulled_at: float) -> list[DueWindow]:
        begin = time.perf_counter()
        windows = self._pipeline.advance(chunk)
        since = time.perf_counter()
        self._n_wanted = min(self._pipeline.samples_until_due, self._most_buffered)
        if len((conditioned := self._pipeline.conditioned())[0]):
            self._conditioned.append(conditioned)
        if (seconds := (len(windows) - 1) * self._hop_s) > self._max_backlog_s:
            self._backlog = (len(windows) - 1, seconds)
            windows = windows[-1:]
        latency = {"condition": (since - begin) * 1e3}
        due = []
        for window in windows:
            age = pulled_at - window.time
            plausible = PLAUSIBLE_AGE_S[0] <= age <= PLAUSIBLE_AGE_S[1]
            stages = {**latency, "receive": age * 1e3} if plausible else latency
            due.append(DueWindow(window, self._pipeline, stages, since))
        if self._swap is not None and self._swap.active:
            others = self._swap.advance(chunk, self._max_backlog_s)
            due += [DueWindow(window, other, {"condition": spent_ms}, since) for other, window, spent_ms in others]
        return due
