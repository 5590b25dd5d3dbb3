"""The pipeline: everything between a source and the sinks, as one synchronous, deterministic object.

    chunk ──▶ conditioner ──▶ window buffer ──▶ windows due ──▶ decoder ──▶ controller ──▶ predictions

It owns no thread, socket, file or clock. Hops and alignment updates count conditioned samples, so the
predictions do not depend, bit for bit, on how the samples were cut into chunks; a live stream and the
replay of its recording give the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.adaptation import SavedAdaptation
from mindwire.control.controller import ControlCommand, Controller
from mindwire.control.policy import ControlPolicy
from mindwire.inference.decoder import Decoder, probabilities
from mindwire.online_adaptation import OnlineAdaptation, Turn
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.signal.conditioner import Conditioner
from mindwire.signal.event_log import EventLog
from mindwire.signal.events import PipelineEvent
from mindwire.signal.montage import resolve_montage
from mindwire.signal.timebase import SignalPart, joined
from mindwire.signal.window import WindowBuffer
from mindwire.types import INVALID, Chunk, Prediction, Reason, SignalInfo, Window, reasons_of
from mindwire_models.contract import Contract

_NO_LATENCY: Mapping[str, float] = MappingProxyType({})


class Pipeline:
    """One stream's way from chunks to predictions.

    A ContractError says that the signal cannot meet the contract, or that the state to begin with is of another signal or
    model; a PolicyError, that the control policy does not fit the classes; an ArgumentError, that the decoder does not
    adapt as the options say.

    Attributes
    ----------
    conditioner : Conditioner
        The first half, up to the window buffer.
    session : object
        The decoder's, of this stream.
    alignment : OnlineAlignment or None
    learner : Learner or None
        The decoder's session, where it learns.
    samples, seq : int
        Source samples so far; number of the next window.
    """

    def __init__(
        self, contract: Contract, info: SignalInfo, decoder: Decoder, options: PipelineOptions | None = None
    ) -> None:
        self.options = options = (options or PipelineOptions()).for_source(info)
        self.contract = contract
        self.info = info
        self.decoder = decoder
        self.session = decoder.session()
        self._adaptation = OnlineAdaptation(contract, options, self.session)
        self.alignment, self.learner = self._adaptation.alignment, self._adaptation.learner
        self.montage = resolve_montage(contract, info, options.channels, options.unit)
        self.conditioner = Conditioner(
            contract,
            self.montage,
            options.rate_of(info),
            options.bridge_seconds,
            options.bad_channels,
            rate_accepted=options.sfreq is not None,
        )
        self.hop_samples = options.hop_samples or contract.hop_samples
        self.samples = 0
        self._identity = np.eye(contract.n_channels, dtype=np.float32)
        self._window_samples = contract.window_samples
        self._controller = Controller.of(contract, self.hop_samples, options.policy, options.control)
        self._keep = max(contract.window_samples, self._adaptation.block_samples)
        self._buffer = WindowBuffer(self._keep, contract.n_channels)
        self._segment = 0
        self.seq = options.first_seq
        # time of the last window, and the time up to which windows are another pipeline's
        self._last = self._after = -math.inf
        self._log = EventLog(contract.sfreq, contract.sfreq / self.hop_samples)
        self._newest: list[SignalPart] = []

    # ── the way of a chunk ────────────────────────────────────────────────────────────────────────────────

    def process(self, chunk: Chunk) -> list[Prediction]:
        """Take a chunk; decode all windows that fall due, in one call of the decoder."""
        return self._decode(self.advance(chunk))

    def advance(self, chunk: Chunk) -> list[Window]:
        """Take a chunk; return the windows that fell due, in order.

        Conditioning is never skipped; of the windows a live stream may decode the last alone.
        """
        self.samples += len(chunk)
        return self._advance(self.conditioner.process(chunk))

    def complete(
        self, window: Window, row: NDArray[np.float64], latency_ms: Mapping[str, float] = _NO_LATENCY
    ) -> Prediction:
        """Return the prediction of a window from its probabilities, ``(n_classes,)``, with the milliseconds spent per stage."""
        failed = math.isnan(row[0])
        self._log.add_decoded(window.seq, failed=failed)
        reasons = window.reasons | Reason.DECODER if failed else window.reasons
        valid = not int(reasons) & INVALID
        control = self._controller.update(window.seq, window.time, row.tolist() if valid else None)
        return Prediction(window.seq, window.time, row, reasons, latency_ms, control)

    def finish(self) -> list[Prediction]:
        """Decode what is still held back, at the end of a recording."""
        predictions = self._decode(self._advance(self.conditioner.flush()))
        self.catch_up()
        self._log.finish()
        return predictions

    def _advance(self, parts: list[SignalPart]) -> list[Window]:
        self._newest = parts
        windows: list[Window] = []
        for part in parts:
            self._log.add_part(part, first=not self._buffer.count and not self._segment)
            if part.discontinuity:
                self._adaptation.catch_up(self._buffer)
                self._segment += 1
                self._after = -math.inf
                self._buffer = WindowBuffer(self._keep, self.contract.n_channels, part.phase)
            if not self._buffer.count:
                self._adaptation.restart(part.phase)
                self._repeat_commands()
            windows += self._append(part)
        self._log.add_measurements(self.conditioner)
        return windows

    def _append(self, part: SignalPart) -> list[Window]:
        """Append conditioned samples, with a pause where a recorded command took effect; return the windows due."""
        windows: list[Window] = []
        start = 0
        for stop in self._adaptation.stops(self._segment, self._buffer.count, len(part.times)):
            self._adaptation.catch_up(self._buffer)
            count = self._buffer.count
            piece = slice(start, stop)
            self._buffer.append(part.samples[piece], part.times[piece], part.flags[piece])
            windows += self._due(count, count + stop - start)
            self._repeat_commands()
            start = stop
        return windows

    def _due(self, before: int, now: int) -> list[Window]:
        """Return the windows that end among the new samples, in the samples' order with what is learnt between them."""
        turns = self._adaptation.turns(before, now)
        turns += [(end, Turn.DECODE) for end in range(self._next_end(before), now + 1, self.hop_samples)]
        turns.sort()
        windows: list[Window] = []
        for at, turn in turns:
            self._adaptation.catch_up(self._buffer)
            if turn is Turn.DECODE:
                window = self._window(at)
                if window.time > self._after:
                    windows.append(window)
                    self.seq += 1
                    self._last, self._after = window.time, -math.inf
            elif turn is Turn.LEARN:
                self._adaptation.learn(self._window(at))
            else:
                self._adaptation.align_after(at)
        return windows

    def _next_end(self, count: int) -> int:
        """Return the end of the first window that ends after this many samples of the segment."""
        start = max(count + 1 - self._window_samples, self._buffer.begin)
        return self._window_samples + -(-start // self.hop_samples) * self.hop_samples

    def _window(self, end: int) -> Window:
        start, buffer, alignment = end - self._window_samples, self._buffer, self.alignment
        reasons = reasons_of(buffer.flagged(start, end))
        matrix, version = self._identity, 0
        if alignment is not None:
            matrix, version = alignment.matrix, alignment.version
            if not alignment.ready:
                reasons |= Reason.ALIGNING
        learnt = self.learner.learnt if self.learner else None
        samples, time = buffer.samples(start, end), buffer.time(end - 1)
        return Window(self.seq, time, samples, matrix, version, self._segment, end, reasons, learnt)

    def _decode(self, windows: list[Window]) -> list[Prediction]:
        if not windows:
            return []
        logits = self.decoder.decode([self.session] * len(windows), windows)
        # One softmax for all: row by row it would take as long as the decoding of a recording.
        rows = probabilities(logits, self.contract.temperature)
        return [self.complete(window, row) for window, row in zip(windows, rows, strict=True)]

    # ── adaptation ────────────────────────────────────────────────────────────────────────────────────────

    def adapt(self, command: AdaptationCommand) -> None:
        """Carry out a command now, after the samples so far; an ArgumentError says that nothing adapts."""
        self.catch_up()
        self._log.add(self._adaptation.carry_out(command, self._segment, self._buffer.count))

    def control(self, policy: ControlPolicy | None = None, *, paused: bool | None = None) -> None:
        """Change the control policy, or pause or resume it, from the next prediction on; a PolicyError says that it does not fit."""
        buffer = self._buffer
        time = buffer.time(buffer.count - 1) if buffer.count > buffer.begin else None
        self._log.add(self._controller.command(ControlCommand(self.seq, policy, paused, time)))

    def catch_up(self) -> None:
        """Learn from the samples so far what the next window would otherwise wait for; results do not depend on it."""
        self._adaptation.catch_up(self._buffer)

    def _repeat_commands(self) -> None:
        for command in self._adaptation.recorded_commands(self._segment, self._buffer.count):
            self.adapt(command)

    def saved_adaptation(self) -> SavedAdaptation:
        """Return everything learnt so far, to begin another session with."""
        self.catch_up()
        return self.learnt

    @property
    def learnt(self) -> SavedAdaptation:
        """State learnt so far, without the last samples that are still to be learnt; may be read from any thread."""
        return self._adaptation.learnt

    @property
    def frozen(self) -> bool:
        """True if learning is stopped by a command."""
        return self._adaptation.frozen

    # ── two models on one signal ──────────────────────────────────────────────────────────────────────────

    def join(self, other: Pipeline) -> list[str]:
        """Begin where another pipeline of the same source is; return what of it is carried over: ``signal``, ``alignment``.

        With the signal, filters and window go on and windows are valid at once; without it the filters settle first.
        """
        other.catch_up()
        enough, options = other._keep >= self._keep, other.options
        alike = enough and self.options.conditions_alike(self.contract, options, other.contract)
        if alike:
            self.conditioner, self._buffer = deepcopy(other.conditioner), deepcopy(other._buffer)
        else:
            begin = self.conditioner.join(other.conditioner, other._buffer.count)
            self._buffer = WindowBuffer(self._keep, self.contract.n_channels, begin=begin)
        self.samples, self.seq, self._segment = other.samples, other.seq, other._segment
        aligned = self._adaptation.carry_over(other._adaptation, alike=alike)
        self.alignment = self._adaptation.alignment
        self._adaptation.restart(other.conditioner.phase, self._buffer.begin)
        self._repeat_commands()
        return ["signal"] * alike + ["alignment"] * aligned

    def succeed(self, other: Pipeline) -> None:
        """Go on with another pipeline's sequence numbers and control, from the first window later than its last one on."""
        level = self._buffer.count == other._buffer.count and self.contract.sfreq == other.contract.sfreq
        self.seq, self._last, self._after = other.seq, other._last, -math.inf if level else other._last
        self._controller, other._controller = other._controller, self._controller
        self._controller.retime(*Controller.times_of(self.contract, self.hop_samples))
        other._controller.retime(*Controller.times_of(other.contract, other.hop_samples))

    # ── state, for status and sinks ───────────────────────────────────────────────────────────────────────

    def drain_events(self) -> list[PipelineEvent]:
        """Return the events since the last call."""
        return [*self._log.drain(), *self._adaptation.drain_events()]

    def conditioned(self) -> tuple[NDArray[np.float64], NDArray[np.floating[Any]]]:
        """Return times, shape (n_samples,), and samples, shape (n_samples, n_channels), that the last advance added.

        The samples are filtered and in the contract's unit, not aligned.
        """
        return joined(self._newest, self.contract.n_channels)

    @property
    def gaps(self) -> int:
        """Gaps so far, bridged ones too."""
        return self._log.gaps

    @property
    def seconds_until_valid(self) -> float:
        """Estimated seconds until a window can be valid, if the signal is good from now on; from any thread."""
        count = self._buffer.count
        good_from = self._buffer.good_from(self._window_samples, self.conditioner.settling_left)
        end = max(good_from + self._window_samples, self._adaptation.aligned_from(good_from, count))
        return max(0, end - count) / self.contract.sfreq

    @property
    def samples_until_due(self) -> int:
        """Source samples until the next window falls due, as far as is known; at least 1.

        Taking samples one by one until then is wasted work. A bridged gap may make a window due sooner.
        """
        count = self._buffer.count
        return max(1, self.conditioner.source_samples(self._next_end(count) - count))
