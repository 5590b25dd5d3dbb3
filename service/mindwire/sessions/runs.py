"""Recordings of one stream in a session: each file that the recorder begins is a run of its own."""

from __future__ import annotations

import logging
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from mindwire.errors import MindwireError
from mindwire.provenance import machine, source_sha256
from mindwire.sessions.completion import start_completion
from mindwire.sessions.document import (
    SESSION,
    ClockQuality,
    Moment,
    Run,
    RunStatus,
    UsedModel,
    UsedPolicy,
    add_model,
    change_run,
    read_session,
)
from mindwire.sessions.folder import Session
from mindwire.sources.liblsl import pylsl
from mindwire.status import RecordingStatus, StreamStatus
from mindwire.types import SignalInfo
from mindwire_models.bundle import Bundle, load_bundle

log = logging.getLogger(__name__)


class SessionRuns:
    """Runs of one stream in a session, one after another.

    Parameters
    ----------
    session : Session
        Open; closed by :meth:`close`.
    stream : str
        Name in the service.
    bundle : Bundle or None
        That the stream begins with; copied into the session. None for a stream without a model.
    status : callable
        Returns the stream's status.
    next_seq : callable
        Returns the number of the stream's next prediction.
    number : int or None
        Of the first run; the next free one when None.
    notes : str

    Raises
    ------
    RecordingError
        The bundle cannot be copied.
    """

    def __init__(
        self,
        session: Session,
        stream: str,
        bundle: Bundle | None,
        status: Callable[[], StreamStatus],
        next_seq: Callable[[], int],
        *,
        number: int | None = None,
        notes: str = "",
    ) -> None:
        self.session = session
        self.folder = session.folder
        self.run: Run | None = None  # the present one, or the last
        self._stream, self._status, self._next_seq = stream, status, next_seq
        self._number, self._notes = number, notes
        self._model: UsedModel | None = None
        if bundle is not None:
            self._model = UsedModel(bundle.name, bundle.sha256, folder=session.keep_bundle(bundle))
        self._ended: dict[int, dict[str, Any]] = {}  # what is to be noted of runs, by their numbers
        self._completions: dict[int, subprocess.Popen[bytes]] = {}
        self._closed = False

    def begin(self, source: SignalInfo | None) -> Path:
        """Create the file of the next run; raises RecordingError where that cannot be done."""
        self._retry()
        status = self._status()
        seq = self._next_seq()
        number, self._number = self._number, None
        used: tuple[UsedModel, ...] = ()
        if (model := self._model) is not None:
            used = (UsedModel(model.name, model.sha256, seq, model.folder, status.model.engine),)

        def make(number: int, file: str) -> Run:
            return Run(
                run=number,
                file=file,
                stream=self._stream,
                status="recording",
                started=_now(),
                source={} if source is None else {key: value for key, value in asdict(source).items() if value},
                notes=self._notes,
                models=used,
                control=(UsedPolicy(status.control.hash if status.control else None, seq),),
                software=machine() | {"sha256": source_sha256()},
            )

        self.run = self.session.begin_run(number, make)
        return self.folder / self.run.file

    def use_model(self, path: Path) -> None:
        """Note the bundle that the stream's next prediction is of, and copy it into the session, in a thread of its own."""
        run, seq = self.run, self._next_seq()

        def note() -> None:
            try:
                bundle = load_bundle(path)
                folder = self.session.keep_bundle(bundle)
                engine = self._status().model.engine
                self._model = UsedModel(bundle.name, bundle.sha256, folder=folder)
                if run is not None and run.run in self.session.active:
                    used = UsedModel(bundle.name, bundle.sha256, seq, folder, engine)
                    add_model(self.folder, run.run, used)
            except (MindwireError, OSError) as error:
                log.error("The bundle %s could not be kept in %s: %s", path, self.folder, error)  # noqa: TRY400 - no bug

        threading.Thread(target=note, name="mindwire-session", daemon=True).start()

    def recorder_started(self, pid: int) -> None:
        """Note LabRecorder's process, which outlives this one by moments."""
        if self.run is not None:
            self._change(self.run.run, recorder_pid=pid, host=socket.gethostname())

    def end(self, ending: str, status: RunStatus) -> None:
        """End the present run, if there is one; its file is read through and hashed elsewhere once it is complete."""
        run = self.run
        if run is None or run.run not in self.session.active:
            return
        now = self._status()
        clock = ClockQuality(now.clock_offset_s, now.drift_ppm, now.effective_rate)
        self._ended[run.run] = {"status": status, "ended": _now(), "ending": ending, "clock": clock}
        self.session.active.discard(run.run)
        self._complete(run.run)

    def _complete(self, number: int) -> None:
        """Note that a run has ended, and have it completed."""
        fields = self._ended[number]
        if self._change(number, **fields):
            try:
                self._completions[number] = start_completion(self.folder, number, fields["status"], fields["ending"])
            except OSError as error:
                log.error("Run %d is left to the next start to complete (%s).", number, error.strerror)  # noqa: TRY400

    def _retry(self) -> None:
        """Complete the runs for which that failed, because the disk was full for example."""
        for number in self._ended:
            process = self._completions.get(number)
            if process is None or process.poll() not in (None, 0):
                self._complete(number)

    def describe(self, *, recording: bool) -> RecordingStatus:
        """Return the present or last run as ``session.json`` has it now."""
        session, run = self.session, self.run
        known: dict[str, Any] = {"recording": recording, "participant": session.participant, "date": session.date}
        if run is None:
            return RecordingStatus(**known, status="waiting")
        path = self.folder / run.file
        with suppress(MindwireError, OSError, KeyError):
            stored = read_session(self.folder).run(run.run)
            run = run if stored.status == "recording" else stored
        size = run.size_bytes
        with suppress(OSError):
            size = path.stat().st_size
        return RecordingStatus(
            **known,
            run=run.run,
            file=str(path.relative_to(self.folder.parent.parent)),
            status=run.status,
            started_unix=run.started.unix,
            size_bytes=size,
            sha256=run.sha256,
            cues=run.cues,
            problems=list(run.problems),
        )

    def wait(self, timeout: float) -> bool:
        """Wait until the ended runs are complete; return false if they are not within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        try:
            for process in self._completions.values():
                process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Let the session go."""
        if not self._closed:
            self._closed = True
            self._retry()
            self.session.close()

    def _change(self, number: int, **fields: Any) -> bool:
        """Change a run in ``session.json``; return false if that failed, which is logged."""
        if self.run is not None and self.run.run == number:
            self.run = msgspec.structs.replace(self.run, **fields)
        try:
            change_run(self.folder, number, **fields)
        except (MindwireError, OSError) as error:
            log.error("Run %d could not be noted in %s: %s", number, self.folder / SESSION, error)  # noqa: TRY400 - no bug
            return False
        return True


def _now() -> Moment:
    return Moment(time.time(), pylsl.local_clock())
