"""Paradigms and sessions on disk over REST."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel

from mindwire.api.routes import problem
from mindwire.api.task_routes import Root
from mindwire.errors import ConflictError, ParadigmError, RecordingError
from mindwire.session_names import DATE, check_participant
from mindwire.sessions.document import Run, read_session
from mindwire.sessions.folder import is_recorded
from mindwire.sessions.paradigm import Control, Cued, Eyes, Rest, check_paradigm, duration_s
from mindwire.sessions.paradigm_store import ListedParadigm, keep_paradigm, list_paradigms
from mindwire.sessions.task import UNFINISHED, read_task, tasks_in
from mindwire.sessions.trial_plan import plan_trials
from mindwire_models.text import printable

_WRONG = problem("The document is no paradigm; the sentence names the first wrong field.")
_PARADIGMS = [{"$ref": f"#/components/schemas/{one.__name__}"} for one in (Cued, Rest, Eyes, Control)]
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"oneOf": _PARADIGMS}}}}}

sessions = APIRouter(prefix="/v1", tags=["sessions"], responses={"4XX": problem("The request is refused.")})


class CheckedParadigm(BaseModel):
    """A paradigm with all its fields, its number of trials, and its longest duration in seconds."""

    paradigm: dict[str, Any]
    trials: int
    seconds: float


class ParticipantSessions(BaseModel):
    """A participant and the dates of the sessions."""

    participant: str
    dates: list[str]


class SessionContent(BaseModel):
    """Runs of a session as in `session.json`, and its tasks without their plans; `problems` of files that cannot be read, a sentence each."""

    date: str
    runs: list[dict[str, Any]]
    tasks: list[dict[str, Any]]
    problems: list[str] = []


class ParticipantContent(BaseModel):
    """Sessions of a participant, the oldest first."""

    participant: str
    sessions: list[SessionContent]


@sessions.get("/paradigms")
def show_paradigms(request: Request) -> list[ListedParadigm]:
    """The paradigms that come with Mindwire, and those in the folder of the sessions."""
    registry = request.app.state.registry
    return list_paradigms(None if registry is None else registry.settings.sessions)


@sessions.post("/paradigms/check", responses={422: _WRONG}, openapi_extra=_BODY)
async def check(request: Request) -> CheckedParadigm:
    """Check a paradigm; nothing is kept."""
    return checked_paradigm(await request.body())[1]


@sessions.put(
    "/paradigms/{name}",
    status_code=201,
    responses={200: {"description": "It replaces one of its name."}, 409: problem("The name is taken."), 422: _WRONG},
    openapi_extra=_BODY,
)
async def keep(name: str, request: Request, response: Response, root: Root) -> CheckedParadigm:
    """Keep a paradigm in the folder of the sessions, under the name that it has."""
    paradigm, checked = checked_paradigm(await request.body())
    if paradigm.name != name:
        raise HTTPException(
            422, f"name: expected {printable(name, 80)!r} as the address says, found {paradigm.name!r}."
        )
    try:
        new = await asyncio.to_thread(keep_paradigm, root, paradigm)  # it waits for the disk
    except ConflictError as error:
        raise HTTPException(409, str(error)) from error
    except OSError as error:
        raise HTTPException(507, f"The paradigm cannot be kept ({error.strerror}); nothing is changed.") from error
    response.status_code = 201 if new else 200
    return checked


def checked_paradigm(body: bytes) -> tuple[Cued | Rest | Eyes | Control, CheckedParadigm]:
    """Return the paradigm that a request describes, and the answer; raises HTTPException if it is none."""
    try:
        paradigm = check_paradigm(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise HTTPException(422, f"The body is not valid JSON ({printable(str(error), 200)}); see /docs.") from error
    except ParadigmError as error:
        raise HTTPException(422, str(error)) from error
    document = paradigm.model_dump(mode="json")
    return paradigm, CheckedParadigm(
        paradigm=document, trials=len(plan_trials(paradigm, 0)), seconds=duration_s(paradigm)
    )


@sessions.get("/sessions")
def list_sessions(root: Root) -> list[ParticipantSessions]:
    """The participants of the folder of the sessions, with the dates of their sessions."""
    found: dict[str, list[str]] = {}
    for path in sorted(root.glob("*/*/session.json")):
        if DATE.fullmatch(path.parent.name) and _is_participant(path.parent.parent.name):
            found.setdefault(path.parent.parent.name, []).append(path.parent.name)
    return [ParticipantSessions(participant=name, dates=dates) for name, dates in found.items()]


@sessions.get("/sessions/{participant}", responses={404: problem("There is no session of this participant.")})
def show_sessions(participant: str, root: Root) -> ParticipantContent:
    """The sessions of a participant with their runs and tasks."""
    dates = next((one.dates for one in list_sessions(root) if one.participant == participant), None)
    if dates is None:
        raise HTTPException(404, f"There is no session of a participant {printable(participant, 80)!r}.")
    content = []
    for date in dates:
        folder, problems, tasks = root / participant / date, [], []
        runs: tuple[Run, ...] = ()
        try:
            runs = read_session(folder).runs
        except RecordingError as error:
            problems.append(str(error))
        going_on = is_recorded(folder)
        for path in tasks_in(folder):
            try:
                task = read_task(path)
                if task.state in UNFINISHED and not going_on:
                    task = task.becomes("interrupted", "service_ended")
                tasks.append(task.summary())
            except RecordingError as error:
                problems.append(str(error))
        described = [msgspec.to_builtins(run) for run in runs]
        content.append(SessionContent(date=date, runs=described, tasks=tasks, problems=problems))
    return ParticipantContent(participant=participant, sessions=content)


def _is_participant(name: str) -> bool:
    try:
        return check_participant(name) == name
    except ValueError:
        return False
