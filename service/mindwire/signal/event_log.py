"""Events of one pipeline, collected until they are read.

All counts samples or windows, so the same signal gives the same events, however it comes.
"""

from __future__ import annotations

from dataclasses import dataclass

from mindwire.signal.conditioner import Conditioner
from mindwire.signal.events import PipelineEvent, rate_event, size_event
from mindwire.signal.timebase import SignalPart
from mindwire.types import Reason


@dataclass(slots=True)
class _Further:
    """Further interruptions within the second after an event of the same kind."""

    until: int
    count: int = 0
    seconds: float = 0.0


class EventLog:
    """Events of one pipeline since they were last read.

    Of gaps and clock resets the first of a kind is reported at once, and those of the second after it in one event. A failing
    decoder is reported when it begins to fail, at most once a second.

    Parameters
    ----------
    sfreq : float
        Conditioned samples per second.
    windows_per_second : float

    Attributes
    ----------
    gaps : int
        Gaps seen so far, bridged ones too.
    """

    def __init__(self, sfreq: float, windows_per_second: float) -> None:
        self.gaps = 0
        self._events: list[PipelineEvent] = []
        self._samples = 0  # conditioned so far
        self._second = round(sfreq)
        self._further: dict[str, _Further] = {}
        self._windows = max(1, round(windows_per_second))
        self._failing, self._failures, self._quiet_until = False, 0, 0

    def add(self, event: PipelineEvent) -> None:
        """Add an event."""
        self._events.append(event)

    def drain(self) -> list[PipelineEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def add_part(self, part: SignalPart, *, first: bool) -> None:
        """Count a part of the signal, with the gap before it unless it is the first of the stream."""
        if (part.discontinuity or part.gap_seconds) and not (part.discontinuity and first):
            self.gaps += 1
            self._add_further(self._samples)
            event = _interruption(part)
            if further := self._further.get(event.kind):
                further.count += 1
                further.seconds += part.gap_seconds
            else:
                self._further[event.kind] = _Further(self._samples + self._second)
                self._events.append(event)
        self._samples += len(part.times)

    def add_measurements(self, conditioner: Conditioner) -> None:
        """Add findings of the conditioner about the rate and the size of the signal."""
        rate, meter = conditioner.timebase.rate, conditioner.meter
        for state, measured in rate.drain_changes():
            self._events.append(rate_event(state, measured, rate.sfreq, accepted=rate.accepted))
        for unit, power in meter.drain_odd_sizes():
            self._events.append(size_event(power, unit, alone=meter.n_units == 1))
        if self._further:
            self._add_further(self._samples)

    def add_decoded(self, seq: int, *, failed: bool) -> None:
        """Take note of whether the decoder gave numbers for a window."""
        begins, self._failing = failed and not self._failing, failed
        self._failures += failed
        if begins and seq >= self._quiet_until:
            message = (
                f"The model gives probabilities that are no numbers, since window {seq}; no such prediction is valid. "
                "Use another bundle, or export this one again."
            )
            data = {"seq": seq, "count": self._failures, "reasons": ["decoder"]}
            self._events.append(PipelineEvent("error", message, data))
            self._failures, self._quiet_until = 0, seq + self._windows

    def finish(self) -> None:
        """Add what was held back to be counted, at the end of a recording."""
        self._add_further(None)

    def _add_further(self, at: int | None) -> None:
        """Add the further interruptions whose second is over at the sample numbered ``at``; None is the end."""
        for kind, further in sorted(self._further.items(), key=lambda item: (item[1].until, item[0])):
            if at is not None and further.until > at:
                continue
            del self._further[kind]
            if further.count:
                what = "gaps" if kind == "gap" else "jumps of the clock"
                message = f"{further.count} further {what} within a second, {further.seconds:.3f} s together."
                self._events.append(PipelineEvent(kind, message, {"seconds": further.seconds, "count": further.count}))


def _interruption(part: SignalPart) -> PipelineEvent:
    """Event of the gap before a part."""
    kind, reason = "gap", part.discontinuity
    message = f"A gap of {part.gap_seconds * 1e3:.0f} ms was bridged."
    if reason:
        kind = "clock_reset" if reason & Reason.CLOCK_JUMP else "gap"
        length = f", {part.gap_seconds:.3f} s" if part.gap_seconds else ""
        message = f"Signal interrupted ({reason.labels[0].replace('_', ' ')}{length}); a new segment starts."
    data = {"seconds": part.gap_seconds, "bridged": not reason, "reasons": reason.labels, "count": 1}
    return PipelineEvent(kind, message, data)
