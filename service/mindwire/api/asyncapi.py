"""AsyncAPI document of the websockets, beside the REST interface's OpenAPI, made of the types that are sent and taken.

Fields may be added within version 1 of the protocol, so the schemas allow those that they do not name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from mindwire import __version__
from mindwire.api.clock import ClockAnswer, ClockHello, ClockQuestion
from mindwire.api.event_data import EVENT_DATA
from mindwire.control.policy import ControlPolicy
from mindwire.sinks.message_types import (
    AxesMessage,
    DecisionMessage,
    EventMessage,
    Hello,
    PredictionMessage,
    ShadowMessage,
    SignalHello,
)
from mindwire.sinks.messages import Encoding

STREAM_MESSAGES: Final = (Hello, PredictionMessage, DecisionMessage, AxesMessage, ShadowMessage, EventMessage)
CLOCK_MESSAGES: Final = (ClockHello, ClockQuestion, ClockAnswer)
_SCHEMAS = "#/components/schemas/"
_BLOCK = "SignalBlock"
_BLOCK_LAYOUT = (
    "Samples, little-endian: float64 LSL time of the first one in seconds, uint32 number of samples, uint32 number of "
    "channels, then float32 values, channel by channel within each sample."
)


def document(host: str = "127.0.0.1:8000", *, secure: bool = False) -> dict[str, Any]:
    """Return the AsyncAPI document.

    Parameters
    ----------
    host : str
        Host and port of the service.
    secure : bool
        True if the service speaks TLS.
    """
    names = [kind.__name__ for kind in STREAM_MESSAGES]
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Mindwire",
            "version": __version__,
            "description": "Websockets of version 1 of the protocol. Within it fields and kinds of events may be added, "
            "never removed or changed in meaning.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "service": {
                "host": host,
                "protocol": "wss" if secure else "ws",
                "description": "Tokens are needed where the service has some.",
                "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _SECURITY],
            }
        },
        "channels": {
            "predictions": _channel("/v1/streams/{stream}/predictions", "Predictions and events of a stream.", names),
            "onlyStream": _channel("/ws", "The same of the only stream, where there is exactly one.", names),
            "signal": _channel(
                "/v1/streams/{stream}/signal",
                "The conditioned signal for display: a hello in JSON, then binary blocks.",
                [SignalHello.__name__, _BLOCK],
                encodings=False,
            ),
            "clock": _channel(
                "/v1/clock",
                "Readings of LSL's clock, for which a client asks, in JSON.",
                [kind.__name__ for kind in CLOCK_MESSAGES],
                encodings=False,
            ),
        },
        "operations": {
            **{f"send_{channel}": _operation("send", channel) for channel in ("predictions", "onlyStream", "signal")},
            "greet_clock": _operation("send", "clock", "ClockHello"),
            "answer_clock": _operation("receive", "clock", "ClockQuestion")
            | {"reply": _reference("clock", "ClockAnswer")},
        },
        "components": {"messages": _messages(), "schemas": _schemas(), "securitySchemes": _SECURITY},
    }


_SECURITY: Final[Mapping[str, Any]] = {
    "header": {"type": "http", "scheme": "bearer"},
    "query": {"type": "httpApiKey", "in": "query", "name": "token"},
}


def _channel(address: str, description: str, messages: Sequence[str], *, encodings: bool = True) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if encodings:
        channel["description"] += (
            f" Text messages in JSON; the same in binary messages in MessagePack with the sub-protocol {Encoding.MSGPACK}."
        )
        protocols = {"type": "string", "enum": [str(encoding) for encoding in Encoding]}
        headers = {"type": "object", "properties": {"Sec-WebSocket-Protocol": protocols}}
        channel["bindings"] = {"ws": {"headers": headers, "bindingVersion": "0.1.0"}}
    if "{stream}" in address:
        channel["parameters"] = {"stream": {"description": "Name of the stream."}}
    return channel


def _reference(channel: str, *messages: str) -> dict[str, Any]:
    found: dict[str, Any] = {"channel": {"$ref": f"#/channels/{channel}"}}
    if messages:
        found["messages"] = [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages]
    return found


def _operation(action: str, channel: str, *messages: str) -> dict[str, Any]:
    return {"action": action, **_reference(channel, *messages)}


def _messages() -> dict[str, Any]:
    messages: dict[str, Any] = {}
    for kind in (*STREAM_MESSAGES, SignalHello, *CLOCK_MESSAGES):
        name = kind.__name__
        about = (kind.__doc__ or "").strip().replace("\n    ", " ")
        messages[name] = {
            "name": kind.__struct_config__.tag,
            "summary": about,
            "payload": {"$ref": f"{_SCHEMAS}{name}"},
        }
    block = {"type": "string", "format": "binary"}
    messages[_BLOCK] = {
        "name": "block",
        "summary": _BLOCK_LAYOUT,
        "contentType": "application/octet-stream",
        "payload": block,
    }
    return messages


def _schemas() -> dict[str, Any]:
    """Return the schemas of all messages, of the details of events and of the control policy."""
    kinds = (*STREAM_MESSAGES, SignalHello, *CLOCK_MESSAGES)
    data = {kind.__name__: kind for kind in EVENT_DATA.values()}
    _, schemas = msgspec.json.schema_components((*kinds, *data.values()), ref_template=_SCHEMAS + "{name}")
    policy = ControlPolicy.model_json_schema(mode="serialization", ref_template=_SCHEMAS + "{model}")
    schemas |= policy.pop("$defs", {}) | {ControlPolicy.__name__: policy}
    schemas[EventMessage.__name__]["properties"]["kind"]["examples"] = list(EVENT_DATA)
    schemas[EventMessage.__name__]["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind}}},
            "then": {"properties": {"data": {"$ref": f"{_SCHEMAS}{of.__name__}"}}},
        }
        for kind, of in EVENT_DATA.items()
    ]
    for schema in _parts(schemas):
        if schema.get("additionalProperties") is False:  # what is added later is no fault
            del schema["additionalProperties"]
        if isinstance(schema.get("discriminator"), dict):  # OpenAPI's; AsyncAPI has another
            del schema["discriminator"]
        if "$ref" in schema:
            schema.pop("type", None)  # said by what is referred to
    return schemas


def _parts(value: object) -> Iterator[dict[str, Any]]:
    """Yield every mapping in a document."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _parts(part)
