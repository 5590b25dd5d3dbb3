"""Details of the events on the websocket, by kind, for the AsyncAPI document.

What sends an event builds them as a plain mapping, because sources, pipeline and live loop know no messages; the tests
check every event that they see against these types. Fields that are not required are left out where they say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Required, TypedDict

from mindwire.sinks.message_types import Policy
from mindwire.status import StreamState


class _OfPipeline(TypedDict, total=False):
    pipeline: int  # number of the pipeline that it concerns, unless that is the stream's first


class StateData(TypedDict, total=False):
    """The state that begins, and the one before."""

    state: Required[StreamState]
    previous: StreamState


class ValidityData(TypedDict):
    """Change of the predictions' validity or reasons, from the window `seq` on."""

    valid: bool
    reasons: list[str]
    seq: int


class GapData(_OfPipeline, total=False):
    """Interruption, or further ones together; `bridged` if the signal goes on without a new segment."""

    seconds: Required[float]
    count: Required[int]
    bridged: bool
    reasons: list[str]


class RateData(_OfPipeline):
    """`nominal`, `off` or `wrong` rate by the time stamps, beside the one stated, in hertz."""

    state: str
    effective_rate: float | None
    sfreq: float


class AmplitudeData(_OfPipeline):
    """Signal `factor` times the size of EEG, and the unit that would fit instead of the one taken, or null."""

    factor: float
    taken: str
    unit: str | None


class SkippedData(TypedDict):
    """Windows of a backlog that were skipped."""

    windows: int
    seconds: float


class OverloadData(TypedDict):
    """Share of its time that the live loop worked."""

    load: float


class RefusedData(TypedDict):
    """Nothing; the message says what was refused."""


class ModelData(TypedDict, total=False):
    """Step of a change of the model."""

    state: Required[str]
    name: Required[str]
    sha256: str
    when: str
    reason: str
    seq: int
    pipeline: int
    samples: int
    carried: list[str]
    model: dict[str, Any] | None
    options: dict[str, Any]
    software: dict[str, Any]


class ControlData(_OfPipeline):
    """Change of the control policy or of its pause, whichever is not null, and the first prediction it applies to."""

    seq: int | None
    time: float | None
    paused: bool | None
    policy: Policy | None
    hash: str | None


class AdaptationData(_OfPipeline, total=False):
    """Command to the adaptation, alarm of it, or its saving."""

    action: str
    segment: int
    at: int
    updates: int
    steps: int
    drift: float | None
    decoder_drift: float | None
    alarm: bool
    left_out_s: float
    saved: bool


class ErrorData(_OfPipeline, total=False):
    """Whatever the error concerns."""

    failures: int
    hung: bool
    reasons: list[str]
    seq: int
    count: int
    sink: str
    osc: str
    recording: bool
    missing: list[str]
    free_bytes: int


class RecordingData(TypedDict, total=False):
    """Beginning or end of a recording, with what repeats the run."""

    recording: bool
    ends: float | None
    time: float
    begins: bool
    first_seq: int
    file: str
    clock_offset: float
    source: dict[str, Any]
    state: list[str] | None
    policy: Policy | None
    control: list[Any]
    model: dict[str, Any] | None
    options: dict[str, Any]
    software: dict[str, Any]


class TaskData(TypedDict, total=False):
    """Change of a task, and the outcome of a trial."""

    number: Required[int]
    state: Required[str]
    next: Required[int | None]
    problem: Required[str | None]
    trial: dict[str, Any]


class MarkerData(TypedDict, total=False):
    """Marker with its LSL time in seconds and the name of the stream of markers."""

    label: Required[str]
    time: Required[float]
    source: Required[str]
    uncertainty_ms: float | None


class ClockData(TypedDict, total=False):
    """Clock of a client beside LSL's, or the measured delay of a display."""

    offset_s: float
    drift_ppm: float
    uncertainty_ms: float
    round_trip_ms: float | None
    jump: bool
    channel: str | None
    display_delay_ms: dict[str, float]


class DroppedData(TypedDict):
    """Messages that this client missed since the last such event, and in all."""

    count: int
    total: int


EVENT_DATA: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "state": StateData,
        "validity": ValidityData,
        "gap": GapData,
        "clock_reset": GapData,
        "rate": RateData,
        "amplitude": AmplitudeData,
        "skipped": SkippedData,
        "overload": OverloadData,
        "refused": RefusedData,
        "model": ModelData,
        "control": ControlData,
        "adaptation": AdaptationData,
        "error": ErrorData,
        "recording": RecordingData,
        "task": TaskData,
        "marker": MarkerData,
        "cue": MarkerData,
        "clock": ClockData,
        "dropped": DroppedData,
    }
)
