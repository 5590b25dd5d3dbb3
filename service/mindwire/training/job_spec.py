"""Description, progress and outcome of a job, as its process and the service exchange them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

WRITING = "writing"  # last stage of every job: the bundle is written
_EVERY_S = 0.2
_FIRST_ESTIMATE = 0.03  # share of the work after which the time left is estimated


class JobSpec(msgspec.Struct, frozen=True):
    """Description of a job; paths are absolute.

    ``id`` is also that of the model to be made. ``recordings`` have cues of ``classes``, ``rest`` are those with rest between
    the markers ``rest_start`` and ``rest_end``; both begin with the newest. ``left_out`` are recordings that were not taken,
    each ``{"reason", "recording", "trials"}``. ``budget`` is of false activations per minute. ``base`` is the folder of the
    bundle to improve.
    """

    id: str
    kind: str
    participant: str
    sessions: str
    models: str
    scratch: str  # for temporary files; removed with the job
    recordings: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    left_out: tuple[dict[str, Any], ...] = ()
    budget: float = 1.0
    base: str | None = None

    @property
    def target(self) -> Path:
        """Folder of the bundle to be made."""
        return Path(self.models) / self.id

    @property
    def paths(self) -> list[Path]:
        """Recordings with cues."""
        return [Path(path) for path in self.recordings]


class Outcome(msgspec.Struct, frozen=True):
    """Result of a job: the id of the model, None where none was kept; the report; true if the model may be put into use unasked."""

    model: str | None
    report: dict[str, Any]
    acceptable: bool = True


class JobLine(msgspec.Struct, frozen=True):
    """Line of a job: its progress from 0 to 1 and the seconds left, or its end by an outcome or an error."""

    stage: str = ""
    progress: float = 0.0
    seconds_left: float | None = None
    outcome: Outcome | None = None
    error: str | None = None


class Stages:
    """Stages of a job, each with its share of the time as far as it is known beforehand.

    Parameters
    ----------
    emit : callable
        Takes lines.
    """

    def __init__(self, emit: Callable[[JobLine], None]) -> None:
        self._emit = emit
        self._shares: Mapping[str, float] = {"starting": 1.0}
        self._begun = self._emitted = time.monotonic()
        self._stage = "starting"

    def plan(self, shares: Mapping[str, float]) -> None:
        """Set the stages in their order with their shares of the time."""
        self._shares = shares

    def begin(self, stage: str) -> Callable[[int, int], None]:
        """Begin a stage; returns what takes its progress, the number of parts done and of all."""
        self._stage = stage
        total = sum(self._shares.values())
        names = list(self._shares)
        before = sum(self._shares[name] for name in names[: names.index(stage)]) / total
        share = self._shares[stage] / total

        def progress(done: int, of: int) -> None:
            now = time.monotonic()
            if now - self._emitted >= _EVERY_S and self._stage == stage:
                self._emitted = now
                self._report(stage, before + share * min(1.0, done / max(of, 1)))

        self._report(stage, before)
        return progress

    def _report(self, stage: str, progress: float) -> None:
        left = None
        if progress >= _FIRST_ESTIMATE:
            left = round((time.monotonic() - self._begun) * (1 - progress) / progress, 1)
        self._emit(JobLine(stage, round(progress, 4), left))


def remove_leftovers(spec: JobSpec) -> None:
    """Remove temporary files and what is half written of a bundle."""
    shutil.rmtree(spec.scratch, ignore_errors=True)
    for left in Path(spec.models).glob(f".{spec.id}.*.new"):
        shutil.rmtree(left, ignore_errors=True)
