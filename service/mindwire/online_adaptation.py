"""Online adaptation of one stream: its alignment, and a decoder session that learns; when they learn, and commands to them."""

from contextlib import suppress
from copy import deepcopy
from enum import IntEnum
from typing import Any, Self

from mindwire.adaptation import SavedAdaptation, signal_hash
from mindwire.errors import ArgumentError, ContractError
from mindwire.inference.decoder import Learner
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.signal.alignment import OnlineAlignment
from mindwire.signal.blocks import BlockSchedule
from mindwire.signal.events import PipelineEvent
from mindwire.signal.window import WindowBuffer
from mindwire.types import INVALID, TIMING_ONLY, Reason, Window
from mindwire_models.contract import Alignment, Contract


class Turn(IntEnum):
    """Work due at a sample, in this order: the alignment comes last, because it serves the next windows."""

    LEARN = 0
    DECODE = 1
    ALIGN = 2


class OnlineAdaptation:
    """Alignment and decoder session that follow the person while a stream runs.

    ``learner`` is the session, where it learns; ``block_samples`` are those that the alignment learns from at a time, 0
    without one.

    Raises
    ------
    ArgumentError
        The decoder does not adapt as the options say.
    ContractError
        The state to begin with is of another signal or model.
    """

    def __init__(self, contract: Contract, options: PipelineOptions, session: object) -> None:
        self._contract = contract
        self.learner: Learner | None = session if isinstance(session, Learner) else None
        adapts = self.learner.kind if self.learner else "alignment"
        if adapts != options.adapt:
            msg = f"The options ask for adaptation {options.adapt!r}, but the decoder was made for {adapts!r}."
            raise ArgumentError(msg)
        spec = contract.normalisation
        self.alignment: OnlineAlignment | None = None
        self._schedule: BlockSchedule | None = None
        if isinstance(spec, Alignment) and options.alignment == "online":
            self.alignment = OnlineAlignment(spec, contract.n_channels, contract.window_samples, contract.sfreq)
            self._schedule = BlockSchedule(contract, spec)
        self.block_samples = self._schedule.n_samples if self._schedule else 0
        self._begin = 0
        self._pending: int | None = None  # end of the block that the alignment is still to learn from
        self._commands = list(options.commands)
        self._events: list[PipelineEvent] = []
        # An interpolated channel holds nothing of its own: its variance would be forgotten, and blown up on its return.
        # With interpolation throughout it does not return.
        interpolated = Reason.NONE if options.bad_channels == "interpolate" else Reason.INTERPOLATED
        self._unlearnable = INVALID | interpolated.bit
        if options.state is not None:
            saved = SavedAdaptation.from_text(options.state)
            saved.check(contract)
            if self.alignment and saved.alignment:
                self.alignment.restore(saved.warm_start(contract))
            if self.learner and saved.network:
                self.learner.restore(saved.network)

    @property
    def learnt(self) -> SavedAdaptation:
        """State learnt so far; may be read from any thread."""
        state = self.alignment.state if self.alignment and self.alignment.state.weight else None
        network = dict(self.learner.save()) if self.learner else {}
        return SavedAdaptation(signal_hash(self._contract), state, network)

    @property
    def frozen(self) -> bool:
        """True if learning is stopped by a command."""
        return any(one.frozen for one in (self.alignment, self.learner) if one is not None)

    def restart(self, phase: float, begin: int = 0) -> None:
        """Begin the blocks of a segment of this phase, whose samples before ``begin`` are not there."""
        self._begin = begin
        if self._schedule:
            self._schedule.restart(phase, begin)

    def carry_over(self, other: Self, *, alike: bool) -> bool:
        """Go on from the state of another model's adaptation, if it means the same; return true if the alignment does.

        ``alike`` signals have the same conditioned samples.
        """
        mine, its, learnt = self._contract, other._contract, other.learnt
        if self.learner and learnt.network:
            with suppress(ContractError):  # it is of another network
                self.learner.restore(learnt.network)
                self.learner.frozen = other.frozen
        if self.alignment is None or other.alignment is None or learnt.alignment is None:
            return False
        if learnt.signal != signal_hash(mine) or mine.reference != its.reference:
            return False
        if alike and mine.window_samples == its.window_samples and _means(mine) == _means(its):
            self.alignment = deepcopy(other.alignment)
        else:
            self.alignment.restore(learnt.warm_start(mine))
            self.alignment.frozen = other.alignment.frozen
        return True

    def turns(self, before: int, now: int) -> list[tuple[int, Turn]]:
        """Return where in the segment, after ``before`` samples up to ``now``, there is something to learn."""
        turns: list[tuple[int, Turn]] = []
        if self._schedule:
            turns = [(at, Turn.ALIGN) for at in self._schedule.ends(before, now)]
        if self.learner:
            step, window = self.learner.step_samples, self._contract.window_samples
            turns += [
                (at, Turn.LEARN)
                for at in range((before // step + 1) * step, now + 1, step)
                if at >= self._begin + window
            ]
        return turns

    def learn(self, window: Window) -> None:
        """Let the decoder session learn from a window with no reason against its signal."""
        if self.learner and not window.reasons & ~TIMING_ONLY:
            self.learner.learn(window)

    def align_after(self, end: int) -> None:
        """Note that a block ended; :meth:`catch_up` learns from it, so that no window up to its end waits."""
        self._pending = end

    def catch_up(self, buffer: WindowBuffer) -> None:
        """Let the alignment learn from the block that ended last."""
        end, self._pending = self._pending, None
        if end is not None and self.alignment:
            start = end - self.block_samples
            samples = buffer.samples(start, end)
            if buffer.flagged(start, end) & self._unlearnable:
                samples = samples[(buffer.flags(start, end) & self._unlearnable) == 0]
            alarmed = self.alignment.alarm
            self.alignment.update(samples)
            if self.alignment.alarm and not alarmed:
                self._events.append(self._alarm_event(self.alignment))

    def _alarm_event(self, alignment: OnlineAlignment) -> PipelineEvent:
        seconds = alignment.rest_left_out / self._contract.sfreq
        message = (
            f"Adaptation: {seconds:.0f} s of rest would have moved the alignment beyond its limit and were not learnt "
            "from; if this is no rest but the signal has changed, resume the adaptation to accept it."
        )
        return PipelineEvent("adaptation", message, {"alarm": True, "left_out_s": seconds, "drift": alignment.drift})

    def drain_events(self) -> list[PipelineEvent]:
        """Return the alarms since the last call."""
        events, self._events = self._events, []
        return events

    def aligned_from(self, good_from: int, count: int) -> int:
        """Return the end of the first window that can be aligned well enough, 0 if that is the case already.

        ``good_from`` is the first sample of the segment from which on the signal is good, ``count`` its samples so far.
        """
        if self.alignment is None or self._schedule is None or self.alignment.ready:
            return 0
        learnt = (self._pending or self._schedule.after(count)) - self.block_samples
        enough = max(good_from, learnt) + self.alignment.missing_samples
        # the window that ends with a block comes before the alignment learns from it
        return self._schedule.after(enough - 1) + 1

    def stops(self, segment: int, count: int, n: int) -> list[int]:
        """Return where to pause among ``n`` new samples because a recorded command took effect there; the last is ``n``."""
        if not self._commands:
            return [n]
        at = {c.at - count for c in self._commands if c.segment == segment and c.at is not None}
        return [*sorted(stop for stop in at if 0 < stop < n), n]

    def recorded_commands(self, segment: int, count: int) -> list[AdaptationCommand]:
        """Take the recorded commands that took effect after this sample."""
        if not self._commands:
            return []
        here = [c for c in self._commands if (c.segment, c.at) == (segment, count)]
        self._commands = [c for c in self._commands if c not in here]
        return here

    def carry_out(self, command: AdaptationCommand, segment: int, count: int) -> PipelineEvent:
        """Carry out a command after this sample of this segment, and return the event that reports it.

        Raises
        ------
        ArgumentError
            The model neither aligns online nor learns.
        """
        if not self.alignment and not self.learner:
            msg = f"The model aligns nothing online, so there is no adaptation to {command.action}."
            raise ArgumentError(msg)
        data: dict[str, Any] = {"action": command.action, "segment": segment, "at": count}
        for adapting, taken_back, wanted, drift in (
            (self.alignment, "updates", command.updates, "drift"),
            (self.learner, "steps", command.steps, "decoder_drift"),
        ):
            if adapting is None:
                continue
            if command.action == "rollback":
                data[taken_back] = adapting.rollback(wanted)
            else:
                adapting.frozen = command.action == "freeze"
            data[drift] = adapting.drift
        if command.action == "resume" and self.alignment and self.alignment.alarm:
            self.alignment.accept_rest()
        return PipelineEvent("adaptation", f"Adaptation: {command.action}.", data)


def _means(contract: Contract) -> dict[str, Any]:
    """Return what the state of a contract's alignment depends on, once a person's own signal has replaced a warm start."""
    return contract.normalisation.model_dump(exclude={"update_samples", "warm_start", "warm_start_samples"})
