"""Markers of a participant's page or of another program, and the state of its clock, over REST."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from mindwire.api.routes import OneStream, problem
from mindwire.errors import ConflictError, UsageError
from mindwire.status import ClientClock, SentMarker

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
