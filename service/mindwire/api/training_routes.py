"""Training and improvement over REST: begun, watched and cancelled."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NoReturn, Protocol

from fastapi import APIRouter, HTTPException, Path, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mindwire.api.routes import problem
from mindwire.errors import ConflictError, MindwireError, MissingExtraError, UnknownModelError
from mindwire.session_names import NO_SESSIONS, Participant

JobKind = Literal["train", "improve"]
Recording = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}/run-[0-9]{2,9}\.xdf$")]


def _each_once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        msg = "expected each class once"
        raise ValueError(msg)
    return names


_Name = Annotated[str, Field(min_length=1, max_length=100)]
Classes = Annotated[list[_Name], Field(min_length=2, max_length=20), AfterValidator(_each_once)]


class JobRequest(BaseModel):
    """Job to begin.

    By default it takes every run of the participant that has ended and has cues of at least two classes, the newest session
    first, and the classes of its tasks. An improvement begins from the model `base`, by default the stream's, and keeps its
    classes. `budget` is of false activations per minute. With `swap` `auto` the stream gets the model once it is made, unless
    it is poor or was not accepted.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: JobKind
    participant: Participant
    recordings: Annotated[list[Recording], Field(min_length=1, max_length=200)] | None = None
    classes: Classes | None = None
    stream: Annotated[str, Field(max_length=64)] | None = None
    base: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    swap: Literal["offer", "auto"] = "offer"
    budget: Annotated[float, Field(gt=0, le=60)] = 1.0


class Job(BaseModel):
    """A job; `id` is also that of its model in `/v1/models`, once there is one.

    `stage` is a word, `progress` goes from 0 to 1. `error` is a sentence. With `swap_requested` the stream was asked to take
    the model into use, and its events report how that went; `swap_problem` is the sentence that refused it. Lists leave the
    `report` out.
    """

    id: str
    kind: JobKind
    participant: str
    stream: str | None = None
    state: Literal["running", "done", "failed", "cancelled"] = "running"
    stage: str = "starting"
    progress: float = 0.0
    seconds_left: float | None = None
    error: str | None = None
    model: str | None = None
    report: dict[str, Any] | None = None
    swap: Literal["offer", "auto"] = "offer"
    swap_requested: bool = False
    swap_problem: str | None = None
    started_unix: float
    ended_unix: float | None = None


class Jobs(Protocol):
    """Jobs of a service. The methods raise MindwireError; KeyError stands for a job that there is not."""

    async def start(self, wanted: JobRequest) -> Job:
        """Begin a job; raises ConflictError while another runs, MissingExtraError where the packages are missing."""

    async def list(self) -> list[Job]:
        """Return all jobs without their reports, the newest first."""

    async def find(self, reference: str) -> Job:
        """Return a job with its report."""

    async def cancel(self, reference: str) -> Job:
        """End a job that runs; one that has ended stays as it is."""


router = APIRouter(prefix="/v1/training", tags=["training"], responses={"4XX": problem("The request is refused.")})
_NO_JOB = problem("There is no such job.")
_Reference = Annotated[str, Path(alias="id", description="Id of the job.", max_length=64)]


def _jobs(request: Request) -> Jobs:
    jobs: Jobs | None = request.app.state.training
    if jobs is None:
        raise HTTPException(409, NO_SESSIONS)
    return jobs


def _refuse(error: MindwireError) -> NoReturn:
    status = 409 if isinstance(error, ConflictError) else 503 if isinstance(error, MissingExtraError) else 422
    raise HTTPException(404 if isinstance(error, UnknownModelError) else status, str(error)) from error


@router.post(
    "",
    status_code=202,
    responses={
        404: problem("There is no such model to improve."),
        409: problem("Another job runs, or the service has no folder for sessions or models."),
        422: problem("The body is not what was expected, or there is nothing to learn from."),
        503: problem("The packages for training are not installed."),
    },
)
async def begin_job(request: Request, wanted: JobRequest) -> Job:
    """Begin a training or an improvement in a process of its own at low priority; one runs at a time."""
    try:
        return await _jobs(request).start(wanted)
    except MindwireError as error:
        _refuse(error)


@router.get("")
async def list_jobs(request: Request) -> list[Job]:
    """The jobs, the newest first, without their reports; those that made a model are kept with the sessions."""
    return [] if request.app.state.training is None else await _jobs(request).list()


@router.get("/{id}", responses={404: _NO_JOB})
async def show_job(request: Request, reference: _Reference) -> Job:
    """One job with its report."""
    try:
        return await _jobs(request).find(reference)
    except KeyError:
        raise HTTPException(404, f"There is no job {reference!r}.") from None


@router.delete("/{id}", responses={404: _NO_JOB})
async def cancel_job(request: Request, reference: _Reference) -> Job:
    """Cancel a job that runs: its processes end and nothing of its model is kept. One that has ended stays as it is."""
    try:
        return await _jobs(request).cancel(reference)
    except KeyError:
        raise HTTPException(404, f"There is no job {reference!r}.") from None
