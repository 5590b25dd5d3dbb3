"""Markers of a participant's page or of another program, the state of its clock, and its display's delay, over REST."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from mindwire.api.routes import OneStream, problem
from mindwire.api.streams import StreamLike
from mindwire.errors import ConflictError, SourceError, UsageError
from mindwire.status import ClientClock, DisplayDelayStatus, SentMarker

_STREAM = "/v1/streams/{stream}"
_NO_STREAM = problem("There is no such stream.")

markers = APIRouter(tags=["markers"], responses={"4XX": problem("The request is refused.")})


class MarkersRequest(BaseModel):
    """Markers with their times, which are published together or not at all."""

    model_config = ConfigDict(extra="forbid")

    markers: Annotated[list[SentMarker], Field(min_length=1, max_length=100)]


class MarkersAccepted(BaseModel):
    """Number of markers that are published now, those that had been before included; these are also `repeated`."""

    accepted: int
    repeated: int = 0


# Without `async`: the first one opens an outlet.
@markers.post(
    f"{_STREAM}/markers",
    status_code=202,
    responses={
        404: _NO_STREAM,
        409: problem("The stream publishes nothing on LSL, or has ended."),
        422: problem("The body is not what was expected, or a time is too far from now; nothing is published."),
    },
)
def send_markers(stream: OneStream, request: MarkersRequest) -> MarkersAccepted:
    """Publish markers at their times: on the LSL outlet `Mindwire-{stream}-Markers`, to websocket clients, and in the recording.

    A client that does not know if a request arrived sends it again: markers whose `id` has been taken are not doubled.
    """
    try:
        new = stream.markers.take(request.markers)
    except ConflictError as error:
        raise HTTPException(409, str(error)) from error
    except UsageError as error:
        raise HTTPException(422, str(error)) from error
    return MarkersAccepted(accepted=len(request.markers), repeated=len(request.markers) - new)


@markers.post(
    f"{_STREAM}/clock",
    status_code=202,
    responses={404: _NO_STREAM, 422: problem("The body is not what was expected.")},
)
def report_clock(stream: OneStream, clock: ClientClock) -> ClientClock:
    """Have the measured clock of a client recorded among the stream's events."""
    stream.markers.report_clock(clock)
    return clock


class DelayRequest(BaseModel):
    """Measurement of the time from markers with a label until a channel of the signal, a photodiode for example, responds."""

    model_config = ConfigDict(extra="forbid")

    channel: Annotated[str, Field(min_length=1, max_length=200)]
    marker: Annotated[str, Field(min_length=1, max_length=200)] = "patch_on"
    seconds: Annotated[FiniteFloat, Field(ge=1, le=300)] = 60


_DELAY = f"{_STREAM}/display_delay"
_NO_SOURCE = problem("The stream has no signal, or nothing is measured.")


@markers.get(_DELAY, responses={404: _NO_STREAM})
def show_display_delay(stream: OneStream) -> DisplayDelayStatus:
    """The signal's channels, and what was found so far by the measurement that was begun last."""
    from mindwire.sources.display_delay import channels_of

    if (delay := stream.markers.delay) is not None:
        return delay.status()
    source = stream.status().source
    return DisplayDelayStatus(channels=[] if source is None else channels_of(source))


@markers.post(
    _DELAY,
    status_code=202,
    responses={404: _NO_STREAM, 409: _NO_SOURCE, 422: problem("The signal has no such channel.")},
)
def begin_display_delay(stream: OneStream, request: DelayRequest) -> DisplayDelayStatus:
    """Measure from now on, instead of what was measured before, how long after markers a channel of the signal responds."""
    from mindwire.sources.display_delay import DisplayDelay

    if (source := stream.status().source) is None:
        raise HTTPException(409, f"Stream {stream.name!r} has no signal now, so there is no channel to measure with.")
    try:
        delay = DisplayDelay(source, request.channel, request.marker, request.seconds)
    except SourceError as error:
        raise HTTPException(422, str(error)) from error
    stream.markers.measure(delay)
    return delay.status()


@markers.delete(_DELAY, responses={404: _NO_STREAM, 409: _NO_SOURCE})
def end_display_delay(stream: OneStream) -> DisplayDelayStatus:
    """End the measurement; its result is recorded as an event of kind `clock`."""
    if (status := _end(stream)) is None:
        raise HTTPException(409, f"Nothing is measured with stream {stream.name!r}.")
    if (found := status.delay_ms) is not None:
        message = (
            f"The display shows stimuli {found.median:.1f} ms after their markers, by the channel {status.channel}."
        )
        stream.markers.show("clock", message, {"channel": status.channel, "display_delay_ms": found.model_dump()})
    return status


def _end(stream: StreamLike) -> DisplayDelayStatus | None:
    delay = stream.markers.measure(None)
    return None if delay is None else delay.status().model_copy(update={"running": False})
