"""A task, one execution of a paradigm for a participant: its state and trials, kept in the session as ``task-01.json``.

    ready ──▶ running ◀──▶ paused ──▶ done, aborted        interrupted ──▶ running

Every change returns a new state; the file holds it before it is answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mindwire.errors import ConflictError, RecordingError
from mindwire.session_names import DATE, Participant
from mindwire.sessions.paradigm import Control, Cued, Eyes, Paradigm, ParadigmName, Rest, Seed
from mindwire.sessions.trial_plan import PlannedTrial, plan_trials
from mindwire.sources.vocabulary import PRACTICE
from mindwire_models.atomic import replace_file
from mindwire_models.reading import MIB, first_fault, read_regular

TaskPhase = Literal["none", "ready", "running", "paused", "done", "aborted", "interrupted"]
TaskProblem = Literal["page_lost", "signal_lost", "recording_lost", "service_ended"]
UNFINISHED: Final = frozenset({"ready", "running", "paused"})
_MOST_TRIALS = 3000  # with those that are repeated
_MAX_BYTES = 8 * MIB
_FILE = re.compile(r"task-(\d{2,6})\.json")

Outcome = Literal["done", "aborted"]
_Number = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False, strict=True)]
_Key = Annotated[str, Field(min_length=1, max_length=64)]
_Simple = Annotated[bool, Field(strict=True)] | _Number | Annotated[str, Field(max_length=200)] | None
_Value = _Simple | Annotated[list[_Simple], Field(max_length=64)] | Annotated[dict[_Key, _Simple], Field(max_length=32)]


class TaskRequest(BaseModel):
    """Task to begin: a participant, and a paradigm by its name or as a document; ``seed`` takes the place of the paradigm's."""

    model_config = ConfigDict(extra="forbid")

    participant: Participant
    paradigm: ParadigmName | dict[str, Any]
    seed: Annotated[Seed, Field(strict=True)] | None = None


class Trial(BaseModel):
    """Outcome of a trial: number in the plan, onset of its cue on the clock of LSL, and what came of it."""

    model_config = ConfigDict(extra="forbid")

    index: Annotated[int, Field(ge=0, lt=_MOST_TRIALS, strict=True)]
    outcome: Outcome
    onset: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False, strict=True)] | None = None
    result: Annotated[dict[_Key, _Value], Field(max_length=32)] = {}


class RecordedTrial(Trial):
    """A trial with its label."""

    label: str


class NoTask(BaseModel):
    """Answer where a stream has no task."""

    state: Literal["none"] = "none"


class TaskState(BaseModel):
    """State of a task.

    ``plan`` has a trial that was aborted once more at its end; ``next`` is the number of the trial that is due, None when all were done; ``recordings`` are the files of the session that
    hold it; ``problem`` is the reason for which it was paused or interrupted, if it was not on request.
    """

    number: int
    participant: str
    date: str
    stream: str
    paradigm: Paradigm
    seed: int
    state: TaskPhase = "ready"
    plan: list[PlannedTrial] = []
    trials: list[RecordedTrial] = []
    next: int | None = 0
    recordings: list[str] = []
    problem: TaskProblem | None = None

    def becomes(self, state: TaskPhase, problem: TaskProblem | None = None) -> TaskState:
        """Return the task in another state."""
        return self.model_copy(update={"state": state, "problem": problem})

    def with_recording(self, file: str) -> TaskState:
        """Return the task with one more recording, unless it has it."""
        if file in self.recordings:
            return self
        return self.model_copy(update={"recordings": [*self.recordings, file]})

    def has_trial(self, trial: Trial) -> bool:
        """Return true if a trial was entered with this outcome, and is sent again because its answer was lost."""
        before = next((one for one in self.trials if one.index == trial.index), None)
        if before is None:
            return False
        # One that was not recorded counts as aborted, whatever was sent.
        return before.outcome == trial.outcome or (trial.outcome == "done" and before.result.get("recorded") is False)

    def with_trial(self, trial: Trial) -> TaskState:
        """Return the task with the outcome of its next trial; an aborted one that counts is planned once more.

        Raises
        ------
        ConflictError
            Another trial is due, or all were done.
        """
        if self.has_trial(trial):
            return self
        if trial.index != self.next:
            due = "none is due" if self.next is None else f"trial {self.next} is due"
            msg = f"Trial {trial.index} cannot be entered: {due}; read the task again."
            raise ConflictError(msg)
        label, plan = self.plan[trial.index].label, self.plan
        if trial.outcome == "aborted" and not label.startswith(PRACTICE) and len(plan) < _MOST_TRIALS:
            plan = [*plan, self.plan[trial.index].model_copy(update={"index": len(plan)})]
        trials = [*self.trials, RecordedTrial(**trial.model_dump(), label=label)]
        following = len(trials) if len(trials) < len(plan) else None
        return self.model_copy(update={"plan": plan, "trials": trials, "next": following})

    def summary(self) -> dict[str, Any]:
        """Return the task without its plan, as JSON has it."""
        return self.model_dump(mode="json", exclude={"plan"})


def new_task(
    paradigm: Cued | Rest | Eyes | Control, seed: int, *, number: int, participant: str, date: str, stream: str
) -> TaskState:
    """Return a task at its beginning."""
    return TaskState(
        number=number,
        participant=participant,
        date=date,
        stream=stream,
        paradigm=paradigm,
        seed=seed,
        plan=plan_trials(paradigm, seed),
    )


# ── files ────────────────────────────────────────────────────────────────────────────────────────────


def task_path(folder: Path, number: int) -> Path:
    """Return the file of a task in the folder of its session."""
    return folder / f"task-{number:02d}.json"


def next_number(folder: Path) -> int:
    """Return the number of the next task of a session."""
    return max((int(found[1]) for path in folder.iterdir() if (found := _FILE.fullmatch(path.name))), default=0) + 1


def write_task(folder: Path, task: TaskState) -> None:
    """Write a task into the folder of its session, in one step; raises RecordingError if that fails."""
    path = task_path(folder, task.number)
    try:
        replace_file(path, task.model_dump_json(indent=1) + "\n")
    except OSError as error:
        msg = f"The task cannot be kept in {path} ({error.strerror}); make room, then try again."
        raise RecordingError(msg) from error


def read_task(path: Path) -> TaskState:
    """Read a task; raises RecordingError if it is damaged."""
    data = read_regular(path, _MAX_BYTES, RecordingError)
    try:
        return TaskState.model_validate_json(data)
    except ValidationError as error:
        where, reason = first_fault(error)
        msg = f"{path} is no task ({where}: {reason}); mend it, or move it away."
        raise RecordingError(msg) from None


def tasks_in(folder: Path) -> list[Path]:
    """Return the files of a session's tasks in order."""
    return sorted(path for path in folder.glob("task-*.json") if _FILE.fullmatch(path.name))


def last_task(root: Path, stream: str) -> tuple[Path, TaskState] | None:
    """Return the newest task of a stream in the newest two days of the sessions, with its session's folder."""
    dates = sorted({path.name for path in _days(root)})[-2:]
    found = []
    for path in (path for day in _days(root) if day.name in dates for path in tasks_in(day)):
        try:
            task = read_task(path)
            if task.stream == stream:
                found.append((task.date, path.stat().st_mtime_ns, path.parent, task))
        except (RecordingError, OSError):  # shown where the session is listed
            continue
    if not found:
        return None
    _, _, folder, task = max(found, key=lambda one: one[:2])
    return folder, task


def _days(root: Path) -> Iterator[Path]:
    yield from (path for path in root.glob("*/*") if DATE.fullmatch(path.name) and path.is_dir())
