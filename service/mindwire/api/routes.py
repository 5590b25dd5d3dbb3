"""REST under ``/v1``, the health of the service, and the sentences for requests that cannot be understood."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError
from starlette.responses import JSONResponse

from mindwire.api.guard import RIGHT, TRUSTED, Right
from mindwire.api.streams import StreamLike, Streams, streams_of, unknown_stream
from mindwire.control.policy import ControlPolicy
from mindwire.control.setting import ControlSetting, changed_policy
from mindwire.errors import ContractError, PolicyError
from mindwire.options import AdaptationCommand
from mindwire.status import StreamState, StreamStatus


class Problem(BaseModel):
    """Problem and remedy in one sentence."""

    detail: str


class EventMessage(BaseModel):
    """Event as websocket clients get it."""

    kind: str
    stream: str
    message: str
    unix_time: float
    data: dict[str, Any]


class ClientAccess(BaseModel):
    """``control`` is false for a client whose token only reads."""

    control: bool


class Liveness(BaseModel):
    """True while the process answers and the loop of at least one of its streams moves."""

    alive: bool = True
    reason: str | None = None


class StreamReadiness(BaseModel):
    """True while one stream's predictions are fresh, with the state that says why."""

    ready: bool
    state: StreamState
    reason: str


class Readiness(BaseModel):
    """Ready only while the predictions of every stream are fresh; without the token nothing more is said."""

    ready: bool
    reason: str = ""
    streams: dict[str, StreamReadiness] = {}


def problem(description: str) -> dict[str, Any]:
    """A response for the documentation, with a :class:`Problem` as its body.

    The first use of the model describes it for all: a model for each response of each route would take a tenth of the start.
    """
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


async def _streams(request: Request) -> Streams:
    await request.app.state.refresh()
    return streams_of(request)


AllStreams = Annotated[Streams, Depends(_streams)]


async def one_stream(request: Request, stream: Annotated[str, Path(description="Name of the stream.")]) -> StreamLike:
    """Return the stream that a path names."""
    streams = streams_of(request)
    if (found := streams.get(stream)) is None:
        raise HTTPException(404, unknown_stream(stream, streams))
    return found


OneStream = Annotated[StreamLike, Depends(one_stream)]

_REFRESH_S = 0.5
# Pause between the streams of an answer about all of them, so that it does not delay predictions, and all pauses at most.
_BETWEEN_STREAMS_S, _ALL_STREAMS_S = 0.005, 0.6
# What the guard, the limits and the routes answer to requests that they refuse.
_REFUSED = problem("The request is refused.")
_NO_STREAM = problem("There is no such stream.")
v1 = APIRouter(prefix="/v1", responses={"4XX": _REFUSED})
health = APIRouter(tags=["health"])


@v1.get("/access", tags=["access"], responses={401: {"model": Problem}})
async def show_access(request: Request) -> ClientAccess:
    """Right of this client: to change something, or only to read."""
    return ClientAccess(control=request.scope[RIGHT] is Right.CONTROL)


@v1.get("/streams", tags=["streams"], response_model=list[StreamStatus])
async def list_streams(streams: AllStreams) -> Response:
    """All streams with state, source, model, counters and latency."""
    pause = min(_BETWEEN_STREAMS_S, _ALL_STREAMS_S / max(1, len(streams)))
    parts = []
    for stream in streams.values():
        parts.append(stream.status().model_dump_json())
        await asyncio.sleep(pause)
    return Response(f"[{','.join(parts)}]", media_type="application/json")


# Without `async`, so that a stream that answers late does not keep the event loop from its clients.
@v1.get("/streams/{stream}", tags=["streams"], responses={404: _NO_STREAM})
def show_stream(stream: OneStream) -> StreamStatus:
    """One stream."""
    return stream.status()


@v1.get("/streams/{stream}/events", tags=["streams"], responses={404: _NO_STREAM})
async def list_events(stream: OneStream) -> list[EventMessage]:
    """The stream's last events, oldest first, at most 200."""
    return [EventMessage.model_validate(event, from_attributes=True) for event in stream.hub.recent_events()]


def _number(value: Any) -> Any:
    """Refuse what JSON does not call a number, ``false`` and ``"3"`` for example."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        kind = "int_type"
        raise PydanticCustomError(kind, "Input should be an integer")
    return value


_Count = Annotated[int, BeforeValidator(_number), Field(ge=0, le=600)]


class AdaptationRequest(BaseModel):
    """Command for a stream's online adaptation.

    A rollback takes back ``updates`` of the alignment and ``steps`` of the decoder's own adaptation, as far as they are
    remembered: at most 600, and no more than 2 MiB hold. The event has the numbers taken back.
    """

    action: Literal["freeze", "resume", "rollback", "save"]
    updates: _Count = 0
    steps: _Count = 0


@v1.post(
    "/streams/{stream}/adaptation",
    status_code=202,
    tags=["streams"],
    responses={
        400: problem("The request or its body cannot be read."),
        404: _NO_STREAM,
        409: problem("There is nothing to command."),
        413: problem("The body is larger than 64 KiB."),
        422: problem("The body is not what was expected."),
    },
)
async def adapt(stream: OneStream, request: AdaptationRequest) -> AdaptationRequest:
    """Freeze, resume, roll back or save the adaptation; reported as an event, all but saving carried out between two chunks."""
    try:
        if request.action == "save":
            await asyncio.to_thread(stream.save_adaptation)
        else:
            stream.command(AdaptationCommand(request.action, request.updates, steps=request.steps))
    except ContractError as error:
        raise HTTPException(409, str(error)) from error
    return request


_CONTROL = "/streams/{stream}/control"


def _setting(stream: StreamLike) -> Response:
    return Response(stream.control_setting.model_dump_json(), media_type="application/json")


@v1.get(_CONTROL, tags=["streams"], response_model=ControlSetting, responses={404: _NO_STREAM})
async def show_control(stream: OneStream) -> Response:
    """The stream's control policy, null where it has none, with its hash, and whether control is paused."""
    return _setting(stream)


@v1.put(
    _CONTROL,
    tags=["streams"],
    response_model=ControlSetting,
    responses={
        404: _NO_STREAM,
        413: problem("The body is larger than 64 KiB."),
        422: problem("The result is no valid policy, or does not fit the model; nothing is changed."),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{ControlPolicy.__name__}"}}},
        }
    },
)
async def change_control(stream: OneStream, request: Request) -> Response:
    """Replace the control policy by a document with a `version`, or change the fields that one without it names.

    Carried out between two chunks and reported as an event, which names the first prediction that it applies to.
    """
    body = await request.body()
    try:
        stream.control(changed_policy(stream.control_setting.policy, body))
    except PolicyError as error:
        raise HTTPException(422, str(error)) from error
    return await _kept_setting(stream, request)


_PAUSE_RESPONSES: dict[int | str, dict[str, Any]] = {404: _NO_STREAM, 409: problem("The stream has no control policy.")}


@v1.post(f"{_CONTROL}/pause", tags=["streams"], response_model=ControlSetting, responses=_PAUSE_RESPONSES)
async def pause_control(stream: OneStream, request: Request) -> Response:
    """Make no decisions and hold the axes at zero until control is resumed; predictions go on."""
    return await _paused(stream, request, paused=True)


@v1.post(f"{_CONTROL}/resume", tags=["streams"], response_model=ControlSetting, responses=_PAUSE_RESPONSES)
async def resume_control(stream: OneStream, request: Request) -> Response:
    """Decide again."""
    return await _paused(stream, request, paused=False)


async def _paused(stream: StreamLike, request: Request, *, paused: bool) -> Response:
    if stream.control_setting.policy is None:
        action = "pause" if paused else "resume"
        raise HTTPException(409, f"Stream {stream.name!r} has no control policy; there is nothing to {action}.")
    stream.control(paused=paused)
    return await _kept_setting(stream, request)


async def _kept_setting(stream: StreamLike, request: Request) -> Response:
    """Keep the setting of control in the stream's configuration, and return it."""
    setting, registry = stream.control_setting, request.app.state.registry
    if registry is not None:
        await asyncio.to_thread(registry.note, stream.name, control=setting.policy, paused=setting.paused)
    return _setting(stream)


@health.get(
    "/health/live",
    response_model_exclude_none=True,
    responses={503: {"model": Liveness, "description": "The loops of all streams hang."}},
)
async def live(request: Request, response: Response) -> Liveness:
    """200 as long as the process answers, 503 when the loops of all its streams hang."""
    with suppress(TimeoutError):  # a worker that is slow to answer does not make the service dead
        await asyncio.wait_for(request.app.state.refresh(), _REFRESH_S)
    streams = streams_of(request)
    if streams and all(stream.hung for stream in streams.values()):
        response.status_code = 503
        return Liveness(alive=False, reason="The loops of all streams hang; restart the service.")
    return Liveness()


@health.get(
    "/health/ready",
    response_model_exclude_unset=True,
    responses={503: {"model": Readiness, "description": "Some stream has no fresh predictions."}},
)
def ready(request: Request, streams: AllStreams, response: Response) -> Readiness:
    """200 while the predictions of every stream are fresh, 503 otherwise; the reasons only with the token."""
    seen = [stream.status() for stream in streams.values()]
    waiting = [f"{s.name} ({s.state}: {s.state_reason})" for s in seen if not s.ready]
    fine = bool(seen) and not waiting
    if not fine:
        response.status_code = 503
    if not request.scope.get(TRUSTED, False):
        return Readiness(ready=fine)
    if not seen:
        reason = "No stream is configured."
    elif waiting:
        reason = f"No fresh predictions from: {'; '.join(waiting)}"
    else:
        reason = "All streams deliver fresh predictions."
    each = {s.name: StreamReadiness(ready=s.ready, state=s.state, reason=s.state_reason) for s in seen}
    return Readiness(ready=fine, reason=reason, streams=each)


@health.get("/metrics", response_class=Response)
def metrics(streams: AllStreams) -> Response:
    """Metrics in the Prometheus text format."""
    # imported at the first scrape, so that no start waits for it
    from prometheus_client import CONTENT_TYPE_LATEST

    from mindwire.api.metrics import exposition, service_blocks

    return Response(exposition(streams, service_blocks()), media_type=CONTENT_TYPE_LATEST)


def refuse_invalid(_: Request, error: Exception) -> Response:
    """Answer a request whose parameters or body are not what was expected; the answer repeats nothing of it."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the handler is of no other
    return JSONResponse({"detail": _sentence(error.errors()[0])}, status_code=422)


def _sentence(first: dict[str, Any]) -> str:
    kind, where = first["type"], [str(part) for part in first["loc"]]
    if kind == "json_invalid":
        return f"The body is not valid JSON ({first['ctx']['error']} at character {where[-1]}); see /docs."
    place = f"'{'.'.join(where[1:])}'" if len(where) > 1 else f"the {where[0]}"
    if kind == "missing":
        return f"The request lacks {place}; see /docs."
    if where == ["body"]:
        return "Expected a JSON object as the body, with the header 'Content-Type: application/json'; see /docs."
    if kind == "value_error":
        return f"{place}: {first['ctx']['error']}; see /docs."
    expected = "text" if kind == "string_unicode" else first["msg"].removeprefix("Input should be ")
    if kind.endswith("_than_equal"):
        expected = f"a number {expected}"
    return f"Expected {expected} as {place}; see /docs."
