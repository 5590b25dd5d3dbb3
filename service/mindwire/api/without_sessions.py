"""Routes of a service without a folder for sessions: what takes one is refused in the sentence that names the option.

They import nothing of sessions, tasks and training before a request needs it, which shortens the start; a test compares
their paths and methods with those of a service with sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import JSONResponse, Response

from mindwire.api.streams import streams_of, unknown_stream
from mindwire.session_names import NO_SESSIONS, TASK_COMMANDS


def _refuse(_: Request) -> Response:
    raise HTTPException(409, NO_SESSIONS)


def _refuse_task(request: Request) -> Response:
    streams, name = streams_of(request), request.path_params["stream"]
    if name not in streams:
        raise HTTPException(404, unknown_stream(name, streams))
    raise HTTPException(409, NO_SESSIONS)


def _list_jobs(_: Request) -> Response:
    return JSONResponse([])


def _refuse_job(request: Request) -> Response:
    raise HTTPException(404, f"There is no job {request.path_params['id']!r}.")


def _list_paradigms(_: Request) -> Response:
    from mindwire.sessions.paradigm_store import list_paradigms

    return JSONResponse([one.model_dump(mode="json") for one in list_paradigms(None)])


async def _check_paradigm(request: Request) -> Response:
    return await asyncio.to_thread(_checked, await request.body())


def _checked(body: bytes) -> Response:
    from mindwire.api.session_routes import checked_paradigm

    return JSONResponse(checked_paradigm(body)[1].model_dump(mode="json"))


_ROUTES: tuple[tuple[str, list[str], Callable[[Request], Awaitable[Response] | Response]], ...] = (
    ("/v1/streams/{stream}/task", ["GET", "POST"], _refuse_task),
    *((f"/v1/streams/{{stream}}/task/{command}", ["POST"], _refuse_task) for command in TASK_COMMANDS),
    ("/v1/sessions", ["GET"], _refuse),
    ("/v1/sessions/{participant}", ["GET"], _refuse),
    ("/v1/participants/{participant}/progress", ["GET"], _refuse),
    ("/v1/paradigms", ["GET"], _list_paradigms),
    ("/v1/paradigms/check", ["POST"], _check_paradigm),
    ("/v1/paradigms/{name}", ["PUT"], _refuse),
    ("/v1/training", ["GET"], _list_jobs),
    ("/v1/training", ["POST"], _refuse),
    ("/v1/training/{id}", ["GET", "DELETE"], _refuse_job),
)
router = APIRouter()
for _path, _methods, _answer in _ROUTES:  # plain ones: each of FastAPI's takes up to a millisecond
    router.add_route(_path, _answer, methods=_methods, include_in_schema=False)
