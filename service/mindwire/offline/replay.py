"""Replay of a recording through the live pipeline, as fast as the machine allows or at a chosen speed.

Offline nothing is skipped: every window is decoded. The predictions are those of the live run, because the pipeline
is the same and nothing in it depends on how samples arrive; where many windows are decoded in one call, they are so
within float32 rounding.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

import msgspec
import numpy as np
from numpy.typing import NDArray

from mindwire.inference.decoder import Decoder
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.signal.events import PipelineEvent
from mindwire.sources.recording import RecordedSignal
from mindwire.types import INVALID, Chunk, Decision, Prediction, Reason
from mindwire_models.contract import Contract
from mindwire_models.text import counted

_PACED_SECONDS = 0.04
# The windows of this length of signal are decoded together.
TOGETHER_SECONDS = 20.0
# Longer pauses in the recording are shortened to this when replayed in real time.
_LONGEST_WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PredictedRun:
    """Predictions with consecutive sequence numbers, as arrays of length n.

    ``times`` are in seconds, ``reasons`` bits of :class:`~mindwire.types.Reason`, ``probabilities`` of shape (n, n_classes);
    ``decisions`` are those that a control policy made of them.
    """

    first_seq: int
    times: NDArray[np.float64]
    reasons: NDArray[np.uint32]
    probabilities: NDArray[np.float64]
    decisions: tuple[Decision, ...] = ()

    @classmethod
    def collect(cls, predictions: Sequence[Prediction]) -> PredictedRun:
        """Collect at least one prediction, none skipped between them."""
        return cls(
            predictions[0].seq,
            np.array([prediction.time for prediction in predictions]),
            np.array([int(prediction.reasons) for prediction in predictions], dtype=np.uint32),
            np.stack([prediction.probabilities for prediction in predictions]),
            tuple(one.control.decision for one in predictions if one.control and one.control.decision),
        )

    def __len__(self) -> int:
        return len(self.times)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """True where a prediction is valid, ``(n,)``."""
        return np.asarray((self.reasons & INVALID) == 0)

    def predictions(self) -> Iterator[Prediction]:
        """Yield one object each."""
        parts = zip(self.times.tolist(), self.probabilities, self.reasons.tolist(), strict=True)
        for seq, (when, probabilities, reasons) in enumerate(parts, self.first_seq):
            yield Prediction(seq, when, probabilities, Reason(reasons))


@dataclass(slots=True)
class ReplaySummary:
    """Summary of a replay; complete when it has ended.

    ``remarks`` are sentences on the whole signal by kind: ``rate`` where time stamps contradict it, ``amplitude`` where its size
    is not that of EEG, ``error`` where the decoder fails.
    """

    samples: int = 0
    signal_seconds: float = 0.0
    wall_seconds: float = 0.0
    windows: int = 0
    valid: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    remarks: dict[str, str] = field(default_factory=dict)

    def note(self, event: PipelineEvent) -> None:
        """Take an event into account."""
        self.events[event.kind] += event.data.get("count", 1)
        if event.doubts_all:
            self.remarks.setdefault(event.kind, event.message)

    def count(self, run: PredictedRun) -> None:
        """Take a run of predictions into account."""
        self.windows += len(run)
        self.valid += int(run.valid.sum())
        self.decisions.update(decision.label for decision in run.decisions)
        if run.reasons.any():
            for bits, count in zip(
                *(part.tolist() for part in np.unique(run.reasons, return_counts=True)), strict=True
            ):
                for label in Reason(bits).labels:
                    self.reasons[label] += count

    def describe(self) -> str:
        """Return the summary in one line."""
        text = f"{self.windows} windows, {self.valid} valid (whole and clean)"
        if self.reasons:
            text += f" (reasons: {', '.join(f'{name} {count}' for name, count in self.reasons.most_common())})"
        if self.decisions:
            decided = ", ".join(f"{label} {count}" for label, count in sorted(self.decisions.items()))
            text += f"; {counted(self.decisions.total(), 'decision')} ({decided})"
        if self.events:
            text += f"; {', '.join(f'{count} x {name}' for name, count in sorted(self.events.items()))}"
        speed = self.signal_seconds / self.wall_seconds if self.wall_seconds > 0 else float("inf")
        return f"{text}; {self.signal_seconds:.1f} s in {self.wall_seconds:.2f} s, {speed:.0f} x real time."


class Replay:
    """One pass of a signal through a pipeline of its own; a ContractError says that the signal cannot meet the contract.

    Parameters
    ----------
    speed : float or None
        Multiple of real time; None for as fast as possible.
    on_samples : callable or None
        Called after each chunk with the number of samples so far.
    """

    def __init__(
        self,
        signal: RecordedSignal,
        contract: Contract,
        decoder: Decoder,
        options: PipelineOptions | None = None,
        *,
        speed: float | None = None,
        on_samples: Callable[[int], None] | None = None,
    ) -> None:
        self._signal = signal
        self._speed = speed
        self._on_samples = on_samples
        self._sfreq = (options and options.sfreq) or signal.info.sfreq
        self.pipeline = Pipeline(contract, signal.info, decoder, options)
        self.summary = ReplaySummary()

    def predictions(self) -> Iterator[Prediction]:
        """Yield all predictions in order; call once, this or :meth:`runs`.

        Yields
        ------
        Prediction
            Times are the recording's own.

        Raises
        ------
        RecordingError
            The recording cannot be read any more.
        """
        for run in self.runs():
            yield from run.predictions()

    def runs(self) -> Iterator[PredictedRun]:
        """Yield all predictions in order, many at a time, with the recording's own times; call once.

        A RecordingError says that the recording cannot be read any more.
        """
        summary = self.summary
        begin = time.perf_counter()
        pipeline = self.pipeline
        for predictions in self._decoded():
            if predictions:
                run = PredictedRun.collect(predictions)
                summary.count(run)
                yield run
        for event in pipeline.drain_events():
            summary.note(event)
        summary.signal_seconds = summary.samples / (self._signal.info.sfreq or self._sfreq)
        summary.wall_seconds = time.perf_counter() - begin

    def _pieces(self) -> Iterator[Chunk]:
        chunks, sfreq = self._signal.chunks(), self._sfreq
        pieces = coalesced(chunks, round(sfreq * TOGETHER_SECONDS)) if self._speed is None else None
        for chunk in pieces or paced(chunks, sfreq, self._speed or 1.0):
            yield chunk
            self.summary.samples += len(chunk)
            if self._on_samples is not None:
                self._on_samples(self.summary.samples)

    def _decoded(self) -> Iterator[list[Prediction]]:
        yield from map(self.pipeline.process, self._pieces())
        yield self.pipeline.finish()


def coalesced(chunks: Iterable[Chunk], samples: int) -> Iterator[Chunk]:
    """Join chunks until they have a number of samples, which changes no prediction; a break between two chunks stays one."""
    held: list[Chunk] = []
    count = 0
    for chunk in chunks:
        if held and chunk.discontinuity:
            yield _joined(held)
            held, count = [], 0
        held.append(chunk)
        count += len(chunk)
        if count >= samples:
            yield _joined(held)
            held, count = [], 0
    if held:
        yield _joined(held)


def _joined(chunks: list[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    samples = np.concatenate([chunk.samples for chunk in chunks])
    return Chunk(samples, np.concatenate([chunk.times for chunk in chunks]), chunks[0].discontinuity)


def paced(chunks: Iterable[Chunk], sfreq: float, speed: float) -> Iterator[Chunk]:
    """Yield chunks in small pieces, each when its last sample is due at a multiple of real time.

    Pauses in the recording are kept up to ten seconds each; steps back take no time.
    """
    size = max(1, round(sfreq * _PACED_SECONDS))
    begin = time.monotonic()
    elapsed = 0.0
    last: float | None = None
    for chunk in chunks:
        for start in range(0, len(chunk), size):
            piece = slice(start, start + size)
            times = chunk.times[piece]
            step = float(times[-1]) - (last if last is not None else float(times[0]))
            elapsed += min(max(step, 0.0), _LONGEST_WAIT_SECONDS)
            last = float(times[-1])
            wait = begin + elapsed / speed - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            yield Chunk(
                chunk.samples[piece], times, chunk.discontinuity if start == 0 else type(chunk.discontinuity)(0)
            )


def write_csv(runs: Iterable[PredictedRun], classes: Iterable[str], file: IO[str]) -> None:
    """Write predictions as a table: ``seq,time,valid,<class>,<class>…,reasons,decided``, one row per hop.

    Reasons are separated by semicolons. Decided is the class with the highest probability, none where the prediction is not
    valid. The file is opened with ``newline=""``; numbers are written so that they read back exactly.
    """
    names = [_cell(name) for name in classes]
    file.write(",".join(["seq", "time", "valid", *names, "reasons", "decided"]) + "\n")
    decided = np.array(["", *names], dtype=object)
    for run in runs:
        bits, kinds = np.unique(run.reasons, return_inverse=True)
        reasons = np.array([";".join(Reason(int(one)).labels) for one in bits], dtype=object)[kinds]
        sure = run.valid & np.isfinite(run.probabilities).all(axis=1)
        winners = decided[np.where(sure, run.probabilities.argmax(axis=1) + 1, 0)]
        rows = zip(
            run.times.tolist(),
            run.valid.tolist(),
            _texts(run.probabilities),
            reasons.tolist(),
            winners.tolist(),
            strict=True,
        )
        # Numbers need no quotes, and a csv.writer takes many times as long.
        file.write(
            "".join(
                f"{seq},{time!r},{'true' if valid else 'false'},{numbers},{why},{winner}\n"
                for seq, (time, valid, numbers, why, winner) in enumerate(rows, run.first_seq)
            )
        )


def write_decisions(decisions: Iterable[Decision], file: IO[str]) -> None:
    """Write decisions as a table: ``time,seq,class,confidence``; otherwise as :func:`write_csv`."""
    file.write("time,seq,class,confidence\n")
    file.writelines(f"{one.time!r},{one.seq},{_cell(one.label)},{one.confidence!r}\n" for one in decisions)


def _cell(text: str) -> str:
    """Return a name as a cell that no spreadsheet takes for a formula, on one line."""
    text = "".join(character if character.isprintable() else " " for character in text)
    if text.lstrip()[:1] in tuple("=+-@＝＋－＠"):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"') else text


def _texts(table: NDArray[np.float64]) -> list[str]:
    """Return each row's numbers, separated by commas."""
    if not np.isfinite(table).all():
        return [",".join(map(repr, row)) for row in table.tolist()]
    # The shortest digits that read back exactly, as repr gives them, but ten times as fast.
    return msgspec.json.encode(table.tolist()).decode()[2:-2].split("],[")
