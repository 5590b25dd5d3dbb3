"""``session.json``: what is known of a session's runs, models and clocks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from mindwire.errors import RecordingError
from mindwire_models.atomic import replace_file

FORMAT: Final = "mindwire-session"
VERSION: Final = 1
SESSION: Final = "session.json"
MODELS: Final = "models"

RunStatus = Literal["recording", "complete", "interrupted"]


class Moment(msgspec.Struct, frozen=True):
    """A moment in seconds since 1970, and on the clock of LSL."""

    unix: float
    lsl: float


class UsedModel(msgspec.Struct, frozen=True):
    """A model that decoded a run, from the prediction ``from_seq`` on; ``folder`` is its copy in the session."""

    name: str
    sha256: str
    from_seq: int = 0
    folder: str | None = None
    engine: str = ""


class UsedPolicy(msgspec.Struct, frozen=True):
    """A control policy by the hash of its document, None for none, from the prediction ``from_seq`` on."""

    hash: str | None
    from_seq: int = 0


class ClockQuality(msgspec.Struct, frozen=True):
    """Measurements of the source's clock until the end of a run; None where there was too little signal."""

    offset_s: float | None = None
    drift_ppm: float | None = None
    effective_rate: float | None = None
    gaps: int | None = None


class Run(msgspec.Struct, frozen=True):
    """One recording of a session.

    ``status`` is ``recording`` from its beginning on, ``complete`` once it ended in order, and ``interrupted`` if the service
    or the recorder ended before; ``ending`` says how in words. ``sha256`` and ``size_bytes`` are of the file, None until it
    has been read through after its end; ``cues`` counts the markers in it by their text; ``problems`` of the file are
    a sentence each. ``recorder_pid`` and ``host`` are of LabRecorder while it writes.
    """

    run: int
    file: str
    stream: str  # its name in the service
    status: RunStatus
    started: Moment
    source: dict[str, Any] = {}  # as LSL describes it
    ended: Moment | None = None
    ending: str = ""
    notes: str = ""
    sha256: str | None = None
    size_bytes: int | None = None
    cues: dict[str, int] | None = None
    models: tuple[UsedModel, ...] = ()
    control: tuple[UsedPolicy, ...] = ()
    clock: ClockQuality = ClockQuality()
    software: dict[str, Any] = {}
    problems: tuple[str, ...] = ()
    recorder_pid: int | None = None
    host: str | None = None


class SessionDocument(msgspec.Struct, frozen=True):
    """Content of ``session.json``; entries of later versions that are not known here are left out."""

    participant: str
    date: str
    runs: tuple[Run, ...] = ()
    format: str = FORMAT
    version: int = VERSION

    def run(self, number: int) -> Run:
        """Return a run by its number; raises KeyError if there is none."""
        for run in self.runs:
            if run.run == number:
                return run
        raise KeyError(number)

    def with_run(self, changed: Run) -> SessionDocument:
        """Return the document with a run added or replaced."""
        others = [run for run in self.runs if run.run != changed.run]
        return msgspec.structs.replace(self, runs=tuple(sorted([*others, changed], key=lambda run: run.run)))


def read_session(folder: Path) -> SessionDocument:
    """Read the document of a session's folder.

    Raises
    ------
    RecordingError
        There is none, or it is damaged, or of a later version.
    """
    path = folder / SESSION
    try:
        document = msgspec.json.decode(path.read_bytes(), type=SessionDocument)
    except OSError as error:
        msg = f"{folder} is no session: {SESSION} cannot be read ({error.strerror})."
        raise RecordingError(msg) from error
    except msgspec.DecodeError as error:
        msg = f"{path} is no description of a session ({error}); mend it, or move it away to begin another."
        raise RecordingError(msg) from error
    if document.format != FORMAT or not 1 <= document.version <= VERSION:
        found = f"{document.format!r} {document.version}"
        msg = f"{path}: expected {FORMAT!r} of version {VERSION}, found {found}; read it with a newer Mindwire."
        raise RecordingError(msg)
    return document


@contextmanager
def updating(folder: Path) -> Iterator[None]:
    """Hold the folder while ``session.json`` is read and written again; others who update it wait."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_session(folder: Path, document: SessionDocument) -> None:
    """Write the document in one step, inside :func:`updating`."""
    replace_file(folder / SESSION, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def change_run(folder: Path, number: int, **fields: Any) -> Run:
    """Change fields of a run in ``session.json``, and return it."""
    return _changed(folder, number, lambda run: msgspec.structs.replace(run, **fields))


def add_model(folder: Path, number: int, used: UsedModel) -> Run:
    """Add a model to a run in ``session.json``, and return the run."""
    return _changed(folder, number, lambda run: msgspec.structs.replace(run, models=(*run.models, used)))


def _changed(folder: Path, number: int, change: Callable[[Run], Run]) -> Run:
    with updating(folder):
        document = read_session(folder)
        run = change(document.run(number))
        write_session(folder, document.with_run(run))
    return run


def sessions_in(path: Path) -> list[Path]:
    """Return the folders of the sessions in a session's, a participant's or the whole folder, in order."""
    for depth in ("", "*/", "*/*/"):
        if found := sorted(file.parent for file in path.glob(f"{depth}{SESSION}")):
            return found
    return []
