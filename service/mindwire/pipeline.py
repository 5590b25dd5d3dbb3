"""The pipeline: everything between a source and the sinks, as one synchronous, deterministic object.

    chunk ──▶ conditioner ──▶ window buffer ──▶ windows due ──▶ decoder ──▶ predictions

It owns no thread, socket, file or clock. Hops and alignment updates count conditioned samples, so the
predictions do not depend, bit for bit, on how the samples were cut into chunks; a live stream and the
replay of its recording give the same.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.adaptation import SavedAdaptation
from mindwire.errors import ArgumentError, ContractError
from mindwire.inference.decoder import Decoder, Learner
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.signal.alignment import OnlineAlignment
from mindwire.signal.blocks import BlockSchedule
from mindwire.signal.conditioner import Conditioned, Conditioner
from mindwire.signal.events import DecoderEvents, GapEvents, PipelineEvent, rate_event, size_event
from mindwire.signal.montage import resolve_montage
from mindwire.signal.quality import ChannelQuality
from mindwire.signal.window import WindowBuffer
from mindwire.types import HARMLESS, INVALID, Chunk, Prediction, Reason, SignalInfo, Window, reasons_of
from mindwire_models.contract import Alignment, Contract

log = logging.getLogger(__name__)

_NO_LATENCY: Mapping[str, float] = MappingProxyType({})
# No EEG is sampled slower or faster; the work of a second grows with the rate, that of a resampled sample with its inverse.
_MIN_SFREQ = 1.0
_MAX_SFREQ = 1e5


@lru_cache
def _tell(note: str) -> None:
    """Warn of what was assumed, once, however many pipelines assume it."""
    log.warning("%s", note)


class _Turn(IntEnum):
    """What falls due at a sample, in this order: nobody waits for the alignment, which serves the next windows."""

    LEARN = 0
    DECODE = 1
    ALIGN = 2


class Pipeline:
    """One stream's way from chunks to predictions.

    Parameters
    ----------
    contract : Contract
    info : SignalInfo
        What the source says of its signal.
    decoder : Decoder
    options : PipelineOptions

    Raises
    ------
    ContractError
        The signal cannot meet the contract, or the state to begin with is of another signal or model.
    ArgumentError
        The decoder does not adapt as the options say.

    Attributes
    ----------
    learner : Learner or None
        The decoder's session, where it learns.
    samples : int
        Source samples taken so far.
    gaps : int
        Gaps seen so far, bridged ones too.
    conditioner : Conditioner
        The first half, up to the window buffer.
    """

    def __init__(
        self, contract: Contract, info: SignalInfo, decoder: Decoder, options: PipelineOptions | None = None
    ) -> None:
        self.options = options = (options or PipelineOptions()).for_source(info)
        sfreq = options.sfreq or info.sfreq
        if not sfreq > 0:
            msg = (
                f"The model needs a regular signal, but {info.name!r} has no nominal rate; "
                "give the rate it really has with --rate, or use another stream."
            )
            raise ContractError(msg)
        if not _MIN_SFREQ <= sfreq <= _MAX_SFREQ:
            msg = f"The model needs EEG of {_MIN_SFREQ:g} to {_MAX_SFREQ:g} Hz, but {info.name!r} has {sfreq:g} Hz; give its true rate with --rate."
            raise ContractError(msg)
        self.contract = contract
        self.info = info
        self.decoder = decoder
        self.session = decoder.session()
        self.learner: Learner | None = self.session if isinstance(self.session, Learner) else None
        adapts = self.learner.kind if self.learner else "alignment"
        if adapts != options.adapt:
            msg = f"The options ask for adaptation {options.adapt!r}, but the decoder was made for {adapts!r}."
            raise ArgumentError(msg)
        self.montage = resolve_montage(contract, info, options.channels, options.unit)
        if self.montage.note:
            _tell(self.montage.note)
        self.hop_samples = options.hop_samples or contract.hop_samples
        self.samples = 0
        self.gaps = 0
        self.conditioner = Conditioner(
            contract,
            self.montage,
            sfreq,
            options.bridge_seconds,
            options.bad_channels,
            rate_accepted=options.sfreq is not None,
        )
        spec = contract.normalisation
        self.alignment: OnlineAlignment | None = None
        self._blocks: BlockSchedule | None = None
        self._next_block = sys.maxsize  # where the next of them ends
        self._align_at: int | None = None  # the sample up to which the alignment is still to learn
        if isinstance(spec, Alignment) and options.alignment == "online":
            self.alignment = OnlineAlignment(spec, contract.n_channels, contract.window_samples, contract.sfreq)
            self._blocks = BlockSchedule(contract, spec)
        # An interpolated channel holds nothing of its own: its variance would be unlearned, and blown up on
        # its return. Who asks for interpolation throughout knows that it does not return.
        interpolated = Reason.NONE if options.bad_channels == "interpolate" else Reason.INTERPOLATED
        self._unlearnable = INVALID | interpolated.bit
        self._identity = np.eye(contract.n_channels, dtype=np.float32)
        self._window_samples = contract.window_samples
        self._keep = max(contract.window_samples, self._blocks.n_samples if self._blocks else 0)
        self._buffer = WindowBuffer(self._keep, contract.n_channels)
        self._segment = 0
        self._seq = 0
        self._events: list[PipelineEvent] = []
        self._commands = list(options.commands)
        self._gap_events = GapEvents(contract.sfreq)
        self._decoder_events = DecoderEvents(contract.sfreq / self.hop_samples)
        self._conditioned_samples = 0
        self._fresh: list[Conditioned] = []
        if options.state is not None:
            self._restore(SavedAdaptation.from_text(options.state))

    @property
    def resampler_delay_seconds(self) -> float:
        """How much later than it was taken a sample can be used, because of the resampler."""
        return self.conditioner.resampler_delay_seconds

    @property
    def settling_seconds(self) -> float:
        """How long the filters settle after a start or a gap."""
        return self.contract.settling_samples / self.contract.sfreq

    @property
    def effective_rate(self) -> float | None:
        """Measured rate of the source in hertz; None until about 15 s were seen."""
        return self.conditioner.timebase.rate.effective_rate

    @property
    def drift_ppm(self) -> float:
        """How slow the source's sampling clock is against its time stamps, in parts per million."""
        return self.conditioner.timebase.drift_ppm

    @property
    def seconds_until_valid(self) -> float:
        """How long it still takes until a window can be valid, if the signal is good from now on; about, in seconds.

        May be asked from any thread.
        """
        buffer, window = self._buffer, self._window_samples
        count = buffer.count
        start = max(0, count - window)
        bad = np.flatnonzero(buffer.flags(start, count) & INVALID)
        unsettled = self.conditioner.settling_left
        good_from = count + unsettled if unsettled else start + int(bad[-1]) + 1 if len(bad) else 0
        end = good_from + window
        if self.alignment is not None and self._blocks is not None and not self.alignment.ready:
            learnt = (self._align_at or self._blocks.after(count)) - self._blocks.n_samples
            enough = max(good_from, learnt) + self.alignment.missing_samples
            end = max(
                end, self._blocks.after(enough - 1) + 1
            )  # a block is learnt from after the window that ends with it
        return max(0, end - count) / self.contract.sfreq

    @property
    def samples_until_due(self) -> int:
        """How many more source samples it takes, as far as is known, until the next window falls due; at least 1.

        Until then taking samples one by one is wasted work. A bridged gap may make a window due sooner.
        """
        count = self._buffer.count
        return max(1, self.conditioner.source_samples(self._next_end(count) - count))

    def _next_end(self, count: int) -> int:
        """Where the first window ends that ends after so many samples of the segment."""
        return (
            self._window_samples + max(0, -(-(count + 1 - self._window_samples) // self.hop_samples)) * self.hop_samples
        )

    def advance(self, chunk: Chunk) -> list[Window]:
        """Take a chunk; return the windows that fell due.

        Parameters
        ----------
        chunk : Chunk

        Returns
        -------
        list of Window
            In order. Whoever is in a hurry may decode only the last; conditioning is never skipped.
        """
        self.samples += len(chunk)
        return self._take(self.conditioner.process(chunk))

    def finish(self) -> list[Prediction]:
        """Decode what is still held back, at the end of a recording."""
        predictions = self._decode(self._take(self.conditioner.flush()))
        self._catch_up()
        self._events += self._gap_events.due()
        return predictions

    def complete(
        self, window: Window, logits: NDArray[np.floating[Any]], latency_ms: Mapping[str, float] = _NO_LATENCY
    ) -> Prediction:
        """Turn a window's logits into a prediction.

        Parameters
        ----------
        window : Window
        logits : ndarray, shape (n_classes,)
        latency_ms : mapping of str to float
            Milliseconds spent per stage.

        Returns
        -------
        Prediction
        """
        return self._conclude(window, self.probabilities(logits), latency_ms)

    def _conclude(
        self, window: Window, probabilities: NDArray[np.float64], latency_ms: Mapping[str, float]
    ) -> Prediction:
        reasons = window.reasons
        failed = math.isnan(probabilities[0])
        if failed or self._decoder_events.failing:
            self._events += self._decoder_events.take(window.seq, failed=failed)
            reasons |= Reason.DECODER if failed else Reason.NONE
        return Prediction(window.seq, window.time, probabilities, reasons, latency_ms)

    def process(self, chunk: Chunk) -> list[Prediction]:
        """Take a chunk; decode all windows that fall due, in one call of the decoder."""
        return self._decode(self.advance(chunk))

    def probabilities(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the softmax of logits over the contract's temperature; NaN for a row with any value not finite.

        Parameters
        ----------
        logits : ndarray, shape (..., n_classes)

        Returns
        -------
        ndarray of float64, shape (..., n_classes)
        """
        scaled = np.asarray(logits, dtype=np.float64) / self.contract.temperature
        finite = np.isfinite(scaled)
        if not finite.all():
            rows = finite.all(axis=-1, keepdims=True)
            return np.where(rows, self.probabilities(np.where(rows, logits, 0.0)), np.nan)
        exponents = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        exponents /= exponents.sum(axis=-1, keepdims=True)
        return np.asarray(exponents)

    def conditioned(self) -> tuple[NDArray[np.float64], NDArray[np.floating[Any]]]:
        """Times and conditioned samples that the last advance added.

        Returns
        -------
        times : ndarray of float64, shape (n_samples,)
        samples : ndarray of float, shape (n_samples, n_channels)
            Filtered, in the contract's unit, not aligned.
        """
        if len(self._fresh) == 1:
            return self._fresh[0].times, self._fresh[0].samples
        if not self._fresh:
            return np.empty(0), np.empty((0, self.contract.n_channels))
        return (
            np.concatenate([part.times for part in self._fresh]),
            np.concatenate([part.samples for part in self._fresh]),
        )

    def channel_quality(self) -> list[ChannelQuality]:
        """How good each channel was over the last whole second."""
        return self.conditioner.channel_quality()

    def adapt(self, command: AdaptationCommand) -> None:
        """Carry out a command now, after the samples taken so far.

        Parameters
        ----------
        command : AdaptationCommand

        Raises
        ------
        ArgumentError
            Neither the contract asks for online alignment nor does the decoder learn; there is nothing to command.
        """
        if not self.alignment and not self.learner:
            msg = f"The model aligns nothing online, so there is no adaptation to {command.action}."
            raise ArgumentError(msg)
        self._catch_up()
        data: dict[str, Any] = {"action": command.action, "segment": self._segment, "at": self._buffer.count}
        freeze = command.action == "freeze"
        if self.alignment:
            if command.action == "rollback":
                data["updates"] = self.alignment.rollback(command.updates)
            else:
                self.alignment.frozen = freeze
            data["drift"] = self.alignment.drift
        if self.learner:
            if command.action == "rollback":
                data["steps"] = self.learner.rollback(command.steps)
            else:
                self.learner.frozen = freeze
            data["decoder_drift"] = self.learner.drift
        self._events.append(PipelineEvent("adaptation", f"Adaptation: {command.action}.", data))

    def saved_adaptation(self) -> SavedAdaptation:
        """What was learnt so far, to begin another session with."""
        self._catch_up()
        return self.learnt

    @property
    def learnt(self) -> SavedAdaptation:
        """As :meth:`saved_adaptation`, but for what is still to be learnt of the last samples; from any thread."""
        state = self.alignment.state if self.alignment and self.alignment.state.weight else None
        return SavedAdaptation.of(self.contract, state, self.learner.save() if self.learner else {})

    def _restore(self, saved: SavedAdaptation) -> None:
        saved.check(self.contract)
        if self.alignment and saved.alignment:
            self.alignment.restore(saved.warm_start(self.contract))
        if self.learner and saved.network:
            self.learner.restore(saved.network)

    @property
    def frozen(self) -> bool:
        """Whether somebody has had all learning stopped."""
        return any(one.frozen for one in (self.alignment, self.learner) if one is not None)

    def _catch_up(self) -> None:
        """Let the alignment learn from the block that ended last, which no window up to its end waited for."""
        at, self._align_at = self._align_at, None
        if at is not None and self.alignment and self._blocks:
            start = at - self._blocks.n_samples
            samples = self._buffer.samples(start, at)
            if self._buffer.flagged(start, at) & self._unlearnable:
                samples = samples[(self._buffer.flags(start, at) & self._unlearnable) == 0]
            self.alignment.update(samples)

    def drain_events(self) -> list[PipelineEvent]:
        """What happened to the signal since the last call."""
        events, self._events = self._events, []
        return events

    def _decode(self, windows: list[Window]) -> list[Prediction]:
        if not windows:
            return []
        logits = self.decoder.decode([self.session] * len(windows), windows)
        # One softmax for all: row by row it would take as long as the decoding of a recording.
        probabilities = self.probabilities(logits)
        return [self._conclude(window, row, _NO_LATENCY) for window, row in zip(windows, probabilities, strict=True)]

    def _take(self, parts: list[Conditioned]) -> list[Window]:
        self._fresh = parts
        windows: list[Window] = []
        for part in parts:
            if part.discontinuity or part.gap_seconds:
                self._note(part)
            if part.discontinuity:
                self._catch_up()
                self._segment += 1
                self._buffer = WindowBuffer(self._keep, self.contract.n_channels, part.phase)
            windows += self._append(part) if not self._commands else self._append_in_pieces(part)
            self._conditioned_samples += len(part.times)
        self._note_rate()
        return windows

    def _append(self, part: Conditioned) -> list[Window]:
        self._catch_up()
        count = self._buffer.count
        if self._blocks and not count:
            self._blocks.restart(part.phase)
            self._next_block = self._blocks.after(0)
        self._buffer.append(part.samples, part.times, part.flags)
        return self._due(count, count + len(part.times))

    def _append_in_pieces(self, part: Conditioned) -> list[Window]:
        """With a pause wherever a recorded command took effect."""
        if not self._buffer.count:
            self._recall()
        windows: list[Window] = []
        before = 0
        for stop in self._stops(self._buffer.count, len(part.times)):
            piece = slice(before, stop)
            windows += self._append(
                Conditioned(
                    part.samples[piece], part.times[piece], part.flags[piece], part.discontinuity, 0.0, part.phase
                )
            )
            self._recall()
            before = stop
        return windows

    def _stops(self, count: int, n: int) -> list[int]:
        """Where to pause among ``n`` new samples because a recorded command took effect there."""
        at = {c.at - count for c in self._commands if c.segment == self._segment and c.at is not None}
        return [*sorted(stop for stop in at if 0 < stop < n), n]

    def _recall(self) -> None:
        """Carry out the recorded commands that took effect after the newest sample."""
        for command in list(self._commands):
            if (command.segment, command.at) == (self._segment, self._buffer.count):
                self._commands.remove(command)
                self.adapt(command)

    def _due(self, before: int, now: int) -> list[Window]:
        """Windows whose last sample is among the new ones; in the samples' order with what is learnt between them."""
        window, hop = self._window_samples, self.hop_samples
        first = self._next_end(before)
        if now < self._next_block and self.learner is None:  # as a rule
            due: list[Window] = []
            for end in range(first, now + 1, hop):
                due.append(self._window(end, self._seq))
                self._seq += 1
            return due
        turns = [(end, _Turn.DECODE) for end in range(first, now + 1, hop)]
        if self._blocks:
            turns += [(at, _Turn.ALIGN) for at in self._blocks.ends(before, now)]
            self._next_block = self._blocks.after(now)
        if self.learner:
            step = self.learner.step_samples
            turns += [(at, _Turn.LEARN) for at in range((before // step + 1) * step, now + 1, step) if at >= window]
        windows: list[Window] = []
        for at, turn in sorted(turns):
            self._catch_up()
            if turn is _Turn.DECODE:
                windows.append(self._window(at, self._seq))
                self._seq += 1
            elif turn is _Turn.LEARN:
                self._learn(self._window(at, self._seq))
            else:
                self._align_at = at
        return windows

    def _learn(self, window: Window) -> None:
        """Let the decoder learn, from a window that nothing is wrong with."""
        if self.learner and not window.reasons & ~HARMLESS:
            self.learner.learn(window)

    def _window(self, end: int, seq: int) -> Window:
        start, buffer, alignment = end - self._window_samples, self._buffer, self.alignment
        reasons = reasons_of(buffer.flagged(start, end))
        matrix, version = self._identity, 0
        if alignment is not None:
            matrix, version = alignment.matrix, alignment.version
            if not alignment.ready:
                reasons |= Reason.ALIGNING
        return Window(
            seq,
            buffer.time(end - 1),
            buffer.samples(start, end),
            matrix,
            version,
            self._segment,
            end,
            reasons,
            self.learner.learnt if self.learner else None,
        )

    def _note(self, part: Conditioned) -> None:
        first = not self._buffer.count and not self._segment
        if part.discontinuity and first:
            return
        self.gaps += 1
        if part.discontinuity:
            kind = "clock_reset" if part.discontinuity & Reason.CLOCK_JUMP else "gap"
            length = f", {part.gap_seconds:.3f} s" if part.gap_seconds else ""
            message = (
                f"Signal interrupted ({part.discontinuity.labels[0].replace('_', ' ')}{length}); a new segment starts."
            )
        else:
            kind = "gap"
            message = f"A gap of {part.gap_seconds * 1e3:.0f} ms was bridged."
        data = {"seconds": part.gap_seconds, "bridged": not part.discontinuity, "reasons": part.discontinuity.labels}
        self._events += self._gap_events.take(kind, message, data, self._conditioned_samples)

    def _note_rate(self) -> None:
        meter = self.conditioner.timebase.rate
        for state, measured in meter.drain_changes():
            self._events.append(rate_event(state, measured, meter.sfreq, accepted=meter.accepted))
        for power in self.conditioner.meter.size.drain():
            self._events.append(size_event(power, self.montage.unit))
        self._events += self._gap_events.due(self._conditioned_samples)
