"""REST for streams as configuration: added, changed and removed while the others run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel

from mindwire.api.registry import Registry, registry_of
from mindwire.api.routes import problem
from mindwire.api.streams import streams_of, unknown_stream
from mindwire.config import StreamSpec, stream_spec
from mindwire.errors import ConflictError, MindwireError, ServiceError

router = APIRouter(prefix="/v1", tags=["configuration"], responses={"4XX": problem("The request is refused.")})

T = TypeVar("T")

_SURVEY_S = 1.0
_SOURCE = ("name", "type", "source_id", "hostname", "uid", "n_channels", "labels", "units", "sfreq")
_NO_STREAM = problem("There is no such stream.")
_WRONG = problem("A field is wrong, or the stream cannot be run so; nothing is changed.")
_NOT_KEPT = problem("The settings file cannot be written; nothing is changed.")
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{StreamSpec.__name__}"}}},
    }
}
_Registry = Annotated[Registry, Depends(registry_of)]
_Check = Annotated[bool, Query(description="Only check the request; nothing is changed.")]
_Name = Annotated[str, Path(alias="stream", description="Name of the stream.")]


class SourceOnNetwork(BaseModel):
    """An LSL stream on the network, and the streams of this service that are connected to it."""

    name: str
    type: str
    source_id: str
    hostname: str
    uid: str
    n_channels: int
    labels: list[str] | None
    units: list[str] | None
    sfreq: float
    format: str
    streams: list[str]


@router.post(
    "/streams",
    status_code=201,
    response_model=StreamSpec,
    responses={409: problem("The name is taken."), 422: _WRONG, 503: _NOT_KEPT},
    openapi_extra=_BODY,
)
async def add_stream(registry: _Registry, request: Request, check: _Check = False) -> Response:  # noqa: FBT002
    """Add a stream and begin it.

    `model` is one of those that `/v1/models` lists, `control` a policy document or `"none"`. Paths of files are not
    taken over REST.
    """
    fields = await _fields(await request.body(), registry)

    given = {key: value for key, value in fields.items() if value is not None}

    async def add() -> StreamSpec:
        return await registry.add(stream_spec(given), check=check)

    spec = await carried_out(add())
    return _json(spec.to_json(), 201)


@router.patch(
    "/streams/{stream}",
    response_model=StreamSpec,
    responses={404: _NO_STREAM, 422: _WRONG, 503: _NOT_KEPT},
    openapi_extra=_BODY,
)
async def change_stream(registry: _Registry, stream: _Name, request: Request, check: _Check = False) -> Response:  # noqa: FBT002
    """Change the fields that the body names; null takes the stream's own value away.

    A running stream takes another `control`, `paused` and `osc`. With any other field it ends and begins again; its
    clients are closed with the code 1012 and connect again.
    """
    fields = await _fields(await request.body(), registry)
    return _json((await carried_out(registry.change(stream, fields, check=check), stream, request)).to_json())


@router.delete("/streams/{stream}", status_code=204, responses={404: _NO_STREAM, 503: _NOT_KEPT})
async def remove_stream(registry: _Registry, stream: _Name, request: Request) -> Response:
    """End a stream and its recording; its clients are notified and closed."""
    await carried_out(registry.remove(stream), stream, request)
    return Response(status_code=204)


@router.get("/streams/{stream}/config", response_model=StreamSpec, responses={404: _NO_STREAM})
async def show_stream_config(registry: _Registry, stream: _Name, request: Request) -> Response:
    """The stream's description: what its source must be, and its own values of general settings."""
    for spec in registry.settings.stream:
        if spec.id == stream:
            return _json(spec.to_json())
    raise HTTPException(404, unknown_stream(stream, streams_of(request)))


@router.get("/config", response_model=dict[str, Any])
async def show_config(
    registry: _Registry,
    request: Request,
    form: Annotated[
        str, Query(alias="format", description="`toml` for the settings file as it would be written.")
    ] = "",
) -> Response:
    """The settings in force without tokens; as a settings file with `Accept: application/toml`."""
    if form == "toml" or "application/toml" in request.headers.get("accept", ""):
        return Response(registry.settings.to_toml(), media_type="application/toml")
    return _json(registry.settings.to_json())


@router.get("/sources", response_model=list[SourceOnNetwork])
async def list_sources(request: Request) -> Response:
    """The LSL streams that answer within a second or two; concurrent requests share one search."""
    state = request.app.state
    if getattr(state, "survey", None) is None or state.survey.done():
        state.survey = asyncio.create_task(asyncio.to_thread(_survey))
    found = await asyncio.shield(state.survey)
    await state.refresh()
    used: dict[str, list[str]] = {}
    for stream in streams_of(request).values():
        if (source := stream.status().source) is not None:
            used.setdefault(source.uid, []).append(stream.name)
    return _json([one | {"streams": used.get(one["uid"], [])} for one in found])


def _survey() -> list[dict[str, Any]]:
    from mindwire.errors import ResourceError
    from mindwire.sources.lsl_discovery import survey

    try:
        infos = survey(_SURVEY_S)
    except ResourceError as error:
        raise HTTPException(503, str(error)) from error
    return [{name: getattr(info, name) for name in _SOURCE} | {"format": info.dtype} for info in infos]


async def _fields(body: bytes, registry: Registry) -> dict[str, Any]:
    """Return the fields of a request; a client may not name paths, so that it reaches no file that is none of its business."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(422, f"The body is not valid JSON ({error}).") from error
    if not isinstance(fields, dict):
        raise HTTPException(422, "Expected a JSON object as the body; see /docs.")
    if registry.trusted:
        return fields
    if fields.get("adaptation_state") is not None:
        raise HTTPException(422, "adaptation_state: paths are not taken over REST; name the file in the settings.")
    if isinstance(control := fields.get("control"), str) and control != "none":
        raise HTTPException(422, 'control: expected a policy document, "none" or null; paths are not taken over REST.')
    if (model := fields.get("model")) is not None:
        if not isinstance(model, str):
            raise HTTPException(422, "model: expected text.")
        try:
            fields["model"] = str(await asyncio.to_thread(registry.model_path, model))
        except MindwireError as error:
            raise HTTPException(422, f"model: {error}") from error
    return fields


async def carried_out(change: Awaitable[T], stream: str = "", request: Request | None = None) -> T:
    """Return the result of a change; refuse the request if it is not carried out."""
    try:
        return await change
    except KeyError as error:
        assert request is not None  # noqa: S101 - only a stream that is named can be unknown
        raise HTTPException(404, unknown_stream(stream, streams_of(request))) from error
    except ConflictError as error:
        raise HTTPException(409, str(error)) from error
    except ServiceError as error:
        raise HTTPException(503, str(error)) from error
    except MindwireError as error:
        raise HTTPException(422, str(error)) from error


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
