"""From a pulled chunk to timed predictions: the pipeline's two halves with the decoder between them, live.

Fresh beats complete here: after a stall only the newest window is decoded, and the others are counted.
What is skipped is decoding; every sample is conditioned, so the pipeline's state is what a replay has.

An outlet that pushes single samples would have the pipeline run ten times per window. Samples are kept
instead until a window can fall due, which costs no latency and changes, bit for bit, nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mindwire.inference.decoder import Decoder
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, Prediction, Window

# An age outside says that the source's clock is not this machine's, and is no latency.
_PLAUSIBLE_AGE_S = (-0.05, 60.0)
# The signal for display and what happens to it should not wait for a window long due.
_MOST_KEPT_S = 0.04


@dataclass(frozen=True, slots=True)
class Backlog:
    """Windows that were due but not decoded, and the seconds of signal they span."""

    windows: int
    seconds: float


class Due(msgspec.Struct, frozen=True, eq=False):
    """A window to be decoded, the milliseconds it has spent so far, per stage, and since when it waits."""

    window: Window
    latency_ms: Mapping[str, float]
    since: float


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
    decoder : Decoder
    """

    def __init__(self, pipeline: Pipeline, decoder: Decoder, *, max_backlog_s: float) -> None:
        self.pipeline = pipeline
        self.decoder = decoder
        self._max_backlog_s = max_backlog_s
        self._hop_s = pipeline.hop_samples / pipeline.contract.sfreq
        self._backlog: Backlog | None = None
        self._kept: list[Chunk] = []
        self._conditioned: list[tuple[NDArray[np.float64], NDArray[np.floating[Any]]]] = []
        self._n_kept = 0
        self._sfreq = pipeline.options.sfreq or pipeline.info.sfreq
        self._most_kept = max(1, round(_MOST_KEPT_S * self._sfreq))
        self._samples_wanted = 1
        self._advanced = False

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
            its chunk was pulled, unless the clocks do not compare; ``condition``; ``wait`` for other windows;
            ``decode``.
        """
        yield from map(self._decode, self.gather(chunk, pulled_at))

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
        yield from map(self._decode, [due for part in self.collect_rest() for due in self.condition(part, pulled_at)])

    def gather(self, chunk: Chunk, pulled_at: float) -> list[Due]:
        """Condition a chunk, once enough has come; whoever calls decodes what is due, and completes it.

        Parameters
        ----------
        chunk : Chunk
            Copied when it is kept.
        pulled_at : float
            As in :meth:`take`.

        Returns
        -------
        list of Due
        """
        return [due for part in self.collect(chunk) for due in self.condition(part, pulled_at)]

    def collect(self, chunk: Chunk) -> list[Chunk]:
        """What is to be conditioned now that a chunk has come: nothing, until a window can fall due.

        Parameters
        ----------
        chunk : Chunk
            Copied when it is kept.

        Returns
        -------
        list of Chunk
            Whoever conditions them says so with :meth:`due`.
        """
        self._catch_up()
        now = self.collect_rest() if chunk.broken else []
        if not self._kept and (chunk.broken or len(chunk) >= self._enough()):
            return [*now, chunk]
        self._kept.append(Chunk(np.array(chunk.samples), chunk.times))
        self._n_kept += len(chunk)
        return now + self.collect_rest() if self._n_kept >= self._enough() else now

    def collect_rest(self) -> list[Chunk]:
        """What was kept back, because nothing more comes; otherwise as :meth:`collect`."""
        if not self._kept:
            return []
        samples = np.concatenate([part.samples for part in self._kept])
        times = np.concatenate([part.times for part in self._kept])
        self._kept.clear()
        self._n_kept = 0
        return [Chunk(samples, times)]

    def due(self, windows: list[Window], pulled_at: float, condition_ms: float, since: float) -> list[Due]:
        """The windows that a conditioned chunk made due, of which a backlog leaves only the newest.

        Parameters
        ----------
        windows : list of Window
        pulled_at : float
            As in :meth:`take`.
        condition_ms : float
            How long conditioning took.
        since : float
            From when on it counts as waiting, by ``time.perf_counter``.

        Returns
        -------
        list of Due
        """
        self._advanced = True
        due = []
        for window in self._newest(windows):
            latency = {"condition": condition_ms}
            age = pulled_at - window.time
            if _PLAUSIBLE_AGE_S[0] <= age <= _PLAUSIBLE_AGE_S[1]:
                latency["receive"] = age * 1e3
            due.append(Due(window, latency, since))
        return due

    def complete(self, due: Due, probabilities: NDArray[np.float64], decode_ms: float) -> Prediction:
        """The prediction of a window whose decoding took so long.

        Parameters
        ----------
        due : Due
        probabilities : ndarray of float64, shape (n_classes,)
            See :meth:`Pipeline.probabilities`.
        decode_ms : float

        Returns
        -------
        Prediction
        """
        waited_ms = (time.perf_counter() - due.since) * 1e3 - decode_ms
        latency = {**due.latency_ms, "wait": waited_ms, "decode": decode_ms}
        return self.pipeline.conclude(due.window, probabilities, latency)

    @property
    def seconds_awaited(self) -> float:
        """Seconds of signal until a window can fall due."""
        return self.samples_awaited / self._sfreq

    @property
    def samples_awaited(self) -> int:
        """How many more source samples it takes until a window can fall due; at least 1."""
        return max(1, self._enough() - self._n_kept)

    def _decode(self, due: Due) -> Prediction:
        begin = time.perf_counter()
        logits = self.decoder.decode([self.pipeline.session], [due.window])[0]
        decode_ms = (time.perf_counter() - begin) * 1e3
        return self.complete(due, self.pipeline.probabilities(logits), decode_ms)

    def condition(self, chunk: Chunk, pulled_at: float) -> list[Due]:
        """Condition a chunk that :meth:`collect` gave; otherwise as :meth:`gather`."""
        self._catch_up()
        begin = time.perf_counter()
        windows = self.pipeline.advance(chunk)
        since = time.perf_counter()
        return self.due(windows, pulled_at, (since - begin) * 1e3, since)

    def _catch_up(self) -> None:
        """Do after a chunk what its predictions need not wait for."""
        if self._advanced:
            self._advanced = False
            self._samples_wanted = min(self.pipeline.samples_until_due, self._most_kept)
            self._conditioned.append(self.pipeline.conditioned())
            self.pipeline.catch_up()

    def _enough(self) -> int:
        self._catch_up()
        return self._samples_wanted

    def drain_conditioned(self) -> list[tuple[NDArray[np.float64], NDArray[np.floating[Any]]]]:
        """Times and conditioned samples since the last call, as :meth:`Pipeline.conditioned` has them."""
        self._catch_up()
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
