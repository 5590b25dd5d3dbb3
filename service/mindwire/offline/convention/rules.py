"""Rules of the convention for streams of probabilities, decisions, axes and markers; ``docs/convention.md`` gives the reasons.

Rules are data: the document and :mod:`mindwire.offline.convention.checks` have the same ones, and a test compares them.
Backticks are those of the document.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mindwire.sinks.sent_markers import FARTHEST_S, OLDEST_S
from mindwire.sources.markers import CONVENTION

# Limits that the texts state and the checks hold.
# Least and greatest age of a sample on its arrival, in seconds; of markers those that a sender may report, and a second for the way.
AGES: Final = {"P8": (-1.0, 60.0), "M4": (-FARTHEST_S, OLDEST_S + 1.0)}
SUM_ERROR: Final = 0.001
PART_OF_HOP: Final = 0.2
LONGEST_TEXT: Final = 200


class Kind(StrEnum):
    """Kinds of streams, and of rules."""

    PROBABILITIES = "probabilities"
    DECISIONS = "decisions"
    AXES = "axes"
    MARKERS = "markers"
    EVERY = "every stream"
    RECORDING = "recording"  # rules between the streams of one decoder
    OSC = "OSC"  # not on LSL: these rules are tested with what the service sends


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the convention."""

    id: str
    kind: Kind
    text: str

    @property
    def plain(self) -> str:
        """The text for a terminal."""
        return self.text.replace("`", "")


def _age(number: str) -> str:
    least, most = AGES[number]
    return f"on arrival the time stamp is at most {-least:g} s ahead of LSL's clock and {most:g} s behind it"


_EVERY = {
    "S1": "`source_id` is given",
    "S2": "the name ends as its kind demands: `-Decisions`, `-Axes`, `-Markers`, and probabilities with none of them",
    "S3": "the nominal rate is 0, irregular",
    "S4": "`desc/manufacturer` names the sender",
    "S5": f"`desc/convention` is `{CONVENTION}`",
}
_PROBABILITIES = {
    "P1": "the type is `Probabilities`",
    "P2": "the format is `float32`",
    "P3": "two channels at least, each with a label, no two the same",
    "P4": "the unit of each channel is `probability`",
    "P5": "the type of each channel is `Probability`",
    "P6": "time stamps increase from row to row",
    "P7": f"at the median, rows are a whole number of hops apart, ± {PART_OF_HOP:g} of one",
    "P8": _age("P8"),
    "P9": f"the probabilities of a valid row are not negative and sum to 1 ± {SUM_ERROR:g}",
    "P10": "an invalid row is NaN in each channel",
    "P11": "`desc/validity/invalid` is `NaN`",
    "P12": "`desc/model` has `name` and `sha256`, 64 hexadecimal digits",
    "P13": "`desc/decoding` has `sfreq` in hertz, `window_samples` and `hop_samples`",
    "P14": "`desc/contract` is the contract as JSON, with the `classes` of the channels and the `window_samples` of `desc/decoding`",
    "P15": "`desc/calibration` has `temperature`, by which the logits were divided",
}
_DECISIONS = {
    "D1": "the type is `Markers`",
    "D2": "one channel of text",
    "D3": "`desc/classes` has two or more elements `class`, no two the same",
    "D4": "each text is the name of a class in `desc/classes`",
    "D5": "time stamps increase from decision to decision",
    "D6": "`desc/model` has `name` and `sha256`, 64 hexadecimal digits",
    "D7": "`desc/control` has the `policy` as JSON and the `sha256` of its text, or a `note` where no policy is known yet",
}
_AXES = {
    "A1": "the type is `Control`",
    "A2": "the format is `float32`",
    "A3": "each channel has a label, no two the same",
    "A4": "the unit of each channel is `normalized`",
    "A5": "time stamps increase from row to row",
    "A6": "each value is a number from -1 to 1",
    "A7": "`desc/range` has `minimum` -1 and `maximum` 1",
    "A8": "`desc/model` has `name` and `sha256`, 64 hexadecimal digits",
}
_MARKERS = {
    "M1": "the type is `Markers`",
    "M2": "one channel of text",
    "M3": f"each text is printable, 1 to {LONGEST_TEXT} characters",
    "M4": _age("M4"),
}
_OSC = {
    "O1": "`/mindwire/{stream}/probabilities` has a float per class in the model's order, and the sequence number as an integer",
    "O2": "an invalid prediction is NaN for each class",
    "O3": "`/mindwire/{stream}/decision` has the class as text, confidence as a float, sequence number as an integer and LSL time as a double",
    "O4": "`/mindwire/{stream}/axes` has a float from -1 to 1 per axis in the policy's order",
    "O5": "one message per datagram, without a bundle, sent at once",
}
_RECORDING = {
    "X1": "each decision has the time stamp of a row of probabilities",
    "X2": "no decision has the time stamp of an invalid row",
    "X3": "each row of axes has the time stamp of a row of probabilities",
    "X4": "`desc/classes` of the decisions are the labels of the probabilities, in their order",
    "X5": "all streams of a decoder state the same `sha256` of the model",
}

RULES: dict[str, Rule] = {
    number: Rule(number, kind, text)
    for kind, texts in (
        (Kind.EVERY, _EVERY),
        (Kind.PROBABILITIES, _PROBABILITIES),
        (Kind.DECISIONS, _DECISIONS),
        (Kind.AXES, _AXES),
        (Kind.MARKERS, _MARKERS),
        (Kind.OSC, _OSC),
        (Kind.RECORDING, _RECORDING),
    )
    for number, text in texts.items()
}


class Outcome(StrEnum):
    """Result of a rule's check."""

    KEPT = "kept"
    VIOLATED = "broken"
    OPEN = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule, and if it is kept; ``detail`` is what was expected and found, or why it was not checked."""

    rule: Rule
    outcome: Outcome
    detail: str = ""

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.outcome:<11}  {self.rule.id:<3}  {self.rule.plain}{detail}"


@dataclass(frozen=True, slots=True)
class Checked:
    """Findings about one stream, or about the streams of one decoder in a recording."""

    name: str
    kind: Kind
    about: str  # in a few words: channels and samples
    findings: tuple[Finding, ...]
