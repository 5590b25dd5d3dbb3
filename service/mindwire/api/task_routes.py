"""Tasks of streams over REST: begun, paused, resumed, ended, and their trials entered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from starlette.responses import JSONResponse

from mindwire.api.registry import registry_of
from mindwire.api.routes import OneStream, problem
from mindwire.api.streams import streams_of
from mindwire.errors import ConflictError, MissingExtraError, ParadigmError, RecordingError
from mindwire.live.tasks import StreamTasks
from mindwire.session_names import NO_SESSIONS
from mindwire.sessions.paradigm import check_paradigm
from mindwire.sessions.paradigm_store import find_paradigm
from mindwire.sessions.task import NoTask, TaskRequest, TaskState, Trial

if TYPE_CHECKING:
    from mindwire.live.stream import Stream

TASK: Final = "/v1/streams/{stream}/task"
_NO_STREAM = problem("There is no such stream.")
_CONFLICT = problem("The task is not in a state for that, or nothing can be recorded.")
_NO_RECORDER = problem("LabRecorder is not installed.")

tasks = APIRouter(prefix=TASK, tags=["tasks"], responses={"4XX": problem("The request is refused.")})
_guard = threading.Lock()


def sessions_folder(request: Request) -> Path:
    """Return the folder of the sessions; raises HTTPException where the service has none."""
    root = registry_of(request).settings.sessions
    if root is None:
        raise HTTPException(409, NO_SESSIONS)
    return root


Root = Annotated[Path, Depends(sessions_folder)]


def _tasks_of(stream: OneStream, root: Root, request: Request) -> StreamTasks:
    """Return the tasks of a stream, which outlast it when it begins again with other settings."""
    known: dict[str, StreamTasks] = request.app.state.tasks
    streams = streams_of(request)
    with _guard:
        if stream.name not in known:
            known[stream.name] = StreamTasks(stream.name, root, lambda: cast("Stream | None", streams.get(stream.name)))
        return known[stream.name]


_Tasks = Annotated[StreamTasks, Depends(_tasks_of)]


def _answer(action: Callable[[], TaskState], status: int = 200) -> Response:
    try:
        return Response(action().model_dump_json(), status, media_type="application/json")
    except (ConflictError, RecordingError) as error:
        raise HTTPException(409, str(error)) from error
    except MissingExtraError as error:
        raise HTTPException(503, str(error)) from error


# By reference: the model is built once, for the first route.
_STATE: dict[str, Any] = {
    "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{TaskState.__name__}"}}}
}
_CHANGED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The task as it is now.", **_STATE},
    404: _NO_STREAM,
    409: _CONFLICT,
}


@tasks.get("", responses={404: _NO_STREAM})
def show_task(own: _Tasks) -> TaskState | NoTask:
    """The present or last task of the stream; `state` is `none` where there is none."""
    return own.last() or NoTask()


# Without `async`, as are the other changes: they write files, and some wait for LabRecorder.
@tasks.post(
    "",
    status_code=201,
    responses={
        201: {"description": "The task is ready.", **_STATE},
        404: _NO_STREAM,
        409: _CONFLICT,
        422: problem("There is no such paradigm, or the document is none."),
        503: _NO_RECORDER,
    },
)
def begin_task(own: _Tasks, root: Root, wanted: TaskRequest) -> Response:
    """Begin a task; a recording of the participant begins with it, unless one runs. It runs from `resume` or the first trial on."""
    try:
        given = wanted.paradigm
        paradigm = find_paradigm(root, given) if isinstance(given, str) else check_paradigm(given)
    except ParadigmError as error:
        raise HTTPException(422, str(error)) from error
    return _answer(lambda: own.begin(wanted.participant, paradigm, wanted.seed), 201)


@tasks.post("/pause", responses=_CHANGED)
def pause_task(own: _Tasks) -> Response:
    """Pause the task; the recording goes on."""
    return _answer(own.pause)


@tasks.post("/resume", responses=_CHANGED | {503: _NO_RECORDER})
def resume_task(own: _Tasks) -> Response:
    """Begin the task that is ready, or go on with one that was paused or interrupted, in the next run where its recording has ended."""
    return _answer(own.resume)


@tasks.post("/finish", responses=_CHANGED)
def finish_task(own: _Tasks) -> Response:
    """End the task, and the recording that it began; answered once the file is complete."""
    return _answer(own.finish)


@tasks.post("/abort", responses=_CHANGED)
def abort_task(own: _Tasks) -> Response:
    """End the task before its last trial, and the recording that it began; what was recorded is kept."""
    return _answer(own.abort)


@tasks.post("/trial", responses=_CHANGED)
def enter_trial(own: _Tasks, trial: Trial) -> Response:
    """Enter what came of the trial that is due; an aborted one is planned once more at the end. May be sent again."""
    return _answer(lambda: own.enter(trial))


@tasks.post("/seen", responses=_CHANGED)
def see_page(own: _Tasks) -> Response:
    """Note that the participant's page is there; a running task without a request or marker for ten seconds is paused. Answered without `plan`."""
    own.seen()
    task = own.last()
    return JSONResponse({"state": "none"} if task is None else task.summary())
