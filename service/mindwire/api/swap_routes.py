"""The model of a running stream: changed, compared in the shadow, promoted, dropped and rolled back over REST."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from mindwire.api.config_routes import carried_out
from mindwire.api.registry import registry_of
from mindwire.api.routes import OneStream, problem
from mindwire.api.streams import StreamLike, streams_of
from mindwire.errors import MindwireError, ModelConflictError
from mindwire.live.loaded_model import ModelSwapStatus, When

_MODEL = "/v1/streams/{stream}/model"
_NO_STREAM = problem("There is no such stream.")
_CONFLICT = problem("Another change is under way, or there is nothing to promote, drop or go back to.")

swaps = APIRouter(tags=["models"], responses={"4XX": problem("The request is refused.")})


class SwapRequest(BaseModel):
    """A model of `/v1/models` by its id; it takes over when it is ready, or runs in the shadow until it is promoted."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=4096)]
    when: When = "ready"


@swaps.get(_MODEL, responses={404: _NO_STREAM})
def show_swap(stream: OneStream) -> ModelSwapStatus:
    """The model in use, the candidate with what is known of it, and the model before while it is kept warm."""
    return stream.swap.status()


@swaps.post(
    _MODEL,
    status_code=202,
    responses={404: _NO_STREAM, 409: _CONFLICT, 422: problem("There is no such model, or it cannot be used.")},
)
async def swap_model(stream: OneStream, request: Request, wanted: SwapRequest) -> ModelSwapStatus:
    """Load a model while the stream goes on; events of kind `model` say what becomes of it.

    If it cannot be loaded, has other classes, is too slow or does not become valid in time, the present model stays. A
    stream without a model begins again with its first one; clients are closed with the code 1012 and connect again.
    """
    registry = registry_of(request)
    try:
        path = await asyncio.to_thread(registry.model_path, wanted.model)
    except MindwireError as error:
        raise HTTPException(422, str(error)) from error
    if not stream.swap.status().in_use.exists:
        return await _first_model(stream, request, path, wanted.when)
    return _answer(stream, lambda: stream.swap.request(path, wanted.when))


@swaps.post(f"{_MODEL}/promote", status_code=202, responses={404: _NO_STREAM, 409: _CONFLICT})
async def promote_model(stream: OneStream) -> ModelSwapStatus:
    """Let the candidate take over, as soon as its predictions are valid."""
    return _answer(stream, stream.swap.promote)


@swaps.post(f"{_MODEL}/drop", status_code=202, responses={404: _NO_STREAM, 409: _CONFLICT})
async def drop_model(stream: OneStream) -> ModelSwapStatus:
    """End the candidate; the present model stays."""
    return _answer(stream, stream.swap.drop)


@swaps.post(f"{_MODEL}/rollback", status_code=202, responses={404: _NO_STREAM, 409: _CONFLICT})
async def roll_back_model(stream: OneStream) -> ModelSwapStatus:
    """Use the model before again, from the next window on; possible for five minutes after a change."""
    return _answer(stream, stream.swap.rollback)


def check_first_model(stream: StreamLike, when: When = "ready") -> None:
    """Raise ModelConflictError if a stream that has no model cannot begin again with its first one now."""
    if when == "shadow":
        msg = f"Stream {stream.name!r} has no model yet that another could be compared with; change it with 'when': 'ready'."
        raise ModelConflictError(msg)
    if stream.recordings.recorder is not None:
        msg = f"Stream {stream.name!r} is being recorded without a model; end that recording before it gets its first one."
        raise ModelConflictError(msg)


async def _first_model(stream: OneStream, request: Request, path: Path, when: When) -> ModelSwapStatus:
    """Begin a stream that has no model again with its first one."""
    try:
        check_first_model(stream, when)
    except ModelConflictError as error:
        raise HTTPException(409, str(error)) from error
    await carried_out(registry_of(request).change(stream.name, {"model": str(path)}), stream.name, request)
    return streams_of(request)[stream.name].swap.status()


def _answer(stream: OneStream, action: Callable[[], None]) -> ModelSwapStatus:
    try:
        action()
    except ModelConflictError as error:
        raise HTTPException(409, str(error)) from error
    return stream.swap.status()
