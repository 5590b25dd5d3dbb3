"""Windows and predictions in runs: a recording goes through the pipeline without an object per window.

The samples, their flags and what is learnt between them are those of :class:`mindwire.pipeline.Pipeline`; only the windows that
fall due under one alignment stay together, as one stretch of samples.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mindwire.inference.offline import RunDecoder
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.types import SUSPECT, Chunk, Prediction, Reason, SignalInfo, Window
from mindwire_models.contract import Contract

_INVALID = np.uint32(~int(SUSPECT) & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class WindowRun:
    """Windows that follow each other at the hop, under one alignment.

    Parameters
    ----------
    first_seq : int
        Sequence number of the first window.
    times : ndarray of float64, shape (n_windows,)
        Of each window's last sample, in seconds.
    reasons : ndarray of uint32, shape (n_windows,)
        Bits of :class:`mindwire.types.Reason`.
    samples : ndarray of float32, shape (window_samples + (n_windows - 1) * hop, n_channels)
        Conditioned, not yet aligned; a view that nothing overwrites.
    alignment : ndarray of float32, shape (n_channels, n_channels)
    continues : bool
        The first window is a hop behind the last one of the run before, and overlaps with it.
    """

    first_seq: int
    times: NDArray[np.float64]
    reasons: NDArray[np.uint32]
    samples: NDArray[np.float32]
    alignment: NDArray[np.float32]
    continues: bool

    @property
    def n_windows(self) -> int:
        """How many."""
        return len(self.times)


@dataclass(frozen=True, slots=True)
class PredictedRun:
    """Predictions with sequence numbers that follow each other.

    Parameters
    ----------
    first_seq : int
    times : ndarray of float64, shape (n,)
        Seconds.
    reasons : ndarray of uint32, shape (n,)
        Bits of :class:`mindwire.types.Reason`.
    probabilities : ndarray of float64, shape (n, n_classes)
    """

    first_seq: int
    times: NDArray[np.float64]
    reasons: NDArray[np.uint32]
    probabilities: NDArray[np.float64]

    @classmethod
    def collect(cls, predictions: Sequence[Prediction]) -> PredictedRun:
        """At least one prediction, none skipped between them."""
        return cls(
            predictions[0].seq,
            np.array([prediction.time for prediction in predictions]),
            np.array([int(prediction.reasons) for prediction in predictions], dtype=np.uint32),
            np.stack([prediction.probabilities for prediction in predictions]),
        )

    def __len__(self) -> int:
        return len(self.times)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which may be believed, ``(n,)``."""
        return np.asarray((self.reasons & _INVALID) == 0)

    def predictions(self) -> Iterator[Prediction]:
        """One object each."""
        parts = zip(self.times.tolist(), self.probabilities, self.reasons.tolist(), strict=True)
        for seq, (time, probabilities, reasons) in enumerate(parts, self.first_seq):
            yield Prediction(seq, time, probabilities, Reason(reasons))


class RunPipeline(Pipeline):
    """A pipeline for recordings, whose windows come in runs.

    Parameters
    ----------
    contract : Contract
    info : SignalInfo
    decoder : RunDecoder
    options : PipelineOptions or None

    Raises
    ------
    ContractError
        The signal cannot meet the contract, or the state to begin with is of another signal or model.
    ArgumentError
        The options ask for a decoder that adapts.
    """

    def __init__(
        self, contract: Contract, info: SignalInfo, decoder: RunDecoder, options: PipelineOptions | None = None
    ) -> None:
        super().__init__(contract, info, decoder, options)
        self._run_decoder = decoder
        self._most = decoder.most_windows(self.hop_samples)
        self._runs: list[WindowRun] = []
        self._continues = False

    def advance_runs(self, chunk: Chunk) -> list[WindowRun]:
        """Take a chunk; return the windows that fell due."""
        self.advance(chunk)
        return self._taken()

    def finish_runs(self) -> list[WindowRun]:
        """Take what is still held back, at the end of a recording; otherwise as :meth:`advance_runs`."""
        self._take(self.conditioner.flush())
        self._events += self._gap_events.due()
        return self._taken()

    def _taken(self) -> list[WindowRun]:
        runs, self._runs = self._runs, []
        return runs

    def decode_runs(self, waiting: Iterable[list[WindowRun]]) -> Iterator[PredictedRun]:
        """Decode runs, which changes nothing in the pipeline; some may be under way before the first is told.

        Parameters
        ----------
        waiting : iterable of list of WindowRun
            As :meth:`advance_runs` gives them.

        Yields
        ------
        PredictedRun
            One for all of a list.
        """
        under_way: deque[list[WindowRun]] = deque()

        def batches() -> Iterator[list[WindowRun]]:
            for runs in filter(None, waiting):
                under_way.append(runs)
                yield runs

        for logits in self._run_decoder.decode_runs(batches(), self.hop_samples):
            runs = under_way.popleft()
            first = runs[0].first_seq
            reasons = np.concatenate([run.reasons for run in runs])
            probabilities = self.probabilities(logits)
            failed = np.isnan(probabilities[:, 0])
            if failed.any() or self._decoder_events.failing:
                reasons[failed] |= Reason.DECODER.bit
                for seq, one in enumerate(failed.tolist(), first):
                    self._events += self._decoder_events.take(seq, failed=one)
            yield PredictedRun(first, np.concatenate([run.times for run in runs]), reasons, probabilities)

    def _due(self, before: int, now: int) -> list[Window]:
        """Collect runs instead of windows; what is learnt between them is learnt at the same samples."""
        window, hop = self.contract.window_samples, self.hop_samples
        end = max(window, window + -(-(before + 1 - window) // hop) * hop)
        self._continues = False
        for at in self._blocks.ends(before, now) if self._blocks else ():
            end = self._collect(end, at)
            self._align_at = at
            self._catch_up()
        self._collect(end, now)
        return []

    def _collect(self, end: int, last: int) -> int:
        """Runs of the windows that end from one sample to another; returns where the next one ends."""
        window, hop = self.contract.window_samples, self.hop_samples
        while end <= last:
            count = min((last - end) // hop + 1, self._most)
            start, stop = end - window, end + (count - 1) * hop
            flags = self._buffer.flags(start, stop)
            reasons = np.zeros(count, dtype=np.uint32)
            if flags.any():
                np.bitwise_or.reduce(sliding_window_view(flags, window)[::hop], axis=1, out=reasons)
            matrix = self._identity
            if self.alignment:
                matrix = self.alignment.matrix
                if not self.alignment.ready:
                    reasons |= Reason.ALIGNING.bit
            times = self._buffer.times(end - 1, stop)[::hop].copy()
            samples = self._buffer.samples(start, stop)
            self._runs.append(WindowRun(self._seq, times, reasons, samples, matrix, self._continues))
            self._continues = hop <= window
            self._seq += count
            end = stop + hop
        return end
