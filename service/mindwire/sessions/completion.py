"""Completion of a run's entry in ``session.json`` once its file is written, in a process of its own.

The file is read through and hashed there, so that the live loop has nothing of it; and it goes on when the service ends.

    python -m mindwire.sessions.completion FOLDER RUN STATUS ENDING
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import psutil

from mindwire.errors import MindwireError
from mindwire.sessions.document import (
    Moment,
    Run,
    RunStatus,
    SessionDocument,
    UsedModel,
    UsedPolicy,
    change_run,
    read_session,
    sessions_in,
)
from mindwire.sessions.folder import open_session
from mindwire.sources.markers import EVENTS_TYPE, OUTLET
from mindwire.sources.recording import Recording, open_recording

log = logging.getLogger(__name__)

_RECORDER_ENDS_S = 30.0
_POLL_S = 0.1
_RECORDER = "LabRecorder"


def start_completion(folder: Path, number: int, status: RunStatus, ending: str) -> subprocess.Popen[bytes]:
    """Start to complete a run; the process waits until LabRecorder has ended."""
    program = [sys.executable, "-P", "-m", "mindwire.sessions.completion"]
    return subprocess.Popen(
        [*program, str(folder), str(number), status, ending],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C at the terminal is not for it
    )


def recover_runs(root: Path) -> list[tuple[Path, Run]]:
    """Complete the runs of all sessions that no process records into any more and that were never ended; return these runs.

    A run that was ended, but whose completion was not, is completed too.
    """
    unfinished: list[tuple[Path, Run]] = []
    for folder in sessions_in(root):
        try:
            document = read_session(folder)
            if any(run.status == "recording" or run.sha256 is None for run in document.runs):
                unfinished += [(folder, run) for run in _mark_interrupted(folder, document)]
        except (MindwireError, OSError) as error:  # of another process, or damaged: not for this one to mend
            log.info("%s is left as it is: %s", folder, error)
    # without the lock, so that another recording may begin meanwhile
    return [(folder, complete_run(folder, run.run, run.status, run.ending)) for folder, run in unfinished]


def _mark_interrupted(folder: Path, document: SessionDocument) -> list[Run]:
    """Mark the runs that are recorded by no process, and return them and those that were not completed."""
    session = open_session(folder.parent.parent, document.participant, document.date)
    try:
        runs = [run for run in read_session(folder).runs if run.run not in session.active and run.sha256 is None]
        ending = "the service ended without ending the recording"
        return [
            change_run(folder, run.run, status="interrupted", ending=ending) if run.status == "recording" else run
            for run in runs
        ]
    finally:
        session.close()


def complete_run(folder: Path, number: int, status: RunStatus, ending: str) -> Run:
    """Wait until the run's recorder has ended, read its file through, and enter what it holds."""
    run = read_session(folder).run(number)
    _await_recorder(run)
    path = folder / run.file
    found: dict[str, Any] = {"status": status, "ending": ending, "recorder_pid": None}
    try:
        found |= _content(path, run)
    except (MindwireError, OSError) as error:
        found |= {"status": "interrupted", "problems": (str(error),)}
    with suppress(OSError), path.open("rb") as file:
        found |= {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size_bytes": path.stat().st_size}
    if found.get("sha256") is None:
        found |= {"sha256": "", "size_bytes": 0, "problems": (f"{run.file} is not there: nothing was recorded.",)}
    if run.ended is None and "ended" not in found:
        found["ended"] = run.started
    return change_run(folder, number, **found)


def _await_recorder(run: Run) -> None:
    """Wait while the LabRecorder of this machine that writes the run is still there, for half a minute at most."""
    deadline = time.monotonic() + _RECORDER_ENDS_S
    while run.recorder_pid is not None and run.host == socket.gethostname() and time.monotonic() < deadline:
        try:
            process = psutil.Process(run.recorder_pid)
            if _RECORDER not in process.name() or process.status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.Error:
            return
        time.sleep(_POLL_S)


def _content(path: Path, run: Run) -> dict[str, Any]:
    """Return what a recording says of its run."""
    recording = open_recording(path)
    markers = recording.markers()
    events = list(_events(recording, run.stream))
    begun = [event["data"] for _, event in events if event["kind"] == "recording" and "begins" in event["data"]]
    first = begun[0] if begun else {}
    seq = first.get("first_seq")
    models, control = list(run.models), list(run.control)
    if models and seq is not None:
        models[0] = msgspec.structs.replace(models[0], from_seq=seq)
        control = [msgspec.structs.replace(one, from_seq=seq) for one in control[:1]]
    gaps = 0
    for _, event in events:
        data = event["data"]
        if event["kind"] in ("gap", "clock_reset"):
            gaps += int(data.get("count", 1))
        elif event["kind"] == "model" and data.get("state") in ("swapped", "rolled_back") and data.get("sha256"):
            _add_used(models, data)
        elif event["kind"] == "control" and data.get("hash"):
            control.append(UsedPolicy(data["hash"], int(data["seq"])))
    clock = msgspec.structs.replace(run.clock, gaps=gaps)
    if clock.offset_s is None:  # the source was gone when the run ended
        clock = msgspec.structs.replace(clock, offset_s=first.get("clock_offset"))
    problems = list(recording.problems)
    if not begun:
        problems.append("The file does not hold the beginning of the run; its predictions cannot be verified.")
    found = {"cues": dict(Counter(marker.label for marker in markers).most_common()), "clock": clock}
    if run.ended is None and events and isinstance(unix := events[-1][1].get("unix_time"), int | float):
        found["ended"] = Moment(float(unix), events[-1][0])
    return found | {"models": tuple(models), "control": tuple(control), "problems": tuple(problems)}


def _add_used(models: list[UsedModel], data: Mapping[str, Any]) -> None:
    """Add the model that an event names, unless the service has noted it."""
    folders = {model.sha256: model.folder for model in models}
    used = UsedModel(data.get("name", ""), data["sha256"], int(data["seq"]), folders.get(data["sha256"]))
    if all((model.sha256, model.from_seq) != (used.sha256, used.from_seq) for model in models):
        models.append(used)


def _events(recording: Recording, stream: str) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Yield the events of a run with the times at which they were recorded."""
    for one in recording.streams:
        if one.info.type == EVENTS_TYPE and one.info.name == f"{OUTLET}{stream}-events":
            for chunk in recording.source(one.stream_id).chunks():
                for at, text in zip(chunk.times.tolist(), chunk.samples[:, 0], strict=True):
                    with suppress(ValueError):
                        event = json.loads(text)
                        if isinstance(event, dict) and "kind" in event and isinstance(event.get("data"), dict):
                            yield at, event


def main() -> None:
    """Complete the run that the arguments name."""
    folder, number, status, ending = sys.argv[1:]
    with suppress(OSError):
        os.nice(10)
    try:
        complete_run(Path(folder), int(number), cast("RunStatus", status), ending)
    except (MindwireError, OSError) as error:
        sys.exit(f"Run {number} of {folder} is left to the next start to complete: {error}")


if __name__ == "__main__":
    main()
