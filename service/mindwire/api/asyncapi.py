"""Description of the websocket messages as AsyncAPI 3, beside the REST interface's OpenAPI."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mindwire import __version__
from mindwire.api.clock import ClockAnswer, ClockHello, ClockQuestion
from mindwire.types import ControlState


class _Model(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    sha256: str
    notice: str = ""


class _Control(msgspec.Struct, forbid_unknown_fields=True):
    policy: dict[str, Any]
    hash: str
    paused: bool


class Hello(msgspec.Struct, tag_field="type", tag="hello", forbid_unknown_fields=True):
    """First message: the stream, its model, and its control policy or null; without a model there are no classes."""

    version: Literal[1]
    stream: str
    classes: list[str]
    sfreq: float
    window_samples: int
    hop_samples: int
    model: _Model
    control: _Control | None
    channels: list[str] = []
    has_model: bool = True


class PredictionSent(msgspec.Struct, tag_field="type", tag="prediction", forbid_unknown_fields=True):
    """Class probabilities of one window; with a control policy also the evidence and the controller's state."""

    seq: int
    time: float
    unix_time: float
    probabilities: list[float | None]
    valid: bool
    reasons: list[str]
    latency_ms: dict[str, float]
    evidence: list[float] | msgspec.UnsetType = msgspec.UNSET
    control: ControlState | msgspec.UnsetType = msgspec.UNSET


class DecisionSent(msgspec.Struct, tag_field="type", tag="decision", forbid_unknown_fields=True):
    """A command, directly after the prediction that decided it."""

    seq: int
    time: float
    label: str = msgspec.field(name="class")
    confidence: float
    evidence: list[float]
    age_ms: float | None


class AxesSent(msgspec.Struct, tag_field="type", tag="axes", forbid_unknown_fields=True):
    """Continuous outputs in [-1, 1] by the names of the axes, after each prediction."""

    seq: int
    time: float
    values: dict[str, float]


class ShadowSent(msgspec.Struct, tag_field="type", tag="shadow", forbid_unknown_fields=True):
    """Prediction of a model that runs in the shadow, with the class that it would have decided."""

    seq: int
    time: float
    probabilities: list[float | None]
    valid: bool
    decision: str | msgspec.UnsetType = msgspec.UNSET


class EventSent(msgspec.Struct, tag_field="type", tag="event", forbid_unknown_fields=True):
    """A change of state, a gap, a change of control, a marker and so on."""

    kind: str
    stream: str
    message: str
    unix_time: float
    data: dict[str, Any]


MESSAGES = (Hello, PredictionSent, DecisionSent, AxesSent, ShadowSent, EventSent)
CLOCK = (ClockHello, ClockQuestion, ClockAnswer)


def document() -> dict[str, Any]:
    """Return the AsyncAPI document of the websockets of predictions and of the clock."""
    _, schemas = msgspec.json.schema_components(MESSAGES + CLOCK, ref_template="#/components/schemas/{name}")
    names, clock = ([kind.__name__ for kind in kinds] for kinds in (MESSAGES, CLOCK))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Mindwire",
            "version": __version__,
            "description": "Predictions, decisions, axes and events of a stream over a websocket; see docs/protocol.md.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "predictions": {
                "address": "/v1/streams/{stream}/predictions",
                "description": "JSON text, or MessagePack in binary with the sub-protocol mindwire.v1+msgpack.",
                "parameters": {"stream": {"description": "Name of the stream."}},
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
            },
            "clock": {
                "address": "/v1/clock",
                "description": "JSON text; a client asks for readings of LSL's clock.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in clock},
            },
        },
        "operations": {
            "receive": {"action": "send", "channel": {"$ref": "#/channels/predictions"}},
            "askClock": {
                "action": "receive",
                "channel": {"$ref": "#/channels/clock"},
                "messages": [{"$ref": "#/channels/clock/messages/ClockQuestion"}],
                "reply": {
                    "channel": {"$ref": "#/channels/clock"},
                    "messages": [{"$ref": "#/channels/clock/messages/ClockAnswer"}],
                },
            },
        },
        "components": {
            "messages": {name: {"payload": {"$ref": f"#/components/schemas/{name}"}} for name in names + clock},
            "schemas": schemas,
        },
    }
