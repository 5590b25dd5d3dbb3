"""Tasks of a stream: states, trials, what a crash leaves, and what pauses them; with a stream that records nothing."""

from __future__ import annotations

import fcntl
import json
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.errors import ConflictError, RecordingError
from mindwire.live import tasks
from mindwire.live.tasks import StreamTasks
from mindwire.sessions import task_search
from mindwire.sessions.folder import is_recorded, open_session
from mindwire.sessions.paradigm import check_paradigm
from mindwire.sessions.task import RecordedTrial, Trial, last_task, new_task, read_task, task_path, write_task
from mindwire.sources.liblsl import pylsl
from mindwire.status import StreamState
from tests.support.task_stream import TaskStream, today

PARADIGM = check_paradigm(
    {"name": "short", "title": "Short", "kind": "cued", "classes": ["left", "right"], "trials_per_class": 2, "seed": 4}
)
TODAY = today()


@pytest.fixture
def stream():
    return TaskStream()


@pytest.fixture
def own(stream, tmp_path):
    made = StreamTasks("eeg", tmp_path, lambda: stream)
    yield made
    made._release()


def done(index, **more):
    return Trial(index=index, outcome="done", onset=1e9, **more)


def full(path, content):
    raise OSError(28, "No space left on device")


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stored(tmp_path, number=1):
    return read_task(task_path(tmp_path / "P01" / TODAY, number))


def test_a_task_from_beginning_to_end(own, stream, tmp_path):
    assert own.last() is None
    task = own.begin("P01", PARADIGM, None)
    assert (task.state, task.number, task.seed, task.next, task.recordings) == ("ready", 1, 4, 0, ["run-01.xdf"])
    assert own.resume().state == "running"
    for n in range(4):
        assert own.enter(done(n, result={"correct": True})).next == (n + 1 if n < 3 else None)
        assert stored(tmp_path) == own.last()
    assert own.pause().state == "paused"
    assert own.resume().state == "running"
    assert own.finish().state == "done"
    assert stored(tmp_path).state == "done"
    assert stream.file is None  # the recording that it began has ended
    states = [event["state"] for event in stream.events]
    assert states == ["ready", "running", "running", "running", "running", "running", "paused", "running", "done"]
    assert stream.events[2]["trial"]["label"] == task.plan[0].label
    assert all(event["kind"] == "task" for event in stream.events)
    assert own.finish().state == "done"  # once more is no mistake
    with pytest.raises(ConflictError, match=r"is done\. Begin another one"):
        own.resume()
    assert own.begin("P01", PARADIGM, 9).number == 2


def test_a_recording_that_runs_is_used_and_left_running(own, stream):
    stream.begin(SimpleNamespace(participant="P01"))
    with pytest.raises(ConflictError, match="is being recorded for P01 on"):
        own.begin("P02", PARADIGM, None)
    assert own.begin("P01", PARADIGM, None).recordings == ["run-01.xdf"]
    own.abort()
    assert stream.file == "run-01.xdf"


def test_a_recording_of_somebody_else_neither_holds_the_task_nor_ends_with_it(own, stream):
    own.begin("P01", PARADIGM, None)
    own.resume()
    stream.end()
    stream.begin(SimpleNamespace(participant="P02"))
    stream.file = "run-01.xdf"  # in another folder
    assert own.enter(done(0)).trials[0].outcome == "aborted"
    stream.file = "run-02.xdf"
    assert own.enter(done(1)).recordings == ["run-01.xdf"]
    own.finish()
    assert stream.participant == "P02"


def test_one_task_at_a_time(own):
    own.begin("P01", PARADIGM, None)
    with pytest.raises(ConflictError, match="Task 1 of P01 is ready; finish or abort it first"):
        own.begin("P01", PARADIGM, None)


@pytest.mark.parametrize("state", [StreamState.SEARCHING, StreamState.STALE, StreamState.LOST, StreamState.FAILED])
def test_without_a_signal_nothing_begins(own, stream, state):
    stream.state, stream.reason = state, "The outlet has gone."
    with pytest.raises(ConflictError, match=r"has no signal \(The outlet has gone\)"):
        own.begin("P01", PARADIGM, None)
    assert stream.runs == 0


def test_feedback_takes_a_model_of_its_classes_and_control_a_policy(own, stream):
    feedback = check_paradigm(PARADIGM.model_dump() | {"feedback": "bar"})
    control = check_paradigm({"name": "go", "title": "Go", "kind": "control", "classes": ["left", "right"]})
    for paradigm in (feedback, control):
        with pytest.raises(ConflictError, match=r"takes a model of left, right; it has no model\."):
            own.begin("P01", paradigm, None)
    stream.model, stream.contract = SimpleNamespace(exists=True), SimpleNamespace(classes=("left", "feet"))
    with pytest.raises(ConflictError, match="takes a model of right; its model decodes left, feet"):
        own.begin("P01", feedback, None)
    stream.contract = SimpleNamespace(classes=("left", "right"))
    with pytest.raises(ConflictError, match="has no control policy"):
        own.begin("P01", control, None)
    assert stream.runs == 0
    stream.control_setting = SimpleNamespace(policy=object())
    assert own.begin("P01", control, None).state == "ready"


def test_tasks_of_two_streams_of_one_person_have_numbers_of_their_own(own, stream, tmp_path):
    other = StreamTasks("other", tmp_path, lambda: stream)
    begun = []
    threads = [threading.Thread(target=lambda t=t: begun.append(t.begin("P01", PARADIGM, 1))) for t in (own, other)]
    stream.begin(SimpleNamespace(participant="P01"))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other._release()
    assert sorted(task.number for task in begun) == [1, 2]


def test_what_refuses_a_recording_refuses_the_task(own, stream, tmp_path):
    stream.refuses = RecordingError("The disk is full.")
    with pytest.raises(RecordingError, match="The disk is full"):
        own.begin("P01", PARADIGM, None)
    assert own.last() is None
    stream.refuses = None
    (tmp_path / "P01").write_text("no folder")
    with pytest.raises(RecordingError, match="cannot be written"):
        own.begin("P01", PARADIGM, None)
    assert stream.file is None  # the recording that began for it has ended


def test_trials_are_entered_in_order_and_may_be_sent_again(own):
    own.begin("P01", PARADIGM, None)
    with pytest.raises(ConflictError, match="Trial 1 cannot be entered: trial 0 is due"):
        own.enter(done(1))
    first = own.enter(done(0))
    assert first.state == "running"  # the first trial begins the task
    assert own.enter(done(0)) == first
    with pytest.raises(ConflictError, match="trial 1 is due"):
        own.enter(Trial(index=0, outcome="aborted"))


def test_a_trial_that_is_sent_again_is_answered_in_the_same_way_although_the_recording_has_changed(own, stream):
    own.begin("P01", PARADIGM, None)
    first = own.enter(done(0))
    file, stream.file = stream.file, None
    assert own.enter(done(0)) == first
    second = own.enter(done(1))
    assert second.trials[1].outcome == "aborted"
    stream.file = file
    assert own.enter(done(1)) == second


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 3))
def test_what_is_aborted_is_planned_again_until_every_trial_is_done(outcomes, practice):
    paradigm = check_paradigm(PARADIGM.model_dump() | {"practice": practice})
    task = new_task(paradigm, 1, number=1, participant="P01", date=TODAY, stream="eeg")
    for completed in outcomes:
        if task.next is None:
            break
        before = task
        task = task.with_trial(Trial(index=task.next, outcome="done" if completed else "aborted"))
        assert len(before.trials) + 1 == len(task.trials)
    while task.next is not None:
        task = task.with_trial(done(task.next))
    counted = [t.label for t in task.trials if t.outcome == "done" and not t.label.startswith("practice_")]
    assert sorted(counted) == ["left", "left", "right", "right"]
    assert sum(t.label.startswith("practice_") for t in task.trials) == practice
    assert [t.index for t in task.trials] == [p.index for p in task.plan] == list(range(len(task.plan)))
    assert [t.label for t in task.trials] == [p.label for p in task.plan]


def test_a_killed_service_leaves_an_interrupted_task_that_goes_on_in_the_next_run(own, stream, tmp_path):
    own.begin("P01", PARADIGM, None)
    own.resume()
    own.enter(done(0))
    before = own.last()
    own._release()  # as the end of the process does
    stream.participant = stream.file = None
    again = StreamTasks("eeg", tmp_path, lambda: stream)
    assert again.last() == before.model_copy(update={"state": "interrupted", "problem": "service_ended"})
    with pytest.raises(ConflictError, match=r"is interrupted\. Resume it first"):
        again.enter(done(1))
    task = again.resume()
    assert (task.state, task.problem, task.next) == ("running", None, 1)
    assert task.recordings == ["run-01.xdf", "run-02.xdf"]
    for n in range(1, 4):
        task = again.enter(done(n))
    assert task.next is None
    assert again.finish().state == "done"
    assert [trial.index for trial in stored(tmp_path).trials] == [0, 1, 2, 3]


def test_a_task_of_another_process_is_left_alone_while_that_goes_on(own, stream, tmp_path, monkeypatch):
    own.begin("P01", PARADIGM, None)
    own._release()
    with (tmp_path / "P01" / TODAY / ".lock").open() as held:  # as another process does
        fcntl.flock(held, fcntl.LOCK_EX)
        again = StreamTasks("eeg", tmp_path, lambda: stream)
        searches: list[str] = []
        monkeypatch.setattr(
            task_search, "last_task", lambda root, name: (searches.append(name), last_task(root, name))[1]
        )
        assert [again.last() for _ in range(5)] == [None] * 5
        assert not searches
        assert stored(tmp_path).state == "ready"
        write_task(tmp_path / "P01" / TODAY, stored(tmp_path).becomes("running"))
        assert [again.last() for _ in range(5)] == [None] * 5
        assert len(searches) == 2  # the second to see that nothing changed in between
    assert again.last().state == stored(tmp_path).state == "interrupted"


def test_a_task_is_found_again_while_another_stream_of_this_process_records_the_person(own, stream, tmp_path):
    own.begin("P01", PARADIGM, None)
    own._release()
    other = open_session(tmp_path, "P01")
    with (tmp_path / "P01" / TODAY / ".lock").open() as asked:
        again = StreamTasks("eeg", tmp_path, lambda: stream)
        other.close()
        fcntl.flock(asked, fcntl.LOCK_SH)
        assert not is_recorded(tmp_path / "P01" / TODAY)  # two who ask do not disturb each other
    assert again.last().state == "interrupted"


def test_an_interrupted_task_can_be_left(own, stream, tmp_path):
    own.begin("P01", PARADIGM, None)
    own._release()
    again = StreamTasks("eeg", tmp_path, lambda: stream)
    assert again.begin("P01", PARADIGM, None).number == 2
    again._release()
    assert stored(tmp_path).state == "interrupted"


def test_yesterdays_task_is_not_continued_in_todays_session(own, stream, tmp_path):
    folder = tmp_path / "P01" / "2020-01-01"
    folder.mkdir(parents=True)
    task = new_task(PARADIGM, 1, number=1, participant="P01", date="2020-01-01", stream="eeg")
    write_task(folder, task.becomes("running"))
    old = StreamTasks("eeg", tmp_path, lambda: stream)
    with pytest.raises(ConflictError, match="The task is of 2020-01-01"):
        old.resume()
    assert old.abort().state == "aborted"


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"number": "x"}', "\x00" * 100])
def test_a_damaged_file_harms_no_other_task(own, stream, tmp_path, content):
    own.begin("P01", PARADIGM, None)
    own._release()
    task_path(tmp_path / "P01" / TODAY, 7).write_text(content)
    again = StreamTasks("eeg", tmp_path, lambda: stream)
    assert again.last().state == "interrupted"
    assert again.begin("P01", PARADIGM, None).number == 8
    again._release()
    with pytest.raises(RecordingError, match=r"task-07.json is no task \("):
        stored(tmp_path, 7)


def test_a_page_that_has_gone_pauses_the_task(own, stream, monkeypatch):
    own.begin("P01", PARADIGM, None)
    own.resume()
    monkeypatch.setattr(tasks, "PAGE_LOST_S", 0.6)
    until(lambda: own.last().state == "paused")
    assert own.last().problem == "page_lost"
    assert stream.events[-1] == {"kind": "task", "number": 1, "state": "paused", "next": 0, "problem": "page_lost"}
    assert own.enter(done(0)).next == 1  # it was only slow
    monkeypatch.setattr(tasks, "PAGE_LOST_S", 10.0)
    assert own.resume().problem is None
    before = own._seen
    (listener,) = stream.listeners
    listener("fixation", 1.0)  # a marker shows that the page is there too
    assert own._seen > before
    own.abort()
    assert not stream.listeners


def test_a_signal_that_has_gone_pauses_the_task_and_its_trial_is_repeated(own, stream):
    own.begin("P01", PARADIGM, None)
    own.resume()
    stream.state, stream.reason = StreamState.STALE, "No sample for 2.1 s."
    until(lambda: own.last().problem == "signal_lost")
    task = own.enter(done(0))
    assert (task.trials[0].outcome, task.trials[0].result) == ("aborted", {"recorded": False})
    assert (len(task.plan), task.plan[4].label) == (5, task.plan[0].label)
    with pytest.raises(ConflictError, match="has no signal"):
        own.resume()
    stream.state = StreamState.SETTLING
    assert own.resume().state == "running"


def test_a_recording_that_ends_pauses_the_task_and_the_next_one_is_added(own, stream, monkeypatch):
    own.begin("P01", PARADIGM, None)
    own.resume()
    monkeypatch.setattr(tasks, "_RECORDING_LOST_S", 0.3)
    stream.file = None
    until(lambda: own.last().problem == "recording_lost")
    with pytest.raises(ConflictError, match="has not begun"):
        own.resume()
    stream.file = "run-02.xdf"
    assert own.resume().recordings == ["run-01.xdf", "run-02.xdf"]
    stream.file = "run-03.xdf"  # LabRecorder ended and was started again
    until(lambda: "run-03.xdf" in own.last().recordings)
    assert own.last().state == "running"


def test_a_task_begins_with_a_recording_that_starts_slowly_and_its_trials_count_from_then_on(own, stream):
    stream.collects = False
    assert own.begin("P01", PARADIGM, None).recordings == ["run-01.xdf"]
    with pytest.raises(ConflictError, match=r"has not begun; .* Try again soon"):
        own.resume()
    assert stream.participant == "P01"
    assert own.enter(done(0)).trials[0].outcome == "aborted"
    stream.collects = True
    before = pylsl.local_clock()
    own.pause()
    assert own.resume().recordings == ["run-01.xdf"]
    assert own.enter(Trial(index=1, outcome="done", onset=before)).trials[1].outcome == "aborted"
    assert own.enter(Trial(index=2, outcome="done", onset=pylsl.local_clock())).trials[2].outcome == "done"


def test_a_recording_that_began_for_nothing_ends(own, stream, monkeypatch):
    own.begin("P01", PARADIGM, None)
    stream.end()
    with monkeypatch.context() as patched:
        patched.setattr("mindwire.sessions.task.replace_file", full)
        with pytest.raises(RecordingError, match="No space left on device"):
            own.resume()
    assert stream.runs == 2
    assert stream.participant is None
    assert own.resume().recordings == ["run-01.xdf", "run-03.xdf"]


def test_a_full_disk_is_logged_in_one_sentence_once_and_that_it_has_room_too(own, stream, monkeypatch, caplog):
    own.begin("P01", PARADIGM, None)
    own.resume()
    checks = iter([RecordingError("Full."), RecordingError("Full."), None, None])

    def check():
        if (fault := next(checks)) is not None:
            raise fault

    monkeypatch.setattr(own, "_check", check)
    turns = iter([False, False, False, False, True])
    stop = SimpleNamespace(wait=lambda _: next(turns), is_set=lambda: False)
    own._watch.set()
    with caplog.at_level("INFO", logger="mindwire.live.tasks"):
        own._watch_task(stop)
    assert [(one.message, bool(one.exc_info)) for one in caplog.records] == [
        ("Full.", False),
        ("Task 1 of stream eeg is kept again.", False),
    ]


def test_a_trial_from_before_the_recording_counts_as_aborted(own):
    own.begin("P01", PARADIGM, None)
    task = own.enter(Trial(index=0, outcome="done", onset=own._since - 1))
    assert task.trials == [
        RecordedTrial(
            index=0, outcome="aborted", onset=own._since - 1, result={"recorded": False}, label=task.plan[0].label
        )
    ]


def test_a_change_that_cannot_be_kept_is_refused_and_made_later(own, monkeypatch):
    own.begin("P01", PARADIGM, None)
    with monkeypatch.context() as patched:
        patched.setattr("mindwire.sessions.task.replace_file", full)
        with pytest.raises(RecordingError, match="No space left on device"):
            own.enter(done(0))
        assert own.last().trials == []
    assert own.enter(done(0)).next == 1


def test_the_file_is_plain_json(own, tmp_path):
    own.begin("P01", PARADIGM, None)
    own.enter(done(0, result={"class": None, "correct": False, "probabilities": {"left": 0.25}, "list": [1, "a"]}))
    document = json.loads(task_path(tmp_path / "P01" / TODAY, 1).read_text())
    assert document["trials"][0]["result"]["probabilities"] == {"left": 0.25}
    assert document["state"] == "running"
