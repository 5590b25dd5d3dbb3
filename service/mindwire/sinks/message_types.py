"""Types of the websocket's messages, which are what is sent and what the AsyncAPI document is made from.

Within version 1 of the protocol fields are added, never removed, renamed or changed in type.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from mindwire.types import ControlState

Probabilities = Annotated[list[float | None], msgspec.Meta(description="One per class, in the order of hello.classes.")]
Seq = Annotated[int, msgspec.Meta(description="Number of the window.")]
LslTime = Annotated[float, msgspec.Meta(description="LSL time of the window's last sample, in seconds.")]
UnixTime = Annotated[float, msgspec.Meta(description="Seconds since 1970, by the service's clock.")]
Policy = Annotated[dict[str, Any], msgspec.Meta(extra_json_schema={"$ref": "#/components/schemas/ControlPolicy"})]


class HelloModel(msgspec.Struct, frozen=True):
    """The model of a stream; `notice` is a sentence that its users must see."""

    name: str
    sha256: str
    notice: str


class HelloControl(msgspec.Struct, frozen=True):
    """The control policy of a stream, true while control is paused, and the policy's SHA-256."""

    policy: Policy
    paused: bool
    hash: str


class Hello(msgspec.Struct, tag_field="type", tag="hello", frozen=True):
    """First message: the stream, its model, and its control policy or null; without a model there are no classes."""

    version: Literal[1]
    stream: str
    classes: list[str]
    sfreq: Annotated[float, msgspec.Meta(description="Rate of the conditioned signal in hertz.")]
    window_samples: int
    hop_samples: int
    channels: list[str]
    model: HelloModel
    has_model: bool
    control: HelloControl | None
    instance: Annotated[str, msgspec.Meta(description="Another one whenever `seq` starts again.")] = ""


class PredictionMessage(msgspec.Struct, tag_field="type", tag="prediction", frozen=True):
    """Class probabilities of one window; with a control policy also the evidence and the controller's state."""

    seq: Seq
    time: LslTime
    unix_time: UnixTime
    probabilities: Probabilities
    valid: bool
    reasons: list[str]
    latency_ms: Annotated[dict[str, float], msgspec.Meta(description="Milliseconds by stage.")]
    evidence: tuple[float, ...] | msgspec.UnsetType = msgspec.UNSET
    control: ControlState | msgspec.UnsetType = msgspec.UNSET


class DecisionMessage(msgspec.Struct, tag_field="type", tag="decision", frozen=True):
    """A command, directly after the prediction that decided it."""

    seq: Seq
    time: LslTime
    label: str = msgspec.field(name="class")
    confidence: float
    evidence: tuple[float, ...]
    age_ms: Annotated[float | None, msgspec.Meta(description="Age of the window's last sample in milliseconds.")]


class AxesMessage(msgspec.Struct, tag_field="type", tag="axes", frozen=True):
    """Continuous outputs in [-1, 1] by the names of the axes, after each prediction."""

    seq: Seq
    time: LslTime
    values: dict[str, float]


class ShadowMessage(msgspec.Struct, tag_field="type", tag="shadow", frozen=True):
    """Prediction of a model that runs in the shadow, with the class that it would have decided."""

    seq: Seq
    time: LslTime
    probabilities: Probabilities
    valid: bool
    decision: str | msgspec.UnsetType = msgspec.UNSET


class EventMessage(msgspec.Struct, tag_field="type", tag="event", frozen=True):
    """A change of state, a gap, a change of control, a marker and so on; `kind` says which details `data` has."""

    kind: str
    stream: str
    message: Annotated[str, msgspec.Meta(description="One sentence for a person.")]
    unix_time: UnixTime
    data: Annotated[dict[str, Any], msgspec.Meta(description="Details for a program.")]


class SignalHello(msgspec.Struct, tag_field="type", tag="hello", frozen=True):
    """First message of the signal for display: what the binary blocks that follow hold."""

    version: Literal[1]
    stream: str
    channels: list[str]
    unit: str
    sfreq: Annotated[float, msgspec.Meta(description="Rate of the signal for display in hertz.")]
    positions: Annotated[
        list[list[float] | None],
        msgspec.Meta(description="Place of each channel on a unit sphere: x, y, z to the right ear, nose and vertex."),
    ]
