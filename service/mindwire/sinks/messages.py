"""Messages of the websocket protocol, and their encoding as JSON or MessagePack.

Nothing that a stream says (numpy scalars, odd mappings) stops the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
import numpy as np

from mindwire.sinks.message_types import AxesMessage, DecisionMessage, EventMessage, PredictionMessage, ShadowMessage
from mindwire.status import Event
from mindwire.types import PLAUSIBLE_AGE_S, ControlOutput, Prediction

PROTOCOL_VERSION: Final = 1


class Encoding(StrEnum):
    """Sub-protocols a client may ask for; without one it gets JSON."""

    JSON = "mindwire.v1+json"
    MSGPACK = "mindwire.v1+msgpack"


def _plain(value: Any) -> Any:
    """Return a value made only of what both encodings know; other objects and integers beyond 64 bits become text."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, msgspec.Struct):
        value = _fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)
    return int(value) if isinstance(value, int) and -(2**63) <= value < 2**63 else str(value)


def _fields(message: msgspec.Struct) -> dict[str, Any]:
    """Return a message as a mapping, with its tag and without what is unset."""
    names = zip(message.__struct_fields__, message.__struct_encode_fields__, strict=True)
    values = {encoded: getattr(message, name) for name, encoded in names}
    tag = {message.__struct_config__.tag_field: message.__struct_config__.tag}
    return (tag if None not in tag else {}) | {k: v for k, v in values.items() if v is not msgspec.UNSET}


_json = msgspec.json.Encoder(enc_hook=_plain)
_msgpack = msgspec.msgpack.Encoder(enc_hook=_plain)


class Message:
    """One message to many clients, encoded at most once per encoding and only when asked for.

    Parameters
    ----------
    payload : Struct, mapping, str or bytes
        Content, one of :mod:`mindwire.sinks.message_types`; text and bytes are sent as they are, in whatever encoding.
    expendable : bool
        May be dropped for a slow client before others (predictions are, decisions and events are not).
    """

    __slots__ = ("_encoded", "expendable", "payload")

    def __init__(self, payload: msgspec.Struct | Mapping[str, Any] | str | bytes, *, expendable: bool = False) -> None:
        self.payload = payload
        self.expendable = expendable
        self._encoded: dict[Encoding, str | bytes] = {}

    def encoded(self, encoding: Encoding) -> str | bytes:
        """Return the message in a client's encoding: text for JSON, bytes for MessagePack.

        Numbers keep full precision; NaN is ``null`` in JSON.
        """
        if isinstance(self.payload, str | bytes):
            return self.payload
        if encoding not in self._encoded:
            encoder = _msgpack if encoding is Encoding.MSGPACK else _json
            try:
                data = encoder.encode(self.payload)
            except (TypeError, ValueError, OverflowError):  # a key or an integer that only its text can carry
                data = encoder.encode(_plain(self.payload))
            self._encoded[encoding] = data if encoding is Encoding.MSGPACK else data.decode()
        return self._encoded[encoding]


def prediction_payload(prediction: Prediction, unix_time: float) -> PredictionMessage:
    """Return the message of a prediction.

    Parameters
    ----------
    prediction : Prediction
    unix_time : float
        Seconds since the epoch at the window's last sample.
    """
    control = prediction.control
    return PredictionMessage(
        seq=prediction.seq,
        time=prediction.time,
        unix_time=unix_time,
        probabilities=np.asarray(prediction.probabilities, dtype=np.float64).tolist(),
        valid=prediction.valid,
        reasons=prediction.reasons.labels,
        latency_ms={stage: round(float(ms), 4) for stage, ms in prediction.latency_ms.items()},
        evidence=msgspec.UNSET if control is None else control.evidence,
        control=msgspec.UNSET if control is None else control.state,
    )


def shadow_message(prediction: Prediction) -> Message:
    """Return the message of a prediction of a model that runs in the shadow, with the decision it would have been."""
    made = None if prediction.control is None else prediction.control.decision
    payload = ShadowMessage(
        seq=prediction.seq,
        time=prediction.time,
        probabilities=np.asarray(prediction.probabilities, dtype=np.float64).tolist(),
        valid=prediction.valid,
        decision=msgspec.UNSET if made is None else made.label,
    )
    return Message(payload, expendable=True)


def control_messages(output: ControlOutput, seq: int, time: float, age_s: float) -> Iterator[Message]:
    """Yield the messages that follow a prediction: its decision, if there is one, and the axes of the policy.

    Parameters
    ----------
    output : ControlOutput
    seq : int
    time : float
        LSL time of the window's last sample in seconds.
    age_s : float
        Its age in seconds.
    """
    if (made := output.decision) is not None:
        plausible = PLAUSIBLE_AGE_S[0] <= age_s <= PLAUSIBLE_AGE_S[1]
        age_ms = round(age_s * 1e3, 4) if plausible else None
        yield Message(DecisionMessage(seq, time, made.label, made.confidence, output.evidence, age_ms))
    if output.axes:
        names = [axis.name for axis in output.policy.axes]
        yield Message(AxesMessage(seq, time, dict(zip(names, output.axes, strict=True))), expendable=True)


def event_payload(event: Event) -> EventMessage:
    """Return the message of an event."""
    return EventMessage(event.kind, event.stream, event.message, event.unix_time, dict(event.data))
