"""``progress.json`` of a session: what its runs show of the person's learning, computed by training jobs and only read to be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ValidationError

from mindwire.errors import RecordingError
from mindwire_models.atomic import replace_file
from mindwire_models.reading import MIB, first_fault, read_regular

PROGRESS: Final = "progress.json"

Basis = Literal["online", "cross_validated"]


class ProgressFigures(BaseModel, frozen=True):
    """Figures of a run or a day.

    ``basis`` says what ``accuracy`` is of: ``online``, the predictions that were made while the run was recorded, by the model of the
    time; ``cross_validated``, where there was no model, the tangent-space classifier of the run's other trials. ``interval`` is of 95 %,
    ``chance`` the share of the most frequent class, ``undecided`` trials had no valid prediction and count in neither. ``distinctness`` is
    that of the classes after Lotte and Jeunet (2018); ``latency_s`` the median time from a cue to the first decision that was right.
    """

    basis: Basis | None = None
    trials: int = 0
    right: int = 0
    undecided: int = 0
    accuracy: float | None = None
    interval: tuple[float, float] = (0.0, 1.0)
    chance: float | None = None
    distinctness: float | None = None
    latency_s: float | None = None


class RunProgress(ProgressFigures, frozen=True):
    """Figures of one run, decided ``decided_at_s`` after the cue; ``problem`` is the sentence for which there are none."""

    run: int
    file: str
    sha256: str
    classes: list[str]
    decided_at_s: float | None = None
    models: list[str] = []
    problem: str | None = None


class DayProgress(BaseModel, frozen=True):
    """Figures of a session's runs, and of the day: all runs of the better basis, ``online`` where there are some."""

    format: Literal["mindwire-progress"] = "mindwire-progress"
    version: Literal[1] = 1
    date: str
    runs: list[RunProgress] = []
    day: ProgressFigures = ProgressFigures()


def read_progress(folder: Path) -> DayProgress:
    """Read the progress of a session's folder; there are no runs in it before a job has computed some.

    Raises
    ------
    RecordingError
        The file is damaged, or of a later version.
    """
    path = folder / PROGRESS
    if not path.exists():
        return DayProgress(date=folder.name)
    try:
        return DayProgress.model_validate_json(read_regular(path, MIB, RecordingError))
    except ValidationError as error:
        place, reason = first_fault(error)
        msg = f"{path}: expected the progress of a session, but {place} is wrong ({reason}); delete the file, and the next training writes it again."
        raise RecordingError(msg) from error


def write_progress(folder: Path, progress: DayProgress) -> None:
    """Write the progress of a session in one step."""
    replace_file(folder / PROGRESS, progress.model_dump_json(indent=1) + "\n")
