"""Rules of the convention for streams of probabilities, decisions, axes and markers; ``docs/convention.md`` gives the reasons.

Rules are data: the document and :mod:`mindwire.offline.convention.checks` have the same ones, and a test compares them.
Backticks are those of the document.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mindwire.sources.markers import CONVENTION


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


_EVERY = {
    "S1": "`source_id` is given, and is the same after a restart",
    "S2": "the name ends as its kind demands: `-Decisions`, `-Axes`, `-Markers`, and probabilities with none of them",
    "S3": "the nominal rate is 0, irregular",
    "S4": "`desc/manufacturer` names the sender",
    "S5": f"`desc/convention` is `{CONVENTION}`",
}
_PROBABILITIES = {
    "P1": "the type is `Probabilities`",
    "P2": "the format is `float32`",
    "P3": "one channel per class, two at least, each labelled with the name of its class and no other's",
    "P4": "the unit of each channel is `probability`",
    "P5": "the type of each channel is `Probability`",
    "P6": "time stamps increase from row to row",
    "P7": "rows are a whole number of hops apart, at the median",
    "P8": "the time stamp is that of the newest sample of the window: at most 1 s ahead of LSL's clock and 60 s behind it",
    "P9": "the probabilities of a valid row are from 0 to 1 and sum to 1 ± 0.001",
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
    "D3": "`desc/classes` has a `class` per class, in the order of the probabilities; the code of a decision is its place, from 1",
    "D4": "each text is the name of a class in `desc/classes`",
    "D5": "time stamps increase from decision to decision",
    "D6": "`desc/model` has `name` and `sha256`, 64 hexadecimal digits",
    "D7": "`desc/control` has the `policy` as JSON and the `sha256` of its text, or a `note` where no policy is known yet",
}
_AXES = {
    "A1": "the type is `Control`",
    "A2": "the format is `float32`",
    "A3": "one channel per axis, each labelled with the name of its axis and no other's",
    "A4": "the unit of each channel is `normalized`",
    "A5": "time stamps increase from row to row",
    "A6": "each value is a number from -1 to 1",
    "A7": "`desc/range` has `minimum` -1 and `maximum` 1",
    "A8": "`desc/model` has `name` and `sha256`, 64 hexadecimal digits",
}
_MARKERS = {
    "M1": "the type is `Markers`",
    "M2": "one channel of text",
    "M3": "each text is printable, 1 to 200 characters",
    "M4": "the time stamp is that of the stimulus: at most 60 s ahead of LSL's clock and 600 s behind it",
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
