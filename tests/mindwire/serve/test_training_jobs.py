"""Jobs of a service: one at a time in a process of its own, watched, cancelled, ended with the service."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from mindwire.api.training_routes import JobRequest
from mindwire.config import Settings
from mindwire.errors import ConflictError, MindwireError, MissingExtraError, ModelConflictError, UsageError
from mindwire.serve import training_jobs
from mindwire.serve.specs import Specs
from mindwire.serve.training_jobs import TrainingJobs
from mindwire.sessions.document import Moment, Run, SessionDocument, write_session
from tests.support.participants import Participant
from tests.support.service_process import Service, service
from tests.support.streaming import eventually

JSON = {"Content-Type": "application/json"}
DAY = "2026-11-29"
TRAIN = {"kind": "train", "participant": "P01"}

# What a job's process does; `spec` is what it was given, `say` writes a line.
BEGIN = """
import json, os, pathlib, subprocess, sys, time
os.setpgrp()
spec = json.loads(sys.stdin.buffer.raw.readline())
def say(**line):
    print(json.dumps(line), flush=True)
half = pathlib.Path(spec["models"], f".{spec['id']}.0123abcd.new")
half.mkdir()
pathlib.Path(spec["scratch"], "windows").write_text("")
say(stage="training", progress=0.25, seconds_left=9.5)
"""
FOREVER = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], stdout=subprocess.DEVNULL)\ntime.sleep(600)\n"
DONE = """
half.rename(pathlib.Path(spec["models"], spec["id"]))
say(stage="done", progress=1.0, outcome={"model": spec["id"], "report": {"classes": spec["classes"]}})
"""
WRITING = "say(stage='writing', progress=0.9)\n" + FOREVER


class FakeStream:
    """A stream whose model has its classes in this order."""

    def __init__(self, *classes: str) -> None:
        self.classes = list(classes)

    def status(self):
        return self


class Jobs:
    """Jobs over a folder with two runs of a participant; ``used`` takes what was put into use."""

    def __init__(self, root: Path, **settings) -> None:
        self.sessions, self.models = root / "sessions", root / "models"
        folder = self.sessions / "P01" / DAY
        folder.mkdir(parents=True)
        runs = []
        for number in (1, 2):
            (folder / f"run-{number:02d}.xdf").write_bytes(b"XDF:")
            cues = {"left_hand": 10, "right_hand": 10}
            runs.append(
                Run(number, f"run-{number:02d}.xdf", "cap", "complete", Moment(1.0, 1.0), sha256="a", cues=cues)
            )
        write_session(folder, SessionDocument("P01", DAY, tuple(runs)))
        self.specs = Specs(Settings(sessions=self.sessions, models=self.models, **settings))
        self.used: list[tuple[str, str]] = []
        self.refusal: MindwireError | None = None

    def make(self) -> TrainingJobs:
        streams = {"cap": FakeStream("right_hand", "left_hand")}
        return TrainingJobs(self.specs, streams, self._use)

    async def _use(self, stream: str, model: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.used.append((stream, model))


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path)


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Set what a job's process does."""

    def set_(body: str) -> None:
        (tmp_path / "program.py").write_text(BEGIN + body)
        monkeypatch.setattr(training_jobs, "_PROGRAM", (str(tmp_path / "program.py"),))

    set_(FOREVER)
    return set_


async def until(jobs: TrainingJobs, reference: str, state: str | None = None, stage: str | None = None):
    """Wait until a job is in a state or stage."""
    deadline = time.monotonic() + 60
    while True:
        job = await jobs.find(reference)
        if job.state == state or (state is None and job.stage == stage):
            return job
        assert time.monotonic() < deadline, job
        assert job.state in ("running", "cancelled"), job
        await asyncio.sleep(0.02)


async def finished(jobs: TrainingJobs, reference: str, state: str):
    """Wait for the end of a job, after which the next can begin."""
    job = await until(jobs, reference, state)
    await asyncio.wait([jobs._running], timeout=10)
    return job


def request(**fields) -> JobRequest:
    return JobRequest(**TRAIN | fields)


def leftovers(jobs: Jobs) -> list[str]:
    return sorted(path.name for path in jobs.models.iterdir())


def test_a_job_is_watched_kept_and_put_into_use(jobs, program):
    async def act():
        program(DONE)
        running = jobs.make()
        begun = await running.start(request(stream="cap", swap="auto"))
        assert begun.state == "running"
        assert re.fullmatch(r"P01-\d{4}-\d\d-\d\d-1", begun.id)
        done = await finished(running, begun.id, "done")
        assert (done.model, done.progress, done.error) == (begun.id, 1.0, None)
        assert done.report == {"classes": ["right_hand", "left_hand"]}  # in the order that the stream has
        assert (done.swap_requested, jobs.used) == (True, [("cap", begun.id)])
        assert leftovers(jobs) == [begun.id]
        second = await running.start(request())
        assert second.id.endswith("-2")
        await finished(running, second.id, "done")
        assert [job.id for job in await running.list()] == [second.id, begun.id]
        assert all(job.report is None for job in await running.list())
        assert jobs.used == [("cap", begun.id)]
        after = jobs.make()  # of the next service
        assert [job.id for job in await after.list()] == [second.id, begun.id]
        assert (await after.find(begun.id)) == done
        third = await after.start(request())
        assert third.id.endswith("-3")
        await finished(after, third.id, "done")

    asyncio.run(act())


def test_a_swap_that_is_refused_is_said(jobs, program):
    async def act():
        program(DONE)
        jobs.refusal = ModelConflictError("Another change is under way.")
        running = jobs.make()
        done = await finished(running, (await running.start(request(stream="cap", swap="auto"))).id, "done")
        assert (done.swap_requested, done.swap_problem) == (False, "Another change is under way.")

    asyncio.run(act())


def test_what_is_not_acceptable_is_not_put_into_use(jobs, program):
    async def act():
        program(DONE.replace('"report"', '"acceptable": False, "report"'))
        running = jobs.make()
        done = await finished(running, (await running.start(request(stream="cap", swap="auto"))).id, "done")
        assert (done.swap_requested, jobs.used) == (False, [])

    asyncio.run(act())


def test_a_failure_of_the_progress_after_the_outcome_is_logged_and_the_model_stays(jobs, program, caplog):
    async def act():
        program(DONE + "sys.exit('Matrices must be positive definite')")
        running = jobs.make()
        done = await finished(running, (await running.start(request(stream="cap", swap="auto"))).id, "done")
        assert (await running.find(done.id)) == done
        assert (done.error, leftovers(jobs), jobs.used) == (None, [done.id], [("cap", done.id)])
        assert "the progress was not computed (exit code 1).\n  Matrices must" in caplog.text

    asyncio.run(act())


def test_the_next_job_does_not_wait_for_the_progress_of_the_last_one(jobs, program):
    async def act():
        program(DONE + FOREVER)
        running = jobs.make()
        first = await until(running, (await running.start(request())).id, "done")
        assert await running.cancel(first.id) == first
        second = await until(running, (await running.start(request())).id, "done")
        await running.aclose()
        assert [job.state for job in await running.list()] == ["done", "done"]
        assert leftovers(jobs) == [first.id, second.id]

    asyncio.run(act())


def test_a_model_that_is_complete_after_the_cancellation_is_removed_and_not_used(jobs, program):
    async def act():
        last = "".join(f"    {line}\n" for line in DONE.strip().splitlines())
        program(f"import signal\ndef last(*_):\n{last}    os._exit(0)\nsignal.signal(signal.SIGTERM, last)\n" + WRITING)
        running = jobs.make()
        job = await running.start(request(stream="cap", swap="auto"))
        await until(running, job.id, stage="writing")
        cancelled = await running.cancel(job.id)
        assert (cancelled.state, cancelled.model, cancelled.swap_requested) == ("cancelled", None, False)
        assert (leftovers(jobs), jobs.used) == ([], [])

    asyncio.run(act())


def test_one_job_runs_at_a_time_and_is_cancelled_with_all_its_processes(jobs, program):
    async def act():
        running = jobs.make()
        job = await running.start(request())
        now = await until(running, job.id, stage="training")
        assert (now.progress, now.seconds_left) == (0.25, 9.5)
        with pytest.raises(ConflictError, match=f"The job {job.id} runs, and one runs at a time"):
            await running.start(request())
        assert running._process is not None
        main = psutil.Process(running._process.pid)
        eventually(main.children, 20)
        processes = [main, *main.children()]
        assert main.status() != psutil.STATUS_ZOMBIE
        cancelled = await running.cancel(job.id)
        assert (cancelled.state, cancelled.error, cancelled.seconds_left) == ("cancelled", None, None)
        assert cancelled.ended_unix is not None
        eventually(lambda: not any(map(alive, processes)), 10)
        assert leftovers(jobs) == []
        assert await running.cancel(job.id) == cancelled  # which stays as it is
        program(DONE)
        await finished(running, (await running.start(request())).id, "done")

    asyncio.run(act())


def test_a_job_that_is_killed_says_so_and_leaves_nothing(jobs, program):
    async def act():
        running = jobs.make()
        job = await running.start(request())
        await until(running, job.id, stage="training")
        os.kill(running._process.pid, signal.SIGKILL)
        failed = await until(running, job.id, "failed")
        assert failed.error.startswith("The job's process was killed; if the machine ran out of memory")
        assert leftovers(jobs) == []
        assert list(jobs.sessions.glob("*/*/reports/*")) == []

    asyncio.run(act())


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("say(error='None of the 20 trials has a valid window.')", "None of the 20 trials has a valid window."),
        (
            "sys.exit('no module named torch')",
            "ended without a result (exit code 1: no module named torch); see the log",
        ),
        ("os.abort()", "was ended by signal 6 (SIGABRT); try again"),
        ("print('hello', flush=True)", "wrote a line that is no progress"),
    ],
)
def test_a_job_that_fails_says_why_in_a_sentence(jobs, program, body, sentence):
    async def act():
        program(body)
        running = jobs.make()
        failed = await until(running, (await running.start(request())).id, "failed")
        assert sentence in failed.error
        assert leftovers(jobs) == []

    asyncio.run(act())


def test_the_end_of_the_service_ends_the_job(jobs, program):
    async def act():
        running = jobs.make()
        job = await running.start(request())
        await until(running, job.id, stage="training")
        main = psutil.Process(running._process.pid)
        await running.aclose()
        assert not alive(main)
        assert leftovers(jobs) == []

    asyncio.run(act())


def test_what_cannot_be_begun_is_refused_and_leaves_nothing(jobs, program, monkeypatch):
    async def act():
        running = jobs.make()
        with pytest.raises(UsageError, match="There is no stream 'nowhere'; there are: cap"):
            await running.start(request(stream="nowhere"))
        with pytest.raises(MindwireError, match="There is no model 'other'"):
            await running.start(request(kind="improve", base="other"))
        with pytest.raises(MindwireError, match="There is no session of P02"):
            await running.start(request(participant="P02"))
        with monkeypatch.context() as patch:
            patch.setattr(training_jobs, "find_spec", lambda name: None if name == "torch" else object())
            with pytest.raises(MissingExtraError, match=r"pip install '\.\[train\]'"):
                await running.start(request())
        assert await running.list() == []

    asyncio.run(act())
    assert leftovers(jobs) == []


def test_without_a_folder_of_sessions_there_are_no_jobs(tmp_path):
    specs = Specs(Settings(models=tmp_path / "models"))
    jobs = TrainingJobs(specs, {}, lambda *_: asyncio.sleep(0))
    with pytest.raises(ConflictError, match="start it with --sessions DIR"):
        asyncio.run(jobs.start(request()))


def test_a_list_does_not_read_the_folder_again(jobs, program, monkeypatch):
    async def act():
        program(DONE)
        running = jobs.make()
        assert await running.list() == []
        with monkeypatch.context() as patch:
            patch.setattr(running, "_load", pytest.fail)
            assert await running.list() == []
        job = await finished(running, (await running.start(request())).id, "done")
        monkeypatch.setattr(running, "_load", pytest.fail)
        assert [one.id for one in await running.list()] == [job.id]

    asyncio.run(act())


def test_a_damaged_report_is_left_out(jobs, program, caplog):
    folder = jobs.sessions / "P01" / DAY / "reports"
    folder.mkdir()
    (folder / "x.json").write_text('{"id": 3}')
    assert asyncio.run(jobs.make().list()) == []
    assert "is no report of a job" in caplog.text


# ── over REST, with the real program ─────────────────────────────────────────────────────────────────────


HOSTILE = [
    ({}, "lacks 'kind'"),
    (TRAIN | {"participant": "../P01"}, "participant"),
    (TRAIN | {"participant": "con"}, "participant"),
    (TRAIN | {"recordings": ["../../etc/passwd"]}, "recordings"),
    (TRAIN | {"recordings": [f"{DAY}/../../P02/{DAY}/run-01.xdf"]}, "recordings"),
    (TRAIN | {"recordings": [f"/{DAY}/run-01.xdf"]}, "recordings"),
    (TRAIN | {"recordings": [f"{DAY}/run-01.xdf\n"]}, "recordings"),
    (TRAIN | {"recordings": []}, "recordings"),
    (TRAIN | {"recordings": [f"{DAY}/run-09.xdf"]}, "There is no recording"),
    (TRAIN | {"classes": ["left_hand"]}, "classes"),
    (TRAIN | {"classes": ["left_hand", "left_hand"]}, "each class once"),
    (TRAIN | {"classes": ["jump", "sing"]}, "No complete recording of P01 has cues of jump, sing"),
    (TRAIN | {"swap": "auto"}, "stream"),
    (TRAIN | {"budget": 0}, "budget"),
    (TRAIN | {"kind": "destroy"}, "kind"),
    (TRAIN | {"models": "/tmp"}, "models"),
    (TRAIN | {"stream": "nowhere"}, "There is no stream"),
    ([TRAIN], "object"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("served") / "sessions"
    Participant(root).cued(DAY, 4)
    with service("--sessions", root, "--token", "control-token", "--read-token", "reading-token") as running:
        yield running.address()


def client(address: str, token: str = "control-token") -> httpx.Client:
    headers = JSON | {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"http://{address}", headers=headers, timeout=40)


@pytest.mark.parametrize(("body", "word"), HOSTILE)
def test_bodies_that_are_not_understood_or_reach_outside_are_refused(served, body, word):
    with client(served) as rest:
        refused = rest.post("/v1/training", json=body)
        assert refused.status_code == 422
        assert word in refused.json()["detail"]


def test_a_token_that_reads_only_watches(served):
    with client(served, "reading-token") as rest:
        assert rest.get("/v1/training").status_code == 200
        assert rest.post("/v1/training", json=TRAIN).status_code == 403
        assert rest.delete("/v1/training/P01-1").status_code == 403
        assert rest.get("/v1/training/nothing").status_code == 404
    with client(served, "wrong") as rest:
        assert rest.get("/v1/training").status_code == 401


@pytest.mark.timeout(600)  # at low priority, beside other tests
def test_a_training_over_rest_makes_a_model(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("pyriemann")
    root = tmp_path / "sessions"
    person = Participant(root, depth=0.6)
    person.rest(DAY, 30)
    for _ in range(2):
        person.cued(DAY, 10)
    with (
        service("--sessions", root) as running,
        httpx.Client(base_url=f"http://{running.address()}", headers=JSON, timeout=40) as rest,
    ):
        begun = rest.post("/v1/training", json=TRAIN)
        assert begun.status_code == 202
        job = begun.json()["id"]
        assert rest.post("/v1/training", json=TRAIN).status_code == 409
        eventually(lambda: rest.get(f"/v1/training/{job}").json()["state"] != "running", 500)
        done = rest.get(f"/v1/training/{job}").json()
        assert (done["state"], done["error"], done["model"]) == ("done", None, job)
        assert done["report"]["trials"] == 20
        (model,) = [model for model in rest.get("/v1/models").json() if model["id"] == job]
        assert (model["error"], model["classes"]) == (None, ["left_hand", "right_hand"])
        assert model["policy"]["budget_per_minute"] == 1
        (kept,) = root.glob(f"P01/*/reports/{job}.json")
        assert json.loads(kept.read_bytes()) == done
        cancelled = rest.delete(f"/v1/training/{job}").json()
        assert cancelled == done


@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_that_is_killed_takes_its_job_with_it(tmp_path, workers):
    pytest.importorskip("torch")
    pytest.importorskip("pyriemann")
    Participant(tmp_path / "sessions").cued(DAY, 10)
    running = Service("--sessions", tmp_path / "sessions", "--workers", workers)
    try:
        with httpx.Client(base_url=f"http://{running.address()}", headers=JSON, timeout=40) as rest:
            job = rest.post("/v1/training", json=TRAIN).json()["id"]
            eventually(lambda: rest.get(f"/v1/training/{job}").json()["progress"] > 0.1, 60)
        main = psutil.Process(running.process.pid)
        begun = [child for child in main.children() if "mindwire.training.job" in " ".join(child.cmdline())]
        assert len(begun) == 1
        processes = begun + begun[0].children(recursive=True)
        assert begun[0].nice() == min(main.nice() + 10, 19)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        eventually(lambda: not any(alive(process) for process in processes), 30)
        assert list((tmp_path / "sessions/models").iterdir()) == []
    finally:
        running.process.kill()
        running.process.communicate()


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
