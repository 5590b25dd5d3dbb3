"""Messages of the websocket protocol, and their encoding as JSON or MessagePack.

Nothing that a stream says (numpy scalars, odd mappings) stops the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mindwire.status import Event
from mindwire.types import Prediction

PROTOCOL_VERSION = 1


class Encoding(StrEnum):
    """Sub-protocols a client may ask for; without one it gets JSON."""

    JSON = "mindwire.v1+json"
    MSGPACK = "mindwire.v1+msgpack"


def plain(value: Any) -> Any:
    """A value made only of what JSON knows; what it does not know becomes its text."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


_json = msgspec.json.Encoder(enc_hook=plain)
_msgpack = msgspec.msgpack.Encoder(enc_hook=plain)


def encode_json(payload: Mapping[str, Any]) -> str:
    """A payload as JSON text; numbers keep full precision and NaN becomes ``null``."""
    try:
        return _json.encode(payload).decode()
    except (TypeError, ValueError, OverflowError):  # a key or an integer that only its text can carry
        return _json.encode(textual(payload)).decode()


def encode_msgpack(payload: Mapping[str, Any]) -> bytes:
    """The same payload as MessagePack."""
    try:
        return _msgpack.encode(payload)
    except (TypeError, ValueError, OverflowError):
        return _msgpack.encode(textual(payload))


def textual(value: Any) -> Any:
    """Like :func:`plain`, and integers beyond 64 bits become text."""
    value = plain(value)
    if isinstance(value, dict):
        return {key: textual(item) for key, item in value.items()}
    if isinstance(value, list):
        return [textual(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


class Message:
    """One message to many clients, encoded at most once per encoding and only when asked for.

    Parameters
    ----------
    payload : mapping, str or bytes
        Content; text and bytes are sent as they are, in whatever encoding.
    expendable : bool
        May be dropped for a slow client before others (predictions are, events are not).
    """

    __slots__ = ("_encoded", "expendable", "payload")

    def __init__(self, payload: Mapping[str, Any] | str | bytes, *, expendable: bool = False) -> None:
        self.payload = payload
        self.expendable = expendable
        self._encoded: dict[Encoding, str | bytes] = {}

    def encoded(self, encoding: Encoding) -> str | bytes:
        """The message in a client's encoding: text for JSON, bytes for MessagePack."""
        if isinstance(self.payload, str | bytes):
            return self.payload
        encoded = self._encoded.get(encoding)
        if encoded is None:
            encode = encode_msgpack if encoding is Encoding.MSGPACK else encode_json
            encoded = self._encoded[encoding] = encode(self.payload)
        return encoded


def prediction_payload(prediction: Prediction, unix_time: float) -> dict[str, Any]:
    """Return the message of a prediction.

    Parameters
    ----------
    prediction : Prediction
    unix_time : float
        Seconds since the epoch at the window's last sample.
    """
    return {
        "type": "prediction",
        "seq": prediction.seq,
        "time": prediction.time,
        "unix_time": unix_time,
        "probabilities": np.asarray(prediction.probabilities, dtype=np.float64).tolist(),
        "valid": prediction.valid,
        "reasons": prediction.reasons.labels,
        "latency_ms": {stage: round(float(ms), 4) for stage, ms in prediction.latency_ms.items()},
    }


def event_payload(event: Event) -> dict[str, Any]:
    """Return the message of an event."""
    return {
        "type": "event",
        "kind": event.kind,
        "stream": event.stream,
        "message": event.message,
        "unix_time": event.unix_time,
        "data": plain(event.data),
    }


def signal_block(time: float, samples: NDArray[np.float32]) -> bytes:
    """A block of the display signal, little-endian.

    Parameters
    ----------
    time : float
        LSL time of the first sample in seconds.
    samples : ndarray of float32, shape (n_samples, n_channels)

    Returns
    -------
    bytes
        float64 time, uint32 n_samples, uint32 n_channels, then the samples as float32, time-major.
    """
    head = np.empty(1, dtype=[("time", "<f8"), ("n_samples", "<u4"), ("n_channels", "<u4")])
    head[0] = (time, *samples.shape)
    return head.tobytes() + np.ascontiguousarray(samples, dtype="<f4").tobytes()
