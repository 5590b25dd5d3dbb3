"""Tasks of the streams of this process: begun with a recording, watched while they run, and continued after a crash."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mindwire.errors import ConflictError, RecordingError
from mindwire.sessions.document import updating
from mindwire.sessions.folder import Session, open_session
from mindwire.sessions.paradigm import Control, Cued, Eyes, Rest
from mindwire.sessions.task import (
    UNFINISHED,
    TaskPhase,
    TaskProblem,
    TaskState,
    Trial,
    new_task,
    next_number,
    write_task,
)
from mindwire.sessions.task_search import TaskSearch
from mindwire.sources.liblsl import pylsl
from mindwire.status import RecordingRequest, StreamState

if TYPE_CHECKING:
    from mindwire.live.stream import Stream
    from mindwire.sinks.recorder import Recorder

log = logging.getLogger(__name__)

# Time without a request or marker of the participant's page after which a running task is paused.
PAGE_LOST_S: Final = 10.0
_CHECK_EVERY_S = 0.5
_RECORDING_LOST_S = 3.0
_NO_SIGNAL = frozenset(
    {
        StreamState.SEARCHING,
        StreamState.CONNECTING,
        StreamState.STALE,
        StreamState.LOST,
        StreamState.FAILED,
        StreamState.STOPPED,
    }
)
_MESSAGES: dict[str, str] = {
    "ready": "Task {number}, {title}, is ready.",
    "running": "Task {number}, {title}, runs.",
    "paused": "Task {number}, {title}, is paused.",
    "done": "Task {number}, {title}, is done.",
    "aborted": "Task {number}, {title}, was aborted; what was recorded is kept.",
    "interrupted": "Task {number}, {title}, was interrupted; it can be resumed.",
    "page_lost": "Task {number}, {title}, is paused: the participant's page does not answer.",
    "signal_lost": "Task {number}, {title}, is paused: there is no signal.",
    "recording_lost": "Task {number}, {title}, is paused: the recording has stopped.",
}


class StreamTasks:
    """Tasks of one stream, one after another; may be called from any thread.

    Parameters
    ----------
    name : str
        Of the stream.
    root : Path
        Folder of the sessions.
    find : callable
        Returns the stream as it is now, None if it was removed.
    """

    def __init__(self, name: str, root: Path, find: Callable[[], Stream | None]) -> None:
        self._name = name
        self._root = root
        self._find = find
        self._lock = threading.RLock()  # of changes
        self._task: TaskState | None = None
        self._search = TaskSearch(root, name)
        self._folder = root
        self._session: Session | None = None  # held while the task is not finished
        self._seen = time.monotonic()
        self._recorded_at = time.monotonic()
        self._since = (
            0.0  # time on the clock of LSL from which the present recording holds samples; infinite before it does
        )
        self._began: Recorder | None = None  # of the recording that began for the task
        self._watch: threading.Event | None = None  # ends the thread that watches
        self._restore()

    def last(self) -> TaskState | None:
        """Return the present or last task.

        While another service holds that task's session, this waits for the disk: the sessions are searched again when the
        session has changed or was let go.
        """
        if self._search.elsewhere:
            with self._lock:
                if self._search.has_changed():
                    self._restore()
        return self._task

    def seen(self) -> None:
        """Note that the participant's page is there."""
        self._seen = time.monotonic()

    def begin(self, participant: str, paradigm: Cued | Rest | Eyes | Control, seed: int | None) -> TaskState:
        """Begin a task, and a recording of the participant unless one runs.

        Raises
        ------
        ConflictError
            A task is not finished, there is no signal or no model for feedback, or another participant is being recorded.
        RecordingError
            Nothing can be recorded.
        """
        with self._lock, self._recording_undone():
            if (task := self.last()) is not None and task.state in UNFINISHED:
                msg = f"Task {task.number} of {task.participant} is {task.state}; finish or abort it first."
                raise ConflictError(msg)
            stream = self._stream()
            _check_decoding(stream, paradigm)
            date, file = self._record(stream, participant)
            session: Session | None = None
            seed = seed if seed is not None else paradigm.seed
            seed = secrets.randbelow(2**32) if seed is None else seed
            try:
                session = open_session(self._root, participant, date)
                with updating(session.folder):  # another stream may begin a task of the same session
                    number = next_number(session.folder)
                    known = {"participant": participant, "date": date, "stream": self._name}
                    task = new_task(paradigm, seed, number=number, **known).with_recording(file)
                    write_task(session.folder, task)
            except (RecordingError, OSError) as error:
                if session is not None:
                    session.close()
                if isinstance(error, OSError):
                    msg = f"No task can be begun in {self._root} ({error.strerror})."
                    raise RecordingError(msg) from error
                raise
            self._folder, self._session, self._task = session.folder, session, task
            self._search.forget()
            self._report(task)
            return task

    def resume(self) -> TaskState:
        """Begin a task that is ready, or go on with one that was paused or interrupted, in the next run if its recording has ended."""
        with self._lock, self._recording_undone():
            task = self._unfinished("ready", "running", "paused", "interrupted")
            self.seen()
            if task.state == "running":
                return task
            stream = self._stream()
            date, file = self._record(stream, task.participant, task)
            if self._session is None:
                self._session = open_session(self._root, task.participant, date)
            self._change(task.with_recording(file).becomes("running"))
            self._start_watch()
            return self._present

    def pause(self) -> TaskState:
        """Pause a task; the recording goes on."""
        with self._lock:
            task = self._unfinished("ready", "running", "paused")
            self.seen()
            if task.state == "running":
                self._change(task.becomes("paused"))
            return self._present

    def enter(self, trial: Trial) -> TaskState:
        """Enter the outcome of a trial; one that was not recorded in full counts as aborted."""
        with self._lock:
            task = self._unfinished("ready", "running", "paused")
            self.seen()
            if task.has_trial(trial):
                return task
            recorded, task = self._follow_recording(task)
            lost = not recorded or task.problem in ("signal_lost", "recording_lost")
            if trial.outcome == "done" and (lost or (trial.onset is not None and trial.onset < self._since)):
                trial = trial.model_copy(update={"outcome": "aborted", "result": {**trial.result, "recorded": False}})
            after = task.with_trial(trial)
            if task.state == "ready":
                after = after.becomes("running")
                self._start_watch()
            self._change(after, trial.index)
            return self._present

    def finish(self) -> TaskState:
        """End a task, and the recording that it began; blocks until its file is complete."""
        return self._end("done")

    def abort(self) -> TaskState:
        """End a task before its last trial, and the recording that it began; what was recorded is kept."""
        return self._end("aborted")

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def _present(self) -> TaskState:
        assert self._task is not None  # noqa: S101 - as the caller knows
        return self._task

    def _restore(self) -> None:
        """Take up the stream's last task; one that no process goes on with was interrupted."""
        if (found := self._search.find()) is None:
            return
        self._folder, task = found
        if task.state in UNFINISHED:
            task = task.becomes("interrupted", "service_ended")
            with suppress(RecordingError):  # it is written when it is resumed
                write_task(self._folder, task)
        self._task = task

    def _stream(self) -> Stream:
        """Return the stream; raises ConflictError if it has no signal."""
        stream = self._find()
        if stream is None or stream.source is None or stream.state in _NO_SIGNAL:
            reason = "it was removed" if stream is None else stream.reason.rstrip(".")
            msg = f"Stream {self._name!r} has no signal ({reason}); a task takes one."
            raise ConflictError(msg)
        stream.markers.add(self._take_marker)
        return stream

    def _take_marker(self, _label: str, _time: float) -> None:
        self.seen()

    def _unfinished(self, *states: TaskPhase) -> TaskState:
        task = self.last()
        if task is None:
            msg = f"Stream {self._name!r} has no task; begin one first."
            raise ConflictError(msg)
        if task.state not in states:
            msg = f"Task {task.number} of {task.participant} is {task.state}."
            hint = " Resume it first." if task.state == "interrupted" else " Begin another one."
            raise ConflictError(msg + hint)
        return task

    @contextmanager
    def _recording_undone(self) -> Iterator[None]:
        """End the recording that begins inside if what it is for fails."""
        before = self._began
        try:
            yield
        except BaseException:
            if self._began is not before:
                self._end_recording()
            raise

    def _record(self, stream: Stream, participant: str, task: TaskState | None = None) -> tuple[str, str]:
        """Have the participant recorded, for a task that goes on if one is given; return the date of the session and the name of the file."""
        date = None if task is None else task.date
        recordings = stream.recordings
        status, path = recordings.status(), recordings.collecting
        if status is None:
            today = time.strftime("%Y-%m-%d")
            if date not in (None, today):
                msg = f"The task is of {date}, and a recording would be of {today}; abort it and begin another one."
                raise ConflictError(msg)
            status = recordings.begin(RecordingRequest(participant=participant))
            # Where LabRecorder starts slowly, its file is there before its first samples.
            self._began, path = recordings.recorder, recordings.path
        elif status.participant != participant or date not in (None, status.date):
            whose = f"{status.participant} on {status.date}" if status.participant else "no participant"
            msg = f"Stream {self._name!r} is being recorded for {whose}; end that recording first."
            raise ConflictError(msg)
        self._recorded_at = time.monotonic()
        if status.date is None or (file := _name_in(path, participant, status.date)) is None:
            msg = f"The recording of stream {self._name!r} has not begun; its events say why. Try again soon."
            raise ConflictError(msg)
        if task is None or file not in task.recordings:
            self._since = math.inf if recordings.collecting is None else pylsl.local_clock()
        return status.date, file

    def _end(self, state: TaskPhase) -> TaskState:
        with self._lock:
            task = self._unfinished("ready", "running", "paused", "interrupted", state)
            if task.state != state:
                self._change(task.becomes(state))
                self._release()
                self._end_recording()
            return self._present

    def _end_recording(self) -> None:
        began, self._began = self._began, None
        if began is not None and (stream := self._find()) is not None:
            with suppress(RecordingError):  # it has ended before
                stream.recordings.end(only=began)

    def _release(self) -> None:
        """Stop watching, and let the session go."""
        if self._watch is not None:
            self._watch.set()
            self._watch = None
        if (stream := self._find()) is not None:
            stream.markers.remove(self._take_marker)
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _change(self, task: TaskState, trial: int | None = None) -> None:
        """Keep a changed task, and report it."""
        write_task(self._folder, task)
        self._task = task
        self._report(task, trial)

    def _report(self, task: TaskState, trial: int | None = None) -> None:
        data: dict[str, Any] = {"number": task.number, "state": task.state, "next": task.next, "problem": task.problem}
        message = _MESSAGES.get(task.problem or "", _MESSAGES[task.state])
        message = message.format(number=task.number, title=task.paradigm.title)
        if trial is not None:
            data["trial"] = task.trials[trial].model_dump()
            message = (
                f"Trial {trial} of task {task.number} ({task.trials[trial].label}) was {task.trials[trial].outcome}."
            )
        if (stream := self._find()) is not None:
            stream.reporter.emit("task", message, data)

    # ── watch ────────────────────────────────────────────────────────────────────────────────────────

    def _start_watch(self) -> None:
        if self._watch is None:
            self._watch = threading.Event()
            name = f"mindwire-task-{self._name}"
            threading.Thread(target=self._watch_task, args=(self._watch,), name=name, daemon=True).start()

    def _watch_task(self, stop: threading.Event) -> None:
        fault = ""
        while not stop.wait(_CHECK_EVERY_S):
            with self._lock:
                if stop.is_set():
                    return
                before, fault = fault, ""
                try:
                    self._check()
                except Exception as error:  # a full disk, for example; it is tried again
                    fault = str(error) or type(error).__name__
                    if fault != before:
                        log.error("%s", fault, exc_info=not isinstance(error, RecordingError))  # noqa: TRY400 - logged once
                if before and not fault:
                    log.info("Task %d of stream %s is kept again.", self._present.number, self._name)

    def _follow_recording(self, task: TaskState) -> tuple[bool, TaskState]:
        """Return true while the task is recorded, and the task, with the file of a recording that began by itself."""
        stream = self._find()
        file = None if stream is None else _name_in(stream.recordings.collecting, task.participant, task.date)
        if file is None:
            return False, task
        if file not in task.recordings:
            self._since = math.inf
            self._change(task.with_recording(file))
        if self._since == math.inf:
            self._since = pylsl.local_clock()
        return True, self._present

    def _check(self) -> None:
        """Pause a running task whose page, signal or recording has gone; note further files of its recording."""
        task = self._present
        if task.state != "running":
            return
        now = time.monotonic()
        recorded, task = self._follow_recording(task)
        if recorded:
            self._recorded_at = now
        stream = self._find()
        problem: TaskProblem | None = None
        if stream is None or stream.state in _NO_SIGNAL:
            problem = "signal_lost"
        elif now - self._recorded_at > _RECORDING_LOST_S:
            problem = "recording_lost"
        elif now - self._seen > PAGE_LOST_S:
            problem = "page_lost"
        if problem is not None:
            self._change(task.becomes("paused", problem))


def _name_in(path: Path | None, participant: str, date: str) -> str | None:
    """Return the name of a file of a session; None if it is of another one."""
    return path.name if path is not None and path.parts[-3:-1] == (participant, date) else None


def _check_decoding(stream: Stream, paradigm: Cued | Rest | Eyes | Control) -> None:
    """Raise ConflictError if a paradigm takes predictions or decisions that the stream does not give."""
    if isinstance(paradigm, Rest | Eyes) or (isinstance(paradigm, Cued) and paradigm.feedback == "none"):
        return
    classes = stream.contract.classes if stream.model.exists else ()
    if missing := [label for label in paradigm.classes if label not in classes]:
        found = f"its model decodes {', '.join(classes)}" if classes else "it has no model"
        msg = f"The paradigm {paradigm.name!r} takes a model of {', '.join(missing)}; {found}. Train one, or put another one live."
        raise ConflictError(msg)
    if isinstance(paradigm, Control) and stream.control_setting.policy is None:
        msg = f"The paradigm {paradigm.name!r} takes decisions, and stream {stream.name!r} has no control policy; set one with PUT …/control."
        raise ConflictError(msg)
