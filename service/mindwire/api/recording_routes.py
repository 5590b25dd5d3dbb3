"""Recordings of streams, begun and ended over REST."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException
from starlette.requests import Request

from mindwire.api.routes import OneStream, problem
from mindwire.api.streams import StreamLike
from mindwire.errors import MissingExtraError, RecordingError
from mindwire.status import RecordingRequest, RecordingStatus

_RECORDING = "/v1/streams/{stream}/recording"
_NO_STREAM = problem("There is no such stream.")

recordings = APIRouter(tags=["streams"], responses={"4XX": problem("The request is refused.")})


@recordings.get(_RECORDING, responses={404: _NO_STREAM})
def show_recording(stream: OneStream) -> RecordingStatus:
    """The recording that is being written; `recording` is false where none is."""
    return stream.recordings.status() or RecordingStatus(recording=False, status="none")


# Without `async`, as is the end: both wait for LabRecorder.
@recordings.post(
    _RECORDING,
    status_code=201,
    responses={
        404: _NO_STREAM,
        409: problem(
            "The stream is being recorded already, the session by another service, or nothing can be written."
        ),
        422: problem("The body is not what was expected."),
        503: problem("LabRecorder is not installed."),
    },
)
def begin_recording(stream: OneStream, request: Request, wanted: RecordingRequest) -> RecordingStatus:
    """Begin a recording in the session of a participant, today's; answered once LabRecorder receives samples.

    The pipeline begins again, with what it had learnt of the person: predictions are valid again once filters and window
    have settled. The settings keep the participant: a stream that begins again after a crash is recorded again, as the next run.
    """
    try:
        status = stream.recordings.begin(wanted)
    except RecordingError as error:
        raise HTTPException(409, str(error)) from error
    except MissingExtraError as error:
        raise HTTPException(503, str(error)) from error
    _note(request, stream, wanted.participant)
    return status


@recordings.delete(_RECORDING, responses={404: _NO_STREAM, 409: problem("The stream is not being recorded.")})
def end_recording(stream: OneStream, request: Request) -> RecordingStatus:
    """End the recording; answered once its file is complete, read through and hashed. Nothing is deleted."""
    try:
        status = stream.recordings.end()
    except RecordingError as error:
        raise HTTPException(409, str(error)) from error
    _note(request, stream, None)
    return status


def _note(request: Request, stream: StreamLike, participant: str | None) -> None:
    """Keep who is recorded, so that the stream goes on being recorded after a crash."""
    if (registry := request.app.state.registry) is not None:
        registry.note(stream.name, participant=participant)
