"""Training jobs of a service: each a process of its own, one at a time, whose result is a bundle in the folder of models."""

from __future__ import annotations

import asyncio
import builtins
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from mindwire.api.model_routes import NO_FOLDER
from mindwire.api.streams import Streams, unknown_stream
from mindwire.api.training_routes import Job, JobRequest
from mindwire.errors import ConflictError, MindwireError, MissingExtraError, UsageError
from mindwire.serve.specs import Specs
from mindwire.session_names import NO_SESSIONS, check_participant
from mindwire.training.job_spec import WRITING, JobLine, JobSpec, Outcome, remove_leftovers
from mindwire.training.selection import Selection, select, wait_until_read
from mindwire_models.atomic import replace_file
from mindwire_models.bundle import load_bundle

log = logging.getLogger(__name__)

_PROGRAM = ("-P", "-m", "mindwire.training.job")
_NEEDED = ("torch", "pyriemann", "sklearn", "joblib")
_MISSING = "Training needs PyTorch, pyRiemann and scikit-learn; install them with: pip install '.[train]' in Mindwire's folder."
_END_S = 3.0  # between the request to end and the end by force
_MAX_LINE = 16 << 20
_LAST_LINES = 20  # of what a job writes to standard error
_MAX_NAME = 44  # of a participant in an id, of which a model's has at most 64 characters
REPORTS = "reports"


class TrainingJobs:
    """Jobs; all methods are called in the service's event loop.

    Parameters
    ----------
    specs : Specs
    streams : mapping of str to StreamLike
    use_model : callable
        Gives a stream a model of the folder by its id, as ``POST /v1/streams/{stream}/model`` does; raises MindwireError.
    """

    def __init__(
        self,
        specs: Specs,
        streams: Streams,
        use_model: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._specs, self._streams, self._use_model = specs, streams, use_model
        self._jobs: dict[str, Job] = {}
        self._read: set[Path] | None = None  # reports; None before the folder is read
        self._process: Process | None = None
        self._running: asyncio.Task[None] | None = None
        self._starting, self._finishing = asyncio.Lock(), asyncio.Lock()

    async def start(self, wanted: JobRequest) -> Job:
        """Begin a job.

        Raises
        ------
        ConflictError
            Another one runs, or there is no folder of sessions or models.
        MissingExtraError
            Training is not installed.
        MindwireError
            There is nothing to learn from, or no such model to improve.
        """
        async with self._starting:
            running = self._running
            if running is not None and not running.done() and self._jobs[running.get_name()].state == "running":
                msg = f"The job {running.get_name()} runs, and one runs at a time; wait for its end or cancel it."
                raise ConflictError(msg)
            sessions, models = self._folders()
            if any(find_spec(name) is None for name in _NEEDED):
                raise MissingExtraError(_MISSING)
            spec = await asyncio.to_thread(self._spec, wanted, sessions, models)
            job = Job(
                id=spec.id,
                kind=wanted.kind,
                participant=wanted.participant,
                stream=wanted.stream,
                swap=wanted.swap,
                started_unix=time.time(),
            )
            await self._end()  # one that is done and computes the progress, which the next one does
            try:
                self._process = await _start_process(spec)
            except OSError as error:
                remove_leftovers(spec)
                msg = f"The job's process cannot be started ({error.strerror}); try again later."
                raise ConflictError(msg) from error
            self._jobs[job.id] = job
            self._running = asyncio.create_task(self._follow(spec, self._process), name=spec.id)
        return job

    async def list(self) -> builtins.list[Job]:
        """Return all jobs without their reports, the newest first; the folder is read at first, and when another job is asked for."""
        if self._read is None:
            await asyncio.to_thread(self._load)
        jobs = sorted(self._jobs.values(), key=lambda job: job.started_unix, reverse=True)
        return [job.model_copy(update={"report": None}) for job in jobs]

    async def find(self, reference: str) -> Job:
        """Return a job with its report; raises KeyError if there is none."""
        if reference not in self._jobs:
            await asyncio.to_thread(self._load)
        return self._jobs[reference]

    async def cancel(self, reference: str) -> Job:
        """End a job that runs."""
        job = await self.find(reference)
        async with self._finishing:  # a job whose outcome is being kept has ended
            cancelled = self._jobs[job.id].state == "running"
            if cancelled:
                self._change(job.id, state="cancelled")
        if cancelled:
            await self._end()
        return self._jobs[job.id]

    async def aclose(self) -> None:
        """End the job that runs, with the service."""
        await self._end()

    # ── one job ──────────────────────────────────────────────────────────────────────────────────────

    def _folders(self) -> tuple[Path, Path]:
        sessions, models = self._specs.settings.sessions, self._specs.models.folder
        if sessions is None or models is None:
            raise ConflictError(NO_SESSIONS if sessions is None else NO_FOLDER)
        return sessions.resolve(), models.resolve()

    def _spec(self, wanted: JobRequest, sessions: Path, models: Path) -> JobSpec:
        self._load()
        if wanted.stream is not None and wanted.stream not in self._streams:
            raise UsageError(unknown_stream(wanted.stream, self._streams))
        if wanted.stream is None and wanted.swap == "auto":
            msg = "Expected the 'stream' that gets the model with 'swap': 'auto'; name it, or leave 'swap' out."
            raise UsageError(msg)
        base = self._base(wanted)
        wait_until_read(sessions, wanted.participant)
        improved = None if base is None or wanted.kind == "train" else _classes(Path(base), wanted.classes)
        chosen = select(
            sessions,
            wanted.participant,
            wanted.recordings,
            wanted.classes if improved is None else improved,
            any_electrodes=improved is not None,  # those that lack one of the model's are left out by the job
        )
        classes = chosen.classes
        if wanted.stream is not None and improved is None:
            known = self._streams[wanted.stream].status().classes
            classes = tuple(known) if set(known) == set(classes) else classes  # in the order that a swap asks for
        return JobSpec(
            id=self._free_id(wanted.participant, models),
            kind=wanted.kind,
            participant=wanted.participant,
            sessions=str(sessions),
            models=str(models),
            scratch=tempfile.mkdtemp(prefix="mindwire-job-"),
            **_paths(chosen),
            classes=classes,
            budget=wanted.budget,
            base=base,
        )

    def _base(self, wanted: JobRequest) -> str | None:
        """Return the folder of the model to improve: the one that is named, or else the one in use by the stream."""
        if wanted.base is not None:
            return str(self._specs.model_path(wanted.base).resolve())
        if wanted.kind != "improve" or wanted.stream is None:
            return None
        used = self._streams[wanted.stream].status().model
        stored = next((model for model in self._specs.models.list() if model.sha256 == used.sha256), None)
        if stored is None:
            msg = f"The model in use by {wanted.stream!r} is not in the service's folder of models; name the one to improve as 'base'."
            raise UsageError(msg)
        return str(self._specs.model_path(stored.id).resolve())

    def _free_id(self, participant: str, models: Path) -> str:
        """Return the id of the next model of a person today."""
        stem = f"{participant[:_MAX_NAME]}-{time.strftime('%Y-%m-%d')}-"
        number = re.compile(re.escape(stem) + r"(\d+)", re.IGNORECASE)
        names = {*self._jobs, *(path.name for path in models.iterdir())}
        return f"{stem}{max((int(m[1]) for name in names if (m := number.fullmatch(name))), default=0) + 1}"

    async def _follow(self, spec: JobSpec, process: Process) -> None:
        """Take a job's lines until all its processes have ended; its result is kept as soon as it is there."""
        try:
            error = await self._watch(spec, process)
            await asyncio.to_thread(remove_leftovers, spec)
            if self._jobs[spec.id].state != "done":
                await self._give_up(spec, error)
        except Exception as unexpected:
            log.exception("The job %s could not be followed", spec.id)
            _signal_group(process, signal.SIGKILL)
            if self._jobs[spec.id].state != "done":
                error = f"The job could not be followed ({type(unexpected).__name__}); see the log."
                self._change(spec.id, state="failed", error=error, seconds_left=None, ended_unix=time.time())

    async def _watch(self, spec: JobSpec, process: Process) -> str:
        """Take a job's lines until all its processes have ended; return why there is no result, in a sentence."""
        assert process.stdout is not None  # noqa: S101 - asked for at the start
        assert process.stderr is not None  # noqa: S101
        assert process.stdin is not None  # noqa: S101
        last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        errors = asyncio.create_task(_keep_lines(process.stderr, last_lines))
        error = await self._take_lines(spec, process.stdout)  # which only the process itself has open
        # Those that it has begun hold its standard error; what they share is removed by the last of them.
        await asyncio.wait([errors], timeout=_END_S)
        _signal_group(process, signal.SIGKILL)
        code, _ = await asyncio.gather(process.wait(), errors)
        process.stdin.close()
        error = error or _ending(code, last_lines)
        details = "".join(f"\n  {text}" for text in last_lines)
        if self._jobs[spec.id].state == "running":
            log.error("The job %s failed: %s%s", spec.id, error, details)
        elif self._jobs[spec.id].state == "done" and code not in (0, -signal.SIGTERM):
            log.warning(
                "The job %s is done, but the progress was not computed (exit code %d).%s", spec.id, code, details
            )
        return error

    async def _take_lines(self, spec: JobSpec, stream: asyncio.StreamReader) -> str:
        """Take a job's lines and its outcome until it ends; return its error."""
        try:
            async for text in stream:
                line = msgspec.json.decode(text, type=JobLine)
                if line.error is not None:
                    return line.error
                if line.outcome is not None:
                    await self._finish(spec, line.outcome)
                else:
                    self._change(spec.id, stage=line.stage, progress=line.progress, seconds_left=line.seconds_left)
        except ValueError as wrong:
            return f"The job's process wrote a line that is no progress ({wrong})."
        return ""

    async def _finish(self, spec: JobSpec, outcome: Outcome) -> None:
        """Keep the outcome of a job that was not cancelled before."""
        async with self._finishing:
            if self._jobs[spec.id].state != "running":
                return
            self._change(spec.id, model=outcome.model, report=outcome.report, progress=1.0, seconds_left=0.0)
            await self._put_into_use(spec, outcome)
            ended = {"state": "done", "stage": "done", "ended_unix": time.time()}
            done = self._jobs[spec.id].model_copy(update=ended)
            await asyncio.to_thread(self._keep, done, Path(spec.sessions))
            self._jobs[spec.id] = done

    async def _give_up(self, spec: JobSpec, error: str) -> None:
        """Set the last state of a job that failed or was cancelled."""
        job = self._jobs[spec.id]
        if job.stage == WRITING:  # the bundle may have become complete in the last moment
            await asyncio.to_thread(shutil.rmtree, spec.target, ignore_errors=True)
        end = {} if job.state == "cancelled" else {"state": "failed", "error": error}
        self._change(spec.id, seconds_left=None, ended_unix=time.time(), **end)

    async def _put_into_use(self, spec: JobSpec, outcome: Outcome) -> None:
        job = self._jobs[spec.id]
        if job.swap != "auto" or job.stream is None or outcome.model is None or not outcome.acceptable:
            return
        try:
            await self._use_model(job.stream, outcome.model)
            self._change(spec.id, swap_requested=True)
        except MindwireError as error:
            self._change(spec.id, swap_problem=str(error))

    def _keep(self, job: Job, sessions: Path) -> None:
        """Write a job with its report beside the sessions."""
        folder = sessions / job.participant / time.strftime("%Y-%m-%d", time.localtime(job.started_unix)) / REPORTS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / f"{job.id}.json", json.dumps(job.model_dump(mode="json"), indent=1) + "\n")
        except OSError as error:
            log.error("The report of %s cannot be kept in %s (%s).", job.id, folder, error.strerror)  # noqa: TRY400 - no bug

    def _load(self) -> None:
        """Read the jobs that earlier services and commands have kept."""
        sessions, self._read = self._specs.settings.sessions, self._read or set()
        for path in sorted(() if sessions is None else sessions.glob(f"*/*/{REPORTS}/*.json")):
            if path in self._read or path.stem in self._jobs:
                continue
            self._read.add(path)
            try:
                job = Job.model_validate_json(path.read_bytes())
                check_participant(job.participant)
            except (OSError, ValueError):
                log.warning("%s is no report of a job, and is left out.", path)
                continue
            self._jobs.setdefault(job.id, job)

    def _change(self, reference: str, **fields: Any) -> Job:
        self._jobs[reference] = self._jobs[reference].model_copy(update=fields)
        return self._jobs[reference]

    async def _end(self) -> None:
        """End the processes of the running job, if there is one, and wait for that."""
        process, running = self._process, self._running
        if process is None or running is None or running.done():
            return
        _signal_group(process, signal.SIGTERM)
        done, _ = await asyncio.wait([running], timeout=_END_S)
        if not done:
            _signal_group(process, signal.SIGKILL)
            await asyncio.wait([running])


def _classes(base: Path, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the classes of the model to improve, which an improvement keeps; raises UsageError if others are wanted."""
    classes = load_bundle(base).contract.classes
    if wanted is not None and set(wanted) != set(classes):
        msg = f"An improvement keeps the classes of its model, here {', '.join(classes)}; leave 'classes' out, or train a model of others."
        raise UsageError(msg)
    return classes


def _paths(chosen: Selection) -> dict[str, Any]:
    return {
        "recordings": tuple(map(str, chosen.recordings)),
        "rest": tuple(map(str, chosen.rest)),
        "left_out": chosen.left_out,
    }


async def _start_process(spec: JobSpec) -> Process:
    """Start the process of a job, which makes a group of its own (uvloop cannot): no session, to which Linux would give a share of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MINDWIRE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *_PROGRAM,
        stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment, limit=_MAX_LINE,
    )  # fmt: skip
    assert process.stdin is not None  # noqa: S101 - asked for above
    process.stdin.write(msgspec.json.encode(spec) + b"\n")  # and stays open: its end ends the job
    return process


async def _keep_lines(stream: asyncio.StreamReader, last_lines: deque[str]) -> None:
    """Keep the last lines of a stream."""
    rest = b""
    while block := await stream.read(1 << 14):
        *lines, rest = (rest + block).split(b"\n")
        last_lines.extend(line.decode(errors="replace") for line in lines if line.strip())
        rest = rest[-(1 << 14) :]


def _signal_group(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:  # it has no group of its own yet
            process.send_signal(number)


def _ending(code: int, last_lines: deque[str]) -> str:
    """Return why a job that reported no end has ended, in a sentence."""
    if code == -signal.SIGKILL:
        return "The job's process was killed; if the machine ran out of memory, take fewer recordings or end other programs, then try again."
    if code < 0:
        return f"The job's process was ended by signal {-code} ({signal.Signals(-code).name}); try again."
    last = f": {last_lines[-1][:300]}" if last_lines else ""
    return f"The job's process ended without a result (exit code {code}{last}); see the log."
