"""Messages of a stream as typed, immutable structures, and how they are decoded."""

from __future__ import annotations

import math
import time
from typing import Any, Union

import msgspec

PROTOCOL_VERSION = 1
_UNKNOWN = math.nan


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all messages.

    Attributes
    ----------
    received : float
        ``time.perf_counter()`` when the message arrived, in seconds.
    """

    received: float = 0.0


class Timed(Message, frozen=True, kw_only=True):
    """Base of messages that belong to one window of the signal.

    Attributes
    ----------
    seq : int
        Number of the window.
    time : float
        LSL time of the window's last sample in seconds.
    lsl_offset : float
        LSL's clock minus ``time.perf_counter()`` in seconds, as it was measured when the message arrived; NaN before
        the first measurement.
    """

    seq: int
    time: float
    lsl_offset: float = _UNKNOWN

    @property
    def age_ms(self) -> float:
        """Milliseconds since the window's last sample, now; NaN where it cannot be known."""
        now = time.perf_counter()
        if not math.isnan(self.lsl_offset):
            return 1e3 * (now + self.lsl_offset - self.time)
        return self._age_when_received_ms() + 1e3 * (now - self.received)

    def is_fresh(self, max_age_ms: float = 250.0) -> bool:
        """Return true if the message is at most ``max_age_ms`` milliseconds old; false where that cannot be known."""
        return self.age_ms <= max_age_ms

    def _age_when_received_ms(self) -> float:
        return _UNKNOWN


class Prediction(Timed, frozen=True, kw_only=True, tag="prediction"):
    """Class probabilities of one window.

    Attributes
    ----------
    unix_time : float
        Time of the window's last sample in seconds since 1970, by the service's clock.
    probabilities : tuple of float
        One per class in the order of :attr:`Hello.classes`; NaN where the decoder gave no number.
    valid : bool
        True if the prediction can be trusted.
    reasons : tuple of str
        Reasons for being invalid, or disturbances of a valid prediction.
    latency_ms : dict
        Milliseconds by stage.
    evidence : tuple of float or None
        Accumulated posterior probabilities; None without a control policy.
    control : str or None
        State of the controller; None without a control policy.
    """

    unix_time: float
    probabilities: tuple[float, ...]
    valid: bool
    reasons: tuple[str, ...] = ()
    latency_ms: dict[str, float] = {}
    evidence: tuple[float, ...] | None = None
    control: str | None = None

    def _age_when_received_ms(self) -> float:
        return 1e3 * (time.time() - time.perf_counter() + self.received - self.unix_time)


class Decision(Timed, frozen=True, kw_only=True, tag="decision"):
    """A command: act on it once.

    Attributes
    ----------
    label : str
        The class (``class`` in the protocol).
    confidence : float
        Evidence of the class.
    evidence : tuple of float
        That of every class.
    sent_age_ms : float or None
        Age when the service wrote the message, in milliseconds (``age_ms`` in the protocol).
    """

    label: str = msgspec.field(name="class")
    confidence: float
    evidence: tuple[float, ...] = ()
    sent_age_ms: float | None = msgspec.field(name="age_ms", default=None)

    def _age_when_received_ms(self) -> float:
        return _UNKNOWN if self.sent_age_ms is None else self.sent_age_ms


class Axes(Timed, frozen=True, kw_only=True, tag="axes"):
    """Continuous outputs in [-1, 1] by the names of the axes (``values``), after each prediction."""

    values: dict[str, float]


class Shadow(Timed, frozen=True, kw_only=True, tag="shadow"):
    """Prediction of a model that runs in the shadow, with the class that it would have decided."""

    probabilities: tuple[float, ...]
    valid: bool
    decision: str | None = None


class Event(Message, frozen=True, kw_only=True, tag="event"):
    """A change of state, a gap, a marker and so on: one sentence (``message``), and details (``data``)."""

    kind: str
    stream: str
    message: str
    unix_time: float
    data: dict[str, Any] = {}


class Model(msgspec.Struct, frozen=True):
    """Name and hash of a model; a ``notice`` must be shown to the people who see its predictions."""

    name: str
    sha256: str = ""
    notice: str = ""


class Control(msgspec.Struct, frozen=True):
    """Control policy, its SHA-256, and true while control is paused."""

    policy: dict[str, Any]
    hash: str
    paused: bool


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """Description of a stream, first after each connection.

    Attributes
    ----------
    sfreq : float
        Rate of the model in hertz.
    window_samples, hop_samples : int
        Length of a window, and the distance between two, in samples at that rate.
    control : Control or None
        None where nothing is decided.
    instance : str
        Another one whenever ``seq`` starts again; empty if the service does not state it.
    """

    version: int
    stream: str
    classes: tuple[str, ...]
    sfreq: float
    window_samples: int
    hop_samples: int
    model: Model
    control: Control | None = None
    channels: tuple[str, ...] = ()
    has_model: bool = True
    instance: str = ""


class Connection(Message, frozen=True, kw_only=True, tag="connection"):
    """Notice of the client: the connection was lost (with the reason), or is there again."""

    connected: bool
    reason: str = ""


class Missed(Message, frozen=True, kw_only=True, tag="missed"):
    """Notice of the client, directly before a prediction: some before it were not delivered.

    Attributes
    ----------
    count : int
        Number of predictions between ``after`` and ``before`` that were not delivered. If the numbers started again,
        of the earlier ones only those are in it that arrived and were dropped, because no number tells how many there were.
    after : int or None
        ``seq`` of the last prediction that arrived before; None if there was none.
    before : int
        ``seq`` of the prediction that follows.
    dropped : int
        Those of ``count`` that this program was too slow for.
    reconnected : bool
        The connection was lost meanwhile.
    restarted : bool
        The numbers started again meanwhile, because the service or the stream did.
    """

    count: int
    after: int | None
    before: int
    dropped: int = 0
    reconnected: bool = False
    restarted: bool = False


_Sent = Union[Hello, Prediction, Decision, Axes, Shadow, Event]  # noqa: UP007  # of the service
_msgpack = msgspec.msgpack.Decoder(_Sent)


class _Type(msgspec.Struct):
    type: str


def decode(data: str | bytes) -> Message | None:
    """Return a message of the service, from JSON text or from MessagePack; None if it is of a type of a later version.

    Raises
    ------
    msgspec.DecodeError
        It is no message of the protocol.
    """
    try:
        return _msgpack.decode(data) if isinstance(data, bytes) else _from_json(data)
    except msgspec.ValidationError:
        kind = msgspec.msgpack.decode(data, type=_Type) if isinstance(data, bytes) else _json_type(data)
        if kind.type in _KNOWN:
            raise
        return None


def _json_type(data: str) -> _Type:
    return msgspec.json.decode(data, type=_Type)


def _from_json(data: str) -> Message:
    """JSON has no NaN: it is null in probabilities."""
    content = msgspec.json.decode(data)
    if isinstance(content, dict) and isinstance(rows := content.get("probabilities"), list):
        content["probabilities"] = [_UNKNOWN if value is None else value for value in rows]
    message: Message = msgspec.convert(content, _Sent)
    return message


_KNOWN = {"hello", "prediction", "decision", "axes", "shadow", "event"}


def stamp(message: Message, received: float, lsl_offset: float) -> None:
    """Enter into a message, before it is delivered, when it arrived."""
    msgspec.structs.force_setattr(message, "received", received)
    if isinstance(message, Timed):
        msgspec.structs.force_setattr(message, "lsl_offset", lsl_offset)
