"""Checks of all rules of the convention, on streams as :mod:`mindwire.offline.convention.streams` gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mindwire.offline.convention import descriptions as described
from mindwire.offline.convention import samples as sampled
from mindwire.offline.convention.descriptions import Check, UncheckedError, ViolationError, classes_of, equal, violated
from mindwire.offline.convention.rules import RULES, Checked, Finding, Kind, Outcome
from mindwire.offline.convention.samples import first_of, numbers, valid_rows
from mindwire.offline.convention.streams import ObservedStream
from mindwire.sources.markers import CONVENTION
from mindwire_models.text import counted, printable

_SHOWN = 60


_EVERY: dict[str, Check] = {
    "S1": described.source_id,
    "S2": described.name,
    "S3": described.irregular,
    "S4": described.manufacturer,
    "S5": described.has_text("convention", CONVENTION),
}
_CHECKS: dict[Kind, dict[str, Check]] = {
    Kind.PROBABILITIES: {
        "P1": described.has_type("Probabilities"),
        "P2": described.has_format("float32"),
        "P3": described.labelled(2),
        "P4": described.each_channel("units", "probability"),
        "P5": described.each_channel("types", "Probability"),
        "P6": sampled.increasing,
        "P7": sampled.hops,
        "P8": sampled.age("P8"),
        "P9": sampled.sums,
        "P10": sampled.invalid_rows,
        "P11": described.has_text("validity/invalid", "NaN"),
        "P12": described.model,
        "P13": described.decoding,
        "P14": described.contract,
        "P15": described.temperature,
    },
    Kind.DECISIONS: {
        "D1": described.has_type("Markers"),
        "D2": described.one_text_channel,
        "D3": described.class_list,
        "D4": sampled.known_classes,
        "D5": sampled.increasing,
        "D6": described.model,
        "D7": described.policy,
    },
    Kind.AXES: {
        "A1": described.has_type("Control"),
        "A2": described.has_format("float32"),
        "A3": described.labelled(1),
        "A4": described.each_channel("units", "normalized"),
        "A5": sampled.increasing,
        "A6": sampled.in_range,
        "A7": described.stated_range,
        "A8": described.model,
    },
    Kind.MARKERS: {
        "M1": described.has_type("Markers"),
        "M2": described.one_text_channel,
        "M3": sampled.marker_texts,
        "M4": sampled.age("M4"),
    },
}


def check_stream(stream: ObservedStream) -> Checked:
    """Return which rules a stream keeps."""
    checks = _EVERY | _CHECKS[stream.kind]
    about = f"{counted(stream.info.n_channels, 'channel')}, {counted(len(stream.times), 'sample')}"
    findings = tuple(_finding(number, check, stream) for number, check in checks.items())
    return Checked(stream.info.name, stream.kind, about, findings)


def check_together(streams: Sequence[ObservedStream]) -> list[Checked]:
    """Return which rules the streams of each decoder in a recording keep together; none where nothing can be compared."""
    found = []
    for predictions in (stream for stream in streams if stream.kind is Kind.PROBABILITIES):
        same = [one for one in streams if one is not predictions and one.base == predictions.base]
        others = [one for one in same if one.kind in (Kind.DECISIONS, Kind.AXES)]
        if others:
            findings = tuple(_together(predictions, others))
            found.append(Checked(predictions.base, Kind.RECORDING, f"{1 + len(others)} streams", findings))
    return found


def _finding(number: str, check: Check, stream: ObservedStream) -> Finding:
    try:
        check(stream)
    except ViolationError as error:
        return Finding(RULES[number], Outcome.VIOLATED, str(error))
    except UncheckedError as error:
        return Finding(RULES[number], Outcome.OPEN, str(error))
    return Finding(RULES[number], Outcome.KEPT)


def _together(predictions: ObservedStream, others: Sequence[ObservedStream]) -> Iterator[Finding]:
    for number, (kinds, check) in _TOGETHER.items():
        streams = [one for one in others if one.kind in kinds]
        findings = [_finding(number, partial(check, predictions), stream) for stream in streams]
        if findings:  # the worst of several streams of a kind
            yield min(findings, key=lambda one: _WORST_FIRST.index(one.outcome))


def _at_rows(predictions: ObservedStream, stream: ObservedStream) -> None:
    within = _within(stream, predictions)
    wrong = ~np.isin(within, predictions.times)
    if wrong.any():
        violated("the stamp of a row", f"another in {first_of(wrong, within)}")


def _at_valid_rows(predictions: ObservedStream, stream: ObservedStream) -> None:
    within = _within(stream, predictions)
    invalid = predictions.times[~valid_rows(numbers(predictions))]
    wrong = np.isin(within, invalid)
    if wrong.any():
        violated("a valid row", f"an invalid one in {first_of(wrong, within)}")


def _same_classes(predictions: ObservedStream, stream: ObservedStream) -> None:
    if (found := classes_of(stream)) != (labels := list(predictions.info.labels or ())):
        violated(", ".join(labels) or "labels", printable(", ".join(found), _SHOWN) or "none")


def _same_model(predictions: ObservedStream, stream: ObservedStream) -> None:
    if not (expected := predictions.text("model/sha256")):
        msg = "the probabilities state none"
        raise UncheckedError(msg)
    equal(expected, stream.text("model/sha256"))


def _within(stream: ObservedStream, predictions: ObservedStream) -> NDArray[np.float64]:
    """Return a stream's stamps within those of the recorded rows; a recorder subscribes to streams one after another."""
    if not len(predictions.times):
        msg = "no row of probabilities"
        raise UncheckedError(msg)
    first, last = predictions.times.min(), predictions.times.max()
    within: NDArray[np.float64] = stream.times[(stream.times >= first) & (stream.times <= last)]
    if not len(within):
        msg = "no sample in the time of the recorded rows"
        raise UncheckedError(msg)
    return within


_DECISIONS, _AXES = (Kind.DECISIONS,), (Kind.AXES,)
_WORST_FIRST = (Outcome.VIOLATED, Outcome.KEPT, Outcome.OPEN)
_TOGETHER: dict[str, tuple[tuple[Kind, ...], Callable[[ObservedStream, ObservedStream], None]]] = {
    "X1": (_DECISIONS, _at_rows),
    "X2": (_DECISIONS, _at_valid_rows),
    "X3": (_AXES, _at_rows),
    "X4": (_DECISIONS, _same_classes),
    "X5": (_DECISIONS + _AXES, _same_model),
}
# Ids of the rules that are checked here.
CHECKED = frozenset(_EVERY).union(_TOGETHER, *_CHECKS.values())
