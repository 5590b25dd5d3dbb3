"""State, events and status of a stream, shared by the live loop, sinks and API."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat

from mindwire.session_names import Participant
from mindwire.types import ControlState, Prediction
from mindwire_models.text import printable

_MAX_LENGTH = 4000
REMEMBERED_EVENTS = 200
# What JSON cannot say of a number, it says as null.
Measured = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]


def _printable(text: str) -> str:
    if not text.isprintable():
        msg = "Input should be printable text"
        raise ValueError(msg)
    return text


class StreamState(StrEnum):
    """State of a stream, from searching to live; ``failed`` after repeated failures."""

    SEARCHING = "searching"
    CONNECTING = "connecting"
    SETTLING = "settling"
    LIVE = "live"
    STALE = "stale"
    LOST = "lost"
    FAILED = "failed"
    STOPPED = "stopped"


# Events of the network and not of the service: shown to present clients, not kept.
SHOWN_KINDS = frozenset({"cue", "marker"})
# Not kept either, because they are many.
PASSING_KINDS = SHOWN_KINDS | {"clock"}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that clients are notified of: a transition, a gap, a model swap, dropped messages."""

    stream: str
    kind: str  # state, gap, clock_reset, skipped, model, dropped, error …
    message: str  # one sentence for a person
    unix_time: float
    data: Mapping[str, Any] = field(default_factory=dict)  # details, JSON-serialisable

    def __post_init__(self) -> None:
        """Show text of the network and of files printable, in the details too."""
        object.__setattr__(self, "message", printable(self.message, _MAX_LENGTH))
        texts = {key: printable(text, _MAX_LENGTH) for key, text in self.data.items() if isinstance(text, str)}
        object.__setattr__(self, "data", {**self.data, **texts})


class SourceStatus(BaseModel):
    """The signal a stream is connected to."""

    name: str
    type: str
    source_id: str
    uid: str
    hostname: str
    sfreq: float
    n_channels: int
    labels: list[str] | None
    unit: str | None


class ModelStatus(BaseModel):
    """The bundle a stream runs; ``notice`` is a sentence that its users must see, ``sha256`` empty where there is none."""

    name: str
    sha256: str
    engine: str
    device: str
    engine_reason: str
    notice: str = ""

    @property
    def label(self) -> str:
        """Name and beginning of the hash, for logs."""
        return f"{self.name}@{self.sha256[:12]}" if self.exists else self.name

    @property
    def exists(self) -> bool:
        """False for a stream that runs without a model."""
        return bool(self.sha256)


# Of a stream that runs without a model.
NO_MODEL = ModelStatus(
    name="none",
    sha256="",
    engine="none",
    device="none",
    engine_reason="There is no model yet: train one from recordings, or choose one of the models' folder.",
)


@dataclass(slots=True)
class Counters:
    """Counted since the stream started; predictions by each reason against them, events by kind, model swaps by state."""

    samples: int = 0
    predictions: int = 0
    valid: int = 0
    skipped: int = 0
    gaps: int = 0
    reconnects: int = 0
    restarts: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    swaps: Mapping[str, int] = field(default_factory=dict)


class ChannelStatus(BaseModel):
    """Quality of one channel over the last second; amplitudes in microvolt."""

    model_config = ConfigDict(from_attributes=True)

    label: str
    score: Measured
    verdict: Literal["ok", "suspect", "bad"]
    reasons: list[str]
    amplitude: Measured
    line_ratio: Measured
    muscle_ratio: Measured
    drift: Measured


class AdaptationStatus(BaseModel):
    """State of the online alignment; ``drift`` is its Riemannian distance from where it first was ready.

    ``alarm`` is true once two minutes of rest were not learnt from, ``rest_left_out_s`` these seconds.
    """

    kind: str
    ready: bool
    frozen: bool
    good_seconds: float
    drift: float
    alarm: bool = False
    rest_left_out_s: float = 0.0


class DecoderAdaptationStatus(BaseModel):
    """State of a decoder that learns from the signal.

    ``drift`` is the symmetric Kullback-Leibler divergence of its BatchNorms' statistics from the bundle's, mean
    over features.
    """

    kind: Literal["bn", "entropy"]
    frozen: bool
    steps: int
    drift: float


class DecisionStatus(BaseModel):
    """A decision, and the seconds since it was published."""

    model_config = ConfigDict(serialize_by_alias=True)

    label: str = Field(alias="class")
    seq: int
    time: Measured
    confidence: float
    age_s: float


class ControlStatus(BaseModel):
    """State of the controller, hash of its policy, and the decisions since the stream started, by class."""

    state: ControlState
    paused: bool
    hash: str
    decisions: dict[str, int]
    last: DecisionStatus | None


class SentMarker(BaseModel):
    """A marker that a program sends: label, time in seconds of LSL's clock, and how uncertain the time is.

    `id` is chosen by the sender; a second marker with the same one is taken for the first.
    """

    model_config = ConfigDict(extra="forbid")

    label: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
    time: FiniteFloat
    uncertainty_ms: Annotated[FiniteFloat, Field(ge=0)] | None = None
    id: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)] | None = None


class ClientClock(BaseModel):
    """Clock of a client, as measured: LSL time in seconds is `offset_s` plus the client's own, at the present.

    `jump` is true if the client's clock, or the service's, has just jumped.
    """

    model_config = ConfigDict(extra="forbid")

    offset_s: FiniteFloat
    drift_ppm: FiniteFloat
    uncertainty_ms: Annotated[FiniteFloat, Field(ge=0)]
    round_trip_ms: Annotated[FiniteFloat, Field(ge=0)] | None = None
    jump: bool = False


SignalKind = Literal["light", "sound"]


class DelayFound(BaseModel):
    """Delays from the markers to the middle of the channel's first rise, in milliseconds, over those markers that it responded to."""

    markers: int
    responses: int
    median: float
    p05: float
    p95: float
    spread: float


class DelayChannel(BaseModel):
    """A channel, and what its label says that it measures."""

    label: str
    kind: SignalKind | None


class DisplayDelayStatus(BaseModel):
    """A measurement of the display's delay: channels that there are, and what was found so far."""

    channels: list[DelayChannel] = []
    channel: str | None = None
    running: bool = False
    delay_ms: DelayFound | None = None
    problem: str | None = None


class RecordingRequest(BaseModel):
    """Recording to begin: of a participant, as the next run of the day or as a run of a given number."""

    model_config = ConfigDict(extra="forbid")

    participant: Participant
    run: Annotated[int, Field(ge=1, le=999, strict=True)] | None = None
    notes: Annotated[str, Field(max_length=4000)] = ""


class RecordingStatus(BaseModel):
    """A recording while it is written, or as it ended.

    ``file`` is relative to the folder of the sessions, or a name where the recording is of no session; None until there is
    a signal. ``size_bytes`` is what was written so far; ``status``, ``sha256``, ``cues`` and ``problems`` as in ``session.json``.
    """

    recording: bool
    participant: str | None = None
    date: str | None = None
    run: int | None = None
    file: str | None = None
    status: str = "recording"
    started_unix: float | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    cues: dict[str, int] | None = None
    problems: list[str] = []


class StreamStatus(BaseModel):
    """Content of ``/v1/streams/{stream}``.

    ``has_model`` is false for a stream that runs without a model: it has signal, quality, markers and recordings, its
    ``classes`` are empty and no prediction is valid. ``valid_in_s`` is how long it still takes until a prediction can be valid, if the signal is good from now on, in
    seconds; ``other_models`` the hashes of models that are on their way into use or can come back; ``recording`` the name of the file that is being written, ``to_record`` true while there should be one,
    ``free_bytes`` what the disk of recordings has left; ``hung`` is true from when the loop did not move
    until it has shown that it does; ``loop_load`` the share of its time in which the loop works that runs the stream.
    """

    name: str
    state: StreamState
    state_reason: str
    state_since_unix: float
    ready: bool
    source: SourceStatus | None
    model: ModelStatus
    has_model: bool = True
    other_models: list[str] = []
    classes: list[str]
    channels: list[str]
    sfreq: float
    window_samples: int
    hop_samples: int
    resampler_delay_ms: float
    settling_ms: float
    counters: Counters
    clock_offset_s: float | None = None
    drift_ppm: float | None = None
    effective_rate: float | None = None
    last_prediction_age_s: float | None = None
    valid_in_s: float | None = None
    recording: str | None = None
    to_record: bool = False
    free_bytes: int | None = None
    hung: bool = False
    loop_load: float | None = None
    latency_ms: dict[str, float] = {}
    adaptation: AdaptationStatus | None = None
    decoder_adaptation: DecoderAdaptationStatus | None = None
    control: ControlStatus | None = None
    quality: list[ChannelStatus] = []


class Sink:
    """Receiver of what a stream publishes; a class that inherits it ignores what it does not override.

    Called from the stream's own thread; must neither block nor raise.
    """

    def publish(self, prediction: Prediction) -> None:
        """Take one prediction."""

    def event(self, event: Event) -> None:
        """Take one event."""

    def shadow(self, prediction: Prediction) -> None:
        """Take one prediction of a model that runs in the shadow of the one in use."""

    def signal(self, times: NDArray[np.float64], samples: NDArray[np.floating[Any]]) -> None:
        """Take conditioned samples, ``(n_samples, n_channels)`` in the contract's unit, for display."""

    def close(self) -> None:
        """Give everything back."""
