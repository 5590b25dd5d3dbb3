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


def doubts(pipeline_events: Iterable[PipelineEvent]) -> list[str]:
    """Return one sentence of each kind of what makes a whole recording doubtful."""
    events = list(pipeline_events)
    found = {event.kind: event.message for event in events if event.doubts_all}
    rates = [event.data for event in events if event.kind == "rate"]
    if "rate" in found and rates[-1]["state"] != "wrong":
        times = sum(data["state"] == "wrong" for data in rates)
        found["rate"] = (
            f"{times} time{'s' if times > 1 else ''} the time stamps did not fit {rates[-1]['sfreq']:g} Hz for "
            "a while, as in bursts and where many samples are lost; no prediction is valid in these parts."
        )
    return list(found.values())


def warn_of(sentences: Iterable[str], where: str) -> None:
    """Warn of what makes a whole recording, named by ``where``, doubtful."""
    for sentence in sentences:
        log.warning("%s: %s", where, sentence)


def size_event(power: int, taken: str, *, alone: bool = True) -> PipelineEvent:
    """The event that the signal is off the size of EEG by a factor that another unit explains.

    Parameters
    ----------
    power : int
        Of ten; a multiple of 3, positive where the signal is too large.
    taken : {"V", "mV", "uV", "nV"}
        Unit that the samples are taken to have.
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
    """The event that the rate by the time stamps has changed its state, against the one taken, which the user may have accepted."""
    seconds, deviation = (measured.seconds, measured.deviation) if measured else (math.nan, 0.0)
    rate = 1 / seconds if seconds > 0 and math.isfinite(deviation) else None
    if state == "wrong" and accepted and rate is not None:
        state = "off"
    if state == "nominal":
        message = f"The time stamps agree with {sfreq:g} Hz again."
    elif rate is not None and state == "off":
        message = (
            f"By its time stamps the signal runs at {rate:.4g} Hz, {100 * abs(rate / sfreq - 1):.1f} % "
            f"{'above' if rate > sfreq else 'below'} the {sfreq:g} Hz that it is taken to have; predictions are marked."
        )
    else:
        message = _contradiction(seconds, sfreq, jumps=math.isinf(deviation))
    return PipelineEvent("rate", message, {"state": state, "effective_rate": rate, "sfreq": sfreq})


def _contradiction(seconds: float, sfreq: float, *, jumps: bool) -> str:
    """In which way time stamps contradict the rate, and what to do."""
    anyhow = f"to use the signal at {sfreq:g} Hz whatever its time stamps are, say so with --rate {sfreq:g}"
    contradict = f"contradict the {sfreq:g} Hz of the signal; no prediction is valid while they do."
    mend = "Mend them where they are made"
    how = None
    if math.isnan(seconds):
        how = "are no numbers"
    elif jumps:
        how = "jump about"
    elif seconds <= 0:
        how = "stand still" if abs(seconds) * sfreq < _NEAR else "run backwards"
    if how:
        return f"The time stamps {how}, so they {contradict} {mend}."
    units = {"be " + name: seconds * sfreq / factor for name, factor in _UNITS_OF_TIME.items()} | {
        "count samples": seconds
    }
    for unit, ratio in units.items():
        if abs(ratio - 1) < _NEAR:
            return f"The time stamps cannot be seconds: they seem to {unit}, and {contradict} {mend}, or {anyhow}."
    return (
        f"The time stamps contradict the rate: by them the signal runs at {1 / seconds:.4g} Hz, and it is taken to have "
        f"{sfreq:g} Hz; no prediction is valid while they do. Give the true rate with --rate, or {anyhow}."
    )
