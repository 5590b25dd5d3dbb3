"""Events of one pipeline, collected until they are read."""

from __future__ import annotations

from mindwire.signal.conditioner import Conditioned, Conditioner
from mindwire.signal.events import DecoderEvents, GapEvents, PipelineEvent, rate_event, size_event
from mindwire.types import Reason


class EventLog:
    """Events of one pipeline since they were last read.

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
        self._interruptions = GapEvents(sfreq)
        self._decoder = DecoderEvents(windows_per_second)
        self._samples = 0  # conditioned so far

    def add(self, event: PipelineEvent) -> None:
        """Add an event."""
        self._events.append(event)

    def drain(self) -> list[PipelineEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def add_part(self, part: Conditioned, *, first: bool) -> None:
        """Count a part of the signal, with the gap before it unless it is the first of the stream."""
        if (part.discontinuity or part.gap_seconds) and not (part.discontinuity and first):
            self.gaps += 1
            self._events += self._interruptions.take(*_interruption(part), self._samples)
        self._samples += len(part.times)

    def add_measurements(self, conditioner: Conditioner) -> None:
        """Add findings of the conditioner about the rate and the size of the signal."""
        meter = conditioner.timebase.rate
        for state, measured in meter.drain_changes():
            self._events.append(rate_event(state, measured, meter.sfreq, accepted=meter.accepted))
        sizes = conditioner.meter.sizes
        for unit, watch in sizes.items():
            for power in watch.drain():
                self._events.append(size_event(power, unit, alone=len(sizes) == 1))
        self._events += self._interruptions.due(self._samples)

    def add_decoded(self, seq: int, *, failed: bool) -> None:
        """Add the event, if any, that the decoder begins to fail at this window."""
        if failed or self._decoder.failing:
            self._events += self._decoder.take(seq, failed=failed)

    def finish(self) -> None:
        """Add what was held back to be counted, at the end of a recording."""
        self._events += self._interruptions.due()


def _interruption(part: Conditioned) -> tuple[str, str, dict[str, object]]:
    """Kind, sentence and details of the gap before a part."""
    kind, reason = "gap", part.discontinuity
    message = f"A gap of {part.gap_seconds * 1e3:.0f} ms was bridged."
    if reason:
        kind = "clock_reset" if reason & Reason.CLOCK_JUMP else "gap"
        length = f", {part.gap_seconds:.3f} s" if part.gap_seconds else ""
        message = f"Signal interrupted ({reason.labels[0].replace('_', ' ')}{length}); a new segment starts."
    return kind, message, {"seconds": part.gap_seconds, "bridged": not reason, "reasons": reason.labels}
