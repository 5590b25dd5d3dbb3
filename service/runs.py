"""Windows and predictions in runs: a recording goes through the pipeline without an object per window.

The samples, their flags and what is learnt between them are those of :class:`service.pipeline.Pipeline`; only the windows that
fall due under one alignment stay together, as one stretch of samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.contract import Contract
from service.inference.offline import OfflineDecoder
from service.options import PipelineOptions
from service.pipeline import Pipeline
from service.signal.conditioner import Conditioned
from service.types import SUSPECT, Chunk, Prediction, Reason, SignalInfo, Window

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
        Bits of :class:`service.types.Reason`.
    samples : ndarray of float32, shape (window_samples + (n_windows - 1) * hop, n_channels)
        Conditioned, not yet aligned; a view that nothing overwrites.
    alignment : ndarray of float32, shape (n_channels, n_channels)
    """

    first_seq: int
    times: NDArray[np.float64]
    reasons: NDArray[np.uint32]
    samples: NDArray[np.float32]
    alignment: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PredictedRun:
    """Predictions with sequence numbers that follow each other.

    Parameters
    ----------
    first_seq : int
    times : ndarray of float64, shape (n,)
        Seconds.
    reasons : ndarray of uint32, shape (n,)
        Bits of :class:`service.types.Reason`.
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
    decoder : OfflineDecoder
    options : PipelineOptions or None

    Raises
    ------
    ContractError
        The signal cannot meet the contract, or the state to begin with is of another signal or model.
    ArgumentError
        The options ask for a decoder that adapts.
    """

    def __init__(
        self, contract: Contract, info: SignalInfo, decoder: OfflineDecoder, options: PipelineOptions | None = None
    ) -> None:
        super().__init__(contract, info, decoder, options)
        self._offline = decoder
        self._most = decoder.most_windows(self.hop_samples)
        self._runs: list[WindowRun] = []

    def condition(self, chunk: Chunk | None) -> list[Conditioned]:
        """Condition the next chunk, or at the end what was held back; a thread of its own may do all of this.

        Parameters
        ----------
        chunk : Chunk or None
            None at the end of the recording.
        """
        if chunk is None:
            return self.conditioner.flush()
        self.samples += len(chunk)
        parts = self.conditioner.process(chunk)
        super()._note_rate()
        return parts

    def take_runs(self, parts: list[Conditioned]) -> list[WindowRun]:
        """Take what was conditioned, in order; return the windows that fell due. So may another thread."""
        self._take(parts)
        runs, self._runs = self._runs, []
        return runs

    def decode_run(self, run: WindowRun) -> PredictedRun:
        """Decode a run, which changes nothing; so may a third thread."""
        logits = self._offline.decode_run(run.samples, run.alignment, self.hop_samples, len(run.times))
        return PredictedRun(run.first_seq, run.times, run.reasons, self.probabilities(logits))

    def _note_rate(self) -> None:
        """Nothing: it belongs to the conditioning, which may be ahead."""

    def _due(self, before: int, now: int) -> list[Window]:
        """Collect runs instead of windows; what is learnt between them is learnt at the same samples."""
        window, hop, update = self.contract.window_samples, self.hop_samples, self._update_samples
        end = max(window, window + -(-(before + 1 - window) // hop) * hop)
        if self.alignment:
            for at in self._block_ends(before, now):
                end = self._collect(end, at)
                good = (self._buffer.flags(at - update, at) & self._unlearnable) == 0
                self.alignment.update(self._buffer.samples(at - update, at)[good])
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
            self._runs.append(WindowRun(self._seq, times, reasons, self._buffer.samples(start, stop), matrix))
            self._seq += count
            end = stop + hop
        return end
