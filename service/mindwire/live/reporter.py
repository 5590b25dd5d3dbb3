"""State of a stream, and everything it reports: predictions, events, signal, counters."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire import logs
from mindwire.live.latency import Latency
from mindwire.loops import fence
from mindwire.status import NO_MODEL, Counters, DecisionStatus, Event, Sink, StreamState
from mindwire.types import SUSPECT, ControlState, Decision, Prediction, Reason

log = logging.getLogger(__name__)

# With one of these on its predictions a stream is settling; the other reasons judge the signal.
_UNSETTLED = Reason.ALIGNING | Reason.SETTLING | Reason.GAP | Reason.CLOCK_JUMP | Reason.RECONNECT
_LATENCIES_KEPT = 100


class StreamReporter:
    """State of one stream, and its sinks: each gets everything, and one that fails harms no other.

    Called from the thread that works for the stream at the moment. A thread that was abandoned because it hung ends
    at its first call.

    Parameters
    ----------
    stream : str
        Name of the stream.
    sinks : sequence of Sink
    model : callable
        Returns the name of the model in use for the log.

    Attributes
    ----------
    counters : Counters
    latency : Latency
    state : StreamState
    reason : str
        Why the stream is in its state.
    since_unix : float
        Seconds since the epoch at which it entered the state.
    published_at : float or None
        Monotonic time of the last prediction.
    control_state : str
        State of the controller after the last prediction.
    decisions : mapping of str to int
        Decisions so far, by class.
    """

    def __init__(self, stream: str, sinks: Sequence[Sink], model: Callable[[], str] = str) -> None:
        self.counters = Counters()
        self.latency = Latency()
        self.published_at: float | None = None
        self.control_state: ControlState = "idle"
        self.decisions: dict[str, int] = {}
        self._decided: tuple[Decision, float] | None = None
        self._counting = threading.Lock()  # of events, which several threads may report
        self._stream, self._model = stream, model
        self._sinks = tuple(sinks)
        self._failed: set[str] = set()
        self._valid: bool | None = None
        self._latencies: deque[Mapping[str, float]] = deque(maxlen=_LATENCIES_KEPT)
        self.set_state(StreamState.SEARCHING, "not started")
        logs.streams[stream] = self

    def log_fields(self) -> dict[str, str]:
        """Return the fields of log records that concern the stream."""
        return {"stream": self._stream, "model": self._model()}

    @property
    def prediction_age(self) -> float | None:
        """Seconds since the last prediction; None before the first."""
        return None if self.published_at is None else time.monotonic() - self.published_at

    def last_decision(self) -> DecisionStatus | None:
        """Return the last decision and its age; None before the first."""
        if (decided := self._decided) is None:
            return None
        last, at = decided
        age_s = time.monotonic() - at
        values = {"class": last.label, "seq": last.seq, "time": last.time, "confidence": last.confidence}
        return DecisionStatus.model_validate({**values, "age_s": age_s})

    def latency_ms(self) -> dict[str, float]:
        """Return the median milliseconds per stage of the last predictions."""
        latencies = list(self._latencies)
        names = sorted(set().union(*latencies))
        return {name: median([stages[name] for stages in latencies if name in stages]) for name in names}

    def set_state(self, state: StreamState, reason: str) -> None:
        """Enter a state without reporting it."""
        self.state, self.reason, self.since_unix = state, reason, time.time()

    def to_state(self, state: StreamState, reason: str) -> None:
        """Enter a state; report it if it or its reason is new."""
        fence()
        before = self.state
        if before is not state or self.reason != reason:
            self.set_state(state, reason)
            self.report_state(before)

    def report_state(self, before: StreamState) -> None:
        """Report the present state and its reason."""
        self.emit("state", self.reason, {"state": str(self.state), "previous": str(before)})

    def emit(
        self, kind: str, message: str, data: Mapping[str, Any] | None = None, *, level: int = logging.INFO
    ) -> None:
        """Report an event to every sink and the log."""
        level = logging.WARNING if kind in ("error", "refused", "overload") else level
        text = f"{self.state}: {message}" if kind == "state" else message
        log.log(level, "%s", text, extra={**self.log_fields(), "event": kind})
        self.show(kind, message, data or {})

    def show(self, kind: str, message: str, data: Mapping[str, Any]) -> None:
        """Send every sink an event, which is not logged; callable from any thread."""
        counters = self.counters
        with self._counting:
            counters.events = _with_one_more(counters.events, kind)
            if kind == "model" and "state" in data:
                counters.swaps = _with_one_more(counters.swaps, str(data["state"]))
        self._call("event", Event(self._stream, kind, message, time.time(), data))

    def publish(self, prediction: Prediction) -> None:
        """Send a prediction to every sink, count it, and enter the state that its reasons imply."""
        begin = time.perf_counter()
        self._call("publish", prediction)
        fence()
        self.published_at = time.monotonic()
        stages = {**prediction.latency_ms, "publish": (time.perf_counter() - begin) * 1e3}
        self._latencies.append(stages)
        self.latency.observe(stages)
        if (control := prediction.control) is not None:
            self.control_state = control.state
            if (made := control.decision) is not None:
                self.decisions = _with_one_more(self.decisions, made.label)
                self._decided = made, self.published_at
        valid = prediction.valid
        counters, bits = self.counters, int(prediction.reasons)
        counters.predictions += 1
        counters.valid += valid
        if bits:
            counters.reasons = _with_one_more(counters.reasons, *prediction.reasons.labels)
        state, reason = _state_after(bits)
        changed = valid is not self._valid
        if changed:
            self._valid = valid
            reasons = prediction.reasons.labels
            message = "Predictions are valid." if valid else f"Predictions are invalid: {', '.join(reasons)}."
            # a change of the state says the same
            level = logging.INFO if (self.state, self.reason) == (state, reason) else logging.DEBUG
            self.emit("validity", message, {"valid": valid, "reasons": reasons, "seq": prediction.seq}, level=level)
        if changed or state is not self.state or state is not StreamState.LIVE:
            self.to_state(state, reason)
        else:  # of one invalid prediction after another the last reasons count; the first were reported
            self.reason = reason

    def publish_shadow(self, prediction: Prediction) -> None:
        """Send every sink a prediction of a model that runs in the shadow."""
        self._call("shadow", prediction)

    def publish_signal(self, times: NDArray[np.float64], samples: NDArray[np.floating[Any]]) -> None:
        """Send conditioned samples, ``(n_samples, n_channels)``, to every sink."""
        self._call("signal", times, samples)

    def forget_signal(self) -> None:
        """Report validity again with the next prediction, whatever it is."""
        self._valid = None

    def add_sink(self, sink: Sink) -> None:
        """Add a sink, which receives everything from now on."""
        self._sinks = (*self._sinks, sink)

    def replace_sink(self, kind: type[Sink], sink: Sink | None) -> None:
        """Close the sinks of a kind, and add one if it is given."""
        old = [one for one in self._sinks if isinstance(one, kind)]
        self._sinks = (*(one for one in self._sinks if one not in old), *((sink,) if sink else ()))
        for one in old:
            one.close()

    def remove_sink(self, sink: Sink) -> None:
        """Send a sink nothing any more; it is not closed."""
        self._sinks = tuple(one for one in self._sinks if one is not sink)

    def close(self) -> None:
        """Close every sink."""
        self._call("close")

    def _call(self, method: str, *arguments: object) -> None:
        """Call every sink; one that raises, although none may, is reported the first time."""
        for sink in self._sinks:
            fence()  # a thread that hung in the sink before
            try:
                getattr(sink, method)(*arguments)
            except Exception as error:
                name = type(sink).__name__
                if name not in self._failed:
                    self._failed.add(name)
                    log.exception("The sink %s failed", name, extra=self.log_fields())
                    self.emit("error", f"The sink {name} failed and misses messages: {error}", {"sink": name})


def _with_one_more(counts: Mapping[str, int], *keys: str) -> dict[str, int]:
    """Return new counts, because another thread may iterate over the old ones."""
    return {**counts, **{key: counts.get(key, 0) + 1 for key in keys}}


@lru_cache
def _state_after(bits: int) -> tuple[StreamState, str]:
    """Return the state, and why, that a stream has after a prediction with these reasons."""
    reasons = Reason(bits)
    if reasons & Reason.NO_MODEL:
        faults = ", ".join((reasons & ~SUSPECT & ~Reason.NO_MODEL).labels)
        signal = f"The signal is not good ({faults})" if faults else "The signal is fresh"
        state = StreamState.SETTLING if reasons & (_UNSETTLED | Reason.WRONG_RATE) else StreamState.LIVE
        return state, f"{signal}. {NO_MODEL.engine_reason}"
    if reasons & Reason.DECODER:
        return StreamState.SETTLING, "The model gives no numbers; no prediction is valid."
    if reasons & Reason.WRONG_RATE:
        return StreamState.SETTLING, "The time stamps contradict the rate; no prediction is valid."
    if reasons & _UNSETTLED:
        names = ", ".join((reasons & ~SUSPECT).labels)
        return StreamState.SETTLING, f"Predictions are not valid yet: {names}."
    if invalid := (reasons & ~SUSPECT).labels:
        return StreamState.LIVE, f"Predictions are fresh, but not valid: {', '.join(invalid)}."
    return StreamState.LIVE, "Predictions are fresh."
