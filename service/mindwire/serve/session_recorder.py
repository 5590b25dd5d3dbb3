"""Recorders of streams into sessions, and the sessions that an earlier service left unfinished."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mindwire.live.stream import Stream
from mindwire.offline.recorded_run import known_of, run_details
from mindwire.options import PipelineOptions
from mindwire.sessions.completion import recover_runs
from mindwire.sessions.folder import open_session
from mindwire.sessions.runs import SessionRuns
from mindwire.sinks.recorder import Recorder
from mindwire.status import RecordingRequest
from mindwire_models.bundle import Bundle
from mindwire_models.text import counted

log = logging.getLogger(__name__)


def folder_recorder(
    folder: Path, stream: str, bundle: Bundle | None, options: PipelineOptions, outlets_prefix: str
) -> Recorder:
    """Return the recorder of a stream into a folder, without a session."""
    return Recorder(stream, folder, outlets_prefix, run_details(bundle, options), partial(known_of, options))


def session_recorder(
    root: Path, bundle: Bundle | None, options: PipelineOptions, outlets_prefix: str
) -> Callable[[Stream, RecordingRequest], Recorder]:
    """Return what makes the recorder of a stream into a session in the folder ``root``."""

    def make(stream: Stream, request: RecordingRequest) -> Recorder:
        session = open_session(root, request.participant)
        try:
            runs = SessionRuns(
                session,
                stream.name,
                bundle,
                stream.status,
                lambda: stream.pipeline.seq if stream.pipeline else 0,
                number=request.run,
                notes=request.notes,
            )
            details, known = run_details(bundle, options), partial(known_of, options)
            return Recorder(stream.name, session.folder, outlets_prefix, details, known, session=runs)
        except BaseException:
            session.close()
            raise

    return make


def recover_in_background(root: Path) -> None:
    """Complete, in a thread of its own, the runs that an earlier service left unfinished."""

    def recover() -> None:
        try:
            for folder, run in recover_runs(root):
                cues = counted(sum((run.cues or {}).values()), "cue")
                log.warning(
                    "%s of %s was left unfinished (%s); it holds %d bytes and %s.",
                    run.file,
                    folder,
                    run.ending,
                    run.size_bytes or 0,
                    cues,
                )
        except Exception:
            log.exception("Unfinished runs in %s could not be recovered", root)

    threading.Thread(target=recover, name="mindwire-recover", daemon=True).start()
