"""REST of the models: those in use, those in the service's folder, uploads and deletion."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Annotated, Any, Final, NoReturn, Protocol

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from mindwire.api.limits import MAX_UPLOAD_BYTES
from mindwire.api.routes import AllStreams, problem
from mindwire.api.streams import Streams
from mindwire.errors import MindwireError, ModelConflictError, UnknownModelError
from mindwire.status import ModelStatus
from mindwire_models.training_record import TrainingRecord

NO_FOLDER: Final = "The service has no folder for models; start it with --models DIR or --sessions DIR."
_ZIP = "application/zip"
_UPLOAD_LIMIT = f"{MAX_UPLOAD_BYTES >> 20} MiB"


class PolicySummary(BaseModel):
    """A bundle's control policy: its hash and, where it was tuned, false activations per minute allowed and proven."""

    hash: str
    budget_per_minute: float | None = None
    proven_per_minute: float | None = None


class StoredModel(BaseModel):
    """A bundle of the folder.

    ``error`` is the sentence that refuses it, and nothing else but ``id`` is then known. ``contract`` leaves out the
    filters' coefficients and matrices; ``lineage`` is the record of its training, if there is one.
    """

    id: str
    name: str
    sha256: str = ""
    classes: list[str] = []
    notice: str = ""
    error: str | None = None
    contract: dict[str, Any] | None = None
    policy: PolicySummary | None = None
    lineage: TrainingRecord | None = None
    card: str | None = None


class ListedModel(StoredModel, ModelStatus):
    """A model in use, in the folder, or both; ``id`` is null outside the folder, ``engine`` empty while it is not in use."""

    id: str | None = None  # type: ignore[assignment]
    name: str
    sha256: str = ""
    engine: str = ""
    device: str = ""
    engine_reason: str = ""
    notice: str = ""
    streams: list[str] = []


class Models(Protocol):
    """The folder of models as the API needs it; all may take a while and is called from threads."""

    @property
    def folder(self) -> Path | None:
        """The folder, None if the service has none."""

    def list(self) -> list[StoredModel]:
        """Return the bundles of the folder as it is now, sorted by id."""

    def add(self, archive: IO[bytes], reference: str | None = None) -> tuple[StoredModel, bool]:
        """Unpack, verify and keep a bundle; returns it, and false if it was there before."""

    def delete(self, reference: str, users: Sequence[str]) -> None:
        """Remove a bundle that no stream uses."""


router = APIRouter(prefix="/v1/models", tags=["models"], responses={"4XX": problem("The request is refused.")})


def _folder_of(request: Request) -> Models:
    models: Models | None = request.app.state.models
    if models is None or models.folder is None:
        raise HTTPException(409, NO_FOLDER)
    return models


@router.get("")
def list_models(request: Request, streams: AllStreams) -> list[ListedModel]:
    """The models in use, each with its engine, device and streams, and those in the service's folder.

    A bundle that cannot be used is listed with the reason as `error`.
    """
    models: Models | None = request.app.state.models
    stored = [] if models is None or models.folder is None else models.list()
    used = _in_use(streams)
    listed = []
    for model in stored:
        uses = [use for use in used if use.sha256 == model.sha256]
        listed += [_listed(model, use) for use in uses or (None,)]
    known = {model.sha256 for model in stored}
    return listed + [use for use in used if use.sha256 not in known]


def _in_use(streams: Streams) -> list[ListedModel]:
    models: dict[tuple[str, str, str], ListedModel] = {}
    for stream in streams.values():
        status = stream.status()
        if not status.model.exists:
            continue
        model = ListedModel(**status.model.model_dump(), classes=status.classes)
        models.setdefault((model.sha256, model.engine, model.device), model).streams.append(status.name)
    return list(models.values())


def _listed(model: StoredModel, use: ListedModel | None) -> ListedModel:
    fields = model.model_dump()
    if use is not None:
        fields |= use.model_dump(include={"engine", "device", "engine_reason", "streams"})
    return ListedModel.model_validate(fields)


@router.post(
    "",
    status_code=201,
    responses={
        200: {"description": "The same bundle was there before.", "model": StoredModel},
        409: problem("The service has no folder for models, or another model has this id."),
        413: problem(f"The archive is larger than {_UPLOAD_LIMIT}."),
        415: problem(f"The body is not {_ZIP}."),
        422: problem("It is no archive of a bundle, or the bundle is damaged or not safe."),
        429: problem("Another upload is in progress."),
    },
    openapi_extra={
        "requestBody": {"required": True, "content": {_ZIP: {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def upload(
    request: Request,
    response: Response,
    id: Annotated[  # noqa: A002 - the parameter's name
        str | None, Query(description="Id to keep it under; by default its folder's name, or its own.")
    ] = None,
) -> StoredModel:
    """Keep a bundle, sent as one ZIP archive, under an id; verified before it is listed, and nothing is overwritten."""
    models = _folder_of(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().casefold() != _ZIP:
        raise HTTPException(
            415, f"Expected a ZIP archive of a bundle with the header 'Content-Type: {_ZIP}'; see /docs."
        )
    one: asyncio.Lock = request.app.state.upload
    if one.locked():
        raise HTTPException(429, "Another upload is in progress; try again when it has ended.", {"Retry-After": "5"})
    async with one:
        try:
            with tempfile.TemporaryFile(dir=models.folder) as archive:
                async for piece in request.stream():
                    archive.write(piece)
                model, new = await asyncio.to_thread(models.add, archive, id)
        except ClientDisconnect:
            raise HTTPException(400, "The upload ended before it was complete.") from None
        except OSError as error:
            raise HTTPException(507, f"The model cannot be kept ({error.strerror}); nothing is changed.") from error
        except MindwireError as error:
            _refuse(error)
    response.status_code = 201 if new else 200
    return model


@router.delete("/{model}", status_code=204, responses={409: problem("The model is in use.")})
def delete(request: Request, model: str, streams: AllStreams) -> None:
    """Delete a model of the service's folder that no stream uses, is about to use, or can go back to."""
    models = _folder_of(request)
    found = next((one for one in models.list() if one.id == model), None)
    held = {
        status.name: {status.model.sha256, *status.other_models} for status in (s.status() for s in streams.values())
    }
    try:
        models.delete(model, [name for name, hashes in held.items() if found is not None and found.sha256 in hashes])
    except MindwireError as error:
        _refuse(error)


def _refuse(error: MindwireError) -> NoReturn:
    status = 404 if isinstance(error, UnknownModelError) else 409 if isinstance(error, ModelConflictError) else 422
    raise HTTPException(status, str(error)) from error
