"""Events of a signal: a sentence each, at most one of a kind within a second of samples."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mindwire.signal.rate import MeasuredRate, RateState

log = logging.getLogger(__name__)

_UNITS_OF_TIME = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
_UNITS = ("V", "mV", "uV", "nV")
_NEAR = 0.1


@dataclass(frozen=True, slots=True)
class PipelineEvent:
    """Something that happened to the signal: a kind, a sentence, details."""

    kind: str
    message: str
    data: Mapping[str, Any]

    @property
    def doubts_all(self) -> bool:
        """True if it explains why the whole signal, or the model, gives nothing valid."""
        return self.kind in ("error", "amplitude") or self.data.get("state") == "wrong"


def warn_of_doubts(pipeline_events: Iterable[PipelineEvent], where: str) -> list[str]:
    """Warn once of each kind of what makes a whole recording doubtful.

    Parameters
    ----------
    pipeline_events : iterable of PipelineEvent
    where : str
        Which recording.

    Returns
    -------
    list of str
        The sentences.
    """
    events = list(pipeline_events)
    doubts = {event.kind: f"{where}: {event.message}" for event in events if event.doubts_all}
    rates = [event.data for event in events if event.kind == "rate"]
    if "rate" in doubts and rates[-1]["state"] != "wrong":
        times = sum(data["state"] == "wrong" for data in rates)
        doubts["rate"] = (
            f"{where}: {times} time{'s' if times > 1 else ''} the time stamps did not fit {rates[-1]['sfreq']:g} Hz for "
            "a while, as in bursts and where many samples are lost; no prediction is valid in these parts."
        )
    for sentence in doubts.values():
        log.warning("%s", sentence)
    return list(doubts.values())


class GapEvents:
    """Gaps and clock resets as events: the first of a kind at once, those of the second after it in one.

    All counts samples, so the same signal gives the same events, however it comes.

    Parameters
    ----------
    per_second : float
        Samples.
    """

    def __init__(self, per_second: float) -> None:
        self._span = round(per_second)
        self._open: dict[str, _Further] = {}

    def take(self, kind: str, message: str, data: Mapping[str, Any], at: int) -> list[PipelineEvent]:
        """Return the events due with one more, which lies before the sample numbered ``at``."""
        due = self.due(at)
        further = self._open.get(kind)
        if further is not None:
            further.count += 1
            further.seconds += data["seconds"]
            return due
        self._open[kind] = _Further(at + self._span)
        return [*due, PipelineEvent(kind, message, {**data, "count": 1})]

    def due(self, at: int | None = None) -> list[PipelineEvent]:
        """Return the events due when the sample numbered ``at`` has come; None is the end."""
        if not self._open:  # as a rule
            return []
        ended = sorted((one.until, kind) for kind, one in self._open.items() if at is None or one.until <= at)
        further = [(kind, self._open.pop(kind)) for _, kind in ended]
        return [PipelineEvent(kind, one.message(kind), one.data()) for kind, one in further if one.count]


@dataclass(slots=True)
class _Further:
    """Further interruptions within the second after an event of the same kind."""

    until: int
    count: int = 0
    seconds: float = 0.0

    def message(self, kind: str) -> str:
        what = "gaps" if kind == "gap" else "jumps of the clock"
        return f"{self.count} further {what} within a second, {self.seconds:.3f} s together."

    def data(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "count": self.count}


def size_event(power: int, taken: str, *, alone: bool = True) -> PipelineEvent:
    """The event that the signal is off the size of EEG by a factor that another unit explains.

    Parameters
    ----------
    power : int
        Of ten; a multiple of 3, positive where the signal is too large.
    taken : str
        Unit that the samples are taken to have: V, mV, uV or nV.
    alone : bool
        Whether all channels are taken to have it.
    """
    place = _UNITS.index(taken) + power // 3
    unit = _UNITS[place] if 0 <= place < len(_UNITS) else None
    times = {3: "a thousand", 6: "a million"}.get(abs(power), f"10^{abs(power)}")
    then = (
        f"the unit seems to be {unit}, not {taken}: if so, say --unit {unit}"
        if unit
        else "its unit, gain or scale cannot be right; mend it where it is made, or say the unit with --unit"
    )
    who = "The signal is" if alone else f"The channels in {taken} are"
    message = f"{who} about {times} times too {'large' if power > 0 else 'small'} for EEG; {then}."
    return PipelineEvent("amplitude", message, {"factor": 10.0**power, "taken": taken, "unit": unit})


def rate_event(state: RateState, measured: MeasuredRate | None, sfreq: float, *, accepted: bool) -> PipelineEvent:
    """The event that the rate by the time stamps has changed its state.

    Parameters
    ----------
    state : {"nominal", "off", "wrong"}
    measured : MeasuredRate or None
    sfreq : float
        Rate the signal is taken to have, in hertz.
    accepted : bool
        Whether the user has said so.
    """
    seconds = measured.seconds if measured else math.nan
    rate = 1 / seconds if seconds > 0 and measured and math.isfinite(measured.deviation) else None
    if state == "wrong" and accepted and rate is not None:
        state = "off"
    data = {"state": state, "effective_rate": rate, "sfreq": sfreq}
    if state == "nominal":
        return PipelineEvent("rate", f"The time stamps agree with {sfreq:g} Hz again.", data)
    if rate is not None and state == "off":
        off = 100 * abs(rate / sfreq - 1)
        message = (
            f"By its time stamps the signal runs at {rate:.4g} Hz, {off:.1f} % {'above' if rate > sfreq else 'below'} "
            f"the {sfreq:g} Hz that it is taken to have; predictions are marked."
        )
        return PipelineEvent("rate", message, data)
    jumps = measured is not None and math.isinf(measured.deviation)
    return PipelineEvent("rate", _contradiction(seconds, sfreq, jumps=jumps), data)


def _contradiction(seconds: float, sfreq: float, *, jumps: bool) -> str:
    """In which way time stamps contradict the rate, and what to do."""
    anyhow = f"to use the signal at {sfreq:g} Hz whatever its time stamps are, say so with --rate {sfreq:g}"
    then = "no prediction is valid while they do. Mend them where they are made"
    if math.isnan(seconds):
        return f"The time stamps are no numbers, so they contradict the {sfreq:g} Hz of the signal; {then}."
    if jumps:
        return f"The time stamps jump about, so they contradict the {sfreq:g} Hz of the signal; {then}."
    if seconds <= 0:
        how = "stand still" if abs(seconds) * sfreq < _NEAR else "run backwards"
        return f"The time stamps {how}, so they contradict the {sfreq:g} Hz of the signal; {then}."
    for unit, factor in _UNITS_OF_TIME.items():
        if abs(seconds * sfreq / factor - 1) < _NEAR:
            return (
                f"The time stamps cannot be seconds: they seem to be {unit}, and contradict the {sfreq:g} Hz of the signal; "
                f"{then}, or {anyhow}."
            )
    if abs(seconds - 1) < _NEAR:
        return (
            f"The time stamps cannot be seconds: they seem to count samples, and contradict the {sfreq:g} Hz of the signal; "
            f"{then}, or {anyhow}."
        )
    return (
        f"The time stamps contradict the rate: by them the signal runs at {1 / seconds:.4g} Hz, and it is taken to have "
        f"{sfreq:g} Hz; no prediction is valid while they do. Give the true rate with --rate, or {anyhow}."
    )


class DecoderEvents:
    """Events for logits that are no numbers: one when they begin, at most one a second.

    Parameters
    ----------
    per_second : float
        Windows.

    Attributes
    ----------
    failing : bool
        Whether the newest window had no probabilities.
    """

    def __init__(self, per_second: float) -> None:
        self.failing = False
        self._span = max(1, round(per_second))
        self._quiet_until = 0
        self._count = 0

    def take(self, seq: int, *, failed: bool) -> list[PipelineEvent]:
        """Return the events due with one more window."""
        begins, self.failing = failed and not self.failing, failed
        self._count += failed
        if not begins or seq < self._quiet_until:
            return []
        self._quiet_until = seq + self._span
        count, self._count = self._count, 0
        message = (
            f"The model gives probabilities that are no numbers, since window {seq}; no such prediction is valid. "
            "Use another bundle, or export this one again."
        )
        return [PipelineEvent("error", message, {"seq": seq, "count": count, "reasons": ["decoder"]})]
