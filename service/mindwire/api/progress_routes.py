"""Learning of a participant over runs and days, over REST."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from mindwire.api.routes import problem
from mindwire.api.task_routes import Root
from mindwire.errors import RecordingError
from mindwire.session_names import Participant
from mindwire.sessions.document import sessions_in
from mindwire.sessions.progress import DayProgress, read_progress

progress = APIRouter(tags=["sessions"], responses={"4XX": problem("The request is refused.")})


class ParticipantProgress(BaseModel):
    """A participant's days, the oldest first; `problems` of files that cannot be read, a sentence each."""

    participant: str
    days: list[DayProgress]
    problems: list[str] = []


@progress.get(
    "/v1/participants/{participant}/progress",
    responses={
        404: problem("The participant has no session."),
        409: problem("The service has no folder for sessions."),
    },
)
def show_progress(participant: Participant, root: Root) -> ParticipantProgress:
    """Accuracy with its interval, distinctness of the classes and decision latency of each run and day of a participant.

    They are computed at the end of each training or improvement and only read here; runs since then are missing.
    """
    folders = [folder for folder in sessions_in(root / participant) if folder.parent == root / participant]
    if not folders:
        raise HTTPException(404, f"There is no session of {participant}.")
    found = ParticipantProgress(participant=participant, days=[])
    for folder in folders:
        try:
            found.days.append(read_progress(folder))
        except RecordingError as error:
            found.problems.append(str(error))
    return found
